//! "It removed the one base that I needed." What the rules promise can be restored, what is gone is said to
//! be gone, and nothing that dies in the midst of removing breaks either.

use crate::disk::Mounted;
use crate::schedule::replace_pg_dump;
use harness::{wait_until, Cluster};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A table, and retention of a week, of three weeks for bases, of the first base of two months.
/// (An autovacuum's transaction, open at a base's snapshot, would have a segment more kept. And no test
/// asks of a base that is just as old as a rule says: some have passed that second, some have not.)
fn start(settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder()
        .with_failpoints()
        .setting("autovacuum", "off")
        .setting("pg_incrbackup.keep_incremental", "'7d'")
        .setting("pg_incrbackup.keep_base", "'21d'")
        .setting("pg_incrbackup.keep_monthly", "2");
    for (name, value) in settings {
        builder = builder.setting(&format!("pg_incrbackup.{name}"), value);
    }
    let c = builder.back_up();
    c.sql("CREATE TABLE t (day int PRIMARY KEY)");
    c
}

/// On each of these days a row, whose LSN is given, in a segment of its own, and then a base.
fn live(c: &Cluster, days: impl Iterator<Item = i64>) -> Vec<(i64, String)> {
    let day = |day: i64| {
        c.set_day(day, "");
        c.sql(&format!("INSERT INTO t VALUES ({day})"));
        let lsn = c.flush();
        c.sql("SELECT incr_rotate(); SELECT incr_dump()");
        (day, lsn)
    };
    days.map(day).collect()
}

fn count(c: &Cluster, kind: &str) -> usize {
    let sql =
        format!("SELECT count(*) FROM incr_files() WHERE kind = '{kind}' AND sha256 IS NOT NULL");
    c.sql(&sql).parse().expect("a number")
}

fn verified(c: &Cluster) {
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}

fn base_of(c: &Cluster, place: usize) -> String {
    let name = c.bases()[place]
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.expect("a base has a name")
}

#[test]
fn every_moment_of_the_window_restores_and_older_bases_stand_alone() {
    let c = start(&[("keep_monthly", "0")]);
    let moments = live(&c, (1..=40).step_by(3));
    // On day 40 the window begins with the base of day 31, 9 days old, which was taken after its row.
    verified(&c);
    assert_eq!(
        count(&c, "base"),
        (22..=40).step_by(3).count(),
        "{}",
        c.sql("SELECT * FROM incr_expire()")
    );
    assert_eq!(count(&c, "incremental"), (34..=40).step_by(3).count());
    for (day, lsn) in moments.iter().filter(|(day, _)| *day >= 34) {
        let restored = c.restore(&["--until-lsn", lsn]);
        assert_eq!(
            c.sql_in(&restored.database, "SELECT max(day) FROM t"),
            day.to_string()
        );
    }
    c.assert_restores();
    let oldest = base_of(&c, 0);
    let restored = c.restore(&["--base", &oldest]);
    assert!(
        restored.output.contains("retention has removed"),
        "{}",
        restored.output
    );
    assert_eq!(
        c.sql_in(&restored.database, "SELECT max(day), count(*) FROM t"),
        "22|8"
    );
    let gone = moments
        .iter()
        .find(|(day, _)| *day == 25)
        .expect("a moment");
    let said = c
        .try_restore(&c, "gone", &["--until-lsn", &gone.1])
        .expect_err("it is gone");
    assert!(
        said.contains("retention has removed") && said.contains("--base "),
        "{said}"
    );
    let said = c
        .try_restore(&c, "gone", &["--until-lsn", &moments[0].1])
        .expect_err("it is gone");
    assert!(said.contains("retention has removed older ones"), "{said}");
    assert_eq!(c.sql("SELECT DISTINCT decision FROM incr_expire()"), "kept");
}

#[test]
fn incr_expire_shows_first_and_removes_when_told() {
    let c = start(&[("keep_incremental", "-1")]);
    live(&c, [1, 20, 40].into_iter());
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (4, 3));
    assert_eq!(
        c.sql("SELECT DISTINCT decision FROM incr_expire(false)"),
        "kept"
    );
    c.set("pg_incrbackup.keep_incremental", "'7d'");
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.keep_incremental") == "7d"
    });
    let shown = c.sql("SELECT kind, decision, count(*), sum(bytes) > 0 FROM incr_expire() GROUP BY 1, 2 ORDER BY 1, 2");
    // The bases of today and of day 1 are the first of their months, or one is of the same month.
    assert!(shown.contains("incremental|would expire|2|t"), "{shown}");
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (4, 3));
    let why =
        c.sql("SELECT reason FROM incr_expire() WHERE kind = 'base' ORDER BY file DESC LIMIT 1");
    assert_eq!(why, "it is the newest base");
    let done = c.sql("SELECT kind, replace(decision, 'expired', 'would expire'), count(*), sum(bytes) > 0 FROM incr_expire(dry_run => false) GROUP BY 1, 2 ORDER BY 1, 2");
    assert_eq!(done, shown);
    assert_eq!(count(&c, "incremental"), 1);
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_expire() WHERE decision <> 'kept'"),
        "0"
    );
    c.assert_restores();
}

#[test]
fn a_pinned_base_outlives_its_age_and_a_new_server_over_the_archive() {
    let c = start(&[("keep_monthly", "0")]);
    live(&c, [1].into_iter());
    let (first, second) = (base_of(&c, 0), c.bases()[1].display().to_string());
    let said = c.sql(&format!(
        "SELECT incr_keep('{first}', note => 'before the “great” migration')"
    ));
    assert!(
        said.ends_with(&format!("{first} is kept for ever")),
        "{said}"
    );
    // By its path, as incr_dump() gave it.
    let said = c.sql(&format!(
        "SELECT incr_keep('{second}', now() + '100 days', 'audit')"
    ));
    assert!(said.contains("is kept until"), "{said}");
    live(&c, [30, 60].into_iter());
    assert_eq!(count(&c, "base"), 4);
    let why = format!("SELECT reason FROM incr_expire() WHERE file LIKE '%{first}'");
    assert_eq!(
        c.sql(&why),
        "it is pinned for ever: before the “great” migration"
    );
    // The pin is in the files: a new chain, and a server that has forgotten everything, know it.
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.restart();
    live(&c, [120].into_iter());
    let left = c.sql("SELECT chain, file FROM incr_files() WHERE kind = 'base' AND chain = 1");
    assert_eq!(left, format!("1|base/{first}"), "the second pin has lapsed");
    let restored = c.restore(&["--chain", "1", "--base", &first]);
    assert_eq!(
        c.sql_in(
            &restored.database,
            "SELECT count(*) FROM pg_class WHERE relname = 't'"
        ),
        "0"
    );
    verified(&c);
    // A time that has passed takes the pin away.
    c.sql(&format!(
        "SELECT incr_keep('chain-1/base/{first}', now() - '1 day'::interval)"
    ));
    c.sql("SELECT count(*) FROM incr_expire(false)");
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1"),
        "0"
    );
    assert!(!c.database_directory().join("chain-1").exists());
    let said = c
        .try_restore(&c, "gone", &["--chain", "1"])
        .expect_err("it is gone");
    assert!(said.contains("retention removes chains"), "{said}");
    c.assert_restores();
}

#[test]
fn only_a_base_can_be_pinned_and_no_path_leads_out() {
    let c = start(&[]);
    let outside = c.root().join("outside");
    fs::create_dir(&outside).expect("a directory can be made");
    for text in [
        "",
        "..",
        "../../outside",
        "/etc/passwd",
        &outside.display().to_string(),
        "chain-1",
        "0000000000000001-20260101T000000Z",
        "it''s",
    ] {
        let error = c.sql_error(&format!("SELECT incr_keep('{text}')"));
        assert_eq!(error.sqlstate, "42704", "{text}: {error}");
        assert!(error.hint.contains("incr_files()"), "{error}");
    }
    assert_eq!(c.sql_error("SELECT incr_keep(NULL)").sqlstate, "42704");
    let base = base_of(&c, 0);
    let error = c.sql_error(&format!("SELECT incr_keep('{base}', '12000-01-01')"));
    assert_eq!(error.sqlstate, "22023", "{error}");
    for forever in ["infinity", "9999-12-31"] {
        c.sql(&format!("SELECT incr_keep('{base}', '{forever}')"));
    }
    c.sql(&format!("SELECT incr_keep('{base}', '-infinity')"));
    verified(&c);
}

#[test]
fn an_old_chain_goes_by_the_same_rules() {
    let c = start(&[("keep_monthly", "0")]);
    let old = live(&c, [1, 2].into_iter());
    c.set_day(3, "");
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    live(&c, [4, 8].into_iter());
    // The window begins in the old chain still: its base of day 1 is seven days old.
    let restored = c.restore(&["--chain", "1", "--until-lsn", &old[1].1]);
    assert_eq!(c.sql_in(&restored.database, "SELECT count(*) FROM t"), "2");
    live(&c, [14].into_iter());
    assert_eq!(c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1 AND kind = 'incremental' AND sha256 IS NOT NULL"), "0");
    assert_ne!(
        c.sql("SELECT count(*) FROM incr_files() WHERE chain = 1 AND kind = 'base'"),
        "0"
    );
    verified(&c);
    live(&c, [40].into_iter());
    assert_eq!(c.sql("SELECT DISTINCT chain FROM incr_files()"), "2");
    assert!(!c.database_directory().join("chain-1").exists());
    c.assert_restores();
}

#[test]
fn the_newest_base_stays_however_old_it_gets() {
    let c = start(&[]);
    live(&c, [1].into_iter());
    c.set_day(2000, "");
    c.sql("SELECT count(*) FROM incr_expire(false); INSERT INTO t VALUES (2000)");
    assert!(count(&c, "base") >= 1);
    c.assert_restores();
}

#[test]
fn it_runs_by_itself_once_a_day_without_any_base() {
    let c = start(&[("keep_incremental", "'2d'"), ("keep_monthly", "0")]);
    live(&c, [1, 4].into_iter());
    assert_eq!((count(&c, "base"), count(&c, "incremental")), (3, 1));
    c.set_day(60, "");
    wait_until("the launcher has it done", || {
        (count(&c, "base"), count(&c, "incremental")) == (1, 1)
    });
    assert!(c
        .sql("SELECT worker, state FROM incr_status()")
        .contains("expiry|done"));
    c.assert_restores();
}

/// Holds the lock that restore.sh holds while it reads.
struct Reader(std::process::Child);

impl Reader {
    fn of(directory: &Path) -> Reader {
        let mut command = Command::new("flock");
        let child = command
            .arg("-s")
            .arg(directory)
            .arg("cat")
            .stdin(Stdio::piped())
            .spawn();
        Reader(child.expect("flock can be run"))
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
    c.set_day(60, "");
    let reader = Reader::of(&c.database_directory());
    let mut refused = None;
    wait_until("the lock is held", || {
        refused = c.try_sql("SELECT count(*) FROM incr_expire(false)").err();
        refused.is_some() || count(&c, "base") == 1
    });
    let refused = refused.expect("it was refused while there was something to remove");
    assert_eq!(refused.sqlstate, "55006", "{refused}");
    assert!(refused.hint.contains("restore"), "{refused}");
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
        let fired = c.root().join("failpoints.fired");
        wait_until("somebody has died there", || fired.exists());
        wait_until("the server has noticed", || {
            c.log().contains("all server processes terminated")
        });
        c.wait_for_connections();
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
            .contains("1 of 1 tables")
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
