//! "My backup has stopped, and nobody said so."

use harness::{wait_until, Cluster};

#[test]
fn a_caught_up_database_is_ok_and_says_why_it_may_believe_so() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    assert_eq!(
        c.sql("SELECT level FROM incr_slot_health()"),
        "ok",
        "{}",
        c.health()
    );
    assert!(c.is_true(
        "SELECT active AND wal_status IS NOT NULL AND restart_lag_bytes >= 0 AND confirmed_lag_bytes >= 0
            AND durable_lsn IS NOT NULL AND last_commit_at <= now() AND disk_used_percent BETWEEN 0 AND 100
            AND database = current_database() AND plugin = 'pg_incrbackup' AND slot_name LIKE 'pg_incrbackup_%'
         FROM incr_slot_health()"
    ), "{}", c.sql("SELECT * FROM incr_slot_health()"));
    assert!(
        c.is_true("SELECT age::text::interval = '0' FROM incr_slot_health()"),
        "age is not 0 when caught up"
    );
}

#[test]
fn a_database_without_a_slot_says_so() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let health = c.health();
    assert!(
        !health.starts_with("ok") && health.contains("incr_setup"),
        "{health}"
    );
}

#[test]
fn wal_that_is_held_back_raises_the_level_with_the_thresholds() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int, b text)");
    c.flush();
    // The slot cannot let go of the WAL since the oldest open transaction.
    c.set("pg_incrbackup.lag_critical", "'1MB'");
    c.set("pg_incrbackup.lag_emergency", "'20MB'");
    let mut holder = c.session();
    holder.run("BEGIN; INSERT INTO t VALUES (1)");
    c.sql("INSERT INTO t SELECT 1, repeat('x', 1000) FROM generate_series(1, 3000)");
    wait_until("the level is critical", || {
        c.health().starts_with("critical")
    });
    c.sql("INSERT INTO t SELECT 1, repeat('x', 1000) FROM generate_series(1, 20000)");
    wait_until("the level is emergency", || {
        c.health().starts_with("emergency")
    });
    holder.run("COMMIT");
    wait_until("the level falls again", || {
        c.sql("CHECKPOINT; SELECT incr_flush()");
        c.health().starts_with("ok")
    });
}

#[test]
fn a_slot_without_a_worker_is_not_ok() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); SELECT incr_teardown(drop_slot => false)");
    let health = c.health();
    assert!(!health.starts_with("ok"), "{health}");
}

#[test]
fn an_identity_that_loses_rows_is_a_reason() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.replica_identity", "warn")
        .back_up();
    c.sql(
        "CREATE TABLE lossy (a int); INSERT INTO lossy VALUES (1); UPDATE lossy SET a = 2;
           SELECT incr_flush()",
    );
    assert!(c.health().contains("lossy"), "{}", c.health());
}
