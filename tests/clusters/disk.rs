//! "The backup disk failed, and the backup went on as if nothing were." Whatever the disk refuses,
//! capture stops there without moving the slot, health says what it is, the database goes on, and
//! when the fault is gone capture goes on by itself, with nothing lost and nothing there twice.

use crate::crash::assert_each_once;
use harness::{give_to_server_user, wait_until, wait_until_within, Cluster};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const FAILPOINTS: &str = "../failpoints";

fn with_failpoints() -> Cluster {
    let c = Cluster::builder()
        .environment("PG_INCRBACKUP_FAILPOINTS", FAILPOINTS)
        .back_up();
    with_a_row(&c);
    c
}

fn with_a_row(c: &Cluster) {
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'before')");
    c.flush();
}

/// What the disk does from now on, at these steps.
fn fail_at(c: &Cluster, lines: &str) {
    fs::write(c.root().join("failpoints"), lines).expect("failpoints can be written");
}

fn fail_no_more(c: &Cluster) {
    fs::remove_file(c.root().join("failpoints")).expect("failpoints can be removed");
}

/// A transaction that the disk does not take: health names the reason, and the slot does not move
/// past it.
fn assert_pauses(c: &Cluster, reason: &str) {
    let before = c.sql("SELECT pg_current_wal_insert_lsn()");
    c.sql("INSERT INTO t VALUES (2, 'meanwhile'); INSERT INTO t VALUES (3, 'meanwhile')");
    wait_until("health names the reason", || {
        let health = c.health();
        !health.starts_with("ok") && !health.starts_with("warning") && health.contains(reason)
    });
    assert!(
        c.slot_is(&format!("confirmed_flush_lsn <= '{before}'")),
        "the slot moved past {before}: {}",
        c.slot("confirmed_flush_lsn")
    );
    c.sql("UPDATE t SET b = 'the database goes on' WHERE a = 1");
}

/// The fault is gone.
fn assert_goes_on(c: &Cluster) {
    wait_until_within(
        Duration::from_secs(120),
        "capture goes on by itself",
        || c.try_sql("SELECT incr_flush('5 s')").is_ok(),
    );
    c.sql("INSERT INTO t VALUES (100, 'after')");
    c.assert_restores();
    assert_each_once(c);
    let rows = c.stream().matches("'meanwhile'").count();
    assert_eq!(rows, 2, "{}", c.stream());
    // A set of globals that could not be written is tried again after up to a minute.
    wait_until_within(Duration::from_secs(120), "health is ok again", || {
        c.health().starts_with("ok")
    });
}

/// The archive on a file system of its own, where one can be mounted.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn new(c: &Cluster, size: &str) -> Option<Mounted> {
        let archive = c.archive_directory();
        fs::create_dir(&archive).expect("a directory can be made");
        if !mount(&["-t", "tmpfs", "-o", size, "tmpfs"], &archive) {
            harness::skipped("no file system can be mounted here");
            return None;
        }
        give_to_server_user(&archive);
        fs::set_permissions(&archive, fs::Permissions::from_mode(0o700)).expect("it is ours");
        Some(Mounted(archive))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(mount(&["-o", &options], &self.0), "cannot {options}");
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    let status = Command::new("mount").args(options).arg(path).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_is_said_aloud_and_over_when_there_is_room() {
    let c = Cluster::builder().start();
    let Some(archive) = Mounted::new(&c, "size=4m") else {
        return;
    };
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup(); CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.flush();
    c.sql("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1000, 21000) i");
    c.sql("INSERT INTO t VALUES (1, '')");
    wait_until("health names the full disk", || {
        let health = c.health();
        !health.starts_with("ok") && health.contains("No space left on device")
    });
    assert_pauses(&c, "No space left on device");
    archive.remount("size=200m");
    assert_goes_on(&c);
    c.stop();
}

#[test]
fn a_disk_that_became_read_only_is_said_aloud_and_over_when_it_can_be_written() {
    let c = Cluster::builder().start();
    let Some(archive) = Mounted::new(&c, "size=64m") else {
        return;
    };
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    with_a_row(&c);
    // Nobody but the kernel itself can do so while files are open for writing.
    c.stop();
    archive.remount("ro");
    c.start();
    assert_pauses(&c, "Read-only file system");
    archive.remount("rw");
    assert_goes_on(&c);
    c.stop();
}

#[test]
fn permissions_that_were_lost_are_named_and_capture_goes_on_when_they_are_back() {
    let c = Cluster::backed_up();
    with_a_row(&c);
    c.sql("INSERT INTO t VALUES (4, 'to be closed')");
    c.flush();
    let directory = c.chain_directory().join("incremental");
    let mode = |mode| {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).expect("it is there");
    };
    mode(0o000);
    // The open file can still be written; the next one can't be made.
    c.try_sql("SET statement_timeout = '3s'; SELECT incr_rotate()")
        .expect_err("a segment was closed in a directory that nobody may enter");
    assert_pauses(&c, "Permission denied");
    mode(0o700);
    assert_goes_on(&c);
}

#[test]
fn an_archive_that_was_moved_away_is_missed_at_once() {
    let c = Cluster::backed_up();
    with_a_row(&c);
    let moved = c.root().join("moved");
    fs::rename(c.archive_directory(), &moved).expect("the archive can be moved away");
    // Nobody tells the worker: its open file can be written wherever it is.
    assert_pauses(&c, &c.archive_directory().display().to_string());
    // Nor does anything begin in its place, in what may be below a mount point; not after a restart either.
    c.restart();
    wait_until("health says what is missing", || {
        c.health()
            .contains("does not contain the chain of this slot")
    });
    assert!(c
        .sql("SELECT level FROM incr_cluster_health()")
        .contains("emergency"));
    wait_until("capture has looked at it again", || {
        c.log().contains("contains no files of this database")
    });
    assert!(!c.archive_directory().exists());
    fs::rename(&moved, c.archive_directory()).expect("the archive can be moved back");
    assert_goes_on(&c);
}

#[test]
fn a_removed_archive_takes_nothing_along_silently() {
    let c = Cluster::backed_up();
    with_a_row(&c);
    fs::remove_dir_all(c.archive_directory()).expect("the archive can be removed");
    assert_pauses(&c, &c.archive_directory().display().to_string());
    wait_until("it is an emergency", || c.health().starts_with("emergency"));
    let error = c.sql_error("SELECT * FROM incr_setup()");
    assert!(
        error.message.contains("does not contain its chain"),
        "{error}"
    );
    assert!(!c.archive_directory().exists());
    c.sql("SELECT * FROM incr_setup(new_chain => true); INSERT INTO t VALUES (5, 'after')");
    c.assert_restores();
}

#[test]
fn an_input_output_error_on_write_pauses_the_capture() {
    let c = with_failpoints();
    fail_at(&c, "EIO 1 segment: write\n");
    assert_pauses(&c, "could not write");
    fail_no_more(&c);
    assert_goes_on(&c);
}

#[test]
fn an_input_output_error_on_fsync_pauses_the_capture() {
    let c = with_failpoints();
    let open = c.segments().pop().expect("a segment is open");
    fail_at(&c, "EIO 1 segment: fsync\n");
    assert_pauses(&c, "could not fsync");
    // What no fsync has covered was forgotten; it comes from the WAL again.
    wait_until("the tail is gone", || {
        let now = fs::read_to_string(&open.path).expect("the open segment can be read");
        now == open.text
    });
    fail_no_more(&c);
    assert_goes_on(&c);
}

#[test]
fn every_step_of_closing_a_segment_may_fail() {
    let c = with_failpoints();
    let steps = [
        "publish: fsync",
        "publish: rename",
        "fsync directory",
        "manifest: write",
        "manifest: fsync",
        "segment: created",
        "segment: write again",
        "segment: fsync again",
    ];
    for (number, step) in steps.iter().enumerate() {
        c.sql(&format!(
            "INSERT INTO t VALUES ({}, 'closing')",
            10 + number
        ));
        c.flush();
        // Those of opening the segment again come after another failure.
        fail_at(&c, &format!("EIO 1 {step}\nEIO 1 publish: rename\n"));
        c.try_sql("SET statement_timeout = '3s'; SELECT incr_rotate()")
            .expect_err(step);
        wait_until(step, || c.health().contains("Input/output error"));
        fail_no_more(&c);
        wait_until_within(Duration::from_secs(120), step, || {
            c.try_sql("SELECT incr_flush('5 s')").is_ok()
        });
    }
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn a_flipped_bit_before_what_was_durable_destroys_nothing() {
    let c = Cluster::backed_up();
    with_a_row(&c);
    c.sql("INSERT INTO t VALUES (2, 'the damage comes here'); INSERT INTO t VALUES (3, 'lost')");
    c.flush();
    let last = c.transactions().pop().expect("there is a transaction");
    wait_until("the slot is told", || {
        c.slot_is(&format!("confirmed_flush_lsn >= '{}'", last.commit_lsn))
    });
    let open = c.segments().pop().expect("a segment is open");
    let mut bytes = fs::read(&open.path).expect("the open segment can be read");
    let damage = open
        .text
        .find("the damage comes here")
        .expect("the row is there");
    let begin = open.text[..damage]
        .rfind("BEGIN;")
        .expect("in a transaction");
    bytes[begin] ^= 1;
    fs::write(&open.path, &bytes).expect("the open segment can be written");
    // A restarted server may have forgotten what the slot was told; then the WAL has it all.
    c.slot("pg_terminate_backend(active_pid)");
    wait_until("health names where the segment is kept", || {
        let health = c.health();
        health.starts_with("emergency") && health.contains(".damaged-1")
    });
    let kept = open.path.with_file_name(format!(
        "{}.damaged-1",
        open.path
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
    ));
    assert_eq!(fs::read(&kept).expect("the segment is kept"), bytes);
    let info = fs::read_to_string(c.chain_directory().join("chain.json")).expect("it is there");
    assert!(info.contains(".damaged-1"), "{info}");
    // What is whole of it is restored, and it says where it ends.
    let restored = c.restore(&[]);
    let rows = c.sql_in(&restored.database, "SELECT a, b FROM t");
    assert_eq!(rows, "1|before");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    c.sql("SELECT * FROM incr_setup(new_chain => true); INSERT INTO t VALUES (4, 'after')");
    c.assert_restores();
    assert_eq!(fs::read(&kept).expect("the segment is kept"), bytes);
}

/// What stopped capture has a kind, whichever way it took through PostgreSQL's code.
#[test]
fn the_log_has_the_sqlstate_of_what_stopped_capture() {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("log_line_prefix", "'%m [%p] %b %e '")
        .back_up();
    with_a_row(&c);
    let is_logged = |sqlstate: &str| {
        let line = format!(
            "pg_incrbackup capture {sqlstate} LOG:  pg_incrbackup: capture of app: capture stopped"
        );
        c.log().contains(&line)
    };
    // In a callback of logical decoding, behind a C function.
    for (fault, sqlstate) in [("ENOSPC", "53100"), ("EACCES", "42501"), ("EIO", "58030")] {
        assert!(!is_logged(sqlstate));
        fail_at(&c, &format!("{fault} 1 segment: write"));
        c.sql("INSERT INTO t SELECT max(a) + 1 FROM t");
        wait_until("the log tells", || is_logged(sqlstate));
        fail_no_more(&c);
    }
    wait_until("capture goes on", || {
        c.try_sql("SELECT incr_flush('5 s')").is_ok()
    });
    // Raised by PostgreSQL itself: somebody else has the slot.
    fail_at(&c, "hold 1 capture: start");
    c.slot("pg_terminate_backend(active_pid)");
    wait_until("the next worker is about to start", || {
        c.root().join("failpoints.held").exists()
    });
    let is_limited = "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'";
    let mut reader = c.installation().command("pg_recvlogical");
    if c.sql(is_limited) == "1" {
        reader.env("PGOPTIONS", "-c output_plugin_libraries=pg_incrbackup");
    }
    reader.args(["--start", "--no-loop", "--file=-", "--slot"]);
    reader
        .arg(c.slot("slot_name"))
        .arg("-d")
        .arg(c.conninfo("app"));
    let reader = reader.stdout(Stdio::null()).spawn();
    let mut reader = reader.expect("pg_recvlogical can be run");
    c.wait_for_capture();
    fail_no_more(&c);
    wait_until("the log tells", || is_logged("55006"));
    reader.kill().expect("it runs");
    reader.wait().expect("it ends");
    wait_until("capture goes on", || {
        c.try_sql("SELECT incr_flush('5 s')").is_ok()
    });
    c.assert_restores();
    assert_each_once(&c);
}
