//! "What a statement left behind half done, or for this session only, comes back to haunt me."

use harness::Cluster;

#[test]
fn functions_and_domains_over_temporary_types_go_with_their_session() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TEMP TABLE people (name text);
         CREATE FUNCTION first_one() RETURNS people LANGUAGE sql AS 'SELECT * FROM people LIMIT 1';
         CREATE FUNCTION over(p people) RETURNS text LANGUAGE sql AS 'SELECT p.name';
         CREATE DOMAIN crowd AS people[];
         COMMENT ON FUNCTION first_one() IS 'gone soon';
         CREATE FUNCTION stays() RETURNS int LANGUAGE sql AS 'SELECT 1';
         DROP FUNCTION first_one();
         CREATE TABLE kept (a int PRIMARY KEY)",
    );
    c.sql("INSERT INTO kept VALUES (1); DROP FUNCTION stays()");
    c.assert_restores();
}

#[test]
fn an_index_that_is_not_valid_counts_once_a_reindex_made_it_so() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 0), (1, 1)");
    c.sql_error("CREATE UNIQUE INDEX CONCURRENTLY one ON t (a)");
    c.sql_error("CREATE UNIQUE INDEX CONCURRENTLY two ON t (a)");
    c.sql_error("CREATE INDEX CONCURRENTLY three ON t ((a / b))");
    c.sql("DROP INDEX two; ALTER INDEX three RENAME TO drei; COMMENT ON INDEX drei IS 'not there'");
    c.assert_restores();
    c.sql("UPDATE t SET a = 2 WHERE b = 1; REINDEX INDEX one");
    c.sql("UPDATE t SET b = 3; REINDEX TABLE CONCURRENTLY t; COMMENT ON INDEX drei IS 'there'");
    c.assert_restores();
}

#[test]
fn a_partitioned_index_may_stand_over_one_that_is_not_valid() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE p (a int, b int) PARTITION BY RANGE (a);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);
         CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         INSERT INTO p VALUES (1, 0)",
    );
    c.sql_error("CREATE INDEX CONCURRENTLY i11 ON p11 ((a / b))");
    c.sql("CREATE INDEX i ON p ((a / b))");
    c.assert_restores();
    c.sql("UPDATE p SET b = 1; REINDEX INDEX i11; ALTER INDEX i ATTACH PARTITION p2_expr_idx");
    c.assert_restores();
}

#[test]
fn an_index_attached_before_it_is_valid_is_attached_after() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE p (a int, b int) PARTITION BY RANGE (a);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         INSERT INTO p VALUES (1, 0); CREATE INDEX i ON ONLY p ((a / b))",
    );
    c.sql_error("CREATE INDEX CONCURRENTLY i1 ON p1 ((a / b))");
    c.sql("ALTER INDEX i ATTACH PARTITION i1; UPDATE p SET b = 1; REINDEX INDEX i1");
    c.sql("ALTER INDEX i ATTACH PARTITION i1; DROP INDEX i");
    c.sql("CREATE INDEX i ON p ((a / b))");
    c.assert_restores();
}

#[test]
fn a_reindex_may_move_indexes_to_another_tablespace() {
    let c = Cluster::backed_up();
    c.sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION ''");
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE INDEX ON t (b)");
    c.sql("REINDEX (TABLESPACE apart) TABLE t");
    c.assert_restores();
}
