//! "I know what broke it, not when." The program finds the moment, says which one it is, and never restores another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{program, run, wait_until, Cluster};

use crate::healing::{hold_bases, lose, wait_until_healed};

/// Exit status and all that it printed.
pub fn restore(c: &Cluster, database: &str, options: &[&str]) -> (i32, String) {
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    run_restore(c, archive, database, options)
}

/// The same of an archive in another place.
pub fn run_restore(c: &Cluster, archive: &str, database: &str, options: &[&str]) -> (i32, String) {
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
    assert!(text.contains("\ntime      about "), "{text}");
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

/// A copy of the archive, whose open segment is changed.
fn copied(c: &Cluster, name: &str, change: impl FnOnce(&str) -> String) -> String {
    let copy = c.root().join(name);
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&copy));
    let open = segment(&copy.join("chain-1/incremental"), "partial");
    let text = fs::read_to_string(&open).expect("it is text");
    fs::write(&open, change(&text)).expect("it can be written");
    copy.to_str().expect("the path is UTF-8").to_owned()
}

fn segment(incremental: &Path, suffix: &str) -> PathBuf {
    let files = fs::read_dir(incremental).expect("it is a directory");
    let mut files = files.map(|entry| entry.expect("it can be read").path());
    files
        .find(|path| path.extension().is_some_and(|found| found == suffix))
        .expect("there is such a segment")
}

fn restore_from(c: &Cluster, archive: &str, database: &str) -> (i32, String) {
    run_restore(c, archive, database, &[])
}

#[test]
fn a_line_that_does_not_belong_in_the_open_segment_is_damage() {
    let (c, _) = with_three_commits();
    let archive = copied(&c, "inserted", |text| {
        let at = text.rfind("-- @").expect("it has structural lines");
        format!("{}DROP TABLE t;\n{}", &text[..at], &text[at..])
    });
    for arguments in [
        &["restore", "--dry-run", "--archive", &archive][..],
        &["verify", "--archive", &archive],
    ] {
        let output = program(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("damaged at byte"), "{said}");
    }
    let newer = copied(&c, "newer", |text| text.replacen("format=2", "format=3", 1));
    let (status, text) = restore_from(&c, &newer, "never");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("of another format"), "{text}");
}

#[test]
fn of_a_transaction_that_a_crash_has_torn_nothing_is_restored() {
    let (c, _) = with_three_commits();
    c.sql("INSERT INTO t SELECT generate_series(100, 300)");
    c.sql("INSERT INTO t VALUES (5); INSERT INTO t VALUES (6)");
    c.flush();
    let after = |text: &str, line: &str| text.find(line).expect("it is there") + line.len();
    for (name, line) in [
        ("in_copy", "\n200\n"),
        ("in_rows", "VALUES (5);\n"),
        ("in_a_line", "COMMIT;\n-- @"),
    ] {
        let archive = copied(&c, name, |text| text[..after(text, line)].to_owned());
        let output = program(&["verify", "--archive", &archive]);
        assert!(output.status.success(), "{name}: {output:?}");
        let (status, text) = restore_from(&c, &archive, name);
        assert_eq!(status, 0, "{name}: {text}");
        let rows = c.sql_in(name, "SELECT count(*) FROM t WHERE a BETWEEN 100 AND 300");
        assert!(rows == "0" || rows == "201", "{name}: {rows}");
        assert_eq!(
            c.sql_in(name, "SELECT count(*) FROM t WHERE a = 5"),
            "0",
            "{name}"
        );
    }
}

#[test]
fn what_the_archive_itself_says_is_missing_is_not_passed_over() {
    let (c, commits) = with_three_commits();
    c.sql("SELECT incr_rotate()");
    c.sql("INSERT INTO t VALUES (4)");
    c.sql("SELECT incr_rotate()");
    let archive = c.root().join("incomplete");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&archive));
    let incremental = archive.join("chain-1/incremental");
    let mut files: Vec<PathBuf> = fs::read_dir(&incremental)
        .expect("it is a directory")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    // The first has three rows; the others go.
    for file in &files[1..] {
        fs::remove_file(file).expect("it can be removed");
    }
    let place = archive.to_str().expect("the path is UTF-8");
    let (status, text) = restore_from(&c, place, "never");
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("are missing"), "{text}");
    let target = c.conninfo("earlier");
    let until = ["--until-lsn", &commits[1].1];
    let output = program(
        &[
            &["restore", "--archive", place, "--target", &target][..],
            &until,
        ]
        .concat(),
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(c.sql_in("earlier", ROWS), "1,2");
    // Nothing but the base is left of it.
    fs::remove_file(&files[0]).expect("it can be removed");
    let (status, text) = restore_from(&c, place, "never");
    assert_eq!(status, 4, "{text}");
    fs::remove_file(archive.join("chain-1/chain.json")).expect("it can be removed");
    let (status, text) = restore_from(&c, place, "never");
    assert_eq!(status, 4, "{text}");
}

#[test]
fn the_open_form_of_a_segment_that_was_closed_since_is_not_taken_for_its_end() {
    let (c, _) = with_three_commits();
    let archive = copied(&c, "stale", ToOwned::to_owned);
    c.sql("INSERT INTO t VALUES (4)");
    c.sql("SELECT incr_rotate()");
    let manifest = "chain-1/manifest.jsonl";
    fs::copy(
        c.database_directory().join(manifest),
        Path::new(&archive).join(manifest),
    )
    .expect("it can be copied");
    let (status, text) = restore_from(&c, &archive, "never");
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("are missing"), "{text}");
}

#[test]
fn damage_that_a_restore_does_not_meet_is_only_told() {
    let (c, _) = with_three_commits();
    let archive = copied(&c, "damaged", ToOwned::to_owned);
    c.sql("SELECT incr_dump()");
    let old = fs::read_dir(Path::new(&archive).join("chain-1/base")).expect("it is a directory");
    let old = old
        .map(|entry| entry.expect("it can be read").path())
        .next();
    let newer = c.chain_directory().join("base");
    run(Command::new("cp")
        .arg("-a")
        .arg(newer)
        .arg(Path::new(&archive).join("chain-1")));
    run(Command::new("cp")
        .arg(c.chain_directory().join("manifest.jsonl"))
        .arg(Path::new(&archive).join("chain-1")));
    let metadata = old.expect("there is a base").join("metadata.json");
    fs::write(metadata, "{").expect("it can be written");
    let (status, text) = restore_from(&c, &archive, "restored");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("it is passed over"), "{text}");
    assert_eq!(c.sql_in("restored", ROWS), "1,2,3");
}

#[test]
fn an_archive_may_be_named_by_a_link() {
    let (c, _) = with_three_commits();
    let link = c.root().join("current");
    std::os::unix::fs::symlink(c.database_directory(), &link).expect("a link can be made");
    let link = link.to_str().expect("the path is UTF-8");
    let (status, text) = restore_from(&c, link, "linked");
    assert_eq!(status, 0, "{text}");
    assert!(program(&["verify", "--archive", link]).status.success());
}

#[test]
fn values_that_look_like_a_search_for_a_row_are_values() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE log (a int PRIMARY KEY, statement text)");
    c.sql(
        "INSERT INTO log SELECT i, 'DELETE WHERE ctid = (SELECT ctid FROM a.b.c.d WHERE x' FROM generate_series(1, 10) i;
         UPDATE log SET statement = 'y = (SELECT ctid FROM nothing at all WHERE ' || statement",
    );
    for a in 11..40 {
        c.sql(&format!(
            "INSERT INTO log VALUES ({a}, 'x WHERE ctid = (SELECT ctid FROM a.b.c.d WHERE x')"
        ));
    }
    c.assert_restores();
}

#[test]
fn a_first_table_in_a_tablespace_is_made_there() {
    let c = Cluster::builder().start();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE fast LOCATION ''");
    c.sql("CREATE TABLE a (i int) TABLESPACE fast; CREATE TABLE b (i int) TABLESPACE fast; CREATE TABLE z (i int)");
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    let restored = c.assert_restores();
    let places =
        "SELECT string_agg(format('%s %s', relname, reltablespace <> 0), ',' ORDER BY relname)
                  FROM pg_class WHERE relname IN ('a', 'b', 'z')";
    let by_program = c.restore_by_program(&c, &[]);
    for database in [&restored.database, &by_program.database] {
        assert_eq!(c.sql_in(database, places), "a t,b t,z f");
    }
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
