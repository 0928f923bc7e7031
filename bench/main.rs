//! `make bench`: how fast the capture is beside its peers and the floor, what it costs the source,
//! how far behind it is, what it takes on disk, and how fast that is replayed. Everything is measured
//! side by side in one run on throwaway clusters, contestants in turn, `REPEATS` times; tables and
//! targets are printed and written to `bench/results/`. `BENCH_ONLY` names parts.

mod canvas;
mod commit;
mod contestant;
mod ddl;
mod decode;
mod delay;
mod drain;
mod files;
mod growth;
mod idle;
mod keyless;
mod loads;
mod machine;
mod overhead;
mod past;
mod pgbench;
mod plot;
mod process;
mod program;
mod replay;
mod report;
mod restore;
mod server;
mod size;
mod standing;
mod stats;
mod sweeps;
mod turns;
mod wal;
mod who;
mod worker;

use report::Report;

const PARTS: [&str; 18] = [
    "drain", "overhead", "ddl", "decode", "delay", "size", "restore", "program", "jobs", "part",
    "squash", "past", "growth", "worker", "idle", "files", "who", "commit",
];

fn main() {
    // cargo passes its own options; ours are in the environment.
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|part| !part.is_empty()).collect();
    if let Some(unknown) = only.iter().find(|part| !PARTS.contains(part)) {
        eprintln!(
            "bench: BENCH_ONLY={unknown} is none of {}",
            PARTS.join(", ")
        );
        std::process::exit(2);
    }
    if let Ok(result) = std::env::var("BENCH_DRAW") {
        return draw_again(&result);
    }
    let is_wanted = |part: &str| only.is_empty() || only.contains(&part);
    let repeats = repeats();

    let mut report = Report::new(&only, repeats);
    if is_wanted("drain") {
        drain::measure(&mut report, repeats, is_wanted("size"));
    } else if is_wanted("size") {
        size::measure_alone(&mut report);
    }
    if is_wanted("overhead") {
        overhead::measure(&mut report, repeats);
    }
    if is_wanted("ddl") {
        ddl::measure(&mut report, repeats);
    }
    if is_wanted("decode") {
        decode::measure(&mut report, repeats);
    }
    if is_wanted("delay") {
        delay::measure(&mut report, repeats);
    }
    if is_wanted("restore") {
        restore::measure(&mut report, repeats);
    }
    if is_wanted("program") {
        program::measure(&mut report, repeats);
    }
    for (part, measure) in program::PARTS {
        // The whole of it has them already.
        if is_wanted(part) && !is_wanted("program") {
            program::measure_alone(&mut report, repeats, measure);
        }
    }
    if is_wanted("past") {
        past::measure(&mut report, repeats);
    }
    if is_wanted("growth") {
        growth::measure(&mut report, repeats);
    }
    if is_wanted("worker") {
        worker::measure(&mut report, repeats);
    }
    if is_wanted("idle") {
        idle::measure(&mut report);
    }
    if is_wanted("files") {
        files::measure(&mut report);
    }
    if is_wanted("who") {
        who::measure(&mut report, repeats);
    }
    if is_wanted("commit") {
        commit::measure(&mut report, repeats);
    }
    report.finish();
}

/// The pictures of a result that was written before.
fn draw_again(file: &str) {
    let path = machine::checkout().join(file);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|e| panic!("BENCH_DRAW={file} can't be read: {e}"));
    let result = serde_json::from_str(&text);
    plot::draw(&result.unwrap_or_else(|e| panic!("BENCH_DRAW={file} is no result: {e}")));
}

fn repeats() -> usize {
    let repeats = std::env::var("REPEATS").unwrap_or_default();
    match repeats.as_str() {
        "" => 3,
        number => number
            .parse()
            .ok()
            .filter(|&repeats| repeats > 0)
            .unwrap_or_else(|| panic!("REPEATS={number} is not a number of repeats")),
    }
}
