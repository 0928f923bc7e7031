//! More inputs of the kinds of `cases`: words that mean something else at another time, to another user, under
//! other settings; races with a second session.

use crate::cases::assert_comes_back;
use harness::Cluster;

/// `open` stands uncommitted while another session runs `meanwhile`.
fn race(c: &Cluster, open: &str, meanwhile: &str) {
    let mut one = c.session();
    one.run(&format!("BEGIN; {open}"));
    c.sql(meanwhile);
    one.run("COMMIT");
}

#[test]
fn names_are_what_they_were_when_the_statement_ran() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA gone; CREATE ROLE r; CREATE ROLE owner; CREATE ROLE heir;
         GRANT ALL ON SCHEMA a, b, public TO owner;
         CREATE FUNCTION b.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE FUNCTION b.ok(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
         CREATE FUNCTION b.plus(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + $2';
         CREATE TYPE b.mood AS ENUM ('b'); CREATE DOMAIN b.d AS int; CREATE COLLATION b.coll FROM \"C\"; CREATE TABLE b.t (a int);
         CREATE OPERATOR b.### (LEFTARG = int, RIGHTARG = int, FUNCTION = b.plus); CREATE SEQUENCE b.s;
         CREATE TEXT SEARCH DICTIONARY b.dict (TEMPLATE = simple); CREATE TABLE one (id int PRIMARY KEY, v text);
         CREATE TABLE names_id_seq (x int); CREATE TABLE names_v_key (x int); CREATE TABLE one_id_v_stat (x int); INSERT INTO one VALUES (1, 'x')",
    );
    race(
        &c,
        "SET search_path = a, b, public; CREATE TRIGGER tg BEFORE INSERT ON one FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TABLE made (m mood DEFAULT 'b', d d, v text COLLATE coll, n int DEFAULT nextval('s'), CHECK (ok(n)));
         CREATE VIEW v AS SELECT id ### 1 AS n, ok(id) AS o FROM one; CREATE INDEX ix ON one (plus(id, 1));
         CREATE POLICY pol ON one USING (ok(id)); CREATE RULE ru AS ON UPDATE TO one WHERE ok(1) DO ALSO NOTHING;
         CREATE AGGREGATE agg (int) (SFUNC = plus, STYPE = int); CREATE STATISTICS st ON (plus(id, 2)), v FROM one;
         CREATE FUNCTION uses(mood, d) RETURNS SETOF t BEGIN ATOMIC SELECT plus(1, 2); END;
         CREATE TABLE like_t (LIKE t); CREATE TABLE child () INHERITS (t); CREATE CAST (mood AS d) WITH INOUT;
         CREATE TEXT SEARCH CONFIGURATION conf (PARSER = default); ALTER TEXT SEARCH CONFIGURATION conf ADD MAPPING FOR word WITH dict",
        "CREATE FUNCTION a.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE FUNCTION a.ok(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT false';
         CREATE FUNCTION a.plus(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 - $2';
         CREATE TYPE a.mood AS ENUM ('a'); CREATE DOMAIN a.d AS text; CREATE COLLATION a.coll FROM \"POSIX\"; CREATE TABLE a.t (other text);
         CREATE OPERATOR a.### (LEFTARG = int, RIGHTARG = int, FUNCTION = a.plus); CREATE SEQUENCE a.s START 100;
         CREATE TEXT SEARCH DICTIONARY a.dict (TEMPLATE = simple)",
    );
    race(
        &c,
        "CREATE TABLE names (id serial, v text UNIQUE)",
        "DROP TABLE names_id_seq, names_v_key, one_id_v_stat",
    );
    race(
        &c,
        "CREATE SCHEMA IF NOT EXISTS gone; DROP TYPE IF EXISTS coming; DROP FUNCTION IF EXISTS coming_f(int); DROP VIEW IF EXISTS coming_v;
         DROP SCHEMA IF EXISTS coming_s CASCADE; CREATE TABLE mine (a int)",
        "DROP SCHEMA gone; CREATE TYPE coming AS ENUM ('x'); CREATE FUNCTION coming_f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE VIEW coming_v AS SELECT 1 AS x; CREATE SCHEMA coming_s; CREATE TABLE coming_s.t (a int PRIMARY KEY)",
    );
    assert_comes_back(&c);
    race(
        &c,
        "GRANT SELECT ON ALL TABLES IN SCHEMA a TO r; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA a TO r",
        "CREATE TABLE a.unreached (x int); CREATE FUNCTION a.unreached() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    race(
        &c,
        "SET ROLE owner; CREATE TABLE public.plain (x int); CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE",
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT SELECT ON TABLES TO r; ALTER DEFAULT PRIVILEGES FOR ROLE owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    );
    race(
        &c,
        "REASSIGN OWNED BY owner TO heir; DROP OWNED BY r",
        "SET ROLE owner; CREATE TABLE a.of_owner (x int); RESET ROLE; GRANT SELECT ON a.of_owner TO r",
    );
    race(
        &c,
        "CREATE PUBLICATION pub FOR ALL TABLES; CREATE PUBLICATION a_few FOR TABLES IN SCHEMA a; ALTER DOMAIN b.d ADD CONSTRAINT pos CHECK (VALUE > 0)",
        "CREATE TABLE a.late (x int PRIMARY KEY); COMMENT ON DOMAIN b.d IS 'late'",
    );
    assert_comes_back(&c);
}

#[test]
fn words_for_a_user_mean_who_ran_them() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE login LOGIN; CREATE ROLE team; CREATE ROLE other; GRANT team TO login; GRANT other TO team;
         GRANT ALL ON SCHEMA public TO team, login; GRANT CREATE ON DATABASE app TO team, login;
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER srv FOREIGN DATA WRAPPER w; GRANT ALL ON FOREIGN SERVER srv TO team, login",
    );
    c.sql(
        "SET SESSION AUTHORIZATION login; SET ROLE team; CREATE SCHEMA AUTHORIZATION CURRENT_USER; CREATE SCHEMA mine AUTHORIZATION CURRENT_ROLE;
         SET search_path = \"$user\", public; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
         ALTER TABLE t ADD COLUMN who text DEFAULT current_user, ADD COLUMN session text DEFAULT session_user, ADD COLUMN path text DEFAULT current_schema();
         GRANT SELECT ON t TO CURRENT_USER, SESSION_USER; CREATE POLICY p ON t TO CURRENT_ROLE, SESSION_USER USING (who = current_user);
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO SESSION_USER; CREATE TABLE u (id int PRIMARY KEY);
         ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER IN SCHEMA team REVOKE ALL ON SEQUENCES FROM CURRENT_USER;
         CREATE USER MAPPING FOR CURRENT_USER SERVER srv; ALTER TABLE u OWNER TO CURRENT_ROLE;
         CREATE FUNCTION of_me() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT 1';
         CREATE VIEW v AS SELECT current_user AS c, session_user AS s; CREATE TABLE w (LIKE t INCLUDING ALL, CHECK (who = current_user OR true));
         RESET ROLE; CREATE TABLE of_login (id int PRIMARY KEY); ALTER TABLE of_login OWNER TO SESSION_USER; RESET SESSION AUTHORIZATION;
         REASSIGN OWNED BY login TO CURRENT_USER; ALTER VIEW team.v OWNER TO CURRENT_ROLE; GRANT ALL ON team.u TO GROUP team",
    );
    c.sql(
        "REVOKE team FROM login; REVOKE other FROM team; REVOKE CREATE ON DATABASE app FROM team",
    );
    assert_comes_back(&c);
}

#[test]
fn settings_change_what_a_text_means_and_travel_by_what_it_meant() {
    let c = Cluster::backed_up();
    c.sql(
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/New_York'; SET IntervalStyle = 'sql_standard'; SET bytea_output = escape;
         SET standard_conforming_strings = off; SET escape_string_warning = off; SET transform_null_equals = on; SET array_nulls = off;
         SET xmloption = document; SET default_toast_compression = pglz; SET quote_all_identifiers = on; SET extra_float_digits = -10;
         SET check_function_bodies = off; SET default_table_access_method = heap;
         CREATE TABLE t (id int PRIMARY KEY, d date DEFAULT '01/02/2024', at timestamptz DEFAULT '01/02/2024 03:04', i interval DEFAULT '-1 2:03',
           s text DEFAULT 'a\\nb', b bytea DEFAULT '\\\\001', n int CHECK (n = NULL), a text[] DEFAULT '{NULL,x}', f float8 DEFAULT 0.1234567890123);
         INSERT INTO t (id) VALUES (1);
         CREATE TABLE p (at timestamptz, v text) PARTITION BY RANGE (at);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('01/02/2024') TO ('02/02/2024'); INSERT INTO p VALUES ('01/02/2024 12:00', 'x');
         ALTER TABLE p ADD CONSTRAINT c CHECK (at > '01/02/2020 00:00'); CREATE INDEX ON t (id) WHERE at > '03/02/2024';
         CREATE VIEW v AS SELECT '01/02/2024'::date AS d, at, at > '01/02/2024 00:00' AS o FROM t WHERE n = NULL;
         CREATE MATERIALIZED VIEW mv AS SELECT '03/04/2024'::timestamptz AS at;
         CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT * FROM nowhere'; CREATE FUNCTION worse() RETURNS int LANGUAGE plpgsql AS 'oops';
         CREATE FUNCTION with_default(at timestamptz DEFAULT '05/06/2024 07:08', s text DEFAULT 'x\\ty') RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION set_zone() RETURNS int LANGUAGE sql SET TimeZone FROM CURRENT SET DateStyle FROM CURRENT AS 'SELECT 1';
         CREATE DOMAIN day AS date DEFAULT '07/08/2024' CHECK (VALUE > '01/01/2000');
         CREATE POLICY pol ON t USING (at > '01/02/2024 00:00'); ALTER TABLE t ADD COLUMN added timestamptz DEFAULT '09/10/2024 00:00';
         ALTER TABLE t ALTER COLUMN s TYPE varchar(20) USING s || '\\t', ALTER COLUMN d TYPE timestamptz USING d + interval '1 12:00';
         COMMENT ON TABLE t IS 'a\\nb'; CREATE TYPE e AS ENUM ('x\\ny'); CREATE PUBLICATION pub FOR TABLE t WHERE (d > '01/02/2024')",
    );
    c.sql("INSERT INTO t (id) VALUES (2)");
    assert_comes_back(&c);
}
