//! What the tester of random transactions found (tests/fuzz), each as small as it could be made.

use harness::Cluster;
use std::collections::BTreeSet;
use std::process::Command;

/// PostgreSQL 18 marks subtransactions of an aborted transaction as streamed when it throws their
/// changes away (ReorderBufferTruncateTXN), also for a plugin that never streams, and then calls
/// that plugin's stream_abort_cb.
#[test]
fn an_aborted_transaction_larger_than_the_decoding_memory_does_not_stop_capture() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.decoding_work_mem", "64kB")
        .back_up();
    c.sql("CREATE TABLE t (a int, b text)");
    c.flush();
    // The worker must read the transaction when it is known to have aborted.
    let worker = c.capture_pid();
    signal("-STOP", &worker);
    c.sql(
        "BEGIN; INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 100) i;
           SAVEPOINT s; INSERT INTO t VALUES (1, 'in a subtransaction'); RELEASE s;
           INSERT INTO t SELECT i, repeat('y', 200) FROM generate_series(1, 1000) i; ROLLBACK",
    );
    signal("-CONT", &worker);
    c.sql("INSERT INTO t VALUES (2, 'after it')");
    c.assert_restores();
}

/// A rewritten table's rows come again as INSERTs, which every constraint checks: also one that
/// the rows of that time may break.
#[test]
fn rows_that_break_a_constraint_not_valid_survive_a_rewrite() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (-1), (1);
           ALTER TABLE t ADD CONSTRAINT above CHECK (a > 0) NOT VALID;
           COMMENT ON CONSTRAINT above ON t IS 'it''s for the new ones';
           ALTER TABLE t ADD r float8 DEFAULT random()",
    );
    // A partition that came later has it valid (seed 102588744 on 15).
    c.sql(
        "CREATE TABLE p (a int, b int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
           INSERT INTO p VALUES (1, NULL); ALTER TABLE p ADD CONSTRAINT there CHECK (b IS NOT NULL) NOT VALID;
           CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (2, 2);
           COMMENT ON CONSTRAINT there ON p2 IS 'mine'; ALTER TABLE p ADD r float8 DEFAULT random();
           ALTER TABLE p ADD CONSTRAINT second CHECK (a > 0); INSERT INTO p VALUES (2, 3)",
    );
    c.sql_error("INSERT INTO p VALUES (1, NULL)");
    if c.version() >= 18 {
        c.sql(
            "CREATE TABLE u (a int PRIMARY KEY, b text); INSERT INTO u VALUES (1, NULL);
               ALTER TABLE u ADD CONSTRAINT there NOT NULL b NOT VALID;
               ALTER TABLE u ADD r float8 DEFAULT random();
             CREATE TABLE parent (a int, b int); CREATE TABLE keyed (PRIMARY KEY (a)) INHERITS (parent);
               CREATE TABLE child () INHERITS (parent);
               INSERT INTO parent VALUES (NULL, 1); INSERT INTO child VALUES (NULL, 2); INSERT INTO keyed VALUES (1, 3);
               ALTER TABLE parent ADD CONSTRAINT there NOT NULL a NOT VALID;
               COMMENT ON CONSTRAINT there ON child IS 'too';
               ALTER TABLE parent ADD r float8 DEFAULT random(); ALTER TABLE parent ADD c int",
        );
        c.sql_error("INSERT INTO child (b) VALUES (4)");
    }
    c.assert_restores();
}

/// A stored composite keeps the attributes that its type had when it was stored: its image is not
/// that of a literal read afterwards, and IS NULL holds for one whose attributes are all NULL.
#[test]
fn a_row_without_a_key_is_found_when_a_type_in_it_has_changed() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN checked AS pair;
           CREATE TYPE pairs AS RANGE (subtype = pair);
           CREATE TABLE t (n int, p pair, ps pair[], d checked, r pairs, j json);
           INSERT INTO t SELECT i % 2, (1, 'x')::pair, ARRAY[(2, 'y')::pair, NULL], (3, 'z')::pair,
             pairs((1, 'a')::pair, (2, 'b')::pair), '{}' FROM generate_series(1, 4) i;
           INSERT INTO t VALUES (2, (NULL, NULL)::pair), (2, NULL);
           ALTER TYPE pair ADD ATTRIBUTE c int; UPDATE t SET n = 3 WHERE ctid = '(0,1)';
           ALTER TYPE pair DROP ATTRIBUTE b; UPDATE t SET n = 4 WHERE ctid = '(0,2)';
           ALTER TYPE pair ADD ATTRIBUTE j json; DELETE FROM t WHERE ctid = '(0,3)';
           DELETE FROM t WHERE n = 2 AND p IS NOT DISTINCT FROM NULL",
    );
    c.assert_restores_to_the_byte();
}

/// pg_dump writes inherited columns first: a child whose parent got a column later comes out of a
/// base with its columns in another order.
#[test]
fn a_row_without_a_key_is_found_when_the_base_has_its_columns_in_another_order() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE parent (a int); CREATE TABLE child (j json, k point) INHERITS (parent);
           INSERT INTO child VALUES (1, '{}', '(1,2)'), (1, '{}', '(1,2)');
           ALTER TABLE parent ADD b text; SELECT incr_dump();
           UPDATE child SET a = 2, b = 'x' WHERE ctid = '(0,1)'; UPDATE child SET a = 3 WHERE a = 2",
    );
    c.flush();
    let restored = c.restore(&[]);
    let rows = c.sql_in(
        &restored.database,
        "SELECT a, b, j, k FROM child ORDER BY a",
    );
    assert_eq!(rows, "1||{}|(1,2)\n3|x|{}|(1,2)");
}

/// The rows of an unlogged table are not in the stream: those that it had before must not stay
/// either, or later DDL finds rows that the source had changed.
#[test]
fn a_table_that_became_unlogged_is_empty() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, NULL), (1, 'x');
           ALTER TABLE t SET UNLOGGED; UPDATE t SET b = 'y' WHERE b IS NULL;
           ALTER TABLE t ALTER b SET NOT NULL; DELETE FROM t WHERE b = 'x';
           CREATE UNIQUE INDEX ON t (a)",
    );
    let restored = c.assert_restores();
    let rows = c.sql_in(&restored.database, "SELECT count(*) FROM t");
    assert_eq!(rows, "0");
    c.sql("ALTER TABLE t SET LOGGED; INSERT INTO t VALUES (2, 'z')");
    c.assert_restores();
}

/// From PostgreSQL 18 on a published table whose identity has a generated column that is not
/// published refuses DELETE: so a restore may not delete the rows that a rewrite replaces.
#[test]
fn a_published_table_with_a_generated_column_survives_a_rewrite() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO t VALUES (1), (2);
           CREATE PUBLICATION p FOR TABLE t; ALTER TABLE t ADD r float8 DEFAULT random()",
    );
    c.assert_restores();
}

/// "The second backup of that second failed." A base is named by its LSN and the second, and an idle server's
/// WAL stays where it is.
#[test]
fn bases_of_an_idle_server_made_at_once_have_names_of_their_own() {
    let c = Cluster::backed_up();
    let bases = c.sql(&"SELECT incr_dump();".repeat(5));
    let bases: BTreeSet<_> = bases.lines().collect();
    assert_eq!(bases.len(), 5, "{bases:?}");
    c.assert_restores();
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill").args([name, process]).status();
    assert!(sent.expect("kill can be run").success());
}
