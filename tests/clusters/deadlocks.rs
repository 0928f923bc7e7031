//! "The nightly base and an index that was built concurrently waited for each other all night." Who waits for a worker
//! of ours waits by no lock, so PostgreSQL's deadlock detector does not see that the worker waits for a session that waits
//! for this one. The cycle ends, and everybody else has what they wanted.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};

use harness::{give_to_server_user, wait_until, Cluster, Session};

/// Ends what would otherwise hang, long after a cycle is noticed.
const IMPATIENT: &str = "SET statement_timeout = '110 s'";

/// A session that builds an index and waits for `holder` so far: it has its lock on ddl_history.
fn building_an_index(c: &Cluster, table: &str) -> (Session, Session) {
    let mut holder = c.session();
    holder.run(&format!("BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE"));
    let mut builder = c.session();
    builder.run(IMPATIENT);
    builder.send(&format!("CREATE INDEX CONCURRENTLY made ON {table} (a)"));
    wait_until("the index waits for the holder of the table", || {
        waits(c, "CREATE INDEX%", "virtualxid")
    });
    (holder, builder)
}

/// Whether a session that runs such a query waits for a lock.
fn waits(c: &Cluster, query: &str, lock: &str) -> bool {
    c.is_true(&format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '{query}' AND pid <> pg_backend_pid() \
         AND wait_event_type = 'Lock' AND wait_event = '{lock}'"
    ))
}

/// The index waits for whoever has a snapshot now, and its session goes on.
fn let_go(c: &Cluster, holder: &mut Session) {
    holder.run("COMMIT");
    wait_until("the index waits for older snapshots", || {
        waits(c, "CREATE INDEX%", "virtualxid")
    });
}

fn assert_broken(output: &str, function: &str, work: &str) {
    assert!(
        output.contains("40P01")
            && output.contains(&format!("{function} and another session would wait"))
            && output.contains(&format!("The {work} waits for pid "))
            && output.contains(&format!("The {work} goes on without this session")),
        "{output}"
    );
}

fn assert_index_is_valid(c: &Cluster) {
    assert!(c.is_true("SELECT indisvalid FROM pg_index WHERE indexrelid = 'made'::regclass"));
}

#[test]
fn a_base_and_an_index_that_is_built_concurrently_do_not_wait_for_each_other() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1)");
    let before = c.bases().len();
    let (mut holder, mut builder) = building_an_index(&c, "t");
    let mut dump = c.session();
    dump.run(IMPATIENT);
    dump.send("SELECT incr_dump()");
    wait_until("the base waits for its fence", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'base'")
            == "waiting for the DDL fence"
    });
    let_go(&c, &mut holder);
    assert_broken(&dump.finish(), "incr_dump()", "base backup");
    let output = builder.finish();
    assert!(!output.contains("ERROR"), "{output}");
    assert_index_is_valid(&c);
    wait_until("the base is done", || c.bases().len() > before);
    c.assert_restores();
}

#[test]
fn a_setup_and_an_index_that_is_built_concurrently_do_not_wait_for_each_other() {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE EXTENSION pg_incrbackup");
    let (mut holder, mut builder) = building_an_index(&c, "t");
    let mut setup = c.session();
    setup.run(IMPATIENT);
    setup.send("SELECT * FROM incr_setup()");
    wait_until("setup waits for the table", || {
        c.is_true(
            "SELECT detail LIKE 'waits for a lock of table public.t%' FROM incr_status() WHERE worker = 'base'",
        )
    });
    let_go(&c, &mut holder);
    assert_broken(&setup.finish(), "incr_setup()", "base backup");
    let output = builder.finish();
    assert!(!output.contains("ERROR"), "{output}");
    assert_index_is_valid(&c);
    wait_until("the setup is done", || c.health().starts_with("ok"));
    c.assert_restores();
}

#[test]
fn a_drill_and_an_index_that_is_built_concurrently_do_not_wait_for_each_other() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1)");
    let (mut holder, mut builder) = building_an_index(&c, "t");
    let mut drill = c.session();
    drill.run(IMPATIENT);
    drill.send("SELECT result FROM incr_drill()");
    wait_until("the drill waits for its fence", || {
        c.is_true(
            "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'ddl_history'::regclass",
        )
    });
    let_go(&c, &mut holder);
    assert_broken(&drill.finish(), "incr_drill()", "drill");
    let output = builder.finish();
    assert!(!output.contains("ERROR"), "{output}");
    assert_index_is_valid(&c);
    wait_until("the drill is done", || {
        c.is_true("SELECT drill_age IS NOT NULL FROM incr_slot_health()")
    });
}

/// pg_dump waits for the file that is returned before it connects.
fn hold_pg_dump_up(c: &Cluster) -> std::path::PathBuf {
    let real = c.installation().bin();
    let bin = c.root().join("bin");
    fs::create_dir(&bin).expect("a directory can be made");
    for program in ["pg_dumpall", "psql", "pg_restore"] {
        symlink(real.join(program), bin.join(program)).expect("a link can be made");
    }
    let (script, signal) = (bin.join("pg_dump"), c.root().join("go"));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) ;; *) : >'{signal}.held'; until test -e '{signal}'; do sleep 0.1; done;; esac\nexec '{}' \"$@\"\n",
        real.join("pg_dump").display(),
        signal = signal.display(),
    );
    fs::write(&script, text).expect("a script can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    give_to_server_user(&bin);
    let bin = bin.display().to_string();
    c.set("pg_incrbackup.bin_directory", &format!("'{bin}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == bin
    });
    signal
}

/// A base is being made in `dump`, whose pg_dump is held up until the file that is returned is there.
fn begin_base(c: &Cluster, dump: &mut Session) -> std::path::PathBuf {
    let signal = hold_pg_dump_up(c);
    dump.run(IMPATIENT);
    dump.send("SELECT incr_dump()");
    let held = signal.with_extension("held");
    wait_until("pg_dump is about to connect", || held.exists());
    signal
}

#[test]
fn a_base_keeps_no_catalog_that_its_own_pg_dump_comes_to_wait_for() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    // Connected before everybody who connects waits.
    let mut vacuum = c.session();
    let mut dump = c.session();
    let signal = begin_base(&c, &mut dump);
    // The first look for a cycle comes after a second, and must keep none either.
    let output = vacuum.run("SELECT pg_sleep(2); SET lock_timeout = '100 s'; VACUUM FULL pg_class; VACUUM FULL pg_type; VACUUM FULL pg_database");
    assert!(!output.contains("ERROR"), "{output}");
    fs::write(&signal, "").expect("a file can be written");
    let output = dump.finish();
    assert!(!output.contains("ERROR"), "{output}");
    c.assert_restores();
}

#[test]
fn who_waits_for_a_base_and_holds_what_its_pg_dump_waits_for_is_told() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let before = c.bases().len();
    let (mut vacuum, mut dump) = (c.session(), c.session());
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    let mut looker = c.session();
    dump.run("BEGIN; SELECT count(*) FROM pg_authid");
    let signal = begin_base(&c, &mut dump);
    vacuum.send("SET statement_timeout = '110 s'; VACUUM FULL pg_authid");
    wait_until("the vacuum waits", || looker.run(waiting).ends_with('1'));
    fs::write(&signal, "").expect("a file can be written");
    assert_broken(&dump.finish(), "incr_dump()", "base backup");
    let output = vacuum.finish();
    assert!(!output.contains("ERROR"), "{output}");
    dump.run("ROLLBACK");
    wait_until("the base is done", || c.bases().len() > before);
    c.assert_restores();
}

/// Names are everybody's to choose.
#[test]
fn a_session_that_is_called_like_our_programs_ends_nobody_elses_dump() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("CREATE ROLE stranger LOGIN");
    let mut stranger = c.session();
    stranger.run("SELECT 1;\n\\connect - stranger\nSET application_name = 'pg_incrbackup base'");
    let mut dump = c.session();
    // No program of ours wants it.
    dump.run("SELECT pg_advisory_lock(1)");
    let signal = begin_base(&c, &mut dump);
    stranger.send("SET statement_timeout = '110 s'; SELECT pg_advisory_lock(1)");
    wait_until("the stranger waits for the dump", || {
        waits(&c, "%pg_advisory_lock%", "advisory")
    });
    // Two looks would see a cycle, one after a second, one a second later; without one they are rarer.
    wait_until("there were some looks for a cycle", || {
        c.is_true("SELECT clock_timestamp() - query_start > '8 s' FROM pg_stat_activity WHERE query LIKE 'SELECT incr_dump%' AND state = 'active'")
            || c.is_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'SELECT incr_dump%' AND state = 'active'")
    });
    fs::write(&signal, "").expect("a file can be written");
    let said = dump.finish();
    dump.run("SELECT pg_advisory_unlock(1)");
    stranger.finish();
    assert!(!said.contains("40P01") && !said.contains("ERROR"), "{said}");
    c.assert_restores();
}
