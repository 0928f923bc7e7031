//! "Nobody had set up the backup of that database." A setting that sets up every database, those that it leaves alone, and
//! what health says of databases without a backup.

use harness::{wait_until, Cluster};

const SETTING: &str = "pg_incrbackup.databases";

fn create(c: &Cluster, name: &str) {
    c.sql_in("postgres", &format!("CREATE DATABASE {name}"));
}

/// Level and reasons of a database, seen from another one; empty if nobody misses its backup.
fn health(c: &Cluster, from: &str, database: &str) -> String {
    let sql = "SELECT level, reasons FROM incr_cluster_health() WHERE database = ";
    c.sql_in(from, &format!("{sql}'{database}'"))
}

/// How often the log says something.
fn logged(c: &Cluster, said: &str) -> usize {
    c.log().matches(said).count()
}

fn wait_until_ok(c: &Cluster, database: &str) {
    wait_until("its backup is set up", || {
        c.try_sql_in(database, "SELECT level FROM incr_slot_health()")
            .is_ok_and(|level| level.starts_with("ok"))
    });
}

#[test]
fn every_database_but_those_excluded_is_set_up_by_itself() {
    let c = Cluster::builder()
        .setting("max_worker_processes", "24")
        .start();
    for name in ["\"Web, shop\"", "scratch1", "closed", "\"w.restoring\""] {
        create(&c, name);
    }
    c.sql_in("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    c.sql_in("scratch1", "CREATE EXTENSION pg_incrbackup");
    c.set(
        SETTING,
        "'*, !scratch*, !restored*, \"Web, shop\", missing'",
    );
    // It may be what is not mounted, and nobody who looks creates it.
    wait_until("health says what is missing", || {
        let health = health(&c, "scratch1", "app");
        health.starts_with("critical") && health.contains("\" does not exist")
    });
    wait_until("the log says so", || {
        logged(&c, "no backup is set up automatically") == 1
    });
    assert!(!c.archive_directory().exists());
    c.make_archive_directory();
    for database in ["app", "Web, shop", "postgres"] {
        wait_until_ok(&c, database);
    }
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.assert_restores();
    let backed_up = "SELECT string_agg(database, ', ' ORDER BY database COLLATE \"C\") FROM pg_replication_slots \
        WHERE slot_name LIKE 'pg\\_incrbackup\\_%'";
    assert_eq!(c.sql(backed_up), "Web, shop, app, postgres");
    assert_eq!(health(&c, "app", "scratch1"), "");
    assert_eq!(
        logged(
            &c,
            "database \"missing\" of pg_incrbackup.databases does not exist"
        ),
        1
    );

    // What somebody has ended stays ended, also after a restart; incr_setup() begins again.
    c.sql_in("Web, shop", "SELECT incr_teardown()");
    c.restart();
    create(&c, "later");
    wait_until_ok(&c, "later");
    assert_eq!(c.sql(backed_up), "app, later, postgres");
    let ended = health(&c, "app", "Web, shop");
    assert!(
        ended.starts_with("warning") && ended.contains("since incr_teardown()"),
        "{ended}"
    );
    c.set(SETTING, "'*, !restored*, !\"Web, shop\"'");
    wait_until("it is excluded", || {
        health(&c, "app", "Web, shop").starts_with("ok")
    });
    c.sql_in("Web, shop", "SELECT * FROM incr_setup()");
    wait_until_ok(&c, "Web, shop");

    // Files that are missing stop no other database, unless those of all are missing.
    let directories = || std::fs::read_dir(c.archive_directory()).expect("it can be read");
    let hide = |name: &str| {
        for directory in directories().map(|entry| entry.expect("an entry").path()) {
            let own = directory.file_name().expect("a name").to_string_lossy();
            if own.starts_with(name) && !own.ends_with(".hidden") {
                let hidden = c.archive_directory().with_extension("hidden");
                std::fs::create_dir_all(&hidden).expect("it can be created");
                std::fs::rename(&directory, hidden.join(own.as_ref())).expect("it can be moved");
            }
        }
    };
    hide("later");
    create(&c, "newer");
    wait_until_ok(&c, "newer");
    hide("");
    create(&c, "newest");
    wait_until("health says why it is not set up", || {
        let health = health(&c, "app", "newest");
        health.starts_with("critical")
            && health.contains("has no files of a database that is backed up")
    });
}

#[test]
fn a_setup_that_fails_says_once_what_is_missing_and_is_tried_again() {
    let c = Cluster::builder()
        .setting("max_replication_slots", "1")
        .start();
    c.make_archive_directory();
    c.sql("DROP SCHEMA public CASCADE");
    c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
    c.set(SETTING, "'app, other'");
    let says = |database: &str, said: &str| {
        wait_until("health says why", || {
            let health = health(&c, "postgres", database);
            health.starts_with("critical") && health.contains(said)
        });
    };
    says("app", "there is no schema for the extension");
    let attempts = || logged(&c, "could not set up the backup of database \"app\"");
    assert_eq!(attempts(), 1);
    c.sql("CREATE SCHEMA public");
    wait_until_ok(&c, "app");
    assert!(c.is_true("SELECT true FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace AND nspname = 'public' WHERE extname = 'pg_incrbackup'"));
    create(&c, "other");
    says("other", "max_replication_slots");
    assert_eq!(attempts(), 1, "{}", c.log());
    // What is no longer wanted is forgotten, and the database can be dropped.
    c.set(SETTING, "'app'");
    wait_until("it is not tried any more", || {
        health(&c, "postgres", "other").contains("this database is not backed up")
    });
    c.sql_in("postgres", "DROP DATABASE other");
    assert_eq!(health(&c, "postgres", "other"), "");

    // What somebody has ended is not to be captured; what is to be set up, and is not, stands still.
    let capturing = || {
        let sql = "SELECT capturing FROM incr_metrics() WHERE database = 'app'";
        c.sql_in("postgres", sql)
    };
    let chain = c.chain_directory();
    assert_eq!(capturing(), "t");
    c.sql("SELECT incr_teardown()");
    assert_eq!(capturing(), "");
    c.sql("SELECT pg_create_physical_replication_slot('the_only_one')");
    std::fs::remove_dir_all(chain).expect("it can be removed");
    says("app", "max_replication_slots");
    assert_eq!(capturing(), "f");
}

#[test]
fn databases_without_a_backup_are_named_unless_they_are_excluded() {
    let c = Cluster::backed_up();
    assert_eq!(health(&c, "app", "postgres"), "", "initdb's own");
    create(&c, "forgotten");
    let said = health(&c, "app", "forgotten");
    assert!(
        said.starts_with("warning") && said.contains("not backed up"),
        "{said}"
    );
    let metrics = "SELECT string_agg(database, ' ') FROM incr_metrics()";
    assert_eq!(c.sql(metrics), "app");
    c.set(SETTING, "'!forgotten'");
    wait_until("it is excluded", || {
        health(&c, "app", "forgotten").is_empty()
    });
    assert_eq!(c.sql("SELECT count(*) FROM pg_replication_slots"), "1");
    // Excluding it also ends the alarm about a chain that nobody will continue.
    c.sql_in("forgotten", "CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    c.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    wait_until("the chain is broken", || {
        health(&c, "forgotten", "app").starts_with("emergency")
    });
    c.set(SETTING, "'!forgotten, !app'");
    wait_until("nobody waits for a new one", || {
        let health = health(&c, "forgotten", "app");
        health.starts_with("ok") && health.contains("the former chain is broken")
    });
    for (list, why) in [
        ("a b", "comma"),
        ("*,", "last comma"),
        ("\"shop", "closing"),
    ] {
        let error = c.sql_error(&format!("ALTER SYSTEM SET {SETTING} = '{list}'"));
        assert_eq!(error.sqlstate, "22023", "{error}");
        assert!(error.text.contains(why), "{error}");
    }
}

#[test]
fn a_time_below_an_hour_is_refused_and_a_reload_keeps_the_former_one() {
    let c = Cluster::backed_up();
    let refused = [
        ("keep_incremental", "7"),
        ("keep_incremental", "'10s'"),
        ("keep_incremental", "0"),
        ("keep_base", "30"),
        ("drill_max_age", "8"),
    ];
    for (name, value) in refused {
        let error = c.sql_error(&format!("ALTER SYSTEM SET pg_incrbackup.{name} = {value}"));
        assert!(
            error.text.contains("less than an hour") && error.hint.contains("'7d'"),
            "{name} = {value}: {error}"
        );
    }
    for (name, value) in [
        ("keep_incremental", "-1"),
        ("keep_base", "0"),
        ("drill_max_age", "0"),
    ] {
        c.sql(&format!("ALTER SYSTEM SET pg_incrbackup.{name} = {value}"));
        c.sql(&format!("ALTER SYSTEM RESET pg_incrbackup.{name}"));
    }
    c.set("pg_incrbackup.keep_incremental", "'8d'");
    let shown = || c.sql("SHOW pg_incrbackup.keep_incremental");
    wait_until("it is read", || shown() == "8d");
    c.set("pg_incrbackup.keep_incremental", "7");
    wait_until("the log says so", || {
        c.log()
            .contains("invalid value for parameter \"pg_incrbackup.keep_incremental\": 7")
    });
    assert_eq!(shown(), "8d");
}

#[test]
fn what_is_not_set_is_compressed_and_kept_for_weeks() {
    let c = Cluster::builder()
        .without("pg_incrbackup.compression")
        .without("pg_incrbackup.base_format")
        .without("pg_incrbackup.base_schedule")
        .without("pg_incrbackup.base_spread")
        .without("pg_incrbackup.databases")
        .back_up();
    let settings = "SELECT string_agg(current_setting('pg_incrbackup.' || name), ', ') FROM unnest(ARRAY[\
        'databases', 'compression', 'base_format', 'base_schedule', 'base_spread', 'base_workers']) AS name";
    assert_eq!(c.sql(settings), ", zstd, compressed, 0 2 * * 0, 4h, 1");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)");
    c.flush();
    c.sql("SELECT incr_rotate()");
    let files = "SELECT string_agg(file, ' ') FROM incr_files()";
    wait_until("the closed segment is compressed", || {
        c.sql(files).contains(".sql.zst")
    });
    assert!(c.bases()[0].join("dump.sql.gz").exists());
    c.sql("INSERT INTO t VALUES (0)");
    c.assert_restores();
}

/// A setup that failed when it had dropped the slot has left a chain that ended for another reason.
#[test]
fn what_is_torn_down_after_a_setup_that_failed_is_not_missed() {
    let c = Cluster::backed_up();
    let capturing = || c.sql("SELECT capturing FROM incr_metrics() WHERE database = 'app'");
    let mut open = c.session();
    open.run("BEGIN; SELECT pg_current_xact_id()");
    let setup = "SET statement_timeout = '3 s'; SELECT * FROM incr_setup(new_chain => true)";
    let error = c.sql_error(setup);
    assert_eq!(error.sqlstate, "57014", "{error}");
    open.run("ROLLBACK");
    wait_until("the worker is gone", || {
        c.is_true(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup base'",
        )
    });
    assert_eq!(capturing(), "f");
    assert!(c.health().starts_with("emergency"), "{}", c.health());
    let said = c.sql("SELECT incr_teardown()");
    assert!(said.starts_with("there was no slot"), "{said}");
    assert_eq!(capturing(), "");
    let health = c.health();
    assert!(
        health.starts_with("warning")
            && health.contains("not backed up")
            && !health.contains("broken"),
        "{health}"
    );
    // Both reasons are in the files, once.
    let json =
        std::fs::read_to_string(c.chain_directory().join("chain.json")).expect("it is there");
    assert!(
        json.contains(
            "replaced by incr_setup(new_chain => true); incr_teardown() dropped the slot"
        ),
        "{json}"
    );
    let error = c.sql_error("SELECT incr_teardown()");
    assert_eq!(error.sqlstate, "42704", "{error}");
    c.sql("SELECT * FROM incr_setup()");
    assert_eq!(capturing(), "t");
    // The same of a chain that had ended while its slot was there.
    c.sql("SELECT incr_teardown()");
    assert_eq!(capturing(), "");
}
