//! "I know what broke it, not when." The program finds the moment, says which one it is, and never restores another.

use std::fs;

use harness::{assert_identical, program, wait_until, Cluster};

use crate::healing::{hold_bases, lose, wait_until_healed};

/// Exit status and all that it printed.
fn restore(c: &Cluster, database: &str, options: &[&str]) -> (i32, String) {
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let target = c.conninfo(database);
    let arguments = ["restore", "--archive", archive, "--target", &target];
    let output = program(&[&arguments[..], options].concat());
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// Restores and returns what a query gives there.
fn restored(c: &Cluster, database: &str, options: &[&str], query: &str) -> String {
    let (status, text) = restore(c, database, options);
    assert_eq!(status, 0, "{options:?}: {text}");
    c.sql_in(database, query)
}

/// Three commits of one row each: xid and LSN of each.
fn with_three_commits() -> (Cluster, Vec<(String, String)>) {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let mut commits = Vec::new();
    for a in 1..=3 {
        let xid = c.sql(&format!(
            "INSERT INTO t VALUES ({a}) RETURNING pg_current_xact_id()"
        ));
        c.flush();
        let stream = c.stream();
        let line = stream
            .lines()
            .find(|line| line.contains(&format!(" transaction xid={xid} ")))
            .expect("it is in the segment");
        let lsn = line
            .split("commit_lsn=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        commits.push((xid, lsn.expect("it has an LSN").to_owned()));
    }
    (c, commits)
}

const ROWS: &str = "SELECT string_agg(a::text, ',' ORDER BY a) FROM t";

#[test]
fn a_moment_is_given_by_a_transaction_or_by_the_one_after_it() {
    let (c, commits) = with_three_commits();
    let (xid, lsn) = &commits[1];
    assert_eq!(restored(&c, "by_lsn", &["--until-lsn", lsn], ROWS), "1,2");
    assert_eq!(restored(&c, "by_xid", &["--until-xid", xid], ROWS), "1,2");
    assert_eq!(restored(&c, "before", &["--before-xid", xid], ROWS), "1");
    let now = c.sql("SELECT now() - interval '1 hour'");
    let (status, text) = restore(&c, "never", &["--until-time", &now]);
    assert_eq!(status, 3, "{text}");
    let (status, text) = restore(
        &c,
        "all",
        &["--until-time", "0 seconds ago", "--allow-earlier"],
    );
    assert_eq!(status, 0, "{text}");
    assert_eq!(c.sql_in("all", ROWS), "1,2,3");
}

#[test]
fn a_moment_is_given_by_what_broke_it() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE orders (a int PRIMARY KEY); INSERT INTO orders VALUES (1), (2);
         CREATE TABLE \"Od d\" (a int PRIMARY KEY); INSERT INTO \"Od d\" VALUES (1)",
    );
    c.sql("TRUNCATE orders");
    c.sql("INSERT INTO orders VALUES (3)");
    c.sql("ALTER TABLE orders ADD COLUMN b int");
    c.sql("DROP TABLE orders; CREATE TABLE orders (other int)");
    c.sql("DO $$ BEGIN EXECUTE 'dRoP tAbLe \"Od d\"'; END $$");
    c.flush();
    let count = "SELECT count(*), max(a) FROM orders";
    for (name, change, expected) in [
        ("truncated", "TRUNCATE orders", "2|2"),
        ("altered", "alter table public.orders", "1|3"),
        ("dropped", "DROP TABLE orders;", "1|3"),
    ] {
        assert_eq!(
            restored(&c, name, &["--before-ddl", change], count),
            expected,
            "{change}"
        );
    }
    let odd = "SELECT count(*) FROM \"Od d\"";
    let change = "DROP TABLE public.\"Od d\"";
    assert_eq!(restored(&c, "odd", &["--before-ddl", change], odd), "1");
    let (status, text) = restore(&c, "never", &["--before-ddl", "DROP TABLE nowhere"]);
    assert_eq!(status, 3, "{text}");
    let (status, text) = restore(&c, "never", &["--before-ddl", "nonsense"]);
    assert_eq!(status, 2, "{text}");
}

#[test]
fn every_way_to_fail_has_its_status_and_makes_nothing() {
    let (c, _) = with_three_commits();
    let exists = "SELECT count(*) FROM pg_database WHERE datname LIKE 'never%'";
    for (status, options, says) in [
        (2, &["--until-lsn", "nonsense"][..], "not an LSN"),
        (2, &["--until-time", "nonsense"], "cannot read the time"),
        (
            2,
            &["--until-lsn", "0/1", "--until-xid", "1"],
            "cannot be used with",
        ),
        (2, &["--base", "nonsense"], "a base is named like"),
        (3, &["--until-lsn", "FFFF/0"], "the archive ends at"),
        (3, &["--until-lsn", "0/1"], "no base"),
        (3, &["--until-xid", "99999999"], "not in the segments"),
        (3, &["--chain", "7"], "no chain-7"),
        (3, &["--until-time", "2100-01-01"], "the archive ends at"),
    ] {
        let (got, text) = restore(&c, "never", options);
        assert_eq!(got, status, "{options:?}: {text}");
        assert!(text.contains(says), "{options:?}: {text}");
        assert_eq!(c.sql_in("postgres", exists), "0", "{options:?}");
    }
    let (status, text) = restore(&c, "never", &["--dry-run"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(c.sql_in("postgres", exists), "0");
    // A byte of a row, in the open segment and in a closed one.
    c.sql("SELECT incr_rotate()");
    let incremental = c.chain_directory().join("incremental");
    let names = fs::read_dir(&incremental).expect("it is a directory");
    let closed = names
        .map(|entry| entry.expect("it can be read").path())
        .find(|path| path.extension().is_some_and(|suffix| suffix == "sql"))
        .expect("a segment is closed");
    let text = fs::read_to_string(&closed).expect("it is text");
    fs::write(&closed, text.replace("VALUES (2)", "VALUES (7)")).expect("it can be written");
    let (status, text) = restore(&c, "never", &[]);
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("checksum does not match"), "{text}");
    assert_eq!(c.sql_in("postgres", exists), "0");
}

#[test]
fn behind_a_loss_all_that_fits_is_there_and_what_does_not_is_listed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); CREATE TABLE other (a int PRIMARY KEY)");
    let held = hold_bases(&c);
    lose(&c, "UPDATE t SET a = 3 WHERE a = 1");
    c.sql("INSERT INTO other SELECT generate_series(1, 100)");
    c.sql("DELETE FROM t WHERE a = 3; INSERT INTO t VALUES (4)");
    c.sql("UPDATE other SET a = -a WHERE a > 50");
    let lsn = c.flush();
    wait_until("health names what is lost", || {
        c.health().contains("are incomplete: ")
    });
    let (status, text) = restore(&c, "by_program", &["--until-lsn", &lsn]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("rows of table public.t"), "{text}");
    assert!(text.contains("DELETE FROM public.t (1)"), "{text}");
    let output = c.try_restore(&c, "by_script", &["--until-lsn", &lsn]);
    assert!(output.is_err_and(|text| text.contains("by_script is incomplete")));
    assert_identical((&c, "by_script"), (&c, "by_program"));
    assert_eq!(
        c.sql_in("by_program", "SELECT count(*), min(a) FROM other"),
        "100|-100"
    );
    drop(held);
    wait_until_healed(&c);
}

#[test]
fn a_restore_that_dies_leaves_nothing_that_could_be_taken_for_the_database() {
    let (c, _) = with_three_commits();
    c.sql(
        "CREATE FUNCTION refuse(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
         RETURN current_database() = 'app' OR $1 < 10; END $$;
         CREATE TABLE guarded (a int CHECK (refuse(a))); INSERT INTO guarded VALUES (1), (11)",
    );
    c.flush();
    let (status, text) = restore(&c, "stopped", &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains(".sql.partial:"), "{text}");
    assert!(text.contains("guarded_a_check"), "{text}");
    assert!(
        text.contains("DROP DATABASE \"stopped.restoring\";"),
        "{text}"
    );
    let names = "SELECT string_agg(datname, ',') FROM pg_database WHERE datname LIKE 'stopped%'";
    assert_eq!(c.sql_in("postgres", names), "stopped.restoring");
    let (status, text) = restore(&c, "stopped", &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("stopped.restoring"), "{text}");
    c.sql_in("postgres", "DROP DATABASE \"stopped.restoring\"");
    let skip = ["--skip-check", "guarded_a_check"];
    let count = "SELECT count(*), bool_and(NOT convalidated) FROM guarded, pg_constraint WHERE conname = 'guarded_a_check'";
    assert_eq!(restored(&c, "stopped", &skip, count), "2|t");
}

#[test]
fn a_line_that_does_not_belong_in_the_open_segment_is_damage_and_a_torn_end_is_not() {
    let (c, commits) = with_three_commits();
    let incremental = c.chain_directory().join("incremental");
    let open = fs::read_dir(&incremental)
        .expect("it is a directory")
        .map(|entry| entry.expect("it can be read").path())
        .find(|path| path.extension().is_some_and(|suffix| suffix == "partial"))
        .expect("a segment is open");
    let text = fs::read_to_string(&open).expect("it is text");
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    c.stop();
    let at = text.rfind("-- @").expect("it has structural lines");
    let inserted = format!("{}DROP TABLE t;\n{}", &text[..at], &text[at..]);
    fs::write(&open, inserted).expect("it can be written");
    for arguments in [
        &["restore", "--dry-run", "--archive", archive][..],
        &["verify", "--archive", archive],
    ] {
        let output = program(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(4),
            "{arguments:?}: {answer}{text}"
        );
        assert!(
            format!("{answer}{text}").contains("damaged at byte"),
            "{answer}{text}"
        );
    }
    // What a crash leaves: half a transaction.
    let (xid, _) = &commits[2];
    let half = text
        .find(&format!("transaction xid={xid} "))
        .expect("it is there")
        + 60;
    fs::write(&open, &text[..half]).expect("it can be written");
    let output = program(&["verify", "--archive", archive]);
    assert!(output.status.success(), "{output:?}");
    c.start();
}

#[test]
fn nothing_is_lost_between_segments() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT generate_series(1, 100), 'x'");
    // Rows of one shape wait for each other, however many transactions and segments they are in.
    for a in 1..=3 {
        c.sql(&format!(
            "UPDATE t SET b = 'y' WHERE a = {a}; UPDATE t SET b = 'z' WHERE a = 10 * {a}"
        ));
        c.sql("SELECT incr_rotate()");
        for row in 1..=30 {
            c.sql(&format!("UPDATE t SET b = 'w{a}' WHERE a = 30 + {row}"));
        }
        c.sql("SELECT incr_rotate()");
    }
    c.assert_restores();
}
