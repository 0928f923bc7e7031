//! "A password that somebody typed stands where others read it."

use harness::{wait_until, Cluster};
use std::fs;
use std::path::Path;

/// Each statement holds its own secret, `secret` and a number.
const STATEMENTS: &[&str] = &[
    "CREATE ROLE r1 LOGIN PASSWORD 'secret'",
    "CREATE USER r2 WITH ENCRYPTED PASSWORD 'secret'",
    "ALTER ROLE r1 PASSWORD 'secret'",
    "ALTER USER r1 WITH PASSWORD E'secret' VALID UNTIL 'infinity'",
    "ALTER ROLE r1 /* PASSWORD */ PASSWORD -- here\n $x$secret$x$",
    "CREATE GROUP r3 ROLE r1 PASSWORD U&'secret'",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE r1 PASSWORD ''secret'''; END $$",
    "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere', dbname 'secret')",
    "CREATE USER MAPPING FOR r1 SERVER s OPTIONS (user 'u', password 'secret')",
    "ALTER USER MAPPING FOR r1 SERVER s OPTIONS (SET password 'secret')",
    "ALTER USER MAPPING FOR r1 SERVER s OPTIONS (SET password $secret$secret$secret$)",
    "ALTER SERVER s OPTIONS (ADD sslpassword 'secret')",
    "CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere password=secret' PUBLICATION p WITH (connect = false, slot_name = NONE)",
    "ALTER SUBSCRIPTION sub CONNECTION 'host=nowhere password=secret'",
    "DO $$ BEGIN EXECUTE 'ALTER SUBSCRIPTION sub CONNECTION ''host=nowhere password=secret'''; END $$",
    "BEGIN; ALTER USER MAPPING FOR r1 SERVER s OPTIONS (SET password 'secret'); COMMIT",
    "CREATE SCHEMA made CREATE TABLE t (a int)",
];

fn below(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            below(&path, found);
        } else {
            found.push((
                path.display().to_string(),
                fs::read(&path).unwrap_or_default(),
            ));
        }
    }
}

#[test]
fn no_password_is_anywhere_but_where_a_restore_needs_it() {
    let c = Cluster::builder()
        .setting("log_statement", "none")
        .setting("log_min_error_statement", "panic")
        .back_up();
    c.sql("CREATE EXTENSION postgres_fdw");
    for (number, statement) in STATEMENTS.iter().enumerate() {
        // A dollar tag stays what it is.
        let secret = format!("hunter{number}x");
        let statement = statement.replace("secret", &secret);
        c.try_sql(&statement).ok();
        if statement.contains("ROLE") || statement.contains("USER") {
            // One that fails leaves no trace either.
            c.try_sql(&format!("{statement}; SELECT 1/0")).ok();
        }
    }
    c.flush();
    c.sql("SELECT incr_rotate(); SELECT incr_dump()");
    wait_until("there is a set of globals", || {
        c.chain_directory().join("globals").is_dir()
    });
    let history = c.sql("SELECT query, object_identity, settings, search_path FROM ddl_history");
    assert!(
        !history.contains("hunter"),
        "ddl_history: {}",
        lines_with(&history)
    );
    let log = c.log();
    assert!(
        !log.contains("hunter"),
        "the server's log: {}",
        lines_with(&log)
    );
    let mut files = Vec::new();
    below(&c.archive_directory(), &mut files);
    assert!(files.len() > 5);
    for (path, content) in files {
        let text = String::from_utf8_lossy(&content).into_owned();
        // Of roles nowhere.
        for number in 0..7 {
            let secret = format!("hunter{number}x");
            assert!(!text.contains(&secret), "{path}: {}", lines_with(&text));
        }
        // Of mappings and subscriptions only where it is replayed: segments and dumps.
        let may_hold = path.contains(".sql")
            && !path.ends_with("globals.sql")
            && !path.ends_with("database.sql");
        assert!(
            may_hold || !text.contains("hunter"),
            "{path}: {}",
            lines_with(&text)
        );
    }
    c.assert_restores();
}

fn lines_with(text: &str) -> String {
    let lines = text.lines().filter(|line| line.contains("hunter"));
    lines.take(8).collect::<Vec<_>>().join("\n")
}
