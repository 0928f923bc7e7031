//! "My values come back different." Every built-in type, with the values at its edges, through
//! INSERT, UPDATE and DELETE, with a key and without, as single rows and as COPY blocks.

use super::type_edges::{EDGES, INTERNAL};
use super::type_values::{prepare, Type};
use harness::Cluster;
use std::fmt::Write;
use std::process::Command;

/// One statement for each type, made from the type's number, its name and its values as rows.
fn for_each_type(types: &[Type], statement: impl Fn(usize, &str, &str) -> String) -> String {
    let mut script = String::new();
    for (number, Type { name, values }) in types.iter().enumerate() {
        let rows = values
            .iter()
            .map(String::as_str)
            .chain(["NULL"])
            .map(|value| format!("(({value})::{name})"));
        let rows = format!("VALUES {}", rows.collect::<Vec<_>>().join(", "));
        writeln!(script, "{}", statement(number, name, &rows)).expect("a String takes text");
    }
    script
}

/// Insert, update every value to another row's, insert again, delete: found by primary key.
fn keyed(types: &[Type]) -> String {
    for_each_type(types, |number, name, rows| {
        format!(
            "CREATE TABLE keyed_{number} (id serial PRIMARY KEY, v {name});
             INSERT INTO keyed_{number} (v) {rows};
             UPDATE keyed_{number} a SET v = b.v FROM keyed_{number} b
              WHERE b.id = a.id % (SELECT max(id) FROM keyed_{number}) + 1;
             INSERT INTO keyed_{number} (v) {rows};
             DELETE FROM keyed_{number} WHERE id = 2;"
        )
    })
}

/// Every row twice, one of each pair changed: found by the whole row.
fn without_key(types: &[Type]) -> String {
    for_each_type(types, |number, name, rows| {
        format!(
            "CREATE TABLE bare_{number} (n int, v {name});
             INSERT INTO bare_{number} SELECT row_number() OVER (), t.v FROM ({rows}) t(v);
             INSERT INTO bare_{number} SELECT row_number() OVER (), t.v FROM ({rows}) t(v);
             UPDATE bare_{number} SET n = n + 100
              WHERE ctid IN (SELECT min(ctid) FROM bare_{number} GROUP BY n);
             DELETE FROM bare_{number} WHERE n < 100 AND n % 2 = 1;
             UPDATE bare_{number} SET v = NULL WHERE n = 101;"
        )
    })
}

/// Nothing but the value itself, twice; the first two rows go.
fn alone(types: &[Type]) -> String {
    for_each_type(types, |number, name, rows| {
        format!(
            "CREATE TABLE alone_{number} (v {name});
             INSERT INTO alone_{number} {rows};
             INSERT INTO alone_{number} {rows};
             DELETE FROM alone_{number}
              WHERE ctid IN (SELECT ctid FROM alone_{number} ORDER BY ctid LIMIT 2);"
        )
    })
}

/// Enough rows to be written as COPY blocks.
fn in_bulk(types: &[Type]) -> String {
    for_each_type(types, |number, name, rows| {
        format!(
            "CREATE TABLE bulk_{number} (id int, v {name});
             INSERT INTO bulk_{number} SELECT i, t.v FROM generate_series(1, 40) i, ({rows}) t(v);"
        )
    })
}

fn prepared() -> (Cluster, Vec<Type>) {
    let c = Cluster::backed_up();
    let types = prepare(&c);
    (c, types)
}

/// The scripts are right by themselves: what fails under capture is not their fault.
#[test]
fn the_scripts_run_on_a_bare_server() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let types = prepare(&c);
    for script in [
        keyed(&types),
        without_key(&types),
        alone(&types),
        in_bulk(&types),
    ] {
        c.sql(&script);
    }
}

#[test]
fn values_of_every_type_come_back_with_a_key() {
    let (c, types) = prepared();
    c.sql(&keyed(&types));
    c.assert_restores_to_the_byte();
}

#[test]
fn values_of_every_type_come_back_without_a_key() {
    let (c, types) = prepared();
    c.sql(&without_key(&types));
    c.assert_restores_to_the_byte();
}

#[test]
fn a_row_of_one_column_is_found_among_duplicates_by_any_type() {
    let (c, types) = prepared();
    c.sql(&alone(&types));
    c.assert_restores_to_the_byte();
}

#[test]
fn values_of_every_type_come_back_from_copy_blocks() {
    let (c, types) = prepared();
    c.sql(&in_bulk(&types));
    c.flush();
    assert!(
        c.stream().contains("FROM stdin;"),
        "no COPY block was written"
    );
    c.assert_restores_to_the_byte();
}

#[test]
fn a_row_change_stands_on_one_line() {
    let c = Cluster::backed_up();
    c.sql(
        r"CREATE TABLE t (id int PRIMARY KEY, v text);
            INSERT INTO t VALUES (1, E'one\ntwo\rthree');
            UPDATE t SET v = E'\n\n' WHERE id = 1;",
    );
    c.flush();
    let stream = c.stream();
    assert!(stream.contains(r"E'one\ntwo\rthree'"), "{stream}");
    assert!(!stream.contains("'one\n"), "{stream}");
    c.assert_restores();
}

#[test]
fn a_text_with_a_nul_ends_there_as_in_pg_dump() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE CAST (bytea AS text) WITHOUT FUNCTION;
         CREATE TABLE t (a int PRIMARY KEY, b text);
         INSERT INTO t VALUES (1, '\\x6100620a63'::bytea::text), (2, 'whole')",
    );
    c.assert_restores();
}

/// A type that a new PostgreSQL brings is not forgotten.
#[test]
fn every_type_of_the_catalog_has_values() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let catalog = c.sql(
        "SELECT format_type(oid, NULL) FROM pg_type
         WHERE typtype IN ('b', 'd', 'r', 'm') AND typcategory <> 'A' AND oid < 16384 ORDER BY 1",
    );
    let plain = |name: &str| name.split('(').next().unwrap_or(name).to_string();
    let names: Vec<_> = EDGES.iter().map(|(name, _)| *name).map(plain).collect();
    let list = format!("'{{{}}}'", names.join(",").replace('"', "\\\""));
    let have = c.sql(&format!(
        "SELECT DISTINCT format_type(t::regtype, NULL) FROM unnest({list}::text[]) t
         WHERE t NOT LIKE 'edge.%' AND t NOT LIKE '%[]' ORDER BY 1"
    ));
    let have: Vec<&str> = have.lines().chain(INTERNAL.iter().copied()).collect();
    // By its own test, since not every server has it.
    let missing: Vec<_> = catalog
        .lines()
        .filter(|ty| !have.contains(ty) && *ty != "xml")
        .collect();
    assert!(missing.is_empty(), "types without values: {missing:?}");
}

#[test]
fn an_enum_label_is_used_right_after_it_was_added() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id serial PRIMARY KEY, m mood, ms mood[]);
           ALTER TYPE mood ADD VALUE 'new' BEFORE 'sad'; INSERT INTO t (m, ms) VALUES ('new', '{new,sad}');
           BEGIN; CREATE TYPE later AS ENUM ('a'); ALTER TYPE later ADD VALUE 'b';
           CREATE TABLE u (l later, r int); INSERT INTO u VALUES ('a', 1); COMMIT;
           INSERT INTO u VALUES ('b', 1), ('b', 1);
           ALTER TYPE later RENAME VALUE 'b' TO 'c'; UPDATE u SET r = 2 WHERE ctid = '(0,2)'",
    );
    c.assert_restores_to_the_byte();
}

/// The text of money has the locale's currency, separators and number of decimals.
#[test]
fn money_comes_back_under_every_lc_monetary() {
    let locales = tempfile::tempdir().expect("a directory can be made");
    for name in ["ja_JP", "de_DE"] {
        let path = locales.path().join(format!("{name}.UTF-8"));
        let made = Command::new("localedef")
            .args(["-i", name, "-f", "UTF-8"])
            .arg(path)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return harness::skipped("localedef of Debian's package locales is missing");
        }
    }
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(locales.path(), all).expect("the server's user may enter");
    let c = Cluster::builder()
        .environment("LOCPATH", &locales.path().display().to_string())
        .setting("lc_monetary", "'ja_JP.UTF-8'")
        .back_up();
    c.sql(
        "CREATE TABLE keyed (id serial PRIMARY KEY, m money, ms money[]); CREATE TABLE bare (m money);
           INSERT INTO keyed (m, ms) VALUES (1234567, ARRAY[(-12)::money, NULL]), (-1, NULL);
           SET lc_monetary = 'de_DE.UTF-8';
           INSERT INTO keyed (m) VALUES ('1.234,56'), ('-0,01'); INSERT INTO bare SELECT m FROM keyed, generate_series(1, 20);
           ALTER TABLE keyed ADD d money DEFAULT '9.876,54'; UPDATE keyed SET m = m * 3 WHERE id > 1;
           SET lc_monetary = 'C'; DELETE FROM bare WHERE ctid IN (SELECT min(ctid) FROM bare GROUP BY m);
           SELECT 1",
    );
    c.assert_restores_to_the_byte();
}

#[test]
fn xml_comes_back_where_the_server_has_it() {
    let c = Cluster::backed_up();
    if c.try_sql("SELECT '<a/>'::xml").is_err() {
        return harness::skipped("built without XML");
    }
    c.sql(
        "CREATE TABLE x (id int, v xml);
           INSERT INTO x VALUES (1, '<a b=\"c\">&amp;</a>'), (1, 'text <b/>')",
    );
    c.sql(
        "UPDATE x SET v = '<!-- new --><z/>' WHERE v::text LIKE 'text%';
           DELETE FROM x WHERE v::text LIKE '<a%'",
    );
    c.assert_restores();
}

#[test]
fn what_is_no_character_is_replaced_and_flagged() {
    let c = Cluster::backed_up();
    // A cast without a function checks nothing: so do values that C code cut in two.
    c.sql(
        "CREATE CAST (bytea AS text) WITHOUT FUNCTION;
         CREATE TABLE t (a int PRIMARY KEY, b text); CREATE TABLE u (b text);
         INSERT INTO t VALUES (1, '\\x636166c3'::bytea::text), (2, 'café');
         INSERT INTO u SELECT '\\x636166c3'::bytea::text FROM generate_series(1, 40);
         INSERT INTO u VALUES ('end');
         UPDATE t SET b = '\\xe280'::bytea::text WHERE a = 2",
    );
    c.flush();
    let restored = c.restore(&[]);
    let values = c.sql_in(
        &restored.database,
        "SELECT b FROM t ORDER BY a; SELECT DISTINCT b FROM u ORDER BY 1",
    );
    assert_eq!(values, "caf\u{FFFD}\n\u{FFFD}\ncaf\u{FFFD}\nend");
    assert!(c
        .stream()
        .contains(" flag reason=a%20value%20is%20not%20valid"));
}

#[test]
fn values_that_no_server_reads_are_left_out_and_flagged() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE kept AS SELECT relname::text AS name, relpartbound FROM pg_class WHERE relname = 'pg_class';
         CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         INSERT INTO kept SELECT relname, relpartbound FROM pg_class WHERE relname = 'p1';
         UPDATE kept SET name = 'x' WHERE name = 'p1'",
    );
    c.flush();
    let restored = c.restore(&[]);
    let values = c.sql_in(
        &restored.database,
        "SELECT name, relpartbound IS NULL FROM kept ORDER BY 1",
    );
    assert_eq!(values, "pg_class|t\nx|t");
    assert!(c.stream().contains(" flag reason=column%20relpartbound"));
}

/// A copy of a catalog names roles in its privileges, by OID where one is gone: PostgreSQL refuses
/// to read either unless there is such a role.
#[test]
fn privileges_as_values_restore_where_their_roles_are_missing() {
    let c = Cluster::backed_up();
    c.sql(r#"CREATE ROLE gone; CREATE ROLE "o""dd, one=/"; CREATE ROLE there; CREATE TABLE t (one aclitem, many aclitem[]);
             INSERT INTO t VALUES (NULL, '{=r/postgres}');
             INSERT INTO t SELECT makeaclitem(r.oid, g.oid, 'SELECT', false), ARRAY[NULL, makeaclitem(g.oid, r.oid, 'SELECT', true)]
               FROM pg_roles r, pg_roles g WHERE r.rolname IN ('gone', 'there') AND g.rolname LIKE 'o%';
             DROP ROLE gone"#);
    c.flush();
    c.sql(r#"DROP ROLE there; DROP ROLE "o""dd, one=/""#);
    // Each restore makes the missing roles under other OIDs; restore.sh does not drop them again.
    let by_program = c.restore_by_program(&c, &[]);
    let rows = "SELECT count(*), bool_and(one::text ~ '^(there|[0-9]+|)=') FROM t";
    assert_eq!(c.sql_in(&by_program.database, rows), "3|t");
    let by_script = c.restore_by_script(&c, &[]);
    let rows = "SELECT count(*), bool_and(one::text ~ '^(there|gone|)=') FROM t";
    assert_eq!(c.sql_in(&by_script.database, rows), "3|t");
}
