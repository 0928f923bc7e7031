//! "My table has no primary key, and its updates are silently lost."

use harness::{skipped, Cluster};

/// The replica identity of a table as pg_class has it: d(efault), n(othing), f(ull), i(ndex).
fn identity(c: &Cluster, table: &str) -> String {
    c.sql(&format!(
        "SELECT relreplident FROM pg_class WHERE oid = '{table}'::regclass"
    ))
}

#[test]
fn a_table_without_a_key_gets_full_at_setup() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE TABLE bare (a int, b text);
           INSERT INTO bare VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
    );
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    assert_eq!(identity(&c, "bare"), "f");
    c.sql("UPDATE bare SET b = 'y' WHERE ctid = '(0,1)'; DELETE FROM bare WHERE a IS NULL");
    c.assert_restores();
}

#[test]
fn a_table_made_later_without_a_key_gets_full_at_once() {
    let c = Cluster::backed_up();
    c.sql(
        "BEGIN; CREATE TABLE bare (a int); INSERT INTO bare VALUES (1), (1), (2);
           UPDATE bare SET a = 3 WHERE a = 2; COMMIT",
    );
    assert_eq!(identity(&c, "bare"), "f");
    c.sql("DELETE FROM bare WHERE ctid = '(0,1)'");
    c.assert_restores();
}

#[test]
fn a_fitting_unique_index_is_preferred() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE u (a int NOT NULL UNIQUE, b text); INSERT INTO u VALUES (1, 'x');
           UPDATE u SET b = 'y'",
    );
    assert_eq!(identity(&c, "u"), "i");
    c.assert_restores();
}

#[test]
fn a_nullable_or_partial_or_deferrable_unique_index_does_not_fit() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE n (a int UNIQUE);
           CREATE TABLE p (a int NOT NULL); CREATE UNIQUE INDEX ON p (a) WHERE a > 0;
           CREATE TABLE d (a int NOT NULL UNIQUE DEFERRABLE);
           CREATE TABLE e (a int NOT NULL); CREATE UNIQUE INDEX ON e (abs(a));",
    );
    for table in ["n", "p", "d", "e"] {
        assert_eq!(identity(&c, table), "f", "{table}");
    }
}

#[test]
fn full_is_taken_back_when_a_key_appears() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int NOT NULL, b int); INSERT INTO t VALUES (1, 1), (2, 2)");
    assert_eq!(identity(&c, "t"), "f");
    c.sql("ALTER TABLE t ADD PRIMARY KEY (a)");
    assert_eq!(identity(&c, "t"), "d");
    c.sql(
        "UPDATE t SET b = 5 WHERE a = 2; ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET b = 6",
    );
    assert_eq!(identity(&c, "t"), "f");
    c.assert_restores();
}

#[test]
fn an_identity_that_the_user_chose_stays() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b int); ALTER TABLE t REPLICA IDENTITY FULL;
           ALTER TABLE t ADD COLUMN c int; INSERT INTO t VALUES (1, 1, 1);
           UPDATE t SET b = NULL",
    );
    assert_eq!(identity(&c, "t"), "f");
    c.assert_restores();
}

#[test]
fn every_partition_has_an_identity_of_its_own() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE p (a int, b text) PARTITION BY RANGE (a);
           CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
           CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
           CREATE TABLE loose (a int, b text);
           ALTER TABLE p ATTACH PARTITION loose FOR VALUES FROM (20) TO (30);
           INSERT INTO p SELECT i, 'x' FROM generate_series(0, 29) i;
           UPDATE p SET b = 'moved', a = a + 10 WHERE a < 20;
           DELETE FROM p WHERE a % 3 = 0;",
    );
    for table in ["p1", "p2", "loose"] {
        assert_eq!(identity(&c, table), "f", "{table}");
    }
    c.assert_restores();
}

#[test]
fn an_identity_that_identifies_nothing_is_replaced_at_the_statements_end() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE keyed (a int PRIMARY KEY, b int); CREATE TABLE bare (a int); CREATE TABLE u (a int NOT NULL UNIQUE);
         INSERT INTO keyed VALUES (1, 1); INSERT INTO bare VALUES (1); INSERT INTO u VALUES (1);
         ALTER TABLE keyed REPLICA IDENTITY NOTHING; UPDATE keyed SET b = 2;
         ALTER TABLE bare REPLICA IDENTITY NOTHING; UPDATE bare SET a = 2; ALTER TABLE bare REPLICA IDENTITY DEFAULT;
         DELETE FROM bare; ALTER TABLE u REPLICA IDENTITY NOTHING; UPDATE u SET a = 2",
    );
    for (table, becomes) in [("keyed", "d"), ("bare", "f"), ("u", "i")] {
        assert_eq!(identity(&c, table), becomes, "{table}");
    }
    c.assert_restores();
}

/// Each row is changed by the very next statement.
#[test]
fn an_identity_that_goes_with_something_else_is_replaced() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE typist; GRANT CREATE ON SCHEMA public TO typist; CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO typist;
         CREATE TYPE s.key AS ENUM ('a', 'b'); ALTER TYPE s.key OWNER TO typist;
         CREATE TABLE typed (k s.key PRIMARY KEY, v int); INSERT INTO typed VALUES ('a', 1);
         CREATE TABLE other (v int PRIMARY KEY);
         ALTER TABLE typed ADD FOREIGN KEY (v) REFERENCES other DEFERRABLE INITIALLY DEFERRED NOT VALID;
         BEGIN; UPDATE typed SET v = 2; SET LOCAL ROLE typist; DROP TYPE s.key CASCADE; RESET ROLE;
         UPDATE typed SET v = 3; INSERT INTO other VALUES (2), (3); COMMIT; UPDATE typed SET v = 2",
    );
    c.sql(
        "CREATE OPERATOR CLASS s.ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
         OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
         CREATE TABLE odd (a int NOT NULL, b int); CREATE UNIQUE INDEX by_ops ON odd (a s.ops); INSERT INTO odd VALUES (1, 1);
         ALTER TABLE odd REPLICA IDENTITY USING INDEX by_ops; DROP SCHEMA s CASCADE; UPDATE odd SET b = 2",
    );
    c.sql(
        "CREATE TABLE k (a int PRIMARY KEY, b int NOT NULL); INSERT INTO k VALUES (1, 1); CREATE UNIQUE INDEX kb ON k (b);
         ALTER TABLE k REPLICA IDENTITY USING INDEX kb; DROP INDEX CONCURRENTLY kb; UPDATE k SET b = 2;
         ALTER TABLE k DROP COLUMN a; UPDATE k SET b = 3",
    );
    for (table, becomes) in [("typed", "f"), ("odd", "f"), ("k", "f")] {
        assert_eq!(identity(&c, table), becomes, "{table}");
    }
    c.assert_restores();
}

#[test]
fn an_old_snapshot_sees_neither_tables_nor_notes_of_others_and_does_no_harm() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE early (a int PRIMARY KEY)");
    let mut one = c.session();
    one.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1; CREATE TABLE mine (a int)");
    c.sql("CREATE TABLE late (a int NOT NULL, b int); INSERT INTO late VALUES (1, 1)");
    c.sql("CREATE TABLE kept (a int); CREATE TABLE gone (a int)");
    assert_eq!(
        one.run("SELECT count(*) FROM pg_class WHERE relname = 'late'"),
        "0",
        "the snapshot is old"
    );
    one.run("ALTER TABLE late ADD PRIMARY KEY (a)");
    one.run("ALTER TABLE late DROP CONSTRAINT late_pkey; ALTER TABLE early DROP CONSTRAINT early_pkey; DROP TABLE gone");
    one.run("ALTER TABLE kept REPLICA IDENTITY FULL; COMMIT; UPDATE late SET b = 2");
    c.sql("INSERT INTO early VALUES (1); UPDATE early SET a = 2; ALTER TABLE kept ADD COLUMN id int PRIMARY KEY");
    for (table, becomes) in [("late", "f"), ("early", "f"), ("kept", "f"), ("mine", "f")] {
        assert_eq!(identity(&c, table), becomes, "{table}");
    }
    c.sql("ALTER TABLE early ADD PRIMARY KEY (a); ALTER TABLE late ADD PRIMARY KEY (a)");
    for table in ["late", "early"] {
        assert_eq!(identity(&c, table), "d", "it was noted: {table}");
    }
    c.assert_restores();
}

#[test]
fn with_error_an_update_without_identity_fails() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.replica_identity", "error")
        .back_up();
    c.sql("CREATE TABLE bare (a int); INSERT INTO bare VALUES (1)");
    assert_eq!(identity(&c, "bare"), "d");
    let error = c.sql_error("UPDATE bare SET a = 2");
    assert!(error.text.contains("replica identity"), "{error}");
    c.sql_error("DELETE FROM bare");
    assert_eq!(c.sql("SELECT a FROM bare"), "1");
    c.assert_restores();
}

#[test]
fn with_warn_health_names_the_table() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.replica_identity", "warn")
        .back_up();
    c.sql("CREATE TABLE bare_one (a int); INSERT INTO bare_one VALUES (1)");
    let health = c.health();
    assert!(
        health.starts_with("warning") && health.contains("bare_one"),
        "{health}"
    );
}

#[test]
fn a_row_is_told_from_one_that_only_its_collation_takes_for_equal() {
    let c = Cluster::backed_up();
    let folded = "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    if c.try_sql(folded).is_err() {
        return skipped("nondeterministic collations: built without ICU");
    }
    c.sql(
        "CREATE TABLE keyless (name text COLLATE folded, n int); INSERT INTO keyless VALUES ('a', 1), ('A', 1), ('b', 2), ('B', 2);
         CREATE TABLE lists (names text[] COLLATE folded, n int); INSERT INTO lists VALUES ('{a,b}', 1), ('{A,b}', 1);
         CREATE TABLE named (name text COLLATE folded NOT NULL, n int); CREATE UNIQUE INDEX named_exactly ON named (name COLLATE \"C\");
         ALTER TABLE named REPLICA IDENTITY USING INDEX named_exactly; INSERT INTO named VALUES ('a', 1), ('A', 2), ('b', 3)",
    );
    // The second of two, which a search by = would not find first.
    c.sql("DELETE FROM keyless WHERE name = 'A' COLLATE \"C\"; UPDATE keyless SET n = 20 WHERE name = 'B' COLLATE \"C\"");
    c.sql("DELETE FROM lists WHERE names = '{A,b}' COLLATE \"C\"");
    c.sql("UPDATE named SET n = 20 WHERE name = 'A' COLLATE \"C\"; UPDATE named SET name = 'c' WHERE name = 'A' COLLATE \"C\"");
    c.sql("DELETE FROM named WHERE name = 'a' COLLATE \"C\"");
    c.assert_restores_both_ways();
}
