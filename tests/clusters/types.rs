//! "My values come back different." Every built-in type, with the values at its edges, through
//! INSERT, UPDATE and DELETE, with a key and without, as single rows and as COPY blocks.

use harness::Cluster;
use std::fmt::Write;

/// A type and SQL expressions for its edge values. Values that pg_dump itself cannot carry are not
/// here; NULL is added to each.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767", "0"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0.000",
            "-1.10",
            "1e-1000",
            "1e1000",
            "'-0'",
        ],
    ),
    ("numeric(10,2)", &["99999999.99", "-0.01"]),
    ("numeric(3,-2)", &["12345"]),
    (
        "real",
        &[
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e-45",
            "3.4028235e38",
            "0.1",
        ],
    ),
    (
        "double precision",
        &[
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
        ],
    ),
    ("money", &["'-92233720368547758.08'", "'0.01'"]),
    (
        "text",
        &[
            "''",
            "'it''s'",
            r"'back\slash'",
            r"E'\\.'",
            r"E'line\nbreak\r\ttab\b\f\v'",
            r"E'\nCOMMIT;\n\\! echo gone\n'",
            "'-- @0123456789abcdef footer'",
            "'$$ $1 :name :\"q\" :''x'' '",
            "'äöü 漢字 🐘'",
            r"E'\u0001\u007f'",
            "repeat('long ', 30000)",
            "'null'",
            "'NULL'",
            r"'\N'",
        ],
    ),
    ("varchar(5)", &["'abc'", "'ab   '"]),
    ("character(5)", &["'ab'", "''", "'  x'"]),
    ("\"char\"", &["'a'", "''", r"'\377'::text"]),
    ("name", &["'a name'", "'\"quoted\"'"]),
    (
        "bytea",
        &[
            r"'\x'",
            r"'\x00ff5c270a'",
            r"decode(repeat('00ff', 5000), 'hex')",
        ],
    ),
    ("bit(9)", &["B'101010101'"]),
    ("bit varying", &["B''", "B'1'", "B'00000000000000001'"]),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'24:00:00'", "'00:00'", "'23:59:59.999999'"]),
    ("timetz", &["'24:00:00-15:59:59'", "'12:00:00.5+05:30'"]),
    (
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00:00 BC'",
            "'294276-12-31 23:59:59.999999'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 12:00:00+00 BC'",
            "'2024-10-27 02:30:00+01'",
        ],
    ),
    (
        "interval",
        &[
            "'-178000000 years'",
            "'1 mon -1 day +00:00:00.000001'",
            "'-1 year +2 mons -3 days +04:05:06.7'",
            "'0'",
        ],
    ),
    ("interval day to second", &["'1 day 01:02:03'"]),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        "inet",
        &["'::ffff:1.2.3.4/128'", "'10.1.2.3/8'", "'fe80::1'"],
    ),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    (
        "json",
        &[
            r#"'{"b": 1,  "a":2, "a" : null}'"#,
            r#"'"\u00e4\n"'"#,
            "'null'",
        ],
    ),
    (
        "jsonb",
        &[
            r#"'{"b": [1.10, {}], "a": "\\ '' \n"}'"#,
            "'null'",
            "'1e400'",
        ],
    ),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("point", &["'(1.5,-2)'", "'(NaN,Infinity)'"]),
    ("line", &["'{1,-1,0}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(2,2),(0,0)'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0))'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("circle", &["'<(1,2),3.5>'"]),
    ("tsvector", &["'''it''''s'':1A fat:2B,3'", "''"]),
    ("tsquery", &["'fat & (rat | !cat:AB) <2> dog'", "''"]),
    (
        "integer[]",
        &[
            "'{}'",
            "'[2:4]={1,NULL,3}'",
            "'{{1,2},{3,4}}'",
            "'[-1:0][5:5]={{1},{2}}'",
        ],
    ),
    (
        "text[]",
        &[r#"ARRAY['NULL', NULL, '', 'a,b', '"', '\', '{}', E'\n']"#],
    ),
    ("int4range", &["'empty'", "'(,)'", "'[1,5)'"]),
    ("numrange", &["'(1.50,2.5]'", "'[NaN,NaN]'"]),
    ("tstzrange", &["'[-infinity,infinity)'"]),
    ("daterange", &["'[2024-01-01,)'"]),
    ("int8multirange", &["'{}'", "'{[1,3),[5,9)}'"]),
    ("oid", &["4294967295"]),
    (
        "regclass",
        &[
            "'pg_class'",
            "'edge.\"Odd Name\"'",
            "4294967295::oid::regclass",
        ],
    ),
    ("regtype", &["'integer[]'"]),
    ("regproc", &["'pg_backend_pid'"]),
    ("regprocedure", &["'length(text)'"]),
    ("regoperator", &["'+(integer,integer)'"]),
    ("regnamespace", &["'pg_catalog'"]),
    ("regconfig", &["'simple'"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("txid_snapshot", &["'10:20:10,14,15'"]),
    ("int2vector", &["'1 2 3'", "''"]),
    ("oidvector", &["'1 2 3'"]),
    ("refcursor", &["'portal'"]),
    ("aclitem", &["'postgres=r/postgres'"]),
    ("edge.mood", &["'sad'", r"E'it''s \\ odd'"]),
    ("edge.mood[]", &[r#"'{sad,"it''s \\ odd"}'"#]),
    (
        "edge.pair",
        &[
            "ROW(NULL, NULL)",
            r"ROW(1, E'a,\n\\(\)''\'\'')",
            "ROW(2, '')",
        ],
    ),
    ("edge.pair[]", &["ARRAY[ROW(1, 'x'), NULL]::edge.pair[]"]),
    ("edge.positive", &["1"]),
    (
        "edge.pairs",
        &["ROW(ARRAY[ROW(1, 'x')::edge.pair], '[1,2)')"],
    ),
    ("edge.span", &["'[a,z)'"]),
    ("hstore", &[r#"'a=>1, "b c"=>NULL, d=>"\"\\"'"#]),
    ("citext", &["'MiXed'"]),
];

const PREPARATION: &str = r#"
CREATE EXTENSION hstore; CREATE EXTENSION citext;
CREATE SCHEMA edge;
CREATE TABLE edge."Odd Name" ("Odd Column" int PRIMARY KEY);
CREATE TYPE edge.mood AS ENUM ('sad', 'it''s \ odd', 'ok');
CREATE TYPE edge.pair AS (a int, b text);
CREATE DOMAIN edge.positive AS int CHECK (VALUE > 0);
CREATE TYPE edge.span AS RANGE (subtype = text, multirange_type_name = edge.spans);
CREATE TYPE edge.pairs AS (items edge.pair[], span int4range);
"#;

/// One statement for each type, made from the type's number, its name and its values as rows.
fn for_each_type(statement: impl Fn(usize, &str, &str) -> String) -> String {
    let mut script = String::new();
    for (number, (name, values)) in TYPES.iter().enumerate() {
        let rows = values
            .iter()
            .chain(&["NULL"])
            .map(|value| format!("(({value})::{name})"));
        let rows = format!("VALUES {}", rows.collect::<Vec<_>>().join(", "));
        writeln!(script, "{}", statement(number, name, &rows)).expect("a String takes text");
    }
    script
}

/// Insert, update every value to another row's, insert again, delete: found by primary key.
fn keyed() -> String {
    for_each_type(|number, name, rows| {
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
fn without_key() -> String {
    for_each_type(|number, name, rows| {
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
fn alone() -> String {
    for_each_type(|number, name, rows| {
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
fn in_bulk() -> String {
    for_each_type(|number, name, rows| {
        format!(
            "CREATE TABLE bulk_{number} (id int, v {name});
             INSERT INTO bulk_{number} SELECT i, t.v FROM generate_series(1, 40) i, ({rows}) t(v);"
        )
    })
}

fn prepared() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(PREPARATION);
    c
}

/// The scripts are right by themselves: what fails under capture is not their fault.
#[test]
fn the_scripts_run_on_a_bare_server() {
    let c = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    c.sql(PREPARATION);
    for script in [keyed(), without_key(), alone(), in_bulk()] {
        c.sql(&script);
    }
}

#[test]
fn values_of_every_type_come_back_with_a_key() {
    let c = prepared();
    c.sql(&keyed());
    c.assert_restores();
}

#[test]
fn values_of_every_type_come_back_without_a_key() {
    let c = prepared();
    c.sql(&without_key());
    c.assert_restores();
}

#[test]
fn a_row_of_one_column_is_found_among_duplicates_by_any_type() {
    let c = prepared();
    c.sql(&alone());
    c.assert_restores();
}

#[test]
fn values_of_every_type_come_back_from_copy_blocks() {
    let c = prepared();
    c.sql(&in_bulk());
    c.flush();
    assert!(
        c.stream().contains("FROM stdin;"),
        "no COPY block was written"
    );
    c.assert_restores();
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

#[test]
fn xml_comes_back_where_the_server_has_it() {
    let c = Cluster::backed_up();
    if c.try_sql("SELECT '<a/>'::xml").is_err() {
        println!("skipped: this PostgreSQL is built without XML");
        return;
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
