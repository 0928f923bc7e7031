//! "The primary died, the standby was promoted: does my backup go on, and does it tell the truth?" One archive, seen by two
//! servers; the slot came along as Patroni brings it on 15 and 16: its file is copied to the stopped standby.

use harness::{give_to_server_user, processes, run, skipped, wait_until, Cluster};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TAKE_OVER: &str = "SELECT * FROM incr_setup(take_over => true)";
const OWNER_STEP: &str =
    "SELECT status, detail FROM incr_setup(take_over => true) s WHERE step = 'owner'";
pub const NUMBERS: &str = "SELECT string_agg(a::text, ',' ORDER BY a) FROM t";

/// A primary whose standby keeps what its slots need.
pub fn primary() -> Cluster {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("autovacuum", "off")
        .setting("hot_standby_feedback", "on")
        .setting("wal_receiver_status_interval", "1")
        .setting("wal_retrieve_retry_interval", "100ms")
        .back_up();
    c.sql("SELECT pg_create_physical_replication_slot('standby', true)");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("SELECT incr_rotate()");
    c
}

/// A standby of it that has the slot, and has received everything so far.
pub fn standby_of(primary: &Cluster) -> Cluster {
    let standby = Cluster::builder().with_failpoints().create();
    fs::remove_dir_all(standby.data_directory()).expect("it was never started");
    let mut copy = primary.installation().command("pg_basebackup");
    copy.arg("-d").arg(primary.conninfo("postgres"));
    copy.args(["-c", "fast", "-S", "standby", "-D"]);
    run(copy.arg(standby.data_directory()));
    standby.write_setting(
        "unix_socket_directories",
        &format!("'{}'", standby.root().display()),
    );
    let conninfo = primary.conninfo("postgres").replace('\'', "''");
    standby.write_setting("primary_conninfo", &format!("'{conninfo}'"));
    standby.write_setting("primary_slot_name", "'standby'");
    let signal = standby.data_directory().join("standby.signal");
    fs::write(&signal, "").expect("the server is down");
    give_to_server_user(&signal);
    symlink(primary.archive_directory(), standby.archive_directory()).expect("a link can be made");
    let begin = primary.sql("SELECT pg_current_wal_lsn()");
    standby.start();
    wait_until("the slot needs nothing from before the copy", || {
        primary.sql("CHECKPOINT; INSERT INTO t SELECT coalesce(max(a), 0) + 1 FROM t");
        primary.flush();
        primary.is_true(&format!(
            "SELECT restart_lsn > '{begin}' FROM pg_replication_slots WHERE slot_type = 'logical'"
        ))
    });
    wait_for_replay(primary, &standby);
    standby.stop();
    copy_slot(primary, &standby);
    standby.start();
    wait_for_replay(primary, &standby);
    standby
}

fn copy_slot(from: &Cluster, to: &Cluster) {
    let name = from.sql("SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical'");
    from.sql("CHECKPOINT");
    let slots = |c: &Cluster| c.data_directory().join("pg_replslot");
    run(Command::new("cp")
        .arg("-a")
        .arg(slots(from).join(name))
        .arg(slots(to)));
}

pub fn wait_for_replay(primary: &Cluster, standby: &Cluster) {
    let lsn = primary.sql("SELECT pg_current_wal_flush_lsn()");
    wait_until("the standby has all", || {
        standby.is_true(&format!(
            "SELECT coalesce(pg_last_wal_replay_lsn() >= '{lsn}', false)"
        ))
    });
}

pub fn promote(standby: &Cluster) {
    standby.sql("SELECT pg_promote()");
    standby.wait_for_connections();
}

/// The primary loses its standby: what it writes from now on is only there.
pub fn alone(standby: &Cluster) {
    standby.stop();
}

/// Takes the archive over where something will be set apart. Capture, which does that, may be faster than the last step,
/// which then says that the chain is broken.
pub fn take_over_broken(c: &Cluster) {
    if let Err(error) = c.try_sql(TAKE_OVER) {
        assert!(
            error.text.contains("in the history of this server"),
            "{error}"
        );
    }
}

pub fn chain(c: &Cluster, number: u32) -> PathBuf {
    c.database_directory().join(format!("chain-{number}"))
}

pub fn ended(c: &Cluster) -> String {
    let json = fs::read_to_string(chain(c, 1).join("chain.json")).expect("there is a chain");
    let line = json.lines().find(|line| line.contains("\"reason\""));
    line.unwrap_or_default().to_owned()
}

/// Numbers in the restore, which is the same as the server's database.
pub fn restored(c: &Cluster, options: &[&str]) -> String {
    let restored = c.restore(options);
    c.sql_in(&restored.database, NUMBERS)
}

fn headers(c: &Cluster) -> Vec<String> {
    let segments = c.segments();
    let lines = segments.iter().filter_map(|s| s.text.lines().nth(1));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_promoted_standby_goes_on_in_the_same_chain() {
    let c = primary();
    let standby = standby_of(&c);
    c.sql("INSERT INTO t VALUES (1000)");
    let before = c.flush();
    wait_for_replay(&c, &standby);
    c.crash();
    promote(&standby);
    standby.sql("INSERT INTO t VALUES (1001)");
    wait_until("capture is refused", || {
        standby.health().contains("belongs to")
    });
    let step = standby.sql(OWNER_STEP);
    assert!(step.starts_with("taken over|"), "{step}");
    standby.sql("INSERT INTO t VALUES (1002)");
    standby.assert_restores_both_ways();
    assert!(standby.health().starts_with("ok"), "{}", standby.health());
    assert_eq!(standby.sql("SELECT max(chain) FROM incr_files()"), "1");
    assert_eq!(ended(&standby), "");
    let headers = headers(&standby);
    let switched = headers.iter().filter(|line| line.contains(" switched_at="));
    assert_eq!(switched.count(), 1, "{headers:#?}");
    assert!(headers
        .last()
        .is_some_and(|line| line.contains(" timeline=2 ")));
    // A moment before the switch, by the same chain.
    let all = standby.sql(NUMBERS);
    let first = restored(&standby, &["--until-lsn", &before]);
    assert_eq!(format!("{first},1001,1002"), all);
    // Each once.
    let of_1000 = standby.stream().matches("(1000)").count();
    assert_eq!(of_1000, 1);
    // The next restart goes on, too.
    standby.restart();
    standby.sql("INSERT INTO t VALUES (1003)");
    standby.assert_restores();
}

#[test]
fn idle_positions_behind_the_switch_do_not_hide_commits() {
    let c = primary();
    let standby = standby_of(&c);
    alone(&standby);
    for _ in 0..3 {
        c.sql("SELECT pg_switch_wal()");
        c.flush();
    }
    let end = c.flush();
    c.crash();
    standby.start();
    promote(&standby);
    assert!(standby.is_true(&format!("SELECT pg_current_wal_lsn() < '{end}'")));
    standby.sql("INSERT INTO t VALUES (1001)");
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (1002)");
    standby.assert_restores();
    assert!(standby.health().starts_with("ok"), "{}", standby.health());
    assert_eq!(standby.sql("SELECT max(chain) FROM incr_files()"), "1");
    assert!(!chain(&standby, 1).join("lost-1").exists());
}

fn bases(c: &Cluster) -> Vec<PathBuf> {
    let listed = fs::read_dir(chain(c, 1).join("base")).expect("there is a chain");
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// As where retention has removed all but the newest one.
#[test]
fn where_every_base_is_behind_the_switch_another_is_taken() {
    let c = primary();
    let standby = standby_of(&c);
    alone(&standby);
    let first = bases(&c);
    c.sql("SELECT pg_switch_wal()");
    c.flush();
    c.sql("SELECT incr_dump()");
    c.crash();
    for path in &first {
        fs::remove_dir_all(path).expect("it is there");
    }
    let behind = bases(&c);
    assert_eq!(behind.len(), 1);
    standby.start();
    promote(&standby);
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (1002)");
    wait_until("another base is there", || {
        let now = bases(&standby);
        now.len() == 1 && now != behind && standby.health().starts_with("ok")
    });
    // Not `assert_restores`: the first base is missing.
    assert_eq!(restored(&standby, &[]), standby.sql(NUMBERS));
    assert!(chain(&standby, 1).join("lost-1").exists());
    assert_eq!(ended(&standby), "");
}

fn owner_of(path: &Path) -> String {
    fs::read_to_string(path.join("owner.json")).expect("there is an owner")
}

/// Both are primary for a while: the lock decides.
#[test]
fn by_itself_it_waits_for_the_former_primary_to_end_and_that_one_does_not_come_back() {
    let c = primary();
    let standby = standby_of(&c);
    for server in [&c, &standby] {
        server.write_setting("pg_incrbackup.take_over", "on_promotion");
        server.write_setting("pg_incrbackup.take_over_delay", "2");
        server.sql_in("postgres", "SELECT pg_reload_conf()");
    }
    promote(&standby);
    standby.sql("INSERT INTO t VALUES (1001)");
    wait_until("it says what it waits for", || {
        standby
            .health()
            .contains("waits for the owner, which holds its lock")
    });
    let error = standby.sql_error(TAKE_OVER);
    assert!(error.message.contains("is being written by"), "{error}");
    // Longer than the delay.
    c.sql("INSERT INTO t VALUES (5001); SELECT pg_sleep(4)");
    c.flush();
    assert!(owner_of(&c.database_directory()).contains(&c.data_directory().display().to_string()));
    c.crash();
    standby.write_setting("pg_incrbackup.on_chain_break", "rebase");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    wait_until(
        "it goes on by itself, and begins anew after what is lost",
        || chain(&standby, 2).exists() && standby.health().starts_with("ok"),
    );
    let log = standby.log();
    assert_eq!(
        log.matches("which was promoted, takes it over when")
            .count(),
        1,
        "{log}"
    );
    assert_eq!(
        log.matches("has taken over the archive").count(),
        1,
        "{log}"
    );
    assert!(ended(&standby).contains("lost-1"), "{}", ended(&standby));
    standby.sql("INSERT INTO t VALUES (1002)");
    standby.assert_restores();
    c.start();
    c.sql("INSERT INTO t VALUES (5002)");
    wait_until("the former primary is refused", || {
        let health = c.health();
        health.contains("belongs to") && health.contains("is no former one of this server")
    });
    let error = c.sql_error(TAKE_OVER);
    assert!(error.message.contains("is being written by"), "{error}");
    standby.assert_restores();
    assert!(!standby.stream().contains("(5002)"));
}

#[test]
fn a_former_primary_that_comes_back_is_refused() {
    let c = primary();
    let standby = standby_of(&c);
    c.crash();
    promote(&standby);
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (1001)");
    standby.flush();
    c.start();
    c.sql("INSERT INTO t VALUES (5001)");
    wait_until("it is refused", || c.health().contains("belongs to"));
    let error = c.sql_error(TAKE_OVER);
    assert!(error.message.contains("is being written by"), "{error}");
    standby.sql("INSERT INTO t VALUES (1002)");
    standby.assert_restores();
    assert!(!standby.stream().contains("(5001)"));
    assert!(owner_of(&standby.database_directory())
        .contains(&standby.data_directory().display().to_string()));
}

/// Stops the postmaster, so that nothing is started any more, and then all that it has started.
fn stop_all(c: &Cluster) -> Vec<u32> {
    let postmaster = processes::postmaster(c).expect("it is running");
    c.signal(&postmaster.to_string(), "STOP");
    let mut pids = vec![postmaster];
    loop {
        let found = processes::below(postmaster).into_iter().map(|(pid, _)| pid);
        let new: Vec<u32> = found.filter(|pid| !pids.contains(pid)).collect();
        if new.is_empty() {
            return pids;
        }
        for pid in &new {
            signal_if_there(*pid, "STOP");
        }
        pids.extend(new);
    }
}

/// One that has ended since it was listed needs no signal.
fn signal_if_there(pid: u32, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{signal}"), &pid.to_string()]);
    kill.output().expect("kill can be run");
}

/// As over NFS, whose server gives the lock of a client that does not answer to another.
#[test]
fn a_primary_that_wakes_after_it_lost_its_lock_writes_nothing_more() {
    let c = primary();
    let standby = standby_of(&c);
    let pids = stop_all(&c);
    let archive = c.database_directory();
    fs::remove_file(archive.join("owner.lock")).expect("it is there");
    // And the one on the chain's directory.
    let (held, copy) = (archive.join("chain-1"), archive.join("copy"));
    run(Command::new("cp").arg("-a").arg(&held).arg(&copy));
    fs::rename(&held, c.root().join("held")).expect("one file system");
    fs::rename(&copy, &held).expect("one file system");
    promote(&standby);
    standby.sql(TAKE_OVER);
    standby.sql("INSERT INTO t VALUES (1001)");
    standby.flush();
    for pid in pids {
        signal_if_there(pid, "CONT");
    }
    c.sql("INSERT INTO t VALUES (5001)");
    wait_until("it says that it has lost the archive", || {
        c.log().contains("has taken it over") && c.health().contains("belongs to")
    });
    standby.sql("INSERT INTO t VALUES (1002)");
    standby.assert_restores();
    assert!(!standby.stream().contains("(5001)"));
    assert!(
        c.log().matches("has taken it over").count() == 1,
        "{}",
        c.log()
    );
}

/// Neither a look that fails, nor what health finds out, is kept back; and it is not said each time.
#[test]
fn why_it_could_not_look_is_said_once() {
    let c = primary();
    let standby = standby_of(&c);
    standby.write_setting("pg_incrbackup.take_over", "on_promotion");
    standby.write_setting("pg_incrbackup.take_over_delay", "1");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    c.crash();
    let segments = chain(&c, 1).join("incremental");
    let allow = |mode| {
        let allowed = fs::set_permissions(&segments, fs::Permissions::from_mode(mode));
        allowed.expect("it is ours");
    };
    allow(0o000);
    promote(&standby);
    wait_until("health says why", || {
        standby
            .health()
            .contains("It could not be found out whether this server may go on in its chain")
    });
    let said = "could not find out whether the archive is to be taken over";
    wait_until("the log says so", || standby.log().contains(said));
    // Longer than between two looks.
    standby.sql("SELECT pg_sleep(11)");
    allow(0o700);
    wait_until("it goes on by itself", || {
        standby.health().starts_with("ok")
    });
    let log = standby.log();
    let lines = log.lines().filter(|line| line.contains(said));
    assert_eq!(lines.count(), 1, "{log}");
    assert!(
        log.lines()
            .any(|line| line.contains("WARNING") && line.contains(said)),
        "{log}"
    );
}

/// Nothing keeps the rows that a standby's slot needs while it is away, or unknown to a new primary. 15 does not notice.
#[test]
fn rows_of_catalogs_that_were_removed_before_the_promotion_end_the_chain() {
    let c = primary();
    if c.version() >= 16 {
        return skipped("from 16 on the server invalidates such a slot");
    }
    let standby = standby_of(&c);
    standby.write_setting("hot_standby_feedback", "off");
    standby.sql_in("postgres", "SELECT pg_reload_conf()");
    wait_until("the primary keeps nothing for it", || {
        c.is_true(
            "SELECT catalog_xmin IS NULL FROM pg_replication_slots WHERE slot_name = 'standby'",
        )
    });
    c.sql("ALTER TABLE t ADD COLUMN b int DEFAULT 7");
    let xid = c.sql("SELECT txid_current()");
    wait_until("nor for its own slot", || {
        c.sql("CHECKPOINT; INSERT INTO t SELECT max(a) + 1 FROM t");
        c.flush();
        c.is_true(&format!(
            "SELECT catalog_xmin::text::bigint > {xid} FROM pg_replication_slots WHERE slot_type = 'logical'"
        ))
    });
    c.sql("VACUUM pg_class");
    c.sql("INSERT INTO t VALUES (1001)");
    wait_for_replay(&c, &standby);
    c.crash();
    promote(&standby);
    standby.try_sql(TAKE_OVER).ok();
    wait_until("the chain ends", || {
        ended(&standby).contains("rows of catalogs that the slot needs have been removed")
    });
    standby.sql("SELECT * FROM incr_setup(new_chain => true)");
    standby.assert_restores();
}
