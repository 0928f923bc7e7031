//! "On the day I need it, it does not restore", or it restores something else than I asked for.

use harness::Cluster;

/// Three transactions after the base; gives each one's commit LSN, time and xid.
fn three_steps(c: &Cluster) -> Vec<harness::Transaction> {
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    let before = c.transactions().len();
    for i in 1..=3 {
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
    }
    c.flush();
    c.transactions().split_off(before)
}

fn rows(c: &Cluster, database: &str) -> String {
    c.sql_in(
        database,
        "SELECT string_agg(a::text, ',' ORDER BY a) FROM t",
    )
}

#[test]
fn until_lsn_ends_with_that_commit() {
    let c = Cluster::backed_up();
    let steps = three_steps(&c);
    let restored = c.restore(&["--until-lsn", &steps[1].commit_lsn]);
    assert_eq!(rows(&c, &restored.database), "1,2");
}

#[test]
fn until_xid_includes_that_transaction() {
    let c = Cluster::backed_up();
    let steps = three_steps(&c);
    let restored = c.restore(&["--until-xid", &steps[0].xid.to_string()]);
    assert_eq!(rows(&c, &restored.database), "1");
}

#[test]
fn until_time_takes_any_time_that_postgresql_reads() {
    let c = Cluster::backed_up();
    let steps = three_steps(&c);
    let utc = &steps[1].commit_time;
    let here = c.sql(&format!(
        "SET TimeZone = 'Asia/Kolkata'; SELECT '{utc}'::timestamptz"
    ));
    for time in [utc.as_str(), &here] {
        let restored = c.restore(&["--until-time", time]);
        assert_eq!(rows(&c, &restored.database), "1,2", "{time}");
    }
}

#[test]
fn a_target_that_cannot_be_reached_is_refused() {
    let c = Cluster::backed_up();
    three_steps(&c);
    for options in [
        ["--until-lsn", "0/1"],
        ["--until-lsn", "nonsense"],
        ["--until-time", "1999-01-01"],
        ["--until-time", "nonsense"],
        ["--until-xid", "1"],
        ["--chain", "99"],
        ["--base", "nonsense"],
        ["--no-such-option", "1"],
    ] {
        let output = c.try_restore(&c, "never", &options);
        assert!(output.is_err(), "{options:?} was accepted: {output:?}");
    }
}

#[test]
fn a_database_that_exists_is_refused() {
    let c = Cluster::backed_up();
    three_steps(&c);
    c.sql_in("postgres", "CREATE DATABASE taken");
    c.sql_in("taken", "CREATE TABLE mine (a int)");
    let output = c
        .try_restore(&c, "taken", &[])
        .expect_err("a database in use was overwritten");
    assert!(output.contains("exists already"), "{output}");
    assert_eq!(c.sql_in("taken", "SELECT count(*) FROM mine"), "0");
}

#[test]
fn a_dry_run_changes_nothing() {
    let c = Cluster::backed_up();
    three_steps(&c);
    c.try_restore(&c, "never", &["--dry-run"])
        .unwrap_or_else(|output| panic!("{output}"));
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_database WHERE datname = 'never'"),
        "0"
    );
}

#[test]
fn a_changed_byte_in_a_closed_segment_is_found_before_anything_is_restored() {
    let c = Cluster::backed_up();
    three_steps(&c);
    let closed = c.sql("SELECT incr_rotate()");
    let text = std::fs::read_to_string(&closed).expect("the segment can be read");
    std::fs::write(&closed, text.replace("VALUES (2)", "VALUES (7)")).expect("it can be written");
    let output = c
        .try_restore(&c, "never", &[])
        .expect_err("a forged segment was restored");
    assert!(output.contains(".sql"), "the file is not named: {output}");
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_database WHERE datname = 'never'"),
        "0"
    );
    assert_ne!(c.sql("SELECT * FROM incr_verify()"), "");
}

#[test]
fn a_missing_segment_is_found_before_anything_is_restored() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let mut closed = Vec::new();
    for i in 0..3 {
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
        closed.push(c.sql("SELECT incr_rotate()"));
    }
    std::fs::remove_file(&closed[1]).expect("the segment can be removed");
    assert!(c.try_restore(&c, "never", &[]).is_err());
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_database WHERE datname = 'never'"),
        "0"
    );
}

#[test]
fn an_update_that_hits_no_row_stops_the_restore_and_names_file_and_line() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1)");
    c.sql("UPDATE t SET b = 2 WHERE a = 1");
    c.flush();
    // The open segment has no checksum yet: a forged line in it reaches psql.
    let open = c.segments().pop().expect("a segment is open").path;
    let text = std::fs::read_to_string(&open).expect("the segment can be read");
    std::fs::write(&open, text.replace("WHERE a = 1;", "WHERE a = 9;")).expect("it can be written");
    let output = c
        .try_restore(&c, "stopped", &[])
        .expect_err("an update that hit nothing passed");
    let line = 1 + text
        .lines()
        .position(|l| l.contains("WHERE a = 1;"))
        .expect("the update is there");
    let name = open
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    assert!(
        output.contains(&name) && output.contains(&line.to_string()),
        "{name}:{line} not in: {output}"
    );
}

#[test]
fn an_always_trigger_does_not_fire_again_and_is_on_afterwards() {
    let c = Cluster::builder().start();
    let make = "CREATE TABLE log$ (n int);
        CREATE TABLE t$ (a int PRIMARY KEY);
        CREATE FUNCTION f$() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log$ VALUES (NEW.a);
        RETURN NEW; END';
        CREATE TRIGGER tr BEFORE INSERT ON t$ FOR EACH ROW EXECUTE FUNCTION f$();
        ALTER TABLE t$ ENABLE ALWAYS TRIGGER tr;
        CREATE RULE r AS ON UPDATE TO t$ DO ALSO INSERT INTO public.log$ VALUES (-1);
        ALTER TABLE t$ ENABLE REPLICA RULE r;
        INSERT INTO t$ VALUES (1);";
    c.sql(&make.replace('$', "1"));
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql(&make.replace('$', "2"));
    c.sql("INSERT INTO t1 VALUES (2); INSERT INTO t2 VALUES (2); UPDATE t1 SET a = 5 WHERE a = 1");
    c.assert_restores();
}

#[test]
fn event_triggers_of_the_source_do_not_fire_during_the_replay() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE seen (tag text);
           CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (tg_tag);
           END';
           CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note();
           CREATE TABLE a (a int); ALTER TABLE a ADD b int; DROP TABLE a;");
    c.assert_restores();
}

#[test]
fn roles_that_are_missing_are_made_without_login_and_named() {
    let source = Cluster::backed_up();
    source.sql(
        "CREATE ROLE alice LOGIN PASSWORD 'secret'; CREATE ROLE \"Bob's\"; CREATE TABLE t (a int);
                ALTER TABLE t OWNER TO alice; GRANT SELECT ON t TO \"Bob's\"",
    );
    let target = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let restored = source.assert_restores_into(&target);
    assert!(restored.output.contains("alice"), "{}", restored.output);
    assert_eq!(
        target.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'alice'"),
        "f"
    );
    assert!(!source.stream().contains("secret"));
}

#[test]
fn database_properties_come_back() {
    let c = Cluster::backed_up();
    c.sql(
        "ALTER DATABASE app SET work_mem = '7MB'; COMMENT ON DATABASE app IS 'the app''s';
           CREATE ROLE reader; GRANT CREATE ON DATABASE app TO reader",
    );
    c.sql("SELECT incr_dump()");
    let restored = c.assert_restores().database;
    assert_eq!(c.sql_in(&restored, "SHOW work_mem"), "7MB");
    let comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    assert_eq!(c.sql_in(&restored, comment), "the app's");
    assert!(c.is_true(&format!(
        "SELECT has_database_privilege('reader', '{restored}', 'CREATE')"
    )));
}

#[test]
fn an_archive_of_15_restores_into_18() {
    if Cluster::builder().installation().version != 15 {
        return harness::skipped("the run on 15 does this");
    }
    let source = Cluster::backed_up();
    source.sql("CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text NOT NULL, c numeric CHECK (c > 0));
        INSERT INTO t (b, c) SELECT 'row ' || i, i FROM generate_series(1, 100) i;
        UPDATE t SET b = E'two\nlines' WHERE a % 7 = 0; DELETE FROM t WHERE a % 5 = 0;
        CREATE VIEW v AS SELECT a, b FROM t; CREATE INDEX ON t (b);
        ALTER TABLE t ADD d timestamptz DEFAULT now();
        CREATE TABLE copy AS SELECT * FROM t; TRUNCATE copy; CREATE SEQUENCE s;
        SELECT nextval('s');");
    let target = Cluster::builder()
        .version(18)
        .without("shared_preload_libraries")
        .start();
    source.assert_restores_into(&target);
}

#[test]
fn pgbench_round_trips() {
    let seconds = std::env::var("PGBENCH_SECONDS").ok();
    let c = Cluster::backed_up();
    c.pgbench(&["-i", "-q", "-s", "1"]);
    let long = seconds
        .as_ref()
        .map_or(["-t", "500"], |seconds| ["-T", seconds]);
    c.pgbench(&[&["-n", "-c", "4", "-j", "2"], &long[..]].concat());
    c.assert_restores();
}

#[test]
fn the_target_gets_the_very_name_that_was_wished() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.flush();
    for name in ["linux", "xx", "a\"b'c\\d e\n%x", &"é".repeat(31)] {
        let (status, output) = crate::program_restore::restore(&c, name, &[]);
        assert_eq!(status, 0, "{name}: {output}");
        assert_eq!(c.sql_in(name, "SELECT a FROM t"), "1", "{name}");
    }
}
