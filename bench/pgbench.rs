//! pgbench with every transaction's latency.

use harness::{run, Cluster};
use std::fs;
use std::path::PathBuf;

/// One run of pgbench.
pub struct Run {
    /// Transactions per second, as pgbench says it.
    pub tps: f64,
    /// Milliseconds of every transaction; at a fixed rate, from when it was due.
    pub latencies: Vec<f64>,
}

pub fn pgbench(c: &Cluster, arguments: &[&str]) -> Run {
    let prefix = c.root().join("pgbench_log");
    let mut command = c.installation().command("pgbench");
    command.args(["-n", "-l", "--log-prefix"]).arg(&prefix);
    command.args(arguments).arg(c.conninfo(c.database()));
    let output = run(&mut command);
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let tps = output.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split(' ').next()?.parse().ok());
    Run {
        tps: tps.unwrap_or_else(|| panic!("pgbench says no tps: {output}")),
        latencies: logs(c).into_iter().flat_map(read_and_remove).collect(),
    }
}

/// One file for each of pgbench's threads.
fn logs(c: &Cluster) -> Vec<PathBuf> {
    let entries = fs::read_dir(c.root()).expect("the cluster's directory can be listed");
    let paths = entries.flatten().map(|entry| entry.path());
    let is_log = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log."))
    };
    paths.filter(is_log).collect()
}

/// Lines of client, number, microseconds, script, and the time.
fn read_and_remove(log: PathBuf) -> Vec<f64> {
    let text = fs::read_to_string(&log).expect("pgbench's log can be read");
    fs::remove_file(&log).expect("pgbench's log can be removed");
    let latency = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
    text.lines()
        .filter_map(latency)
        .map(|us| us / 1000.0)
        .collect()
}
