//! The crash harness: a load whose every transaction is known, faults at random moments, and after
//! each round the question whether the files hold exactly what was committed.
//!
//! Four clients write numbers (`client`) and note in the `ledger` which were acknowledged, which were
//! rolled back, and which nobody knows until the server is asked again. Meanwhile one of the `faults`
//! strikes, chosen by the seed. When the server is back and `incr_flush()` has returned, `stream`
//! reads the segments: every committed number once, in commit order, and no other. At the end the
//! archive is restored and compared. `make torture` runs it. With KIND=synchronous the faults are those of `synchronous`.

mod client;
pub mod failover;
mod faults;
mod ledger;
mod stream;
mod synchronous;
mod tear;

use faults::Faults;
use harness::{differences, processes, wait_until_within, Cluster};
use ledger::Ledger;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stream::{Findings, Stream};
use synchronous::Kills;

/// How long a server may take to come back and to write everything.
const PATIENCE: Duration = Duration::from_secs(90);
const CLIENTS: usize = 4;

/// What to run. The seed chooses the faults and the transactions; how they meet is up to the machine.
pub struct Torture {
    pub seed: u64,
    pub rounds: u32,
    /// The value of `pg_incrbackup.reader`.
    pub reader: String,
    pub kind: Kind,
}

/// What strikes, and what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every fault; each committed number is in the files in the end, once.
    Faults,
    /// Kills of server and worker, with `pg_incrbackup.synchronous`: also what the dead server has left in the files has each
    /// number that was acknowledged.
    Synchronous,
}

/// What it came to.
#[derive(Default)]
pub struct Report {
    pub faults: BTreeMap<&'static str, u32>,
    pub rounds: u32,
    pub committed: usize,
    pub rolled_back: usize,
    pub in_doubt: usize,
    /// With [`Kind::Synchronous`]: numbers that were acknowledged when a server died, and not in the files then.
    pub missing: Option<usize>,
    pub findings: Findings,
    /// What incr_verify() and the comparison with the restored database found.
    pub problems: Vec<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        let is_missing = self.missing.is_some_and(|missing| missing > 0);
        self.findings.is_clean() && self.problems.is_empty() && !is_missing
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "torture: {problem}")?;
        }
        writeln!(
            f,
            "torture: {} transactions committed ({} of them in doubt for a while), {} rolled back",
            self.committed, self.in_doubt, self.rolled_back
        )?;
        if let Some(missing) = self.missing {
            writeln!(
                f,
                "torture: {missing} acknowledged commits were missing in the files of a dead server"
            )?;
        }
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(k, n)| format!("{k} {n}"))
            .collect();
        write!(
            f,
            "torture: {}; {} rounds, {}",
            faults.join(", "),
            self.rounds,
            self.findings
        )
    }
}

const TABLES: &str = "
CREATE TABLE keyed (n bigint PRIMARY KEY, client int, mark text);
CREATE TABLE keyless (n bigint, client int, mark text);
CREATE TABLE bulk (client int, i int, filler text, PRIMARY KEY (client, i));
CREATE TABLE counter (client int PRIMARY KEY, v int);
CREATE TABLE keyless_counter (client int, v int);
CREATE TABLE held (a int);
INSERT INTO counter SELECT c, 0 FROM generate_series(0, 9) c;
INSERT INTO keyless_counter SELECT c, 0 FROM generate_series(0, 9) c;
";

impl Torture {
    pub fn run(&self) -> Report {
        println!(
            "torture: seed {}, {} rounds, reader {}, on PostgreSQL {}",
            self.seed,
            self.rounds,
            self.reader,
            harness::Installation::under_test().version
        );
        let mut builder = Cluster::builder();
        if self.kind == Kind::Synchronous {
            builder = synchronous::settings(builder);
        }
        let cluster = builder
            .setting("pg_incrbackup.decoding_work_mem", "64kB")
            .setting("pg_incrbackup.rotate_size", "1MB")
            .setting("pg_incrbackup.reader", &self.reader)
            .setting("lock_timeout", "20s")
            // As on a server that is in use.
            .setting("wal_init_zero", "on")
            .environment("PG_INCRBACKUP_FAILPOINTS", "../failpoints")
            .back_up();
        cluster.keep_if_it_fails();
        cluster.sql(TABLES);
        let mut report = Report::default();
        let ledger = Ledger::default();
        let mut stream = Stream::default();
        let mut faults = Faults::new(&cluster, self.seed);
        let mut kills = (self.kind == Kind::Synchronous).then(|| Kills::new(&cluster, self.seed));
        for round in 1..=self.rounds {
            let started = Instant::now();
            let fault = faults.choose(round);
            self.round(&cluster, round, &ledger, || match &mut kills {
                Some(kills) => kills.strike(&ledger),
                None => faults.strike(fault),
            });
            stream.read(&cluster);
            let findings = stream.compare(&ledger);
            let verified = cluster.sql("SELECT * FROM incr_verify()");
            println!(
                "round {round}: {}; {findings}; {}",
                kills.as_mut().map_or_else(|| faults.story(), Kills::story),
                Self::took(started)
            );
            if !verified.is_empty() {
                report
                    .problems
                    .push(format!("round {round}: incr_verify(): {verified}"));
            }
            report.findings = findings;
            report.missing = kills.as_ref().map(|kills| kills.missing);
            report.rounds = round;
            if !report.is_clean() {
                break;
            }
        }
        report.faults = kills.map_or_else(|| faults.counts(), |kills| kills.counts);
        (report.committed, report.rolled_back, report.in_doubt) = ledger.counts();
        self.conclude(cluster, &ledger, &mut report);
        report
    }

    /// Says what takes how long, for whoever waits.
    fn took(started: Instant) -> String {
        format!("{:.1} s", started.elapsed().as_secs_f32())
    }

    /// The load, with a fault in the midst of it; returns when all is written.
    fn round(&self, c: &Cluster, round: u32, ledger: &Ledger, strike: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let seed = self.seed ^ (u64::from(round) << 32) ^ ((number as u64) << 56);
                let stop = &stop;
                scope.spawn(move || client::play(c, number, seed, ledger, stop));
            }
            // However this ends, the clients must.
            let _stop = StopAtEnd(&stop);
            let before = ledger.committed();
            let grown = |more| ledger.committed() >= before + more;
            wait_until_within(PATIENCE, "the load runs", || {
                grown(10 + round as usize % 30)
            });
            strike();
            let before = ledger.committed();
            wait_until_within(PATIENCE, "the load runs again", || {
                ledger.committed() >= before + 20
            });
        });
        ledger.ask(c);
        wait_until_within(PATIENCE, "all is written", || {
            c.try_sql("SELECT incr_flush('20 s')").is_ok()
        });
    }

    /// Everything once more without what was remembered, and the restored database.
    fn conclude(&self, cluster: Cluster, ledger: &Ledger, report: &mut Report) {
        if report.is_clean() {
            let mut stream = Stream::default();
            stream.read(&cluster);
            report.findings = stream.compare(ledger);
        }
        let target = "restored_at_the_end";
        // From the oldest base: all segments.
        let base = cluster.bases().into_iter().next();
        let base = base
            .expect("there is a base")
            .file_name()
            .map(ToOwned::to_owned);
        let base = base.unwrap_or_default().to_string_lossy().into_owned();
        match cluster.try_restore(&cluster, target, &["--base", &base]) {
            Err(output) => report
                .problems
                .push(format!("the restore failed: {output}")),
            Ok(_) => {
                let found = differences((&cluster, cluster.database()), (&cluster, target));
                let found = found.iter().map(|d| format!("restored differently: {d}"));
                report.problems.extend(found);
            }
        }
        if report.is_clean() {
            return;
        }
        println!("torture: kept {}", cluster.root().display());
        cluster.crash();
        std::mem::forget(cluster);
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What every change must survive.
#[cfg(test)]
#[test]
fn committed_numbers_survive_faults_exactly_once() {
    let torture = Torture {
        seed: 1,
        rounds: 7,
        reader: "stream".to_string(),
        kind: Kind::Faults,
    };
    let report = torture.run();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.rounds == 7 && report.committed > 200, "{report}");
}

#[cfg(test)]
#[test]
fn what_was_acknowledged_is_in_the_files_of_a_dead_server() {
    let torture = Torture {
        seed: 2,
        rounds: 4,
        reader: "stream".to_string(),
        kind: Kind::Synchronous,
    };
    let report = torture.run();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.rounds == 4 && report.committed > 100, "{report}");
}
