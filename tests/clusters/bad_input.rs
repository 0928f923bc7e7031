//! "I made a mistake, and it took the server down", or nobody told me. Every mistake gives a clear
//! error where the user looks, loses nothing, and is over when its cause is gone.

use harness::{wait_until, Cluster};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// What incr_setup() says about a directory that is prepared by `prepare` at the given path.
fn refused_directory(prepare: impl FnOnce(&Cluster, &Path)) -> (Cluster, harness::SqlError) {
    let c = Cluster::builder().start();
    prepare(&c, &c.archive_directory());
    c.sql("CREATE EXTENSION pg_incrbackup");
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(
        error.text.contains("pg_incrbackup.directory") || error.text.contains("archive"),
        "{error}"
    );
    assert!(
        !error.sqlstate.is_empty() && error.sqlstate != "XX000",
        "{error}"
    );
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_replication_slots"),
        "0",
        "a slot was left behind"
    );
    (c, error)
}

fn owned_by_server(path: &Path) {
    Command::new("chown")
        .arg("-Rh")
        .arg("--reference")
        .arg(path.parent().expect("it has a parent"))
        .arg(path)
        .status()
        .ok();
}

#[test]
fn a_directory_whose_parent_is_missing_is_refused() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.directory", "'/nowhere/at/all'")
        .start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("/nowhere/at"), "{error}");
}

#[test]
fn a_symlink_as_directory_is_refused_and_setup_works_when_it_is_gone() {
    let (c, _) = refused_directory(|c, path| {
        let real = c.root().join("elsewhere");
        fs::create_dir(&real).expect("a directory can be made");
        owned_by_server(&real);
        symlink(&real, path).expect("a symlink can be made");
    });
    fs::remove_file(c.archive_directory()).expect("the symlink can be removed");
    c.sql("SELECT * FROM incr_setup(); CREATE TABLE t (a int)");
    c.assert_restores();
}

#[test]
fn a_file_as_directory_is_refused() {
    refused_directory(|_, path| fs::write(path, "I am a file").expect("a file can be written"));
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    refused_directory(|_, path| {
        fs::create_dir(path).expect("a directory can be made");
        owned_by_server(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o500)).expect("its mode can be set");
    });
}

#[test]
fn a_directory_inside_the_data_directory_is_refused() {
    let c = Cluster::builder().start();
    let inside = c.data_directory().join("archive");
    c.write_setting(
        "pg_incrbackup.directory",
        &format!("'{}'", inside.display()),
    );
    let refused = match c.stop_and_try_start() {
        Err(log) => log,
        Ok(()) => {
            c.sql("CREATE EXTENSION pg_incrbackup");
            c.sql_error("SELECT * FROM incr_setup()").text
        }
    };
    assert!(refused.contains("data directory"), "{refused}");
    assert!(!inside.exists());
}

#[test]
fn a_relative_directory_is_refused() {
    let c = Cluster::builder().start();
    let error = c.sql_error("ALTER SYSTEM SET pg_incrbackup.directory = 'relative/path'");
    assert_eq!(error.sqlstate, "22023", "{error}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let c = Cluster::builder().start();
    for (name, value) in [
        ("rotate_size", "'1kB'"),
        ("rotate_size", "'-5'"),
        ("rotate_interval", "'-1s'"),
        ("copy_threshold", "-1"),
        ("reader", "'nonsense'"),
        ("base_schedule", "'61 * * * *'"),
        ("base_schedule", "'nonsense'"),
        ("base_format", "'nonsense'"),
        ("base_jobs", "0"),
        ("replica_identity", "'nonsense'"),
        ("on_log_error", "'nonsense'"),
        ("lag_critical", "'-1'"),
        ("no_such_setting", "1"),
    ] {
        let error = c.sql_error(&format!("ALTER SYSTEM SET pg_incrbackup.{name} = {value}"));
        assert!(
            ["22023", "42704", "42602"].contains(&error.sqlstate.as_str()),
            "{name} = {value}: {error}"
        );
    }
    let described = "SELECT bool_and(short_desc <> '' AND extra_desc <> '') AND count(*) > 15
        FROM pg_settings WHERE name LIKE 'pg\\_incrbackup.%'";
    assert!(c.is_true(described));
}

#[test]
fn a_second_cluster_in_the_same_directory_keeps_to_itself() {
    let first = Cluster::backed_up();
    first.sql("CREATE TABLE t (a int)");
    let directory = format!("'{}'", first.archive_directory().display());
    let second = Cluster::builder()
        .own_system_identifier()
        .setting("pg_incrbackup.directory", &directory)
        .start();
    second.sql("CREATE EXTENSION pg_incrbackup");
    second.sql("SELECT * FROM incr_setup(); CREATE TABLE u (a int); SELECT incr_flush()");
    first.sql("INSERT INTO t VALUES (1)");
    first.assert_restores();
    for c in [&first, &second] {
        assert_eq!(
            c.sql("SELECT database, level FROM incr_cluster_health()"),
            "app|ok"
        );
    }
    let files = second.sql("SELECT DISTINCT chain FROM incr_files()");
    assert_eq!(
        files, "1",
        "its own chain, in a directory beside the first's"
    );
}

#[test]
fn a_slot_of_our_name_with_another_plugin_is_refused() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql(
        "SELECT pg_create_logical_replication_slot('pg_incrbackup_' || oid, 'test_decoding')
           FROM pg_database WHERE datname = current_database()",
    );
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(error.text.contains("test_decoding"), "{error}");
    // The worker that finds this slot must not take it either, and must leave it to its owner.
    wait_until("the foreign slot can be dropped", || {
        c.try_sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            .is_ok()
    });
    c.sql("SELECT * FROM incr_setup(); CREATE TABLE t (a int)");
    c.assert_restores();
}

#[test]
fn a_database_can_be_renamed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.sql_in("postgres", "ALTER DATABASE app RENAME TO renamed");
    c.sql_in("renamed", "INSERT INTO t VALUES (2); SELECT incr_flush()");
    assert_eq!(c.sql_in("renamed", "SELECT * FROM incr_verify()"), "");
    c.sql_in("postgres", "ALTER DATABASE renamed RENAME TO app");
    c.sql("INSERT INTO t VALUES (3)");
    c.assert_restores();
}

#[test]
fn a_database_can_be_dropped_and_takes_its_slot_along() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.sql_in("postgres", "DROP DATABASE app");
    assert_eq!(
        c.sql_in("postgres", "SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
    let json = c.chain_directory().join("chain.json");
    wait_until("the chain has ended", || {
        let chain = fs::read_to_string(&json).expect("there is a chain.json");
        chain.contains("the database was dropped")
    });
    // What was backed up is still there, and restores.
    let restored = c.restore(&[]);
    assert_eq!(c.sql_in(&restored.database, "SELECT a FROM t"), "1");
}

#[test]
fn a_database_can_be_used_as_a_template_and_moved() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql_in("postgres", "CREATE DATABASE twin TEMPLATE app");
    let space = c.root().join("space");
    fs::create_dir(&space).expect("a directory can be made");
    owned_by_server(&space);
    c.sql_in(
        "postgres",
        &format!("CREATE TABLESPACE space LOCATION '{}'", space.display()),
    );
    c.sql_in("postgres", "ALTER DATABASE app SET TABLESPACE space");
    c.sql("INSERT INTO t VALUES (2)");
    c.assert_restores();
    assert_eq!(c.sql_in("twin", "SELECT count(*) FROM t"), "1");
}
