//! "My primary died, and the backup knew more than the standby that took over." From 17 on our slots are failover slots: the
//! standby has them, and nothing is in the files that it lacks.

use harness::{program, skipped, wait_until, wait_until_within, Cluster};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

const TABLE: &str = "CREATE TABLE t (a int PRIMARY KEY)";

/// What a server without failover slots has no tests for.
fn are_there_none(c: &Cluster) -> bool {
    if c.version() < 17 {
        skipped("failover slots exist from 17 on");
    }
    c.version() < 17
}

/// A primary, and a standby that has our slot and that nobody overtakes.
fn pair(reader: &str) -> Option<(Cluster, Cluster)> {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", reader)
        .back_up();
    if are_there_none(&c) {
        return None;
    }
    let standby = c.standby("s1");
    c.set("synchronized_standby_slots", "'s1'");
    c.sql(TABLE);
    c.flush();
    standby.wait_for_synced_slot();
    Some((c, standby))
}

fn capture(c: &Cluster, column: &str) -> String {
    c.sql(&format!(
        "SELECT {column} FROM incr_status() WHERE worker = 'capture'"
    ))
}

fn wait_until_capture_waits(c: &Cluster) {
    wait_until("capture waits for the standby", || {
        capture(c, "state") == "waiting for a standby"
    });
}

/// Whether the files have that row.
fn has(c: &Cluster, row: u32) -> bool {
    c.stream().contains(&format!("VALUES ({row});"))
}

#[test]
fn the_slot_is_a_failover_slot_and_follows_the_setting() {
    let c = Cluster::backed_up();
    if are_there_none(&c) {
        return;
    }
    assert_eq!(c.slot("failover"), "t");
    // One that exists, made by an older version for all it knows.
    c.set("pg_incrbackup.failover", "off");
    wait_until("it is none", || c.slot_is("NOT failover AND active"));
    c.set("pg_incrbackup.failover", "on");
    wait_until("it is one again", || c.slot_is("failover AND active"));
    c.sql(TABLE);
    c.assert_restores();

    // While it is read it is not altered, nor waited for.
    c.set("pg_incrbackup.failover", "off");
    wait_until("it is none", || c.slot_is("NOT failover AND active"));
    c.set("pg_incrbackup.reader", "poll");
    c.set("pg_incrbackup.failover", "on");
    wait_until("poll has altered it", || c.slot_is("failover"));
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    assert_eq!(c.slot("failover"), "t");
}

fn a_commit_waits(reader: &str) {
    let Some((c, standby)) = pair(reader) else {
        return;
    };
    c.sql("INSERT INTO t VALUES (1)");
    c.flush();
    assert!(has(&c, 1));
    standby.stop();
    c.sql("INSERT INTO t VALUES (2)");
    let error = c.sql_error("SELECT incr_flush('2 s')");
    assert_eq!(error.sqlstate, "57014", "{error}");
    assert!(
        error
            .text
            .contains("replication slot \"s1\", whose standby is not connected"),
        "{error}"
    );
    assert!(!has(&c, 2), "{}", c.stream());
    let mut rotation = c.session();
    rotation.send("SELECT incr_rotate();");
    wait_until_capture_waits(&c);
    let detail = capture(&c, "detail");
    assert!(detail.starts_with("waits for replication slot \"s1\""));
    wait_until("health says so after a while", || {
        let health = c.health();
        health.starts_with("warning")
            && health.contains("capture has waited for")
            && health.contains("whose standby is not connected")
    });
    assert!(
        c.is_true("SELECT age > '9 s' FROM incr_slot_health()"),
        "{}",
        c.sql("SELECT age FROM incr_slot_health()")
    );
    wait_until("and the log", || {
        c.log().contains("waiting for replication slot \"s1\"")
    });
    assert!(!has(&c, 2), "{}", c.stream());

    standby.start();
    c.flush();
    assert!(has(&c, 2));
    // It was asked before: everything that was committed by then is in the segment that it has closed.
    let closed = rotation.finish();
    assert!(closed.contains(".sql"), "{closed}");
    wait_until("all is well", || c.health().starts_with("ok"));
    assert!(c.log().contains("have caught up"));
    assert_eq!(c.log().matches("waiting for replication slot").count(), 1);
    c.assert_restores();
}

#[test]
fn a_commit_reaches_the_files_when_the_standby_has_it() {
    a_commit_waits("stream");
}

#[test]
fn a_commit_reaches_the_files_of_the_slow_reader_when_the_standby_has_it() {
    a_commit_waits("poll");
}

#[test]
fn a_synchronous_commit_names_the_standby_that_is_away() {
    let Some((c, standby)) = pair("stream") else {
        return;
    };
    standby.stop();
    c.sql("INSERT INTO t VALUES (1)");
    wait_until("health says so after a while", || {
        c.health().contains("capture has waited for")
    });
    let mut session = c.session();
    session.run("SET pg_incrbackup.synchronous = on; SET pg_incrbackup.synchronous_timeout = 0");
    session.send("INSERT INTO t VALUES (2)");
    let said = session.output_within(Duration::from_secs(20));
    let said = said.expect("it does not wait for the standby");
    assert!(
        said.contains("not in the backup's files: capture has waited for")
            && said.contains("replication slot \"s1\", whose standby is not connected")
            && said.contains("HINT:  Start the standby, or take its slot"),
        "{said}"
    );
    session.run("SET pg_incrbackup.synchronous_on_timeout = wait");
    session.send("INSERT INTO t VALUES (3)");
    session.wait_for_line(|line| line.contains("capture has waited for"));
    standby.start();
    assert!(!session.finish().contains("WARNING:"));
    assert!(has(&c, 3));
}

#[test]
fn a_base_is_finished_when_the_standby_has_its_rows() {
    let Some((c, standby)) = pair("stream") else {
        return;
    };
    standby.stop();
    c.sql("INSERT INTO t VALUES (1)");
    let mut base = c.session();
    base.send("SELECT incr_dump();");
    base.wait_for_line(|line| {
        line.contains(
            "incr_dump() waits for replication slot \"s1\", whose standby is not connected",
        )
    });
    let bases = "SELECT count(*) FROM incr_files() WHERE kind = 'base'";
    assert_eq!(c.sql(bases), "1");
    let health = c.health();
    assert!(health.contains("a base backup waits for"), "{health}");
    standby.start();
    let path = base.finish();
    assert!(path.contains("/base/"), "{path}");
    assert_eq!(c.sql(bases), "2");
    c.assert_restores();
}

#[test]
fn nobody_waits_for_standbys_that_are_not_named_or_with_another_slot() {
    let Some((c, standby)) = pair("stream") else {
        return;
    };
    standby.stop();
    c.sql("INSERT INTO t VALUES (1)");
    wait_until_capture_waits(&c);
    // The setting is read again while it waits.
    c.set("synchronized_standby_slots", "''");
    c.flush();
    assert!(has(&c, 1));
    c.set("synchronized_standby_slots", "'s1'");
    c.set("pg_incrbackup.failover", "off");
    wait_until("it is no failover slot", || {
        c.slot_is("NOT failover AND active")
    });
    c.sql("INSERT INTO t VALUES (2)");
    c.flush();
    assert!(has(&c, 2));

    // A slot that does not exist stops the files, as it stops walsenders.
    c.set("pg_incrbackup.failover", "on");
    wait_until("it is a failover slot", || c.slot_is("failover AND active"));
    c.sql("SELECT pg_drop_replication_slot('s1'); INSERT INTO t VALUES (3)");
    wait_until_capture_waits(&c);
    let detail = capture(&c, "detail");
    assert!(detail.contains("\"s1\", which does not exist"), "{detail}");
    assert!(!has(&c, 3));
}

#[test]
fn commits_are_not_held_up_by_a_standby_that_is_there() {
    let Some((c, _standby)) = pair("stream") else {
        return;
    };
    // Some of them: a busy machine may hold one up for longer.
    let delays: Vec<Duration> = (1..=20)
        .map(|row| {
            let started = Instant::now();
            c.sql(&format!(
                "INSERT INTO t VALUES ({row}); SELECT incr_flush()"
            ));
            started.elapsed()
        })
        .collect();
    let quickest = delays.iter().min().copied().unwrap_or_default();
    println!("flush with a synchronized standby: {delays:?}");
    assert!(quickest < Duration::from_millis(500), "{delays:?}");
    assert_eq!(capture(&c, "state"), "caught up");
}

fn a_shutdown_is_quick(reader: &str) {
    let Some((c, standby)) = pair(reader) else {
        return;
    };
    standby.stop();
    c.sql("INSERT INTO t VALUES (1)");
    wait_until_capture_waits(&c);
    let started = Instant::now();
    c.stop();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(!has(&c, 1));
    c.start();
    wait_until_capture_waits(&c);
    // A worker that is told to exit while it waits, too.
    let pid = capture(&c, "pid");
    c.set("pg_incrbackup.copy_threshold", "0");
    wait_until_within(Duration::from_secs(30), "there is another one", || {
        let now = capture(&c, "pid");
        !now.is_empty() && now != pid
    });
    wait_until_capture_waits(&c);
    standby.start();
    c.flush();
    assert!(has(&c, 1));
    c.assert_restores();
}

#[test]
fn a_shutdown_does_not_wait_for_the_standby() {
    a_shutdown_is_quick("stream");
}

#[test]
fn a_shutdown_of_the_slow_reader_does_not_wait_for_the_standby() {
    a_shutdown_is_quick("poll");
}

#[test]
fn the_promoted_standby_has_all_that_is_in_the_files() {
    let Some((c, standby)) = pair("stream") else {
        return;
    };
    c.sql("INSERT INTO t SELECT generate_series(1, 100)");
    c.flush();
    // From here on the primary is ahead: a big transaction, and many small ones.
    standby.stop();
    c.sql("BEGIN; INSERT INTO t SELECT generate_series(101, 5000); COMMIT");
    let rows: String = (5001..5050)
        .map(|row| format!("INSERT INTO t VALUES ({row}); "))
        .collect();
    c.sql(&rows);
    let outcome = c.try_sql("SELECT incr_flush('3 s')");
    c.crash();
    standby.start();
    standby.promote();
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "100");
    assert_eq!(standby.slot("failover"), "t");
    let rows = rows_in_files(&c);
    assert_eq!(rows.len(), 100);
    assert_eq!(rows.into_iter().max(), Some(100));
    assert!(outcome.is_err());
    // The slot stands where the files end, so nothing is missing either.
    assert!(standby.slot_is("confirmed_flush_lsn <= pg_current_wal_lsn()"));
}

/// The keys of t at the end of the files.
fn rows_in_files(c: &Cluster) -> BTreeSet<u32> {
    let files = c.database_directory().display().to_string();
    let output = program(&[
        "extract",
        "--archive",
        &files,
        "--table",
        "public.t",
        "--format=csv",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    rows.lines().filter_map(|row| row.parse().ok()).collect()
}

#[test]
fn under_load_the_files_are_not_ahead_of_the_standby_that_takes_over() {
    let Some((c, standby)) = pair("stream") else {
        return;
    };
    c.sql("CREATE SEQUENCE s");
    let script = c.root().join("insert.sql");
    std::fs::write(&script, "INSERT INTO t VALUES (nextval('s'));").expect("it can be written");
    let mut load = c.installation().command("pgbench");
    load.args(["-n", "-c", "4", "-T", "60", "-f"]).arg(&script);
    let load = load.arg(c.conninfo(c.database())).stderr(Stdio::null());
    let mut load = load
        .stdout(Stdio::null())
        .spawn()
        .expect("pgbench can be run");
    wait_until("there are rows in the files", || {
        c.stream().contains("VALUES (2000);")
    });
    c.crash();
    load.wait().expect("pgbench ends with its server");
    wait_until("the standby has lost its primary", || {
        standby.is_true("SELECT count(*) = 0 FROM pg_stat_wal_receiver")
    });
    standby.promote();
    let files = rows_in_files(&c);
    let promoted = standby.sql("SELECT a FROM t");
    let promoted: BTreeSet<u32> = promoted
        .lines()
        .filter_map(|row| row.parse().ok())
        .collect();
    let surplus: Vec<&u32> = files.difference(&promoted).collect();
    assert!(files.len() > 1900, "{}", files.len());
    assert_eq!(surplus, Vec::<&u32>::new(), "of {}", files.len());
}

#[test]
fn check_and_health_say_what_a_failover_needs() {
    let c = Cluster::backed_up();
    if are_there_none(&c) {
        return;
    }
    let row = |c: &Cluster, name: &str| {
        c.sql(&format!(
            "SELECT state, found, todo FROM incr_check() WHERE name = '{name}'"
        ))
    };
    assert_eq!(row(&c, "synchronized_standby_slots"), "", "no standby");
    assert!(c.health().starts_with("ok|{}"), "{}", c.health());
    // Nobody uses this one: naming it would stop capture.
    c.sql("SELECT pg_create_physical_replication_slot('abandoned', true)");
    let standby = c.standby("s1");
    wait_until("the standby's slot is proposed", || {
        let row = row(&c, "synchronized_standby_slots");
        row.starts_with("note|empty: the files may run ahead")
            && row.contains("synchronized_standby_slots = 's1'")
    });
    wait_until("health notes it", || {
        let health = c.health();
        health.starts_with("ok|") && health.contains("synchronized_standby_slots is empty")
    });
    c.set("synchronized_standby_slots", "'s1'");
    wait_until("all is well", || {
        c.health().starts_with("ok|{}")
            && row(&c, "synchronized_standby_slots").starts_with("ok|s1")
    });

    standby.wait_for_synced_slot();
    let needed = [
        "sync_replication_slots",
        "hot_standby_feedback",
        "primary_slot_name",
        "primary_conninfo",
    ];
    for name in needed {
        assert!(row(&standby, name).starts_with("ok|"), "{name}");
    }
    let health = standby.health();
    assert!(
        health.starts_with("ok|") && health.contains("its slot is synchronized"),
        "{health}"
    );
    standby.set("sync_replication_slots", "off");
    standby.set("hot_standby_feedback", "off");
    standby.set("primary_slot_name", "''");
    standby.set("primary_conninfo", "'user=postgres password=secret'");
    wait_until("they are read", || {
        standby.sql("SHOW sync_replication_slots") == "off"
    });
    for name in needed {
        let row = row(&standby, name);
        assert!(row.starts_with("warning|"), "{row}");
        let todo = row.rsplit('|').next().unwrap_or_default();
        assert!(todo.contains(name) && !row.contains("secret"), "{row}");
    }
    assert!(standby.health().starts_with("ok|"), "{}", standby.health());
}
