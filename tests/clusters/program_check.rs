//! "It says no, then no again, for a reason each." `check` says all that is missing at once, and what it says to do is
//! enough.

use harness::{give_to_server_user, program, wait_until, Cluster};
use serde_json::Value;
use std::fs;
use std::process::Output;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(conninfo: &str, options: &[&str]) -> Output {
    program(&[&["check", "--server", conninfo], options].concat())
}

/// The rows as (check, level, found, todo); the exit status is as they say.
fn rows(conninfo: &str) -> Vec<(String, String, String, String)> {
    let output = check(conninfo, &["--json"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    let answer: Value =
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
    let shown = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = answer["checks"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter();
    let rows: Vec<_> = rows
        .map(|row| {
            (
                shown(&row["check"]),
                shown(&row["level"]),
                shown(&row["found"]),
                shown(&row["todo"]),
            )
        })
        .collect();
    let is_ready = !rows.iter().any(|row| row.1 == "missing");
    assert_eq!(
        output.status.code(),
        Some(if is_ready { 0 } else { 1 }),
        "{answer}"
    );
    assert_eq!(answer["is_ready"], is_ready);
    rows
}

/// Level, what was found and what to do of one check.
fn row(conninfo: &str, check: &str) -> (String, String, String) {
    let rows = rows(conninfo);
    let row = rows
        .iter()
        .find(|row| row.0 == check)
        .unwrap_or_else(|| panic!("{check}: {rows:?}"));
    (row.1.clone(), row.2.clone(), row.3.clone())
}

#[test]
fn what_it_says_is_missing_and_what_to_do_is_all_that_is_needed() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .setting("wal_level", "replica")
        .setting("max_replication_slots", "0")
        .setting("max_worker_processes", "2")
        .start();
    c.sql("CREATE TABLE keyless (a int); CREATE TABLE keyed (a int PRIMARY KEY)");
    let conninfo = c.conninfo("app");
    let found = rows(&conninfo);
    let missing: Vec<&str> = found
        .iter()
        .filter(|row| row.1 == "missing")
        .map(|row| row.0.as_str())
        .collect();
    let expected = [
        "wal_level",
        "shared_preload_libraries",
        "pg_incrbackup.directory",
        "replication slot",
        "max_worker_processes",
    ];
    assert_eq!(missing, expected, "{found:?}");
    let screen = text(&check(&conninfo, &[]).stdout);
    assert!(
        screen.contains("not ready: 5 prerequisites are missing"),
        "{screen}"
    );
    assert!(
        screen.contains("ALTER SYSTEM SET wal_level = 'logical';  (then restart the server)"),
        "{screen}"
    );
    // What it says, done; the directory is ours, not the one that it proposes.
    let ours = format!("'{}'", c.archive_directory().display());
    for (check, level, _, todo) in &found {
        if level != "missing" {
            continue;
        }
        match todo.strip_prefix("Add the line ") {
            None => {
                let statement = todo.split_inclusive(';').next().expect("a statement");
                c.sql(&statement.replace("'/var/backups/postgresql'", &ours));
            }
            Some(line) => {
                let line = line.split(" to postgresql.conf").next().expect("a line");
                let (name, _) = line.split_once(" = ").expect("a setting");
                assert_eq!(name, check);
                c.write_setting(name, &ours);
            }
        }
    }
    // Of what only a restart changes, the restart is all that is left.
    c.sql("SELECT pg_reload_conf()");
    wait_until("the files are read", || {
        row(&conninfo, "wal_level").2 == "Restart the server."
    });
    assert_eq!(row(&conninfo, "wal_level").0, "missing");
    c.restart();
    let (level, _, todo) = row(&conninfo, "extension");
    assert_eq!(
        (level.as_str(), todo.as_str()),
        ("warning", "CREATE EXTENSION pg_incrbackup;")
    );
    c.sql(&todo);
    let (level, found, _) = row(&conninfo, "tables without a key");
    assert!(
        level == "ok" && found.starts_with("public.keyless: "),
        "{level} {found}"
    );
    c.sql("SELECT * FROM incr_setup()");
    assert!(row(&conninfo, "replication slot")
        .1
        .contains("this database is backed up"));
    assert_eq!(row(&conninfo, "tables without a key").1, "none");
    assert_eq!(row(&conninfo, "pg_dump").0, "ok", "incr_check() was asked");
    c.sql("INSERT INTO keyless VALUES (1)");
    c.assert_restores();
}

#[test]
fn what_holds_up_a_slot_is_named() {
    let c = Cluster::builder().start();
    let conninfo = c.conninfo("app");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s'");
    let (level, _, todo) = row(&conninfo, "prepared transactions");
    assert!(
        level == "warning" && todo.contains("ROLLBACK PREPARED 'it''s';"),
        "{level} {todo}"
    );
    c.sql("ROLLBACK PREPARED 'it''s'");
    assert_eq!(row(&conninfo, "prepared transactions").0, "ok");
    let mut session = c.session();
    session.run("BEGIN; INSERT INTO t VALUES (2)");
    wait_until("it is long", || {
        row(&conninfo, "long transactions").0 == "warning"
    });
    assert!(row(&conninfo, "long transactions")
        .2
        .contains("pg_terminate_backend("));
    session.run("COMMIT");
    assert_eq!(row(&conninfo, "long transactions").0, "ok");
    // A slot of our name that is not ours.
    let oid = c.sql("SELECT oid FROM pg_database WHERE datname = current_database()");
    c.sql(&format!(
        "SELECT pg_create_physical_replication_slot('pg_incrbackup_{oid}')"
    ));
    let (level, _, todo) = row(&conninfo, "replication slot");
    assert_eq!(level, "missing");
    c.sql(&todo);
    assert_eq!(row(&conninfo, "replication slot").0, "ok");
    // Tables that will not be captured.
    c.sql("CREATE TABLE keyless (a int)");
    c.set("pg_incrbackup.replica_identity", "'warn'");
    wait_until("it is read", || {
        row(&conninfo, "tables without a key").0 == "warning"
    });
    c.set(
        "pg_incrbackup.directory",
        &format!("'{}/below'", c.data_directory().display()),
    );
    wait_until("it is read", || {
        row(&conninfo, "pg_incrbackup.directory").0 == "missing"
    });
}

#[test]
fn a_member_of_pg_monitor_sees_as_much_and_others_are_told_what_they_do_not_see() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE \"plain Role\" LOGIN");
    let of = |role: &str| {
        c.conninfo("app")
            .replace("user=postgres", &format!("user='{role}'"))
    };
    let mut seen = [rows(&of("monitor")), rows(&of("postgres"))];
    assert_eq!(row(&of("monitor"), "privileges").0, "note");
    for rows in &mut seen {
        rows.retain(|row| row.0 != "privileges");
    }
    assert_eq!(seen[0], seen[1]);
    // The same where it may not call the function, but for what only the machine shows.
    c.sql("REVOKE EXECUTE ON FUNCTION incr_check() FROM pg_monitor");
    assert_eq!(row(&of("monitor"), "pg_dump").0, "note");
    let by_queries = rows(&of("monitor"));
    let of_machine = [
        "pg_dump",
        "archive on disk",
        "archive's file system",
        "output plugin",
        "privileges",
    ];
    for row in seen[0]
        .iter()
        .filter(|row| !of_machine.contains(&row.0.as_str()))
    {
        assert!(by_queries.contains(row), "{row:?} is not in {by_queries:?}");
    }
    c.sql("GRANT EXECUTE ON FUNCTION incr_check() TO pg_monitor");
    let (level, _, todo) = row(&of("plain Role"), "privileges");
    assert_eq!(
        (level.as_str(), todo.as_str()),
        ("warning", "GRANT pg_monitor TO \"plain Role\";")
    );
    c.sql(&todo);
    assert_eq!(row(&of("plain Role"), "privileges").0, "note");
}

#[test]
fn a_standby_is_said_to_be_one() {
    let c = Cluster::backed_up();
    c.stop();
    let signal = c.data_directory().join("standby.signal");
    fs::write(&signal, "").expect("it can be written");
    give_to_server_user(&signal);
    c.start();
    let (level, found, todo) = row(&c.conninfo("app"), "primary");
    assert!(
        level == "missing" && found.contains("in recovery"),
        "{found}"
    );
    assert_eq!(
        todo,
        "Connect to the primary, or promote this server first."
    );
    // Of two hosts the second is one, and preferred.
    let primary = Cluster::backed_up();
    let hosts = [primary.root(), c.root()].map(|root| root.display().to_string());
    let both = |wanted: &str| {
        format!(
            "host={} user=postgres dbname=app target_session_attrs={wanted}",
            hosts.join(",")
        )
    };
    assert_eq!(row(&both("any"), "primary").0, "ok");
    let (level, found, _) = row(&both("prefer-standby"), "primary");
    assert!(
        level == "missing" && found.contains("in recovery"),
        "{found}"
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_its_own() {
    let output = check("host=/nonexistent user=postgres", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_str(text(&output.stderr).trim()).expect("an object");
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("/nonexistent/.s.PGSQL.5432")),
        "{error}"
    );
    assert_eq!(program(&["check"]).status.code(), Some(2));
}

#[test]
fn a_login_that_is_no_role_is_told_which_role_it_was() {
    let c = Cluster::builder().start();
    c.sql("CREATE ROLE nobody_in NOLOGIN");
    for user in ["stranger", "nobody_in"] {
        let conninfo = c
            .conninfo("app")
            .replace("user=postgres", &format!("user={user}"));
        let output = check(&conninfo, &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        let hint =
            format!("It tried to log in as role \"{user}\": user=NAME in the connection string");
        assert!(said.contains("28000") && said.contains(&hint), "{said}");
    }
}
