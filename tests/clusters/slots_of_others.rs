//! "Somebody's slot has the name of mine." Whoever may replicate names slots as they like; a database
//! is backed up by a logical slot of its own on a plugin of ours, and by no other.

use harness::{wait_until, Cluster};

/// Makes a slot with the name that ours has in the test's database.
fn make(c: &Cluster, database: &str, function: &str) {
    let name =
        c.sql("SELECT 'pg_incrbackup_' || oid FROM pg_database WHERE datname = current_database()");
    c.sql_in(
        database,
        &format!(
            "SET ROLE replicator; SELECT {}",
            function.replace('%', &name)
        ),
    );
}

fn with_stranger(database: &str, function: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.on_log_error", "error")
        .start();
    c.sql("CREATE ROLE replicator REPLICATION; CREATE DATABASE other");
    make(&c, database, function);
    c
}

const PHYSICAL: &str = "pg_create_physical_replication_slot('%', true)";
const LOGICAL: &str = "pg_create_logical_replication_slot('%', 'test_decoding')";

#[test]
fn the_slot_of_a_stranger_stops_and_alarms_nobody() {
    for (database, function) in [("app", PHYSICAL), ("app", LOGICAL), ("other", LOGICAL)] {
        let c = with_stranger(database, function);
        let said = c.session().run("CREATE TABLE t (a int); DROP TABLE t");
        assert!(!said.contains("WARNING"), "{function}: {said}");
        c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
        // Where the launcher took it for ours, a worker of its own would say that it cannot read it.
        c.restart();
        c.sql_in(
            "other",
            "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()",
        );
        wait_until("the launcher has looked", || {
            c.is_true("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'")
        });
        assert!(!c.log().contains("capture stopped"), "{function}");
        let health = c.sql_in(
            "postgres",
            "SELECT database, level, reasons FROM incr_cluster_health() ORDER BY 1",
        );
        assert!(
            health.starts_with("app|warning|{\"this database is not backed up")
                && health.ends_with("\nother|ok|{}"),
            "{function}: {health}"
        );
    }
}

#[test]
fn setup_says_whose_slot_has_the_name() {
    for (function, why) in [(PHYSICAL, "a physical slot"), (LOGICAL, "test_decoding")] {
        let c = with_stranger("app", function);
        c.sql("CREATE EXTENSION pg_incrbackup; CREATE TABLE t (a int PRIMARY KEY)");
        let health = c.sql("SELECT level, reasons FROM incr_slot_health() ORDER BY level");
        assert!(
            health.contains("this database is not backed up"),
            "{health}"
        );
        let error = c.sql_error("SELECT * FROM incr_setup()");
        assert_eq!(error.sqlstate, "42710", "{error}");
        assert!(error.message.contains(why), "{error}");
        let drop = error.hint.strip_prefix("Run ").expect("it says what to do");
        c.sql(drop);
        c.sql("SELECT * FROM incr_setup(); INSERT INTO t VALUES (1)");
        c.assert_restores();
    }
}
