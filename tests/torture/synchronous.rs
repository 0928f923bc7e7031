//! Kills of the server and of the capture worker while every COMMIT waits for the files: what a client was told to be
//! committed is in the files that the dead server leaves behind, before anybody starts it again.
//!
//! A kill leaves the kernel's page cache: that the fsync comes before the answer is shown by a failpoint
//! (`clusters/synchronous`), not here.

use super::ledger::Ledger;
use super::{processes, PATIENCE};
use fastrand::Rng;
use harness::{wait_until_within, Builder, Cluster};
use std::collections::{BTreeMap, HashSet};
use std::fs;

/// Steps of the capture worker at which it dies.
const STEPS: [&str; 8] = [
    "capture: all is read",
    "segment: write",
    "segment: fsync",
    "segment: fsynced",
    "slot: confirm",
    "slot: confirmed",
    "publish: rename",
    "manifest: fsync",
];

/// Every commit waits, whatever comes. A server whose worker dies stays down, to be looked at.
pub fn settings(builder: Builder) -> Builder {
    builder
        .setting("pg_incrbackup.synchronous", "on")
        .setting("pg_incrbackup.synchronous_timeout", "0")
        .setting("pg_incrbackup.synchronous_on_timeout", "wait")
        .setting("restart_after_crash", "off")
}

pub struct Kills<'a> {
    cluster: &'a Cluster,
    rng: Rng,
    /// Numbers that were acknowledged, and not in the files.
    pub missing: usize,
    pub counts: BTreeMap<&'static str, u32>,
    story: String,
}

impl<'a> Kills<'a> {
    pub fn new(cluster: &'a Cluster, seed: u64) -> Self {
        Self {
            cluster,
            rng: Rng::with_seed(seed),
            missing: 0,
            counts: BTreeMap::new(),
            story: String::new(),
        }
    }

    /// What happened in this round.
    pub fn story(&mut self) -> String {
        std::mem::take(&mut self.story)
    }

    /// Kills, compares, and starts the server again.
    pub fn strike(&mut self, ledger: &Ledger) {
        for (chance, sql) in [
            (20, "CHECKPOINT"),
            (30, "SELECT incr_rotate()"),
            (10, "SELECT incr_dump(wait => false)"),
        ] {
            if self.rng.u32(0..100) < chance {
                self.cluster.try_sql(sql).ok();
            }
        }
        let kind = match self.rng.u32(0..4) {
            0 => {
                processes::kill_all(self.cluster);
                "all processes killed"
            }
            1 => {
                self.cluster.crash();
                "immediate stop"
            }
            2 => {
                self.kill_capture();
                "capture killed"
            }
            _ => {
                self.die_at_a_step();
                "capture killed at a step"
            }
        };
        *self.counts.entry(kind).or_default() += 1;
        wait_until_within(PATIENCE, "the server is down", || {
            processes::postmaster(self.cluster).is_none() && ledger.is_disconnected()
        });
        let numbers = complete_numbers(self.cluster);
        let acknowledged: Vec<u64> = ledger.book().committed.keys().copied().collect();
        let missing = acknowledged
            .iter()
            .filter(|number| !numbers.contains(number));
        let missing: Vec<&u64> = missing.collect();
        self.missing += missing.len();
        self.story += &format!(
            "{kind}: {} acknowledged, {} missing {missing:?}",
            acknowledged.len(),
            missing.len()
        );
        wait_until_within(PATIENCE, "the server starts", || {
            self.cluster.try_start().is_ok()
        });
    }

    fn kill_capture(&self) {
        wait_until_within(PATIENCE, "a capture worker runs", || {
            let pid = self.cluster.try_sql(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'",
            );
            let pid = pid.unwrap_or_default();
            let mut kill = std::process::Command::new("kill");
            !pid.is_empty()
                && kill
                    .args(["-9", &pid])
                    .output()
                    .is_ok_and(|out| out.status.success())
        });
    }

    fn die_at_a_step(&mut self) {
        let step = STEPS[self.rng.usize(0..STEPS.len())];
        let nth = self.rng.u32(1..4);
        let file = self.cluster.root().join("failpoints");
        let fired = file.with_extension("fired");
        fs::remove_file(&fired).ok();
        let new = file.with_extension("new");
        fs::write(&new, format!("kill {nth} {step}\n")).expect("failpoints can be written");
        fs::rename(new, file).expect("failpoints can be written");
        wait_until_within(PATIENCE, step, || {
            self.cluster.try_sql("SELECT incr_rotate()").ok();
            fired.exists()
        });
        self.story += &format!("{step}, ");
    }
}

/// The numbers of all transactions that stand in the newest chain's segments to their end.
fn complete_numbers(cluster: &Cluster) -> HashSet<u64> {
    let transactions = cluster.transactions().into_iter();
    let marks = transactions.flat_map(|transaction| {
        let parts: Vec<String> = transaction.body.split('#').map(str::to_owned).collect();
        let numbers = parts.windows(2).filter(|pair| pair[0].ends_with('k'));
        let numbers: Vec<u64> = numbers.filter_map(|pair| pair[1].parse().ok()).collect();
        numbers
    });
    marks.collect()
}
