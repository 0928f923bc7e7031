//! "It restores fast, but what it made of my values, or which line failed, nobody can tell." What
//! restore.sh groups and prepares is the same as when each statement is run by itself.

use harness::Cluster;
use std::fs;

/// Many small transactions, of one shape each, so that all are grouped and prepared.
#[test]
fn statements_that_are_prepared_keep_every_value() {
    let c = Cluster::backed_up();
    c.sql(
        r#"CREATE TABLE "it's, a = b" (id bigint PRIMARY KEY, "x, y" text);
        CREATE TABLE "Camel" ("Id" int PRIMARY KEY, "a = b" text, "q""uote" text);
        CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TYPE mood AS ENUM ('sad', 'it''s = fine');
        CREATE TABLE t (id int PRIMARY KEY, s text, v varchar(7), c char(4), n numeric(9, 3), f float8, b bool,
            bits bit(3), d positive, m mood, a text[], j jsonb, ts timestamptz, by bytea, i8 bigint);
        CREATE TABLE bare (k int, s text, f float4);
        CREATE INDEX ON bare (k)"#,
    );
    let texts = [
        "plain",
        "it's",
        "a = b",
        "' = '",
        "''",
        "\\",
        "\\'",
        "a\nb = 'c'",
        "$1",
        ":x",
        "\"",
        "",
        "null",
        "x, y = 5 WHERE z = 7",
        "E'\\n'",
    ];
    for (nth, text) in texts.iter().cycle().take(texts.len() * 3).enumerate() {
        let quoted = text.replace('\'', "''");
        c.sql(&format!(
            r#"INSERT INTO "it's, a = b" VALUES ({nth}, '{quoted}');
            UPDATE "it's, a = b" SET "x, y" = "x, y" || ' = ' WHERE id = {nth};
            INSERT INTO "Camel" VALUES ({nth}, '{quoted}', ' = ');
            UPDATE "Camel" SET "a = b" = '{quoted}!' WHERE "Id" = {nth};
            INSERT INTO t VALUES ({nth}, '{quoted}', left('{quoted}', 7), left('{quoted}', 4), {nth}.125, 1e-7 * {nth}, {nth} % 2 = 0,
                B'101', {nth} + 1, 'it''s = fine', ARRAY['{quoted}', NULL], jsonb_build_object('k = ''', '{quoted}'::text),
                now(), '\x00ff', -9223372036854775808 + {nth});
            UPDATE t SET s = s || '''', n = -n, f = 'NaN', b = NULL, m = 'sad', id = -{nth} - 1 WHERE id = {nth};
            INSERT INTO bare VALUES ({nth}, '{quoted}', 0.1), ({nth}, '{quoted}', 0.1), ({nth}, NULL, '-0');
            UPDATE bare SET s = s || ' = ' WHERE ctid = (SELECT min(ctid) FROM bare WHERE k = {nth});
            DELETE FROM bare WHERE k = {nth} AND s IS NULL;
            DELETE FROM t WHERE id = -{nth} - 1 AND {nth} % 7 = 0"#
        ));
    }
    c.assert_restores();
}

/// A plan and its parameters belong to a definition that an ALTER TABLE may change at any time.
#[test]
fn a_prepared_statement_does_not_outlive_a_definition() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY, v int)");
    for id in 0..5 {
        c.sql(&format!(
            "INSERT INTO t VALUES ({id}, {id}); UPDATE t SET v = v + 1 WHERE id = {id}"
        ));
    }
    c.sql("ALTER TABLE t ALTER v TYPE text");
    for id in 5..10 {
        c.sql(&format!(
            "INSERT INTO t VALUES ({id}, '007'); UPDATE t SET v = '00' || v WHERE id = {id}"
        ));
    }
    c.sql("ALTER TABLE t RENAME TO old; CREATE TABLE t (id int PRIMARY KEY, v date)");
    for id in 0..5 {
        c.sql(&format!(
            "INSERT INTO t VALUES ({id}, '2026-01-01'); UPDATE t SET v = v + {id} WHERE id = {id}; DELETE FROM old WHERE id = {id}"
        ));
    }
    c.assert_restores();
}

/// Of twenty transactions that run as one, the one in the middle is forged; or the one before the first.
#[test]
fn the_line_that_fails_is_named_among_grouped_transactions() {
    for forged in [0, 11, 19] {
        let c = Cluster::backed_up();
        c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT g, 0 FROM generate_series(0, 19) g");
        for a in 0..20 {
            c.sql(&format!("UPDATE t SET b = 1 WHERE a = {a}"));
        }
        c.flush();
        // The open segment has no checksum yet: a forged line in it reaches psql.
        let open = c.segments().pop().expect("a segment is open").path;
        let text = fs::read_to_string(&open).expect("the segment can be read");
        let key = format!("WHERE a = {forged};");
        let line = 1 + text
            .lines()
            .position(|line| line.ends_with(&key))
            .expect("the update is there");
        fs::write(&open, text.replace(&key, "WHERE a = 99;")).expect("it can be written");
        let output = c
            .try_restore(&c, "stopped", &[])
            .expect_err("an update that hit nothing passed");
        let name = open.file_stem().expect("it is a file").to_string_lossy();
        let place = format!("{name}:{line}: ");
        assert!(output.contains(&place), "{place} not in: {output}");
        assert!(output.contains("UPDATE hit 0 rows"), "{output}");
    }
}
