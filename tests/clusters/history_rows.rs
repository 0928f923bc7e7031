//! "Recording slows my DDL down." A row of ddl_history is written once where the statement tells what
//! it is about; and what it says is right where the statement does not.

use harness::Cluster;

const OBJECTS: &str = "SELECT ddl_command, object_type, object_identity FROM ddl_history \
     WHERE replay ORDER BY id DESC LIMIT 1";

#[test]
fn a_table_made_or_altered_leaves_no_dead_row_in_the_history() {
    let c = Cluster::backed_up();
    c.sql(
        r#"CREATE TABLE t (a int PRIMARY KEY);
           ALTER TABLE t ADD b int, ADD c text[];
           ALTER TABLE t ADD d int DEFAULT 1 CHECK (d > 0);
           CREATE TABLE "T ""q" (a int UNIQUE, "B" text) PARTITION BY LIST (a);
           ALTER TABLE "T ""q" ADD c int;
           CREATE TABLE p PARTITION OF "T ""q" FOR VALUES IN (1);
           CREATE TABLE keyless (a int)"#,
    );
    // No line pointer is used again before a page is full.
    let places = "SELECT count(*), max((ctid::text::point)[1]), max((ctid::text::point)[0]) FROM ddl_history";
    let places = c.sql(places);
    let places: Vec<&str> = places.split('|').collect();
    assert_eq!(places[0], places[1], "a row was written twice: {places:?}");
    assert_eq!(places[2], "0", "the rows are on one page");
    let identities = c.sql(
        "SELECT string_agg(DISTINCT object_identity, ', ' ORDER BY object_identity) FROM ddl_history WHERE replay",
    );
    assert_eq!(
        identities,
        r#"public."T ""q", public.keyless, public.p, public.t"#
    );
    c.assert_restores();
}

#[test]
fn an_object_that_was_expected_and_not_made_is_not_named() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE IF NOT EXISTS t (b int)");
    assert_eq!(c.sql(OBJECTS), "CREATE TABLE||");
    c.sql("CREATE TABLE numbered (a serial PRIMARY KEY)");
    assert_eq!(
        c.sql(OBJECTS),
        "CREATE TABLE|sequence|public.numbered_a_seq"
    );
    c.sql("ALTER TABLE t ADD n bigserial, ADD m int");
    assert_eq!(c.sql(OBJECTS), "ALTER TABLE|table|public.t");
    let sequence = "SELECT count(*) > 0 FROM ddl_history WHERE object_identity = 'public.t_n_seq'";
    assert!(c.is_true(sequence));
    let table = "SELECT count(*) FROM ddl_history WHERE object_type = 'table' AND object_identity = 'public.numbered'";
    assert_eq!(c.sql(table), "1");
    c.assert_restores();
}

#[test]
fn columns_whose_type_brings_a_value_are_looked_at() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN stamp AS timestamptz DEFAULT now();
         CREATE DOMAIN stamp_again AS stamp;
         CREATE TYPE serial AS (a int);
         CREATE TABLE t (id int PRIMARY KEY, s stamp); INSERT INTO t SELECT generate_series(1, 9);
         CREATE TABLE child (own int) INHERITS (t); INSERT INTO child VALUES (10);
         ALTER TABLE t ADD a stamp, ADD b stamp_again[];
         ALTER TABLE t ADD c stamp_again;
         ALTER TABLE t ADD d text COLLATE pg_catalog.ucs_basic, ADD h numeric(5, 2);
         ALTER TABLE t ADD e serial, ADD f public.serial;
         ALTER TABLE t ADD g int, ALTER g SET DEFAULT 7;
         INSERT INTO t (id) VALUES (11)",
    );
    assert_eq!(
        c.sql("SELECT count(a), count(b), count(c), count(d), count(e), count(f), count(g) FROM t"),
        "11|0|11|0|11|0|1"
    );
    let rows = "SELECT count(*) > 1 FROM ddl_history WHERE statement_id IN \
         (SELECT id FROM ddl_history WHERE query LIKE '%ADD e serial%')";
    assert!(c.is_true(rows), "serial made a sequence");
    c.assert_restores();
}

#[test]
fn a_column_is_added_where_event_triggers_of_others_make_more() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE seen (command text, identity text);
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE c record; BEGIN
           IF tg_tag <> 'ALTER TABLE' THEN RETURN; END IF;
           FOR c IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
             INSERT INTO seen VALUES (c.command_tag, c.object_identity);
           END LOOP;
           CREATE TABLE IF NOT EXISTS made (a int); END $$;
         CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see();
         ALTER TABLE t ADD b int",
    );
    assert_eq!(
        c.sql("SELECT * FROM seen"),
        "ALTER TABLE|public.t",
        "the others see the command"
    );
    c.assert_restores();
}

#[test]
fn the_value_of_a_domains_default_is_the_one_that_it_had() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN stamp AS timestamptz DEFAULT now(); CREATE DOMAIN again AS stamp;
         CREATE DOMAIN seven AS int DEFAULT 7;
         CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9)",
    );
    c.sql("ALTER TABLE t ADD a stamp");
    c.sql("ALTER TABLE t ADD b again, ADD c seven");
    c.sql("ALTER DOMAIN stamp SET DEFAULT 'epoch'; INSERT INTO t VALUES (10)");
    assert_eq!(
        c.sql("SELECT count(a), count(b), sum(c) FROM t"),
        "10|10|70"
    );
    c.assert_restores();
}

#[test]
fn functions_are_named_as_postgresql_identifies_them() {
    let c = Cluster::backed_up();
    c.sql(
        r#"CREATE TABLE t (id int PRIMARY KEY, at timestamptz[]);
           CREATE SCHEMA "S p"; CREATE TYPE "S p"."T" AS (a int); CREATE DOMAIN few AS int[] CHECK (cardinality(VALUE) < 9)"#,
    );
    let from = c.sql("SELECT coalesce(max(id), 0) FROM ddl_history");
    c.sql(
        r#"SET client_min_messages = warning;
           CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 1';
           CREATE FUNCTION "S p"."F ""q"(a "S p"."T", b few, VARIADIC c text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
           CREATE FUNCTION modes(a int, OUT b int, INOUT c timestamptz, d "char" DEFAULT 'x') LANGUAGE sql AS 'SELECT 1, c';
           CREATE FUNCTION lines(a varchar(9), b numeric(5, 2)) RETURNS TABLE (x int, y t) LANGUAGE sql AS 'SELECT 1, NULL::t';
           CREATE FUNCTION of_columns(a t.id%TYPE, b t.at%TYPE) RETURNS t.id%TYPE LANGUAGE sql AS 'SELECT 1';
           CREATE FUNCTION any_at_all(anyelement, anyarray) RETURNS anyelement LANGUAGE sql AS $$SELECT $1$$;
           CREATE OR REPLACE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 2';
           CREATE PROCEDURE doing(a bit(3), OUT b int, INOUT c interval) LANGUAGE sql AS 'SELECT 1, c';
           CREATE FUNCTION shell_in(cstring) RETURNS shell LANGUAGE internal STRICT IMMUTABLE AS 'int4in';
           SET search_path = "S p", pg_catalog;
           CREATE FUNCTION here(x "T"[], y public.few[]) RETURNS int LANGUAGE sql AS 'SELECT 1'"#,
    );
    let written = c.sql(&format!(
        "SELECT object_type, object_identity FROM ddl_history WHERE id > {from} AND ddl_command <> 'CREATE TYPE' ORDER BY id"
    ));
    let made = c.sql(
        "SELECT o.type, o.identity FROM pg_proc p, pg_identify_object('pg_proc'::regclass, p.oid, 0) o \
         WHERE p.oid >= 16384 AND o.schema IN ('public', '\"S p\"') AND p.proname NOT LIKE 'incr\\_%' ORDER BY p.oid",
    );
    // The second time that it is made it is replaced.
    let mut expected: Vec<&str> = made.lines().collect();
    expected.insert(6, expected[0]);
    assert_eq!(written.lines().collect::<Vec<_>>(), expected);
    assert_eq!(expected.len(), 10);
    let places = "SELECT count(*), count(DISTINCT statement_id) FROM ddl_history WHERE ddl_command LIKE 'CREATE %' \
         AND object_type IN ('function', 'procedure')";
    assert_eq!(c.sql(places), "10|10");
    c.assert_restores();
}
