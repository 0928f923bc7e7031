//! From a database that is backed up to the restored one: flush, what the archive says of itself,
//! restore.sh as a DBA runs it, and, where that stops, the survey of all that fails.

use crate::findings::Findings;
use crate::suite::DATABASE;
use crate::survey::{self, Survey};
use harness::Cluster;
use std::time::Instant;

/// The target where restore.sh may stop, and where it may not.
const STRICT: &str = "restored";
const SURVEYED: &str = "surveyed";

/// Waits for the capture, and tells what health and verification find.
pub fn flush(cluster: &Cluster, findings: &mut Findings) {
    cluster.wait_for_capture();
    let started = Instant::now();
    cluster.sql("SELECT incrbackup.incr_flush('10 min')");
    println!("flushed in {:.1} s", started.elapsed().as_secs_f64());
    let health = cluster.sql("SELECT level, reasons FROM incrbackup.incr_slot_health()");
    println!("health: {health}");
    let problems = cluster.sql("SELECT * FROM incrbackup.incr_verify()");
    for problem in problems.lines() {
        println!("incr_verify: {problem}");
    }
    findings.count(
        problems.lines().count(),
        "problems that incr_verify() found",
    );
}

/// Restores; gives the name of the database to compare: the restored one, or, where restore.sh
/// stopped, the surveyed one, which has everything that could be applied.
pub fn restore(cluster: &Cluster, findings: &mut Findings) -> String {
    let strict = free_name(cluster, STRICT);
    let started = Instant::now();
    let stopped = cluster.try_restore(cluster, &strict, &[]).err();
    let seconds = started.elapsed().as_secs_f64();
    let Some(output) = stopped else {
        println!("restore.sh restored everything in {seconds:.1} s");
        findings.write("survey.txt", "");
        findings.count(0, "failed statements");
        return strict;
    };
    println!("restore.sh stopped after {seconds:.1} s:");
    let said: Vec<_> = output.lines().filter(|line| !is_progress(line)).collect();
    for line in &said[said.len().saturating_sub(6)..] {
        println!("  {}", survey::shortened(line, 300));
    }
    let surveyed = free_name(cluster, SURVEYED);
    let survey = Survey::of(cluster, &surveyed);
    findings.survey(&survey);
    surveyed
}

fn is_progress(line: &str) -> bool {
    line.starts_with('[') || line.contains(" NOTICE: ") || line.contains(" WARNING: ")
}

/// A name that no database of the cluster has. What an earlier replay left is dropped; one that
/// cannot be, because it has a subscription, stays.
fn free_name(cluster: &Cluster, wish: &str) -> String {
    let drop = format!("DROP DATABASE IF EXISTS {wish}");
    if cluster.try_sql_in("postgres", &drop).is_ok() {
        return wish.to_owned();
    }
    let count = cluster.sql_in("postgres", "SELECT count(*) FROM pg_database");
    assert_ne!(wish, DATABASE, "the source is not a target");
    format!("{wish}_{count}")
}
