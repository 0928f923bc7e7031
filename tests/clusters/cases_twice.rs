//! More inputs of the kinds of `cases`: statements that did nothing, expressions that do something, privileges
//! that stand in the way, what another database or a role's loss of rights does.

use crate::cases::assert_comes_back;
use harness::{wait_until, Cluster};

#[test]
fn what_did_nothing_does_nothing() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); CREATE TYPE e AS ENUM ('x'); CREATE SEQUENCE s; SELECT nextval('s');
         CREATE VIEW v AS SELECT id FROM t; CREATE MATERIALIZED VIEW mv AS SELECT id FROM t WITH NO DATA;
         CREATE TABLE p (k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1)",
    );
    c.sql(
        "CREATE TABLE IF NOT EXISTS t (other text); CREATE TABLE IF NOT EXISTS t AS SELECT 2 AS id; CREATE SEQUENCE IF NOT EXISTS s START 50;
         CREATE INDEX IF NOT EXISTS t_pkey ON t (v); ALTER TYPE e ADD VALUE IF NOT EXISTS 'x'; CREATE SCHEMA IF NOT EXISTS public;
         CREATE MATERIALIZED VIEW IF NOT EXISTS mv AS SELECT 1; ALTER TABLE t ADD COLUMN IF NOT EXISTS v int DEFAULT 5, DROP COLUMN IF EXISTS gone;
         ALTER TABLE IF EXISTS gone ADD COLUMN x int; ALTER TABLE t DROP CONSTRAINT IF EXISTS gone; ALTER VIEW IF EXISTS gone RENAME TO v;
         ALTER SEQUENCE IF EXISTS gone RESTART; DROP TABLE IF EXISTS gone, gone2; DROP FUNCTION IF EXISTS gone(nowhere); DROP TRIGGER IF EXISTS gone ON t;
         CREATE TABLE IF NOT EXISTS p1 PARTITION OF p FOR VALUES IN (2); CREATE EXTENSION IF NOT EXISTS plpgsql; ALTER TABLE t ALTER v TYPE text;
         CREATE OR REPLACE VIEW v AS SELECT id FROM t; COMMENT ON TABLE t IS NULL; REVOKE ALL ON t FROM PUBLIC; ALTER TABLE t OWNER TO postgres;
         ALTER TABLE t ALTER v DROP NOT NULL, ALTER v DROP DEFAULT; REFRESH MATERIALIZED VIEW mv; REFRESH MATERIALIZED VIEW mv WITH NO DATA",
    );
    c.sql("BEGIN; SAVEPOINT a; CREATE TABLE undone (a int); ALTER TABLE t ADD COLUMN undone int; ROLLBACK TO a; CREATE TABLE IF NOT EXISTS undone (b text); COMMIT");
    assert_comes_back(&c);
}

#[test]
fn expressions_do_not_run_again() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE log (n serial, what text); CREATE SEQUENCE seq;
         CREATE FUNCTION noted(x text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO log (what) VALUES (x); RETURN x || nextval('seq'); END$$;
         CREATE FUNCTION kept(x text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN noted(x); END$$;
         CREATE FUNCTION is_ok(x text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN PERFORM noted(x); RETURN true; END$$;
         CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    );
    c.sql(
        "ALTER TABLE t ALTER v TYPE varchar(50) USING noted(v); CREATE TABLE made AS SELECT id, noted(v) AS v FROM t;
         SELECT id, noted(v) INTO made2 FROM t; ALTER TABLE t ADD COLUMN w text DEFAULT noted('w'), ADD COLUMN r float DEFAULT random();
         CREATE DOMAIN d AS text DEFAULT noted('d'); ALTER TABLE t ADD COLUMN d d; ALTER TABLE t ADD COLUMN i int GENERATED ALWAYS AS IDENTITY (START 5);
         DO $$BEGIN FOR i IN 1..2 LOOP EXECUTE format('CREATE TABLE many_%s (a int DEFAULT %s)', i, nextval('seq')); END LOOP; END$$;
         CREATE FUNCTION makes() RETURNS int LANGUAGE plpgsql AS $$BEGIN CREATE TABLE by_function (a text); INSERT INTO by_function VALUES (noted('f')); RETURN 1; END$$;
         SELECT makes(); CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log (what) VALUES (tg_tag); END$$;
         CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION on_ddl(); CREATE TABLE seen (a int PRIMARY KEY); ALTER TABLE seen ADD COLUMN b int;
         ALTER EVENT TRIGGER et DISABLE; INSERT INTO t (id, v) VALUES (3, 'c')",
    );
    assert_comes_back(&c);
}

#[test]
fn privileges_policies_and_triggers_stand_in_nobodys_way() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE o; GRANT ALL ON SCHEMA public TO o; CREATE ROLE reader");
    c.sql(
        "SET ROLE o; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'read only'; END$$;
         CREATE TRIGGER no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON t EXECUTE FUNCTION refuse(); ALTER TABLE t ENABLE ALWAYS TRIGGER no_change;
         CREATE RULE nothing AS ON INSERT TO t WHERE new.id > 10 DO INSTEAD NOTHING; REVOKE ALL ON t FROM o; GRANT SELECT (v) ON t TO reader;
         ALTER TABLE t ADD COLUMN at timestamptz DEFAULT now(), ADD COLUMN r float DEFAULT random(); ALTER TABLE t ALTER v TYPE varchar(9) USING v || 'x';
         RESET ROLE; CREATE PUBLICATION p FOR TABLE t (id, v) WHERE (id > 0) WITH (publish = 'insert'); ALTER TABLE t ADD COLUMN later date DEFAULT 'today';
         CREATE TABLE parted (k int, v text) PARTITION BY LIST (k); CREATE TABLE part PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1, 'x');
         ALTER TABLE part OWNER TO o; REVOKE ALL ON part FROM o; ALTER TABLE parted ADD COLUMN at timestamptz DEFAULT now(); ALTER TABLE parted ADD COLUMN r float DEFAULT random()",
    );
    assert_comes_back(&c);
}

#[test]
fn what_happened_elsewhere_a_moment_ago_stops_nothing() {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "CREATE ROLE maker LOGIN; CREATE ROLE boss SUPERUSER; CREATE ROLE group_role; GRANT group_role TO maker; GRANT CREATE ON DATABASE app TO maker");
    c.sql(
        "SET SESSION AUTHORIZATION maker; CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO group_role, boss; CREATE TABLE mine.t (a int PRIMARY KEY); INSERT INTO mine.t VALUES (1);
         ALTER TABLE mine.t OWNER TO group_role; GRANT SELECT ON mine.t TO boss WITH GRANT OPTION",
    );
    c.sql("SET ROLE boss; CREATE FUNCTION mine.f() RETURNS text LANGUAGE internal AS 'textin'; GRANT SELECT ON mine.t TO PUBLIC;
           COMMENT ON TABLE mine.t IS 'by a superuser'");
    c.sql_in("postgres", "ALTER ROLE boss NOSUPERUSER; REVOKE group_role FROM maker; REVOKE CREATE ON DATABASE app FROM maker; ALTER ROLE maker NOLOGIN;
              ALTER DATABASE app SET search_path = nowhere");
    c.sql("CREATE TABLE public.after (a int PRIMARY KEY); ALTER TABLE mine.t ADD COLUMN b int DEFAULT 5");
    c.sql_in("postgres", "ALTER DATABASE app RESET ALL");
    assert_comes_back(&c);
}

#[test]
fn a_reset_of_all_schemas_goes_on() {
    let c = Cluster::backed_up();
    c.sql("CREATE SCHEMA app; CREATE TYPE app.e AS ENUM ('x'); CREATE TABLE app.t (id int PRIMARY KEY, e app.e); INSERT INTO app.t VALUES (1, 'x');
           CREATE TABLE public.u (id int PRIMARY KEY REFERENCES app.t, e app.e); INSERT INTO public.u VALUES (1, 'x')");
    c.sql("BEGIN; DROP SCHEMA app CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE SCHEMA app;
           CREATE TABLE app.t (id int, again text); INSERT INTO app.t VALUES (2, 'y'); COMMIT; UPDATE app.t SET again = 'z'");
    wait_until("the extension is made again", || {
        c.is_true("SELECT count(*) = 1 FROM pg_extension WHERE extname = 'pg_incrbackup'")
    });
    c.sql("CREATE TABLE public.later (a int); INSERT INTO public.later VALUES (1); UPDATE public.later SET a = 2; UPDATE app.t SET again = 'w'");
    assert_comes_back(&c);
}
