//! "One migration stopped the backup": schema changes of a size that nobody expects.

use harness::Cluster;

use crate::effects::comments;
use crate::healing::{hold_bases, wait_until_healed};

/// In full size on one version; on the others a quarter, so that nobody waits for the same thing again.
fn in_full_or_a_quarter(c: &Cluster, full: u32) -> u32 {
    match c.version() {
        15 => full,
        _ => full / 4,
    }
}

#[test]
fn a_transaction_of_400_000_rows_of_catalogs_comes_back() {
    let c = Cluster::backed_up();
    let fifth = in_full_or_a_quarter(&c, 65);
    let tables = 5 * fifth + 5;
    c.sql(&format!(
        "DO $$ DECLARE columns text := (SELECT string_agg(format('c%s int', i), ', ') FROM generate_series(1, 1000) i);
         BEGIN
             FOR i IN 1..{tables} LOOP EXECUTE format('CREATE TABLE t%s (%s)', i, columns); END LOOP;
             FOR i IN 1..{fifth} LOOP EXECUTE format('DROP TABLE t%s', i * 5); END LOOP;
             FOR i IN 1..{fifth} LOOP EXECUTE format('ALTER TABLE t%s DROP COLUMN c7, ADD d text', i * 5 + 1); END LOOP;
         END $$"
    ));
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

#[test]
fn a_definition_of_100_mb_comes_back() {
    let c = Cluster::backed_up();
    let words = in_full_or_a_quarter(&c, 25_000_000);
    c.sql(&format!(
        "DO $$ BEGIN
             EXECUTE 'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ' || quote_literal('SELECT 1 -- ' || repeat('long', {words}));
         END $$"
    ));
    c.sql("COMMENT ON FUNCTION f() IS 'after it'");
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

/// Neither the worker stops nor is it silent; the base makes it good.
#[test]
fn a_definition_that_cannot_be_read_is_flagged_with_its_object() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (i int PRIMARY KEY); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
         CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    c.flush();
    // No pg_dump could read the function either, as long as it is like this.
    let mut held = hold_bases(&c);
    c.sql(
        "SET allow_system_table_mods = on;
         BEGIN; UPDATE pg_proc SET prolang = 99999 WHERE oid = 'f'::regproc; COMMENT ON FUNCTION g() IS 'g'; COMMIT;
         INSERT INTO t VALUES (1);
         UPDATE pg_proc SET prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql') WHERE oid = 'f'::regproc",
    );
    c.flush();
    held.run("COMMIT");
    wait_until_healed(&c);
    let flags = c.chain_directory().join("flags.jsonl");
    let flags = std::fs::read_to_string(flags).expect("there are some");
    assert!(flags.contains("public.f%28integer%29"), "{flags}");
    c.sql("COMMENT ON FUNCTION f(int) IS 'behind it'");
    c.assert_restores();
}
