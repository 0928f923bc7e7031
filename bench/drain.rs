//! The time to write out what is in the WAL already: every contestant, every load.

use crate::contestant::{self, Contestant, Drained, NULL, NULL_LARGE, STREAM, STREAM_LARGE};
use crate::loads::{self, Load};
use crate::report::{figure, Report};
use crate::size::Sizes;
use crate::stats::median;
use crate::turns;
use crate::wal::Wal;
use serde_json::json;

const DECODER_RAW: Contestant = Contestant::Peer("decoder_raw");

/// One load's turns of one contestant.
struct Turns {
    contestant: Contestant,
    drained: Vec<Drained>,
}

/// One load's result.
struct Outcome {
    load: &'static str,
    turns: Vec<Turns>,
}

pub fn measure(report: &mut Report, repeats: usize, with_sizes: bool) {
    report.heading("Drain");
    report.note(
        "Seconds to write out a load that is in the WAL already, everybody from the same point; medians. \
         CPU: of the worker, of the backend, or of walsender and client together. \"× ours\": time as a \
         multiple of pg_incrbackup's with reader stream, and \"by CPU\" the same of CPU time; \"× null\": of the null \
         plugin's at the same memory. MB: the most that our worker held, shared memory included, and of its own.",
    );
    let mut results = Vec::new();
    let mut sizes = None;
    for load in chosen() {
        let wal = Wal::of(load);
        let result = Outcome::of(load, &wal, repeats);
        result.show(report, load);
        if load.name == loads::REFERENCE.name {
            result.judge_reference(report);
            if with_sizes {
                sizes = Some(Sizes::of(&wal));
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
    report.save();
    if let Some(sizes) = sizes {
        sizes.show(report);
    }
}

/// All loads, or those that `BENCH_LOADS` names.
fn chosen() -> Vec<&'static Load> {
    let names = std::env::var("BENCH_LOADS").unwrap_or_default();
    let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
    let all: Vec<&Load> = [&loads::REFERENCE]
        .into_iter()
        .chain(&loads::OTHERS)
        .collect();
    for name in &names {
        let is_known = all.iter().any(|load| load.name == *name);
        assert!(is_known, "BENCH_LOADS: there is no load {name:?}");
    }
    let is_chosen = |load: &&Load| names.is_empty() || names.contains(&load.name);
    all.into_iter().filter(is_chosen).collect()
}

impl Outcome {
    fn of(load: &'static Load, wal: &Wal, repeats: usize) -> Self {
        let contestants = contestant::all(wal.cluster.installation());
        let mut turns: Vec<Turns> = contestants
            .into_iter()
            .map(|contestant| Turns {
                contestant,
                drained: Vec::new(),
            })
            .collect();
        turns::alternate(&mut turns, repeats, |round, turn| {
            let drained = turn.contestant.drain(wal);
            eprintln!(
                "bench: {}, round {round}: {}: {:.2} s, cpu {:.2} s",
                load.name,
                turn.contestant.name(),
                drained.seconds,
                drained.cpu
            );
            turn.drained.push(drained);
        });
        Self {
            load: load.name,
            turns,
        }
    }

    fn show(&self, report: &mut Report, load: &Load) {
        report.smaller_heading(&format!("{}: {}", load.name, load.what));
        let ours = self.seconds(STREAM);
        let row = |turns: &Turns| {
            let seconds = turns.seconds();
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
                figure(self.ratio(turns.contestant, STREAM).1),
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
            "by CPU",
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
        let of = |ours, other| self.ratio(ours, other);
        let what = "reference: time, as a multiple of the null plugin's";
        report.ratio_at_most(what, 2.0, of(STREAM, NULL));
        let what = "reference: the same, both with 192MB";
        report.ratio_at_most(what, 2.0, of(STREAM_LARGE, NULL_LARGE));
        if self.turns_of(DECODER_RAW).is_some() {
            let what = "reference: times as fast as decoder_raw";
            report.ratio_at_least(what, 2.5, of(DECODER_RAW, STREAM));
            let what = "reference: the same with 192MB";
            report.ratio_at_least(what, 3.5, of(DECODER_RAW, STREAM_LARGE));
        }
        let peak = self.turns_of(STREAM_LARGE);
        let peak = peak.map_or(f64::NAN, |turns| turns.median(|d| d.peak));
        let what = "reference: worker's peak memory with 192MB";
        report.at_most(what, 300.0, peak, " MB");
    }

    /// No slower than any peer.
    fn judge(&self, report: &mut Report) {
        let is_peer = |turns: &&Turns| matches!(turns.contestant, Contestant::Peer(_));
        let peers = self.turns.iter().filter(is_peer);
        let fastest = peers.min_by(|a, b| a.seconds().total_cmp(&b.seconds()));
        let fastest = fastest.expect("test_decoding is always there").contestant;
        let what = format!("{}: time, as a multiple of the fastest peer's", self.load);
        report.ratio_at_most(&what, 1.0, self.ratio(STREAM, fastest));
    }

    /// Time as a multiple of another's, by the clock and by CPU time.
    fn ratio(&self, contestant: Contestant, other: Contestant) -> (f64, f64) {
        let of = |which, what: &dyn Fn(&Drained) -> f64| {
            let turns = self.turns_of(which);
            turns.map_or(f64::NAN, |turns| turns.median(|d| Some(what(d))))
        };
        let ratio = |what: &dyn Fn(&Drained) -> f64| of(contestant, what) / of(other, what);
        (ratio(&|d| d.seconds), ratio(&|d| d.cpu))
    }

    fn seconds(&self, contestant: Contestant) -> f64 {
        self.turns_of(contestant).map_or(f64::NAN, Turns::seconds)
    }

    fn turns_of(&self, contestant: Contestant) -> Option<&Turns> {
        self.turns
            .iter()
            .find(|turns| turns.contestant == contestant)
    }
}

impl Turns {
    fn seconds(&self) -> f64 {
        self.median(|d| Some(d.seconds))
    }

    fn median(&self, what: impl Fn(&Drained) -> Option<f64>) -> f64 {
        median(&self.drained.iter().filter_map(what).collect::<Vec<_>>())
    }
}

/// The tables for the README: everybody as a multiple of ours.
fn summary(report: &mut Report, results: &[Outcome]) {
    let Some(first) = results.first() else {
        return;
    };
    let others = || {
        first
            .turns
            .iter()
            .map(|turns| turns.contestant)
            .filter(|&c| c != STREAM)
    };
    let names: Vec<String> = others().map(|contestant| contestant.short_name()).collect();
    let mut header = vec!["load", "ours, s"];
    header.extend(names.iter().map(String::as_str));
    let rows = |by_cpu: bool| {
        let row = |result: &Outcome| {
            let ours = result.turns_of(STREAM).expect("ours is measured");
            let ours = ours.median(|d| Some(if by_cpu { d.cpu } else { d.seconds }));
            let ratio = |contestant| match result.ratio(contestant, STREAM) {
                (_, cpu) if by_cpu => figure(cpu),
                (clock, _) => figure(clock),
            };
            let first = [result.load.to_string(), format!("{ours:.2}")];
            first.into_iter().chain(others().map(ratio)).collect()
        };
        results.iter().map(row).collect::<Vec<Vec<String>>>()
    };
    report.smaller_heading("All loads: time as a multiple of pg_incrbackup's");
    report.table(&header, &rows(false));
    report.smaller_heading("All loads: CPU time as a multiple of pg_incrbackup's");
    report.table(&header, &rows(true));
}
