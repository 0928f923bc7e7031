//! "It came back otherwise than it was made." Schema changes travel as what they did to the catalogs.

use harness::{wait_until, Cluster};

/// Classes of all kinds, rows between them, and words that mean something else at another time, in another
/// place or to another user.
const CHANGES: &str = "
    CREATE ROLE alice; CREATE ROLE bob;
    CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO alice WITH GRANT OPTION;
    SET ROLE alice; GRANT USAGE ON SCHEMA s TO bob; RESET ROLE;
    CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    ALTER SCHEMA s RENAME TO t; COMMENT ON FUNCTION t.f() IS 'what''s \\this';
    SET search_path = t, public;
    CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN age AS int CHECK (VALUE >= 0);
    CREATE TABLE a (id int PRIMARY KEY, m mood DEFAULT 'sad', years age, UNIQUE (m, years));
    INSERT INTO a VALUES (1, 'glad', 3), (2, NULL, NULL);
    ALTER TYPE mood RENAME VALUE 'sad' TO 'sorry';
    ALTER TABLE a ADD COLUMN at timestamptz DEFAULT now();
    ALTER TABLE a ALTER COLUMN years TYPE bigint USING years * 2;
    ALTER TABLE a ALTER COLUMN at SET NOT NULL, ADD CONSTRAINT later FOREIGN KEY (id) REFERENCES a NOT VALID;
    CREATE VIEW v AS SELECT id, m FROM a; GRANT SELECT (id) ON v TO bob;
    CREATE SEQUENCE q OWNED BY a.id; CREATE INDEX i ON a (abs(years)); CLUSTER a USING a_pkey;
    CREATE TABLE p (k int, at date DEFAULT 'today') PARTITION BY RANGE (k);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1), (2);
    ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p1 SET (fillfactor = 70);
    CREATE FUNCTION tg() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER g BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION tg(); ALTER TABLE a DISABLE TRIGGER g;
    ALTER TABLE a OWNER TO alice; ALTER DEFAULT PRIVILEGES IN SCHEMA t GRANT SELECT ON TABLES TO bob;
    CREATE TABLE b AS SELECT id FROM a; CREATE STATISTICS st ON id, m FROM a;
    CREATE MATERIALIZED VIEW mv AS SELECT id FROM b; CREATE POLICY pol ON b TO bob USING (id > 0);
    CREATE RULE r AS ON DELETE TO b DO INSTEAD NOTHING; CREATE PUBLICATION pub FOR TABLE b;
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
    CREATE AGGREGATE agg (int) (SFUNC = int4pl, STYPE = int);
    BEGIN; CREATE TABLE c (x int); INSERT INTO c VALUES (1); ALTER TABLE c ADD COLUMN y int DEFAULT 7;
    UPDATE c SET x = 2; DROP VIEW v; ALTER TABLE c RENAME x TO z; INSERT INTO c VALUES (3, 4); COMMIT;
    DROP TABLE IF EXISTS never_there; CREATE TABLE IF NOT EXISTS c (other text);";

pub fn comments(c: &Cluster, kind: &str) -> Vec<String> {
    let segments = c.segments().into_iter();
    let found = segments.flat_map(|segment| -> Vec<String> {
        let comments = segment.comments(kind).into_iter();
        comments.map(str::to_string).collect()
    });
    found.collect()
}

#[test]
fn what_is_understood_travels_as_its_effect_with_its_words_above() {
    let c = Cluster::backed_up();
    c.sql("CREATE SCHEMA s; CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    c.sql("ALTER SCHEMA s RENAME TO t; COMMENT ON FUNCTION t.f() IS 'x'; CREATE ROLE bob");
    c.sql("GRANT ALL ON SCHEMA t TO bob; SET search_path = t; create table a (a int primary key)");
    c.sql("INSERT INTO t.a VALUES (1)");
    c.assert_restores();
    let segments = c.segments();
    let text: String = segments
        .iter()
        .map(|s| s.text.replace(s.key(), "KEY"))
        .collect();
    let lines: Vec<&str> = text.lines().collect();
    let words = lines.iter().position(|line| {
        line.starts_with("-- @KEY words command=CREATE%20TABLE ")
            && line.contains("create%20table%20a")
    });
    let above = words.expect("the words are there");
    assert!(
        lines[above + 1].starts_with("-- @KEY effect "),
        "{}",
        lines[above + 1]
    );
    assert!(
        lines[above + 1].contains(" verb=create identity=t.a "),
        "{}",
        lines[above + 1]
    );
    assert!(text.contains("\nCREATE TABLE t.a ("), "{text}");
    assert!(text.contains("\nALTER SCHEMA s RENAME TO t\n"), "{text}");
    for kind in ["ddl", "unhandled", "flag"] {
        let none: [String; 0] = [];
        assert_eq!(comments(&c, kind), none, "{kind}");
    }
}

/// Found by the random tester (seed 1): what rows have that are older than a column is gone where a partition has been
/// rewritten, and not yet gone in the next one.
#[test]
fn partitions_that_are_rewritten_one_by_one_get_a_column_with_a_default() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (20); CREATE TABLE p3 PARTITION OF p DEFAULT;
         INSERT INTO p SELECT generate_series(0, 30)",
    );
    c.sql("ALTER TABLE p ADD m interval DEFAULT '892 min', ADD n text DEFAULT random()::text");
    // The first one has no rows (seed 7).
    c.sql(
        "CREATE TABLE q (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (9);
         CREATE TABLE q2 PARTITION OF q FOR VALUES FROM (9) TO (20); INSERT INTO q VALUES (10), (11)",
    );
    c.sql("ALTER TABLE q ADD n timestamptz NOT NULL DEFAULT clock_timestamp()");
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

#[test]
fn a_rewrite_leaves_a_sessions_own_children_out() {
    let c = Cluster::backed_up();
    let mut one = c.session();
    one.run("CREATE TABLE a (i int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 2)");
    one.run("CREATE TEMP TABLE z () INHERITS (a); INSERT INTO z VALUES (3, 4)");
    one.run("ALTER TABLE a ALTER v TYPE text USING v || 'x'; ALTER TABLE a ADD w uuid DEFAULT gen_random_uuid()");
    drop(one);
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

/// Found by the random tester (seed 10).
#[test]
fn what_is_changed_behind_a_rename_in_its_transaction_goes_by_the_new_name() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a'); CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TABLE s.gone (); CREATE TABLE s.t (a int PRIMARY KEY, m s.mood, b int); CREATE INDEX i ON s.t (b);
         CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
         CREATE VIEW s.v AS SELECT a FROM s.t; CREATE POLICY q ON s.t USING (true)",
    );
    c.sql(
        "BEGIN; ALTER SCHEMA s RENAME TO z; DROP TABLE z.gone; ALTER TABLE z.t ALTER b SET NOT NULL; DROP INDEX z.i;
         ALTER TABLE z.t RENAME TO u; DROP POLICY q ON z.u; ALTER FUNCTION z.f() STRICT; DROP VIEW z.v;
         ALTER TYPE z.mood RENAME TO temper; ALTER TABLE z.u ALTER m SET DEFAULT 'a'; ALTER TABLE z.u DROP COLUMN m;
         ALTER TABLE p RENAME TO parted; ALTER TABLE parted DETACH PARTITION p1; DROP TYPE z.temper; COMMIT",
    );
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

/// The worker waits for a lock on the table b.
const WANTS_B: &str = "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity s USING (pid)
    WHERE relation = 'b'::regclass AND NOT granted AND backend_type LIKE 'pg_incrbackup%'";

/// Reading a view's definition locks its tables one after the other; a session that holds one of them wants
/// the other.
#[test]
fn no_session_is_a_deadlocks_victim_for_a_definition() {
    let c = Cluster::builder()
        .setting("deadlock_timeout", "200ms")
        .back_up();
    c.sql(
        "CREATE TABLE a (i int PRIMARY KEY); CREATE TABLE b (i int PRIMARY KEY);
         CREATE VIEW v AS SELECT a.i, b.i AS j FROM a, b",
    );
    c.flush();
    let mut session = c.session();
    session.run("BEGIN; LOCK b");
    c.sql("ALTER VIEW v SET (security_barrier)");
    wait_until("capture wants the table", || c.is_true(WANTS_B));
    session.run("LOCK a; COMMIT");
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
    let log = c.log();
    let failed = ["deadlock detected", "lock timeout"];
    let failed = log
        .lines()
        .filter(|line| failed.iter().any(|words| line.contains(words)));
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_session_that_keeps_a_definition_from_being_read_is_named() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE held (i int PRIMARY KEY); CREATE VIEW v AS SELECT i FROM held");
    c.flush();
    let mut session = c.session();
    let pid = session.run("BEGIN; LOCK held; SELECT pg_backend_pid()");
    c.sql("ALTER VIEW v SET (security_barrier)");
    let named = format!(
        "could not acquire a lock to read a definition within 10 s; public.held is locked by process {}",
        pid.trim()
    );
    wait_until("health names who is in the way", || {
        c.health().contains(&named)
    });
    session.run("COMMIT");
    wait_until("capture goes on", || c.health().starts_with("ok"));
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

/// Neither its effect is written nor its text: a base makes good what is missing.
#[test]
fn what_has_no_wording_is_lost_until_a_base_and_named() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, h ddl_history)");
    wait_until("the base is made", || c.bases().len() == 2);
    let flags = c.chain_directory().join("flags.jsonl");
    let flags = std::fs::read_to_string(flags).expect("there are some");
    let named = r#""class":"extension pg_incrbackup","#;
    assert!(
        flags.contains(named) && flags.contains("public.t"),
        "{flags}"
    );
    assert!(!c.stream().contains("EXECUTE"), "{}", c.stream());
}

#[test]
fn what_is_changed_comes_back_without_a_text_or_a_flag() {
    let c = Cluster::backed_up();
    c.sql(CHANGES);
    c.assert_restores();
    let of_effects = comments(&c, "effect").len();
    assert!(of_effects > 60, "{of_effects}");
    let mut other = comments(&c, "flag");
    other.extend(comments(&c, "ddl"));
    assert_eq!(other, [""; 0]);
}

/// Statements between whose catalogs and whose rows others stand, or that make anew what they do not name.
const REMAKING: &str = "
    CREATE TABLE itest (a int); INSERT INTO itest VALUES (1), (2);
    ALTER TABLE itest ADD COLUMN c int GENERATED BY DEFAULT AS IDENTITY; ALTER TABLE itest ADD COLUMN d serial;
    CREATE TABLE dp (id bigint, val bigint) PARTITION BY LIST (id); CREATE TABLE dp1 PARTITION OF dp FOR VALUES IN (1);
    CREATE INDEX ti1 ON dp (val); CREATE INDEX ti2 ON dp (val) INCLUDE (id); INSERT INTO dp VALUES (1, 2);
    ALTER TABLE dp ALTER val TYPE bigint;
    CREATE TABLE pk (p1 int PRIMARY KEY); CREATE TABLE fk (f1 int REFERENCES pk, y int);
    INSERT INTO pk VALUES (1), (2); INSERT INTO fk VALUES (1), (2);
    ALTER TABLE pk ALTER p1 TYPE bigint; ALTER TABLE fk ALTER f1 TYPE bigint;
    CREATE TABLE fkp (a int, b int REFERENCES pk) PARTITION BY LIST (a);
    CREATE TABLE fkp1 PARTITION OF fkp FOR VALUES IN (1); INSERT INTO fkp VALUES (1, 1);
    ALTER TABLE pk ALTER p1 TYPE int; ALTER TABLE fkp ALTER b TYPE bigint;
    CREATE TABLE ix (f1 int); INSERT INTO ix VALUES (1); CREATE UNIQUE INDEX ixi ON ix (f1);
    ALTER TABLE ix ALTER f1 TYPE bigint, ADD PRIMARY KEY USING INDEX ixi;
    CREATE TABLE whole (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE INDEX ON whole ((a + 1));
    CREATE TABLE part (a int NOT NULL) PARTITION BY RANGE (a);
    CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (1) TO (10);
    ALTER TABLE whole ATTACH PARTITION part FOR VALUES FROM (1) TO (100);
    CREATE FOREIGN DATA WRAPPER dummy; CREATE SERVER s0 FOREIGN DATA WRAPPER dummy;
    CREATE TABLE above (c1 int); CREATE FOREIGN TABLE below () INHERITS (above) SERVER s0;
    ALTER TABLE above ALTER c1 TYPE text; ALTER TABLE above ALTER c1 TYPE varchar(10);
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public; CREATE TYPE shell;
    CREATE VIEW v2 AS SELECT 1 AS a; CREATE VIEW v3 AS SELECT * FROM v2; CREATE OR REPLACE VIEW v2 AS SELECT * FROM v3;
    DROP VIEW v3 CASCADE;
    CREATE FUNCTION f1(IN i int, OUT j int) LANGUAGE plpgsql AS 'BEGIN j := i + 1; END';
    CREATE OR REPLACE FUNCTION f1(INOUT i int) LANGUAGE plpgsql AS 'BEGIN i := i + 1; END';
    CREATE SCHEMA elsewhere; CREATE TYPE r AS RANGE (subtype = int4, multirange_type_name = elsewhere.mr);
    CREATE TYPE row AS (a int, b text); CREATE TABLE typed OF row; INSERT INTO typed VALUES (1, 'x');
    ALTER TYPE row ADD ATTRIBUTE c text CASCADE; ALTER TYPE row RENAME ATTRIBUTE a TO aa CASCADE;
    ALTER TYPE row DROP ATTRIBUTE b CASCADE; UPDATE typed SET c = 'y';
    CREATE TABLE merged (a int) PARTITION BY LIST (a);
    CREATE TABLE merged1 PARTITION OF merged (CONSTRAINT chk CHECK (a > 0)) FOR VALUES IN (1);
    ALTER TABLE merged ADD CONSTRAINT chk CHECK (a > 0);
    CREATE TEMP TABLE users (a int); CREATE FUNCTION get_users() RETURNS SETOF users LANGUAGE sql AS 'SELECT 1';
    CREATE DOMAIN users_d AS users[]; CREATE FUNCTION over_d(users_d) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE STATISTICS pg_temp.st ON id, val FROM dp;";

#[test]
fn what_a_statement_makes_anew_comes_back_as_it_was() {
    let c = Cluster::backed_up();
    c.sql(REMAKING);
    wait_until("the session's own are gone", || {
        c.sql("SELECT count(*) FROM pg_proc WHERE proname IN ('get_users', 'over_d')") == "0"
    });
    c.assert_restores();
    for kind in ["ddl", "unhandled", "flag"] {
        let found = comments(&c, kind);
        let rewrites = |comment: &&String| !comment.contains("command=REWRITE");
        let found: Vec<&String> = found.iter().filter(rewrites).collect();
        assert!(found.is_empty(), "{kind}: {found:?}");
    }
}

/// It shows only behind their rows that such tables were rewritten.
#[test]
fn rows_of_a_table_that_becomes_logged_stay() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE UNLOGGED TABLE t (a int, b text); INSERT INTO t VALUES (1, '1'), (2, '2');
         ALTER TABLE t SET LOGGED; INSERT INTO t VALUES (3);
         CREATE UNLOGGED TABLE u (a int PRIMARY KEY, b text); INSERT INTO u VALUES (1, '1');
         ALTER TABLE u SET LOGGED, ALTER COLUMN b TYPE int USING b::int + 1;
         BEGIN; CREATE UNLOGGED TABLE v (a int); INSERT INTO v VALUES (1); ALTER TABLE v SET LOGGED;
         ALTER TABLE v ALTER a TYPE bigint; INSERT INTO v VALUES (2); ALTER TABLE v ALTER a TYPE text; COMMIT",
    );
    c.assert_restores();
}

/// Found by the random tester (seed 31337 on 18): no rows come of an unlogged table that is rewritten, though some may
/// have come of it before in the same transaction.
#[test]
fn an_unlogged_table_that_is_rewritten_comes_back() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1), (2, 1); ALTER TABLE t SET UNLOGGED");
    c.sql("ALTER TABLE t ADD c bigint GENERATED ALWAYS AS IDENTITY");
    c.sql("UPDATE t SET b = a; ALTER TABLE t ADD UNIQUE (b), ADD CHECK (a > 2 OR b = a)");
    c.sql("ALTER TABLE t ALTER b SET NOT NULL, ADD d uuid NOT NULL DEFAULT gen_random_uuid()");
    c.sql("INSERT INTO t VALUES (3, 4); ALTER TABLE t SET LOGGED; INSERT INTO t VALUES (5, 6)");
    c.sql(
        "CREATE TABLE u (a int PRIMARY KEY, b int); INSERT INTO u VALUES (1, 1), (2, 1); CREATE TABLE w (a int PRIMARY KEY);
         BEGIN; ALTER TABLE u ADD g int GENERATED ALWAYS AS (a + 1) STORED; DELETE FROM u WHERE a = 9; ALTER TABLE u SET UNLOGGED; INSERT INTO w VALUES (1); ALTER TABLE u ADD c bigint GENERATED ALWAYS AS IDENTITY; INSERT INTO w VALUES (2); COMMIT",
    );
    c.assert_restores();
    assert_eq!(comments(&c, "flag"), [""; 0]);
}

/// Words about what is no object of its own.
#[test]
fn a_comment_on_a_domains_constraint_comes_back() {
    let c = Cluster::backed_up();
    c.sql("CREATE DOMAIN d AS int CONSTRAINT c CHECK (VALUE > 0)");
    c.sql("COMMENT ON CONSTRAINT c ON DOMAIN d IS 'c'");
    c.sql(
        "BEGIN; ALTER DOMAIN d ADD CONSTRAINT e CHECK (VALUE > 1); CREATE TABLE t (a int PRIMARY KEY);
         INSERT INTO t VALUES (1); COMMENT ON CONSTRAINT e ON DOMAIN d IS 'e'; COMMIT",
    );
    if c.version() >= 18 {
        c.sql("CREATE TABLE n (a int PRIMARY KEY, b int CONSTRAINT nn NOT NULL)");
        c.sql("COMMENT ON CONSTRAINT nn ON n IS 'nn'");
    }
    c.assert_restores();
    let none: [String; 0] = [];
    assert_eq!(comments(&c, "ddl"), none);
}

/// Columns whose rows come again, and which are made by what stands elsewhere: a sequence, a type.
#[test]
fn rows_come_again_behind_an_identity_and_a_type() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE row AS (a int, b text); CREATE TABLE typed OF row; INSERT INTO typed VALUES (1, 'x'), (2, 'y');
         ALTER TYPE row ALTER ATTRIBUTE a TYPE text CASCADE; INSERT INTO typed VALUES ('z');
         CREATE MATERIALIZED VIEW m AS SELECT a FROM typed; INSERT INTO typed VALUES ('later');
         VACUUM FULL m; CREATE MATERIALIZED VIEW n AS SELECT a FROM typed; INSERT INTO typed VALUES ('last');
         REFRESH MATERIALIZED VIEW n; CREATE MATERIALIZED VIEW o AS SELECT 1 AS a WITH NO DATA;
         REFRESH MATERIALIZED VIEW o; CREATE MATERIALIZED VIEW q AS SELECT 1 AS a; REFRESH MATERIALIZED VIEW q WITH NO DATA",
    );
    if c.version() >= 17 {
        c.sql(
            "CREATE TABLE p (f1 int NOT NULL, f2 text) PARTITION BY RANGE (f1);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p DEFAULT;
             INSERT INTO p VALUES (1, 'one'), (20, 'twenty');
             ALTER TABLE p ADD COLUMN f3 int GENERATED ALWAYS AS IDENTITY; INSERT INTO p VALUES (2, 'two')",
        );
    }
    c.assert_restores();
    let mut text = comments(&c, "ddl");
    text.retain(|comment| !comment.contains("command=REWRITE "));
    assert_eq!(text, [""; 0]);
}

#[test]
fn a_subscription_comes_and_goes_as_an_effect() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
         CREATE SUBSCRIPTION t CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
         ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s",
    );
    // Who owns it may have been a superuser then.
    c.sql(
        "CREATE ROLE boss SUPERUSER; ALTER SUBSCRIPTION t OWNER TO boss;
         ALTER SUBSCRIPTION t CONNECTION 'dbname=elsewhere'",
    );
    c.sql("ALTER ROLE boss NOSUPERUSER");
    c.assert_restores();
    for kind in ["ddl", "unhandled"] {
        let none: [String; 0] = [];
        assert_eq!(comments(&c, kind), none, "{kind}");
    }
}
