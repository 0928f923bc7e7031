//! "One index could not be made, and nine hours of restoring were for nothing." What rows do not depend on is made at the
//! end, and what fails then is listed with its SQL.

use harness::{wait_until, Cluster};

use crate::program_restore::restore;

/// The lines of the list of what could not be made.
fn listed(said: &str) -> Vec<&str> {
    let lines = said
        .lines()
        .skip_while(|line| !line.starts_with("could not be made"));
    lines
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .collect()
}

#[test]
fn what_cannot_be_made_stops_nothing_and_is_made_at_the_end_or_listed() {
    let c = Cluster::builder().start();
    c.sql_in("postgres", "ALTER DATABASE app SET app.number = '1'");
    c.sql(
        "CREATE FUNCTION needs(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN RETURN current_setting('app.number')::int + $1; END $$;
         CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
         CREATE INDEX in_base ON t (needs(a)); COMMENT ON INDEX in_base IS 'it''s a comment';
         ALTER TABLE t CLUSTER ON in_base;
         CREATE MATERIALIZED VIEW filled AS SELECT 1 AS one;
         CREATE FUNCTION reads(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT one / $1 FROM public.filled';
         CREATE FUNCTION reads_it(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN IF public.reads($1) IS NULL THEN RAISE 'nothing there'; END IF; RETURN 1; END $$;
         CREATE INDEX late ON t (reads_it(b)); COMMENT ON INDEX late IS 'late';
         CREATE TABLE parent (a int PRIMARY KEY); CREATE TABLE child (a int REFERENCES parent);
         SET session_replication_role = replica; INSERT INTO child VALUES (7); RESET session_replication_role",
    );
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql("CREATE INDEX in_changes ON t (needs(b)); COMMENT ON INDEX in_changes IS 'x'; ALTER INDEX in_changes RENAME TO renamed");
    c.sql("ALTER TABLE t ADD CONSTRAINT apart EXCLUDE USING btree (needs(a) WITH =)");
    c.sql("CREATE INDEX passing ON t (needs(a)); COMMENT ON INDEX passing IS 'x'");
    c.sql(
        "CREATE TABLE gone (a int); INSERT INTO gone VALUES (1); CREATE INDEX ON gone (needs(a))",
    );
    c.sql("CREATE SCHEMA other; ALTER TABLE t RENAME TO t2; ALTER TABLE t2 SET SCHEMA other");
    c.sql("DROP INDEX other.passing; DROP TABLE gone");
    c.sql("UPDATE other.t2 SET b = b + 1 WHERE a <= 50; DELETE FROM other.t2 WHERE a > 90; ALTER TABLE other.t2 ADD c int DEFAULT 5");
    c.flush();
    let (status, said) = restore(&c, "deferred", &[]);
    assert_eq!(status, 1, "{said}");
    let lines = listed(&said).join("\n");
    for expected in [
        "INDEX public.in_base (",
        "CREATE INDEX \"in_base\" ON other.t2",
        "COMMENT ON INDEX other.\"in_base\"",
        "create index ",
        "CREATE INDEX in_changes ON",
        "create constraint ",
        "EXCLUDE USING btree (public.needs(a) WITH =)",
        "rename index",
    ] {
        assert!(lines.contains(expected), "{expected}: {said}");
    }
    for other in ["passing", "gone", "late", "child"] {
        assert!(!lines.contains(other), "{other}: {said}");
    }
    let rows = "SELECT count(*), sum(b), sum(c) FROM other.t2";
    assert_eq!(c.sql_in("deferred", rows), c.sql(rows));
    let late = "SELECT indexrelid::regclass, obj_description(indexrelid) FROM pg_index WHERE indrelid = 'other.t2'::regclass ORDER BY 1";
    assert_eq!(c.sql_in("deferred", late), "other.t_pkey|\nother.late|late");
    let key = "SELECT convalidated FROM pg_constraint WHERE conrelid = 'child'::regclass AND contype = 'f'";
    assert_eq!(c.sql_in("deferred", key), "t");
    // What is listed is all that is needed.
    let (status, said) = restore(&c, "as_json", &["--json"]);
    assert_eq!(status, 1, "{said}");
    let answer = said.lines().find(|line| line.contains("\"failed\":[{"));
    let answer = answer.unwrap_or_else(|| panic!("nothing failed: {said}"));
    let answer: serde_json::Value = serde_json::from_str(answer).expect("it is JSON");
    c.sql_in("postgres", "ALTER DATABASE as_json SET app.number = '1'");
    for item in answer["failed"].as_array().expect("it is a list") {
        c.sql_in("as_json", item["sql"].as_str().expect("it is text"));
    }
    let indexes = "SELECT count(*), count(obj_description(indexrelid)) FROM pg_index WHERE indrelid = 'other.t2'::regclass";
    assert_eq!(c.sql_in("as_json", indexes), c.sql(indexes));
    let (status, said) = restore(&c, "stopped", &["--on-error", "stop"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("INDEX public.in_base: "), "{said}");
    assert_eq!(
        c.sql_in("stopped.restoring", "SELECT count(*) FROM t"),
        "100"
    );
}

/// Rows in every way in which they come and go.
const COMING_AND_GOING: &str = "
    INSERT INTO parts SELECT i % 3, i FROM generate_series(1, 300) i; DELETE FROM parts WHERE b < 100; UPDATE parts SET a = 0 WHERE a = 1;
    INSERT INTO by_enum SELECT 'a', i FROM generate_series(1, 20) i; INSERT INTO by_enum SELECT 'b', i FROM generate_series(1, 30) i;
    DELETE FROM by_enum WHERE n > 25; INSERT INTO child SELECT i FROM generate_series(1, 50) i;
    CREATE TABLE made AS SELECT i AS a FROM generate_series(1, 70) i; ALTER TABLE made ALTER a TYPE bigint;
    CREATE UNLOGGED TABLE light (a int); INSERT INTO light SELECT generate_series(1, 9); ALTER TABLE light SET LOGGED;
    INSERT INTO emptied SELECT i, i FROM generate_series(1, 40) i; INSERT INTO referring SELECT i FROM generate_series(1, 40) i;
    TRUNCATE emptied CASCADE; INSERT INTO emptied VALUES (1, 1), (2, 2); TRUNCATE parts_0;
    ALTER TABLE made RENAME TO renamed; INSERT INTO renamed VALUES (71); DELETE FROM ONLY renamed WHERE a < 3;
    ALTER TABLE parts DETACH PARTITION parts_1; INSERT INTO parts_1 VALUES (1, 1000); CREATE SCHEMA apart; ALTER TABLE parts_1 SET SCHEMA apart;
    CREATE TABLE dropped (a int); INSERT INTO dropped VALUES (1); DROP TABLE dropped; CREATE TABLE dropped (a int);
    INSERT INTO \"Odd \"\"; name\" SELECT i FROM generate_series(1, 33) i; DELETE FROM \"Odd \"\"; name\" WHERE a = 7;
    CREATE MATERIALIZED VIEW counted AS SELECT * FROM emptied";

#[test]
fn every_table_has_as_many_rows_as_the_files_say_or_is_named() {
    let c = Cluster::builder().start();
    c.sql(
        "CREATE TABLE parts (a int, b int) PARTITION BY LIST (a); CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1, 2); INSERT INTO parts SELECT i % 2, i FROM generate_series(1, 10) i;
         CREATE TYPE letter AS ENUM ('a', 'b'); CREATE TABLE by_enum (l letter, n int) PARTITION BY HASH (l);
         CREATE TABLE by_enum_0 PARTITION OF by_enum FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE by_enum_1 PARTITION OF by_enum FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO by_enum VALUES ('a', 0), ('b', 0); CREATE TABLE mother (a int); CREATE TABLE child () INHERITS (mother);
         INSERT INTO mother VALUES (1), (2); INSERT INTO child VALUES (1); CREATE TABLE emptied (a int PRIMARY KEY, b int);
         CREATE TABLE referring (a int REFERENCES emptied); CREATE TABLE \"Odd \"\"; name\" (a int); INSERT INTO emptied VALUES (100)",
    );
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    for statement in COMING_AND_GOING.split(";\n    ") {
        c.sql(statement);
    }
    c.flush();
    let (status, said) = restore(&c, "counted", &[]);
    assert_eq!(status, 0, "{said}");
    let count = "CREATE FUNCTION pg_temp.rows(t regclass) RETURNS bigint LANGUAGE plpgsql AS
            'DECLARE n bigint; BEGIN EXECUTE format(''SELECT count(*) FROM ONLY %s'', t) INTO n; RETURN n; END';
         SELECT sum(pg_temp.rows(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|inf)'";
    let rows = c.sql_in("counted", count);
    // The two partitions by hash are one table with their root.
    let tables = "SELECT count(*) - 1 FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|inf)'";
    let tables = c.sql_in("counted", tables);
    assert!(
        said.contains(&format!(
            "rows      {tables} tables, {rows} rows, as the files say"
        )),
        "{tables}, {rows}: {said}"
    );
    let (status, said) = restore(&c, "uncounted", &["--no-count"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("not compared with the files: --no-count"),
        "{said}"
    );
    // Somewhere else, making an index takes a row away.
    c.sql(
        "CREATE FUNCTION takes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF current_database() <> 'app' THEN DELETE FROM public.mother WHERE a = 2; END IF; END $$;
         CREATE FUNCTION looks(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.takes(); RETURN $1; END $$;
         CREATE INDEX ON emptied (looks(a))",
    );
    c.flush();
    let (status, said) = restore(&c, "differs", &[]);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("public.mother has 1 rows, and 2 by the files"),
        "{said}"
    );
}

#[test]
fn a_busy_source_is_compared_as_it_was_at_one_moment() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE busy (a bigserial PRIMARY KEY, b text, t timestamptz DEFAULT now(), f float8 DEFAULT random());
         CREATE TABLE \"It's \"\"odd\" (a int, g int GENERATED ALWAYS AS (a * 2) STORED, i interval, x bytea);
         INSERT INTO \"It's \"\"odd\" (a, i, x) VALUES (1, '1 year 2 days', '\\x00ff'), (NULL, NULL, NULL);
         CREATE TABLE parts (a int) PARTITION BY LIST (a); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
         INSERT INTO parts SELECT 1 FROM generate_series(1, 10); SELECT lo_from_bytea(0, 'large')",
    );
    // Sessions that never stop, and one transaction that is open all the time.
    let mut open = c.session();
    open.run("BEGIN; INSERT INTO busy (b) VALUES ('open')");
    let mut busy: Vec<_> = (0..3).map(|_| c.session()).collect();
    for session in &mut busy {
        session.send(
            "DO $$ BEGIN FOR i IN 1 .. 200000 LOOP INSERT INTO busy (b) VALUES (i); UPDATE busy SET b = b || '.' WHERE a = i;
             COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$",
        );
    }
    wait_until("there is something", || {
        c.is_true("SELECT count(*) > 300 FROM busy")
    });
    let source = c.conninfo("app");
    for name in ["first", "second", "third"] {
        let (status, said) = restore(&c, name, &["--compare", &source]);
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("source    3 tables, "), "{said}");
    }
    drop(busy);
    drop(open);
    // Not of this database, or not of this moment.
    c.sql_in("postgres", "CREATE DATABASE other");
    let (status, said) = restore(&c, "never", &["--compare", &c.conninfo("other")]);
    assert_eq!(status, 2, "{said}");
    let (status, said) = restore(&c, "never", &["--compare", &source, "--until-xid", "1000"]);
    assert_eq!(status, 2, "{said}");
    c.sql(
        "CREATE FUNCTION refuse(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN current_database() = 'app' OR $1 < 10; END $$;
         CREATE TABLE guarded (a int CHECK (refuse(a))); INSERT INTO guarded VALUES (1), (11); CREATE TABLE mother (a int);
         INSERT INTO mother VALUES (1), (2), (3); CREATE FUNCTION takes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF current_database() <> 'app' THEN UPDATE public.mother SET a = 7 WHERE a = 2; END IF; END $$;
         CREATE FUNCTION looks(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.takes(); RETURN $1; END $$;
         CREATE INDEX ON guarded (looks(a))",
    );
    let (status, said) = restore(&c, "differs", &["--compare", &source]);
    assert_eq!(status, 1, "{said}");
    // A run that goes on compares with what the first one has read.
    c.sql("INSERT INTO mother VALUES (4)");
    c.sql_in(
        "differs.restoring",
        "CREATE OR REPLACE FUNCTION refuse(int) RETURNS bool LANGUAGE sql AS 'SELECT true'",
    );
    let (status, said) = restore(&c, "differs", &["--compare", &source]);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("differs from the source:\n    public.mother: 3 rows with the checksum "),
        "{said}"
    );
    assert!(!said.contains("public.busy:"), "{said}");
}
