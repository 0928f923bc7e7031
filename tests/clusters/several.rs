//! "One database's backup broke, and took the others along." Several databases of one cluster, each with its
//! slot, worker and directory: whatever happens to one, the others go on, and one look shows all.

use crate::healing::lose;
use harness::{assert_identical, run, wait_until, wait_until_within, Cluster};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// `app` and `other`, both backed up.
fn two() -> Cluster {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", "SELECT * FROM incr_setup()");
    for database in ["app", "other"] {
        c.sql_in(
            database,
            "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()",
        );
    }
    c
}

/// Levels in the order of the names.
fn levels(c: &Cluster, from: &str) -> String {
    c.sql_in(from, "SELECT string_agg(database || ' ' || level, ', ' ORDER BY database) FROM incr_cluster_health()")
}

fn health_of(c: &Cluster, database: &str) -> String {
    c.sql_in(database, "SELECT level, reasons FROM incr_slot_health()")
}

/// The other one writes, restores, and knows of no trouble.
fn assert_other_is_well(c: &Cluster) {
    c.sql_in("other", "INSERT INTO t SELECT coalesce(max(a), 0) + 1 FROM t; SELECT incr_flush('2min'); SELECT incr_rotate()");
    assert!(
        health_of(c, "other").starts_with("ok"),
        "{}",
        health_of(c, "other")
    );
    assert_eq!(c.sql_in("other", "SELECT * FROM incr_verify()"), "");
    let script = c.archive_directory().join("other/restore.sh");
    let target = "restored_other";
    c.sql_in("postgres", &format!("DROP DATABASE IF EXISTS {target}"));
    let mut command = c.installation().command("sh");
    run(command.arg(script).args(["--target", &c.conninfo(target)]));
    assert_identical((c, "other"), (c, target));
    c.sql_in("other", "SELECT incr_dump()");
}

fn wait_for_emergency(c: &Cluster, said: &str) {
    wait_until("health of the one tells", || {
        let health = health_of(c, "app");
        (health.starts_with("critical") || health.starts_with("emergency")) && health.contains(said)
    });
}

#[test]
fn all_are_shown_from_any_database_and_each_shows_its_own() {
    let c = two();
    assert_eq!(levels(&c, "app"), "app ok, other ok");
    assert_eq!(levels(&c, "other"), "app ok, other ok");
    for database in ["app", "other"] {
        assert_eq!(
            c.sql_in(database, "SELECT DISTINCT database FROM incr_slot_health()"),
            database
        );
    }
    assert!(c.is_true(
        "SELECT bool_and(active AND wal_status IS NOT NULL AND restart_lag_bytes >= 0 AND confirmed_lag_bytes >= 0
            AND durable_lsn IS NOT NULL AND last_commit_at <= now() AND disk_used_percent BETWEEN 0 AND 100
            AND slot_name LIKE 'pg_incrbackup_%') FROM incr_cluster_health()"
    ), "{}", c.sql("SELECT * FROM incr_cluster_health()"));
    let workers = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'";
    assert_eq!(c.sql(workers), "2");
    // One that was never backed up is told, but has no figures.
    c.sql_in("postgres", "CREATE DATABASE third");
    assert_eq!(levels(&c, "app"), "app ok, other ok, third warning");
    assert_eq!(c.sql("SELECT count(*) FROM incr_metrics()"), "2");
    c.sql_in("other", "SELECT incr_teardown()");
    assert_eq!(levels(&c, "app"), "app ok, other warning, third warning");
    c.sql_in("postgres", "DROP DATABASE other");
    let gone = c.sql("SELECT reasons FROM incr_cluster_health() WHERE database = 'other'");
    assert!(gone.contains("the database no longer exists"), "{gone}");
}

#[test]
fn monitors_may_look_at_all() {
    let c = two();
    c.sql("CREATE ROLE watcher IN ROLE pg_monitor; CREATE ROLE nosy");
    assert_eq!(
        c.sql("SET ROLE watcher; SELECT count(*) FROM incr_cluster_health()"),
        "2"
    );
    assert_eq!(
        c.sql_error("SET ROLE nosy; SELECT * FROM incr_cluster_health()")
            .sqlstate,
        "42501"
    );
}

#[test]
fn a_directory_that_is_gone_is_the_trouble_of_one() {
    let c = two();
    let directory = c.database_directory();
    let aside = c.root().join("aside");
    fs::rename(&directory, &aside).expect("one file system");
    c.sql("INSERT INTO t VALUES (2)");
    wait_for_emergency(&c, "");
    assert!(
        levels(&c, "other").ends_with(", other ok"),
        "{}",
        levels(&c, "other")
    );
    assert_other_is_well(&c);
    c.restart();
    c.sql("INSERT INTO t VALUES (3)");
    wait_for_emergency(&c, "");
    assert_other_is_well(&c);
    assert_ne!(levels(&c, "other"), "app ok, other ok");
    fs::rename(aside, directory).expect("one file system");
    wait_until("the one goes on", || {
        c.try_sql("SELECT incr_flush('5 s')").is_ok()
    });
    c.assert_restores();
}

#[test]
fn a_slot_that_is_broken_is_the_trouble_of_one() {
    let c = two();
    let name = c.slot("slot_name");
    // At once, or the next worker is there before the slot is dropped.
    let drop = format!(
        "DO $$BEGIN LOOP BEGIN PERFORM pg_drop_replication_slot('{name}'); RETURN;
           EXCEPTION WHEN object_in_use THEN
             PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{name}';
             PERFORM pg_sleep(0.0005); END; END LOOP; END$$"
    );
    wait_until("the slot is dropped", || c.try_sql(&drop).is_ok());
    wait_for_emergency(&c, "the chain is broken");
    assert_eq!(levels(&c, "other"), "app emergency, other ok");
    let first = c.sql_in(
        "other",
        "SELECT database FROM incr_cluster_health() LIMIT 1",
    );
    assert_eq!(first, "app", "the worst comes first");
    assert_other_is_well(&c);
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    assert_eq!(levels(&c, "other"), "app ok, other ok");
    c.assert_restores();
}

#[test]
fn a_chain_that_cannot_be_read_is_the_trouble_of_one() {
    let c = two();
    let json = c.chain_directory().join("chain.json");
    let whole = fs::read(&json).expect("it can be read");
    fs::write(&json, "{").expect("it can be written");
    c.restart();
    wait_for_emergency(&c, "");
    assert_other_is_well(&c);
    assert!(
        levels(&c, "other").ends_with(", other ok"),
        "{}",
        levels(&c, "other")
    );
    fs::write(&json, whole).expect("it can be written");
    wait_until("the one goes on", || {
        c.try_sql("SELECT incr_flush('5 s')").is_ok()
    });
    c.assert_restores();
}

#[test]
fn permissions_that_were_lost_on_one_directory_are_the_trouble_of_one() {
    let c = two();
    let directory = c.database_directory();
    let chain = c.chain_directory().join("chain.json");
    for path in [chain, directory] {
        let mode = |mode: &str| {
            run(Command::new("chmod").arg(mode).arg(&path));
        };
        let was = if path.is_dir() { "700" } else { "600" };
        mode("000");
        c.restart();
        wait_for_emergency(&c, "");
        assert_other_is_well(&c);
        mode(was);
        wait_until("the one goes on", || {
            c.try_sql("SELECT incr_flush('5 s')").is_ok()
        });
    }
    c.assert_restores();
}

#[test]
fn a_row_that_cannot_be_named_is_the_trouble_of_one() {
    let c = two();
    let mut held = c.session();
    held.run("BEGIN; CREATE TABLE held (a int PRIMARY KEY)");
    lose(&c, "UPDATE t SET a = 5");
    wait_until("health of the one tells", || {
        levels(&c, "app") == "app warning, other ok" && c.health().contains("are incomplete")
    });
    assert_other_is_well(&c);
    held.run("COMMIT");
    wait_until("a base ends it", || levels(&c, "app") == "app ok, other ok");
}

/// The board's places are counted, and whoever gets none is told which setting it is.
#[test]
fn a_database_too_many_is_told_so_and_takes_nothing_from_the_others() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.max_databases", "1")
        .back_up();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    let error = c.try_sql_in("other", "SELECT * FROM incr_setup()");
    let error = error.expect_err("there is no room");
    assert_eq!(error.sqlstate, "53400", "{error}");
    let named = error.text.contains("pg_incrbackup.max_databases is 1");
    assert!(named, "{error}");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.assert_restores();
    assert!(health_of(&c, "app").starts_with("ok"));

    // Backed up with more room before: its slot waits, and that is told.
    c.sql_in(
        "postgres",
        "ALTER SYSTEM SET pg_incrbackup.max_databases = 2",
    );
    c.restart();
    c.sql_in("other", "SELECT * FROM incr_setup()");
    c.sql_in("other", "CREATE TABLE t (a int PRIMARY KEY)");
    c.sql_in(
        "postgres",
        "ALTER SYSTEM SET pg_incrbackup.max_databases = 1",
    );
    c.restart();
    let told = || {
        let both = ["app", "other"].map(|database| health_of(&c, database));
        both.iter()
            .any(|health| health.starts_with("emergency") && health.contains("max_databases"))
    };
    wait_until("health tells of the one that waits", told);
    let log = c.log();
    let warnings = log.lines().filter(|line| {
        line.contains("WARNING") && line.contains("too many databases are backed up")
    });
    assert_eq!(warnings.count(), 1, "{log}");
    // Who waits says so.
    let waiting = ["app", "other"]
        .into_iter()
        .find(|database| health_of(&c, database).contains("max_databases"));
    let waiting = waiting.expect("one of them waits");
    for refused in [
        "SELECT incr_rotate()",
        "SELECT incr_flush()",
        "SELECT incr_teardown(false)",
    ] {
        let error = c
            .try_sql_in(waiting, refused)
            .expect_err("nobody could do it");
        assert_eq!(error.sqlstate, "53400", "{refused}: {error}");
    }
    c.sql_in(
        "postgres",
        "ALTER SYSTEM SET pg_incrbackup.max_databases = 128",
    );
    c.restart();
    assert_other_is_well(&c);
    wait_until("both are well", || levels(&c, "app") == "app ok, other ok");
}

/// The launcher has a slot to drop whose worker does not end, stopped as by a disk that does not answer.
#[test]
fn a_worker_that_does_not_end_is_the_trouble_of_one() {
    let c = two();
    for (name, value) in [
        ("lag_critical", "1MB"),
        ("lag_emergency", "4MB"),
        // On a slow machine the other one takes its time, too.
        ("lag_action_delay", "15s"),
    ] {
        c.set(&format!("pg_incrbackup.{name}"), value);
    }
    let stuck = c.capture_pid();
    run(Command::new("kill").args(["-STOP", &stuck]));
    c.set("pg_incrbackup.lag_action", "drop_slot");
    let others = "SELECT active_pid FROM pg_replication_slots WHERE database = 'other'";
    // The other one must not seem to stand still.
    let write = "CREATE TABLE IF NOT EXISTS filled (b text); INSERT INTO filled SELECT repeat('x', 1000) FROM generate_series(1, 200)";
    let told = "the launcher has told the worker to end";
    wait_until_within(Duration::from_secs(180), told, || {
        c.sql(write);
        let status = format!("/proc/{stuck}/status");
        let status = fs::read_to_string(status).expect("it is stopped");
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        let pending = u64::from_str_radix(pending.expect("the kernel tells").trim(), 16);
        pending.expect("a mask") & (1 << (15 - 1)) != 0
    });
    let before = c.sql(others);
    c.sql(&format!("SELECT pg_terminate_backend({before})"));
    wait_until("the other has a worker again", || {
        c.sql(write);
        let pid = c.sql(others);
        !pid.is_empty() && pid != before
    });
    // Whoever waits for the one that does not end gives up before it starts the other's.
    assert!(!c.log().contains("is active for PID"), "{}", c.log());
    run(Command::new("kill").args(["-CONT", &stuck]));
    wait_until("the slot is dropped", || {
        c.sql(write);
        let health = health_of(&c, "app");
        health.contains("pg_incrbackup.lag_action dropped the slot")
    });
    for name in ["lag_action", "lag_critical", "lag_emergency"] {
        c.set(
            &format!("pg_incrbackup.{name}"),
            if name == "lag_action" { "none" } else { "10GB" },
        );
    }
    assert_other_is_well(&c);
}
