//! The harness's own client runs a script as psql does: where one statement ends and the next begins, what is printed,
//! what is said, where it stops. What it leaves to psql is what it has to.

use harness::{is_left_to_psql, Cluster, SqlError};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Each is run by both; none leaves anything behind.
const ALIKE: &[&str] = &[
    "",
    "\n  -- nothing\n",
    ";",
    "SELECT 1",
    "SELECT 1;SELECT 2 ; SELECT 3\n",
    "SELECT 1, NULL, true, false, '', 'a|b', E'two\\nlines', '{1,NULL}'::int[], 1.50, 'NaN'::float8",
    "SELECT FROM generate_series(1, 3); SELECT 1 WHERE false; SELECT NULL; SELECT ''; VALUES (1), (2)",
    "SELECT row(1, 'a b', NULL), '\\x00ff'::bytea, '1 day'::interval, date '2026-11-30', 'é…漢'",
    "SELECT 'it''s; -- no end', E'\\'; \\\\', $$;'$$, $a$ $$ ; $b$ $a$, \"?column?\" FROM (SELECT ';') s",
    "SELECT '\\'; SELECT U&'\\0041;', N'x;', B'1', X'f'; SELECT 1 AS \"a;\"\"b\"",
    "SELECT /* ; /* ' */ ; */ 1; -- a ; b\nSELECT 2 -- ' \n; /* c */",
    "SELECT (1\n;) ; SELECT 2",
    "SELECT 1\n\n  + 2 -- three\n\n;\n\nSELECT $1",
    "SELECT current_query();\n\n -- left out\n SELECT current_query() -- kept\n  , 1 ;/* kept */ SELECT current_query()",
    "SELECT current_query(), '\n\n', 1\n\n  AS a \n\n",
    "SELECT a[1 : 2] FROM (SELECT ARRAY[1, 2, 3]) s (a); SELECT 1::text, '1' :: int",
    "SELECT E'a'\n'\\'; b'",
    "SELECT a$b$c, 1 FROM (SELECT 2 AS a$b$c) s; SELECT 3",
    "BEGIN; CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2) RETURNING a; TABLE t; ROLLBACK; SELECT to_regclass('t')",
    "BEGIN; CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT f(); ROLLBACK",
    "BEGIN; CREATE OR REPLACE PROCEDURE p(INOUT a int) BEGIN ATOMIC SELECT a + 1; END; CALL p(1); ROLLBACK; SELECT 1",
    "BEGIN; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2'; SELECT f(); ROLLBACK; BEGIN; END; SELECT 3",
    "BEGIN; CREATE TABLE t (a int); CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 7; SELECT 8); INSERT INTO t VALUES (1); ROLLBACK",
    "COPY (VALUES (1, NULL), (2, E'a\\tb')) TO STDOUT; SELECT 1",
    "EXPLAIN (COSTS OFF) SELECT 1; SHOW application_name; SET application_name = 'x'; SHOW application_name",
    "SELECT format('SELECT %s, %L', n, 'a;b') FROM generate_series(1, 3) n \\gexec",
    "SELECT 'SELECT 1', NULL, 'SELECT 2; SELECT 3' \\gexec\nSELECT 4",
    "SELECT 1; SELECT 1 / 0; SELECT 2",
    "SELECT nothing FROM nowhere",
    "SELECT 'SELECT 1', 'SELECT 1 / 0', 'SELECT 2' \\gexec",
    "SELECT 1 / (3 - n) FROM generate_series(1, 5) n",
    "DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second' USING HINT = 'of the warning'; \
     RAISE EXCEPTION USING MESSAGE = 'two\nlines', DETAIL = 'a detail', HINT = 'a hint', ERRCODE = 'AB123', \
     SCHEMA = 's', TABLE = 't', COLUMN = 'c', DATATYPE = 'd', CONSTRAINT = 'n'; END $$",
    "DO $$ BEGIN EXECUTE 'SELECT syntax error here'; END $$",
    "DO $$ BEGIN RAISE NOTICE 'unseen'; END $$; SELECT 1",
    "SELECT 'unfinished",
    "SELECT \"unfinished",
    "SELECT $a$unfinished",
    "SELECT (1; SELECT 2",
    "SELECT /* unfinished",
    "BEGIN; SELECT 1 / 0; COMMIT; SELECT 1",
    "SELECT 1; SELECT pg_terminate_backend(pg_backend_pid()); SELECT 2",
];

#[test]
fn a_script_runs_as_in_psql() {
    let c = Cluster::builder().start();
    for script in ALIKE {
        assert!(!is_left_to_psql(script), "{script}");
        let in_psql = c.try_psql_in(c.database(), script);
        assert_alike(script, c.try_sql(script), in_psql);
    }
    for database in ["nowhere", "it's", ""] {
        let in_psql = c.try_psql_in(database, "SELECT 1");
        assert_alike(database, c.try_sql_in(database, "SELECT 1"), in_psql);
    }
    c.stop();
    let in_psql = c.try_psql_in(c.database(), "SELECT 1");
    assert_alike("stopped", c.try_sql("SELECT 1"), in_psql);
    let server = end_a_session_before_its_first_statement(&c);
    let error = c.sql_error("SELECT 1");
    assert_eq!(error.sqlstate, "57P01", "{error}");
    server.join().expect("the session was ended");
}

/// In the stopped server's place: takes one connection and no statement, and says why.
fn end_a_session_before_its_first_statement(c: &Cluster) -> JoinHandle<()> {
    let listener = UnixListener::bind(c.socket()).expect("the socket is free");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let length = stream.read(&mut [0; 1024]).expect("a startup message");
        assert!(length > 8, "{length} bytes");
        stream.shutdown(Shutdown::Read).expect("it is connected");
        // AuthenticationOk, ReadyForQuery, ErrorResponse.
        stream
            .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IE\0\0\0\x19SFATAL\0C57P01\0Mgone\0\0")
            .expect("it is connected");
    })
}

fn assert_alike(
    script: &str,
    by_harness: Result<String, SqlError>,
    in_psql: Result<String, SqlError>,
) {
    let parts = |error: SqlError| {
        let text = without_place(&error.text);
        (error.sqlstate, error.message, error.hint, text)
    };
    assert_eq!(
        by_harness.map_err(parts),
        in_psql.map_err(parts),
        "(left: the harness, right: psql)\n{script}"
    );
}

/// Psql shows a line of the statement, and points to a place in it.
fn without_place(text: &str) -> String {
    let is_place = |line: &str| line.starts_with("LINE ") || line.trim() == "^";
    let lines = text.lines().filter(|line| !is_place(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_only_psql_does_is_left_to_it() {
    let c = Cluster::builder().encoding("LATIN1").start();
    for (script, rows) in [
        ("\\set a 1\nSELECT :a, :'a'", "1|1"),
        ("\\echo said", "said"),
        ("SELECT 1 AS a \\gset\nSELECT :a + 1", "2"),
        ("BEGIN; CREATE TABLE t (a int); COPY t FROM STDIN;\n7\n8\n\\.\nSELECT sum(a) FROM t", "15"),
        ("SELECT 1\\; SELECT 2", "1\n2"),
        ("SELECT :DBNAME", "column"),
        ("SET client_encoding = 'UTF8'; SELECT 'é', octet_length('é')", "é|1"),
        ("SET standard_conforming_strings = off; SET escape_string_warning = off;\nSELECT 'a\\'; b'", "a'; b"),
        ("SELECT a[1:2] FROM (SELECT ARRAY[1, 2, 3]) s (a)", "{1,2}"),
        ("\\connect postgres\nSELECT current_database()", "postgres"),
    ] {
        assert!(is_left_to_psql(script), "{script}");
        match c.try_sql(script) {
            Ok(printed) => assert_eq!(printed, rows, "{script}"),
            Err(error) => assert!(error.message.starts_with(rows), "{script}: {error}"),
        }
    }
    let notified = c.sql("LISTEN a; NOTIFY a, 'b'");
    assert!(
        notified.contains("notification \"a\" with payload \"b\""),
        "{notified}"
    );
    // By what the server says when a session begins.
    c.sql("ALTER DATABASE app SET standard_conforming_strings = off");
    assert_eq!(c.sql("SELECT 'a\\'; b'"), "a'; b");
}
