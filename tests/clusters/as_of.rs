//! "What did my table look like at half past two?" Its rows as of a moment by SQL: whose they are, what became of its columns,
//! and what is left when the query is cancelled.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{wait_until, Cluster};

/// The rows of a query of `incr_as_of(NULL::table, moment)`.
fn as_of(c: &Cluster, table: &str, moment: &str) -> String {
    c.sql(&format!(
        "SET client_min_messages = warning; SELECT * FROM incr_as_of(NULL::{table}, '{moment}') ORDER BY 1"
    ))
}

#[test]
fn rows_are_those_of_the_moment() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE TABLE t (id int PRIMARY KEY, gone text, n numeric(10,2), at timestamp(3) with time zone DEFAULT now(), v varchar(20),
           bits bit(3), a int[], m mood, p positive, j jsonb, i interval, y bytea, r int4range, \"Odd Name\" text COLLATE \"C\",
           g int GENERATED ALWAYS AS (id * 10) STORED);
         INSERT INTO t (id, gone, n, v, bits, a, m, p, j, i, y, r, \"Odd Name\")
           SELECT x, 'gone', x / 2.0, E'a\\tb\\\\\\n', B'101', '{1,NULL}', 'sad', x, '{\"a\": 1}', '1 day', '\\x00ff', '[1,2)', '\\N'
           FROM generate_series(1, 5) x; INSERT INTO t (id) VALUES (6);
         CREATE TABLE saved AS TABLE t; ALTER TABLE saved DROP gone",
    );
    let moment = c.flush();
    c.sql(
        "UPDATE t SET n = 99, m = 'happy' WHERE id < 3; DELETE FROM t WHERE id > 4; ALTER TABLE t DROP gone;
         ALTER TABLE t RENAME n TO amount; ALTER TABLE t RENAME TO renamed; ALTER TABLE renamed ADD added text DEFAULT 'new'",
    );
    c.flush();
    let rows = "(SELECT id, amount, at, v, bits, a, m, p, j, i, y, r, \"Odd Name\", g, added FROM incr_as_of(NULL::renamed, '{}'))";
    let rows = rows.replace("{}", &moment);
    let differences = c.sql(&format!(
        "SET client_min_messages = warning; SELECT count(*) FROM ({rows} EXCEPT SELECT *, NULL::text FROM saved) d;
         SELECT count(*) FROM (SELECT *, NULL::text FROM saved EXCEPT {rows}) d"
    ));
    assert_eq!(differences, "0\n0");
    let mut session = c.session();
    let output = session.run(&format!(
        "SELECT (incr_as_of(NULL::renamed, '{moment}')).id LIMIT 1"
    ));
    assert!(
        output.contains("columns that were dropped since then are left out: gone")
            && output.contains('1'),
        "{output}"
    );
    let twice = format!(
        "SET client_min_messages = warning; SELECT count(*) FROM incr_as_of(NULL::renamed, '{moment}') a JOIN incr_as_of(NULL::renamed, ' {moment} ') b USING (id)"
    );
    assert_eq!(c.sql(&twice), "6");
    // A time is read with the session's settings.
    let by_time = "SET client_min_messages = warning; SET timezone = 'Asia/Tokyo';
         SELECT count(*) FROM incr_as_of(NULL::renamed, (SELECT last_commit_at FROM incr_slot_health())::text)";
    assert_eq!(c.sql(by_time), "4");

    // Another table of the name has none of its rows; one of the same row type in another database neither.
    c.sql("DROP TABLE renamed; CREATE TABLE renamed (id int PRIMARY KEY); INSERT INTO renamed VALUES (77)");
    let later = c.flush();
    c.sql_error(&format!(
        "SELECT * FROM incr_as_of(NULL::renamed, '{moment}')"
    ));
    assert_eq!(as_of(&c, "renamed", &later), "77");

    // Partitions come along, children by inheritance do not.
    c.sql(
        "CREATE TABLE tree (id int PRIMARY KEY, x text, d int GENERATED ALWAYS AS (id + 1) STORED) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF tree FOR VALUES FROM (0) TO (10);
         CREATE TABLE high (d int GENERATED ALWAYS AS (id + 1) STORED, x text, id int NOT NULL);
         ALTER TABLE tree ATTACH PARTITION high FOR VALUES FROM (10) TO (20);
         INSERT INTO tree VALUES (1, 'a'), (11, 'b'); CREATE TABLE child () INHERITS (renamed); INSERT INTO child VALUES (78)",
    );
    let moment = c.flush();
    c.sql("UPDATE tree SET id = 12 WHERE id = 1; DELETE FROM child");
    c.flush();
    assert_eq!(as_of(&c, "tree", &moment), "1|a|2\n11|b|12");
    assert_eq!(as_of(&c, "high", &moment), "12|b|11");
    assert_eq!(as_of(&c, "renamed", &moment), "77");
    if c.version() >= 18 {
        c.sql("CREATE TABLE virtual (a int PRIMARY KEY, v int GENERATED ALWAYS AS (a * 2)); INSERT INTO virtual VALUES (4)");
        let moment = c.flush();
        assert_eq!(as_of(&c, "virtual", &moment), "4|8");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_reason() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a) STORED); INSERT INTO t VALUES (1, 1);
         CREATE VIEW v AS TABLE t; CREATE TYPE pair AS (a int); CREATE UNLOGGED TABLE u (a int); CREATE DOMAIN rows AS t;
         CREATE MATERIALIZED VIEW m AS TABLE t",
    );
    let moment = c.flush();
    for (argument, sqlstate) in [
        ("NULL::v", "42809"),
        ("NULL::m", "42809"),
        ("NULL::pair", "42809"),
        ("NULL::u", "42809"),
        ("NULL::rows", "42809"),
        ("1", "42809"),
        ("NULL::pg_class", "42809"),
    ] {
        let error = c.sql_error(&format!("SELECT incr_as_of({argument}, '{moment}')"));
        assert_eq!(error.sqlstate, sqlstate, "{argument}: {error}");
    }
    for (text, sqlstate) in [
        ("'nonsense'", "22007"),
        ("NULL", "22004"),
        ("'infinity'", "22007"),
        ("'2026-11-21 BC'", "22007"),
        ("'1 day ago'", "55000"),
        ("'FFFFFFFF/0'", "55000"),
        ("(now() + interval '1 hour')::text", "55000"),
    ] {
        let error = c.sql_error(&format!("SELECT incr_as_of(NULL::t, {text})"));
        assert_eq!(error.sqlstate, sqlstate, "{text}: {error}");
    }
    let not_a_set = c.sql_error(&format!(
        "SELECT 1 WHERE incr_as_of(NULL::t, '{moment}') IS NULL"
    ));
    assert_eq!(not_a_set.sqlstate, "0A000", "{not_a_set}");
    // The files do not have what is not committed.
    let renamed = c.sql_error(&format!(
        "BEGIN; ALTER TABLE t RENAME a TO b; SELECT * FROM incr_as_of(NULL::t, '{moment}')"
    ));
    assert_eq!(renamed.sqlstate, "55000", "{renamed}");
    let replaced = c.sql_error(&format!(
        "BEGIN; ALTER TABLE t DROP a CASCADE; SAVEPOINT s; ALTER TABLE t ADD a int; RELEASE s; SELECT a FROM incr_as_of(NULL::t, '{moment}')"
    ));
    assert_eq!(replaced.sqlstate, "55000", "{replaced}");
    c.sql("ALTER TABLE t ALTER g DROP EXPRESSION");
    c.flush();
    let generated = c.sql_error(&format!("SELECT * FROM incr_as_of(NULL::t, '{moment}')"));
    assert_eq!(generated.sqlstate, "0A000", "{generated}");
    c.sql("DROP VIEW v; DROP MATERIALIZED VIEW m; DROP DOMAIN rows; ALTER TABLE t DROP g; ALTER TABLE t ALTER a TYPE numeric(5,1)");
    c.flush();
    let other_type = c.sql_error(&format!("SELECT * FROM incr_as_of(NULL::t, '{moment}')"));
    assert_eq!(other_type.sqlstate, "42804", "{other_type}");
    assert!(
        other_type.text.contains("integer instead of numeric(5,1)"),
        "{other_type}"
    );
}

/// "The table had the same column with the same type", and yet another.
#[test]
fn a_column_is_not_taken_for_another_one() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE pair AS (lat int, lon int); CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE state AS ENUM ('x');
         CREATE TABLE swapped (id int PRIMARY KEY, a int, b int); INSERT INTO swapped VALUES (1, 2, 3);
         CREATE TABLE pairs (id int PRIMARY KEY, p pair[]); INSERT INTO pairs VALUES (1, '{\"(1,2)\"}');
         CREATE TABLE moods (id int PRIMARY KEY, m mood); INSERT INTO moods VALUES (1, 'sad');
         CREATE TABLE states (id int PRIMARY KEY, s state); INSERT INTO states VALUES (1, 'x')",
    );
    let moment = c.flush();
    assert_eq!(as_of(&c, "pairs", &moment), "1|{\"(1,2)\"}");
    // Nobody has waited for the files.
    c.sql("ALTER TABLE swapped RENAME a TO c; ALTER TABLE swapped RENAME b TO a; ALTER TABLE swapped RENAME c TO b");
    assert_eq!(as_of(&c, "swapped", &moment), "1|2|3");
    let by_name = c.sql(&format!(
        "SELECT a, b FROM incr_as_of(NULL::swapped, '{moment}')"
    ));
    assert_eq!(by_name, "3|2");
    c.sql(
        "ALTER TYPE pair DROP ATTRIBUTE lat, ADD ATTRIBUTE lat int;
         ALTER TYPE mood RENAME VALUE 'sad' TO 'low'; ALTER TYPE mood ADD VALUE 'sad';
         ALTER TABLE states ALTER s TYPE text; DROP TYPE state; CREATE TYPE state AS ENUM ('y', 'x'); ALTER TABLE states ALTER s TYPE state USING s::state",
    );
    c.flush();
    for table in ["pairs", "moods", "states"] {
        let error = c.sql_error(&format!(
            "SELECT * FROM incr_as_of(NULL::{table}, '{moment}')"
        ));
        assert_eq!(error.sqlstate, "42804", "{table}: {error}");
        assert!(error.text.contains("has changed since"), "{table}: {error}");
    }
    let later = c.flush();
    assert_eq!(as_of(&c, "moods", &later), "1|low");
}

#[test]
fn whoever_may_not_read_the_table_now_does_not_read_what_it_was() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE reader; CREATE ROLE owner; CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO reader; GRANT CREATE, USAGE ON SCHEMA s TO owner;
         SET ROLE owner; CREATE TABLE s.t (id int PRIMARY KEY, secret text); INSERT INTO s.t VALUES (1, 'x'); RESET ROLE",
    );
    let moment = c.flush();
    let query = format!("SET ROLE reader; SELECT * FROM incr_as_of(NULL::s.t, '{moment}')");
    let refused = |why: &str| {
        let error = c.sql_error(&query);
        assert_eq!(error.sqlstate, "42501", "{why}: {error}");
    };
    c.sql("GRANT SELECT ON s.t TO reader");
    refused("the function is not granted");
    c.sql("GRANT EXECUTE ON FUNCTION incr_as_of(anyelement, text) TO reader, owner");
    assert_eq!(c.sql(&query), "1|x");
    c.sql("REVOKE SELECT ON s.t FROM reader; GRANT SELECT (id) ON s.t TO reader");
    refused("a column is not granted");
    c.sql("GRANT SELECT (secret) ON s.t TO reader");
    assert_eq!(c.sql(&query), "1|x");
    c.sql(
        "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t TO reader USING (true)",
    );
    refused("a policy may hide rows");
    refused_with_row_security_off(&c, &query);
    let as_owner = query.replace("ROLE reader", "ROLE owner");
    assert_eq!(c.sql(&as_owner), "1|x");
    c.sql("ALTER TABLE s.t FORCE ROW LEVEL SECURITY");
    assert_eq!(
        c.sql_error(&as_owner).sqlstate,
        "42501",
        "it is forced on the owner"
    );
    c.sql("ALTER ROLE reader BYPASSRLS");
    assert_eq!(c.sql(&query), "1|x");
    // The rights are those on the table that has this row type now.
    c.sql("DROP TABLE s.t; CREATE TABLE s.t (id int PRIMARY KEY, secret text); GRANT SELECT ON s.t TO reader");
    c.flush();
    let error = c.sql_error(&query);
    assert!(
        error.sqlstate == "55000" || error.sqlstate == "22023",
        "it was not there: {error}"
    );
}

fn refused_with_row_security_off(c: &Cluster, query: &str) {
    let error = c.sql_error(&format!("SET row_security = off; {query}"));
    assert_eq!(error.sqlstate, "42501", "{error}");
}

#[test]
fn code_of_a_tables_owner_runs_with_the_owners_rights() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE mallory LOGIN; CREATE SCHEMA evil AUTHORIZATION mallory; SET ROLE mallory;
         CREATE FUNCTION evil.looks(v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
           PERFORM set_config('search_path', 'evil', false), set_config('x.left', 'behind', false);
           IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN RAISE 'as a superuser'; END IF;
           IF current_setting('x.asks', true) = 'itself' THEN
             PERFORM pg_catalog.count(*) FROM public.incr_as_of(NULL::evil.t, current_setting('x.moment')); END IF;
           RETURN true; END $$;
         CREATE FUNCTION evil.computes(v int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN evil.looks(v) THEN v END';
         CREATE DOMAIN evil.watched AS int CHECK (evil.looks(VALUE));
         CREATE TABLE evil.t (a evil.watched PRIMARY KEY, g int GENERATED ALWAYS AS (evil.computes(a)) STORED);
         INSERT INTO evil.t VALUES (1); RESET ROLE; GRANT EXECUTE ON FUNCTION public.incr_as_of(anyelement, text) TO mallory",
    );
    let moment = c.flush();
    let query = format!("SELECT * FROM incr_as_of(NULL::evil.t, '{moment}')");
    let mut session = c.session();
    assert_eq!(session.run(&query), "1|1");
    let left = session.run(
        "SELECT current_setting('search_path'), current_setting('x.left', true), current_user",
    );
    assert!(
        !left.contains("evil") && !left.contains("behind") && !left.contains("mallory"),
        "{left}"
    );
    let trapped = c.sql_error("INSERT INTO evil.t VALUES (2)");
    assert!(
        trapped.text.contains("as a superuser"),
        "the trap works: {trapped}"
    );
    let itself = c.sql_error(&format!(
        "SET x.asks = 'itself'; SET x.moment = '{moment}'; {query}"
    ));
    assert_eq!(itself.sqlstate, "55006", "{itself}");
    assert_eq!(c.sql(&query), "1|1", "another one is answered");
}

/// "A role that may only SELECT became the table's owner." A temporary view is found before the table that the owner means.
#[test]
fn code_of_a_tables_owner_is_not_led_to_temporary_objects() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE reader; CREATE ROLE owner; CREATE SCHEMA s AUTHORIZATION owner; GRANT USAGE ON SCHEMA s TO reader; SET ROLE owner;
         SET search_path = s; CREATE TABLE codes (code int); INSERT INTO codes VALUES (1);
         CREATE FUNCTION valid(v int) RETURNS boolean LANGUAGE plpgsql SET search_path = s AS $$ BEGIN
           RETURN EXISTS (SELECT FROM codes WHERE code = v); END $$;
         CREATE DOMAIN checked AS int CHECK (s.valid(VALUE)); CREATE TYPE within AS (a checked[]);
         CREATE TABLE plain_codes (id int PRIMARY KEY, a text); INSERT INTO plain_codes VALUES (1, 'x');
         CREATE TABLE direct (id int PRIMARY KEY, a checked); ALTER TABLE direct REPLICA IDENTITY FULL; INSERT INTO direct VALUES (1, 1);
         CREATE TABLE nested (id int PRIMARY KEY, a within); INSERT INTO nested VALUES (1, '({1})');
         CREATE TABLE computed (id int PRIMARY KEY, a int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO computed VALUES (1);
         GRANT SELECT ON ALL TABLES IN SCHEMA s TO reader; RESET ROLE; GRANT EXECUTE ON FUNCTION public.incr_as_of(anyelement, text) TO reader, owner",
    );
    let moment = c.flush();
    let query =
        |table: &str| format!("SELECT count(*) FROM incr_as_of(NULL::s.{table}, '{moment}')");
    let attack = "SET ROLE reader; CREATE FUNCTION pg_temp.pwn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'pwned as %', current_user; END $$;
         CREATE TEMP VIEW codes AS SELECT pg_temp.pwn() AS code; GRANT SELECT ON codes TO PUBLIC; ";
    let trap = c.sql_error(&format!(
        "{attack} RESET ROLE; GRANT ALL ON SCHEMA s TO reader; INSERT INTO s.direct VALUES (2, 1)"
    ));
    assert!(trap.text.contains("pwned"), "the trap works: {trap}");
    for table in ["direct", "nested", "computed"] {
        assert_eq!(
            c.sql(&format!("SET ROLE reader; {}", query(table))),
            "1",
            "{table}"
        );
        let error = c.sql_error(&format!("{attack} {}", query(table)));
        assert_eq!(error.sqlstate, "55000", "{table}: {error}");
    }
    let plain = c.sql(&format!("{attack} {}", query("plain_codes")));
    assert_eq!(plain, "1", "no code of the owner's runs");
    // A function of a superuser's does not make it the superuser's session.
    c.sql(&format!(
        "CREATE FUNCTION helps() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ {} $$",
        query("direct")
    ));
    let helped = c.sql_error(&format!("{attack} SELECT helps()"));
    assert_eq!(helped.sqlstate, "55000", "{helped}");
    // incr_history() reads a key's value by the domain too.
    c.sql("GRANT pg_read_all_data TO reader; ALTER ROLE reader BYPASSRLS; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO reader");
    let history = "SET client_min_messages = error; SELECT count(*) > 0 FROM incr_history('s.direct', '{\"a\": 1}')";
    assert_eq!(c.sql(&format!("SET ROLE reader; {history}")), "t");
    let followed = c.sql_error(&format!("{attack} {history}"));
    assert_eq!(followed.sqlstate, "55000", "{followed}");
    let own = c.sql(&format!(
        "CREATE TEMP TABLE mine (a int); {}",
        query("direct")
    ));
    assert_eq!(
        own, "1",
        "whoever has the owner's rights has nothing to gain"
    );
}

/// The text is that of the files, whatever the session has set.
#[test]
fn values_are_read_with_the_settings_of_the_files() {
    let c = Cluster::backed_up();
    let has_xml = c.is_true("SELECT count(*) = 1 FROM pg_config() WHERE name = 'CONFIGURE' AND setting LIKE '%--with-libxml%'");
    let xml = ["text", "xml"][usize::from(has_xml)];
    c.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, a text[], d date, i interval, at timestamptz, m money, x {xml});
         INSERT INTO t VALUES (1, '{{NULL,x}}', '2026-02-01', '-1 year -2 months +3 days -04:00', '2026-02-01 12:00+00', '1234.56', 'a <b/> c');
         CREATE DOMAIN filled AS int; CREATE TABLE f (id int PRIMARY KEY, a filled); INSERT INTO f VALUES (1, NULL)"
    ));
    let moment = c.flush();
    let same = format!(
        "SET array_nulls = off; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard; SET TimeZone = 'Asia/Tokyo'; SET xmloption = document;
         SELECT count(*) FROM incr_as_of(NULL::t, '{moment}') o JOIN t USING (id)
         WHERE o.a = t.a AND o.a[1] IS NULL AND o.d = t.d AND o.i = t.i AND o.at = t.at AND o.m = t.m AND o.x::text = t.x::text;
         SHOW array_nulls; SHOW xmloption"
    );
    assert_eq!(c.sql(&same), "1\noff\ndocument");
    // As COPY, it asks a domain about NULL.
    c.sql("UPDATE f SET a = 1; ALTER DOMAIN filled SET NOT NULL");
    let refused = c.sql_error(&format!("SELECT * FROM incr_as_of(NULL::f, '{moment}')"));
    assert_eq!(refused.sqlstate, "23502", "{refused}");
}

/// Processes that a backend has started and not waited for.
fn children(backend: &str) -> String {
    let path = format!("/proc/{backend}/task/{backend}/children");
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_cancelled_query_leaves_neither_process_nor_file() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION waits(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
           IF v = 30000 AND current_setting('x.waits', true) = 'on' THEN RAISE NOTICE 'waiting'; PERFORM pg_sleep(1000); END IF;
           RETURN true; END $$;
         CREATE DOMAIN slow AS int CHECK (waits(VALUE));
         CREATE TABLE t (id slow PRIMARY KEY, filler text);
         INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 60000) i",
    );
    let moment = c.flush();
    let query = format!("SELECT count(*) FROM incr_as_of(NULL::t, '{moment}')");
    let is_clean = |backend: &str| {
        children(backend).trim().is_empty() && c.is_true("SELECT count(*) = 0 FROM pg_ls_tmpdir()")
    };
    // In the middle of the rows, the program waiting for its pipe, and beyond work_mem.
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut session = c.session();
        let backend =
            session.run("SET work_mem = '64kB'; SET x.waits = 'on'; SELECT pg_backend_pid()");
        let backend = backend.trim().to_owned();
        session.send(&query);
        session.wait_for_line(|line| line.contains("waiting"));
        assert!(!is_clean(&backend), "it runs");
        c.sql(&format!("SELECT {end}({backend})"));
        wait_until("the program and its files are gone", || is_clean(&backend));
        if end == "pg_cancel_backend" {
            let output = session.finish();
            assert!(output.contains("canceling statement"), "{output}");
            assert_eq!(
                session.run(&format!("SET x.waits = 'off'; {query}")),
                "60000"
            );
            assert!(is_clean(&backend));
        }
    }
    // A program that says nothing, one that is killed, and one that says something else.
    let bin = c.root().join("bin");
    fs::create_dir(&bin).expect("the directory is new");
    let program = bin.join("pg_incrbackup");
    let behave = |script: &str| {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = bin.to_str().expect("it is UTF-8");
    c.set("pg_incrbackup.bin_directory", &format!("'{path}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == path
    });
    behave("sleep 1000");
    let mut session = c.session();
    let backend = session.run("SELECT pg_backend_pid()").trim().to_owned();
    session.send(&format!("SET statement_timeout = '200ms'; {query}"));
    let output = session.finish();
    assert!(output.contains("statement timeout"), "{output}");
    assert!(is_clean(&backend), "{}", children(&backend));
    for (script, sqlstate, said) in [
        ("kill -9 $$", "38000", "did not end as it should"),
        ("echo '{\"columns\":[{\"name\":\"id\"'", "38000", "its first line"),
        ("exit 0", "38000", "no columns"),
        ("printf '{\"columns\":[]}\\n1\\t2'; exit 0", "38000", "a line without its end"),
        ("echo '{\"error\":\"torn\",\"hint\":\"Look.\"}' >&2; exit 4", "XX001", "torn"),
        (
            "printf '{\"columns\":[{\"name\":\"id\",\"current\":\"id\",\"type\":\"public.slow\"}]}\\n\\377\\n'",
            "22021",
            "invalid byte sequence",
        ),
    ] {
        behave(script);
        let error = c.sql_error(&query);
        assert_eq!(error.sqlstate, sqlstate, "{script}: {error}");
        assert!(error.text.contains(said), "{script}: {error}");
    }
    // Its temporary files are where the session's are.
    behave("echo \"{\\\"error\\\":\\\"$TMPDIR\\\"}\" >&2; exit 1");
    let place = c.sql_error(&query);
    assert!(place.text.contains("/base/pgsql_tmp"), "{place}");
    // What it says of others is for those who may read it.
    behave("echo '{\"warning\":\"/path 1\"}' >&2; echo '{\"error\":\"/path:7\"}' >&2; exit 4");
    c.sql("CREATE ROLE reader; GRANT SELECT ON t TO reader; GRANT EXECUTE ON FUNCTION incr_as_of(anyelement, text) TO reader");
    let damaged = c.sql_error(&format!("SET ROLE reader; {query}"));
    assert_eq!(damaged.sqlstate, "XX001", "{damaged}");
    assert!(
        !damaged.text.contains("/path") && damaged.text.contains("are damaged"),
        "{damaged}"
    );
}
