//! "I know what I called it, not when it was": incr_mark(), and restores to a mark.

use crate::program_restore::restore;
use harness::Cluster;

const MARK: &str = "before \"release\" 42, it's = ä";

#[test]
fn a_mark_is_a_moment() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let mark = format!("SELECT incr_mark('{}')", MARK.replace('\'', "''"));
    // Alone in its transaction, and not the newest of its name.
    c.sql(&mark);
    c.sql("INSERT INTO t VALUES (1)");
    c.sql(&format!(
        "BEGIN; INSERT INTO t VALUES (2); {mark}; ALTER TABLE t ADD b int DEFAULT 7; INSERT INTO t VALUES (3); COMMIT"
    ));
    c.sql("BEGIN; INSERT INTO t VALUES (4); SAVEPOINT s; SELECT incr_mark('undone'); ROLLBACK TO s; COMMIT");
    c.sql("BEGIN; SELECT incr_mark('undone'); ROLLBACK; SELECT incr_mark('alone'); DELETE FROM t");
    c.flush();

    let restored = c.restore(&["--until-mark", MARK]);
    let rows = "SELECT string_agg(a || ':' || b, ' ' ORDER BY a) FROM t";
    assert_eq!(c.sql_in(&restored.database, rows), "1:7 2:7 3:7");
    let restored = c.restore(&["--until-mark", "alone"]);
    assert_eq!(c.sql_in(&restored.database, "SELECT count(*) FROM t"), "4");

    let (status, said) = restore(&c, "none", &["--until-mark", "undone"]);
    assert_eq!(status, 3, "{said}");
    assert!(
        said.contains("mark \"undone\" is not in the segments of any chain"),
        "{said}"
    );
    let said = c
        .try_restore(&c, "none", &["--until-mark", "undone"])
        .err()
        .unwrap_or_default();
    assert!(
        said.contains("mark \"undone\" is not in the segments of chain-1"),
        "{said}"
    );

    let marks = "SELECT string_agg(object_identity, '|' ORDER BY id) FROM ddl_history WHERE ddl_command = 'MARK'";
    assert_eq!(c.sql(marks), format!("{MARK}|{MARK}|alone"));
    c.assert_restores();
}

#[test]
fn a_name_that_is_none_is_refused() {
    let c = Cluster::backed_up();
    for (call, sqlstate) in [
        ("SELECT incr_mark(NULL)", "22004"),
        ("SELECT incr_mark('  ')", "22023"),
        ("SELECT incr_mark(repeat('ä', 501))", "22023"),
        ("SELECT incr_mark(E'two\\nlines')", "22023"),
        ("BEGIN READ ONLY; SELECT incr_mark('a')", "25006"),
        (
            "CREATE ROLE bob; SET ROLE bob; SELECT incr_mark('a')",
            "42501",
        ),
    ] {
        let error = c.sql_error(call);
        assert_eq!(error.sqlstate, sqlstate, "{call}: {error}");
    }
    c.sql("SELECT incr_mark(repeat('ä', 500))");
    c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
    let error = c
        .try_sql_in("postgres", "SELECT incr_mark('a')")
        .expect_err("it has no slot");
    assert_eq!(error.sqlstate, "42704", "{error}");
}

/// Neither the other reader nor another encoding changes a name.
#[test]
fn a_mark_is_found_in_any_encoding() {
    let c = Cluster::builder()
        .encoding("LATIN1")
        .setting("pg_incrbackup.reader", "poll")
        .back_up();
    c.sql("SET client_encoding = 'UTF8'; CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_mark('Frühling'); INSERT INTO t VALUES (2)");
    c.flush();
    let restored = c.restore(&["--until-mark", "Frühling"]);
    assert_eq!(c.sql_in(&restored.database, "SELECT count(*) FROM t"), "1");
}
