//! Failovers under load, on three nodes that Patroni runs and an archive that they share: whatever the primary is, its
//! numbers are in the files once, and numbers that no survivor has are set apart.
//!
//! Rounds are switchovers and kills (SIGKILL of Patroni and of the whole server) in turn. The lock of a killed leader
//! is taken away at once, instead of after Patroni's `ttl` (20 s at least): what is measured is what comes after it.

mod files;
mod load;

use super::stream::Mark;
use super::StopAtEnd;
use files::Files;
use harness::patroni::Patroni;
use harness::{wait_until, Installation};
use load::{Book, COLUMNS, TABLES};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const CLIENTS: usize = 3;
/// Numbers that are acknowledged before each round.
const LOAD: usize = 30;

/// What to run: as many switchovers as kills.
pub struct Failover {
    pub seed: u64,
    pub rounds: u32,
}

/// What it came to. A database that is restored differently panics.
#[derive(Default)]
pub struct Report {
    pub acknowledged: usize,
    pub survived: usize,
    /// Acknowledged, and not on the surviving primary: replication is asynchronous.
    pub not_replicated: usize,
    /// Of these and of others that no client was told of, those that files had, and that were set apart.
    pub set_apart: usize,
    /// On the surviving primary, and in a base only: committed between the end of a chain and the next one's base.
    pub in_a_base: usize,
    /// Columns that the load has added.
    pub columns: usize,
    pub chains: usize,
    /// What is lost, repeated or not on the surviving primary.
    pub problems: Vec<String>,
    /// From the switchover or the kill until a client could write, and until all of it was in the files.
    switchovers: Vec<(Duration, Duration)>,
    kills: Vec<(Duration, Duration)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in [("switchover", &self.switchovers), ("kill", &self.kills)] {
            let part = |which: fn(&(Duration, Duration)) -> Duration| {
                let mut all: Vec<Duration> = times.iter().map(which).collect();
                all.sort();
                let at = |at: usize| all.get(at).map_or(0.0, Duration::as_secs_f32);
                (at(all.len() / 2), at(all.len().saturating_sub(1)))
            };
            let (writes, captures) = (part(|times| times.0), part(|times| times.1));
            writeln!(
                f,
                "torture: {} times {what}: a client writes after {:.1} s (worst {:.1} s), capture has caught up after \
                 {:.1} s (worst {:.1} s)",
                times.len(),
                writes.0,
                writes.1,
                captures.0,
                captures.1
            )?;
        }
        write!(
            f,
            "torture: {} transactions acknowledged, {} on the surviving primary ({} of them with a column, {} in a base \
             only), {} acknowledged but not replicated; {} set apart; {} chains; {} lost or repeated",
            self.acknowledged,
            self.survived,
            self.columns,
            self.in_a_base,
            self.not_replicated,
            self.set_apart,
            self.chains,
            self.problems.len()
        )?;
        for problem in &self.problems {
            write!(f, "\ntorture: {problem}")?;
        }
        Ok(())
    }
}

impl Failover {
    pub fn run(&self) -> Report {
        let version = Installation::under_test().version;
        println!(
            "torture: failover, seed {}, {} rounds, on PostgreSQL {version}",
            self.seed, self.rounds
        );
        let nodes = Patroni::builder()
            .setting("pg_incrbackup.take_over", "on_promotion")
            .setting("pg_incrbackup.take_over_delay", "1")
            .setting("pg_incrbackup.on_chain_break", "rebase")
            .start();
        nodes.set_up(TABLES);
        let (book, stop) = (Book::default(), AtomicBool::new(false));
        let mut report = Report::default();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (nodes, book, stop) = (&nodes, &book, &stop);
                let seed = self.seed ^ (client as u64) << 56;
                scope.spawn(move || load::play(nodes, client, seed, book, stop));
            }
            // However this ends, the clients must.
            let _stop = StopAtEnd(&stop);
            for round in 0..self.rounds {
                let before = book.count();
                wait_until("the load runs", || book.count() >= before + LOAD);
                let is_switchover = round.is_multiple_of(2);
                let started = Instant::now();
                let times = round_of(&nodes, is_switchover);
                println!(
                    "round {}: {} {:.1} s, {:.1} s; {:?}; {:.1} s",
                    round + 1,
                    if is_switchover { "switchover" } else { "kill" },
                    times.0.as_secs_f32(),
                    times.1.as_secs_f32(),
                    nodes
                        .primary()
                        .chain_directory()
                        .file_name()
                        .unwrap_or_default(),
                    started.elapsed().as_secs_f32()
                );
                if is_switchover {
                    report.switchovers.push(times);
                } else {
                    report.kills.push(times);
                }
            }
        });
        compare(&nodes, &book, &mut report);
        report
    }
}

/// Returns the time until a client can write, and until capture has caught up.
fn round_of(nodes: &Patroni, is_switchover: bool) -> (Duration, Duration) {
    let started = Instant::now();
    let killed = if is_switchover {
        nodes.switch_over();
        None
    } else {
        Some(nodes.kill_primary())
    };
    let primary = nodes.primary();
    let writes = started.elapsed();
    // It is refused while no capture runs, and waits for what is committed by then: on a busy machine longer than a second.
    wait_until("capture goes on", || {
        primary.try_sql("SELECT incr_flush('2min')").is_ok()
    });
    let captures = started.elapsed();
    if let Some(killed) = killed {
        nodes.bring_back(killed);
    }
    nodes.wait_for_standbys();
    (writes, captures)
}

/// The restored database is that of the primary, and every number is where it belongs.
fn compare(nodes: &Patroni, book: &Book, report: &mut Report) {
    let primary = nodes.primary();
    primary.assert_restores();
    let numbers = primary.sql("SELECT n FROM keyed");
    let survived: BTreeSet<u64> = numbers.lines().filter_map(|n| n.parse().ok()).collect();
    let files = Files::read(&primary.database_directory());
    let mut problems = Vec::new();
    let mut seen: BTreeMap<Mark, u32> = BTreeMap::new();
    for (chain, marks) in &files.chains {
        for (mark, count) in marks {
            *seen.entry(*mark).or_default() += count;
            if !survived.contains(&mark.1) {
                problems.push(format!("{mark:?} is in {chain}, and not on the primary"));
            }
        }
    }
    let repeated = seen.iter().filter(|(_, count)| **count > 1);
    problems.extend(repeated.map(|(mark, count)| format!("{mark:?} is there {count} times")));
    for number in &survived {
        match (
            seen.contains_key(&('k', *number)),
            seen.contains_key(&('b', *number)),
        ) {
            (true, true) => {}
            // Restored it is the same database: it is in the newest chain's base.
            (false, false) if files.chains.len() > 1 => report.in_a_base += 1,
            _ => problems.push(format!("{number} is lost")),
        }
    }
    let columns = primary.sql(COLUMNS);
    report.columns = columns.lines().count();
    report.problems = problems;
    let acknowledged = book.acknowledged();
    report.acknowledged = acknowledged.len();
    report.survived = survived.len();
    report.not_replicated = acknowledged.difference(&survived).count();
    let lost = files.lost.keys().filter(|mark| mark.0 == 'k');
    report.set_apart = lost.filter(|mark| !survived.contains(&mark.1)).count();
    report.chains = files.chains.len();
}

/// What every change must survive.
#[cfg(test)]
#[test]
fn whichever_node_is_the_primary_its_numbers_are_in_the_files_once() {
    let report = Failover { seed: 1, rounds: 6 }.run();
    println!("{report}");
    assert!(report.problems.is_empty(), "{report}");
    assert!(report.survived > 100, "{report}");
}
