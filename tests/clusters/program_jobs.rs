//! "I gave it four sessions, and now a row is missing, or two of them waited for each other for ever."

use harness::{assert_identical, Cluster};

use crate::program_restore::restore;
use crate::program_resume::{with_kills, MENDED};

/// Objects of many classes, with names that are no fun.
const OBJECTS: &str = include_str!("program_base.sql");

/// More rows and indexes than sessions, keys that refer to each other, and what pg_dump writes between them.
const MANY: &str = "
    DO $$ BEGIN FOR i IN 1 .. 12 LOOP
        EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, other int, b text DEFAULT %L)', i, 'x');
        EXECUTE format('INSERT INTO many_%s SELECT n, n %% 7 + 1, repeat(md5(n::text), 3) FROM generate_series(1, %s) n', i, 400 * i);
        EXECUTE format('CREATE INDEX ON many_%s (other); CREATE UNIQUE INDEX many_%s_b ON many_%s (b, id)', i, i, i);
        EXECUTE format('COMMENT ON INDEX many_%s_b IS %L', i, 'of ' || i);
    END LOOP;
    FOR i IN 1 .. 12 LOOP
        EXECUTE format('ALTER TABLE many_%s ADD FOREIGN KEY (other) REFERENCES many_%s', i, i % 12 + 1);
        EXECUTE format('ALTER TABLE many_%s ADD CONSTRAINT again FOREIGN KEY (id) REFERENCES many_%s', i, greatest(i, 12));
    END LOOP; END $$;
    CREATE TABLE divided (a int, b text, PRIMARY KEY (a)) PARTITION BY RANGE (a);
    CREATE TABLE divided_1 PARTITION OF divided FOR VALUES FROM (0) TO (500);
    CREATE TABLE divided_2 PARTITION OF divided FOR VALUES FROM (500) TO (1000);
    CREATE INDEX ON divided (b); INSERT INTO divided SELECT i, i::text FROM generate_series(0, 999) i;
    CREATE TABLE clustered (a int PRIMARY KEY, b int); CREATE UNIQUE INDEX clustered_b ON clustered (b);
    ALTER TABLE clustered CLUSTER ON clustered_pkey, ALTER b SET NOT NULL;
    ALTER TABLE clustered REPLICA IDENTITY USING INDEX clustered_b; INSERT INTO clustered VALUES (1, 2), (2, 1);
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM divided; CREATE UNIQUE INDEX ON counted (count);
    SELECT lo_from_bytea(900000 + i, decode(repeat(md5(i::text), 200), 'hex')) FROM generate_series(1, 5) i";

fn with_base(format: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    c.sql(OBJECTS);
    c.sql(MANY);
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c
}

#[test]
fn a_base_of_either_format_is_the_same_by_four_sessions() {
    for format in ["plain", "compressed", "directory"] {
        let c = with_base(format);
        let restored = c.restore_by_program(&c, &["--jobs", "4"]);
        assert_identical((&c, c.database()), (&c, &restored.database));
    }
}

/// A large table, and a small one whose indexes are made while the large one is loaded, unless they read it.
const EARLY: &str = "
    SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION '';
    CREATE TABLE rates (code int PRIMARY KEY, rate int, padding text);
    INSERT INTO rates SELECT i, i, repeat('x', 300) FROM generate_series(1, 200000) i;
    CREATE FUNCTION rate(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT rate FROM public.rates WHERE code = $1';
    CREATE FUNCTION picky(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
        IF current_database() <> 'app' THEN RAISE 'not here'; END IF; RETURN $1; END $$;
    CREATE TABLE small (id int, code int); INSERT INTO small SELECT i, i FROM generate_series(1, 100) i;
    CREATE INDEX apart_1 ON small (id) TABLESPACE apart; CREATE INDEX apart_2 ON small (picky(id)) TABLESPACE apart;
    CREATE INDEX by_rate ON small (rate(code))";

#[test]
fn an_index_that_waits_for_no_rows_of_others_is_made_before_them() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", "'directory'")
        .setting("track_commit_timestamp", "on")
        .start();
    c.sql(EARLY);
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    let (status, said) = restore(&c, "early", &["--jobs", "2", "--on-error", "stop"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("not here"), "{said}");
    let is_before = "SELECT pg_xact_commit_timestamp(i.xmin) < pg_xact_commit_timestamp(r.xmin) \
        FROM pg_class i, (SELECT xmin FROM rates LIMIT 1) r WHERE relname = 'apart_1'";
    assert_eq!(c.sql_in("early.restoring", is_before), "t");
    c.sql_in(
        "early.restoring",
        "CREATE OR REPLACE FUNCTION picky(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    );
    // The session that made the first index is gone, and with it what it had set.
    let (status, said) = restore(&c, "early", &["--on-error", "stop"]);
    assert_eq!(status, 0, "{said}");
    let places = "SELECT string_agg(relname || coalesce(' in ' || spcname, ''), ', ' ORDER BY relname) \
        FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = reltablespace WHERE relname IN ('apart_1', 'apart_2', 'by_rate')";
    assert_eq!(
        c.sql_in("early", places),
        "apart_1 in apart, apart_2 in apart, by_rate"
    );
    let by_index =
        "SET enable_seqscan = off; SELECT count(*) FROM small WHERE rate(code) BETWEEN 11 AND 20";
    assert_eq!(c.sql_in("early", by_index), "10");
}

/// What the base has of the tables that change.
const TABLES: &str = "
    CREATE TABLE keyed (id int PRIMARY KEY, n int, b text); INSERT INTO keyed SELECT i, 0, 'x' FROM generate_series(1, 2000) i;
    CREATE INDEX ON keyed (n); CREATE TABLE words (w text PRIMARY KEY, n int);
    CREATE TABLE two (a int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, d int UNIQUE);
    INSERT INTO two SELECT i, i, i FROM generate_series(1, 20) i;
    CREATE TABLE later (a int PRIMARY KEY, u int); INSERT INTO later SELECT i, i FROM generate_series(1, 300) i;
    CREATE TABLE pairs (a uuid, d date, n int, PRIMARY KEY (a, d)); CREATE TABLE numbers (n numeric PRIMARY KEY, t int);
    CREATE TABLE keyless (a int, b text); CREATE TABLE excluded (r int4range, EXCLUDE USING gist (r WITH &&));
    CREATE TABLE parts (a int, t timestamptz, b text, PRIMARY KEY (a, t)) PARTITION BY RANGE (a);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (500); CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
    CREATE TABLE large (id int PRIMARY KEY, b text); CREATE TABLE emptied (id int PRIMARY KEY, b text);
    CREATE TABLE child (id int PRIMARY KEY, k int REFERENCES keyed DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE full_identity (id int PRIMARY KEY, b text); ALTER TABLE full_identity REPLICA IDENTITY FULL;
    CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text);
    CREATE SEQUENCE numbered;
    DO $$ BEGIN CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        EXCEPTION WHEN feature_not_supported THEN CREATE COLLATION any_case FROM \"C\"; END $$;
    CREATE TABLE folded (w text COLLATE any_case PRIMARY KEY, n int)";

/// Transactions that hurt sessions which divide them, in a loop.
const CHANGES: &str = r"
    DO $$ BEGIN FOR i IN 1 .. 150 LOOP
        UPDATE keyed SET n = n + 1 WHERE id BETWEEN i AND i + 20;
        IF i % 7 = 0 THEN
            UPDATE keyed SET id = -1 WHERE id = i; UPDATE keyed SET id = i WHERE id = i + 1; UPDATE keyed SET id = i + 1 WHERE id = -1;
        END IF;
        DELETE FROM keyed WHERE id = 2 * i + 100; INSERT INTO keyed VALUES (2 * i + 100, i, E'new\n\\' || i);
        INSERT INTO child VALUES (i, 2 * i + 100);
        INSERT INTO words VALUES (E'it''s\\' || i || E'\n\t\r', i), ('plain' || i, i); UPDATE words SET n = -n WHERE w LIKE E'%\\\\' || i || E'\n%';
        IF i > 20 THEN DELETE FROM words WHERE w = 'plain' || i - 20; INSERT INTO words VALUES ('plain' || i - 20, 0); END IF;
        UPDATE two SET u = u % 20 + 1, d = -d; UPDATE two SET d = -d; COMMIT;
        INSERT INTO pairs SELECT md5(n::text)::uuid, date '2026-01-01' + i, n FROM generate_series(1, 5) n;
        DELETE FROM pairs WHERE d = date '2026-01-01' + i - 3 AND n > 2;
        INSERT INTO numbers VALUES (i + 0.50, 1); UPDATE numbers SET n = n + 0.5 WHERE n = i + 0.5; INSERT INTO numbers VALUES (i + 0.5, 2);
        INSERT INTO keyless SELECT i % 9, 'same' FROM generate_series(1, 3); DELETE FROM keyless WHERE ctid = (SELECT ctid FROM keyless WHERE a = i % 5 LIMIT 1);
        UPDATE keyless SET b = b || '.' WHERE ctid = (SELECT ctid FROM keyless WHERE a = i % 4 LIMIT 1);
        INSERT INTO excluded VALUES (int4range(i, i + 1)); UPDATE excluded SET r = int4range(i + 1000, i + 1001) WHERE lower(r) = i;
        INSERT INTO excluded VALUES (int4range(i, i + 1)); DELETE FROM excluded WHERE lower(r) = i;
        INSERT INTO parts VALUES (i, timestamptz '2026-11-30 12:00Z' + i * interval '1 s', 'a'), (i + 600, '2026-11-30 12:00Z', 'b');
        IF i % 10 = 0 THEN UPDATE parts SET a = a + 550 WHERE a = i; END IF; COMMIT;
        INSERT INTO emptied VALUES (i, 'x'); PERFORM nextval('numbered');
        IF i % 20 = 0 THEN TRUNCATE emptied; INSERT INTO emptied VALUES (i, 'again'); END IF;
        INSERT INTO full_identity VALUES (i, 'x'); UPDATE full_identity SET b = 'y' WHERE id = i - 1; DELETE FROM full_identity WHERE id = i - 2;
        INSERT INTO always (b) VALUES ('x'); UPDATE always SET b = 'y' WHERE id = i - 1;
        INSERT INTO folded VALUES ('Word' || i, i); DELETE FROM folded WHERE w = 'word' || i; INSERT INTO folded VALUES ('WORD' || i, i);
        COMMIT;
    END LOOP; END $$";

/// Between two such loops: other keys, and what is no change of a row.
const BETWEEN: [&str; 7] = [
    "ALTER TABLE keyed ADD COLUMN c int DEFAULT 5; CREATE UNIQUE INDEX later_u ON later (u)",
    "DO $$ BEGIN FOR i IN 1 .. 100 LOOP
        UPDATE later SET u = -u WHERE a < 40; UPDATE later SET u = 40 + u WHERE a < 40; COMMIT; END LOOP; END $$",
    "DROP INDEX later_u; UPDATE later SET u = 1; INSERT INTO large SELECT i, repeat(md5(i::text), 40000) FROM generate_series(1, 6) i;
     UPDATE large SET b = b || 'end' WHERE id < 4; DELETE FROM large WHERE id = 2",
    "INSERT INTO keyed SELECT i, i, 'copied', 1 FROM generate_series(10001, 16000) i; CREATE TABLE made (a int PRIMARY KEY);
     INSERT INTO made SELECT generate_series(1, 3000); UPDATE keyed SET n = 3 WHERE id > 15000",
    "INSERT INTO words SELECT E'c\\o''p\ty\n' || i, i FROM generate_series(1, 4000) i",
    "DELETE FROM words WHERE n % 3 = 0 AND w LIKE 'c%'; INSERT INTO words SELECT E'c\\o''p\ty\n' || i, -i FROM generate_series(3, 3000, 3) i;
     SELECT incr_rotate(); TRUNCATE emptied, made; ALTER TABLE pairs ALTER n TYPE bigint; ALTER TABLE keyed ALTER id TYPE bigint",
    "DELETE FROM numbers; DELETE FROM excluded; DELETE FROM parts; DELETE FROM pairs; DELETE FROM child; DELETE FROM words;
     DELETE FROM full_identity; TRUNCATE folded; SELECT lo_from_bytea(910000, 'abc'), lo_put(910000, 1, 'x')",
];

/// Makes and changes the tables, with the archive from before the changes on.
fn change(c: &Cluster) {
    c.sql(TABLES);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql(CHANGES);
    BETWEEN
        .iter()
        .for_each(|statements| drop(c.sql(statements)));
    c.sql(CHANGES);
    c.flush();
}

#[test]
fn changes_by_several_sessions_are_the_same_as_by_one() {
    let c = Cluster::builder().start();
    change(&c);
    for jobs in ["1", "2", "5"] {
        let restored = c.restore_by_program(&c, &["--jobs", jobs]);
        assert_identical((&c, c.database()), (&c, &restored.database));
    }
}

#[test]
fn thirty_kills_of_several_sessions_lose_nothing_and_repeat_nothing() {
    let mut builder = Cluster::builder();
    if builder.installation().version == 18 {
        builder = builder.setting("pg_incrbackup.base_format", "'directory'");
    }
    let c = builder.start();
    c.sql(MANY);
    change(&c);
    let target = Cluster::builder().start();
    let seed = std::env::var("SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(20261130);
    // Another number of sessions waits until all are at the same place.
    let jobs: [&[&str]; 4] = [&["--jobs", "3"], &["--jobs", "3"], &["--jobs", "2"], &[]];
    with_kills(&c, &target, 30, seed, &jobs);
}

#[test]
fn a_moment_in_the_middle_and_an_error_are_told_from_each_other() {
    let c = Cluster::backed_up();
    c.sql(TABLES);
    c.sql(
        "CREATE TABLE copy_of (LIKE keyed); CREATE FUNCTION refuse(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
         RETURN current_database() = 'app' OR $1 < 150; END $$; CREATE TABLE guarded (a int PRIMARY KEY CHECK (refuse(a)))",
    );
    c.sql(
        "DO $$ BEGIN FOR i IN 1 .. 3000 LOOP UPDATE keyed SET n = n + 1 WHERE id IN (i % 1999 + 1, (7 * i) % 1999 + 1);
         INSERT INTO words VALUES ('w' || i, i); COMMIT; END LOOP; END $$",
    );
    let lsn = c.flush();
    c.sql("INSERT INTO copy_of SELECT * FROM keyed");
    c.sql("UPDATE keyed SET n = -1; INSERT INTO guarded SELECT generate_series(1, 200)");
    c.flush();
    let restored = c.restore_by_program(&c, &["--jobs", "4", "--until-lsn", &lsn]);
    let rows = "SELECT count(*), sum(n * id) FROM ";
    assert_eq!(
        c.sql_in(&restored.database, &format!("{rows} keyed")),
        c.sql(&format!("{rows} copy_of")),
    );
    // One of the last rows is refused, by one session.
    let (status, said) = restore(&c, "stopped", &["--jobs", "4"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("guarded"), "{said}");
    let is_told = [
        "It is as the source was after the commit at",
        "no state that the source had",
    ];
    assert!(is_told.iter().any(|told| said.contains(told)), "{said}");
    c.sql_in("stopped.restoring", MENDED);
    let (status, said) = restore(&c, "stopped", &["--jobs", "2"]);
    assert_eq!(status, 0, "{said}");
    let (status, said) = restore(&c, "part", &["--jobs", "2", "--table", "keyed"]);
    assert_eq!(status, 2, "{said}");
    c.sql("CREATE OR REPLACE FUNCTION refuse(int) RETURNS bool LANGUAGE sql AS 'SELECT true'");
    assert_identical((&c, c.database()), (&c, "stopped"));
}
