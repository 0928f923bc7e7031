//! `make torture`: ROUNDS of the crash harness from SEED on; exit status 1 if anything was lost,
//! repeated, out of order or restored differently. The last line counts.

#[path = "mod.rs"]
mod torture;

use std::process::ExitCode;
use torture::{Kind, Torture};

const ROUNDS: u32 = 30;

fn main() -> ExitCode {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
    let rounds = number("ROUNDS").map_or(ROUNDS, |rounds| rounds as u32);
    if std::env::var("KIND").is_ok_and(|kind| kind == "failover") {
        let failover = torture::failover::Failover { seed, rounds };
        let report = failover.run();
        println!("{report}");
        return status(report.problems.is_empty());
    }
    let reader = std::env::var("READER")
        .ok()
        .filter(|reader| !reader.is_empty());
    let reader = reader.unwrap_or_else(|| "stream".to_string());
    let torture = Torture {
        seed,
        rounds,
        reader,
        kind: kind(),
    };
    let report = torture.run();
    println!("{report}");
    status(report.is_clean())
}

fn status(is_clean: bool) -> ExitCode {
    if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn kind() -> Kind {
    match std::env::var("KIND").unwrap_or_default().as_str() {
        "" | "faults" => Kind::Faults,
        "synchronous" => Kind::Synchronous,
        other => panic!("KIND={other} is none of faults, synchronous"),
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    (!value.is_empty()).then(|| value.parse().expect("a number"))
}
