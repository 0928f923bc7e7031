//! "Two of us changed the schema at the same time." A statement of one session, and one of another that renames,
//! moves, drops or alters what the first one names: each first, each the last to commit.

use harness::{Cluster, Session};

/// An owner and a column's grant are none of them: it keeps its grantor, whom no GRANT can name any more.
///
/// What stands before, a statement, and others that meet it. `{s}` is a schema that is in the search_path, `{o}`
/// another one; both are new each time.
type Meeting = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const MEETINGS: &[Meeting] = &[
    ("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)", "ALTER TABLE t ADD b int DEFAULT 1; INSERT INTO t VALUES (2)",
     &["ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE t IS 'c'", "GRANT SELECT ON t TO races", "ALTER SCHEMA {s} OWNER TO races",
       "COMMENT ON SCHEMA {s} IS 'c'", "GRANT USAGE ON SCHEMA {s} TO races", "INSERT INTO t VALUES (5)", "CREATE TABLE u (LIKE t)", "ALTER TABLE t OWNER TO races",
       "CREATE STATISTICS st ON a, (a + 1) FROM t", "DROP TABLE t", "ALTER DEFAULT PRIVILEGES IN SCHEMA {s} GRANT SELECT ON TABLES TO races"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int)", "COMMENT ON TABLE t IS 'c'; COMMENT ON COLUMN t.b IS 'd'",
     &["ALTER SCHEMA {s} RENAME TO {s}x", "ALTER TABLE t RENAME TO u", "ALTER TABLE t RENAME b TO c", "ALTER TABLE t DROP b", "ALTER TABLE t SET SCHEMA {o}"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int)", "GRANT SELECT ON t TO races; GRANT UPDATE (b) ON t TO races",
     &["ALTER SCHEMA {s} RENAME TO {s}x", "ALTER TABLE t RENAME TO u", "ALTER TABLE t SET SCHEMA {o}", "ALTER TABLE t RENAME b TO c",
       "REVOKE ALL ON t FROM PUBLIC"]),
    ("CREATE TYPE {o}.mood AS ENUM ('a', 'b'); CREATE TABLE t (a int PRIMARY KEY)", "ALTER TABLE t ADD m {o}.mood DEFAULT 'b'; INSERT INTO t VALUES (1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER TYPE {o}.mood RENAME TO temper", "ALTER TYPE {o}.mood SET SCHEMA {s}",
       "ALTER TYPE {o}.mood RENAME VALUE 'b' TO 'c'", "ALTER TYPE {o}.mood ADD VALUE 'c'", "ALTER TYPE {o}.mood OWNER TO races", "COMMENT ON TYPE {o}.mood IS 'c'"]),
    ("CREATE DOMAIN {o}.d AS int CHECK (VALUE > 0); CREATE TABLE t (a int PRIMARY KEY)", "ALTER TABLE t ADD m {o}.d DEFAULT 2; INSERT INTO t VALUES (1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER DOMAIN {o}.d RENAME TO e", "ALTER DOMAIN {o}.d SET SCHEMA {s}", "ALTER DOMAIN {o}.d SET DEFAULT 7",
       "ALTER DOMAIN {o}.d RENAME CONSTRAINT d_check TO k", "ALTER DOMAIN {o}.d DROP CONSTRAINT d_check"]),
    ("CREATE TYPE {o}.ct AS (a int, b text); CREATE TABLE u (a int PRIMARY KEY)", "CREATE TABLE t (a int PRIMARY KEY, c {o}.ct DEFAULT '(1,x)'); INSERT INTO t VALUES (1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER TYPE {o}.ct RENAME TO cu", "ALTER TYPE {o}.ct ADD ATTRIBUTE c int", "ALTER TYPE {o}.ct RENAME ATTRIBUTE b TO bb",
       "ALTER TYPE {o}.ct SET SCHEMA {s}", "ALTER TYPE {o}.ct DROP ATTRIBUTE b"]),
    ("CREATE FUNCTION {o}.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'; CREATE TABLE t (a int PRIMARY KEY)",
     "ALTER TABLE t ADD b int DEFAULT {o}.f(3); ALTER TABLE t ADD CHECK ({o}.f(a) > 0); INSERT INTO t VALUES (1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int) RENAME TO g", "ALTER FUNCTION {o}.f(int) SET SCHEMA {s}",
       "CREATE OR REPLACE FUNCTION {o}.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1'", "ALTER FUNCTION {o}.f(int) STRICT COST 7", "GRANT EXECUTE ON FUNCTION {o}.f(int) TO races"]),
    ("CREATE FUNCTION {o}.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'; CREATE TABLE t (a int PRIMARY KEY)", "CREATE INDEX i ON t ({o}.f(a)); COMMENT ON INDEX i IS 'i'",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int) RENAME TO g", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE t IS 't'"]),
    ("CREATE SEQUENCE q; CREATE TABLE t (a int PRIMARY KEY)", "ALTER TABLE t ADD b int DEFAULT nextval('q'); INSERT INTO t VALUES (1)",
     &["ALTER SEQUENCE q RENAME TO r", "ALTER SEQUENCE q SET SCHEMA {o}", "ALTER SEQUENCE q MAXVALUE 99", "ALTER SEQUENCE q OWNED BY t.a", "COMMENT ON SEQUENCE q IS 'q'", "GRANT USAGE ON SEQUENCE q TO races"]),
    ("CREATE TABLE {o}.t (a int PRIMARY KEY, b int)", "CREATE VIEW v AS SELECT a, b FROM {o}.t; GRANT SELECT (a) ON v TO races",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON COLUMN {o}.t.b IS 'b'", "GRANT SELECT (b) ON {o}.t TO races", "INSERT INTO {o}.t VALUES (1)"]),
    ("CREATE TABLE {o}.t (a int PRIMARY KEY, b int); CREATE VIEW v AS SELECT a FROM {o}.t", "CREATE OR REPLACE VIEW v AS SELECT a, b FROM {o}.t",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON VIEW v IS 'v'", "GRANT SELECT ON v TO races", "CREATE VIEW w AS SELECT a FROM v"]),
    ("CREATE TABLE {o}.t (a int PRIMARY KEY, b int); INSERT INTO {o}.t VALUES (1, 2)", "CREATE MATERIALIZED VIEW m AS SELECT a, b FROM {o}.t; CREATE INDEX ON m (b)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "COMMENT ON TABLE {o}.t IS 't'", "INSERT INTO {o}.t VALUES (5, 6)"]),
    ("CREATE FUNCTION {o}.tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE t (a int PRIMARY KEY, b int)",
     "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.b > 1) EXECUTE FUNCTION {o}.tf(); INSERT INTO t VALUES (1, 2)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.tf() RENAME TO tg", "COMMENT ON TABLE t IS 't'", "ALTER SCHEMA {s} RENAME TO {s}x"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE TABLE {o}.u (a int PRIMARY KEY)", "CREATE RULE r AS ON INSERT TO t WHERE NEW.b > 2 DO ALSO INSERT INTO {o}.u VALUES (NEW.a)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE {o}.u IS 'u'", "ALTER TABLE {o}.u RENAME a TO aa"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE FUNCTION {o}.f(int) RETURNS bool LANGUAGE sql AS 'SELECT true'", "CREATE POLICY p ON t TO races USING ({o}.f(b)); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int) RENAME TO g", "ALTER SCHEMA {s} RENAME TO {s}x", "GRANT SELECT ON t TO races"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int)", "CREATE PUBLICATION pub{s} FOR TABLE t WHERE (a > 1), TABLES IN SCHEMA {o}",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE t IS 't'", "ALTER TABLE t RENAME TO u"]),
    ("CREATE FUNCTION {o}.f(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'", "CREATE AGGREGATE ag (int) (SFUNC = {o}.f, STYPE = int); COMMENT ON AGGREGATE ag (int) IS 'a'",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int, int) RENAME TO g", "ALTER FUNCTION {o}.f(int, int) SET SCHEMA {s}"]),
    ("CREATE FUNCTION {o}.f(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2'", "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = {o}.f); CREATE TABLE t (a int CHECK (a OPERATOR({s}.===) a))",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int, int) RENAME TO g", "COMMENT ON FUNCTION {o}.f(int, int) IS 'f'"]),
    ("CREATE FUNCTION {o}.c(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT btint4cmp($1, $2)'; CREATE OPERATOR FAMILY {o}.fam USING btree",
     "CREATE OPERATOR CLASS cl FOR TYPE int USING btree FAMILY {o}.fam AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 {o}.c(int, int); CREATE TABLE t (a int); CREATE INDEX ON t (a cl)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.c(int, int) RENAME TO d", "ALTER OPERATOR FAMILY {o}.fam USING btree RENAME TO gam", "COMMENT ON OPERATOR FAMILY {o}.fam USING btree IS 'f'"]),
    ("CREATE TYPE {o}.a AS (x int); CREATE TYPE {o}.b AS (x int); CREATE FUNCTION {o}.f({o}.a) RETURNS {o}.b LANGUAGE sql AS 'SELECT ROW($1.x)'",
     "CREATE CAST ({o}.a AS {o}.b) WITH FUNCTION {o}.f({o}.a) AS ASSIGNMENT",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER TYPE {o}.a RENAME TO c", "ALTER FUNCTION {o}.f({o}.a) SET SCHEMA {s}"]),
    ("CREATE COLLATION {o}.col (LOCALE = 'C'); CREATE TABLE t (a text PRIMARY KEY)", "ALTER TABLE t ADD b text COLLATE {o}.col DEFAULT 'x'; INSERT INTO t VALUES ('1')",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER COLLATION {o}.col RENAME TO cc", "ALTER COLLATION {o}.col SET SCHEMA {s}", "COMMENT ON COLLATION {o}.col IS 'c'"]),
    ("CREATE TEXT SEARCH CONFIGURATION {o}.cfg (COPY = simple); CREATE TABLE t (a text PRIMARY KEY)",
     "CREATE INDEX i ON t USING gin (to_tsvector('{o}.cfg', a)); ALTER TEXT SEARCH CONFIGURATION {o}.cfg ALTER MAPPING FOR word WITH english_stem",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "COMMENT ON TEXT SEARCH CONFIGURATION {o}.cfg IS 'c'", "COMMENT ON TABLE t IS 't'"]),
    ("CREATE TEXT SEARCH DICTIONARY {o}.dict (TEMPLATE = simple)", "CREATE TEXT SEARCH CONFIGURATION cfg (COPY = simple); ALTER TEXT SEARCH CONFIGURATION cfg ALTER MAPPING FOR word WITH {o}.dict",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER TEXT SEARCH DICTIONARY {o}.dict RENAME TO did", "ALTER TEXT SEARCH DICTIONARY {o}.dict (STOPWORDS = english)"]),
    ("CREATE FOREIGN DATA WRAPPER w{s}; CREATE SERVER sv{s} FOREIGN DATA WRAPPER w{s}", "CREATE FOREIGN TABLE ft (a int) SERVER sv{s}; CREATE USER MAPPING FOR races SERVER sv{s}",
     &["ALTER SERVER sv{s} RENAME TO sw{s}", "ALTER FOREIGN DATA WRAPPER w{s} RENAME TO x{s}", "ALTER SERVER sv{s} OPTIONS (a 'b')", "GRANT USAGE ON FOREIGN SERVER sv{s} TO races", "COMMENT ON SERVER sv{s} IS 's'"]),
    ("CREATE FUNCTION {o}.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'", "CREATE EVENT TRIGGER et{s} ON sql_drop WHEN TAG IN ('DROP POLICY') EXECUTE FUNCTION {o}.f()",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f() RENAME TO g"]),
    ("CREATE TABLE p (a int PRIMARY KEY, b text) PARTITION BY RANGE (a); CREATE TABLE {o}.q (LIKE p INCLUDING ALL)", "ALTER TABLE p ATTACH PARTITION {o}.q FOR VALUES FROM (0) TO (9); INSERT INTO p VALUES (1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE {o}.q IS 'q'", "INSERT INTO p VALUES (2)", "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (20)",
       "GRANT SELECT ON {o}.q TO races"]),
    ("CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE q PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE r PARTITION OF p FOR VALUES FROM (9) TO (20); INSERT INTO p VALUES (1), (10)",
     "CREATE TABLE n PARTITION OF p FOR VALUES FROM (30) TO (40)", &["CREATE TABLE n2 PARTITION OF p FOR VALUES FROM (40) TO (50)", "INSERT INTO p VALUES (2)", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE q IS 'q'", "DROP TABLE r"]),
    ("CREATE TABLE par (a int, b int DEFAULT 1); CREATE TABLE {o}.chi (c int) INHERITS (par); INSERT INTO {o}.chi VALUES (1)", "CREATE TABLE chi2 () INHERITS (par, {o}.chi); INSERT INTO chi2 VALUES (3)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON COLUMN par.b IS 'b'", "INSERT INTO {o}.chi VALUES (2)"]),
    ("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE {o}.u (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1)", "ALTER TABLE {o}.u ADD CONSTRAINT fk FOREIGN KEY (b) REFERENCES t; INSERT INTO {o}.u VALUES (1, 1)",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER SCHEMA {s} RENAME TO {s}x", "COMMENT ON TABLE t IS 't'", "GRANT REFERENCES ON t TO races"]),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
     &["ALTER FUNCTION f() RENAME TO g", "ALTER FUNCTION f() SET SCHEMA {o}", "COMMENT ON FUNCTION f() IS 'f'", "ALTER SCHEMA {s} RENAME TO {s}x", "GRANT EXECUTE ON FUNCTION f() TO races", "DROP FUNCTION f()"]),
    ("CREATE TYPE e AS ENUM ('a', 'b', 'c'); CREATE TABLE t (a e PRIMARY KEY); INSERT INTO t VALUES ('b')", "ALTER TYPE e RENAME VALUE 'b' TO 'bb'; INSERT INTO t VALUES ('bb') ON CONFLICT DO NOTHING",
     &["INSERT INTO t VALUES ('c')", "ALTER TYPE e RENAME VALUE 'c' TO 'cc'", "ALTER TYPE e ADD VALUE 'd' BEFORE 'b'", "ALTER TABLE t ADD b e DEFAULT 'a'", "COMMENT ON TYPE e IS 'e'"]),
    ("CREATE TABLE t (a int PRIMARY KEY, b int)", "CREATE STATISTICS st ON a, b FROM t; ALTER STATISTICS st SET STATISTICS 5",
     &["ALTER SCHEMA {s} RENAME TO {s}x", "INSERT INTO t VALUES (1, 2)", "GRANT SELECT ON t TO races", "ALTER SCHEMA {o} OWNER TO races"]),
    ("CREATE TABLE t (a int PRIMARY KEY)", "ALTER DEFAULT PRIVILEGES IN SCHEMA {s} GRANT SELECT ON TABLES TO races; CREATE TABLE u (a int PRIMARY KEY)",
     &["CREATE TABLE w (a int PRIMARY KEY)", "ALTER DEFAULT PRIVILEGES IN SCHEMA {s} GRANT USAGE ON SEQUENCES TO races", "ALTER SCHEMA {s} RENAME TO {s}x", "ALTER DEFAULT PRIVILEGES IN SCHEMA {o} GRANT INSERT ON TABLES TO races"]),
    ("CREATE FUNCTION {o}.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE TYPE {o}.ct AS (a int)", "CREATE FUNCTION g({o}.ct, x int DEFAULT {o}.f(1)) RETURNS {o}.ct BEGIN ATOMIC SELECT ROW({o}.f($2))::{o}.ct; END",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "ALTER FUNCTION {o}.f(int) RENAME TO ff", "ALTER TYPE {o}.ct RENAME TO cu", "ALTER TYPE {o}.ct RENAME ATTRIBUTE a TO aa"]),
    ("CREATE ROLE r{s}; CREATE TABLE t (a int PRIMARY KEY, b int)", "GRANT SELECT ON t TO r{s}; CREATE TABLE u (a int PRIMARY KEY); ALTER TABLE u OWNER TO r{s}; CREATE POLICY p ON t TO r{s}",
     &["ALTER ROLE r{s} RENAME TO n{s}", "ALTER ROLE r{s} SET work_mem = '1MB'", "DROP ROLE r{s}", "GRANT CREATE ON SCHEMA {o} TO r{s}", "ALTER DEFAULT PRIVILEGES FOR ROLE r{s} GRANT SELECT ON TABLES TO races",
       "ALTER SCHEMA {s} RENAME TO {s}x"]),
    ("CREATE TABLE t (a int CONSTRAINT k PRIMARY KEY, b int CONSTRAINT c CHECK (b > 0)); CREATE INDEX i ON t (b)", "COMMENT ON CONSTRAINT k ON t IS 'k'; COMMENT ON INDEX i IS 'i'",
     &["ALTER TABLE t RENAME CONSTRAINT k TO kk", "ALTER INDEX i RENAME TO ii", "ALTER TABLE t DROP CONSTRAINT c", "ALTER TABLE t ADD c2 int UNIQUE", "ALTER TABLE t CLUSTER ON i", "DROP INDEX i", "ALTER SCHEMA {s} RENAME TO {s}x",
       "ALTER TABLE t REPLICA IDENTITY USING INDEX k"]),
    ("CREATE VIEW {o}.v AS SELECT 1 AS a; CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "CREATE TRIGGER g INSTEAD OF INSERT ON {o}.v FOR EACH ROW EXECUTE FUNCTION tf(); COMMENT ON TRIGGER g ON {o}.v IS 'g'",
     &["CREATE OR REPLACE VIEW {o}.v AS SELECT 2 AS a, 3 AS b", "ALTER VIEW {o}.v RENAME TO w", "ALTER FUNCTION tf() RENAME TO tg", "ALTER SCHEMA {o} RENAME TO {o}x", "DROP VIEW {o}.v"]),
    ("CREATE TYPE r AS RANGE (subtype = float8, multirange_type_name = {o}.mr); CREATE TABLE t (a int PRIMARY KEY)", "ALTER TABLE t ADD x r DEFAULT '[1,2)', ADD y {o}.mr DEFAULT '{}'; INSERT INTO t VALUES (1)",
     &["ALTER TYPE r RENAME TO rr", "ALTER TYPE {o}.mr RENAME TO mm", "ALTER TYPE {o}.mr SET SCHEMA {s}", "ALTER SCHEMA {o} RENAME TO {o}x"]),
    ("CREATE TABLE t (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9); CREATE FUNCTION {o}.tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
     "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION {o}.tf(); INSERT INTO t VALUES (1); ALTER TABLE t1 DISABLE TRIGGER g",
     &["ALTER SCHEMA {o} RENAME TO {o}x", "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (9) TO (20)", "ALTER FUNCTION {o}.tf() SET SCHEMA {s}", "COMMENT ON TABLE t1 IS 't1'", "ALTER SCHEMA {s} RENAME TO {s}x"]),
];

/// Who comes first, and who is the last to commit.
const ORDERS: [&str; 3] = ["within", "across", "behind"];

/// What waits for a lock gives up: it is the other one's turn then.
fn meet(one: &mut Session, two: &mut Session, [first, second]: [&str; 2], order: &str) {
    let ignoring = |session: &mut Session, sql: &str| {
        session.send(sql);
        session.finish()
    };
    match order {
        "within" => {
            ignoring(one, &format!("BEGIN; {first}"));
            ignoring(two, second);
        }
        "across" => {
            ignoring(one, &format!("BEGIN; {first}"));
            ignoring(two, &format!("BEGIN; {second}"));
            ignoring(one, "COMMIT");
        }
        _ => {
            ignoring(
                one,
                "BEGIN; CREATE TABLE early (a int PRIMARY KEY); INSERT INTO early VALUES (1)",
            );
            ignoring(two, second);
            ignoring(one, &format!("INSERT INTO early VALUES (2); {first}"));
        }
    }
    ignoring(one, "COMMIT");
    ignoring(two, "COMMIT");
}

/// Every second meeting, from one of them on: it takes a while.
fn meet_from(from: usize) {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE races");
    let (mut one, mut two) = (c.session(), c.session());
    for session in [&mut one, &mut two] {
        session.run("SET lock_timeout = '20ms'; SET client_min_messages = error");
    }
    for (number, (before, first, others)) in MEETINGS.iter().enumerate().skip(from).step_by(2) {
        let turns = others
            .iter()
            .flat_map(|other| [[*first, *other], [*other, *first]]);
        for (turn, [first, second]) in turns.enumerate() {
            for order in ORDERS {
                let schema = format!("c{number}_{turn}_{order}");
                let named = |sql: &str| {
                    let sql = sql.replace("{s}", &schema);
                    sql.replace("{o}", &format!("o{schema}"))
                };
                one.run(&named("SET search_path = public; CREATE SCHEMA {s}; CREATE SCHEMA {o}; SET search_path = {s}, public"));
                one.run(&named(before));
                two.run(&named("SET search_path = {s}, public"));
                meet(&mut one, &mut two, [&named(first), &named(second)], order);
            }
        }
    }
    // Where it has no roles of another day.
    c.assert_restores_apart();
    let segments = c.segments();
    let flags = segments.iter().flat_map(|segment| segment.comments("flag"));
    assert_eq!(flags.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn statements_of_two_sessions_that_meet_come_back() {
    meet_from(0);
}

#[test]
fn more_statements_of_two_sessions_that_meet_come_back() {
    meet_from(1);
}
