//! `make load`: SECONDS of everything at once, then the restore; exit status 1 if memory was not
//! bounded, a base failed, the slot stood still, or the restored database differs.

#[path = "mod.rs"]
mod load;

use load::{Load, Sizes};
use std::process::ExitCode;

const SIZES: Sizes = Sizes {
    rows: 5_000_000,
    subtransactions: 100_000,
    open: 500,
    tables: 10_000,
    row_megabytes: 200,
    copy_megabytes: 1024,
    pgbench_scale: 10,
};

fn main() -> ExitCode {
    let seconds = std::env::var("SECONDS_TO_RUN").unwrap_or_default();
    let seconds = match seconds.as_str() {
        "" => 600,
        seconds => seconds.parse().expect("a number"),
    };
    let problems = Load {
        seconds,
        sizes: SIZES,
    }
    .run();
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
