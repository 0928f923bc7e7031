//! "Two drills met on one server." Drills to the same server take turns, and what a killed one has made is removed from
//! the server on which it has made it, and from no other.

use crate::drill::{DATABASES, ROLES};
use harness::{run, wait_until, Cluster};
use std::os::unix::fs::symlink;
use std::process::Command;

const SPACES: &str = "SELECT string_agg(spcname, ' ' ORDER BY spcname) FROM pg_tablespace";
const WORKER: &str = "SELECT pid FROM incr_status() WHERE worker = 'drill' AND pid IS NOT NULL";

/// A role that only the base has, and rows whose restore takes an hour elsewhere.
const ENDLESS: &str = "CREATE TABLE his (a int); ALTER TABLE his OWNER TO gone;
     CREATE FUNCTION slow(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
       IF current_database() <> 'app' THEN PERFORM pg_sleep(3600); END IF; RETURN true; END $$;
     CREATE TABLE t (a int CHECK (public.slow(a))); INSERT INTO t VALUES (1); SELECT incr_dump()";

/// Sessions that wait in the check of the table.
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'pg\\_incrbackup\\_drill\\_%' AND wait_event = 'PgSleep'";

#[test]
fn drills_of_two_databases_to_one_server_take_turns() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE gone; CREATE DATABASE other");
    c.sql_in(
        "other",
        "CREATE EXTENSION pg_incrbackup; CREATE TABLE hers (a int); ALTER TABLE hers OWNER TO gone",
    );
    c.sql_in("other", "SELECT * FROM incr_setup()");
    c.sql(ENDLESS);
    c.sql_in("other", "ALTER TABLE hers OWNER TO postgres");
    c.sql("ALTER TABLE his OWNER TO postgres; DROP ROLE gone");
    let everything = format!("{DATABASES}; {ROLES}");
    let before = c.sql(&everything);
    let conninfo = format!("host={} port=5432 user=postgres", c.root().display());
    let begin = format!("SELECT result FROM incr_drill('{conninfo}', wait => false)");
    c.sql(&begin);
    wait_until("the first one restores", || c.sql(ASLEEP) == "1");
    let worker = c.sql(WORKER);
    c.sql_in("other", &begin);
    let state = |wanted: &str| {
        c.sql_in(
            "other",
            "SELECT state FROM incr_status() WHERE worker = 'drill'",
        ) == wanted
    };
    wait_until("the second one waits", || {
        state("waiting for other drills to the server")
    });
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_database WHERE datname ~ '^pg_incrbackup_drill_'"),
        "1"
    );
    c.sql(&format!("SELECT pg_terminate_backend({worker})"));
    wait_until("the second one has passed", || state("passed"));
    wait_until("the role and the databases are dropped", || {
        c.sql(&everything) == before
    });
    wait_until("nothing tells of the first one any more", || {
        !c.database_directory().join("drill.json").exists()
    });
    // The time that others take is not its own.
    let mut holder = c.session_in("postgres");
    holder.run("SELECT pg_advisory_lock(hashtextextended('pg_incrbackup drill', 7810187))");
    c.set("pg_incrbackup.drill_timeout", "'1s'");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.drill_timeout") == "1s"
    });
    c.sql_in("other", &begin);
    let of_worker = "SELECT now() - backend_start > '3 s' FROM pg_stat_activity WHERE application_name = 'pg_incrbackup drill' \
        AND backend_type <> 'client backend'";
    wait_until("it has waited for longer", || {
        c.sql(of_worker) == "t" || state("timed out")
    });
    assert!(state("waiting for other drills to the server"));
}

#[test]
fn what_a_killed_drill_has_made_is_removed_where_it_was_made() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE gone");
    let mut session = c.session();
    session.run("SET allow_in_place_tablespaces = on; CREATE TABLESPACE ts LOCATION ''");
    session.run("CREATE TABLE there (a int) TABLESPACE ts");
    c.sql(ENDLESS);
    c.sql("ALTER TABLE his OWNER TO postgres; DROP ROLE gone");
    let [first, second] = [(); 2].map(|()| Cluster::builder().own_system_identifier().start());
    let everything = format!("{DATABASES}; {ROLES}; {SPACES}");
    let before = first.sql(&everything);
    let directory = c.root().join("target");
    let lead_to = |target: &Cluster| {
        let next = c.root().join("next");
        symlink(target.root(), &next).expect("it can be made");
        std::fs::rename(&next, &directory).expect("one file system");
    };
    let conninfo = format!("host={} port=5432 user=postgres", directory.display());
    let begin = format!("SELECT result FROM incr_drill('{conninfo}', wait => false)");

    // Killed between the making of a tablespace and the note of it.
    lead_to(&first);
    let mut holder = first.session();
    holder.run("BEGIN; LOCK TABLE pg_tablespace IN SHARE MODE");
    c.sql(&begin);
    wait_until("the tablespace is about to be made", || {
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'pg_tablespace'::regclass AND NOT granted";
        first.sql(waits) == "1"
    });
    let worker = c.sql(WORKER);
    run(Command::new("kill").args(["-STOP", &worker]));
    holder.run("COMMIT");
    wait_until("it is there", || first.sql(SPACES).contains("ts"));
    c.kill(&worker);
    c.wait_for_connections();
    wait_until("it is dropped", || first.sql(&everything) == before);
    let note = || c.database_directory().join("drill.json").exists();
    wait_until("nothing tells of it any more", || !note());

    // Killed while its connection parameters lead to one server, and found when they lead to another one, where roles
    // have the same OIDs.
    c.sql(&begin);
    wait_until("it restores", || first.sql(ASLEEP) == "1");
    let oid = first.sql("SELECT oid FROM pg_roles WHERE rolname = 'gone'");
    c.crash();
    second.sql(
        "DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format('CREATE ROLE r%s', n); END LOOP; END $$",
    );
    let innocent = format!("SELECT count(*) FROM pg_roles WHERE oid = {oid}");
    assert_eq!(second.sql(&innocent), "1", "{oid}");
    let untouched = second.sql(&everything);
    lead_to(&second);
    c.start();
    wait_until("nothing tells of it any more", || !note());
    assert_eq!(second.sql(&everything), untouched);
    assert!(
        c.log()
            .contains("a drill that did not end is another one now"),
        "it is told"
    );
    assert!(first.sql(ROLES).contains("gone"));
}
