//! "In ten years restore.sh makes another database of my archive than the program does." One table of archives: both
//! ways back make the same database of each, at its end and at a moment in between, and it is that of the source.
//! What restore.sh does not do it refuses, and names the program.

use std::process::Output;

use harness::{assert_all_identical, Builder, Cluster, Contents};

use crate::poll::through_decoder_raw;

const MIXED: &str = include_str!("ddl_mixed.sql");
const OBJECTS: &str = include_str!("program_base.sql");
const ROWS: &str = include_str!("both_ways.sql");
const ROWS_AFTER: &str = include_str!("both_ways_after.sql");

/// An archive: the settings under which it is made, and what is done before the moment in between, and after it.
struct Archive {
    name: &'static str,
    builder: fn() -> Builder,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

/// An event trigger that fires always, also at what a restore does.
const LOUD: &str = "CREATE TABLE told (what text); CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO public.told VALUES (tg_tag); END$$;
    CREATE EVENT TRIGGER loud ON ddl_command_end EXECUTE FUNCTION tell(); ALTER EVENT TRIGGER loud ENABLE ALWAYS";
const LOUD_AFTER: &str = "ALTER EVENT TRIGGER loud ENABLE REPLICA; CREATE TABLE is_not_told (); ALTER EVENT TRIGGER loud ENABLE ALWAYS;
    CREATE TABLE \"an EVENT TRIGGER x\" PARTITION OF parted DEFAULT; COMMENT ON TABLE noted IS 'EVENT TRIGGER, PARTITION'";

const OWNED: &str = include_str!("both_ways_owned.sql");
const OWNED_AFTER: &str = "INSERT INTO held VALUES (7, 8);
    ALTER EVENT TRIGGER \"x EVENT TRIGGER y\" ENABLE REPLICA; INSERT INTO \"t a:b \"\"c' \\d %20 $1\" (\"x:y\") VALUES ('later');
    DROP SUBSCRIPTION elsewhere";

/// In `after`: both restores begin with this base, not with the first.
const NEW_BASE: &str = "SELECT incr_dump()";
const NEW_CHAIN: &str = "SELECT * FROM incr_setup(new_chain => true)";
/// What is done from another database.
const ELSEWHERE: &str = "\\c postgres\n";

const ARCHIVES: &[Archive] = &[
    Archive {
        name: "statements of every kind",
        builder: Cluster::builder,
        before: &[MIXED],
        after: &[OBJECTS],
    },
    Archive {
        name: "rows, large objects, sequences, triggers that fire always, views that store rows",
        builder: Cluster::builder,
        before: &[LOUD, ROWS],
        after: &[LOUD_AFTER, ROWS_AFTER],
    },
    Archive {
        name: "the same in bases",
        builder: Cluster::builder,
        before: &[LOUD, ROWS, NEW_BASE],
        after: &[LOUD_AFTER, NEW_BASE, ROWS_AFTER],
    },
    Archive {
        name: "bases in directory format, compressed segments",
        builder: || {
            let builder = Cluster::builder().setting("pg_incrbackup.base_format", "directory");
            builder.setting("pg_incrbackup.compression", "gzip")
        },
        before: &[ROWS, NEW_BASE, "SELECT incr_rotate()"],
        after: &[NEW_BASE, ROWS_AFTER],
    },
    Archive {
        name: "several chains",
        builder: Cluster::builder,
        before: &[ROWS],
        after: &[NEW_CHAIN, ROWS_AFTER],
    },
    Archive {
        name: "the text of statements, from another plugin",
        builder: || through_decoder_raw("stream"),
        before: &["CREATE ROLE boss; CREATE ROLE worker IN ROLE boss; GRANT CREATE ON SCHEMA public TO boss;
            SET ROLE worker; CREATE TABLE t (a int PRIMARY KEY, b text); ALTER TABLE t OWNER TO boss; RESET ROLE;
            INSERT INTO t VALUES (1, E'a\\nb'), (2, ':PORT'); UPDATE t SET a = 7 WHERE a = 2"],
        after: &["ALTER TABLE t ADD c int DEFAULT 3; CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1';
            DELETE FROM t WHERE a = 1; CREATE TABLE u AS SELECT * FROM t; TRUNCATE t"],
    },
    Archive {
        name: "properties of the database, from inside and outside",
        builder: Cluster::builder,
        before: &[
            "CREATE ROLE reader; CREATE TABLE t (a int PRIMARY KEY); ALTER DATABASE app SET work_mem = '5MB';
             GRANT CREATE ON DATABASE app TO reader; COMMENT ON DATABASE app IS 'it''s :dbname'",
        ],
        after: &[
            ELSEWHERE,
            "ALTER DATABASE app RESET work_mem; REVOKE CREATE ON DATABASE app FROM reader;
             ALTER DATABASE app OWNER TO reader; ALTER DATABASE app CONNECTION LIMIT 55;
             ALTER ROLE reader IN DATABASE app SET work_mem = '7MB'",
            "INSERT INTO t VALUES (1); COMMENT ON DATABASE app IS NULL; GRANT ALL ON t TO reader",
        ],
    },
    Archive {
        name: "objects of every kind, whose owners are missing or no superusers any more",
        builder: Cluster::builder,
        before: &[OWNED],
        after: &[NEW_BASE, OWNED_AFTER],
    },
];

fn run(c: &Cluster, scripts: &[&str]) {
    let mut database = c.database();
    for script in scripts {
        if *script == ELSEWHERE {
            database = "postgres";
            continue;
        }
        c.sql_in(database, script);
        database = c.database();
    }
}

fn assert_both_ways(archive: &Archive) {
    println!("{}", archive.name);
    let c = (archive.builder)().back_up();
    run(&c, archive.before);
    let lsn = c.flush();
    let between = Contents::of(&c, c.database()).without_sequences();
    run(&c, archive.after);
    c.flush();
    let until = ["--until-lsn", &lsn, "--chain", "1"];
    for options in [&until[..], &[]] {
        let by_script = c.restore_by_script(&c, options).database;
        let both = [by_script, c.restore_by_program(&c, options).database];
        if options.is_empty() {
            let names = both.each_ref().map(String::as_str);
            assert_all_identical((&c, c.database()), &c, &names);
        } else {
            both.iter()
                .for_each(|database| between.assert_restored(&c, database));
        }
        for database in &both {
            let extension = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_incrbackup'";
            assert_eq!(c.sql_in(database, extension), "0", "{database}");
        }
        let [one, other] = both.map(|database| properties(&c, &database));
        assert_eq!(one, other, "{options:?}");
        if options.is_empty() {
            assert_eq!(other, properties(&c, c.database()));
        }
    }
}

/// What belongs to the database itself.
fn properties(c: &Cluster, database: &str) -> String {
    c.sql_in(
        database,
        "SELECT pg_get_userbyid(datdba), datconnlimit, datacl, shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg((setrole::regrole, setconfig)::text ORDER BY setrole::regrole::text) FROM pg_db_role_setting WHERE setdatabase = d.oid)
         FROM pg_database AS d WHERE datname = current_database()",
    )
}

// A test for each, so that they run side by side.
#[test]
fn statements_of_every_kind() {
    assert_both_ways(&ARCHIVES[0]);
}

#[test]
fn rows_of_every_kind() {
    assert_both_ways(&ARCHIVES[1]);
}

#[test]
fn bases() {
    assert_both_ways(&ARCHIVES[2]);
}

#[test]
fn bases_in_directory_format() {
    assert_both_ways(&ARCHIVES[3]);
}

#[test]
fn several_chains() {
    assert_both_ways(&ARCHIVES[4]);
}

#[test]
fn statements_as_text() {
    assert_both_ways(&ARCHIVES[5]);
}

#[test]
fn properties_of_the_database() {
    assert_both_ways(&ARCHIVES[6]);
}

#[test]
fn objects_and_their_owners() {
    assert_both_ways(&ARCHIVES[7]);
}

#[test]
fn every_archive_of_the_table_has_a_test() {
    assert_eq!(ARCHIVES.len(), 8);
}

/// At a mark, a time and an xid both stop at the same transaction.
#[test]
fn every_way_to_name_a_moment() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b xid8 DEFAULT pg_current_xact_id())");
    c.sql("BEGIN; SELECT incr_mark('release 42, it''s ä'); INSERT INTO t VALUES (1); COMMIT");
    c.sql("INSERT INTO t VALUES (2)");
    c.sql("SELECT incr_dump()");
    let xid = c.sql("SELECT b FROM t WHERE a = 2");
    let time = c.sql("SELECT clock_timestamp()");
    c.sql("INSERT INTO t VALUES (3)");
    c.flush();
    for (options, rows) in [
        (["--until-mark", "release 42, it's ä"], "1"),
        (["--until-xid", &xid], "1 2"),
        (["--until-time", &time], "1 2"),
    ] {
        for restored in [
            c.restore_by_program(&c, &options),
            c.restore_by_script(&c, &options),
        ] {
            let query = "SELECT string_agg(a::text, ' ' ORDER BY a) FROM t";
            assert_eq!(c.sql_in(&restored.database, query), rows, "{options:?}");
        }
    }
}

/// restore.sh leaves them to globals.sql and psql.
#[test]
fn roles_with_all_that_they_have() {
    let c = Cluster::backed_up();
    c.sql_in(
        "postgres",
        "CREATE ROLE team; CREATE ROLE \"De v\" LOGIN PASSWORD 'one' CONNECTION LIMIT 3 VALID UNTIL '2031-01-01';
         COMMENT ON ROLE \"De v\" IS E'it''s :dbname\\nCREATE ROLE forged;\\n\\\\! true'; ALTER ROLE \"De v\" SET work_mem = '7MB';
         GRANT team TO \"De v\" WITH ADMIN OPTION; GRANT pg_monitor TO team",
    );
    c.sql("CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO \"De v\"; GRANT SELECT ON t TO team");
    crate::globals::wait_until_at_rest(&c);
    c.flush();
    let target = Cluster::builder().start();
    let restored = c.restore_by_program(&target, &["--globals"]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
    let one = crate::roles_over_time::roles(&target);
    let target = Cluster::builder().start();
    let globals = crate::globals::newest(&c, "globals.sql");
    target.sql_in("postgres", &format!("\\set ON_ERROR_STOP off\n{globals}"));
    let restored = c.restore_by_script(&target, &[]);
    harness::assert_identical((&c, c.database()), (&target, &restored.database));
    assert_eq!(one, crate::roles_over_time::roles(&target));
    assert!(
        !restored.output.contains("created role"),
        "{}",
        restored.output
    );
    assert!(
        one.contains("De v") && one.contains("SCRAM-SHA-256"),
        "{one}"
    );
}

fn refused(c: &Cluster, options: &[&str]) -> String {
    let output: Output = c
        .restore_command(c, "refused")
        .args(options)
        .output()
        .expect("sh can be run");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1), "{text}");
    let there = "SELECT datname FROM pg_database WHERE datname LIKE 'refused%'";
    assert_eq!(c.sql_in("postgres", there), "", "{text}");
    text
}

/// Before anything is made: and the program restores them.
#[test]
fn what_restore_sh_refuses_it_says() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE one; CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO one");
    let before = c.flush();
    c.sql("ALTER ROLE one RENAME TO two");
    c.sql("GRANT SELECT ON t TO two");
    c.flush();
    let said = refused(&c, &[]);
    assert!(
        said.contains("a role was renamed") && said.contains("the program"),
        "{said}"
    );
    // Before it is another matter.
    c.restore_by_script(&c, &["--until-lsn", &before]);
    c.restore_by_program(&c, &[]);
}

/// It stays without rows, and all else is there.
#[test]
fn a_materialized_view_that_fails_makes_the_exit_status_1() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("CREATE MATERIALIZED VIEW m AS SELECT 1 / a AS x FROM t; UPDATE t SET a = 0");
    c.sql("SELECT incr_dump()");
    c.flush();
    let said = c.try_restore(&c, "shortened", &[]);
    let said = said.expect_err("one of its views is without rows");
    assert!(
        said.contains("materialized views stay without rows"),
        "{said}"
    );
    assert_eq!(c.sql_in("shortened", "SELECT a FROM t"), "0");
}
