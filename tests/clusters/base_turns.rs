//! "Every night all databases were dumped at once, and the shop stood still." Base backups take turns, and who waits is
//! told for whom.

use harness::{wait_until, Cluster};

/// `app` and `other`, both backed up.
fn two() -> Cluster {
    let c = Cluster::builder()
        .setting("max_worker_processes", "24")
        .back_up();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", "SELECT * FROM incr_setup()");
    c
}

fn base_worker_of(c: &Cluster, database: &str) -> String {
    c.sql(&format!(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup base' AND datname = '{database}'"
    ))
}

fn state(c: &Cluster, database: &str) -> String {
    let sql = "SELECT state, detail FROM incr_status() WHERE worker = 'base'";
    c.sql_in(database, sql)
}

#[test]
fn a_base_waits_until_that_of_another_database_has_ended() {
    let c = two();
    // Like DDL that is not committed, this keeps the base of `other` before its fence; but it has no xid, for which the slot
    // of `third` would wait.
    let mut ddl = c.session_in("other");
    ddl.run("BEGIN; LOCK TABLE ddl_history IN ROW EXCLUSIVE MODE");
    let mut first = c.session_in("other");
    first.send("SELECT incr_dump();");
    wait_until("the first base has its turn", || {
        state(&c, "other").starts_with("waiting for the DDL fence")
    });
    // It would give its turn back after a while.
    let worker = base_worker_of(&c, "other");
    c.signal(&worker, "STOP");
    let mut second = c.session();
    second.send("SELECT incr_dump();");
    second.wait_for_line(|line| {
        line.contains("incr_dump() waits for its turn, behind the base backup of other")
    });
    let waiting = state(&c, "app");
    assert!(
        waiting.starts_with(
            "waiting for its turn|waits for its turn, behind the base backup of other"
        ),
        "{waiting}"
    );
    assert!(c.health().starts_with("ok"), "{}", c.health());

    // A new database is captured while it waits for its first base.
    c.sql_in("postgres", "CREATE DATABASE third");
    c.sql_in(
        "third",
        "CREATE EXTENSION pg_incrbackup; CREATE TABLE t (a int PRIMARY KEY)",
    );
    let mut third = c.session_in("third");
    third.send("SELECT * FROM incr_setup();");
    wait_until("it waits, and is captured", || {
        state(&c, "third").starts_with("waiting for its turn")
            && c.try_sql_in("third", "SELECT incr_flush('5 s')").is_ok()
    });
    let health = c.sql_in("third", "SELECT level, reasons FROM incr_slot_health()");
    assert!(
        health.starts_with("warning") && health.contains("is being set up"),
        "{health}"
    );

    // So is one that is set up automatically.
    c.sql_in("postgres", "CREATE DATABASE fourth");
    c.set("pg_incrbackup.databases", "'fourth'");
    wait_until("it is captured", || {
        c.try_sql_in("fourth", "SELECT incr_flush('5 s')").is_ok()
    });
    let ahead = "the first base backup waits for its turn, behind the base backup of ";
    wait_until("health says for whom its first base waits", || {
        let health = c.sql_in("fourth", "SELECT level, reasons FROM incr_slot_health()");
        health.starts_with("warning") && health.contains(ahead)
    });

    // More of them may run: both who wait have their turn.
    c.set("pg_incrbackup.base_workers", "3");
    for (session, database) in [(&mut second, "app"), (&mut third, "third")] {
        session.finish();
        assert!(
            state(&c, database).starts_with("done"),
            "{}",
            state(&c, database)
        );
    }
    assert!(state(&c, "other").starts_with("waiting for the DDL fence"));
    wait_until("the first base is there", || {
        c.sql_in("fourth", "SELECT level FROM incr_slot_health()") == "ok"
    });

    // Nobody waits for long for transactions of another database.
    c.set("pg_incrbackup.base_workers", "1");
    let mut again = c.session();
    again.send("SELECT incr_dump();");
    again
        .wait_for_line(|line| line.contains("waits for its turn, behind the base backup of other"));
    c.signal(&worker, "CONT");
    again.finish();
    assert!(state(&c, "app").starts_with("done"), "{}", state(&c, "app"));
    assert!(state(&c, "other").starts_with("waiting for the DDL fence"));
    ddl.run("COMMIT");
    first.finish();
    assert!(state(&c, "other").starts_with("done"));
    c.assert_restores();
}

#[test]
fn a_setup_that_waits_is_no_alarm() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let mut open = c.session_in("postgres");
    open.run("BEGIN; CREATE TABLE t (a int)");
    let mut setup = c.session();
    setup.send("SELECT * FROM incr_setup();");
    setup.wait_for_line(|line| line.contains("waits for open transactions"));
    let health = c.health();
    assert!(
        health.starts_with("warning") && health.contains("is being set up, which waits for"),
        "{health}"
    );
    let cluster = c.sql("SELECT level, reasons FROM incr_cluster_health()");
    assert!(cluster.starts_with("warning"), "{cluster}");
    assert!(!c.log().contains("capture"), "{}", c.log());
    open.run("COMMIT");
    setup.finish();
    wait_until("all is well", || c.health().starts_with("ok"));
}

#[test]
fn a_standby_is_ok_and_says_that_it_is_one() {
    let c = Cluster::backed_up();
    c.stop();
    let signal = c.data_directory().join("standby.signal");
    std::fs::write(&signal, "").expect("it can be written");
    harness::give_to_server_user(&signal);
    c.start();
    for function in ["incr_slot_health", "incr_cluster_health"] {
        let health = c.sql(&format!("SELECT level, reasons FROM {function}()"));
        assert!(
            health.starts_with("ok|") && health.contains("this server is a standby"),
            "{function}: {health}"
        );
    }
}
