//! "The backup had been broken for weeks, and the dashboard was green." Seen through Debian's
//! postgres_exporter on a real cluster: every metric is there, and what goes wrong shows.
//! What the alerts and the dashboard make of it is in `monitoring_alerts`, the check for Nagios in
//! `monitoring_checks`.

use crate::exporter::{all_names, here, shell, shop, Exporter, NOT_CARRIED, PAGE};
use crate::page::block;
use harness::{run, wait_until, Cluster};
use std::fs;

/// Everything is in use and has something to tell.
fn eventful() -> Cluster {
    let c = shop()
        .setting("pg_incrbackup.archive_command", "'false'")
        .setting("pg_incrbackup.replica_identity", "warn")
        .setting("pg_incrbackup.decoding_work_mem", "'64kB'")
        .setting("max_slot_wal_keep_size", "'1GB'")
        .back_up();
    c.sql(&block(PAGE, "role"));
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text); CREATE TABLE keyless (a int);
         INSERT INTO t SELECT a, repeat('text ', 20) FROM generate_series(1, 5000) a;
         INSERT INTO t VALUES (0, 'last'); SELECT incr_rotate()",
    );
    c.sql("SELECT incr_drill()");
    c.sql(NOT_CARRIED);
    c.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'");
    wait_until("capture is back, and has looked", || {
        c.try_sql("SELECT incr_flush()").is_ok()
            && c.is_true("SELECT tables_without_identity > 0 FROM incr_metrics()")
    });
    c
}

#[test]
fn every_metric_is_told_with_a_sane_value() {
    let c = eventful();
    c.sql("INSERT INTO t VALUES (-1, 'the last'); SELECT incr_flush()");
    wait_until("archive_command has failed", || {
        c.is_true("SELECT archive_failures > 0 FROM incr_metrics()")
    });
    let exporter = Exporter::start(&c, "");
    let metrics = exporter.scrape();
    assert_eq!(metrics.names(), all_names());
    let now: f64 = c
        .sql("SELECT extract(epoch FROM now())")
        .parse()
        .expect("a number");
    let is = |name: &str, least: f64, most: f64| {
        let value = metrics.of("shop", name);
        assert!((least..=most).contains(&value), "{name}: {value}");
    };
    is("level", 1.0, 1.0);
    is("chain_broken", 0.0, 0.0);
    is("capturing", 1.0, 1.0);
    is("active", 1.0, 1.0);
    is("wal_status", 0.0, 1.0);
    is("restart_lag_bytes", 0.0, 1e9);
    is("confirmed_lag_bytes", 0.0, 1e9);
    is("safe_wal_bytes", 1e6, 1.2e9);
    is("behind_seconds", 0.0, 600.0);
    is("last_commit_timestamp_seconds", now - 600.0, now + 1.0);
    is("transactions_total", 1.0, 100.0);
    is("statements_total", 1.0, 1e5);
    is("written_bytes_total", 10.0, 1e8);
    is("spilled_transactions_total", 1.0, 100.0);
    is("spills_total", 1.0, 1e4);
    is("spilled_bytes_total", 1e4, 1e8);
    is("restarts_total", 1.0, 10.0);
    is("errors_total", 0.0, 10.0);
    is("not_carried_total", 1.0, 10.0);
    is("ddl_not_carried_total", 1.0, 10.0);
    is("ddl_logged", 1.0, 1.0);
    // keyless, and the partition that NOT_CARRIED makes.
    is("tables_without_identity", 2.0, 2.0);
    is("base_age_seconds", 0.0, 600.0);
    is("base_seconds", 0.01, 600.0);
    is("base_failures", 0.0, 0.0);
    is("drill_result", 0.0, 0.0);
    is("drill_age_seconds", 0.0, 600.0);
    is("drill_seconds", 0.01, 600.0);
    is("archive_lag_files", 1.0, 100.0);
    is("archive_lag_bytes", 100.0, 1e8);
    is("archive_lag_seconds", 0.0, 600.0);
    is("archive_failures", 1.0, 1e4);
    is("disk_used_percent", 0.0, 100.0);
    is("synchronous_waiting", 0.0, 0.0);
    is("synchronous_degraded_total", 0.0, 0.0);
    c.sql_in("postgres", "CREATE DATABASE forgotten");
    assert_eq!(exporter.scrape().of("", "databases_without_backup"), 1.0);
    let shown = here(&c, "look").replace("localhost:9187", exporter.address());
    let shown = String::from_utf8_lossy(&run(&mut shell(&c, &shown)).stdout).into_owned();
    assert!(
        shown.contains("database=\"shop\"") && shown.trim().ends_with("} 1"),
        "{shown}"
    );
}

#[test]
fn what_nobody_knows_is_no_number() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    let metrics = Exporter::start(&c, "").scrape();
    for name in [
        "safe_wal_bytes",
        "drill_result",
        "drill_age_seconds",
        "drill_seconds",
        "archive_lag_files",
        "archive_lag_bytes",
        "archive_lag_seconds",
        "archive_failures",
    ] {
        assert!(metrics.of("shop", name).is_nan(), "{name}: {metrics:?}");
    }
}

#[test]
fn a_broken_chain_and_a_capture_that_stands_still_show_each_at_its_database() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    for other in ["other", "quiet"] {
        c.sql_in("postgres", &format!("CREATE DATABASE {other}"));
        c.sql_in(other, "CREATE EXTENSION pg_incrbackup");
        c.sql_in(other, "SELECT * FROM incr_setup()");
    }
    // Discovering databases tells nothing twice.
    let exporter = Exporter::start(&c, "--auto-discover-databases");
    for name in ["shop", "other", "quiet"] {
        let metrics = exporter.scrape();
        assert_eq!(
            metrics.of(name, "level"),
            0.0,
            "{}",
            c.sql("SELECT * FROM incr_cluster_health()")
        );
        assert_eq!(metrics.of(name, "capturing"), 1.0);
    }
    c.lose_slot();
    c.sql_in("other", "SELECT incr_teardown(drop_slot => false)");
    wait_until("the broken chain shows", || {
        exporter.scrape().of("shop", "chain_broken") == 1.0
    });
    let metrics = exporter.scrape();
    let of = |database: &str| {
        ["level", "chain_broken", "capturing", "active"].map(|name| metrics.of(database, name))
    };
    assert_eq!(of("shop"), [3.0, 1.0, 0.0, 0.0]);
    assert_eq!(of("other"), [2.0, 0.0, 0.0, 0.0]);
    assert_eq!(of("quiet"), [0.0, 0.0, 1.0, 1.0]);
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    let metrics = exporter.scrape();
    assert_eq!(metrics.of("shop", "chain_broken"), 0.0, "{metrics:?}");
}

#[test]
fn a_backup_that_was_ended_waits_for_nothing_and_a_dropped_database_is_gone() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "role"));
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", "SELECT * FROM incr_setup()");
    let exporter = Exporter::start(&c, "");
    assert!(exporter.scrape().of("other", "base_age_seconds") >= 0.0);
    c.sql_in("other", "SELECT incr_teardown()");
    let metrics = exporter.scrape();
    assert!(
        metrics.of("other", "base_age_seconds").is_nan(),
        "{metrics:?}"
    );
    // Of an alert for capture that stands still: it is not to run.
    assert!(metrics.of("other", "capturing").is_nan(), "{metrics:?}");
    assert_eq!(metrics.of("other", "chain_broken"), 0.0);
    assert_eq!(metrics.of("other", "level"), 1.0);
    c.sql_in("postgres", "DROP DATABASE other");
    assert_eq!(exporter.scrape().databases(), ["shop".to_string()].into());
}

#[test]
fn a_role_with_the_least_rights_sees_all_and_may_do_nothing() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "least"));
    let exporter = Exporter::start(&c, "--disable-default-metrics --disable-settings-metrics");
    assert_eq!(exporter.scrape().names(), all_names());
    for call in [
        "incr_flush()",
        "incr_files()",
        "incr_status()",
        "incr_drill()",
    ] {
        let error = c.sql_error(&format!("SET ROLE prometheus; SELECT * FROM {call}"));
        assert_eq!(error.sqlstate, "42501", "{call}: {error}");
    }
}

#[test]
fn errors_and_failed_bases_are_counted() {
    let c = shop().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    // The delay is measured from the last commit that is on disk.
    c.flush();
    let before = c.sql("SELECT errors + restarts FROM incr_metrics()");
    assert_eq!(before, "0");
    let archive = c.archive_directory();
    let aside = c.root().join("aside");
    fs::rename(&archive, &aside).expect("one file system");
    c.sql("INSERT INTO t VALUES (1)");
    wait_until("capture has failed twice", || {
        c.is_true("SELECT errors >= 2 AND restarts >= 2 AND NOT capturing AND NOT chain_broken FROM incr_metrics()")
    });
    wait_until("its delay is measured", || {
        c.is_true("SELECT behind_seconds > 0 FROM incr_metrics()")
    });
    fs::rename(&aside, &archive).expect("one file system");
    wait_until("capture goes on", || {
        c.try_sql("SELECT incr_flush('5 s')").is_ok()
    });
    assert!(c.is_true("SELECT capturing AND errors >= 2 FROM incr_metrics()"));
    c.set("pg_incrbackup.dump_conninfo", "'host=/nowhere'");
    // A call may still have the former setting, or be refused because another base is in progress.
    wait_until("a base fails", || {
        c.try_sql("SELECT incr_dump()").is_err()
            && c.is_true(
                "SELECT base_failures > 0 AND base_age_seconds IS NOT NULL FROM incr_metrics()",
            )
    });
    // Also where nothing was captured since the server's start.
    fs::rename(&archive, &aside).expect("one file system");
    c.restart();
    wait_until("its delay is measured again", || {
        c.is_true("SELECT last_commit_at IS NULL AND behind_seconds > 0 FROM incr_metrics()")
    });
}

/// Tables of every kind of identity: those that lose rows are the ones that incr_slot_health() always named.
#[test]
fn tables_without_an_identity_are_counted_from_another_database_as_they_are_in_their_own() {
    for reader in ["stream", "poll"] {
        let c = shop()
            .setting("pg_incrbackup.replica_identity", "warn")
            .setting("pg_incrbackup.reader", reader)
            .back_up();
        c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
        c.sql("CREATE TABLE keyed (a int PRIMARY KEY); CREATE TABLE whole (a int); ALTER TABLE whole REPLICA IDENTITY FULL;
               CREATE TABLE indexed (a int NOT NULL UNIQUE); ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_a_key;
               CREATE TABLE parent (a int) PARTITION BY RANGE (a); CREATE VIEW v AS SELECT 1; CREATE UNLOGGED TABLE unlogged (a int);
               CREATE TABLE bare (a int); CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
               CREATE TABLE late (a int PRIMARY KEY DEFERRABLE); CREATE TABLE unused (a int NOT NULL UNIQUE);
               CREATE TABLE part PARTITION OF parent FOR VALUES FROM (1) TO (2);
               CREATE TABLE lost (a int NOT NULL UNIQUE); ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_a_key;
               ALTER TABLE lost DROP CONSTRAINT lost_a_key");
        let counted = "SELECT tables_without_identity FROM incr_metrics()";
        c.restart();
        wait_until("the worker has looked", || {
            c.sql_in("postgres", counted) == "6"
        });
        let health = c.health();
        for table in ["bare", "nothing", "late", "unused", "part"] {
            assert!(health.contains(&format!("public.{table}")), "{health}");
        }
        assert!(health.contains("and 1 more"), "{health}");
        for table in ["keyed", "whole", "indexed", "parent", "unlogged"] {
            assert!(!health.contains(&format!("public.{table},")), "{health}");
        }
        let cluster = c.sql_in(
            "postgres",
            "SELECT level, reasons FROM incr_cluster_health()",
        );
        assert!(
            cluster.starts_with("warning") && cluster.contains("for 6 tables"),
            "{cluster}"
        );
        c.sql("ALTER EVENT TRIGGER \"0_pg_incrbackup_drop\" DISABLE");
        c.restart();
        wait_until("the worker has looked", || {
            c.sql_in("postgres", "SELECT ddl_logged, level FROM incr_metrics()") == "f|critical"
        });
        c.sql("ALTER EVENT TRIGGER \"0_pg_incrbackup_drop\" ENABLE ALWAYS; DROP TABLE bare, nothing, late, unused, part, lost");
        if reader == "stream" {
            // Here nothing but time makes it look again.
            wait_until("the worker has looked", || {
                c.sql_in(
                    "postgres",
                    "SELECT ddl_logged, tables_without_identity FROM incr_metrics()",
                ) == "t|0"
            });
        }
    }
}

#[test]
fn statements_and_rows_that_are_not_carried_are_counted_apart() {
    let c = shop().back_up();
    let counted = "SELECT not_carried, ddl_not_carried FROM incr_metrics()";
    c.sql("CREATE TABLE t (a pg_node_tree); INSERT INTO t SELECT adbin FROM pg_attrdef LIMIT 1; SELECT incr_flush()");
    assert_eq!(c.sql(counted), "1|0");
    c.sql(NOT_CARRIED);
    assert_eq!(c.sql(counted), "2|1");
}

#[test]
fn a_server_that_does_not_preload_the_library_tells_so() {
    let c = shop().back_up();
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    let told = "SELECT level, capturing, transactions IS NULL, base_age_seconds IS NOT NULL FROM incr_metrics()";
    assert!(c.sql(told).starts_with("critical|f|t"), "{}", c.sql(told));
}
