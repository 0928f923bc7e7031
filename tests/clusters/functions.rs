//! "The function says one thing and does another." Every incr_ function, used rightly and wrongly.

use harness::{wait_until, Cluster};
use std::fs;

#[test]
fn incr_flush_returns_when_everything_before_it_is_on_disk() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    for i in 0..20 {
        let before = c.sql(&format!(
            "INSERT INTO t VALUES ({i}); SELECT pg_current_wal_lsn()"
        ));
        let flushed = c.flush();
        assert!(
            c.is_true(&format!("SELECT '{flushed}'::pg_lsn >= '{before}'")),
            "{flushed} < {before}"
        );
        assert!(
            c.stream().contains(&format!("VALUES ({i});")),
            "row {i} is not in the files"
        );
    }
}

/// A request that comes after a round's reading is the next round's: the files would end before it.
#[test]
fn the_files_reach_what_incr_flush_gives_whenever_it_is_asked() {
    let c = Cluster::builder().with_failpoints().back_up();
    c.sql("CREATE TABLE t (a int)");
    c.flush();
    c.set_day(0, "hold 1 capture: all is read");
    c.sql("INSERT INTO t VALUES (1)");
    wait_until("capture has read and goes no further", || {
        c.root().join("failpoints.held").exists()
    });
    let mut session = c.session();
    session.send("SELECT 'reached: ' || (lsn <= (SELECT max(end_lsn) FROM incr_files())) FROM incr_flush() AS lsn");
    wait_until("the request is on the board", || {
        c.is_true("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%incr_flush%' AND wait_event_type = 'Extension'")
    });
    fs::remove_file(c.root().join("failpoints")).expect("the failpoint can be removed");
    let said = session.finish();
    assert!(said.contains("reached: true"), "{said}");
}

#[test]
fn incr_flush_gives_up_at_its_timeout() {
    let c = Cluster::backed_up();
    c.sql("SELECT incr_teardown(drop_slot => false)");
    let error = c.sql_error("SELECT incr_flush('1 s')");
    assert!(
        ["57014", "55000", "57P03"].contains(&error.sqlstate.as_str()),
        "{error}"
    );
    let error = c.sql_error("SELECT incr_flush('-1 s')");
    assert_eq!(error.sqlstate, "22023", "{error}");
}

#[test]
fn a_commit_reaches_the_files_by_itself_within_a_second() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.flush();
    // A busy machine may hold one row up for longer, but not five in a row.
    let delays = (1..=5).map(|row| {
        c.sql(&format!("INSERT INTO t VALUES (471{row})"));
        let started = std::time::Instant::now();
        wait_until("the row is in the files", || {
            c.stream().contains(&format!("VALUES (471{row});"))
        });
        started.elapsed()
    });
    let limit = std::time::Duration::from_secs(2);
    assert!(delays.into_iter().any(|elapsed| elapsed < limit));
    c.sql("SET synchronous_commit = off; INSERT INTO t VALUES (4720)");
    wait_until("an asynchronous commit is in the files", || {
        c.stream().contains("VALUES (4720);")
    });
}

#[test]
fn incr_status_names_the_worker_its_file_and_its_counters() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let status = c.sql("SELECT * FROM incr_status()");
    let pid = c.capture_pid();
    assert!(
        !pid.is_empty() && status.contains(&pid) && status.contains(".sql.partial"),
        "{status}"
    );
}

#[test]
fn incr_dump_returns_the_path_of_a_whole_base() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let path = c.sql("SELECT incr_dump()");
    let base = std::path::Path::new(&path);
    for file in ["SHA256SUMS", "metadata.json", "globals.sql", "database.sql"] {
        assert!(base.join(file).exists(), "{file} is missing in {path}");
    }
    let check = std::process::Command::new("sha256sum")
        .args(["-c", "--quiet", "SHA256SUMS"])
        .current_dir(base)
        .status();
    assert!(check.is_ok_and(|status| status.success()));
    let metadata =
        std::fs::read_to_string(base.join("metadata.json")).expect("metadata can be read");
    for key in [
        "system_identifier",
        "timeline",
        "snapshot",
        "encoding",
        "extensions",
    ] {
        assert!(metadata.contains(key), "{key} is not in {metadata}");
    }
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'base'"),
        "2"
    );
}

#[test]
fn incr_dump_without_waiting_is_done_by_a_worker() {
    let c = Cluster::backed_up();
    c.sql("SELECT incr_dump(wait => false)");
    wait_until("the second base is finished", || {
        c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'base'") == "2"
    });
}

#[test]
fn every_form_of_base_restores() {
    for format in ["plain", "compressed", "directory"] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.base_format", format)
            .setting("pg_incrbackup.base_jobs", "2")
            .start();
        c.sql(
            "CREATE TABLE t (a int PRIMARY KEY, b text);
               INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i;
               CREATE EXTENSION hstore; CREATE EXTENSION pg_incrbackup",
        );
        c.sql("SELECT * FROM incr_setup()");
        c.sql("UPDATE t SET b = 'y' WHERE a < 10");
        c.assert_restores();
    }
}

#[test]
fn a_scheduled_base_is_made() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_schedule", "'* * * * *'")
        .back_up();
    harness::wait_until_within(
        std::time::Duration::from_secs(100),
        "the schedule made a base",
        || c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'base'") != "1",
    );
}

#[test]
fn incr_files_lists_every_file() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT incr_rotate();
           INSERT INTO t VALUES (2); SELECT incr_flush()",
    );
    let listed = c.sql("SELECT count(*) FROM incr_files() WHERE kind = 'incremental'");
    assert_eq!(listed, c.segments().len().to_string());
    assert!(c.is_true("SELECT bool_and(transactions > 0 AND statements > 0 AND bytes > 0 AND length(sha256) = 64 AND first_commit_at <= last_commit_at AND start_lsn < end_lsn)
        FROM incr_files() WHERE kind = 'incremental' AND file LIKE '%.sql'"), "{}", c.sql("SELECT * FROM incr_files()"));
}

#[test]
fn incr_verify_finds_what_is_wrong() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let mut closed = Vec::new();
    for i in 0..4 {
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
        closed.push(c.sql("SELECT incr_rotate()"));
    }
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let text = std::fs::read_to_string(&closed[1]).expect("the segment can be read");
    std::fs::write(&closed[1], text.replace("VALUES (1)", "VALUES (9)"))
        .expect("it can be written");
    std::fs::remove_file(&closed[2]).expect("it can be removed");
    std::fs::write(c.bases()[0].join("globals.sql"), "").expect("it can be emptied");
    let problems = c.sql("SELECT * FROM incr_verify()");
    for path in [&closed[1], &closed[2], "globals.sql"] {
        let name = path.rsplit('/').next().unwrap_or(path);
        assert!(problems.contains(name), "{name} is not among: {problems}");
    }
}

#[test]
fn incr_teardown_stops_capture_and_leaves_the_files() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT incr_flush(); SELECT incr_rotate();
           SELECT incr_teardown()",
    );
    assert_eq!(c.sql("SELECT count(*) FROM pg_replication_slots"), "0");
    let restored = c.restore(&[]);
    assert_eq!(c.sql_in(&restored.database, "SELECT a FROM t"), "1");
    c.sql("SELECT * FROM incr_setup()");
    // Of the new chain, or none.
    let closed = c.sql("SELECT incr_rotate()");
    assert!(!closed.contains("/chain-1/"), "{closed}");
    c.sql("INSERT INTO t VALUES (2)");
    let closed = c.sql("SELECT incr_rotate()");
    assert!(closed.contains("/chain-2/"), "{closed}");
    c.restart();
    assert!(c.sql("SELECT incr_rotate()").contains("/chain-2/"));
    c.assert_restores();
}

#[test]
fn without_a_slot_every_function_says_what_to_do() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    for call in [
        "incr_flush()",
        "incr_rotate()",
        "incr_dump()",
        "incr_teardown()",
    ] {
        let error = c.sql_error(&format!("SELECT {call}"));
        assert_eq!(error.sqlstate, "42704", "{call}: {error}");
        assert!(error.hint.contains("incr_setup"), "{call}: {error}");
    }
}

#[test]
fn settings_are_read_again_on_reload() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.set("pg_incrbackup.copy_threshold", "0");
    wait_until("the worker writes no COPY blocks any more", || {
        let before = c.stream().matches("FROM stdin;").count();
        c.sql("INSERT INTO t SELECT i FROM generate_series(1, 100) i");
        c.flush();
        c.stream().matches("FROM stdin;").count() == before
    });
    c.assert_restores();
}
