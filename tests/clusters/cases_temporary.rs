//! What is permanent, over what is a session's own: of classes whose ties to it are not direct, while the session
//! lives and when it has ended.

use crate::cases::assert_comes_back;
use crate::healing::{hold_bases, wait_until_healed};
use crate::program_restore::restore;
use harness::{wait_until, Cluster, Session};
use std::fs;

const TEMPORARY: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v int, s text); INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y');
    CREATE TABLE beside (id int PRIMARY KEY);
    CREATE FUNCTION pg_temp.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
    CREATE FUNCTION pg_temp.eq(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
    CREATE OPERATOR pg_temp.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_temp.eq);
    CREATE TYPE pg_temp.mood AS ENUM ('a', 'b'); CREATE DOMAIN pg_temp.own AS int; CREATE COLLATION pg_temp.c FROM \"C\";";

fn with_session() -> (Cluster, Session) {
    let c = Cluster::backed_up();
    let mut one = c.session();
    one.run(TEMPORARY);
    (c, one)
}

/// The session ends, and what was its own goes.
fn end(c: &Cluster, session: Session) {
    drop(session);
    wait_until("the session's own is gone", || {
        c.is_true("SELECT count(*) = 0 FROM pg_proc WHERE proname = 'twice'")
    });
}

#[test]
fn what_hangs_on_a_column_or_a_view_or_a_class_that_goes_is_left_out() {
    let (c, mut one) = with_session();
    one.run(
        "ALTER TABLE t ADD m pg_temp.mood DEFAULT 'a', ADD g int GENERATED ALWAYS AS (pg_temp.twice(v)) STORED",
    );
    // By the column alone: a later transaction, and the same one.
    one.run("CREATE INDEX ON t (g); CREATE INDEX ON t (s) WHERE m IS NULL; CREATE STATISTICS st ON g, v FROM t");
    one.run("CREATE VIEW over_column AS SELECT m::text FROM t; CREATE POLICY p ON t USING (g > 0)");
    one.run("ALTER TABLE t ADD CHECK (g > 0), ADD UNIQUE (m, v)");
    one.run("CREATE TABLE made (a int PRIMARY KEY, g int GENERATED ALWAYS AS (pg_temp.twice(a)) STORED UNIQUE, b int)");
    one.run("CREATE TABLE like_it (LIKE made INCLUDING ALL); INSERT INTO made VALUES (1); INSERT INTO like_it VALUES (2)");
    // Over a view's rule, and over what is over that.
    one.run(
        "CREATE MATERIALIZED VIEW mv AS SELECT pg_temp.twice(v) AS a FROM t; CREATE INDEX ON mv (a);
         CREATE VIEW over_mv AS SELECT a FROM mv; CREATE TABLE copied AS SELECT * FROM mv",
    );
    // An operator class is over its operators; an operator's link to another holds as long as that one.
    one.run("CREATE OPERATOR CLASS oc FOR TYPE int USING hash AS OPERATOR 1 pg_temp.=== (int, int), FUNCTION 1 hashint4(int)");
    one.run("CREATE INDEX by_class ON t USING hash (v oc)");
    one.run(
        "CREATE OPERATOR @#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = OPERATOR(pg_temp.===));
         CREATE VIEW by_operator AS SELECT 1 @#@ 2 AS is_so",
    );
    // Types and collations at second hand.
    one.run(
        "CREATE DOMAIN over_own AS pg_temp.own; CREATE DOMAIN further AS over_own; CREATE TYPE rr AS RANGE (subtype = pg_temp.own);
         CREATE TABLE types (id int PRIMARY KEY, f further, fs further[], c text COLLATE pg_temp.c, z int);
         INSERT INTO types VALUES (1, 1, '{1}', 'x', 1); UPDATE types SET z = 2; CREATE INDEX ON types (c)",
    );
    one.run("INSERT INTO t (id, v) VALUES (3, 3); UPDATE t SET v = 5 WHERE id = 2; CREATE TABLE last (a int PRIMARY KEY)");
    c.flush();
    c.restore(&[]);
    end(&c, one);
    c.sql("INSERT INTO t VALUES (4, 4, 'z'); UPDATE types SET z = 3; INSERT INTO last VALUES (1)");
    assert_comes_back_but_for_operator_families(&c);
}

/// The operator class is gone with its session, and its family, which came with it, stays.
fn assert_comes_back_but_for_operator_families(c: &Cluster) {
    c.sql("DROP OPERATOR FAMILY oc USING hash");
    assert_comes_back(c);
}

#[test]
fn a_default_replaced_a_domain_changed_and_back_again() {
    let (c, mut one) = with_session();
    one.run("CREATE DOMAIN d AS int DEFAULT pg_temp.twice(1); ALTER DOMAIN d SET DEFAULT 4");
    one.run("ALTER DOMAIN d ADD CONSTRAINT stays CHECK (VALUE < 1000); CREATE TABLE td (id int PRIMARY KEY, x d)");
    one.run("BEGIN; ALTER TABLE t ALTER v SET DEFAULT pg_temp.twice(1); ALTER TABLE t ALTER v SET DEFAULT 3; COMMIT");
    one.run("INSERT INTO t (id) VALUES (3); INSERT INTO td VALUES (1)");
    end(&c, one);
    assert_comes_back(&c);
}

/// No restore has what the rows have in such a column, nor what an object was over before: that is told, stops
/// nothing, and a base makes it good.
#[test]
fn what_hangs_on_the_sessions_own_no_longer_is_flagged_and_stops_nothing() {
    let (c, mut one) = with_session();
    c.sql("CREATE TABLE u (id int PRIMARY KEY, v int); CREATE TABLE x (id int PRIMARY KEY, v int); INSERT INTO u VALUES (1, 1)");
    let hold = hold_bases(&c);
    let lost = |of: &str| {
        wait_until("it is told what is lost", || {
            c.flush();
            let flags = |segment: harness::Segment| segment.comments("flag").join("\n");
            c.segments()
                .into_iter()
                .map(flags)
                .any(|flags| flags.contains(of))
        });
    };
    // A column, which has rows; with and without an expression.
    one.run("ALTER TABLE t ADD g int GENERATED ALWAYS AS (pg_temp.twice(v)) STORED; ALTER TABLE t ALTER g DROP EXPRESSION");
    one.run("UPDATE t SET g = 7 WHERE id = 1");
    lost("identity=public.t");
    one.run("ALTER TABLE u ALTER v TYPE pg_temp.own; UPDATE u SET v = 5; ALTER TABLE u ALTER v TYPE bigint; UPDATE u SET v = 6");
    lost("identity=public.u");
    // Whole objects, and one that was there before.
    one.run("CREATE POLICY p ON x USING (pg_temp.twice(v) > 0)");
    one.run("ALTER POLICY p ON x USING (v > 0); COMMENT ON POLICY p ON x IS 'x'");
    lost("identity=p%20ON%20public.x");
    one.run(
        "CREATE VIEW w AS SELECT 1 AS a; CREATE OR REPLACE VIEW w AS SELECT pg_temp.twice(1) AS a",
    );
    one.run(
        "CREATE OR REPLACE VIEW w AS SELECT 3 AS a, 4 AS b; CREATE VIEW over_it AS SELECT b FROM w",
    );
    lost("identity=public.w");
    // A table that goes as a whole: its key does.
    one.run("CREATE TABLE parted (a text COLLATE pg_temp.c, b int) PARTITION BY LIST (a)");
    one.run("CREATE TABLE part PARTITION OF parted FOR VALUES IN ('x'); INSERT INTO parted VALUES ('x', 1)");
    lost("identity=public.parted");
    one.run("INSERT INTO t (id) VALUES (9); INSERT INTO beside VALUES (1)");
    c.flush();
    let (status, output) = restore(&c, "meanwhile", &[]);
    assert_eq!(status, 1, "{output}");
    assert!(
        output.contains("what cannot be applied is left out"),
        "{output}"
    );
    assert_eq!(c.sql_in("meanwhile", "SELECT count(*) FROM beside"), "1");
    drop(hold);
    end(&c, one);
    wait_until_healed(&c);
    c.sql("INSERT INTO t (id) VALUES (10)");
    c.assert_restores();
}

/// pg_dump writes the schema of a session, which no other database has.
#[test]
fn a_base_waits_for_the_session_and_the_one_before_serves() {
    let (c, mut one) = with_session();
    let bases = || {
        let found = fs::read_dir(c.chain_directory().join("base"));
        found.expect("there are bases").count()
    };
    let before = bases();
    for (make, drop) in [
        (
            "ALTER TABLE t ALTER v SET DEFAULT pg_temp.twice(1)",
            "ALTER TABLE t ALTER v DROP DEFAULT",
        ),
        ("ALTER TABLE t ADD m pg_temp.mood", "ALTER TABLE t DROP m"),
        ("CREATE VIEW w AS SELECT pg_temp.twice(1)", "DROP VIEW w"),
        ("CREATE INDEX i ON t (pg_temp.twice(v))", "DROP INDEX i"),
    ] {
        one.run(make);
        let error = c.sql_error("SELECT incr_dump()");
        assert!(
            error.message.contains("depend on temporary objects"),
            "{make}: {}",
            error.message
        );
        c.flush();
        c.restore(&[]);
        one.run(drop);
    }
    assert_eq!(bases(), before);
    // What is only the session's own is none of this.
    one.run("CREATE TEMP TABLE tt (a int DEFAULT pg_temp.twice(1) CHECK (pg_temp.twice(a) > 0), m pg_temp.mood, s serial);
             CREATE INDEX ON tt (pg_temp.twice(a)); CREATE TEMP VIEW tv AS SELECT a FROM tt JOIN t ON id = a");
    c.sql("SELECT incr_dump()");
    end(&c, one);
    assert_comes_back(&c);
}
