//! "One migration stopped the backup": schema changes of a size that nobody expects.

use harness::Cluster;

use crate::effects::comments;

#[test]
fn a_transaction_of_400_000_rows_of_catalogs_comes_back() {
    let c = Cluster::backed_up();
    c.sql(
        "DO $$ DECLARE columns text := (SELECT string_agg(format('c%s int', i), ', ') FROM generate_series(1, 1000) i);
         BEGIN
             FOR i IN 1..330 LOOP EXECUTE format('CREATE TABLE t%s (%s)', i, columns); END LOOP;
             FOR i IN 1..65 LOOP EXECUTE format('DROP TABLE t%s', i * 5); END LOOP;
             FOR i IN 1..65 LOOP EXECUTE format('ALTER TABLE t%s DROP COLUMN c7, ADD d text', i * 5 + 1); END LOOP;
         END $$",
    );
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

#[test]
fn a_definition_of_100_mb_comes_back() {
    let c = Cluster::backed_up();
    c.sql(
        "DO $$ BEGIN
             EXECUTE 'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ' || quote_literal('SELECT 1 -- ' || repeat('long', 25000000));
         END $$",
    );
    c.sql("COMMENT ON FUNCTION f() IS 'after it'");
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}
