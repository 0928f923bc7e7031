//! "It came back otherwise than it was made." Schema changes travel as what they did to the catalogs; what is
//! not understood travels as its text, and is counted.

use harness::Cluster;

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

fn comments(c: &Cluster, kind: &str) -> Vec<String> {
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

#[test]
fn what_is_not_understood_travels_as_its_text_and_is_counted_by_class() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b pg_lsn DEFAULT incr_flush())");
    c.sql("INSERT INTO t VALUES (1, '0/1')");
    c.flush();
    let restored = c.restore(&[]).database;
    assert_eq!(c.sql_in(&restored, "SELECT * FROM t"), "1|0/1");
    let class = "class=extension%20pg_incrbackup";
    let unhandled = comments(&c, "unhandled");
    assert_eq!(unhandled, [format!("{class} command=CREATE%20TABLE")]);
    let health = c.health();
    assert!(
        health.contains("of these classes travel as text: extension pg_incrbackup 1"),
        "{health}"
    );
    assert!(
        health.starts_with("ok|"),
        "it is no reason for a warning: {health}"
    );
}

#[test]
fn both_ways_give_the_same_database() {
    let text = Cluster::builder().with_failpoints().back_up();
    text.set_seconds(0, "EIO 1 effects: word a statement\n");
    let by_effects = Cluster::backed_up();
    for c in [&by_effects, &text] {
        c.sql(CHANGES);
        c.assert_restores();
    }
    let by_words = comments(&text, "ddl").len();
    assert_eq!(comments(&text, "effect").len(), 0);
    assert!(by_words > 40, "{by_words} statements travelled as text");
    let of_effects = comments(&by_effects, "effect").len();
    assert!(of_effects > 60, "{of_effects}");
    let mut other = comments(&by_effects, "flag");
    other.extend(comments(&by_effects, "ddl"));
    // The rows of a rewrite take the place of the old ones.
    other.retain(|comment| !comment.contains("command=REWRITE "));
    assert_eq!(other, [""; 0]);
}
