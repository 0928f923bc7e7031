//! "The base backup hangs, and nobody says for whom." Who holds a transaction with DDL open is named, with its
//! age, where the DBA looks.

use harness::{wait_until, Cluster};

fn base_row(c: &Cluster) -> String {
    c.sql("SELECT state, detail FROM incr_status() WHERE worker = 'base'")
}

/// A base is asked for and waits; gives what is said of it.
fn wait_for_words(c: &Cluster, holder: &str) {
    let mut base = c.session();
    base.send("SELECT incr_dump();");
    wait_until("incr_status() names the holder", || {
        let row = base_row(c);
        row.starts_with("waiting for the DDL fence") && row.contains(holder) && row.contains(" s")
    });
    // The base tries again and again, and waits for its snapshot in between.
    wait_until("health names the holder", || {
        let health = c.health();
        health.starts_with("warning")
            && health.contains("a base backup waits for")
            && health.contains(holder)
    });
}

#[test]
fn a_session_that_holds_ddl_open_is_named() {
    let c = Cluster::backed_up();
    let mut holder = c.session();
    holder.run("SET application_name = 'flyway'");
    holder.run("BEGIN; CREATE TABLE t (a int)");
    let pid = holder.run("SELECT pg_backend_pid()");
    let said = format!(
        "pid {} of role postgres (flyway, idle in transaction) for ",
        pid.trim()
    );
    wait_for_words(&c, &said);
    holder.run("COMMIT");
    wait_until("the base is done", || base_row(&c).starts_with("done"));
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn a_prepared_transaction_with_ddl_is_named() {
    let c = Cluster::builder()
        .setting("max_prepared_transactions", "5")
        .back_up();
    c.sql("BEGIN; CREATE TABLE t (a int); PREPARE TRANSACTION 'forgotten one'");
    wait_for_words(&c, "prepared transaction 'forgotten one' of role ");
    c.sql("ROLLBACK PREPARED 'forgotten one'");
    wait_until("the base is done", || base_row(&c).starts_with("done"));
}
