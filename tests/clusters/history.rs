//! "Somebody changed this row, and nobody can say who, when and to what." incr_history() must show all of
//! it, and say where it cannot.

use harness::Cluster;

/// What the call shows: operation and statement, a line each.
fn history(c: &Cluster, arguments: &str) -> Vec<String> {
    let rows = c.sql(&format!(
        "SELECT operation || ': ' || coalesce(replace(statement, E'\n', ' '), note)
         FROM incr_history({arguments})"
    ));
    rows.lines().map(str::to_owned).collect()
}

#[test]
fn a_row_has_a_history() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE orders (id int PRIMARY KEY, item text, at timestamptz DEFAULT now())");
    c.sql("INSERT INTO orders SELECT x, 'item ' || x FROM generate_series(1, 1000) x");
    c.sql("UPDATE orders SET item = E'it''s\nnew' WHERE id = 42");
    c.sql("SELECT incr_rotate()");
    let xid = c.sql(
        "BEGIN; UPDATE orders SET item = 'again' WHERE id IN (41, 42); SELECT pg_current_xact_id(); COMMIT",
    );
    c.sql("DELETE FROM orders WHERE id = 42; ALTER TABLE orders ADD COLUMN price numeric; TRUNCATE orders");
    c.flush();
    for key in [
        "'42'",
        "'{\"id\": 42}'",
        "jsonb '{\"id\": 42}'",
        "jsonb '{\"id\": \"42\"}'",
    ] {
        let found = history(&c, &format!("'orders', {key}"));
        let operations: Vec<_> = found
            .iter()
            .filter_map(|row| row.split(':').next())
            .collect();
        let expected = [
            "CREATE TABLE",
            "INSERT",
            "UPDATE",
            "UPDATE",
            "DELETE",
            "ALTER TABLE",
            "TRUNCATE",
        ];
        assert_eq!(operations, expected, "{key}: {found:#?}");
        assert!(
            found[1].contains("VALUES ('42', 'item 42', "),
            "{}",
            found[1]
        );
        assert!(found[2].contains("item = E'it''s\\nnew'"), "{}", found[2]);
    }
    // Where and when it was, so that it can be found in the files.
    let facts = "SELECT xid, committed BETWEEN now() - interval '1 hour' AND now(), file, line
                 FROM incr_history('orders', '42') WHERE statement LIKE '%again%'";
    let facts = c.sql(facts);
    let facts: Vec<_> = facts.split('|').collect();
    assert_eq!(facts[..2], [xid.as_str(), "t"], "{facts:?}");
    let file = std::fs::read_to_string(c.database_directory().join(facts[2])).expect("the file");
    let line: usize = facts[3].parse().expect("a number");
    assert!(file
        .lines()
        .nth(line - 1)
        .is_some_and(|line| line.contains("'again'")));
    // By time.
    let moment =
        c.sql("SELECT committed FROM incr_history('orders', '42') WHERE operation = 'DELETE'");
    let until = history(&c, &format!("'orders', '42', until => '{moment}'"));
    assert_eq!(until.len(), 5, "{until:#?}");
    let since = history(&c, &format!("'orders', '42', since => '{moment}'"));
    assert_eq!(since.len(), 3, "{since:#?}");
    assert_eq!(
        history(&c, "'orders', '42', since => 'infinity'"),
        Vec::<String>::new()
    );
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    c.assert_restores();
}

/// Whatever the caller's settings are, and however a value of the type is written.
#[test]
fn keys_of_every_type_are_found() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'so so');
         CREATE TYPE pair AS (a int, b text);
         CREATE DOMAIN code AS varchar(5) CHECK (value <> '')",
    );
    let types = [
        ("int", "7", "'7'"),
        ("bigint", "-9223372036854775808", "'-9223372036854775808'"),
        ("numeric", "1.50", "'1.5'"),
        ("numeric(10,3)", "2", "'2'"),
        ("numeric", "'NaN'", "'nan'"),
        ("float8", "0.1", "'1e-1'"),
        ("float8", "'-Infinity'", "'-inf'"),
        ("boolean", "true", "'yes'"),
        ("text", "E'a''b\\n\\\\c\\t{'", "E'a''b\\n\\\\c\\t{'"),
        ("text", "''", "''"),
        ("char(5)", "'ab'", "'ab'"),
        ("code", "'ab'", "'ab'"),
        ("bytea", "'\\x00ff'", "E'\\\\000\\\\377'"),
        (
            "timestamptz",
            "'2026-11-21 12:00+00'",
            "'21.11.2026 13:00 +1'",
        ),
        ("date", "'2026-11-21'", "'21.11.2026'"),
        ("interval", "'1 day 02:03'", "'P1DT2H3M'"),
        (
            "uuid",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'",
        ),
        ("bit(4)", "B'0101'", "'0101'"),
        ("inet", "'10.0.0.1'", "'10.0.0.1/32'"),
        ("mood", "'so so'", "'so so'"),
        ("pair", "ROW(1, 'x y')::pair", "'(1,\"x y\")'"),
        ("int[]", "'{1,2}'", "'{1, 2}'"),
        ("jsonb", "'{\"a\": 1}'", "'{\"a\":1}'"),
        ("int4range", "'[1,5)'", "'[1,4]'"),
        ("money", "'12.34'", "'12.34'"),
        ("regclass", "'pg_class'", "'pg_catalog.pg_class'"),
        ("\"char\"", "'x'", "'x'"),
        ("macaddr", "'08:00:2b:01:02:03'", "'08002b:010203'"),
    ];
    for (nth, (name, value, _)) in types.iter().enumerate() {
        c.sql(&format!(
            "CREATE TABLE k{nth} (x int, k {name} {}); INSERT INTO k{nth} VALUES (1, {value});
             UPDATE k{nth} SET x = 2; DELETE FROM k{nth}; INSERT INTO k{nth} VALUES (3, {value}); ",
            // Not every type has an index; then the whole row is its identity.
            if ["pair"].contains(name) {
                ""
            } else {
                "PRIMARY KEY"
            }
        ));
    }
    c.flush();
    let session = "SET DateStyle = 'German, DMY'; SET TimeZone = 'Europe/Berlin'; \
                   SET IntervalStyle = iso_8601; SET bytea_output = escape; SET extra_float_digits = 0;";
    for (nth, (name, _, asked)) in types.iter().enumerate() {
        let key = if *name == "pair" {
            format!("jsonb_build_object('k', {asked}::text)")
        } else {
            asked.to_string()
        };
        let shown = c.sql(&format!(
            "{session} SELECT string_agg(operation, ' ') FROM incr_history('k{nth}', {key})
             WHERE statement NOT LIKE '%REPLICA IDENTITY%'"
        ));
        let shown = shown.lines().last().unwrap_or_default();
        assert_eq!(shown, "CREATE TABLE INSERT UPDATE DELETE INSERT", "{name}");
    }
}

#[test]
fn a_row_is_followed_through_keys_names_and_partitions() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA shop; CREATE TABLE shop.bills (nr int, part int, x text, PRIMARY KEY (nr, part))
           PARTITION BY LIST (part);
         CREATE TABLE shop.bills_1 PARTITION OF shop.bills FOR VALUES IN (1);
         CREATE TABLE shop.bills_2 PARTITION OF shop.bills FOR VALUES IN (2);
         INSERT INTO shop.bills VALUES (1, 1, 'a'), (2, 1, 'b'), (1, 2, 'c')",
    );
    c.sql("UPDATE shop.bills SET nr = 10 WHERE nr = 1 AND part = 1");
    c.sql("ALTER TABLE shop.bills RENAME COLUMN nr TO id; ALTER TABLE shop.bills_1 RENAME TO old_ones");
    c.sql("SET search_path = shop; ALTER TABLE bills RENAME TO \"Orders\"; ALTER SCHEMA shop RENAME TO store");
    c.sql("SELECT incr_rotate()");
    c.sql("UPDATE store.\"Orders\" SET x = 'd' WHERE id = 10");
    c.sql("UPDATE store.\"Orders\" SET part = 2, x = 'e' WHERE id = 10");
    c.flush();
    let found = history(&c, "'store.\"Orders\"', '{\"id\": 10, \"part\": 1}'");
    let rows: Vec<_> = found
        .iter()
        .filter(|row| !row.contains("TABLE") && !row.contains("SCHEMA"))
        .collect();
    assert_eq!(rows.len(), 4, "{found:#?}");
    assert!(
        rows[0].starts_with("INSERT: INSERT INTO shop.bills_1 (nr,"),
        "{found:#?}"
    );
    assert!(
        rows[1].starts_with("UPDATE: UPDATE shop.bills_1 SET nr = 10"),
        "{found:#?}"
    );
    assert!(
        rows[2].starts_with("UPDATE: UPDATE store.old_ones SET id = 10"),
        "{found:#?}"
    );
    assert!(
        rows[3].starts_with("DELETE: DELETE FROM store.old_ones"),
        "{found:#?}"
    );
    for renamed in [
        "RENAME COLUMN nr",
        "RENAME TO old_ones",
        "RENAME TO \"Orders\"",
        "RENAME TO store",
    ] {
        assert!(
            found.iter().any(|row| row.contains(renamed)),
            "{renamed}: {found:#?}"
        );
    }
    // The partition alone, by the row's first key.
    let found = history(&c, "'store.old_ones', '{\"id\": 1, \"part\": 1}'");
    assert!(
        found
            .last()
            .is_some_and(|row| row.contains("DELETE FROM store.old_ones")),
        "{found:#?}"
    );
}

#[test]
fn tables_without_a_key_take_any_columns() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE log (who text, what json, n numeric); INSERT INTO log VALUES ('a', '{\"x\": 1}', 1.0), ('b', NULL, 2)");
    c.sql("UPDATE log SET n = 5 WHERE who = 'a'; DELETE FROM log WHERE who = 'b'; DELETE FROM log WHERE who = 'a'");
    c.flush();
    let operations = |key: &str| {
        let rows = history(&c, &format!("'log', {key}"));
        rows.iter()
            .filter(|row| !row.contains("TABLE"))
            .map(|row| row.split(':').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        operations("jsonb '{\"who\": \"a\"}'"),
        "INSERT UPDATE DELETE"
    );
    assert_eq!(
        operations("jsonb '{\"who\": \"b\", \"what\": null}'"),
        "INSERT DELETE"
    );
    assert_eq!(operations("jsonb '{\"n\": 1}'"), "INSERT UPDATE");
}

#[test]
fn a_key_that_tells_no_row_is_refused() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED, x text);
         CREATE TABLE nokey (a int); CREATE UNLOGGED TABLE u (a int PRIMARY KEY); CREATE VIEW v AS SELECT 1",
    );
    for (arguments, sqlstate) in [
        ("'t', '{\"x\": 1}'", "22023"),
        ("'t', '{\"id\": 1, \"x\": 1}'", "22023"),
        ("'t', jsonb '{}'", "22023"),
        ("'t', jsonb '[1]'", "22023"),
        ("'t', '{\"nothing\": 1}'", "42703"),
        ("'t', '{\"id\"'", "22P02"),
        ("'t', 'x'", "22P02"),
        ("'t', '99999999999'", "22003"),
        ("'nokey', '1'", "22023"),
        ("'u', '1'", "42809"),
        ("'v', '1'", "42809"),
        ("'missing', '1'", "42P01"),
        ("0, '1'", "42P01"),
    ] {
        let error = c.sql_error(&format!("SELECT * FROM incr_history({arguments})"));
        assert_eq!(error.sqlstate, sqlstate, "{arguments}: {error}");
    }
    assert_eq!(c.sql("SELECT count(*) FROM incr_history(NULL, '1')"), "0");
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_history('t', NULL::jsonb)"),
        "0"
    );
}

#[test]
fn the_past_is_for_those_who_may_read_everything() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (id int PRIMARY KEY, secret text); INSERT INTO t VALUES (1, 'before'); DROP TABLE t;
         CREATE ROLE mallory; CREATE ROLE auditor BYPASSRLS IN ROLE pg_read_all_data;
         CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO mallory;
         GRANT EXECUTE ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) TO mallory, auditor",
    );
    c.flush();
    // What mallory's own table is called now, another one was called before.
    for role in [
        "",
        "; ALTER ROLE mallory BYPASSRLS",
        "; ALTER ROLE mallory NOBYPASSRLS; GRANT pg_read_all_data TO mallory",
    ] {
        let error = c.sql_error(&format!(
            "RESET ROLE{role}; SET ROLE mallory; SELECT * FROM incr_history('t', '1')"
        ));
        assert_eq!(error.sqlstate, "42501", "{error}");
    }
    let seen = c.sql("SET ROLE auditor; SELECT statement FROM incr_history('t', '1')");
    assert!(seen.contains("'before'"), "{seen}");
}

#[test]
fn what_is_missing_is_a_row_and_a_warning() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY, x int)");
    for x in 0..3 {
        c.sql(&format!("INSERT INTO t VALUES ({x}); SELECT incr_rotate()"));
    }
    assert_eq!(history(&c, "'t', '1'").len(), 2);
    let segments = c.chain_directory().join("incremental");
    let mut files: Vec<_> = std::fs::read_dir(segments)
        .expect("segments")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let bytes = std::fs::read_to_string(&files[1]).expect("a segment");
    std::fs::write(&files[1], bytes.replace("VALUES (1,", "VALUES (9,")).expect("written");
    let found = history(&c, "'t', '1'");
    assert!(
        found.iter().any(|row| row.starts_with("NOT SHOWN: ")),
        "{found:#?}"
    );
    std::fs::remove_file(&files[1]).expect("removed");
    let found = history(&c, "'t', '1'");
    assert!(
        found
            .iter()
            .any(|row| row.starts_with("NOT SHOWN: it is missing")),
        "{found:#?}"
    );
    let output = c.psql_bytes(c.database(), b"SELECT * FROM incr_history('t', '1');");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("WARNING") && said.contains("may be incomplete"),
        "{said}"
    );
}

#[test]
fn a_search_can_be_cancelled() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY, x text)");
    c.sql("INSERT INTO t SELECT x, repeat(md5(x::text), 30) FROM generate_series(1, 100000) x");
    c.flush();
    let error = c.sql_error("SET statement_timeout = '20ms'; SELECT * FROM incr_history('t', '1')");
    assert_eq!(error.sqlstate, "57014", "{error}");
    assert_eq!(history(&c, "'t', '1'").len(), 2);
}

#[test]
fn keys_in_other_encodings_are_found() {
    let c = Cluster::builder().encoding("LATIN1").locale("C").back_up();
    c.sql(
        "SET client_encoding = UTF8; CREATE TABLE \"Käse\" (\"Schlüssel\" text PRIMARY KEY);
           INSERT INTO \"Käse\" VALUES ('Größe'), ('andere')",
    );
    c.flush();
    let shown = c.sql(
        "SET client_encoding = UTF8;
         SELECT statement FROM incr_history('\"Käse\"', '{\"Schlüssel\": \"Größe\"}') WHERE operation = 'INSERT'
         UNION ALL SELECT statement FROM incr_history('\"Käse\"', 'Größe') WHERE operation = 'INSERT'",
    );
    assert_eq!(shown.matches("VALUES ('Größe')").count(), 2, "{shown}");
}

#[test]
fn indexes_are_made_in_the_background() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_rotate()");
    let indexes = c.chain_directory().join("index");
    harness::wait_until("the closed segment has an index", || {
        std::fs::read_dir(&indexes).is_ok_and(|files| {
            files
                .flatten()
                .any(|file| file.path().extension().is_some_and(|e| e == "idx"))
        })
    });
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}
