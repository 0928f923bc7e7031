//! "We made backups for years, and none of them restored." A drill restores, compares with the source as it was
//! at the same LSN, and leaves nothing behind. What it finds in damaged archives is in `drill_damage`, what it
//! does when it dies in `drill_ends`.

use crate::drill_throwaway::assert_no_server_is_left;
use crate::schedule::every_day;
use harness::{run, wait_until, Cluster};
use std::fs;
use std::process::Command;

pub const DATABASES: &str = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database";
pub const ROLES: &str = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles";
const SPACES: &str = "SELECT string_agg(spcname, ' ' ORDER BY spcname) FROM pg_tablespace";

/// Result and problems of a drill that is waited for.
pub fn drill(c: &Cluster) -> String {
    c.sql("SELECT result, problems FROM incr_drill()")
}

pub fn records(c: &Cluster) -> usize {
    let file = c.database_directory().join("drills.jsonl");
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// A bit of everything.
fn with_everything(c: &Cluster) {
    c.sql(
        r#"CREATE ROLE bob; GRANT CREATE ON SCHEMA public TO bob;
           CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('glad', 'sad');
           CREATE TABLE t (a int PRIMARY KEY, b text, c float8, d hstore, m mood, z timestamptz,
             twice int GENERATED ALWAYS AS (a * 2) STORED);
           INSERT INTO t SELECT i, 'row ' || i, i / 3.0, hstore('k', i::text), 'sad', now() FROM generate_series(1, 500) i;
           CREATE SCHEMA "Odd ""one"""; CREATE TABLE "Odd ""one"""."a|b
c" (x int, "y.z" money); INSERT INTO "Odd ""one"""."a|b
c" VALUES (1, 12.5), (1, 12.5), (NULL, NULL);
           CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
           CREATE TABLE parent (a int, b int); CREATE TABLE child (c int) INHERITS (parent);
           ALTER TABLE parent ADD COLUMN late int; INSERT INTO child VALUES (1, 2, 3, 4);
           CREATE TABLE part (a int) PARTITION BY HASH (a); CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
           CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1); INSERT INTO part SELECT generate_series(1, 50);
           CREATE UNLOGGED TABLE forgotten (a int); INSERT INTO forgotten VALUES (1);
           CREATE MATERIALIZED VIEW stale AS SELECT count(*) AS n FROM t;
           CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 40);
           CREATE PUBLICATION p FOR ALL TABLES; SET client_min_messages = error;
           CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = 'precious');
           CREATE TABLE bobs (a int); ALTER TABLE bobs OWNER TO bob;
           GRANT EXECUTE ON FUNCTION incr_status TO bob;
           SELECT lo_from_bytea(4711, 'large'); ALTER DATABASE app SET work_mem = '5MB'; ALTER ROLE bob IN DATABASE app SET work_mem = '6MB'"#,
    );
    c.sql("SELECT incr_dump(); UPDATE t SET b = 'changed' WHERE a < 20; DELETE FROM t WHERE a > 490; SELECT incr_rotate(); INSERT INTO bobs VALUES (7); SELECT lo_put(4711, 2, 'xx')");
}

#[test]
fn a_drill_compares_everything_and_leaves_nothing_behind() {
    let c = Cluster::backed_up();
    with_everything(&c);
    let everything =
        format!("{DATABASES}; {ROLES}; {SPACES}; SELECT slot_name FROM pg_replication_slots");
    let (before, pid) = (c.sql(&everything), c.capture_pid());
    let found = c.sql("SELECT result, problems, tables, rows, chain, duration > '0', restored_to, lsn <= pg_current_wal_lsn(), base FROM incr_drill()");
    let base = c.bases()[1]
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let expected = format!(
        "passed|{{}}|8|546|1|t|a throwaway server|t|{}",
        base.unwrap_or_default()
    );
    assert_eq!(found, expected);
    assert_eq!(c.sql(&everything), before);
    assert_eq!(c.capture_pid(), pid, "capture has not noticed");
    assert!(!c.database_directory().join("drill.json").exists());
    assert_no_server_is_left(&c);
    assert_eq!(records(&c), 1);
    let status = c.sql("SELECT state, detail FROM incr_status() WHERE worker = 'drill'");
    assert!(
        status.starts_with("passed|the last one passed: 8 tables, 546 rows"),
        "{status}"
    );
    assert!(
        c.is_true("SELECT level = 'ok' AND drill_age < '1 h' FROM incr_slot_health()"),
        "{}",
        c.health()
    );
    c.restart();
    let status =
        c.sql("SELECT state, durable_lsn IS NOT NULL FROM incr_status() WHERE worker = 'drill'");
    assert_eq!(status, "passed|t", "the archive remembers");
    assert!(c.is_true("SELECT drill_age < '1 h' FROM incr_slot_health()"));
    assert_eq!(drill(&c), "passed|{}");
}

#[test]
fn a_drill_in_the_midst_of_a_load_compares_the_same_moment() {
    let c = Cluster::backed_up();
    c.pgbench(&["-i", "-s", "1", "-q"]);
    let load = |extra: &'static str| {
        let mut command = c.installation().command("pgbench");
        command
            .env("PGOPTIONS", extra)
            .args(["-n", "-c", "3", "-T", "300", "-R", "100"]);
        command.arg(c.conninfo(c.database()));
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command.spawn().expect("pgbench can be run")
    };
    let mut loads = [
        load("-c synchronous_commit=on"),
        load("-c synchronous_commit=off"),
    ];
    for nth in 0..3 {
        let wide = format!("CREATE TABLE extra_{nth} AS SELECT generate_series(1, 100) AS a");
        c.sql(&wide);
        assert_eq!(drill(&c), "passed|{}");
    }
    for child in &mut loads {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    assert_eq!(drill(&c), "passed|{}");
}

/// A commit that waits for a standby which is not there: it is in the WAL and nobody sees it.
#[test]
fn a_commit_that_nobody_sees_yet_is_not_part_of_the_moment() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let nobody_answers = |nth: u8| {
        c.set("synchronous_standby_names", "'nobody'");
        wait_until("the setting is read", || {
            c.sql("SHOW synchronous_standby_names") == "nobody"
        });
        let mut waiting = c.session();
        waiting.send(&format!("INSERT INTO t VALUES ({nth})"));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        wait_until("the commit waits", || c.sql(waits) == "1");
        let insert = format!("INSERT INTO public.t (a) VALUES ({nth})");
        wait_until("capture has it", || c.stream().contains(&insert));
        waiting
    };
    // One that is seen, and whose commit LSN is later than that of one which is not: no LSN tells them apart.
    let mut waiting = nobody_answers(1);
    c.sql("SET synchronous_commit = local; INSERT INTO t VALUES (2)");
    let found = drill(&c);
    assert!(
        found.starts_with("not done|") && found.contains("different order"),
        "{found}"
    );
    assert!(c.health().starts_with("warning"), "{}", c.health());
    c.set("synchronous_standby_names", "''");
    waiting.finish();

    let mut waiting = nobody_answers(3);
    assert_eq!(
        c.sql("SELECT result, problems, rows FROM incr_drill()"),
        "passed|{}|2"
    );
    c.set("synchronous_standby_names", "''");
    waiting.finish();
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn roles_that_only_the_past_has_are_made_for_the_drill_and_gone_after_it() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE gone; CREATE TABLE t (a int); ALTER TABLE t OWNER TO gone; SELECT incr_dump();
           ALTER TABLE t OWNER TO postgres; DROP ROLE gone; CREATE ROLE later",
    );
    let before = c.sql(ROLES);
    assert_eq!(drill(&c), "passed|{}");
    assert_eq!(c.sql(ROLES), before);
}

#[test]
fn no_row_of_a_drill_gets_into_the_servers_log() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a text); INSERT INTO t VALUES ('very ' || 'secret'); SELECT incr_dump(); UPDATE t SET a = a || ' indeed'");
    c.set("log_statement", "'all'");
    c.set("log_min_duration_statement", "0");
    wait_until("the setting is read", || {
        c.sql("SHOW log_statement") == "all"
    });
    assert_eq!(drill(&c), "passed|{}");
    let log = c.log();
    assert!(
        log.contains("incr_drill()") && !log.contains("very secret"),
        "{log}"
    );
}

#[test]
fn another_server_is_restored_to_and_left_as_it_was() {
    let c = Cluster::backed_up();
    with_everything(&c);
    let other = Cluster::builder().own_system_identifier().start();
    let everything = format!("{DATABASES}; {ROLES}; {SPACES}");
    let before = other.sql(&everything);
    for name in ["log_statement", "log_duration"] {
        let value = if name == "log_statement" { "all" } else { "on" };
        other.set(name, value);
        wait_until("the setting is read", || {
            other.sql(&format!("SHOW {name}")) == value
        });
    }
    c.sql("UPDATE t SET b = 'very ' || 'secret' WHERE a = 20");
    let conninfo = format!("host={} port=5432 user=postgres", other.root().display());
    let call = format!("SELECT result, problems, restored_to FROM incr_drill('{conninfo}')");
    assert_eq!(c.sql(&call), format!("passed|{{}}|{conninfo}"));
    assert_eq!(other.sql(&everything), before);
    let log = other.log();
    assert!(log.contains("SHOW log_duration"), "it is written: {log}");
    for statement in ["very secret", "incr_restore", "CREATE DATABASE"] {
        assert!(!log.contains(statement), "{statement}: {log}");
    }
    c.set("pg_incrbackup.drill_conninfo", &format!("'{conninfo}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.drill_conninfo") == conninfo
    });
    assert_eq!(
        c.sql("SELECT result, restored_to FROM incr_drill()"),
        format!("passed|{conninfo}")
    );
    other.stop();
    let found = drill(&c);
    assert!(
        found.starts_with("not done|") && found.contains("psql failed"),
        "{found}"
    );
    assert!(c.health().starts_with("warning"), "{}", c.health());
}

#[test]
fn where_there_is_no_room_for_a_copy_none_is_begun() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let oid = c.sql("SELECT oid FROM pg_database WHERE datname = 'app'");
    let huge = c.data_directory().join("base").join(oid).join("999999999");
    run(Command::new("truncate").args(["-s", "8T"]).arg(&huge));
    let found = drill(&c);
    assert!(
        found.starts_with("not done|") && found.contains("not enough free space"),
        "{found}"
    );
    assert!(!c.log().contains("CREATE DATABASE"));
    fs::remove_file(huge).expect("it can be removed");
    assert_eq!(drill(&c), "passed|{}");
}

#[test]
fn what_cannot_be_asked_of_a_drill_is_refused_with_a_reason() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let error = c.sql_error("SELECT * FROM incr_drill()");
    assert_eq!(error.sqlstate, "42704", "{error}");
    c.sql("SELECT * FROM incr_setup()");
    for conninfo in [
        "shop",
        "host=/tmp password=x",
        "postgres://bob:secret@localhost/x",
    ] {
        let error = c.sql_error(&format!("SELECT * FROM incr_drill('{conninfo}')"));
        assert_eq!(error.sqlstate, "22023", "{conninfo}: {error}");
        assert!(!error.hint.is_empty(), "{conninfo}: {error}");
    }
    let error = c.sql_error("BEGIN; CREATE TABLE t (a int); SELECT * FROM incr_drill()");
    assert_eq!(error.sqlstate, "25001", "{error}");
    c.sql("CREATE ROLE tester LOGIN; GRANT EXECUTE ON FUNCTION incr_drill TO tester");
    let error = c.sql_error("SET ROLE tester; SELECT * FROM incr_drill('host=/tmp')");
    assert_eq!(error.sqlstate, "42501", "{error}");
    assert_eq!(
        c.sql("SET ROLE tester; SELECT result FROM incr_drill()"),
        "passed"
    );
}

#[test]
fn a_scheduled_drill_is_made_once_and_again_where_it_could_not_be_made() {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("pg_incrbackup.drill_schedule", &every_day())
        .back_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.set_day(3, "");
    wait_until("the drill that is due is made", || records(&c) == 1);
    wait_until("it has passed", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'drill'") == "passed"
    });
    c.restart();
    wait_until("the launcher has looked", || {
        c.sql("SELECT worker, state FROM incr_status()")
            .contains("expiry|done")
    });
    assert_eq!(records(&c), 1);
    c.set(
        "pg_incrbackup.drill_conninfo",
        "'host=/nowhere password=hush'",
    );
    c.set_day(4, "");
    c.restart();
    wait_until("it could not be made", || {
        c.health().contains("could not run")
    });
    let written = fs::read_to_string(c.database_directory().join("drills.jsonl"));
    assert!(!written.expect("it can be read").contains("hush"));
    c.set("pg_incrbackup.drill_conninfo", "''");
    c.set_day(5, "");
    c.restart();
    wait_until("it is made when it can be", || c.health().starts_with("ok"));
}

#[test]
fn health_tells_when_the_last_drill_that_passed_is_too_old() {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("pg_incrbackup.drill_max_age", "'8d'")
        .back_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let level = "SELECT level FROM incr_slot_health()";
    c.set_day(100, "");
    assert_eq!(c.sql(level), "ok", "nobody has asked: {}", c.health());
    assert_eq!(drill(&c), "passed|{}");
    for (day, expected) in [(107, "ok"), (109, "warning"), (117, "critical")] {
        c.set_day(day, "");
        assert_eq!(c.sql(level), expected, "day {day}: {}", c.health());
    }
    assert!(c.health().contains("drill_max_age"), "{}", c.health());
    assert!(c.is_true("SELECT drill_age BETWEEN '16 days' AND '18 days' FROM incr_slot_health()"));
    c.set("pg_incrbackup.drill_max_age", "0");
    wait_until("the setting is read", || c.sql(level) == "ok");
}

#[test]
fn a_newer_server_is_restored_to_and_its_rows_are_compared() {
    let c = Cluster::backed_up();
    if c.version() == 18 {
        return harness::skipped("there is no newer one");
    }
    c.sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')");
    let newer = Cluster::builder()
        .version(18)
        .without("shared_preload_libraries")
        .start();
    let conninfo = format!("host={} port=5432 user=postgres", newer.root().display());
    let call = format!("SELECT result, problems, rows FROM incr_drill('{conninfo}')");
    assert_eq!(c.sql(&call), "passed|{}|1");
}
