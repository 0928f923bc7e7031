//! "I restarted the server three times before it was ready." incr_check() says at once all that is missing, what to write,
//! and what is a risk; incr_setup() refuses with all of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{give_to_server_user, program, wait_until, Cluster};
use serde_json::Value;

/// (state, found, todo, needs_restart) by name.
type Rows = BTreeMap<String, (String, String, String, bool)>;

const AS_JSON: &str = "SELECT jsonb_agg(r) FROM incr_check() AS r";

fn parsed(json: &str, name: &str, state: &str) -> Rows {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = value.as_array().expect("an array").iter().map(|row| {
        let restart = row["needs_restart"].as_bool().expect("it is known");
        let columns = (
            text(&row[state]),
            text(&row["found"]),
            text(&row["todo"]),
            restart,
        );
        (text(&row[name]), columns)
    });
    rows.collect()
}

fn rows(c: &Cluster) -> Rows {
    parsed(&c.sql(AS_JSON), "name", "state")
}

fn row(c: &Cluster, name: &str) -> (String, String, String, bool) {
    let rows = rows(c);
    rows.get(name)
        .unwrap_or_else(|| panic!("{name}: {rows:?}"))
        .clone()
}

fn state(c: &Cluster, name: &str) -> String {
    row(c, name).0
}

fn missing(c: &Cluster) -> Vec<String> {
    let missing = rows(c).into_iter().filter(|(_, row)| row.0 == "missing");
    missing.map(|(name, _)| name).collect()
}

/// The rows of the program.
fn of_program(conninfo: &str) -> Rows {
    let output = program(&["check", "--server", conninfo, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    parsed(&answer["checks"].to_string(), "check", "level")
}

#[test]
fn what_is_missing_is_refused_at_once_and_one_restart_is_enough() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .setting("pg_incrbackup.directory", "''")
        .setting("wal_level", "replica")
        .setting("max_replication_slots", "0")
        .setting("max_worker_processes", "2")
        .start();
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE TABLE keyless (a int)");
    let expected = [
        "max_worker_processes",
        "pg_incrbackup.directory",
        "replication slot",
        "shared_preload_libraries",
        "wal_level",
    ];
    assert_eq!(missing(&c), expected);
    let version: u32 = c.sql("SHOW server_version_num").parse().expect("a number");
    for name in expected {
        let (_, _, todo, needs_restart) = row(&c, name);
        // Before 16, a session without the library does not know its settings.
        if name == "pg_incrbackup.directory" && version < 160_000 {
            assert!(todo.starts_with("Add the line "), "{todo}");
            assert!(needs_restart);
            continue;
        }
        assert!(todo.starts_with("ALTER SYSTEM SET "), "{name}: {todo}");
        assert_eq!(needs_restart, name != "pg_incrbackup.directory", "{name}");
        let statement = todo.split_inclusive(';').next().expect("a statement");
        c.sql(statement);
        c.sql("ALTER SYSTEM RESET ALL");
    }
    assert_eq!(
        of_program(&c.conninfo("app")),
        rows(&c),
        "the program shows the same"
    );
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert_eq!(error.sqlstate, "55000", "{error}");
    assert!(error.message.contains("5 prerequisites"), "{error}");
    let said = error.text.clone();
    let lines = said
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.contains(' '));
    let mut written = 0;
    for (name, value) in lines {
        let ours = format!("'{}'", c.archive_directory().display());
        let value = match name {
            "pg_incrbackup.directory" => &ours,
            _ => value,
        };
        c.write_setting(name, value);
        written += 1;
    }
    assert_eq!(written, 5, "{error}");
    // A restart is all that is left to do; the files tell, whether they were read again or not.
    let (state_now, _, todo, needs_restart) = row(&c, "wal_level");
    assert_eq!(
        (state_now.as_str(), todo.as_str(), needs_restart),
        ("missing", "Restart the server.", true)
    );
    assert_eq!(
        row(&c, "pg_incrbackup.directory").2,
        "SELECT pg_reload_conf();"
    );
    c.restart();
    assert_eq!(missing(&c), [""; 0]);
    c.sql("SELECT * FROM incr_setup(); INSERT INTO keyless VALUES (1)");
    assert_eq!(missing(&c), [""; 0]);
    c.assert_restores();
}

#[test]
fn sizes_are_counted_and_risks_end_with_what_is_written_about_them() {
    let c = Cluster::builder()
        .setting("max_worker_processes", "7")
        .setting("pg_incrbackup.keep_incremental", "-1")
        .start();
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE plain LOGIN");
    c.sql("CREATE DATABASE other");
    assert_eq!(missing(&c), [""; 0]);
    let slots = row(&c, "replication slot").1;
    assert!(
        slots.contains("0 of 10 replication slots in use")
            && slots.contains("2 other databases are not backed up"),
        "{slots}"
    );
    c.sql("SELECT * FROM incr_setup()");
    let slots = row(&c, "replication slot").1;
    assert!(
        slots.contains("this database is backed up; 1 of 10 replication slots in use"),
        "{slots}"
    );
    // The launcher, a capture worker, a base, globals, retention, indexes; the server's own one.
    assert_eq!(state(&c, "max_worker_processes"), "ok");
    let found = row(&c, "max_worker_processes").1;
    assert!(found.contains("1 database needs up to 6 "), "{found}");
    // A second database, with files that are copied.
    c.sql_in(
        "other",
        "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()",
    );
    c.set("pg_incrbackup.compression", "'gzip'");
    wait_until("the workers do not suffice", || {
        state(&c, "max_worker_processes") == "warning"
    });
    let (_, found, todo, needs_restart) = row(&c, "max_worker_processes");
    assert!(
        found.contains("2 databases need up to 12 ") && found.contains("2 archivers"),
        "{found}"
    );
    assert!(
        todo.starts_with("ALTER SYSTEM SET max_worker_processes = ") && needs_restart,
        "{todo}"
    );
    // Each risk ends with the statement that is written about it.
    for name in [
        "max_slot_wal_keep_size",
        "pg_incrbackup.base_schedule",
        "pg_incrbackup.drill_schedule",
        "pg_incrbackup.keep_incremental",
    ] {
        let (state_now, _, todo, needs_restart) = row(&c, name);
        assert_eq!(state_now, "warning", "{name}");
        assert!(!needs_restart, "{name}");
        for statement in todo.split_inclusive(';') {
            c.sql(statement);
        }
        wait_until("it is no risk any more", || state(&c, name) == "ok");
    }
    assert_eq!(state(&c, "pg_incrbackup.archive_command"), "warning");
    assert_eq!(state(&c, "archive's file system"), "warning");
    // Whoever monitors sees the same, and others nothing.
    let as_monitor = c.sql(&format!("SET ROLE monitor; {AS_JSON}"));
    let json = as_monitor.lines().last().expect("a row");
    let mut seen = parsed(json, "name", "state");
    assert_eq!(seen["privileges"].0, "note");
    let mut all = rows(&c);
    all.remove("privileges");
    seen.remove("privileges");
    assert_eq!(seen, all);
    let error = c.sql_error("SET ROLE plain; SELECT * FROM incr_check()");
    assert_eq!(error.sqlstate, "42501", "{error}");
}

#[test]
fn the_directory_is_examined_and_left_as_it_is() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let place = c.root().join("not there");
    let set = |path: &std::path::Path| {
        c.set("pg_incrbackup.directory", &format!("'{}'", path.display()));
        let shown = path.display().to_string();
        wait_until("it is read", || {
            row(&c, "pg_incrbackup.directory").1 == shown
        });
        row(&c, "archive on disk")
    };
    let (state_now, found, ..) = set(&place);
    assert_eq!(state_now, "ok");
    assert!(found.contains("will be created"), "{found}");
    assert!(!place.exists(), "looking creates nothing");
    fs::create_dir(&place).expect("it can be made");
    give_to_server_user(&place);
    let mode = |mode| fs::set_permissions(&place, fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o755);
    let (state_now, found, ..) = row(&c, "archive on disk");
    assert_eq!(state_now, "ok");
    assert!(found.contains("will have mode 0700"), "{found}");
    let is = fs::metadata(&place)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(is & 0o777, 0o755, "looking changes nothing");
    fs::write(place.join("file"), "").expect("it can be written");
    let (state_now, found, todo, _) = row(&c, "archive on disk");
    assert_eq!(state_now, "missing");
    assert!(
        found.contains("open to other users (mode 0755)") && todo.contains("chmod 0700"),
        "{found} {todo}"
    );
    mode(0o500);
    assert_eq!(state(&c, "archive on disk"), "missing");
    mode(0o700);
    assert_eq!(state(&c, "archive on disk"), "ok");
    // A file, a place inside the data directory, and programs that are not there: all at once.
    let (state_now, ..) = set(&c.data_directory().join("below"));
    assert_eq!(state_now, "missing");
    c.set("pg_incrbackup.bin_directory", "'/nonexistent'");
    wait_until("it is read", || {
        missing(&c) == ["archive on disk", "pg_dump"]
    });
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(
        error.text.contains("is inside the data directory")
            && error.text.contains("/nonexistent/pg_dump")
            && error.text.contains("Choose a directory outside")
            && error.text.contains("pg_incrbackup.bin_directory"),
        "{error}"
    );
}

#[test]
fn a_standby_is_named_with_what_it_needs() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.stop();
    let signal = c.data_directory().join("standby.signal");
    fs::write(&signal, "").expect("it can be written");
    give_to_server_user(&signal);
    c.write_setting("hot_standby", "on");
    c.start();
    let (state_now, found, ..) = row(&c, "primary");
    assert_eq!(state_now, "missing");
    assert!(found.contains("in recovery"), "{found}");
    let (state_now, _, todo, _) = row(&c, "hot_standby_feedback");
    assert_eq!(state_now, "warning");
    for statement in todo.split_inclusive(';') {
        c.sql(statement);
    }
    wait_until("it is read", || state(&c, "hot_standby_feedback") == "ok");
    assert_eq!(of_program(&c.conninfo("app")), rows(&c));
}
