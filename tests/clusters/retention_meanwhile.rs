//! Retention, and what else happens meanwhile: somebody reads, something dies, the disk is full, a base is made.

use crate::disk::Mounted;
use crate::retention::{base_of, count, live, start, verified};
use crate::schedule::replace_pg_dump;
use harness::{wait_until, Cluster};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Holds the lock that restore.sh holds while it reads.
struct Reader(std::process::Child);

impl Reader {
    /// Returns when it is held.
    fn of(directory: &Path) -> Reader {
        let mut command = Command::new("flock");
        let mut child = command
            .arg("-s")
            .arg(directory)
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("flock can be run");
        let mut said = String::new();
        let output = child.stdout.take().expect("it was asked for");
        BufReader::new(output)
            .read_line(&mut said)
            .expect("what it says can be read");
        assert_eq!(said, "held\n");
        Reader(child)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

#[test]
fn a_restore_that_reads_is_waited_for() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    // Held before anything has expired: the daily worker would be the first otherwise.
    let reader = Reader::of(&c.database_directory());
    c.set_day(60, "");
    let refused = c
        .try_sql("SELECT count(*) FROM incr_expire(false)")
        .expect_err("a restore reads");
    assert_eq!(refused.sqlstate, "55006", "{refused}");
    assert!(refused.text.contains("a restore"), "{refused}");
    let files = (count(&c, "base"), count(&c, "incremental"));
    // A base is made all the same, and a reader is no fault.
    c.sql("SELECT incr_dump(); SELECT * FROM incr_verify()");
    assert_eq!(count(&c, "base"), files.0 + 1);
    assert!(c.health().starts_with("ok"), "{}", c.health());
    drop(reader);
    c.sql("SELECT count(*) FROM incr_expire(false)");
    assert!(count(&c, "base") < files.0);
    c.assert_restores();
}

#[test]
fn a_server_that_dies_while_it_removes_has_lost_nothing_and_finishes() {
    for point in ["expire: noted", "expire: remove", "small file: rename"] {
        let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
        live(&c, [1, 3, 5, 6].into_iter());
        assert_eq!((count(&c, "base"), count(&c, "incremental")), (5, 2));
        c.set_day(60, &format!("kill 1 {point}\n"));
        c.try_sql("SELECT count(*) FROM incr_expire(false)").ok();
        c.wait_for_kill();
        c.set_day(60, "");
        c.wait_for_capture();
        c.sql("INSERT INTO t VALUES (60)");
        c.assert_restores();
        wait_until("what had expired is gone", || {
            c.sql("SELECT count(*) FROM incr_expire() WHERE decision <> 'kept'") == "0"
                && c.bases().len() == 1
        });
        c.assert_restores();
    }
}

#[test]
fn a_base_that_ends_while_the_daily_worker_removes_waits_for_it() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    c.set_day(60, "hold 1 expire: noted\n");
    let held = c.root().join("failpoints.held");
    wait_until("the daily worker removes", || held.exists());
    let files = count(&c, "base");
    c.sql("SELECT incr_dump(wait => false)");
    wait_until("the base is made, and waits", || {
        c.is_true(
            "SELECT state = 'removing expired files' FROM incr_status() WHERE worker = 'base'",
        )
    });
    assert_eq!(count(&c, "base"), files + 1);
    fs::remove_file(c.root().join("failpoints")).expect("it was there");
    wait_until("the base's worker has ended", || {
        c.is_true("SELECT pid IS NULL FROM incr_status() WHERE worker = 'base'")
    });
    let log = c.log();
    assert!(!log.contains("are in use by"), "it gave up: {log}");
    assert_eq!(count(&c, "base"), 2, "the new one, and the one before");
    c.assert_restores();
}

#[test]
fn what_cannot_be_removed_is_said_and_keeps_no_base_from_being_made() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    c.set_day(60, "EACCES 1 expire: remove\n");
    c.sql("SELECT incr_dump()");
    wait_until("health says so", || {
        let health = c.health();
        health.starts_with("warning")
            && health.contains("could not be removed")
            && health.contains("Permission denied")
    });
    verified(&c);
    let error = c.sql_error("SELECT count(*) FROM incr_expire(false)");
    assert!(error.text.contains("Permission denied"), "{error}");
    c.set_day(60, "");
    c.sql("SELECT count(*) FROM incr_expire(false)");
    assert!(c.health().starts_with("ok"), "{}", c.health());
    c.assert_restores();
}

#[test]
fn an_old_open_transaction_keeps_the_segments_that_bases_reach_back_to() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    let mut open = c.session();
    open.run("BEGIN; INSERT INTO t VALUES (0)");
    live(&c, [1, 4, 8].into_iter());
    // The snapshot of every base reaches back to this transaction.
    assert_eq!(count(&c, "incremental"), 3);
    open.run("COMMIT");
    c.assert_restores();
    live(&c, [12, 16].into_iter());
    assert_eq!(
        count(&c, "incremental"),
        1,
        "{}",
        c.sql("SELECT * FROM incr_expire()")
    );
    c.assert_restores();
}

#[test]
fn a_base_that_is_being_made_while_files_expire_joins_what_is_left() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    let pipe = c.root().join("pipe");
    let made = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(&pipe)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let script = format!("\"$real\" \"$@\" && cat '{}'", pipe.display());
    let bin = replace_pg_dump(&c, &script);
    c.set(
        "pg_incrbackup.bin_directory",
        &format!("'{}'", bin.display()),
    );
    wait_until("the setting is read", || {
        !c.sql("SHOW pg_incrbackup.bin_directory").is_empty()
    });
    c.set_day(8, "");
    let mut open = c.session();
    open.run("BEGIN; INSERT INTO t VALUES (7)");
    c.sql("SELECT incr_dump(wait => false)");
    wait_until("its rows are written", || {
        c.sql("SELECT detail FROM incr_status() WHERE worker = 'base'")
            .contains("1 of 1 table")
    });
    open.run("COMMIT");
    c.sql("INSERT INTO t VALUES (8); SELECT incr_rotate(); INSERT INTO t VALUES (9); SELECT incr_rotate()");
    c.set_day(60, "");
    let expired = "SELECT count(*) FROM incr_expire(false) WHERE decision = 'expired'";
    assert_ne!(c.sql(expired), "0");
    fs::write(&pipe, "").expect("pg_dump ends");
    wait_until("the base is made", || {
        c.sql("SELECT state FROM incr_status() WHERE worker = 'base'") == "done"
    });
    verified(&c);
    let restored = c.assert_restores();
    assert!(
        restored.output.contains(&base_of(&c, c.bases().len() - 1)),
        "{}",
        restored.output
    );
}

#[test]
fn a_full_disk_is_made_room_on() {
    let c = Cluster::builder()
        .with_failpoints()
        .setting("pg_incrbackup.keep_incremental", "-1")
        .setting("pg_incrbackup.keep_monthly", "0")
        .start();
    let Some(_archive) = Mounted::new(&c, "size=24m") else {
        return;
    };
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE TABLE t (day int PRIMARY KEY, b text)");
    c.sql("SELECT * FROM incr_setup()");
    for day in 1..6 {
        c.set_day(day, "");
        c.sql(&format!("INSERT INTO t SELECT 10000 * {day} + i, repeat('x', 1000) FROM generate_series(1, 1000) i"));
        c.sql("SELECT incr_rotate(); SELECT incr_dump(); TRUNCATE t");
    }
    c.flush();
    // Somebody fills what is left, to the last byte.
    let filler = c.archive_directory().join("filler");
    Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", filler.display()))
        .output()
        .expect("dd can be run");
    let free = Command::new("df")
        .args(["--output=avail"])
        .arg(c.archive_directory())
        .output()
        .expect("df can be run");
    assert!(
        String::from_utf8_lossy(&free.stdout).ends_with(" 0\n"),
        "{free:?}"
    );
    let health = c.health();
    assert!(health.contains("100 % full"), "{health}");
    c.set("pg_incrbackup.keep_incremental", "'36h'");
    c.set("pg_incrbackup.keep_base", "'36h'");
    c.set_day(6, "");
    wait_until("the settings are read", || {
        c.sql("SHOW pg_incrbackup.keep_base") == "36h"
    });
    assert_ne!(
        c.sql("SELECT count(*) FROM incr_expire(false) WHERE decision = 'expired'"),
        "0"
    );
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_expire() WHERE decision <> 'kept'"),
        "0"
    );
    verified(&c);
    c.sql("INSERT INTO t VALUES (6, 'there is room again')");
    c.assert_restores();
    c.stop();
}

#[test]
fn rows_of_ddl_history_go_with_the_increments() {
    let c = start(&[]);
    let rows = "SELECT count(*) FROM ddl_history";
    c.sql("CREATE TABLE old (a int)");
    assert_ne!(c.sql(rows), "0");
    c.set_day(6, "");
    c.sql("SELECT incr_dump()");
    assert_ne!(c.sql(rows), "0", "younger than a week");
    // They tell the real time, which the calendar does not move.
    c.set_day(8, "");
    c.sql("SELECT incr_dump()");
    assert_eq!(c.sql(rows), "0");
    c.sql("CREATE TABLE young (a int PRIMARY KEY); INSERT INTO young VALUES (1)");
    assert_ne!(c.sql(rows), "0");
    // Its own row is not finished while the statement runs.
    c.sql("CREATE TABLE own AS SELECT file FROM incr_expire(dry_run => false)");
    let left = "SELECT DISTINCT ddl_command FROM ddl_history ORDER BY 1";
    assert_eq!(c.sql(left), "ALTER TABLE\nCREATE TABLE AS");
    assert!(!c.stream().contains("ddl_history"), "{}", c.stream());
    c.assert_restores();
    assert_eq!(c.sql_error("DELETE FROM ddl_history").sqlstate, "42501");
}
