//! "We upgrade by restoring." An archive of one major version becomes a database of another; what that does not know is
//! named before the first row.

use std::fs;

use harness::{checksums, Cluster};

use crate::program_rights::{restore, Plain};

/// All of it is known to PostgreSQL 18 as it is to 15.
const KNOWN: &str = include_str!("program_base.sql");

/// What 18 has removed or renamed.
const GONE: &str = "CREATE VIEW gone@ AS SELECT buffers_checkpoint FROM pg_catalog.pg_stat_bgwriter;
    CREATE VIEW over_gone@ AS SELECT * FROM gone@;
    CREATE FUNCTION setting@() RETURNS int LANGUAGE sql SET force_parallel_mode = off AS $$ SELECT 1 $$;
    CREATE TABLE kept@ (a int PRIMARY KEY); INSERT INTO kept@ VALUES (1);";

/// What cannot be made on any server: a function of an index reads what is not there.
const BROKEN: &str = "CREATE TABLE dropped (a int); CREATE TABLE of_broken (a int); INSERT INTO of_broken VALUES (1);
    CREATE FUNCTION reads(int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1 + count(*) FROM public.dropped';
    CREATE INDEX broken ON of_broken (reads(a)); DROP TABLE dropped";

/// A server that has never seen the extension, nor has a run of the tests that has just begun installed it there.
fn plain(version: u32) -> Cluster {
    let builder = Cluster::builder().version(version);
    builder.without("shared_preload_libraries").start()
}

#[test]
fn an_archive_of_15_becomes_a_database_of_18() {
    if Cluster::builder().installation().version != 15 {
        return harness::skipped("the run on 15 does this");
    }
    let c = Cluster::builder().version(15).start();
    c.sql(KNOWN);
    c.sql(&GONE.replace('@', "1"));
    c.sql(BROKEN);
    c.sql("ALTER DATABASE app SET force_parallel_mode = off");
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c.sql(&GONE.replace('@', "2"));
    c.sql("CREATE TABLE not_null (a int NOT NULL, b int); ALTER TABLE not_null ALTER b SET NOT NULL, ALTER a DROP NOT NULL;
        CREATE TABLE heir (b int NOT NULL) INHERITS (not_null); ALTER TABLE heir NO INHERIT not_null;
        CREATE ROLE member PASSWORD 'x'; CREATE ROLE grp; GRANT grp TO member WITH ADMIN OPTION; ALTER TABLE not_null OWNER TO member");
    c.flush();
    let target = plain(18);
    let left_out = target.root().join("left-out.sql");
    let (status, text) = restore(&c, &target.conninfo("newer"), &left_out, &[]);
    assert_eq!(status, 1, "{text}");
    let before = &text[..text.find("applied ").expect("it ends")];
    for name in ["gone@", "over_gone@", "setting@()"] {
        for nth in ["1", "2"] {
            let name = format!("public.{}", name.replace('@', nth));
            assert!(before.contains(&name), "{name}: {text}");
        }
    }
    // What the server says of it, and nothing that it would only say of another version.
    let said = "INDEX public.broken: relation \"public.dropped\" does not exist";
    let listed = text
        .split("left out, because this server refuses it")
        .nth(1);
    assert!(listed.is_some_and(|list| list.contains(said)), "{text}");
    let written = fs::read_to_string(&left_out).expect("it was written");
    assert!(written.contains("SET force_parallel_mode"), "{written}");
    assert_eq!(
        target.sql_in(
            "newer",
            "SELECT (SELECT a FROM kept1) + (SELECT a FROM kept2)"
        ),
        "2"
    );
    c.sql("ALTER DATABASE app RESET force_parallel_mode");
    c.flush();
    let plain = Plain::new(&target, "plain_newer");
    let (status, text) = plain.restore(&c, &["--no-owner", "-x", "--no-tablespaces"]);
    assert!(status < 2, "{text}");
    assert_eq!(
        target.sql_in("plain_newer", "SELECT count(*) FROM kept2"),
        "1"
    );
    // Every other object is there, with every row.
    c.sql(
        "DROP VIEW gone1, gone2 CASCADE; DROP FUNCTION setting1(), setting2(); DROP INDEX broken",
    );
    assert_eq!(checksums(&c, c.database()), checksums(&target, "newer"));
    let objects = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace >= 2200 AND relkind <> 't' AND relnamespace::regnamespace::text !~ '^pg_' \
            AND relnamespace::regnamespace::text <> 'incr'), \
        (SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE contype <> 'n' AND oid >= 16384), \
        (SELECT string_agg(relname || attname, ',' ORDER BY attrelid::regclass::text, attnum) FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid \
            WHERE attnotnull AND attnum > 0 AND relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname IN ('heir', 'not_null'))";
    c.sql("SELECT incr_teardown(); DROP EXTENSION pg_incrbackup");
    assert_eq!(c.sql(objects), target.sql_in("newer", objects));
    assert_eq!(
        target.sql_in(
            "newer",
            "SELECT relowner::regrole FROM pg_class WHERE relname = 'not_null'"
        ),
        "member"
    );
}

#[test]
fn what_an_older_version_does_not_know_is_named_before_the_first_row() {
    if Cluster::builder().installation().version != 18 {
        return harness::skipped("the run on 18 does this");
    }
    let c = Cluster::builder().version(18).back_up();
    c.sql("CREATE TABLE virtual (a int, b int GENERATED ALWAYS AS (a + 1)); CREATE TABLE plain (a int PRIMARY KEY, b int);
        INSERT INTO virtual VALUES (1); INSERT INTO plain VALUES (1, 1), (2, 2); UPDATE plain SET b = 3;
        CREATE VIEW over AS SELECT * FROM virtual");
    c.flush();
    let target = plain(15);
    let left_out = target.root().join("left-out.sql");
    let (status, text) = restore(&c, &target.conninfo("older"), &left_out, &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("the older PostgreSQL 15"), "{text}");
    let before = &text[..text.find("applied ").expect("it ends")];
    assert!(before.contains("create table public.virtual"), "{text}");
    assert!(before.contains("create view public.over"), "{text}");
    assert_eq!(target.sql_in("older", "SELECT sum(b) FROM plain"), "6");
}

#[test]
fn a_missing_extension_is_named_with_what_depends_on_it_before_anything() {
    if Cluster::builder().installation().version != 15 {
        return harness::skipped("the run on 15 does this");
    }
    // 18 of the tests has none of this name.
    let c = Cluster::builder().version(15).start();
    c.sql(
        "CREATE EXTENSION \"uuid-ossp\"; CREATE TABLE of_uuid (id uuid DEFAULT uuid_generate_v4()); CREATE TABLE other (id int);
         CREATE VIEW of_other AS SELECT other.id FROM public.other",
    );
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c.sql(
        "CREATE VIEW late AS SELECT uuid_nil() AS nil; CREATE VIEW of_late AS SELECT nil FROM late",
    );
    c.flush();
    let target = plain(18);
    let left_out = target.root().join("left-out.sql");
    let (status, text) = restore(&c, &target.conninfo("never"), &left_out, &["--dry-run"]);
    assert_eq!(status, 1, "{text}");
    let named = "\"uuid-ossp\" (version 1.1 at the source), on which depend: TABLE of_uuid, view public.late\n";
    assert!(text.contains(named), "{text}");
}
