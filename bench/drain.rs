//! The time to write out what is in the WAL already: every contestant, every load.

use crate::contestant::{self, Contestant, Drained, NULL, NULL_LARGE, STREAM, STREAM_LARGE};
use crate::loads::{self, Load};
use crate::report::{figure, Report};
use crate::size;
use crate::stats::median;
use crate::wal::Wal;
use serde_json::json;

/// One load's turns of one contestant.
struct Turns {
    contestant: Contestant,
    drained: Vec<Drained>,
}

/// One load's result.
struct Result {
    load: &'static str,
    turns: Vec<Turns>,
}

pub fn measure(report: &mut Report, repeats: usize, with_sizes: bool) {
    report.heading("Drain");
    report.note(
        "Seconds to write out a load that is in the WAL already, everybody from the same point; medians. \
         CPU: of the worker, of the backend, or of walsender and client together. \"× ours\": time as a \
         multiple of pg_incrbackup with reader stream; \"× null\": of the null plugin at the same memory.",
    );
    let mut results = Vec::new();
    for load in chosen() {
        let wal = Wal::of(load);
        let result = Result::of(load, &wal, repeats);
        result.show(report, load);
        if load.name == loads::REFERENCE.name {
            result.judge_reference(report);
            if with_sizes {
                size::measure(report, &wal);
            }
            eprintln!("bench: restoring the reference load and comparing");
            wal.cluster.assert_restores();
            report.note("The restored reference load is identical.");
        }
        results.push(result);
    }
    summary(report, &results);
    for result in &results {
        result.judge(report);
    }
}

/// All loads, or those that `BENCH_LOADS` names.
fn chosen() -> Vec<&'static Load> {
    static OTHERS: [Load; 6] = loads::OTHERS;
    static REFERENCE: Load = loads::REFERENCE;
    let names = std::env::var("BENCH_LOADS").unwrap_or_default();
    let is_chosen = |load: &&Load| names.is_empty() || names.split(',').any(|n| n == load.name);
    [&REFERENCE]
        .into_iter()
        .chain(&OTHERS)
        .filter(is_chosen)
        .collect()
}

impl Result {
    /// Everybody in turn, again and again; each round begins with another one.
    fn of(load: &'static Load, wal: &Wal, repeats: usize) -> Self {
        let contestants = contestant::all(wal.cluster.installation());
        let mut turns: Vec<Turns> = contestants
            .into_iter()
            .map(|contestant| Turns {
                contestant,
                drained: Vec::new(),
            })
            .collect();
        let count = turns.len();
        for round in 0..repeats {
            for place in 0..count {
                let turn = &mut turns[(place + round) % count];
                let drained = turn.contestant.drain(wal);
                eprintln!(
                    "bench: {}, round {}: {}: {:.2} s, cpu {:.2} s",
                    load.name,
                    round + 1,
                    turn.contestant.name(),
                    drained.seconds,
                    drained.cpu
                );
                turn.drained.push(drained);
            }
        }
        Self {
            load: load.name,
            turns,
        }
    }

    fn show(&self, report: &mut Report, load: &Load) {
        report.smaller_heading(&format!("{}: {}", load.name, load.what));
        let ours = self.seconds(STREAM);
        let row = |turns: &Turns| {
            let seconds = turns.median(|d| Some(d.seconds));
            let of_null = match turns.contestant {
                Contestant::Ours { memory: "0", .. } => figure(seconds / self.seconds(NULL)),
                Contestant::Ours { .. } => figure(seconds / self.seconds(NULL_LARGE)),
                _ => String::new(),
            };
            let or_blank = |number: f64| {
                if number.is_nan() {
                    String::new()
                } else {
                    figure(number)
                }
            };
            vec![
                turns.contestant.name(),
                format!("{seconds:.2}"),
                format!("{:.2}", turns.median(|d| Some(d.cpu))),
                figure(seconds / ours),
                of_null,
                or_blank(turns.median(|d| d.megabytes)),
                or_blank(turns.median(|d| d.peak)),
                or_blank(turns.median(|d| d.anonymous)),
            ]
        };
        let rows: Vec<_> = self.turns.iter().map(row).collect();
        let header = [
            "contestant",
            "s",
            "CPU s",
            "× ours",
            "× null",
            "MB written",
            "peak MB",
            "own MB",
        ];
        report.table(&header, &rows);
        let raw = self.turns.iter().map(|turns| {
            let drained = turns.drained.iter().map(|d| {
                json!({"seconds": d.seconds, "cpu": d.cpu, "megabytes": d.megabytes,
                       "peak_megabytes": d.peak, "anonymous_megabytes": d.anonymous})
            });
            (turns.contestant.name(), drained.collect())
        });
        report.raw(
            "drain",
            self.load,
            raw.collect::<serde_json::Map<_, _>>().into(),
        );
    }

    fn judge_reference(&self, report: &mut Report) {
        let ours = self.seconds(STREAM);
        let large = self.seconds(STREAM_LARGE);
        let null = (self.seconds(NULL), self.seconds(NULL_LARGE));
        report.at_most(
            "reference: time, as a multiple of the null plugin's",
            2.0,
            ours / null.0,
            "",
        );
        report.at_most(
            "reference: the same, both with 192MB",
            2.0,
            large / null.1,
            "",
        );
        if let Some(decoder_raw) = self.turns_of(Contestant::Peer("decoder_raw")) {
            let theirs = decoder_raw.median(|d| Some(d.seconds));
            report.at_least(
                "reference: times as fast as decoder_raw",
                2.5,
                theirs / ours,
                "",
            );
            report.at_least("reference: the same with 192MB", 3.5, theirs / large, "");
        }
        let peaks = self
            .turns_of(STREAM_LARGE)
            .map(|turns| turns.median(|d| d.peak));
        report.at_most(
            "reference: worker's peak memory with 192MB",
            300.0,
            peaks.unwrap_or(f64::NAN),
            " MB",
        );
    }

    /// No slower than any peer.
    fn judge(&self, report: &mut Report) {
        let peers = self
            .turns
            .iter()
            .filter(|t| matches!(t.contestant, Contestant::Peer(_)));
        let fastest = peers
            .map(|turns| turns.median(|d| Some(d.seconds)))
            .fold(f64::NAN, f64::min);
        let what = format!("{}: time, as a multiple of the fastest peer's", self.load);
        report.at_most(&what, 1.0, self.seconds(STREAM) / fastest, "");
    }

    fn seconds(&self, contestant: Contestant) -> f64 {
        let turns = self.turns_of(contestant);
        turns.map_or(f64::NAN, |turns| turns.median(|d| Some(d.seconds)))
    }

    fn turns_of(&self, contestant: Contestant) -> Option<&Turns> {
        self.turns
            .iter()
            .find(|turns| turns.contestant == contestant)
    }
}

impl Turns {
    fn median(&self, what: impl Fn(&Drained) -> Option<f64>) -> f64 {
        median(&self.drained.iter().filter_map(what).collect::<Vec<_>>())
    }
}

/// The table for the README: time of each contestant as a multiple of ours.
fn summary(report: &mut Report, results: &[Result]) {
    let Some(first) = results.first() else {
        return;
    };
    report.smaller_heading("All loads: time as a multiple of pg_incrbackup with reader stream");
    let names: Vec<String> = first
        .turns
        .iter()
        .map(|turns| turns.contestant.name())
        .collect();
    let mut header = vec!["load", "ours, s"];
    header.extend(names.iter().skip(1).map(String::as_str));
    let row = |result: &Result| {
        let ours = result.seconds(STREAM);
        let others = result.turns.iter().skip(1);
        let ratios = others.map(|turns| figure(turns.median(|d| Some(d.seconds)) / ours));
        let first = [result.load.to_string(), format!("{ours:.2}")];
        first.into_iter().chain(ratios).collect::<Vec<_>>()
    };
    report.table(&header, &results.iter().map(row).collect::<Vec<_>>());
}
