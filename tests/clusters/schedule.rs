//! "It was to make a backup every night, and it made none." Bases by schedule: once, also after a time in
//! which the server was down; again when one failed; never two at once; and capture does not notice.

use harness::{give_to_server_user, wait_until, Cluster};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Every day at a time that is hours away, so that only the calendar that a test moves makes it due.
pub fn every_day() -> String {
    let hours = Command::new("date")
        .args(["-u", "+%-H"])
        .output()
        .expect("date can be run");
    let hour: u32 = String::from_utf8_lossy(&hours.stdout)
        .trim()
        .parse()
        .expect("an hour");
    format!("'30 {} * * *'", (hour + 12) % 24)
}

fn scheduled() -> Cluster {
    Cluster::builder()
        .with_failpoints()
        .setting("pg_incrbackup.base_schedule", &every_day())
        .back_up()
}

fn bases(c: &Cluster) -> usize {
    let sql = "SELECT count(*) FROM incr_files() WHERE kind = 'base'";
    c.sql(sql).parse().expect("a number")
}

/// The launcher has looked at the schedule since the server's start: after that it starts the expiry.
fn wait_for_a_look(c: &Cluster) {
    wait_until("the launcher has looked at the schedule", || {
        c.sql("SELECT worker, state FROM incr_status()")
            .contains("expiry|done")
    });
    wait_until("no base is being made", || {
        c.sql("SELECT count(*) FROM incr_status() WHERE worker = 'base' AND pid IS NOT NULL") == "0"
    });
}

#[test]
fn a_base_that_was_missed_is_made_once_when_the_server_is_back() {
    let c = scheduled();
    c.restart();
    wait_for_a_look(&c);
    assert_eq!(bases(&c), 1, "none was due yet");
    c.stop();
    c.set_day(5, "");
    c.start();
    wait_until("the missed base is made", || bases(&c) == 2);
    for _ in 0..2 {
        c.restart();
        wait_for_a_look(&c);
        assert_eq!(bases(&c), 2, "several missed moments make one base");
    }
    c.set_day(6, "");
    wait_until("the next day's is made without a restart", || {
        bases(&c) == 3
    });
    c.assert_restores();
}

#[test]
fn a_clock_that_was_ahead_for_years_does_not_stop_the_schedule() {
    let c = scheduled();
    c.set_day(3000, "");
    c.sql("SELECT incr_dump()");
    c.set_day(0, "");
    c.restart();
    wait_until("a base of today is made", || bases(&c) == 3);
    c.restart();
    wait_for_a_look(&c);
    assert_eq!(bases(&c), 3, "by now the newest base says when it was");
    c.assert_restores();
}

/// A pg_dump of ours in the place of the server's, whose last lines are `script`; `$real` is the true one.
pub fn replace_pg_dump(c: &Cluster, script: &str) -> PathBuf {
    let bin = c.root().join("bin");
    fs::create_dir_all(&bin).expect("a directory can be made");
    let real = c.installation().bin();
    for program in ["pg_dumpall", "pg_restore"] {
        let link = bin.join(program);
        if !link.exists() {
            std::os::unix::fs::symlink(real.join(program), link).expect("a link can be made");
        }
    }
    let dump = bin.join("pg_dump");
    let text = format!(
        "#!/bin/sh\nreal='{}'\n{script}\n",
        real.join("pg_dump").display()
    );
    fs::write(&dump, text).expect("a script can be written");
    fs::set_permissions(&dump, fs::Permissions::from_mode(0o755)).expect("it is ours");
    give_to_server_user(&bin);
    bin
}

#[test]
fn a_scheduled_base_that_fails_is_cleaned_up_said_and_made_later() {
    let c = scheduled();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let calls = c.root().join("calls");
    let script = format!(
        "echo x >>'{}'; echo 'CREATE half'; echo 'pg_dump: error: no luck' >&2; exit 1",
        calls.display()
    );
    let bin = replace_pg_dump(&c, &script);
    c.set(
        "pg_incrbackup.bin_directory",
        &format!("'{}'", bin.display()),
    );
    let tomorrow = 24 * 3600;
    c.set_seconds(tomorrow, "");
    wait_until("health says that the base failed", || {
        let health = c.health();
        health.starts_with("warning")
            && health.contains("base backup failed")
            && health.contains("no luck")
    });
    assert_eq!(c.bases().len(), 1, "nothing is left of it: {:?}", c.bases());
    let failed = || fs::read_to_string(&calls).map_or(0, |text| text.lines().count());
    // It waits a minute, by the calendar, and then twice as long.
    let first = failed();
    c.set_seconds(tomorrow + 3600, "");
    wait_until("it is tried again", || failed() > first);
    replace_pg_dump(&c, "exec \"$real\" \"$@\"");
    c.set_seconds(tomorrow + 2 * 3600, "");
    wait_until("the base is made", || bases(&c) == 2);
    wait_until("health is ok again", || c.health().starts_with("ok"));
    c.assert_restores();
}

#[test]
fn never_two_at_once_and_capture_does_not_notice_a_base_that_takes_its_time() {
    for (format, jobs) in [("plain", "1"), ("compressed", "1"), ("directory", "2")] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.base_format", format)
            .setting("pg_incrbackup.base_jobs", jobs)
            .back_up();
        c.sql("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE u (a int); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)");
        // pg_dump has written everything and does not end.
        let pipe = c.root().join("pipe");
        assert!(Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&pipe)
            .status()
            .is_ok_and(|s| s.success()));
        let bin = replace_pg_dump(&c, &format!("\"$real\" \"$@\" && cat '{}'", pipe.display()));
        c.set(
            "pg_incrbackup.bin_directory",
            &format!("'{}'", bin.display()),
        );
        wait_until("the setting is read", || {
            !c.sql("SHOW pg_incrbackup.bin_directory").is_empty()
        });
        c.sql("SELECT incr_dump(wait => false)");
        let progress = "SELECT state || ', ' || detail || ', ' || CASE WHEN bytes > 0 THEN 'bytes' ELSE 'none' END FROM incr_status() WHERE worker = 'base'";
        let written = if format == "directory" {
            "none"
        } else {
            "bytes"
        };
        let expected = format!("dumping, 2 of 2 tables begun, {written}");
        wait_until("progress is shown", || {
            c.sql(progress) == expected || c.sql(progress).contains("failed")
        });
        assert_eq!(c.sql(progress), expected);
        let error = c.sql_error("SELECT incr_dump()");
        assert_eq!(error.sqlstate, "55006", "{error}");
        c.sql("INSERT INTO t VALUES (2); CREATE TABLE v (a int); SELECT incr_flush('2min'); SELECT incr_rotate()");
        assert!(c.stream().contains("INSERT INTO public.t (a) VALUES (2)"));
        assert!(c.health().starts_with("ok"), "{}", c.health());
        assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
        fs::write(&pipe, "").expect("pg_dump ends");
        wait_until("the base is made", || bases(&c) == 2);
        c.assert_restores();
    }
}

#[test]
fn a_text_that_is_no_schedule_is_refused_with_a_hint_when_it_is_set() {
    let c = Cluster::builder().start();
    for text in ["every day", "61 * * * *", "* * * *", "0 2 31 2 8 x"] {
        let error = c.sql_error(&format!(
            "ALTER SYSTEM SET pg_incrbackup.base_schedule = '{text}'"
        ));
        assert_eq!(error.sqlstate, "22023", "{text}: {error}");
        assert!(error.hint.contains("0 2 * * *"), "{text}: {error}");
    }
    for text in ["", " ", "0 2 * * *", "*/15 1-5 * * MON-FRI"] {
        c.sql(&format!(
            "ALTER SYSTEM SET pg_incrbackup.base_schedule = '{text}'"
        ));
    }
}
