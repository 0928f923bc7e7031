//! Random transactions of several sessions, and the restored database compared with its source.
//!
//! A round is made from a seed (`dice`): each session reads what there is to work on from the
//! source's catalog (`catalog`), and makes its next statement for it (`statements` and the files it
//! names). A failure prints the seed and keeps the cluster's files, with every statement in
//! `journal.sql`; `make fuzz SEED=…` runs it again.

mod alter;
mod avoid;
mod catalog;
mod code;
mod dice;
mod fitting;
mod journal;
mod making;
mod mixed;
mod objects;
mod partitions;
mod player;
mod round;
mod rows;
mod statements;
mod tables;
mod tally;
mod value;
mod ways;

use round::Round;
use std::time::{Duration, Instant};
use tally::Tally;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    (!value.is_empty()).then(|| value.parse().expect("a number"))
}

/// The seeds that every change must pass.
#[test]
fn random_transactions_restore() {
    for seed in [1, 2] {
        let round = Round {
            seed,
            sessions: 3,
            transactions: 40,
        };
        let tally = round.run();
        assert!(tally.success() > 75.0, "too many statements fail:\n{tally}");
    }
}

/// As long as `FUZZ_SECONDS` says; from `FUZZ_SEED` on, or from the time of day.
#[test]
#[ignore = "runs for minutes: make fuzz"]
fn random_transactions_restore_for_a_long_time() {
    let started = Instant::now();
    let patience = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(30));
    let mut seed = number("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
    let mut sum = Tally::default();
    let mut rounds = 0;
    loop {
        let round = Round {
            seed,
            sessions: number("FUZZ_SESSIONS").unwrap_or(3),
            transactions: number("FUZZ_TRANSACTIONS").unwrap_or(60),
        };
        sum.add(&round.run());
        rounds += 1;
        seed += 1;
        if started.elapsed() >= patience {
            break;
        }
    }
    println!(
        "{sum}\nfuzz: {rounds} rounds in {} s, {} statements, {:.1} % succeeded",
        started.elapsed().as_secs(),
        sum.statements(),
        sum.success()
    );
}
