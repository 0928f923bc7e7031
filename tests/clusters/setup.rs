//! "Setting it up goes wrong, and I do not know why." incr_setup() names what is missing, takes a
//! database to a usable backup in one call, and changes nothing the second time.

use harness::{wait_until, Cluster};

/// A cluster with the extension's function made callable, for preflight failures.
fn unprepared(builder: harness::Builder) -> Cluster {
    let c = builder.start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    c
}

#[test]
fn one_call_gives_a_usable_backup() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1);
           CREATE EXTENSION pg_incrbackup",
    );
    let steps = c.sql("SELECT step, status FROM incr_setup()");
    assert!(steps.lines().count() > 3, "{steps}");
    assert_eq!(c.slot("plugin"), "pg_incrbackup");
    let base = &c.bases()[0];
    for file in ["database.sql", "globals.sql", "metadata.json", "SHA256SUMS"] {
        assert!(
            base.join(file).exists(),
            "{file} is missing in {}",
            base.display()
        );
    }
    for file in ["restore.sh", "README.txt"] {
        assert!(
            c.database_directory().join(file).exists(),
            "{file} is missing"
        );
    }
    c.assert_restores();
}

#[test]
fn a_second_call_changes_nothing() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let state = || {
        let slots = c.sql("SELECT slot_name, plugin FROM pg_replication_slots ORDER BY 1");
        (
            slots,
            c.bases(),
            c.chain_directory(),
            c.sql("SELECT count(*) FROM ddl_history"),
        )
    };
    let before = state();
    c.sql("SELECT * FROM incr_setup()");
    assert_eq!(state(), before);
    c.assert_restores();
}

#[test]
fn a_new_chain_is_begun_on_request() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    assert!(
        c.chain_directory().ends_with("chain-2"),
        "{}",
        c.chain_directory().display()
    );
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
}

#[test]
fn a_setup_that_is_refused_is_not_a_failed_base() {
    let c = Cluster::backed_up();
    let archive = c.database_directory();
    let away = c.root().join("away");
    std::fs::rename(&archive, &away).expect("it is ours");
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("does not contain its chain"), "{error}");
    std::fs::rename(&away, &archive).expect("it is ours");
    let failures = "SELECT base_failures FROM incr_metrics()";
    assert_eq!(c.sql(failures), "0");
    wait_until("nothing is wrong any more", || c.health().starts_with("ok"));

    // But a base that has failed stays one.
    c.set("pg_incrbackup.bin_directory", "'/nowhere'");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == "/nowhere"
    });
    c.sql_error("SELECT incr_dump()");
    assert_eq!(c.sql(failures), "1");
    assert!(
        c.health().contains("the last base backup failed"),
        "{}",
        c.health()
    );
    c.set("pg_incrbackup.bin_directory", "''");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory").is_empty()
    });
    std::fs::rename(&archive, &away).expect("it is ours");
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("does not contain its chain"), "{error}");
    std::fs::rename(&away, &archive).expect("it is ours");
    assert_eq!(c.sql(failures), "1");
    let told =
        "the last base backup failed, before an incr_setup() that was refused: see the server log";
    assert!(c.health().contains(told), "{}", c.health());

    // Nor is one refused that has dropped the slot, and waits for a transaction before it has another.
    let mut open = c.session();
    open.run("BEGIN; SELECT pg_current_xact_id()");
    let mut setup = c.session();
    setup.send("SELECT * FROM incr_setup(new_chain => true)");
    wait_until("the slot is being created", || {
        c.is_true(
            "SELECT true FROM incr_status() WHERE worker = 'base' AND state = 'creating the slot'",
        )
    });
    c.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup base'");
    let output = setup.finish();
    assert!(output.contains("was stopped"), "{output}");
    assert_eq!(c.sql(failures), "2");
    open.run("COMMIT");
}

#[test]
fn wal_level_is_named_with_the_line_to_write() {
    let c = unprepared(Cluster::builder().setting("wal_level", "replica"));
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("wal_level"), "{error}");
    assert!(error.text.contains("wal_level = logical"), "{error}");
}

#[test]
fn the_missing_preload_is_named() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let error = match c.try_sql("CREATE EXTENSION pg_incrbackup") {
        Ok(_) => c.sql_error("SELECT * FROM incr_setup()"),
        Err(error) => error,
    };
    assert!(error.text.contains("shared_preload_libraries"), "{error}");
    assert_eq!(error.sqlstate, "55000", "{error}");
}

#[test]
fn the_missing_directory_is_named() {
    let c = unprepared(Cluster::builder().setting("pg_incrbackup.directory", "''"));
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("pg_incrbackup.directory"), "{error}");
}

#[test]
fn missing_slots_and_senders_are_named() {
    for setting in ["max_replication_slots", "max_wal_senders"] {
        let c = unprepared(Cluster::builder().setting(setting, "0"));
        match c.try_sql("SELECT * FROM incr_setup()") {
            Err(error) => assert!(error.text.contains(setting), "{error}"),
            // Capture takes no WAL sender, so setup may do without.
            Ok(_) => assert_eq!(setting, "max_wal_senders"),
        }
    }
}

#[test]
fn occupied_slots_are_named() {
    let c = unprepared(Cluster::builder().setting("max_replication_slots", "1"));
    c.sql("SELECT pg_create_physical_replication_slot('occupied')");
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("max_replication_slots"), "{error}");
    c.sql("SELECT pg_drop_replication_slot('occupied'); SELECT * FROM incr_setup()");
    c.sql("CREATE TABLE t (a int)");
    c.assert_restores();
}

#[test]
fn a_transaction_with_an_xid_is_refused() {
    let c = unprepared(Cluster::builder());
    let error = c.sql_error("BEGIN; SELECT txid_current(); SELECT * FROM incr_setup()");
    assert_eq!(error.sqlstate, "25001", "{error}");
    c.sql("SELECT * FROM incr_setup()");
}

#[test]
fn it_says_which_open_transactions_it_waits_for() {
    let c = unprepared(Cluster::builder());
    c.sql("CREATE TABLE t (a int)");
    let mut holder = c.session();
    let pid = holder.run("BEGIN; INSERT INTO t VALUES (1); SELECT pg_backend_pid()");
    let mut setup = c.session();
    setup.send("SELECT * FROM incr_setup()");
    setup.wait_for_line(|line| line.contains(&format!("pid {pid},")));
    holder.run("COMMIT");
    let output = setup.finish();
    assert!(!output.contains("ERROR"), "{output}");
    c.assert_restores();
}

#[test]
fn it_can_be_cancelled_while_it_waits() {
    let c = unprepared(Cluster::builder());
    c.sql("CREATE TABLE t (a int)");
    let mut holder = c.session();
    holder.run("BEGIN; INSERT INTO t VALUES (1)");
    let error = c.sql_error("SET statement_timeout = '3 s'; SELECT * FROM incr_setup()");
    assert_eq!(error.sqlstate, "57014", "{error}");
    holder.run("COMMIT");
    // The base worker that the cancelled call left is still on its way out.
    wait_until("setup can run again", || {
        c.try_sql("SELECT * FROM incr_setup()").is_ok()
    });
    c.assert_restores();
}

/// It has dropped the slot by then, and keeps the other workers away.
#[test]
fn a_new_chain_can_be_cancelled_while_it_waits() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let mut holder = c.session();
    holder.run("BEGIN; INSERT INTO t VALUES (1)");
    let setup = "SELECT * FROM incr_setup(new_chain => true)";
    let error = c.sql_error(&format!("SET statement_timeout = '3 s'; {setup}"));
    assert_eq!(error.sqlstate, "57014", "{error}");
    holder.run("COMMIT");
    wait_until("setup can run again", || c.try_sql(setup).is_ok());
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
}

#[test]
fn a_standby_is_refused() {
    let primary = Cluster::builder().start();
    primary.sql("CREATE EXTENSION pg_incrbackup");
    primary.stop();
    std::fs::write(primary.data_directory().join("standby.signal"), "")
        .expect("the signal can be written");
    primary.write_setting("primary_conninfo", "''");
    primary.write_setting("hot_standby", "on");
    primary.start();
    let error = primary.sql_error("SELECT * FROM incr_setup()");
    assert!(
        error.text.contains("standby") || error.text.contains("recovery"),
        "{error}"
    );
    assert_eq!(error.sqlstate, "25006", "{error}");
}

#[test]
fn two_databases_are_backed_up_side_by_side() {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "CREATE DATABASE \"Other Db/ä\"");
    let other = "Other Db/ä";
    c.sql_in(other, "CREATE EXTENSION pg_incrbackup");
    c.sql_in(other, "SELECT * FROM incr_setup()");
    c.sql("CREATE TABLE here (a int); INSERT INTO here VALUES (1)");
    c.sql_in(
        other,
        "CREATE TABLE there (a int); INSERT INTO there VALUES (2); SELECT incr_flush()",
    );
    c.assert_restores();
    assert!(!c.stream().contains("there"));
    let directories = std::fs::read_dir(c.archive_directory()).expect("the archive can be listed");
    let names: Vec<_> = directories
        .flatten()
        .map(|d| d.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.contains(&"Other%20Db%2F%C3%A4".to_string()),
        "{names:?}"
    );
}
