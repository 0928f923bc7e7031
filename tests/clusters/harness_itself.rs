//! The tools that every other test trusts: a cluster that comes and goes, errors with their
//! SQLSTATE, sessions that stay open, a comparison that sees a difference.

use harness::{assert_identical, assert_same_bytes, differences, Cluster};
use std::time::Duration;

fn bare() -> Cluster {
    Cluster::builder()
        .without("shared_preload_libraries")
        .start()
}

#[test]
fn errors_carry_their_sqlstate() {
    let error = bare().sql_error("SELECT * FROM nowhere");
    assert_eq!(error.sqlstate, "42P01");
    assert_eq!(error.message, "relation \"nowhere\" does not exist");
}

#[test]
fn a_session_holds_its_transaction_open() {
    let c = bare();
    c.sql("CREATE TABLE t (a int)");
    let mut holder = c.session();
    holder.run("BEGIN; LOCK TABLE t");
    let mut waiter = c.session();
    waiter.send("SELECT count(*) FROM t");
    assert_eq!(waiter.output_within(Duration::from_millis(200)), None);
    holder.run("COMMIT");
    assert_eq!(c.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn committed_rows_survive_a_crash() {
    let c = bare();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.crash();
    c.start();
    assert_eq!(c.sql("SELECT a FROM t"), "1");
}

#[test]
#[should_panic(expected = "- 2")]
fn the_comparison_sees_a_missing_row() {
    let c = bare();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)");
    c.sql_in("postgres", "CREATE DATABASE copy TEMPLATE app");
    c.sql_in("copy", "DELETE FROM t WHERE a = 2");
    assert_identical((&c, "app"), (&c, "copy"));
}

#[test]
#[should_panic(expected = "sequences differ")]
fn the_comparison_sees_a_sequence_that_stands_elsewhere() {
    let c = bare();
    c.sql("CREATE SEQUENCE s");
    c.sql_in("postgres", "CREATE DATABASE copy TEMPLATE app");
    assert_identical((&c, "app"), (&c, "copy"));
    c.sql("SELECT nextval('s')");
    assert_identical((&c, "app"), (&c, "copy"));
}

/// One difference of each kind that only `make roundtrip` asks for, in the object that has it.
#[test]
fn the_full_comparison_names_the_object_that_differs() {
    let c = bare();
    c.sql(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1);
         CREATE TABLE computed (a int, b int GENERATED ALWAYS AS (a * 2) STORED);
         CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
         CREATE FUNCTION f() RETURNS int LANGUAGE sql AS E'-- one\nSELECT 1';
         SELECT lo_from_bytea(4711, 'one');
         SELECT lo_from_bytea(4712, 'same')",
    );
    c.sql_in("postgres", "CREATE DATABASE copy TEMPLATE app");
    let objects = || {
        let mut found = differences((&c, "app"), (&c, "copy"));
        found.dedup_by(|a, b| a.object == b.object);
        let objects = found.into_iter().map(|difference| difference.object);
        objects.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(objects(), "");
    c.sql_in(
        "copy",
        "INSERT INTO t VALUES (2); REFRESH MATERIALIZED VIEW m; DELETE FROM t WHERE a = 2;
         CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS E'-- two\nSELECT 1';
         SELECT lo_put(4711, 0, 'two'); ALTER DATABASE copy SET work_mem = '1MB'",
    );
    assert_eq!(
        objects(),
        "DATABASE; FUNCTION public.f(); LARGE OBJECTS; ROWS (count, checksum)"
    );
}

/// The statements that the DDL test runs under capture are right by themselves.
#[test]
fn the_ddl_script_runs_on_a_bare_server() {
    bare().sql(include_str!("ddl_mixed.sql"));
}

/// Each of these looks alike somewhere: as numbers, as text, or to IS NULL.
#[test]
fn the_comparison_of_bytes_sees_what_equality_does_not() {
    let c = bare();
    c.sql("CREATE TYPE pair AS (a int, b float8)");
    for (ty, one, other) in [
        ("float8", "'0'", "'-0'"),
        ("numeric", "1.0", "1.00"),
        ("character(3)", "'a'", "'b'"),
        ("pair", "NULL", "ROW(NULL, NULL)"),
        ("pair", "ROW(1, 0)", "ROW(1, '-0')"),
        ("pair[]", "'{\"(1,0)\"}'", "'{\"(1,-0)\"}'"),
        ("pair[]", "'{}'", "NULL"),
        ("int[]", "'{1}'", "'[0:0]={1}'"),
        ("interval", "'24:00'", "'1 day'"),
        ("timetz", "'12:00+00'", "'13:00+01'"),
    ] {
        c.sql(&format!(
            "CREATE TABLE t (v {ty}); INSERT INTO t VALUES ({one})"
        ));
        c.sql_in("postgres", "CREATE DATABASE copy TEMPLATE app");
        assert_same_bytes((&c, "app"), (&c, "copy"));
        c.sql_in(
            "copy",
            &format!("TRUNCATE t; INSERT INTO t VALUES ({other})"),
        );
        let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_same_bytes((&c, "app"), (&c, "copy"));
        }));
        assert!(
            compared.is_err(),
            "{ty}: {one} and {other} pass for the same"
        );
        c.sql_in("postgres", "DROP DATABASE copy");
        c.sql("DROP TABLE t");
    }
}
