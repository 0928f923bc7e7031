//! What a server does for many databases in which nothing happens: reads of files, and CPU time.

use crate::process;
use crate::report::{figure, Report};
use crate::server;
use harness::{wait_until_within, Cluster};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

const DATABASES: usize = 32;

/// Between two looks of the slowest of the launcher's schedules lies less.
const MEASURED: Duration = Duration::from_secs(60);

/// Of pg_database and of the process's own state, whatever the number of databases.
const READS: f64 = 30.0;
/// CPU seconds of all capture workers.
const CPU: f64 = 0.1;

pub fn measure(report: &mut Report) {
    report.heading("Idle");
    report.note(&format!(
        "{DATABASES} databases that are backed up and at rest, for {} s: calls that read a file (syscr of /proc/PID/io), and CPU \
         milliseconds.",
        MEASURED.as_secs()
    ));
    let c = cluster();
    let pids = |kind: &str| {
        let query =
            format!("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup {kind}'");
        c.sql(&query).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let kinds = ["launcher", "capture"].map(|kind| (kind, pids(kind)));
    assert_eq!(kinds[1].1.len(), DATABASES, "every database has its worker");
    let before: Vec<_> = kinds.iter().map(|(_, pids)| taken(pids)).collect();
    // Nothing is waited for but the clock: what is measured is what happens while nothing does.
    let until = Instant::now() + MEASURED;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.max(Duration::from_millis(1)));
    }
    let mut rows = Vec::new();
    let mut measured = Vec::new();
    for ((kind, pids), before) in kinds.iter().zip(before) {
        let after = taken(pids);
        let (reads, cpu) = (after.0 - before.0, after.1 - before.1);
        rows.push(vec![kind.to_string(), figure(reads), figure(cpu * 1000.0)]);
        report.raw(
            "idle",
            kind,
            json!({"databases": DATABASES, "reads": reads, "cpu": cpu}),
        );
        measured.push((reads, cpu));
    }
    report.table(&["process", "reads", "CPU ms"], &rows);
    let what = format!("idle: reads of files by the launcher a minute, {DATABASES} databases");
    report.at_most(&what, READS, measured[0].0, "");
    let what = format!("idle: CPU time of {DATABASES} capture workers a minute");
    report.at_most(&what, CPU, measured[1].1, " s");
    report.save();
}

fn cluster() -> Cluster {
    let builder = server::builder()
        .setting("max_worker_processes", "200")
        .setting("max_replication_slots", "100");
    let c = builder.back_up();
    for number in 1..DATABASES {
        let name = format!("idle_{number}");
        c.sql_in("postgres", &format!("CREATE DATABASE {name}"));
        c.sql_in(&name, "CREATE EXTENSION pg_incrbackup");
        c.sql_in(&name, "SELECT * FROM incr_setup()");
    }
    let others = "SELECT count(*) = 0 FROM pg_stat_activity \
        WHERE backend_type LIKE 'pg_incrbackup %' AND backend_type NOT IN ('pg_incrbackup launcher', 'pg_incrbackup capture')";
    // Globals are looked at after each change of the cluster, indexes twice a minute.
    let mut rests_since: Option<Instant> = None;
    wait_until_within(Duration::from_secs(300), "nothing is at work", || {
        if !c.is_true(others) {
            rests_since = None;
            return false;
        }
        rests_since.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(40)
    });
    c
}

/// Reads of files and CPU seconds of these processes.
fn taken(pids: &[String]) -> (f64, f64) {
    let sum = |of: fn(&str) -> f64| pids.iter().map(|pid| of(pid)).sum();
    (sum(reads), sum(process::exact_cpu_seconds))
}

fn reads(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    line.and_then(|number| number.parse().ok())
        .expect("Linux counts a process's reads")
}
