//! "The drill died, and left a second copy of the database on the primary." Whatever ends a drill, its programs
//! end with it, the scratch database goes soon after, and neither capture nor bases notice.

use crate::drill::{drill, records, DATABASES, ROLES};
use crate::drill_throwaway::{assert_no_server_is_left, servers};
use harness::{wait_until, wait_until_within, Cluster};
use std::fs;
use std::time::Duration;

/// Sessions that wait in the check of the table: the restore is in the midst of rows, and roles are made.
const IN_SCRATCH: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'pg\\_incrbackup\\_drill\\_%' AND wait_event = 'PgSleep'";
const WORKER: &str = "SELECT pid FROM incr_status() WHERE worker = 'drill' AND pid IS NOT NULL";

/// A database whose restore takes an hour: a constraint waits where it is not at home.
fn endless() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE gone; CREATE TABLE his (a int); ALTER TABLE his OWNER TO gone;
         CREATE FUNCTION slow(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
           IF current_database() <> 'app' THEN PERFORM pg_sleep(3600); END IF; RETURN true; END $$;
         CREATE TABLE t (a int CHECK (public.slow(a))); INSERT INTO t VALUES (1);
         SELECT incr_dump(); ALTER TABLE his OWNER TO postgres; DROP ROLE gone",
    );
    c
}

/// Starts a drill, which is in the midst of its restore when this returns; gives its worker.
fn in_the_midst(c: &Cluster) -> String {
    c.sql("SELECT result FROM incr_drill(wait => false)");
    wait_until_it_sleeps(c);
    c.sql(WORKER)
}

/// The same on the source's own server, as a superuser.
fn in_the_midst_of_the_source(c: &Cluster) -> String {
    let conninfo = own_server(c);
    c.sql(&format!(
        "SELECT result FROM incr_drill('{conninfo}', wait => false)"
    ));
    wait_until("the restore has begun to sleep", || {
        c.sql(IN_SCRATCH) == "1"
    });
    c.sql(WORKER)
}

fn own_server(c: &Cluster) -> String {
    format!("host={} port=5432 user=postgres", c.root().display())
}

/// A process of the throwaway server has begun to load the rows of the table whose check waits.
fn wait_until_it_sleeps(c: &Cluster) {
    wait_until("the restore has begun to sleep", || {
        servers(c).iter().any(|title| title.ends_with("COPY"))
    });
}

/// Nothing is left but the record of a drill that was interrupted, which is no failure.
fn assert_gone(c: &Cluster, before: &str) {
    let everything = format!("{DATABASES}; {ROLES}");
    wait_until("the scratch database and the role are dropped", || {
        c.try_sql(&everything).is_ok_and(|now| now == before)
    });
    wait_until("it is on record", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'drill'") == "interrupted"
    });
    assert_no_server_is_left(c);
    wait_until("nothing tells of it any more", || {
        !c.database_directory().join("drill.json").exists()
    });
    wait_until("health is ok", || c.health().starts_with("ok"));
    assert_eq!(records(c), 1);
}

fn before(c: &Cluster) -> String {
    c.sql(&format!("{DATABASES}; {ROLES}"))
}

#[test]
fn a_drill_that_is_told_to_end_ends_with_its_programs_and_is_tidied_up() {
    let c = endless();
    let before = before(&c);
    let worker = in_the_midst(&c);
    assert_eq!(c.sql(ROLES), before_roles(&before), "no role is made here");
    c.sql(&format!("SELECT pg_terminate_backend({worker})"));
    wait_until("the server has ended", || servers(&c).is_empty());
    assert_gone(&c, &before);
}

#[test]
fn a_drill_on_the_sources_server_that_is_told_to_end_is_tidied_up() {
    let c = endless();
    let before = before(&c);
    let worker = in_the_midst_of_the_source(&c);
    assert_ne!(c.sql(ROLES), before_roles(&before), "a role is made");
    c.sql(&format!("SELECT pg_terminate_backend({worker})"));
    wait_until("nobody works in the scratch database", || {
        c.sql(IN_SCRATCH) == "0"
    });
    assert_gone(&c, &before);
}

fn before_roles(before: &str) -> &str {
    before.rsplit('\n').next().unwrap_or_default()
}

#[test]
fn a_crash_in_the_midst_of_a_drill_is_tidied_up_after() {
    let c = endless();
    let before = before(&c);
    let worker = in_the_midst(&c);
    c.kill(&worker);
    c.wait_for_connections();
    assert_gone(&c, &before);
    let worker = in_the_midst_of_the_source(&c);
    c.kill(&worker);
    c.wait_for_connections();
    wait_until("the scratch database and the role are dropped", || {
        c.try_sql(&format!("{DATABASES}; {ROLES}"))
            .is_ok_and(|now| now == before)
    });
    c.sql("INSERT INTO his VALUES (1)");
    c.flush();
}

#[test]
fn a_server_that_is_stopped_does_not_wait_for_a_drill_and_tidies_up_when_it_is_back() {
    let c = endless();
    let before = before(&c);
    in_the_midst(&c);
    c.restart();
    assert_gone(&c, &before);
}

#[test]
fn a_query_that_is_cancelled_ends_its_drill() {
    let c = endless();
    let before = before(&c);
    let mut session = c.session();
    let pid = session.run("SELECT pg_backend_pid()");
    session.send("SELECT * FROM incr_drill()");
    wait_until_it_sleeps(&c);
    c.sql(&format!("SELECT pg_cancel_backend({pid})"));
    assert!(session.finish().contains("canceling"));
    assert_gone(&c, &before);
}

#[test]
fn a_second_drill_is_refused_and_neither_capture_nor_a_base_waits_for_the_first() {
    let c = endless();
    let before = before(&c);
    let worker = in_the_midst(&c);
    let error = c.sql_error("SELECT * FROM incr_drill()");
    assert_eq!(error.sqlstate, "55006", "{error}");
    c.sql("CREATE TABLE meanwhile (a int); INSERT INTO meanwhile VALUES (1); SELECT incr_flush('2min'); SELECT incr_rotate()");
    assert!(c
        .stream()
        .contains("INSERT INTO public.meanwhile (a) VALUES (1)"));
    c.sql("SELECT incr_dump()");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let databases = c.sql("SELECT count(*) FROM incr_cluster_health()");
    assert_eq!(databases, "1", "the scratch database is nobody's");
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'"),
        "1"
    );
    c.sql(&format!("SELECT pg_terminate_backend({worker})"));
    assert_gone(&c, &before);
}

#[test]
fn a_database_that_is_dropped_takes_its_drill_along() {
    let c = endless();
    in_the_midst(&c);
    c.sql_in("postgres", "DROP DATABASE app");
    wait_until_within(
        Duration::from_secs(90),
        "the throwaway server is removed",
        || servers(&c).is_empty() && !c.database_directory().join("drill.json").exists(),
    );
    assert_no_server_is_left(&c);
}

#[test]
fn teardown_ends_a_drill() {
    let c = endless();
    in_the_midst(&c);
    c.sql("SELECT incr_teardown()");
    wait_until_within(
        Duration::from_secs(90),
        "the throwaway server is removed",
        || !c.database_directory().join("drill.json").exists(),
    );
    assert_no_server_is_left(&c);
}

#[test]
fn a_database_of_the_users_with_a_similar_name_is_not_touched() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.sql("CREATE DATABASE pg_incrbackup_drill_of_mine");
    c.sql("CREATE DATABASE pg_incrbackup_drill_1_2");
    let before = c.sql(DATABASES);
    assert_eq!(drill(&c), "passed|{}");
    assert_eq!(c.sql(DATABASES), before);
}

#[test]
fn a_scratch_database_that_no_drill_of_ours_has_left_behind_is_not_dropped() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    assert_eq!(drill(&c), "passed|{}");
    let name = c.sql(
        "SELECT 'pg_incrbackup_drill_' || system_identifier || '_' || oid
         FROM pg_control_system(), pg_database WHERE datname = 'app'",
    );
    c.sql(&format!("CREATE DATABASE {name}"));
    let call = format!(
        "SELECT result, problems FROM incr_drill('{}')",
        own_server(&c)
    );
    let found = c.sql(&call);
    assert!(
        found.starts_with("not done|") && found.contains("already exists"),
        "{found}"
    );
    assert!(c.sql(DATABASES).contains(&name));
    assert_eq!(drill(&c), "passed|{}", "a throwaway server has none");
    c.sql(&format!("DROP DATABASE {name}"));
    assert_eq!(c.sql(&call), "passed|{}");
}

/// The scratch database until its restore is complete.
fn restoring(c: &Cluster) -> String {
    c.sql(
        "SELECT format('pg_incrbackup_drill_%s_%s.restoring', system_identifier, oid)
         FROM pg_control_system(), pg_database WHERE datname = 'app'",
    )
}

/// A drill on the source's own server has begun, and nobody has tidied up.
fn note_begun(c: &Cluster) {
    let note = format!(
        r#"{{"started_at": "2026-11-20T04:00:00.000000Z", "database_oid": {}, "conninfo": "{}"}}"#,
        c.sql("SELECT oid FROM pg_database WHERE datname = 'app'"),
        own_server(c)
    );
    let place = c.database_directory();
    fs::write(place.join("drill.json"), note).expect("it can be written");
}

/// Its note is as versions before 0.4 wrote it, whose restore.sh noted what it had made.
#[test]
fn what_a_drill_of_a_former_version_has_left_is_dropped() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let before = before(&c);
    let name = restoring(&c);
    c.sql(&format!("CREATE DATABASE \"{name}\""));
    c.sql("CREATE ROLE made; CREATE ROLE in_use LOGIN");
    let ids = c.sql(
        "SELECT string_agg('r' || oid, ' ') FROM pg_roles WHERE rolname IN ('made', 'in_use')",
    );
    let place = c.database_directory();
    fs::write(place.join("drill.made"), ids + "\n").expect("it can be written");
    note_begun(&c);
    assert_eq!(drill(&c), "passed|{}");
    c.sql("DROP ROLE in_use");
    assert_eq!(c.sql(&format!("{DATABASES}; {ROLES}")), before);
    assert!(!place.join("drill.made").exists() && !place.join("drill.json").exists());
}

/// A server process that creates a database notices later that its program is gone, and a role may be committed that the
/// drill could not note.
#[test]
fn what_a_killed_restore_is_still_creating_is_waited_for_and_dropped() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let before = before(&c);
    let name = restoring(&c);
    let place = c.database_directory();
    note_begun(&c);
    let mut killed = c.session_in("postgres");
    let locked = format!("SELECT pg_advisory_lock(hashtextextended('{name}', 7810187))");
    killed.run(&locked);
    let mut next = c.session();
    next.send("SELECT result, problems FROM incr_drill()");
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    wait_until("the drill waits for it", || c.sql(waits) == "1");
    killed.run(&format!("CREATE DATABASE \"{name}\""));
    killed.run("CREATE ROLE made");
    let made = c.sql("SELECT oid FROM pg_roles WHERE rolname = 'made'");
    c.sql_in(
        &name,
        &format!(
            r#"CREATE SCHEMA incr_restore; CREATE TABLE incr_restore.state (name text, value text);
               INSERT INTO incr_restore.state VALUES ('made', '{{"ids": ["r{made}"], "notes": []}}')"#
        ),
    );
    killed.run("SELECT pg_advisory_unlock_all()");
    assert_eq!(next.finish(), "passed|{}");
    assert_eq!(c.sql(&format!("{DATABASES}; {ROLES}")), before);
    assert!(!place.join("drill.json").exists());
}

/// It says nothing of the archive, and is no alarm.
#[test]
fn a_server_that_goes_away_while_it_is_restored_to_is_not_the_archives_fault() {
    let c = endless();
    let other = Cluster::builder().own_system_identifier().start();
    let everything = format!("{DATABASES}; {ROLES}");
    let before = other.sql(&everything);
    let conninfo = format!("host={} port=5432 user=postgres", other.root().display());
    let call = format!("SELECT result FROM incr_drill('{conninfo}')");
    let found = format!("SELECT result, problems FROM incr_drill('{conninfo}')");
    // At once, while roles are made, and in the midst of rows.
    let is_begun =
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'pg\\_incrbackup\\_drill\\_%'";
    let has_roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'gone'";
    for (what, moment) in [
        ("the database is there", is_begun),
        ("a role is made", has_roles),
        ("the restore has begun to sleep", IN_SCRATCH),
    ] {
        wait_until("what the one before has left is dropped", || {
            !c.database_directory().join("drill.json").exists() && c.sql(WORKER).is_empty()
        });
        let mut session = c.session();
        session.send(&found);
        wait_until(what, || other.sql(moment) == "1");
        other.restart();
        let found = session.finish();
        assert!(found.starts_with("not done|"), "{what}: {found}");
        assert!(c.health().starts_with("warning"), "{}", c.health());
    }
    c.sql("CREATE OR REPLACE FUNCTION slow(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; SELECT incr_dump()");
    // While what the first has left behind is being dropped, another is refused.
    wait_until("another drill has passed", || {
        c.try_sql(&call).is_ok_and(|result| result == "passed")
    });
    assert_eq!(other.sql(&everything), before);
}

#[test]
fn nothing_expires_that_a_drill_has_yet_to_read() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let mut ddl = c.session();
    ddl.run("BEGIN; CREATE TABLE u (a int)");
    c.sql("SELECT result FROM incr_drill(wait => false)");
    wait_until("the drill waits for the end of the DDL", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'drill'") == "waiting for a snapshot"
    });
    let error = c.sql_error("SELECT * FROM incr_expire(false)");
    assert_eq!(error.sqlstate, "55006", "{error}");
    ddl.run("COMMIT");
    wait_until("the drill has passed", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'drill'") == "passed"
    });
    wait_until("nobody reads any more", || {
        c.try_sql("SELECT * FROM incr_expire(false)").is_ok()
    });
}
