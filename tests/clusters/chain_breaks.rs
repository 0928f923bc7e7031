//! "My backup stood still, or was cut, and nobody told me; or it filled my server's disk." What ends
//! a chain is noticed, said with its own reason, and followed by a new chain where that is wished.

use harness::{run, wait_until, Cluster};
use std::fs;
use std::process::Command;

const NEW_CHAIN: &str = "SELECT * FROM incr_setup(new_chain => true)";

fn wait_for_emergency(c: &Cluster, reason: &str) {
    wait_until(reason, || {
        let health = c.health();
        health.starts_with("emergency") && health.contains(reason)
    });
}

/// `ended` of the first chain's chain.json.
fn end_of_first_chain(c: &Cluster) -> String {
    let json = c.database_directory().join("chain-1/chain.json");
    let text = fs::read_to_string(json).expect("the first chain is there");
    let (_, ended) = text.split_once("\"ended\":").expect("chains say it");
    ended.to_string()
}

/// What every procedure ends with: a new chain, of which everything comes back.
fn assert_goes_on(c: &Cluster) {
    wait_until("the new chain is well", || c.health().starts_with("ok"));
    c.sql("CREATE TABLE afterwards (a int); INSERT INTO afterwards VALUES (1)");
    c.assert_restores();
}

#[test]
fn a_slot_whose_wal_is_gone_ends_the_chain() {
    let c = Cluster::builder()
        .setting("max_slot_wal_keep_size", "1MB")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    for _ in 0..4 {
        c.sql("INSERT INTO t SELECT 1 + coalesce(max(a), 0) FROM t; SELECT pg_switch_wal()");
    }
    c.sql("CHECKPOINT");
    wait_for_emergency(&c, "the server has invalidated the slot");
    assert!(end_of_first_chain(&c).contains("max_slot_wal_keep_size"));
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

#[test]
fn a_slot_that_somebody_dropped_is_missed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    c.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    wait_for_emergency(&c, "the slot has been dropped");
    assert!(end_of_first_chain(&c).contains("the slot has been dropped"));
    // The board forgets with the server's end, the files do not.
    c.restart();
    assert!(c.health().starts_with("emergency"), "{}", c.health());
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

#[test]
fn a_slot_that_was_dropped_while_the_server_was_another_is_missed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    c.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    assert!(
        c.health().contains("chain 1 no longer has a slot"),
        "{}",
        c.health()
    );
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

#[test]
fn a_slot_of_the_same_name_that_somebody_made_anew_is_found_out() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    let name = c.sql("SELECT slot_name FROM pg_replication_slots");
    // It must not look in between, when there is none.
    let launcher =
        c.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup launcher'");
    run(Command::new("kill").args(["-STOP", &launcher]));
    c.sql(&format!(
        "SELECT pg_drop_replication_slot('{name}'); INSERT INTO t VALUES (1)"
    ));
    let plugins = c.sql("SELECT set_config('output_plugin_libraries', 'pg_incrbackup', false) FROM pg_settings WHERE name = 'output_plugin_libraries'");
    let allow = match plugins.as_str() {
        "" => "",
        _ => "SET output_plugin_libraries = pg_incrbackup;",
    };
    c.sql(&format!(
        "{allow} SELECT pg_create_logical_replication_slot('{name}', 'pg_incrbackup')"
    ));
    run(Command::new("kill").args(["-CONT", &launcher]));
    c.try_sql_in(c.database(), "SELECT * FROM incr_setup()")
        .ok();
    wait_for_emergency(&c, "the changes in between are lost");
    assert!(end_of_first_chain(&c).contains("the changes in between are lost"));
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

#[test]
fn a_slot_that_fills_the_servers_disk_is_dropped_where_that_is_wished() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.lag_emergency", "4MB")
        .setting("pg_incrbackup.lag_critical", "1MB")
        .setting("pg_incrbackup.lag_action_delay", "1s")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.flush();
    let archive = c.archive_directory();
    run(Command::new("chmod").arg("000").arg(&archive));
    // The one that runs has its file open.
    c.slot("pg_terminate_backend(active_pid)");
    c.sql("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i");
    wait_until("capture stands still", || {
        c.health().contains("times in a row")
    });
    assert!(
        c.health().contains("past pg_incrbackup.lag_emergency"),
        "{}",
        c.health()
    );
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(c.sql(slots), "1");
    c.set("pg_incrbackup.lag_action", "drop_slot");
    wait_until("the slot is dropped", || c.sql(slots) == "0");
    wait_for_emergency(&c, "pg_incrbackup.lag_action dropped the slot");
    run(Command::new("chmod").arg("700").arg(&archive));
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

/// Where the slot waits for the copies, what is only held until the next one is not held for ever.
#[test]
fn wal_that_waits_for_its_copy_costs_no_slot_unless_copies_fail() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.lag_emergency", "4MB")
        .setting("pg_incrbackup.lag_critical", "1MB")
        .setting("pg_incrbackup.lag_action_delay", "1s")
        .setting("pg_incrbackup.lag_action", "drop_slot")
        .setting("pg_incrbackup.confirm", "archived")
        .setting("pg_incrbackup.archive_command", "'true'")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.sql("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i");
    c.flush();
    let held =
        "SELECT pg_current_wal_lsn() - restart_lsn > 4 * 1024 * 1024 FROM pg_replication_slots";
    assert!(c.is_true(held));
    // Longer than the delay, and than the launcher takes between two looks.
    c.sql("SELECT pg_sleep(5)");
    assert!(c.is_true(held), "the slot is there, and holds it");
    c.set("pg_incrbackup.archive_command", "'false'");
    c.sql("SELECT incr_rotate()");
    let slots = "SELECT count(*) FROM pg_replication_slots";
    wait_until("the slot is dropped", || c.sql(slots) == "0");
    wait_for_emergency(&c, "pg_incrbackup.lag_action dropped the slot");
}

/// A server, stopped, whose data directory is as it was before its last rows were captured.
fn set_back() -> Cluster {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.stop();
    let copy = c.root().join("copy");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.data_directory())
        .arg(&copy));
    c.start();
    c.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    c.flush();
    c.stop();
    fs::remove_dir_all(c.data_directory()).expect("the server is down");
    fs::rename(copy, c.data_directory()).expect("one file system");
    c
}

#[test]
fn a_server_that_was_set_back_does_not_write_on() {
    let c = set_back();
    c.start();
    wait_for_emergency(&c, "the server was reset to an earlier state");
    c.sql("INSERT INTO t VALUES (5)");
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

#[test]
fn a_new_chain_begins_by_itself_where_that_is_wished() {
    let c = set_back();
    c.write_setting("pg_incrbackup.on_chain_break", "rebase");
    c.start();
    wait_until("the second chain is there", || {
        c.database_directory().join("chain-2").exists() && c.health().starts_with("ok")
    });
    assert!(end_of_first_chain(&c).contains("the server was reset to an earlier state"));
    assert_goes_on(&c);
}

#[test]
fn a_server_that_was_set_back_and_has_written_on_does_not_mix_two_histories() {
    let c = set_back();
    c.write_setting("pg_incrbackup.directory", "''");
    c.start();
    // No transaction is needed to see it.
    c.sql("SELECT pg_switch_wal()");
    let archive = c.archive_directory();
    c.set(
        "pg_incrbackup.directory",
        &format!("'{}'", archive.display()),
    );
    wait_for_emergency(
        &c,
        "the server's WAL does not: the server was reset to an earlier state",
    );
    c.sql("INSERT INTO t VALUES (5)");
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}

/// Makes the server begin a new timeline, as after a recovery to a point or a promotion.
fn recover(c: &Cluster) {
    let signal = c.data_directory().join("recovery.signal");
    fs::write(&signal, "").expect("the server is down");
    harness::give_to_server_user(&signal);
    c.write_setting("restore_command", "'false'");
    c.start();
    c.wait_for_connections();
}

#[test]
fn a_new_timeline_goes_on_in_the_same_chain_where_nothing_was_cut() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.stop();
    recover(&c);
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    assert!(c.stream().contains("timeline=2"));
}

#[test]
fn a_new_timeline_that_left_the_old_one_before_the_end_of_the_files_ends_the_chain() {
    let c = set_back();
    recover(&c);
    wait_for_emergency(&c, "on timeline 1, which the server left at");
    // Nobody has said that commits may be set apart.
    assert!(!c.database_directory().join("chain-1/lost-1").exists());
    c.sql(NEW_CHAIN);
    assert_goes_on(&c);
}
