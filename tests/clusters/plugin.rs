//! "The SQL in the stream is not what happened." The output plugin by itself, as pg_recvlogical
//! and the SQL functions use it, and the places where decoder_raw is wrong.

use harness::{Cluster, Session};
use std::process::Command;

/// A cluster with a slot on the plugin, without capture, and a function to read what it says.
struct Decoded {
    cluster: Cluster,
}

impl Decoded {
    fn new() -> Self {
        Self::on(Cluster::builder().start())
    }

    fn on(cluster: Cluster) -> Self {
        let decoded = Self { cluster };
        decoded
            .session()
            .run("SELECT pg_create_logical_replication_slot('reader', 'pg_incrbackup')");
        decoded
    }

    /// A session that may use the plugin on servers with output_plugin_libraries.
    fn session(&self) -> Session {
        let mut session = self.cluster.session();
        if self
            .cluster
            .is_true("SELECT count(*) = 1 FROM pg_settings WHERE name = 'output_plugin_libraries'")
        {
            session.run("SET output_plugin_libraries = pgoutput, test_decoding, pg_incrbackup");
        }
        session
    }

    /// The lines for one script, without BEGIN and COMMIT.
    fn lines(&self, script: &str) -> Vec<String> {
        self.lines_with(script, "")
    }

    fn lines_with(&self, script: &str, options: &str) -> Vec<String> {
        self.cluster.sql(script);
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(", {options}")
        };
        let query =
            format!("SELECT data FROM pg_logical_slot_get_changes('reader', NULL, NULL{options})");
        self.session()
            .run(&query)
            .lines()
            .map(str::to_string)
            .collect()
    }
}

#[test]
fn ordinary_changes_read_as_decoder_raw_writes_them() {
    let d = Decoded::new();
    d.cluster.sql("CREATE TABLE a (id int PRIMARY KEY, x int)");
    d.lines("SELECT 1");
    let lines = d.lines(
        "INSERT INTO a VALUES (1, 2); UPDATE a SET x = 10; UPDATE a SET x = NULL; DELETE FROM a",
    );
    assert_eq!(
        lines,
        [
            "INSERT INTO public.a (id, x) VALUES (1, 2);",
            "UPDATE public.a SET id = 1, x = 10 WHERE id = 1;",
            "UPDATE public.a SET id = 1, x = null WHERE id = 1;",
            "DELETE FROM public.a WHERE id = 1;",
        ]
    );
}

#[test]
fn include_transaction_adds_begin_and_commit_but_not_to_nothing() {
    let d = Decoded::new();
    d.cluster.sql("CREATE TABLE a (id int PRIMARY KEY)");
    d.lines("SELECT 1");
    let lines = d.lines_with(
        "INSERT INTO a VALUES (1); BEGIN; SELECT txid_current(); COMMIT;
        CREATE TEMP TABLE t (a int)",
        "'include_transaction', 'on'",
    );
    assert_eq!(
        lines,
        ["BEGIN;", "INSERT INTO public.a (id) VALUES (1);", "COMMIT;"]
    );
}

#[test]
fn output_format_takes_decoder_raws_values_and_refuses_others() {
    let d = Decoded::new();
    d.lines_with("SELECT 1", "'output_format', 'textual'");
    let mut session = d.session();
    for option in [
        "'output_format', 'nonsense'",
        "'no_such_option', '1'",
        "'include_transaction', 'maybe'",
    ] {
        session.send(&format!(
            "SELECT data FROM pg_logical_slot_get_changes('reader', NULL, NULL, {option})"
        ));
        let output = session.finish();
        assert!(output.contains("22023"), "{option}: {output}");
    }
}

#[test]
fn pg_recvlogical_can_use_it() {
    let d = Decoded::new();
    let c = &d.cluster;
    c.sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (7)");
    let end = c.sql("SELECT pg_current_wal_lsn()");
    let mut command: Command = c.installation().command("pg_recvlogical");
    command.args([
        "-d",
        &c.conninfo("app"),
        "-S",
        "reader",
        "-P",
        "pg_incrbackup",
        "--start",
    ]);
    command.args([
        "-o",
        "include_transaction=on",
        "-f",
        "-",
        "--endpos",
        &end,
        "--no-loop",
    ]);
    if c.is_true("SELECT count(*) = 1 FROM pg_settings WHERE name = 'output_plugin_libraries'") {
        let allowed = r"-c output_plugin_libraries=pgoutput,test_decoding,pg_incrbackup";
        command.env("PGOPTIONS", allowed);
    }
    let output = command.output().expect("pg_recvlogical can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("BEGIN;\nINSERT INTO public.a (id) VALUES (7);\nCOMMIT;\n"),
        "{text}{error}"
    );
}

#[test]
fn generated_columns_are_left_out_and_identities_overridden() {
    let d = Decoded::new();
    d.cluster.sql("CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED)");
    d.lines("SELECT 1");
    let lines = d.lines("INSERT INTO g (a) VALUES (5); UPDATE g SET a = 6");
    assert_eq!(
        lines[0],
        "INSERT INTO public.g (id, a) OVERRIDING SYSTEM VALUE VALUES (1, 5);"
    );
    assert!(
        lines[1].starts_with("UPDATE public.g SET ") && !lines[1].contains("b ="),
        "{lines:?}"
    );
    assert!(
        !lines[1].contains("SET id"),
        "a GENERATED ALWAYS identity cannot be set: {lines:?}"
    );
}

#[test]
fn what_decoder_raw_gets_wrong_restores() {
    let c = Cluster::backed_up();
    c.sql(r#"
        CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
        INSERT INTO generated (a) VALUES (1), (2), (3);
        UPDATE generated SET a = 9 WHERE id = 2;
        UPDATE generated SET id = DEFAULT WHERE id = 1;
        DELETE FROM generated WHERE id = 3;

        CREATE TABLE identity_only (id int GENERATED ALWAYS AS IDENTITY);
        INSERT INTO identity_only DEFAULT VALUES; INSERT INTO identity_only DEFAULT VALUES;
        UPDATE identity_only SET id = DEFAULT WHERE id = 1;

        CREATE TABLE nulls (a int, b text, j json, p point);
        INSERT INTO nulls VALUES (1, NULL, '{"a": 1}', '(1,2)'), (NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL), (2, '', 'null', NULL);
        UPDATE nulls SET b = 'now' WHERE a = 1;
        DELETE FROM nulls WHERE ctid = (SELECT min(ctid) FROM nulls WHERE a IS NULL);
        UPDATE nulls SET j = NULL WHERE a = 2;

        CREATE TABLE twins (a int, j json);
        INSERT INTO twins SELECT 1, '{}' FROM generate_series(1, 5);
        UPDATE twins SET a = 2 WHERE ctid = '(0,3)';
        DELETE FROM twins WHERE ctid = '(0,1)';

        CREATE TABLE toasted (id int PRIMARY KEY, small int, big text, other text);
        ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
        INSERT INTO toasted VALUES (1, 1, repeat('x', 100000), repeat('y', 100000));
        UPDATE toasted SET small = 2; UPDATE toasted SET other = 'short'; UPDATE toasted SET id = 5;

        CREATE TABLE toasted_bare (small int, big text);
        ALTER TABLE toasted_bare ALTER big SET STORAGE EXTERNAL;
        INSERT INTO toasted_bare VALUES (1, repeat('x', 100000)), (1, repeat('x', 100000));
        UPDATE toasted_bare SET small = 2 WHERE ctid = '(0,1)';
        DELETE FROM toasted_bare WHERE small = 1;

        CREATE TABLE toasted_only (id int PRIMARY KEY, a text);
        INSERT INTO toasted_only VALUES (1, 'x'); UPDATE toasted_only SET a = a;

        CREATE TABLE no_columns ();
        INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
        INSERT INTO no_columns DEFAULT VALUES;
        DELETE FROM no_columns WHERE ctid = '(0,2)';

        CREATE TABLE dropped (a int, b int, c int); INSERT INTO dropped VALUES (1, 2, 3);
        ALTER TABLE dropped DROP COLUMN b; INSERT INTO dropped VALUES (4, 5);
        UPDATE dropped SET c = 6 WHERE a = 1; DELETE FROM dropped WHERE a = 4;

        CREATE TABLE "We""ird  Näme" ("select" int PRIMARY KEY, "a b" text, "Ünï" int);
        INSERT INTO "We""ird  Näme" VALUES (1, 'x', 2);
        UPDATE "We""ird  Näme" SET "a b" = '\' WHERE "select" = 1;

        CREATE MATERIALIZED VIEW m AS SELECT * FROM nulls; REFRESH MATERIALIZED VIEW m;
        CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1);
    "#);
    c.assert_restores();
}

#[test]
fn a_copy_block_ends_before_a_row_without_columns() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE a (i int); CREATE TABLE nothing ();
           BEGIN; INSERT INTO a SELECT generate_series(1, 100);
           INSERT INTO nothing DEFAULT VALUES; INSERT INTO a VALUES (101); COMMIT;",
    );
    c.assert_restores();
}

#[test]
fn rows_with_a_virtual_column_are_found_without_a_key() {
    let c = Cluster::backed_up();
    if c.version() < 18 {
        return harness::skipped("18 has these");
    }
    c.sql(
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c json, d int);
           INSERT INTO t VALUES (1, default, '1', 1), (2, default, '2', 2), (3, default, '3', 3);
           UPDATE t SET a = 10 WHERE a = 1; DELETE FROM t WHERE a = 2;
           CREATE TABLE u (a int, b int GENERATED ALWAYS AS (a * 2));
           INSERT INTO u VALUES (1), (2); UPDATE u SET a = 5 WHERE b = 2; DELETE FROM u WHERE a = 2",
    );
    c.assert_restores();
}

#[test]
fn children_of_an_inheritance_parent_keep_their_rows() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE parent (id int PRIMARY KEY, a int);
           CREATE TABLE child (b int) INHERITS (parent);
           INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1, 1), (2, 2, 2);
           UPDATE ONLY parent SET a = 10 WHERE id = 1; UPDATE child SET a = 20 WHERE id = 1;
           DELETE FROM ONLY parent WHERE id = 1; TRUNCATE ONLY parent;",
    );
    c.assert_restores();
}

#[test]
fn truncate_takes_only_what_was_truncated() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE parent (id serial, a int); CREATE TABLE child () INHERITS (parent);
           CREATE TABLE r (id int PRIMARY KEY); CREATE TABLE f (r int REFERENCES r);
           CREATE TABLE p (a int, n int GENERATED BY DEFAULT AS IDENTITY) PARTITION BY LIST (a);
           CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
           CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
           INSERT INTO parent (a) VALUES (1), (2); INSERT INTO child (a) VALUES (3);
           INSERT INTO r VALUES (1); INSERT INTO f VALUES (1); INSERT INTO p (a) VALUES (1), (2);
           TRUNCATE ONLY parent; TRUNCATE r CASCADE; TRUNCATE p1;
           INSERT INTO p (a) VALUES (1), (2); TRUNCATE p RESTART IDENTITY;
           INSERT INTO p (a) VALUES (1);
           INSERT INTO parent (a) VALUES (9); TRUNCATE parent, r, f RESTART IDENTITY;
           INSERT INTO parent (a) VALUES (10);
           BEGIN; TRUNCATE parent; ROLLBACK;",
    );
    c.assert_restores();
}

#[test]
fn a_subtransaction_that_rolls_back_leaves_nothing() {
    let d = Decoded::new();
    d.cluster.sql("CREATE TABLE a (id int PRIMARY KEY)");
    d.lines("SELECT 1");
    let lines = d.lines(
        "BEGIN; INSERT INTO a VALUES (1); SAVEPOINT s; INSERT INTO a VALUES (2);
    ROLLBACK TO s; INSERT INTO a VALUES (3); COMMIT",
    );
    assert_eq!(
        lines,
        [
            "INSERT INTO public.a (id) VALUES (1);",
            "INSERT INTO public.a (id) VALUES (3);"
        ]
    );
}

#[test]
fn a_prepared_transaction_counts_when_it_is_committed() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY);
           BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'one';
           INSERT INTO t VALUES (2); COMMIT PREPARED 'one';
           BEGIN; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'two'; ROLLBACK PREPARED 'two';",
    );
    c.flush();
    let bodies: Vec<_> = c.transactions().into_iter().map(|t| t.body).collect();
    let position = |needle: &str| bodies.iter().position(|body| body.contains(needle));
    assert!(
        position("VALUES (2)") < position("VALUES (1)"),
        "{bodies:?}"
    );
    assert_eq!(position("VALUES (3)"), None);
    c.assert_restores();
}

#[test]
fn a_definition_changed_in_the_middle_is_seen_by_the_next_row() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1);
           BEGIN; INSERT INTO t VALUES (2, 2); ALTER TABLE t RENAME b TO c;
           INSERT INTO t VALUES (3, 3);
           ALTER TABLE t ADD d text DEFAULT 'd'; UPDATE t SET d = 'e' WHERE a = 1;
           ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (4, 4, 'f'); COMMIT;
           ALTER TABLE u DROP COLUMN c; ALTER TABLE u ALTER a TYPE bigint;
           INSERT INTO u VALUES (5000000000, 'g');",
    );
    c.assert_restores();
}

#[test]
fn what_became_of_large_objects_comes_last() {
    let d = Decoded::new();
    d.cluster.sql("CREATE TABLE t (a int PRIMARY KEY)");
    d.lines("SELECT lo_from_bytea(70002, repeat('a', 3000)::bytea)");
    let lines = d.lines(
        "BEGIN; SELECT lo_from_bytea(70001, 'ab'); SELECT lo_put(70001, 1, 'c');
         SELECT lo_truncate(lo_open(70002, 131072), 2049);
         COMMENT ON LARGE OBJECT 70001 IS 'x'; INSERT INTO t VALUES (1); COMMIT",
    );
    let expected = [
        "INSERT INTO public.t (a) VALUES (1);",
        "SET LOCAL ROLE postgres;",
        "SELECT pg_catalog.lo_create(70001);",
        "SET LOCAL ROLE NONE;",
        "SELECT pg_catalog.lo_put(70001, 0, E'\\\\x6163');",
        "COMMENT ON LARGE OBJECT 70001 IS 'x';",
        "SELECT pg_catalog.lo_truncate64(fd, 2048), pg_catalog.lo_close(fd) \
         FROM pg_catalog.lo_open(70002, 131072) AS fd;",
        "SELECT pg_catalog.lo_put(70002, 2048, E'\\\\x61');",
    ];
    assert_eq!(lines, expected);
    let lines = d.lines("SELECT lo_unlink(70001)");
    assert_eq!(lines, ["SELECT pg_catalog.lo_unlink(70001);"]);
}
