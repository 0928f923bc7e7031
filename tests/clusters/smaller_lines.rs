//! "Every UPDATE of my table with REPLICA IDENTITY FULL writes the whole row." Where such a table has a key, its rows are
//! found by that, and only where it is one at the moment of the change.

use harness::Cluster;

/// The UPDATEs and DELETEs of a table, in their order.
fn changes(stream: &str, table: &str) -> Vec<String> {
    let of_table = |line: &&str| {
        let rest = line
            .strip_prefix("UPDATE ")
            .or(line.strip_prefix("DELETE FROM "));
        let rest = rest.map(|rest| rest.strip_prefix("ONLY ").unwrap_or(rest));
        rest.is_some_and(|rest| rest.starts_with(&format!("public.{table} ")))
    };
    stream.lines().filter(of_table).map(str::to_owned).collect()
}

/// True if all changes of the table have the form for rows without a key.
fn are_found_by_the_whole_row(stream: &str, table: &str) -> bool {
    let lines = changes(stream, table);
    !lines.is_empty() && lines.iter().all(|line| line.contains(" = (SELECT "))
}

#[test]
fn a_row_is_found_by_the_key_of_its_table() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE pk (id int PRIMARY KEY, a int, t text, n numeric, j json, g int GENERATED ALWAYS AS (a + 1) STORED);
         ALTER TABLE pk REPLICA IDENTITY FULL;
         INSERT INTO pk SELECT i, 1, 'x', 1.50, '{}' FROM generate_series(1, 4) i;
         UPDATE pk SET a = 2 WHERE id = 1; UPDATE pk SET id = 9, t = NULL WHERE id = 2;
         DELETE FROM pk WHERE id = 1; DELETE FROM pk WHERE id = 9; UPDATE pk SET a = a;
         CREATE TABLE uq (a int, k text NOT NULL, l int NOT NULL, id int PRIMARY KEY DEFERRABLE);
         CREATE UNIQUE INDEX ON uq (l, k COLLATE \"C\") INCLUDE (a); ALTER TABLE uq REPLICA IDENTITY FULL;
         INSERT INTO uq VALUES (1, 'it''s', 1, 1), (1, 'it''s', 2, 2); UPDATE uq SET a = 2 WHERE l = 2; DELETE FROM uq WHERE l = 1;
         CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int); ALTER TABLE always REPLICA IDENTITY FULL;
         INSERT INTO always (a) VALUES (1), (2); UPDATE always SET id = DEFAULT WHERE id = 1; UPDATE always SET a = 3 WHERE id = 2;
         CREATE TABLE parent (id int PRIMARY KEY, a int); ALTER TABLE parent REPLICA IDENTITY FULL;
         CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent); ALTER TABLE child REPLICA IDENTITY FULL;
         INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1); UPDATE ONLY parent SET a = 2; DELETE FROM child;
         CREATE TABLE tree (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO (10); ALTER TABLE leaf REPLICA IDENTITY FULL;
         INSERT INTO tree VALUES (1, 1); UPDATE tree SET a = 2",
    );
    c.assert_restores_both_ways();
    let stream = c.stream();
    assert_eq!(
        changes(&stream, "pk"),
        [
            "UPDATE public.pk SET a = 2 WHERE id = 1;",
            "UPDATE public.pk SET id = 9, t = null WHERE id = 2;",
            "DELETE FROM public.pk WHERE id = 1 AND a = 2 AND t = 'x' AND n = 1.50 /* was j = '{}' */;",
            "DELETE FROM public.pk WHERE id = 9 AND a = 1 AND t IS NULL AND n = 1.50 /* was j = '{}' */;",
        ]
    );
    for (table, lines) in [
        (
            "uq",
            &[
                "UPDATE public.uq SET a = 2 WHERE k = 'it''s' AND l = 2;",
                "DELETE FROM public.uq WHERE k = 'it''s' AND l = 1 AND a = 1 AND id = 1;",
            ][..],
        ),
        (
            "always",
            &[
                "UPDATE public.always SET id = 3 WHERE id = 1;",
                "UPDATE public.always SET a = 3 WHERE id = 2;",
            ],
        ),
        (
            "parent",
            &["UPDATE ONLY public.parent SET a = 2 WHERE id = 1;"],
        ),
        (
            "child",
            &["DELETE FROM public.child WHERE id = 1 AND a = 1;"],
        ),
        ("leaf", &["UPDATE public.leaf SET a = 2 WHERE id = 1;"]),
    ] {
        assert_eq!(changes(&stream, table), lines, "{table}");
    }
    // By its key the row is followed; by another column what does not have that is reported.
    let history = |key: &str| {
        c.sql(&format!(
            "SET client_min_messages = error; \
             SELECT string_agg(operation, ' ') FROM incr_history('pk', '{key}')"
        ))
    };
    assert_eq!(
        history("2"),
        "CREATE TABLE ALTER TABLE INSERT UPDATE DELETE"
    );
    assert!(history("{\"t\": \"x\"}").ends_with("NOT SHOWN"));
}

/// "I dropped a table that a regclass named, and the row's DELETE did nothing." The key alone decides.
#[test]
fn a_row_is_deleted_whatever_became_of_its_other_values() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE x (a int); CREATE DOMAIN named AS regclass; CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE TABLE t (id int PRIMARY KEY, r regclass, l regtype[], d named, j json, m mood, a int); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, 'x', '{mood,int}', 'x', '{}', 'sad', 1), (2, NULL, NULL, NULL, NULL, 'happy', NULL), (3, 'x', NULL, 'x', '[\"*/\"]', NULL, 3)",
    );
    c.flush();
    c.sql(
        "DROP TABLE x; DELETE FROM t WHERE id < 3; UPDATE t SET a = 4; DELETE FROM t; INSERT INTO t (id, m) VALUES (4, 'happy')",
    );
    c.assert_restores_both_ways();
    let lines = changes(&c.stream(), "t");
    assert!(
        lines[0]
            .starts_with("DELETE FROM public.t WHERE id = 1 AND m = 'sad' AND a = 1 /* was r = '")
            && lines[0].ends_with(", j = '{}' */;"),
        "{lines:?}"
    );
    assert_eq!(
        lines[1],
        "DELETE FROM public.t WHERE id = 2 AND j IS NULL AND m = 'happy' AND a IS NULL /* was r = null, l = null, d = null */;"
    );
    let deleted = c.sql(
        "SET client_min_messages = error; SELECT count(*) FROM incr_history('t', '{\"j\": \"{}\"}') WHERE operation = 'DELETE'",
    );
    assert_eq!(deleted, "1", "the comment is read");
    // What has no text is said, and neither compared nor shown.
    c.sql("DELETE FROM pg_enum WHERE enumlabel = 'happy'; DELETE FROM t");
    c.flush();
    let stream = c.stream();
    assert_eq!(
        changes(&stream, "t").last().map(String::as_str),
        Some("DELETE FROM public.t WHERE id = 4 AND j IS NULL AND a IS NULL /* was r = null, l = null, d = null */;")
    );
    assert!(stream.contains("could%20not%20be%20output"), "{stream}");
}

#[test]
fn what_is_no_key_is_not_taken_for_one() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN filled AS int NOT NULL; CREATE TYPE pair AS (a int, b int); CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE OPERATOR CLASS mod_ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
         OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
         CREATE TABLE nullable (k int UNIQUE, a int);
         CREATE TABLE of_domain (k filled UNIQUE, a int);
         CREATE TABLE partial (k int NOT NULL, a int); CREATE UNIQUE INDEX ON partial (k) WHERE a > 0;
         CREATE TABLE expression (k int NOT NULL, a int); CREATE UNIQUE INDEX ON expression (k, abs(a));
         CREATE TABLE deferred (k int PRIMARY KEY DEFERRABLE, a int);
         CREATE TABLE excluding (k int NOT NULL, a int, EXCLUDE (k WITH =));
         CREATE TABLE computed (a int, k int GENERATED ALWAYS AS (a + 1) STORED NOT NULL UNIQUE);
         CREATE TABLE composite (k pair NOT NULL UNIQUE, a int);
         CREATE TABLE of_class (k int NOT NULL, a int); CREATE UNIQUE INDEX ON of_class (k mod_ops)",
    );
    let tables = [
        "nullable",
        "of_domain",
        "partial",
        "expression",
        "deferred",
        "excluding",
        "composite",
        "of_class",
    ];
    for table in tables {
        let value = |k: i32| match table {
            "composite" => format!("(ROW({k}, 1), 1)"),
            _ => format!("({k}, 1)"),
        };
        c.sql(&format!(
            "ALTER TABLE {table} REPLICA IDENTITY FULL; INSERT INTO {table} VALUES {}, {};
             UPDATE {table} SET a = 2; DELETE FROM {table} WHERE ctid = (SELECT max(ctid) FROM {table})",
            value(1),
            value(2)
        ));
    }
    c.sql(
        "ALTER TABLE computed REPLICA IDENTITY FULL; INSERT INTO computed VALUES (1), (2); UPDATE computed SET a = 5 WHERE a = 1;
         CREATE TABLE moods (k mood PRIMARY KEY, a int) PARTITION BY HASH (k);
         CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 1, REMAINDER 0); ALTER TABLE moods_0 REPLICA IDENTITY FULL;
         INSERT INTO moods VALUES ('sad', 1), ('happy', 1); UPDATE moods SET a = 2 WHERE k = 'sad'; DELETE FROM moods WHERE k = 'happy'",
    );
    let mut all = [&tables[..], &["computed", "moods"]].concat();
    if c.version() >= 18 {
        c.sql(
            "CREATE TABLE later (k int UNIQUE, a int); ALTER TABLE later REPLICA IDENTITY FULL;
             INSERT INTO later VALUES (NULL, 1), (NULL, 1), (3, 1); ALTER TABLE later ADD NOT NULL k NOT VALID;
             UPDATE later SET a = 2 WHERE ctid = '(0,3)'; ALTER TABLE later DROP CONSTRAINT later_k_not_null;
             CREATE TABLE virtual (a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL, k int PRIMARY KEY);
             ALTER TABLE virtual REPLICA IDENTITY FULL; INSERT INTO virtual VALUES (1, DEFAULT, 1); UPDATE virtual SET a = 2;
             DELETE FROM virtual; CREATE EXTENSION IF NOT EXISTS btree_gist;
             CREATE TABLE periods (k int, at int4range, a int, PRIMARY KEY (k, at WITHOUT OVERLAPS));
             ALTER TABLE periods REPLICA IDENTITY FULL; INSERT INTO periods VALUES (1, '[1,2)', 1); UPDATE periods SET a = 2",
        );
        all.push("periods");
    }
    c.assert_restores_both_ways();
    let stream = c.stream();
    for table in all {
        assert!(
            are_found_by_the_whole_row(&stream, table),
            "{table}: {:?}",
            changes(&stream, table)
        );
    }
    if c.version() >= 18 {
        let lines = ["UPDATE public.later SET a = 2 WHERE k = 3;"];
        assert_eq!(changes(&stream, "later"), lines);
        let lines = [
            "UPDATE public.virtual SET a = 2 WHERE k = 1;",
            "DELETE FROM public.virtual WHERE k = 1 AND a = 2;",
        ];
        assert_eq!(changes(&stream, "virtual"), lines);
    }
}

/// The key is that of the moment, within a transaction too.
#[test]
fn a_key_counts_from_when_it_is_made_until_it_is_dropped() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (k int NOT NULL, a int); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 1), (1, 1), (2, 1);
         BEGIN; UPDATE t SET a = 2 WHERE ctid = '(0,1)'; DELETE FROM t WHERE a = 1 AND k = 1; CREATE UNIQUE INDEX tk ON t (k);
         UPDATE t SET a = 3 WHERE k = 1; SAVEPOINT s; DROP INDEX tk; UPDATE t SET a = 4 WHERE k = 1; ROLLBACK TO s;
         UPDATE t SET a = 5 WHERE k = 1; DROP INDEX tk; INSERT INTO t VALUES (1, 5); UPDATE t SET a = 6 WHERE k = 2; COMMIT;
         ALTER TABLE t ADD COLUMN id serial; ALTER TABLE t ADD PRIMARY KEY (id); ALTER TABLE t REPLICA IDENTITY FULL;
         UPDATE t SET a = 7 WHERE id = 1;
         BEGIN; ALTER TABLE t RENAME id TO n; UPDATE t SET a = 8 WHERE n = 1;
         ALTER TABLE t ALTER n TYPE text USING n || 'x'; UPDATE t SET a = 9 WHERE n = '1x'; COMMIT;
         BEGIN; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET a = 10 WHERE n = '1x'; COMMIT",
    );
    c.sql("CREATE UNIQUE INDEX CONCURRENTLY tn ON t (n)");
    c.sql("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET a = 11 WHERE n = '1x'");
    c.sql("REINDEX INDEX CONCURRENTLY tn");
    c.sql("UPDATE t SET a = 12 WHERE n = '1x'; ALTER TABLE t ALTER n DROP NOT NULL; UPDATE t SET a = 13 WHERE n = '1x'; UPDATE t SET n = NULL");
    c.assert_restores_both_ways();
    let whole = "by the whole row";
    let forms: Vec<_> = changes(&c.stream(), "t")
        .iter()
        .map(|line| match line.split_once(" WHERE ctid = ") {
            Some((start, _)) => format!("{} {whole}", start.replace(" public.t", "")),
            None => line.replace(" public.t", ""),
        })
        .take(12)
        .collect();
    assert_eq!(
        forms,
        [
            &format!("UPDATE SET a = 2 {whole}"),
            &format!("DELETE FROM {whole}"),
            "UPDATE SET a = 3 WHERE k = 1;",
            "UPDATE SET a = 5 WHERE k = 1;",
            &format!("UPDATE SET a = 6 {whole}"),
            "UPDATE SET a = 7 WHERE id = 1;",
            "UPDATE SET a = 8 WHERE n = 1;",
            "UPDATE SET a = 9 WHERE n = '1x';",
            &format!("UPDATE SET a = 10 {whole}"),
            "UPDATE SET a = 11 WHERE n = '1x';",
            "UPDATE SET a = 12 WHERE n = '1x';",
            &format!("UPDATE SET a = 13 {whole}"),
        ]
    );
}

/// Whatever a value or a name has in it, the comment ends where it should.
#[test]
fn old_values_are_shown_as_a_comment() {
    let mut streams = Vec::new();
    for reader in ["stream", "poll"] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.reader", reader)
            .setting("pg_incrbackup.old_values", "on")
            .back_up();
        c.sql(
            r#"CREATE TABLE t (id int PRIMARY KEY, a int, "/* b */" text, "c\*/" text, f float8, z bytea); ALTER TABLE t REPLICA IDENTITY FULL;
               INSERT INTO t SELECT i, 1, 'x', 'y', 0.1, '\x2a2f' FROM generate_series(1, 60) i;
               UPDATE t SET a = 2 WHERE id = 1; UPDATE t SET a = NULL, "/* b */" = E'*/ ; /* \\ \n ''' WHERE id = 1;
               UPDATE t SET a = 3, "/* b */" = ' /* was a = 1 */;' WHERE id = 1; UPDATE t SET "/* b */" = 'x', "c\*/" = ':id', f = '-0' WHERE id = 1;
               UPDATE t SET id = 100 WHERE id = 1; UPDATE t SET "c\*/" = 'y', z = '\x', f = 1 WHERE id = 100; DELETE FROM t WHERE id = 2;
               UPDATE t SET a = id WHERE id > 10; UPDATE t SET "/* b */" = '/*' || id WHERE id > 10; UPDATE t SET "/* b */" = '*/' WHERE id > 10;
               CREATE TABLE keyed (id int PRIMARY KEY, a int); INSERT INTO keyed VALUES (1, 1); UPDATE keyed SET id = 2;
               CREATE TABLE bare (id int, a int); INSERT INTO bare VALUES (1, 1); UPDATE bare SET id = 2"#,
        );
        c.assert_restores_both_ways();
        let stream = c.stream();
        let lines = changes(&stream, "t");
        assert_eq!(
            lines[..7],
            [
                "UPDATE public.t SET a = 2 WHERE id = 1 /* was a = 1 */;",
                r#"UPDATE public.t SET a = null, "/* b */" = E'*/ ; /* \\ \n ''' WHERE id = 1 /* was a = 2, U&"\002F* b *\002F" = 'x' */;"#,
                r#"UPDATE public.t SET a = 3, "/* b */" = ' /* was a = 1 */;' WHERE id = 1 /* was a = null, U&"\002F* b *\002F" = E'\*\/ ; \/\* \\ \n ''' */;"#,
                r#"UPDATE public.t SET "/* b */" = 'x', "c\*/" = ':id', f = '-0' WHERE id = 1 /* was U&"\002F* b *\002F" = E' \/\* was a = 1 \*\/;', U&"c\\*\002F" = 'y', f = 0.1 */;"#,
                "UPDATE public.t SET id = 100 WHERE id = 1;",
                r#"UPDATE public.t SET "c\*/" = 'y', f = 1, z = E'\\x' WHERE id = 100 /* was U&"c\\*\002F" = ':id', f = '-0', z = E'\\x2a2f' */;"#,
                r#"DELETE FROM public.t WHERE id = 2 AND a = 1 AND "/* b */" = 'x' AND "c\*/" = 'y' AND f = '0.1' AND z = E'\\x2a2f';"#,
            ]
        );
        assert!(!changes(&stream, "keyed").concat().contains("was"));
        assert!(are_found_by_the_whole_row(&stream, "bare"));
        streams.push((lines, changes(&stream, "bare")));
        // By a column that is not in the WHERE, too.
        let by_value = c.sql(
            "SET client_min_messages = error; SELECT count(*) FROM incr_history('t', '{\"a\": 3}') WHERE statement LIKE '%SET a = 3%'",
        );
        assert_eq!(by_value, "1");
        c.set("pg_incrbackup.old_values", "off");
        harness::wait_until("the setting is read", || {
            c.sql("UPDATE t SET f = f + 1 WHERE id = 60; SELECT incr_flush()");
            changes(&c.stream(), "t")
                .last()
                .is_some_and(|line| !line.contains("was"))
        });
        c.assert_restores();
    }
    assert_eq!(streams[0], streams[1], "both readers write the same");
}
