//! The round trip: a suite of PostgreSQL's own tests runs on a database that is backed up, the
//! archive is restored, and the restored database is compared with its source. `make roundtrip`
//! runs it and `tools/roundtrip.sh` tells its options.
//!
//! Exit status 0 only if the suite runs with us as it runs without us, every statement of the
//! archive restores, and nothing differs. There are no exceptions and no baselines.

mod findings;
mod restoring;
mod results;
mod suite;
mod survey;

use findings::Findings;
use harness::Cluster;
use restoring::restore_and_compare;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use suite::{database, Run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run_and_restore(),
        ["replay", directory] => replay(Path::new(directory)),
        _ => {
            eprintln!("usage: roundtrip [replay DIRECTORY]");
            ExitCode::from(2)
        }
    }
}

/// The whole way, from an empty cluster.
fn run_and_restore() -> ExitCode {
    let mut findings = Findings::new();
    let without_us = match std::env::var_os("QUICK") {
        Some(_) => None,
        None if suite::lists_everything() => None,
        None => {
            let cluster = suite::plain_cluster();
            let run = suite::run(&cluster, "without");
            cluster.discard();
            Some(run)
        }
    };
    let cluster = suite::backed_up_cluster();
    let with_us = suite::run(&cluster, "with");
    compare_runs(without_us.as_ref(), &with_us, &mut findings);
    restore_and_compare(&cluster, &mut findings);
    leave(cluster);
    findings.conclude()
}

/// Restores and compares the cluster of an earlier run again, with today's restore.sh.
fn replay(directory: &Path) -> ExitCode {
    let mut findings = Findings::new();
    let cluster = Cluster::kept(directory, database());
    let restore_sh =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/archive/templates/restore.sh");
    let there = cluster.database_directory().join("restore.sh");
    std::fs::copy(restore_sh, there).expect("the archive's restore.sh can be replaced");
    restore_and_compare(&cluster, &mut findings);
    leave(cluster);
    findings.conclude()
}

/// A kept cluster is worth a clean stop.
fn leave(cluster: Cluster) {
    if cluster.is_kept() {
        cluster.stop();
    }
}

fn compare_runs(without_us: Option<&Run>, with_us: &Run, findings: &mut Findings) {
    let Some(without_us) = without_us else {
        println!("the run without us was left out");
        return;
    };
    println!(
        "with us it takes {:.2} times as long",
        with_us.seconds / without_us.seconds
    );
    let differing = results::differing(without_us, with_us);
    let text: String = differing.iter().map(ToString::to_string).collect();
    findings.write("tests.txt", &text);
    for test in &differing {
        println!("  differs: {}", test.headline());
    }
    findings.count(differing.len(), "tests with another result than without us");
}

/// Where what is found is written: below `target/roundtrip-<version>`.
fn report_directory() -> PathBuf {
    PathBuf::from(std::env::var_os("REPORT").expect("tools/roundtrip.sh sets REPORT"))
}
