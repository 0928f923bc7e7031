//! "The checksums were fine, and the data was not." Archives that are damaged on purpose, each in another way:
//! what a drill finds, by what it finds it, and what it can't find. The table is printed:
//! `cargo test ... drill_damage -- --nocapture`.

use crate::drill_forge::Damage;
use crate::globals::wait_until_at_rest;
use harness::{wait_until, Cluster};
use std::path::PathBuf;
use std::time::Instant;

/// Who finds it. The restore is that of the newest base, and only that is compared.
const RESTORE: &str = "restore";
const FILES: &str = "check of files";
const ROWS: &str = "rows";
const DEFINITIONS: &str = "definitions";
const NOBODY: &str = "nobody";

struct Case {
    damage: &'static str,
    found_by: &'static str,
    act: fn(&Damage),
}

const fn case(damage: &'static str, found_by: &'static str, act: fn(&Damage)) -> Case {
    Case {
        damage,
        found_by,
        act,
    }
}

/// Checksums are as they were.
const PLAIN: &[Case] = &[
    case("a byte of a value in the newest base", RESTORE, |d| {
        d.swap(&d.newest("dump.sql"), "\tbase", "\tbass")
    }),
    case("a byte in an older base", FILES, |d| {
        d.swap(&d.oldest("dump.sql"), "database dump", "database dumb")
    }),
    case("a byte of globals.sql of the newest base", RESTORE, |d| {
        d.swap(&d.newest("globals.sql"), "CREATE ROLE", "CREATE ROLL")
    }),
    case("a byte of database.sql of the newest base", RESTORE, |d| {
        d.swap(&d.newest("database.sql"), "5MB", "6MB")
    }),
    case("a byte of metadata.json of the newest base", RESTORE, |d| {
        d.swap(&d.newest("metadata.json"), "UTF8", "UTF7")
    }),
    case("a byte of SHA256SUMS of the newest base", RESTORE, |d| {
        d.swap(&d.newest("SHA256SUMS"), "dump.sql", "dumb.sql")
    }),
    case("a page of zeros in the newest base", RESTORE, |d| {
        d.zeros(&d.newest("dump.sql"))
    }),
    case("the newest base cut off in the middle", RESTORE, |d| {
        d.cut(&d.newest("dump.sql"))
    }),
    case("dump.sql of the newest base missing", RESTORE, |d| {
        d.remove(&d.newest("dump.sql"))
    }),
    case("the newest base missing", FILES, |d| {
        d.remove(&d.newest(""))
    }),
    case("an older base missing", FILES, |d| d.remove(&d.oldest(""))),
    case("a byte of a segment before the newest base", FILES, |d| {
        d.swap(d.segment(0), "'old'", "'odd'")
    }),
    case("a byte of a value in a segment", RESTORE, |d| {
        d.swap(d.segment(1), "'after'", "'aftex'")
    }),
    case("a byte of a value in the last segment", RESTORE, |d| {
        d.swap(d.segment(2), "'third'", "'thirt'")
    }),
    case("a byte of a transaction's LSN", RESTORE, |d| {
        d.swap(d.segment(2), "commit_lsn=", "commit_lsn:")
    }),
    case("a byte of a segment's header", RESTORE, |d| {
        d.swap(d.segment(2), " header ", " heater ")
    }),
    case("a segment cut off in the middle", RESTORE, |d| {
        d.cut(d.segment(1))
    }),
    case("a segment before the newest base missing", FILES, |d| {
        d.remove(d.segment(0))
    }),
    case("a segment missing", RESTORE, |d| d.remove(d.segment(1))),
    case("the last closed segment missing", RESTORE, |d| {
        d.remove(d.segment(2))
    }),
    case("a checksum in the manifest", RESTORE, |d| {
        d.swap(
            &d.manifest(),
            &d.checksum(1)[..8],
            &d.checksum(1)[..8].chars().rev().collect::<String>(),
        )
    }),
    case("a segment's line not in the manifest", FILES, |d| {
        d.unlist(d.segment(1))
    }),
    case("restore.sh changed", FILES, |d| {
        d.swap(&d.restore_sh(), "set -eu", "set -ee")
    }),
    case("a byte of a value in the open segment", ROWS, |d| {
        d.swap(&d.open(), "'open'", "'opel'")
    }),
    case("a statement gone from the open segment", ROWS, |d| {
        const INSERT: &str = "INSERT INTO public.t (a, b) VALUES (104, 'open');";
        let other = format!("{:<width$};", "SELECT 1", width = INSERT.len() - 1);
        d.swap(&d.open(), INSERT, &other);
    }),
];

/// All checksums and lengths are made true again, so that no check of files can tell.
const FORGED: &[Case] = &[
    case("a value in the newest base", ROWS, |d| {
        d.swap(&d.newest("dump.sql"), "\tbase", "\tbass")
    }),
    case("a row lost in the newest base", ROWS, |d| {
        d.rows(&d.newest("dump.sql"), "100\tbase\n", "")
    }),
    case("a row twice in the newest base", ROWS, |d| {
        d.rows(&d.newest("dump.sql"), "\n77\t7\n", "\n77\t7\n77\t7\n")
    }),
    case("a row moved to another table", ROWS, |d| {
        d.rows(&d.newest("dump.sql"), "\n77\t7\n", "\n");
        const NARROW: &str = "COPY \"public\".\"narrow\" (\"a\", \"b\") FROM stdin;\n";
        let with_row = format!("{NARROW}77\t7\n");
        d.rows(&d.newest("dump.sql"), NARROW, &with_row);
    }),
    case("NULL instead of an empty text", ROWS, |d| {
        d.swap(&d.newest("dump.sql"), "\n78\t\n", "\n\\N\t\n");
    }),
    case("the rows of a table lost", ROWS, |d| {
        const ROWS: &str = " FROM stdin;\n1\n2\n3\n4\n5\n";
        d.rows(&d.newest("dump.sql"), ROWS, " FROM stdin;\n")
    }),
    case("a table missing in the newest base", RESTORE, |d| {
        let dump = d.newest("dump.sql");
        d.between(&dump, "ALTER TABLE public.lost OWNER", ";\n");
        d.between(&dump, "ALTER TABLE ONLY \"public\".\"lost\"", ";\n");
        d.between(&dump, "CREATE TABLE \"public\".\"lost\"", ";\n");
    }),
    case("a byte of a large object", ROWS, |d| {
        d.swap(&d.newest("dump.sql"), "6c61726765", "6c61726766")
    }),
    case("a default changed", DEFINITIONS, |d| {
        d.swap(&d.newest("dump.sql"), "DEFAULT 7", "DEFAULT 8")
    }),
    case("an index missing", DEFINITIONS, |d| {
        d.between(&d.newest("dump.sql"), "CREATE INDEX \"wide_b\"", ";\n")
    }),
    case("a CHECK missing", DEFINITIONS, |d| {
        d.between(&d.newest("dump.sql"), ",\n    CONSTRAINT \"sane\"", "))")
    }),
    case("a privilege missing", DEFINITIONS, |d| {
        d.between(
            &d.newest("dump.sql"),
            "GRANT SELECT ON TABLE \"public\".\"t\"",
            ";\n",
        )
    }),
    case("a view's query changed", DEFINITIONS, |d| {
        d.swap(&d.newest("dump.sql"), "\"a\" > 7)", "\"a\" > 8)")
    }),
    case("a function's body changed", DEFINITIONS, |d| {
        d.swap(&d.newest("dump.sql"), "SELECT 4711", "SELECT 4712")
    }),
    case("a comment changed", DEFINITIONS, |d| {
        d.swap(&d.newest("dump.sql"), "all of them", "all of thee")
    }),
    case("a value in a segment", ROWS, |d| {
        d.swap(d.segment(1), "'after'", "'aftex'")
    }),
    case("a parameter in place of a value", RESTORE, |d| {
        d.swap(d.segment(1), "'after'", "$1     ")
    }),
    case("a value of an UPDATE", ROWS, |d| {
        d.swap(d.segment(1), "'edited'", "'edible'")
    }),
    case("the key of an UPDATE, of another row", RESTORE, |d| {
        d.swap(d.segment(1), "WHERE a = 7", "WHERE a = 9")
    }),
    case("the key of a DELETE, of no row", RESTORE, |d| {
        d.swap(d.segment(1), "WHERE a = 8", "WHERE a = 0")
    }),
    case("a statement lost in a transaction", ROWS, |d| {
        d.lose_statement(d.segment(1), "VALUES (111, 'second of two');\n")
    }),
    case("a transaction lost", ROWS, |d| {
        d.lose_transaction(d.segment(2), "VALUES (105, 'between');\n")
    }),
    case("a value before the newest base", NOBODY, |d| {
        d.swap(d.segment(0), "'old'", "'odd'")
    }),
    case("a value in an older base", NOBODY, |d| {
        d.swap(&d.oldest("dump.sql"), "first of all", "first of ill")
    }),
    case("a sequence's position", NOBODY, |d| {
        d.swap(
            &d.newest("dump.sql"),
            "'\"public\".\"s\"', 40",
            "'\"public\".\"s\"', 41",
        )
    }),
    case("a setting of the database", NOBODY, |d| {
        d.swap(&d.newest("database.sql"), "5MB", "6MB")
    }),
    case("an attribute of a role that is there", NOBODY, |d| {
        d.swap(
            &d.newest("globals.sql"),
            "bob WITH NOSUPERUSER",
            "bob WITH   SUPERUSER",
        )
    }),
];

/// Rows in an old segment, in the newest base, in segments after it, and in the open one.
fn archive() -> (Cluster, Vec<PathBuf>) {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE early (a text); INSERT INTO early VALUES ('first of all'); CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 50) i;
         INSERT INTO t VALUES (99, 'old')",
    );
    let mut closed = vec![c.sql("SELECT incr_rotate()")];
    c.sql(
        "INSERT INTO t VALUES (100, 'base'); CREATE ROLE bob; GRANT SELECT ON t TO bob; COMMENT ON TABLE t IS 'all of them';
         CREATE TABLE wide (a int, b int DEFAULT 7, CONSTRAINT sane CHECK (b > 0)); CREATE TABLE narrow (LIKE wide);
         CREATE INDEX wide_b ON wide (b); INSERT INTO wide VALUES (77); INSERT INTO narrow VALUES (1, 1);
         CREATE TABLE texts (a text, b text); INSERT INTO texts VALUES ('78', '');
         CREATE TABLE lost (a int); INSERT INTO lost SELECT generate_series(1, 5);
         CREATE VIEW v AS SELECT t.a FROM t WHERE t.a > 7; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 4711';
         CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 40); SELECT lo_from_bytea(4711, 'large');
         ALTER DATABASE app SET work_mem = '5MB'; SELECT incr_dump()",
    );
    c.sql("INSERT INTO t VALUES (101, 'after'); UPDATE t SET b = 'edited' WHERE a = 7; DELETE FROM t WHERE a = 8");
    c.sql("BEGIN; INSERT INTO t VALUES (110, 'first of two'); INSERT INTO t VALUES (111, 'second of two'); COMMIT");
    closed.push(c.sql("SELECT incr_rotate()"));
    c.sql("INSERT INTO t VALUES (102, 'more')");
    c.sql("INSERT INTO t VALUES (105, 'between')");
    c.sql("INSERT INTO t VALUES (103, 'third')");
    closed.push(c.sql("SELECT incr_rotate()"));
    c.sql("INSERT INTO t VALUES (104, 'open')");
    c.flush();
    // No set of globals is to come while files are forged.
    wait_until_at_rest(&c);
    wait_until("the last set is in the manifest", || {
        c.sql("SELECT * FROM incr_verify()").is_empty()
    });
    (c, closed.into_iter().map(PathBuf::from).collect())
}

/// Who found it, by the first problem.
fn found_by(result: &str, problem: &str) -> &'static str {
    match problem {
        _ if result == "passed" => NOBODY,
        _ if result != "failed" => "",
        text if text.starts_with("restore: ") => RESTORE,
        text if text.contains(": only at the source: ") || text.contains(": only restored: ") => {
            DEFINITIONS
        }
        text if text.contains(" rows, ")
            || text.contains(" rows|")
            || text.contains("has the same number of rows") =>
        {
            ROWS
        }
        _ => FILES,
    }
}

fn table(cases: &[Case], are_forged: bool) {
    let (c, closed) = archive();
    let (mut wrong, mut found) = (Vec::new(), 0);
    // Most of what checksums tell is found before anything is restored: that needs no server of its own.
    let conninfo = if are_forged {
        String::new()
    } else {
        format!("'host={} port=5432 user=postgres'", c.root().display())
    };
    let call = format!("SELECT result, problems[1], duration FROM incr_drill({conninfo})");
    for case in cases {
        let damage = Damage::new(&c, &closed);
        (case.act)(&damage);
        if are_forged {
            damage.forge();
            let said = c.sql("SELECT * FROM incr_verify()");
            assert_eq!(said, "", "{}: no checksum tells of it", case.damage);
        }
        let start = Instant::now();
        let row = c.sql(&call);
        let took = start.elapsed();
        let (result, rest) = row.split_once('|').expect("columns");
        let by = found_by(result, rest);
        println!(
            "| {}{} | {result} | {by} | {} | {took:.1?} |",
            case.damage,
            if are_forged { ", forged" } else { "" },
            rest.replace('\n', " ")
        );
        found += usize::from(result == "failed");
        if by != case.found_by {
            wrong.push(format!("{}: {row}", case.damage));
        }
        let health = c.health();
        if result == "failed"
            && !(health.starts_with("critical") && health.contains("does not restore"))
        {
            wrong.push(format!("{}: {health}", case.damage));
        }
        drop(damage);
    }
    println!("found: {found} of {}", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        c.sql("SELECT result, problems FROM incr_drill()"),
        "passed|{}"
    );
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn damage_is_found_wherever_it_is() {
    table(PLAIN, false);
}

#[test]
fn what_no_checksum_tells_is_found_by_the_comparison() {
    table(FORGED, true);
}

/// What a drill costs: printed, and a restore that is right. `DRILL_ROWS` says of how many rows.
#[test]
fn the_time_of_a_drill_is_measured() {
    let rows: u64 = std::env::var("DRILL_ROWS")
        .ok()
        .map_or(20_000, |text| text.parse().expect("a number"));
    let c = Cluster::backed_up();
    c.sql(&format!(
        "CREATE TABLE t (a bigint PRIMARY KEY, b text, c timestamptz); INSERT INTO t SELECT i, md5(i::text), now() FROM generate_series(1, {rows}) i"
    ));
    c.sql("SELECT incr_dump()");
    // A tenth of the rows is replayed.
    c.sql(&format!(
        "UPDATE t SET b = b || 'x' WHERE a <= {}",
        rows / 10
    ));
    c.flush();
    let mut session = c.session();
    session.send("SELECT result, problems, rows, duration FROM incr_drill()");
    let (mut phases, mut last) = (Vec::<(String, Instant)>::new(), String::new());
    let ended = "SELECT state FROM incr_status() WHERE worker = 'drill'";
    harness::wait_until_within(std::time::Duration::from_secs(600), "it is over", || {
        let state = c.sql(ended);
        if state != last {
            phases.push((state.clone(), Instant::now()));
            last = state;
        }
        ["passed", "failed", "not done"].contains(&last.as_str())
    });
    println!(
        "{rows} rows, {}: {}",
        c.sql("SELECT pg_size_pretty(pg_database_size('app'))"),
        session.finish()
    );
    for pair in phases.windows(2) {
        println!("{:>8.1?} {}", pair[1].1 - pair[0].1, pair[0].0);
    }
    assert_eq!(last, "passed");
}
