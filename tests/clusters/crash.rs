//! "After a crash a change is missing, or there twice." The server, the worker and the machine's
//! power go away at the worst moment; every committed transaction is in the files exactly once.

use harness::{wait_until, Cluster};
use std::collections::HashSet;
use std::process::{Child, Stdio};

/// pgbench's four tables, and clients that change them for `seconds`, in the background.
fn pgbench_in_background(c: &Cluster, seconds: u32) -> Child {
    let mut command = c.installation().command("pgbench");
    command
        .args([
            "-n",
            "-c",
            "2",
            "-j",
            "2",
            "-R",
            "400",
            "-T",
            &seconds.to_string(),
        ])
        .arg(c.conninfo("app"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("pgbench can be run")
}

fn with_pgbench_tables() -> Cluster {
    // The crash of a machine is not tested here, but the order of writes is: fsync as users have it.
    let c = Cluster::builder().setting("fsync", "on").back_up();
    c.pgbench(&["-i", "-q", "-s", "1"]);
    c
}

/// No commit LSN stands twice in the stream, and they grow.
pub fn assert_each_once(c: &Cluster) {
    let lsns: Vec<u64> = c
        .transactions()
        .iter()
        .map(|t| lsn(&t.commit_lsn))
        .collect();
    assert!(
        lsns.windows(2).all(|pair| pair[0] < pair[1]),
        "commit LSNs do not grow strictly"
    );
    let xids: HashSet<u64> = c.transactions().iter().map(|t| t.xid).collect();
    assert_eq!(xids.len(), lsns.len(), "a transaction stands twice");
}

fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("an LSN has a slash");
    let part = |hex| u64::from_str_radix(hex, 16).expect("an LSN is hexadecimal");
    (part(high) << 32) | part(low)
}

#[test]
fn a_stop_in_the_middle_of_a_load_loses_and_repeats_nothing() {
    let c = with_pgbench_tables();
    for stop in [Cluster::crash, Cluster::stop, Cluster::crash, Cluster::stop] {
        let mut load = pgbench_in_background(&c, 30);
        let before: u64 = c
            .sql("SELECT count(*) FROM pgbench_history")
            .parse()
            .unwrap_or(0);
        wait_until("the load has run a while", || {
            c.sql("SELECT count(*) FROM pgbench_history")
                .parse()
                .unwrap_or(0)
                > before + 300
        });
        stop(&c);
        load.wait().expect("pgbench ends when the server does");
        c.start();
    }
    c.sql("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 1, 1, now())");
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn a_killed_worker_comes_back_and_goes_on_where_it_was() {
    let c = with_pgbench_tables();
    for _ in 0..2 {
        let before = c.transactions().len();
        let mut load = pgbench_in_background(&c, 30);
        wait_until("the worker writes", || c.transactions().len() > before + 50);
        let pid = c.capture_pid();
        c.kill(&pid);
        load.wait().expect("pgbench ends when the server restarts");
        c.wait_for_connections();
        c.wait_for_capture();
        assert_ne!(c.capture_pid(), pid);
    }
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn a_terminated_worker_is_started_again() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let pid = c.capture_pid();
    c.sql(&format!("SELECT pg_terminate_backend({pid})"));
    c.sql("INSERT INTO t VALUES (2)");
    wait_until("another worker runs", || {
        let now = c.capture_pid();
        !now.is_empty() && now != pid
    });
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn the_launcher_comes_back_and_leaves_running_workers_alone() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let worker = c.capture_pid();
    let launcher =
        || c.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup launcher'");
    for end in ["pg_terminate_backend", "pg_cancel_backend"] {
        let before = launcher();
        c.sql(&format!("SELECT {end}({before})"));
        wait_until("another launcher runs", || {
            let now = launcher();
            !now.is_empty() && now != before
        });
        c.sql("INSERT INTO t VALUES (2)");
        c.flush();
    }
    assert_eq!(c.capture_pid(), worker);
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn a_clean_stop_writes_everything_and_the_start_goes_on() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    for i in 0..3 {
        c.sql(&format!("INSERT INTO t VALUES ({i})"));
        c.restart();
        // At once: the launcher has not started the worker yet.
        c.flush();
    }
    c.assert_restores();
    assert_each_once(&c);
}

#[test]
fn a_torn_tail_is_cut_and_written_again() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'whole')");
    c.flush();
    c.sql("INSERT INTO t SELECT i, 'torn' FROM generate_series(2, 20) i");
    c.flush();
    // As if the slot had not been told yet: the files end inside the last transaction.
    c.crash();
    let open = c.segments().pop().expect("a segment is open").path;
    let text = std::fs::read(&open).expect("the segment can be read");
    std::fs::write(&open, &text[..text.len() - 20]).expect("the segment can be cut");
    c.start();
    c.sql("INSERT INTO t VALUES (100, 'after')");
    // The slot may already have been told that the cut transaction is safe. Then this is a gap, and
    // a gap is said aloud; otherwise the files hold it exactly once.
    if c.try_sql("SELECT incr_flush('20 s')").is_ok() {
        c.assert_restores();
        assert_each_once(&c);
    } else {
        assert!(c.health().contains("chain is broken"), "{}", c.health());
    }
}

#[test]
fn files_that_are_behind_the_slot_are_a_broken_chain() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    let last = c.transactions().pop().expect("there is a transaction");
    wait_until("the slot is told", || {
        c.slot_is(&format!("confirmed_flush_lsn >= '{}'", last.commit_lsn))
    });
    let open = c.segments().pop().expect("a segment is open").path;
    std::fs::remove_file(open).expect("the segment can be removed");
    c.slot("pg_terminate_backend(active_pid)");
    c.sql("INSERT INTO t VALUES (2)");
    wait_until("health says that the chain is broken", || {
        c.health().contains("chain is broken")
    });
    assert!(
        c.try_sql("SELECT incr_flush('5 s')").is_err(),
        "a broken chain must not flush"
    );
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.sql("INSERT INTO t VALUES (3)");
    c.assert_restores();
}

#[test]
fn a_crash_while_segments_close_leaves_a_whole_archive() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.rotate_size", "1MB")
        .setting("fsync", "on")
        .back_up();
    c.sql("CREATE TABLE t (a serial PRIMARY KEY, b text)");
    for round in 0..3 {
        let mut load = c.session();
        load.send("INSERT INTO t (b) SELECT repeat('x', 100) FROM generate_series(1, 20000)");
        let closed = || c.segments().iter().filter(|s| !s.is_open).count();
        wait_until("a segment closes", || closed() > round);
        c.crash();
        drop(load);
        c.start();
        c.sql("INSERT INTO t (b) SELECT repeat('y', 100) FROM generate_series(1, 20000)");
        c.flush();
    }
    c.assert_restores();
    assert_each_once(&c);
}
