//! More inputs of the kinds of `cases`.

use crate::cases::{assert_comes_back, flags};
use crate::healing::{hold_bases, wait_until_healed};
use crate::program_restore::restore;
use harness::{assert_identical, wait_until, Cluster};

/// Rows without what they refer to: of tables and partitions, to tables and partitions, under odd names. And
/// materialized views whose queries work no more, or read others.
const CONTRADICTED: &str = r#"
    CREATE TABLE "odd "" name" (id int PRIMARY KEY);
    CREATE TABLE refs (id int PRIMARY KEY, a int, CONSTRAINT "fk; x" FOREIGN KEY (a)
      REFERENCES "odd "" name" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
    COMMENT ON CONSTRAINT "fk; x" ON refs IS 'kept';
    CREATE TABLE whole (k int, a int REFERENCES "odd "" name") PARTITION BY RANGE (k);
    CREATE TABLE part1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
    CREATE TABLE part2 PARTITION OF whole FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (k);
    CREATE TABLE part2a PARTITION OF part2 FOR VALUES FROM (10) TO (20);
    CREATE TABLE above (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE above1 PARTITION OF above FOR VALUES FROM (0) TO (10);
    CREATE TABLE below (id int REFERENCES above); CREATE TABLE fine (id int REFERENCES "odd "" name");
    INSERT INTO "odd "" name" VALUES (1); INSERT INTO fine VALUES (1); SET session_replication_role = replica;
    INSERT INTO refs VALUES (1, 99); INSERT INTO whole VALUES (1, 1), (11, 98); INSERT INTO below VALUES (5);
    RESET session_replication_role;
    CREATE TABLE d (x int); INSERT INTO d VALUES (1);
    CREATE MATERIALIZED VIEW good AS SELECT x FROM d; CREATE VIEW between AS SELECT x FROM good;
    CREATE MATERIALIZED VIEW "over it" AS SELECT sum(x) FROM between; CREATE UNIQUE INDEX ON good (x);
    CREATE MATERIALIZED VIEW bad AS SELECT 10 / x AS y FROM d; CREATE MATERIALIZED VIEW over_bad AS SELECT y FROM bad;
    CREATE MATERIALIZED VIEW later AS SELECT x FROM d WITH NO DATA; CREATE MATERIALIZED VIEW emptied AS SELECT x FROM d;
    UPDATE d SET x = 0;"#;

#[test]
fn a_base_of_any_format_holds_what_cannot_be_made_again() {
    let c = Cluster::backed_up();
    c.sql(CONTRADICTED);
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("REFRESH MATERIALIZED VIEW later WITH NO DATA; REFRESH MATERIALIZED VIEW emptied; SELECT incr_dump()");
        c.sql("REFRESH MATERIALIZED VIEW later; REFRESH MATERIALIZED VIEW emptied WITH NO DATA");
        c.sql("ALTER MATERIALIZED VIEW good RENAME TO better; INSERT INTO d VALUES (7); REFRESH MATERIALIZED VIEW CONCURRENTLY better");
        c.flush();
        let restored = c.restore(&[]);
        assert_eq!(
            c.sql_in(&restored.database, "SELECT sum FROM \"over it\""),
            "7",
            "{format}"
        );
        for view in ["bad", "over_bad"] {
            let named = format!("    REFRESH MATERIALIZED VIEW public.{view}: ");
            assert!(
                restored.output.contains(&named),
                "{format}: {}",
                restored.output
            );
            let emptied =
                format!("UPDATE pg_class SET relispopulated = false WHERE relname = '{view}'");
            c.sql(&emptied);
        }
        for key in ["fk; x", "whole_a_fkey", "below_id_fkey"] {
            assert!(
                restored.output.contains(key),
                "{format}: {}",
                restored.output
            );
        }
        assert_identical((&c, c.database()), (&c, &restored.database));
        c.sql("UPDATE pg_class SET relispopulated = true WHERE relname IN ('bad', 'over_bad'); DELETE FROM d WHERE x = 7;
               ALTER MATERIALIZED VIEW better RENAME TO good");
    }
}

/// Rows that a domain refuses by now: in arrays, composites and domains, rewritten, found by all their columns.
#[test]
fn rows_that_a_domain_would_refuse_by_now() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN pos AS int; CREATE DOMAIN over AS pos; CREATE TYPE pair AS (p pos, n text);
         CREATE FUNCTION is_ok(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE DOMAIN asked AS int CHECK (is_ok(VALUE));
         CREATE TABLE t (id int PRIMARY KEY, d pos, o over, ds pos[], c pair, f asked, note text);
         CREATE TABLE bare (d pos, ds pos[], c pair, f asked, n int);
         INSERT INTO t VALUES (1, -1, -2, '{-3,4}', '(-5,x)', 1, 'old'), (2, 1, 1, '{1}', '(1,y)', 9, 'fine');
         INSERT INTO bare VALUES (-1, '{-2}', '(-3,x)', 1, 1), (-1, '{-2}', '(-3,x)', 1, 2), (5, '{6}', '(7,x)', 9, 3);
         ALTER DOMAIN pos ADD CONSTRAINT is_pos CHECK (VALUE > 0) NOT VALID; COMMENT ON CONSTRAINT is_pos ON DOMAIN pos IS 'c';
         CREATE OR REPLACE FUNCTION is_ok(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 > 5';
         UPDATE t SET note = 'touched'; UPDATE bare SET n = n + 10; DELETE FROM bare WHERE n = 12;
         ALTER TABLE t ADD COLUMN r float DEFAULT random(); CREATE TABLE between (a int); UPDATE t SET note = 'again'",
    );
    c.assert_restores();
    c.sql(
        "UPDATE t SET d = 1, o = 2, ds = '{3}', c = '(4,x)', f = 9; UPDATE bare SET d = 1, ds = '{1}', c = '(1,x)', f = 9;
         INSERT INTO t VALUES (3, 4, 5, '{6}', '(7,z)', 8, 'new')",
    );
    c.assert_restores();
    assert!(c
        .sql_error("INSERT INTO t (id, d) VALUES (4, -1)")
        .message
        .contains("is_pos"));
}

/// Parts of permanent objects, and whole ones, over what is the session's own.
#[test]
fn what_hangs_on_the_sessions_own_is_left_out_while_the_session_lives_and_told() {
    let c = Cluster::backed_up();
    let mut one = c.session();
    one.run(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE TYPE pg_temp.mood AS ENUM ('a', 'b');
         CREATE FUNCTION pg_temp.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
         CREATE FUNCTION pg_temp.plus(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + $2';
         CREATE FUNCTION pg_temp.mk() RETURNS text LANGUAGE sql AS 'SELECT md5(random()::text)';
         CREATE FUNCTION pg_temp.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE FUNCTION pg_temp.noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE TEMP SEQUENCE numbers; CREATE TEMP TABLE mine (a int, b int)",
    );
    one.run("ALTER TABLE t ADD COLUMN token text NOT NULL DEFAULT pg_temp.mk(), ADD COLUMN kept int DEFAULT 7");
    one.run("ALTER TABLE t ADD COLUMN m pg_temp.mood DEFAULT 'a', ADD COLUMN ms pg_temp.mood[]");
    one.run("INSERT INTO t VALUES (3, 'x', 8, 'b', '{a,b}'); UPDATE t SET m = 'a' WHERE id = 1; UPDATE t SET kept = 9 WHERE id = 2");
    one.run("ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (pg_temp.twice(id)) STORED, ADD COLUMN last int DEFAULT 1");
    one.run("CREATE DOMAIN d AS int CONSTRAINT of_session CHECK (pg_temp.twice(VALUE) > 0) CONSTRAINT stays CHECK (VALUE > 1)");
    one.run("CREATE TABLE u (v d, w int DEFAULT pg_temp.twice(3), x int DEFAULT nextval('numbers'), m pg_temp.mood)");
    one.run(
        "INSERT INTO u (v, m) VALUES (7, 'a'); UPDATE u SET v = 8; COMMENT ON COLUMN u.w IS 'w'",
    );
    one.run(
        "CREATE TABLE p (k int, w int DEFAULT pg_temp.twice(1)) PARTITION BY RANGE (k);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1); CREATE TABLE child () INHERITS (u);
         CREATE INDEX ON t (pg_temp.twice(id)); CREATE STATISTICS st ON (pg_temp.twice(id)), id FROM t;
         CREATE TRIGGER tg BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.fired();
         CREATE POLICY pol ON t USING (pg_temp.twice(id) > 0); ALTER TABLE t ADD CONSTRAINT chk CHECK (pg_temp.twice(id) > 0);
         CREATE RULE r AS ON UPDATE TO p1 WHERE pg_temp.twice(1) = 3 DO INSTEAD NOTHING;
         CREATE FUNCTION over_type(pg_temp.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION over_rows() RETURNS SETOF mine LANGUAGE sql AS 'SELECT 1, 2';
         CREATE AGGREGATE agg (int) (SFUNC = pg_temp.plus, STYPE = int);
         CREATE OPERATOR ### (RIGHTARG = int, FUNCTION = pg_temp.twice); COMMENT ON OPERATOR ### (NONE, int) IS 'x';
         CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION pg_temp.noted(); CREATE TABLE after_all (a int PRIMARY KEY)",
    );
    // Restored while the session lives: without all that hangs on it.
    c.flush();
    let restored = c.restore(&[]);
    for object in [
        "default value for public.t.token",
        "column public.t.m",
        "column public.t.g",
        "domain constraint of_session on public.d",
        "trigger ",
    ] {
        assert!(
            restored.output.contains(object),
            "{object} in {}",
            restored.output
        );
    }
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(c.sql_in(&restored.database, columns), "id token kept last");
    one.run("ALTER TABLE t ALTER token SET DEFAULT 'now permanent'; ALTER TABLE p ALTER w DROP DEFAULT; ALTER TABLE u RENAME w TO ww");
    drop(one);
    wait_until("the session's own is gone", || {
        c.is_true("SELECT count(*) = 0 FROM pg_proc WHERE proname IN ('twice', 'over_type')")
    });
    c.sql("INSERT INTO t VALUES (4, DEFAULT, 1, 2); INSERT INTO u (v) VALUES (9); UPDATE t SET last = 5; INSERT INTO p VALUES (2)");
    assert_comes_back(&c);
}

/// Neither the object nor its statement can be replayed: both are left out, and flagged.
#[test]
fn what_is_the_sessions_own_as_a_whole_stops_no_restore() {
    let c = Cluster::backed_up();
    let mut one = c.session();
    one.run(
        "CREATE TYPE pg_temp.pair AS (a int, b text); CREATE TYPE pg_temp.mood AS ENUM ('a'); CREATE TEMP TABLE mine (a int);
         CREATE FUNCTION pg_temp.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
         CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    );
    one.run("CREATE TABLE typed OF pg_temp.pair");
    one.run(
        "CREATE OR REPLACE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM mine; END",
    );
    one.run("CREATE TYPE kept AS (a int, m pg_temp.mood); CREATE TABLE parted (a int) PARTITION BY RANGE (pg_temp.twice(a))");
    one.run("CREATE TABLE beside (a int PRIMARY KEY); INSERT INTO beside VALUES (1)");
    c.flush();
    // It goes to the end, and says that something is left out.
    let (status, output) = restore(&c, "meanwhile", &[]);
    assert_eq!(status, 1, "{output}");
    assert!(
        output.contains("what cannot be applied is left out"),
        "{output}"
    );
    drop(one);
    wait_until("the session's own is gone", || {
        c.is_true("SELECT count(*) = 0 FROM pg_class WHERE relname IN ('typed', 'parted')")
    });
    assert_eq!(c.sql_in("meanwhile", "SELECT * FROM beside"), "1");
}

/// A function that was over this extension's own, and with it all that hung on it, is so no longer: no restore has
/// any of it. Each is named, what the same statement changed besides as well, and a base makes it good.
#[test]
fn what_is_over_ours_no_longer_is_named_with_all_that_hung_on_it() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION level() RETURNS text LANGUAGE sql RETURN (SELECT level FROM incr_slot_health());
         CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); ALTER TABLE t ADD l text DEFAULT level();
         CREATE DOMAIN d AS text DEFAULT level(); CREATE VIEW v AS SELECT level() AS l; CREATE VIEW w AS SELECT l FROM v",
    );
    let hold = hold_bases(&c);
    c.sql("CREATE OR REPLACE FUNCTION level() RETURNS text LANGUAGE sql RETURN 'x'");
    c.flush();
    let flags = flags(&c).join("\n");
    for object in ["t", "d", "v", "w", "level%28%29"] {
        let named = format!(" identity=public.{object}\n");
        assert!(format!("{flags}\n").contains(&named), "{object} in {flags}");
    }
    drop(hold);
    wait_until_healed(&c);
    c.sql("INSERT INTO t (id) VALUES (2)");
    c.assert_restores();
}
