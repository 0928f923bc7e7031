//! "Whose line is this?" What the server's log and `ps` say of each worker, and that nothing fills the log: neither many
//! tables nor a question whose answer is no.

use std::fs;

use harness::{program, wait_until, Cluster};

/// The lines that begin with our name, behind the prefix.
fn ours(c: &Cluster) -> Vec<String> {
    let log = c.log();
    let lines = log
        .lines()
        .filter(|line| line.contains(":  pg_incrbackup: "));
    lines.map(str::to_owned).collect()
}

/// The messages of level FATAL, in their order.
fn fatal(c: &Cluster) -> Vec<String> {
    let log = c.log();
    let messages = log
        .lines()
        .filter_map(|line| line.split_once("FATAL:  ").map(|(_, message)| message));
    messages.map(str::to_owned).collect()
}

#[test]
fn every_line_names_its_database_and_many_tables_make_few() {
    let c = Cluster::builder()
        .database("shop")
        .environment("RUST_BACKTRACE", "1")
        .start();
    // Not yet captured, so setup has to give each a replica identity.
    c.sql(
        "DO $$ BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); END LOOP; END $$;
         INSERT INTO t1 SELECT generate_series(1, 1000)",
    );
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    let lines = ours(&c);
    for line in &lines {
        assert!(line.contains(" of shop: "), "{line}");
    }
    let with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        with("base of shop: starting, 40 tables of "),
        1,
        "{lines:#?}"
    );
    assert_eq!(with("base of shop: complete, "), 1, "{lines:#?}");
    assert_eq!(
        with("set the replica identity of 40 tables: public.t"),
        1,
        "{lines:#?}"
    );
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let complete = lines.iter().find(|line| line.contains("complete, "));
    let path = c.bases()[0].display().to_string();
    assert!(
        complete.is_some_and(|line| line.contains(&path) && line.ends_with(" s")),
        "{lines:#?}"
    );

    // What monitoring selects by has no name of a database in it.
    let pid = c.capture_pid();
    let types = "SELECT string_agg(DISTINCT backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity \
        WHERE backend_type LIKE 'pg_incr%'";
    // That of the globals ends by itself.
    wait_until("only those that stay are left", || {
        c.sql(types) == "pg_incrbackup capture, pg_incrbackup launcher"
    });
    wait_until("the title is there", || {
        let title = fs::read(format!("/proc/{pid}/cmdline")).expect("the worker runs");
        String::from_utf8_lossy(&title).contains("pg_incrbackup: capture of shop")
    });

    // An error of PostgreSQL that passes through Rust code on its way to the client.
    let error = c.sql_error(
        "SET statement_timeout = '200ms'; CREATE TABLE late AS SELECT pg_sleep(60) IS NULL AS a",
    );
    assert!(
        error.message.contains("canceling statement"),
        "{}",
        error.message
    );
    let log = c.log();
    assert!(log.contains("canceling statement"), "{log}");
    for rust in [".rs:", "backtrace", "pgrx", "core::"] {
        assert!(!log.contains(rust), "{rust} is in {log}");
    }

    // Nor is it said at every look why a chain is broken, or twice at one.
    c.lose_slot();
    wait_until("the chain is broken", || {
        c.health().starts_with("emergency")
    });
    assert_eq!(
        c.health().matches("the chain is broken").count(),
        1,
        "{}",
        c.health()
    );
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    let broken = ours(&c);
    let broken = broken
        .iter()
        .filter(|line| line.contains("the chain is broken"));
    assert_eq!(broken.count(), 1, "{:#?}", ours(&c));
}

#[test]
fn a_restore_and_a_drill_leave_no_fatal_in_the_servers_log() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()");
    let archive = c.database_directory().display().to_string();
    let is_new = c.conninfo("is_new");
    let restore = ["restore", "--archive", &archive, "--target", &is_new];
    let output = program(&restore);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // One that exists, and is refused since it is not empty.
    let output = program(&restore);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is not empty"), "{said}");
    let other = c.conninfo("postgres");
    let scratch = [
        "restore",
        "--archive",
        &archive,
        "--target",
        &other,
        "--table",
        "t",
        "--scratch",
        "nowhere",
    ];
    let output = program(&scratch);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("\"nowhere\" of --scratch does not exist"),
        "{said}"
    );
    let from = c.conninfo(c.database());
    let output = program(&["info", "--from", &from]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let own = c.conninfo("postgres").replace(" dbname='postgres'", "");
    let drill = format!("SELECT result FROM incr_drill('{own}')");
    assert_eq!(c.sql(&drill), "passed");
    assert!(
        c.log().contains("drill of app: drill passed"),
        "{}",
        c.log()
    );
    assert_eq!(fatal(&c), [""; 0]);
}

/// Whoever may not connect to postgres or template1 restores into a database of theirs as before.
#[test]
fn a_role_that_may_only_connect_to_its_own_database_restores_into_it() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()");
    c.sql_in("postgres", "CREATE ROLE alone LOGIN");
    c.sql_in("postgres", "CREATE DATABASE own OWNER alone");
    c.sql_in(
        "postgres",
        "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC",
    );
    let archive = c.database_directory().display().to_string();
    let left = c.root().join("left-out.sql").display().to_string();
    let own = c.conninfo("own").replace("user=postgres", "user=alone");
    let arguments = [
        "restore",
        "--archive",
        &archive,
        "--target",
        &own,
        "--no-owner",
        "--no-privileges",
        "--left-out",
        &left,
    ];
    let output = program(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(c.sql_in("own", "SELECT a FROM t"), "1", "{said}");
    // One for the question whether the target exists, and one for the settings that are a superuser's.
    assert_eq!(
        fatal(&c),
        [
            "permission denied for database \"postgres\"",
            "permission denied to set parameter \"log_min_messages\"",
        ]
    );
    let missing = c.conninfo("missing").replace("user=postgres", "user=alone");
    let output = program(&["restore", "--archive", &archive, "--target", &missing]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("connects to the database postgres or template1"),
        "{said}"
    );
    let later = &fatal(&c)[2..];
    assert_eq!(
        later,
        [
            "permission denied for database \"postgres\"",
            "database \"missing\" does not exist",
            "permission denied for database \"template1\"",
        ]
    );
}
