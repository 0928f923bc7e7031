//! "What I undid, or what was moved under the backup's feet, came back wrong." Rows of catalogs are read where the
//! transaction left them: transactions that leave them in unlikely places, and catalogs that are rewritten meanwhile.

use harness::{wait_until, Cluster};

use crate::effects::comments;

fn flags(c: &Cluster) -> Vec<String> {
    let kinds = ["flag", "ddl", "unhandled"].into_iter();
    kinds.flat_map(|kind| comments(c, kind)).collect()
}

fn assert_restores_whole(c: &Cluster) {
    c.assert_restores();
    assert_eq!(flags(c), [""; 0]);
}

fn rewrite_catalogs(c: &Cluster) {
    let catalogs = "class attribute type attrdef constraint index depend description inherits";
    for catalog in catalogs.split(' ') {
        c.sql(&format!("VACUUM FULL pg_catalog.pg_{catalog}"));
    }
}

fn wait_until_wanted(c: &Cluster, table: &str) {
    let is_waiting = format!(
        "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity s USING (pid)
         WHERE relation = '{table}'::regclass AND NOT granted AND backend_type LIKE 'pg_incrbackup%'"
    );
    wait_until("capture wants the table", || c.is_true(&is_waiting));
}

/// The catalogs are rewritten after their changed rows were found and before all of them are read: before the
/// first statement, behind it, or at both moments.
#[test]
fn catalogs_that_are_rewritten_while_a_transaction_is_decoded_change_nothing() {
    for [is_early, is_late] in [[true, false], [false, true], [true, true]] {
        let c = Cluster::backed_up();
        c.sql(
            "CREATE TABLE held (i int PRIMARY KEY); CREATE VIEW v AS SELECT i FROM held; CREATE TABLE later (i int PRIMARY KEY);
             CREATE TABLE gone (a int PRIMARY KEY, b text DEFAULT 'x', CHECK (a > 0)); COMMENT ON COLUMN gone.b IS 'b';
             CREATE TABLE kept (a int PRIMARY KEY, b text DEFAULT 'y', c int); COMMENT ON COLUMN kept.b IS 'kept';
             CREATE TYPE e AS ENUM ('a', 'b'); CREATE DOMAIN d AS int CHECK (VALUE > 1);
             DO $$BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE f%s (a int PRIMARY KEY, b text DEFAULT %L, CHECK (a > %s))', i, i, i);
               EXECUTE format('COMMENT ON TABLE f%s IS %L', i, i); END LOOP; END$$;
             DO $$BEGIN FOR i IN 1..20 LOOP EXECUTE format('DROP TABLE f%s', 2 * i); END LOOP; END$$",
        );
        c.flush();
        let mut holder = c.session();
        holder.run("BEGIN; LOCK held");
        c.sql(
            "BEGIN; CREATE TABLE new (a int PRIMARY KEY, b text DEFAULT 'z', CHECK (b <> '')); INSERT INTO new VALUES (1);
             COMMENT ON COLUMN new.b IS 'new'; ALTER VIEW v SET (security_barrier); CREATE VIEW w AS SELECT i FROM later; INSERT INTO new VALUES (2);
             ALTER TABLE new ADD c int DEFAULT 7 CHECK (c > 1); INSERT INTO new VALUES (3);
             ALTER TABLE kept ADD d int DEFAULT 3, ALTER b SET DEFAULT 'other', DROP c; INSERT INTO kept VALUES (1);
             CREATE INDEX ON kept (b); ALTER DOMAIN d DROP CONSTRAINT d_check; ALTER TYPE e RENAME TO f;
             INSERT INTO kept VALUES (2); COMMENT ON COLUMN kept.b IS NULL; DROP TABLE gone; COMMIT",
        );
        wait_until_wanted(&c, "held");
        let mut other = c.session();
        other.run("BEGIN; LOCK later");
        if is_early {
            rewrite_catalogs(&c);
        }
        holder.run("COMMIT");
        wait_until_wanted(&c, "later");
        if is_late {
            rewrite_catalogs(&c);
        }
        other.run("COMMIT");
        assert_restores_whole(&c);
    }
}

/// Rows of a subtransaction that was rolled back are pruned before the transaction ends, and their places taken.
#[test]
fn places_of_rows_that_were_rolled_back_are_taken_by_others() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE a (i int PRIMARY KEY); CREATE TABLE b (i int PRIMARY KEY); INSERT INTO a VALUES (1)");
    let mut one = c.session();
    let mut two = c.session();
    one.run("BEGIN; INSERT INTO a VALUES (2)");
    for round in 0..12 {
        one.run(&format!(
            "SAVEPOINT s; ALTER TABLE a SET (fillfactor = {}); ALTER TABLE b ADD x{round} int DEFAULT 1; COMMENT ON TABLE a IS 'no';
             CREATE TABLE never{round} (i int PRIMARY KEY, j text DEFAULT 'q', CHECK (i > 0)); INSERT INTO never{round} VALUES (1);
             ROLLBACK TO s; INSERT INTO a VALUES ({})", 50 + round, 100 + round
        ));
        two.run("VACUUM pg_catalog.pg_class; VACUUM pg_catalog.pg_attribute; VACUUM pg_catalog.pg_type; VACUUM pg_catalog.pg_attrdef;
                 VACUUM pg_catalog.pg_constraint; VACUUM pg_catalog.pg_index; VACUUM pg_catalog.pg_depend; VACUUM pg_catalog.pg_description");
        one.run(&format!(
            "ALTER TABLE a SET (fillfactor = {}); ALTER TABLE b ADD y{round} int DEFAULT 2; COMMENT ON TABLE a IS 'round {round}';
             CREATE TABLE made{round} (i int PRIMARY KEY, j text DEFAULT 'r', CHECK (i > 1)); INSERT INTO made{round} VALUES (2);
             INSERT INTO b (i) VALUES ({round})", 70 + round
        ));
    }
    one.run("COMMIT");
    assert_restores_whole(&c);
}

#[test]
fn what_was_rolled_back_to_a_savepoint_leaves_no_trace() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'b'); INSERT INTO t VALUES (1); CREATE DOMAIN d AS int;
         CREATE TYPE ro AS (a int, b text); CREATE TABLE p (a int) PARTITION BY RANGE (a);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE base (a int, b int DEFAULT 1);
         CREATE TABLE below (c int) INHERITS (base); INSERT INTO below VALUES (1, 2, 3)",
    );
    c.sql(
        "BEGIN; SAVEPOINT a; CREATE TABLE s1 (a int PRIMARY KEY); ALTER TABLE s1 ADD b int DEFAULT 1; DROP TABLE s1; RELEASE a;
         SAVEPOINT b; CREATE TABLE s2 (a int PRIMARY KEY); SAVEPOINT c; ALTER TABLE s2 ADD x int; ROLLBACK TO c;
         ALTER TABLE s2 ADD y int DEFAULT 5; INSERT INTO s2 VALUES (1); SAVEPOINT d; DROP TABLE s2; CREATE TABLE s2 (z text);
         INSERT INTO s2 VALUES ('z'); ROLLBACK TO d; ALTER TABLE s2 RENAME y TO w; RELEASE b;
         SAVEPOINT e; ALTER TABLE t ADD c int DEFAULT 3; SAVEPOINT f; ALTER TABLE t DROP b; ROLLBACK TO f; INSERT INTO t VALUES (2);
         RELEASE f; SAVEPOINT g; DROP TABLE t; ROLLBACK TO g; ALTER TABLE t ALTER b SET DEFAULT 'n'; INSERT INTO t VALUES (3);
         SAVEPOINT h; DROP DOMAIN d; DROP TYPE ro; DROP TABLE p; DROP TABLE base CASCADE; ROLLBACK TO h;
         ALTER DOMAIN d SET DEFAULT 4; ALTER TYPE ro ADD ATTRIBUTE c int; ALTER TABLE p DETACH PARTITION p1;
         SAVEPOINT i; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (5) TO (20); INSERT INTO p VALUES (6); ROLLBACK TO i;
         ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (7) TO (30); INSERT INTO p VALUES (8);
         ALTER TABLE base RENAME b TO bb; INSERT INTO below VALUES (4, 5, 6); SAVEPOINT j; ALTER TABLE below NO INHERIT base;
         ROLLBACK TO j; ALTER TABLE base ADD d text DEFAULT 'd'; INSERT INTO below VALUES (7, 8, 9, 'e');
         DO $$BEGIN FOR i IN 1..300 LOOP BEGIN EXECUTE format('CREATE TABLE u%s (a int PRIMARY KEY, b text DEFAULT %L)', i, i);
           EXECUTE format('INSERT INTO u%s VALUES (1)', i);
           IF i % 2 = 0 THEN RAISE 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END$$;
         COMMIT",
    );
    assert_restores_whole(&c);
}

#[test]
fn definitions_that_are_stored_apart_come_back() {
    let c = Cluster::backed_up();
    let roles: String = (0..350).map(|i| format!("CREATE ROLE r{i};")).collect();
    c.sql(&roles);
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x');
         DO $$DECLARE roles text := (SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname ~ '^r[0-9]'); BEGIN
         EXECUTE 'GRANT SELECT, INSERT ON t TO ' || roles; EXECUTE 'GRANT UPDATE (b) ON t TO ' || roles;
         EXECUTE 'COMMENT ON TABLE t IS ' || quote_literal((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 32768) i));
         EXECUTE 'ALTER TABLE t ADD c text; ALTER TABLE t ALTER c SET DEFAULT ' || quote_literal((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i));
         EXECUTE 'ALTER TABLE t ADD CHECK (c <> ' || quote_literal((SELECT string_agg(md5(i::text), '') FROM generate_series(2, 1000) i)) || ')';
         END$$; INSERT INTO t VALUES (2, 'y')",
    );
    c.sql(
        "BEGIN; ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (3, 'z'); CREATE TABLE copy (LIKE u INCLUDING ALL); INSERT INTO copy TABLE u;
         ALTER TABLE copy ADD d int; DROP TABLE u; COMMIT",
    );
    assert_restores_whole(&c);
}

/// What superusers repair by hand.
#[test]
fn rows_of_catalogs_that_a_superuser_changes_by_hand_are_read_as_they_are() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'b', c int CHECK (c > 0)); INSERT INTO t VALUES (1);
         COMMENT ON TABLE t IS 't'; COMMENT ON COLUMN t.b IS 'b'; CREATE VIEW v AS SELECT a FROM t; CREATE DOMAIN d AS int NOT NULL",
    );
    c.sql(
        "SET allow_system_table_mods = on; BEGIN; DELETE FROM pg_description WHERE objoid = 't'::regclass AND objsubid = 2;
         INSERT INTO t VALUES (2); UPDATE pg_class SET reloptions = '{fillfactor=60}' WHERE oid = 't'::regclass;
         UPDATE pg_attribute SET attstattarget = 77 WHERE attrelid = 't'::regclass AND attname = 'a';
         UPDATE pg_type SET typacl = '{=U/postgres}' WHERE oid = 'd'::regtype; INSERT INTO t VALUES (3);
         INSERT INTO pg_description VALUES ('t'::regclass, 'pg_class'::regclass, 3, 'by hand'); UPDATE pg_description SET description = 'T' WHERE objoid = 't'::regclass AND objsubid = 0;
         ALTER TABLE t ADD e int DEFAULT 9; INSERT INTO t VALUES (4); COMMIT",
    );
    c.sql(
        "SET allow_system_table_mods = on; BEGIN; CREATE TABLE n (a int PRIMARY KEY, b int); INSERT INTO n VALUES (1, 2);
         UPDATE pg_attribute SET attname = 'bb' WHERE attrelid = 'n'::regclass AND attname = 'b'; INSERT INTO n VALUES (3, 4);
         UPDATE pg_class SET relname = 'nn' WHERE oid = 'n'::regclass; INSERT INTO nn VALUES (5, 6);
         UPDATE pg_attribute SET attoptions = '{n_distinct=5}' WHERE attrelid = 'nn'::regclass AND attname = 'bb'; COMMIT",
    );
    assert_restores_whole(&c);
}

#[test]
fn families_that_are_taken_apart_in_one_transaction_come_back() {
    let c = Cluster::builder()
        .setting("max_prepared_transactions", "5")
        .back_up();
    c.sql(
        "CREATE TABLE p (a int, b text, CONSTRAINT k PRIMARY KEY (a)) PARTITION BY RANGE (a);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (a);
         CREATE TABLE p21 PARTITION OF p2 DEFAULT; CREATE INDEX ON p (b); INSERT INTO p VALUES (1, 'a'), (11, 'b');
         CREATE TABLE r (x int REFERENCES p, y int); INSERT INTO r VALUES (1), (11);
         CREATE TABLE a (i int, j text DEFAULT 'j', CHECK (i > 0)); CREATE TABLE b (k int) INHERITS (a); CREATE TABLE c () INHERITS (b);
         INSERT INTO c VALUES (1, 'x', 2); CREATE TYPE ct AS (a int, b a); CREATE TABLE uses (x b, y c[], z ct[])",
    );
    c.sql(
        "BEGIN; CREATE TABLE p3 (LIKE p INCLUDING ALL); INSERT INTO p3 VALUES (25, 'c'); ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30);
         INSERT INTO p VALUES (26, 'd'); INSERT INTO r VALUES (26); DELETE FROM r WHERE x = 11; ALTER TABLE p DETACH PARTITION p2; INSERT INTO p21 VALUES (12, 'e');
         ALTER TABLE p ADD c int DEFAULT 3; ALTER TABLE p2 RENAME b TO bb; INSERT INTO p VALUES (2, 'f', 4); DROP TABLE p2;
         CREATE TABLE p4 PARTITION OF p DEFAULT; INSERT INTO p VALUES (99, 'g', 5); ALTER TABLE p DETACH PARTITION p4; ALTER TABLE p4 DROP b; COMMIT",
    );
    c.sql(
        "BEGIN; DROP TABLE uses; ALTER TABLE a RENAME j TO jj; INSERT INTO c VALUES (3, 'y', 4); ALTER TABLE a ADD l int DEFAULT 6; INSERT INTO b VALUES (5, 'z', 6);
         ALTER TABLE c NO INHERIT b; ALTER TABLE c ALTER l DROP DEFAULT; INSERT INTO c VALUES (7); ALTER TABLE c INHERIT a; DROP TABLE b; ALTER TABLE a RENAME i TO ii;
         INSERT INTO a VALUES (8); ALTER TYPE ct RENAME ATTRIBUTE a TO aa; DROP TABLE a CASCADE; COMMIT",
    );
    c.sql(
        "BEGIN; CREATE TABLE whole (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (5) PARTITION BY RANGE (a);
         CREATE TABLE part1 PARTITION OF part DEFAULT; INSERT INTO whole VALUES (1); ALTER TABLE whole DETACH PARTITION part; DROP TABLE whole; INSERT INTO part VALUES (2);
         CREATE TABLE whole (a int) PARTITION BY RANGE (a); ALTER TABLE whole ATTACH PARTITION part FOR VALUES FROM (0) TO (9); DROP TABLE whole CASCADE; COMMIT",
    );
    c.sql(
        "BEGIN; CREATE TABLE prepared (a int PRIMARY KEY, b text DEFAULT 'p'); INSERT INTO prepared VALUES (1); ALTER TABLE prepared ADD c int DEFAULT 2;
         DROP TABLE r; ALTER TABLE p RENAME TO q; PREPARE TRANSACTION 'x'",
    );
    c.sql("CREATE TABLE between (a int PRIMARY KEY); INSERT INTO between VALUES (1)");
    c.sql("COMMIT PREPARED 'x'");
    if c.version() == 15 {
        c.sql("BEGIN; CREATE TABLE asview (a int, b text DEFAULT 'x'); COMMENT ON COLUMN asview.b IS 'b'; CREATE RULE \"_RETURN\" AS ON SELECT TO asview DO INSTEAD SELECT 1 AS a, 'x'::text AS b; COMMIT");
        c.sql("CREATE TABLE asview2 (a int, b text); COMMENT ON COLUMN asview2.b IS 'b'");
        c.sql("CREATE RULE \"_RETURN\" AS ON SELECT TO asview2 DO INSTEAD SELECT 1 AS a, 'x'::text AS b");
    }
    assert_restores_whole(&c);
}

/// All that was decoded late, after each catalog was rewritten and its indexes with it.
#[test]
fn catalogs_that_were_rewritten_before_decoding_are_read_whole() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'b'); COMMENT ON COLUMN t.b IS 'b'; CREATE TABLE gone (a int PRIMARY KEY, b serial);
         INSERT INTO t VALUES (1); INSERT INTO gone VALUES (1); CREATE SCHEMA s; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    c.flush();
    c.sql("SELECT incr_teardown(drop_slot => false)");
    let work = |i: i32| {
        format!(
        "BEGIN; CREATE TABLE n{i} (a int PRIMARY KEY, b text DEFAULT 'z', CHECK (b <> '')); INSERT INTO n{i} VALUES (1); SAVEPOINT x; ALTER TABLE n{i} ADD q int; ROLLBACK TO x;
         ALTER TABLE t ADD c{i} int DEFAULT {i}; INSERT INTO t VALUES ({i} + 10); COMMENT ON COLUMN t.b IS '{i}'; ALTER FUNCTION f() COST {i}; CREATE TABLE s.x (a int PRIMARY KEY);
         INSERT INTO s.x VALUES (1); DROP TABLE s.x; ALTER TABLE n{i} RENAME b TO bb; INSERT INTO n{i} VALUES (2); COMMIT")
    };
    c.sql(&work(1));
    c.sql("BEGIN; ALTER TABLE gone ADD x int DEFAULT 1; INSERT INTO gone VALUES (2); DROP TABLE gone; COMMIT");
    let mut one = c.session();
    one.run("BEGIN; CREATE TABLE open (a int PRIMARY KEY, b text DEFAULT 'o'); INSERT INTO open VALUES (1); ALTER TABLE t ALTER b SET DEFAULT 'open'");
    let mut rest = String::new();
    for catalog in c.sql("SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND relname ~ '^pg_(class|attribute|type|proc|attrdef|constraint|index|depend|description|namespace|inherits)$'").split(' ') {
        rest.push_str(&format!("VACUUM FULL {catalog}; REINDEX TABLE {catalog};"));
    }
    one.run("COMMIT");
    for statement in rest.split_terminator(';') {
        c.sql(statement);
    }
    c.sql(&work(2));
    for statement in rest.split_terminator(';') {
        c.sql(statement);
    }
    c.sql("ALTER TABLE n1 ADD again int DEFAULT 5; INSERT INTO n1 VALUES (7)");
    c.sql("SELECT * FROM incr_setup()");
    c.wait_for_capture();
    assert_restores_whole(&c);
}

/// Tens of thousands of rows.
#[test]
fn a_transaction_of_very_many_catalog_rows_comes_back() {
    let c = Cluster::builder()
        .setting("max_locks_per_transaction", "500")
        .back_up();
    c.sql(
        "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE m%s (a int PRIMARY KEY, b text DEFAULT %L, c int CHECK (c > %s))', i, i, i); END LOOP; END$$",
    );
    c.sql(
        "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('ALTER TABLE m%s ADD d int DEFAULT 1', i); EXECUTE format('INSERT INTO m%s VALUES (1)', i); 
         EXECUTE format('COMMENT ON TABLE m%s IS %L', i, i);
         IF i % 2 = 0 THEN EXECUTE format('DROP TABLE m%s', i); END IF; END LOOP; END$$",
    );
    assert_restores_whole(&c);
}
