//! Whether the capture's cost stays as it is when everything grows: the number of changes, of the
//! tables that they meet, of the columns of a row; with a transaction open all the time and without.

use crate::plot;
use crate::report::{figure, Report};
use crate::standing::{Reading, Standing};
use crate::stats::median;
use crate::sweeps::Sweep;
use crate::turns;
use serde_json::{json, Value};

/// How much more than at the size of reference one change, or the memory, may be.
const FLAT: f64 = 1.5;

const DEFAULT_MOST: u64 = 10_000_000;

/// One size, with or without the open transaction.
struct Point {
    size: u64,
    changes: u64,
    is_open: bool,
    /// By a worker that has not met these tables yet.
    first: Option<Reading>,
    readings: Vec<Reading>,
}

pub fn measure(report: &mut Report, repeats: usize) {
    let most = largest();
    report.heading("Growth");
    report.note(&format!(
        "What one change costs the capture worker (reader stream) when there are more of them (up to {most}), more tables, or more \
         columns; medians. The worker stands still while changes are written, and is measured from its going on until they are \
         durable. Open: a transaction that has written a row is open from before the first change on, so that the \
         slot's restart_lsn stays where it was. MB: the most that the worker held of its own (RssAnon), and with \
         what it touched of shared buffers (VmHWM). Small numbers of changes pay for a commit, a wake-up and an fsync."
    ));
    for sweep in Sweep::ALL {
        let (points, servers) = points(sweep, most, repeats);
        show(report, sweep, &points);
        judge(report, sweep, &points);
        if sweep == Sweep::Changes {
            start_again(report, servers);
        }
        report.save();
    }
    plot::draw(report.numbers());
    report.note(
        "Drawn from these numbers: docs/growth-changes.png, docs/growth-tables.png, docs/growth-columns.png.",
    );
    report.save();
}

fn largest() -> u64 {
    let most = std::env::var("BENCH_GROWTH_MAX").unwrap_or_default();
    match most.as_str() {
        "" => DEFAULT_MOST,
        number => number
            .parse()
            .ok()
            .filter(|&most| most >= Sweep::Changes.reference())
            .unwrap_or_else(|| panic!("BENCH_GROWTH_MAX={number} is not a number from 100000 on")),
    }
}

/// Every size with and without the open transaction, in turn.
fn points(sweep: Sweep, most: u64, repeats: usize) -> (Vec<Point>, [Standing; 2]) {
    let sizes = sweep.sizes(most);
    let mut kept: Option<[Standing; 2]> = None;
    let mut all = Vec::new();
    for size in sizes {
        // The number of changes is one that grows: the same worker goes on.
        let servers = match kept.take() {
            Some(servers) if sweep == Sweep::Changes => servers,
            _ => [false, true].map(|is_open| sweep.server(size, is_open)),
        };
        let [without, with] = servers;
        let mut pair = [(without, false), (with, true)].map(|(standing, is_open)| {
            let point = Point {
                size,
                changes: sweep.changes(size),
                is_open,
                first: None,
                readings: Vec::new(),
            };
            (standing, point)
        });
        if sweep != Sweep::Changes {
            for (standing, point) in &mut pair {
                point.first = Some(sweep.read(standing, size));
            }
        }
        let times = sweep.turns(size, repeats);
        turns::alternate(&mut pair, times, |round, (standing, point)| {
            let reading = sweep.read(standing, size);
            eprintln!(
                "bench: {size} {}, round {round}{}: {:.2} s, cpu {:.2} s, {:.1} MB",
                sweep.name(),
                if point.is_open { ", open" } else { "" },
                reading.seconds,
                reading.cpu,
                reading.own
            );
            point.readings.push(reading);
        });
        let [(without, point), (with, open)] = pair;
        all.extend([point, open]);
        kept = Some([without, with]);
    }
    (all, kept.expect("there are sizes"))
}

/// An open transaction does not slow the worker down, but a new one has to read from its beginning.
fn start_again(report: &mut Report, servers: [Standing; 2]) {
    let [without, with] = servers.map(|mut standing| {
        let held = "SELECT pg_current_wal_insert_lsn() - restart_lsn FROM pg_replication_slots";
        let held: f64 = standing
            .cluster
            .sql(held)
            .parse()
            .expect("a number of bytes");
        let (seconds, cpu) = standing.start_again();
        (held / 1e6, seconds, cpu)
    });
    let text = |(held, seconds, cpu): (f64, f64, f64)| {
        let [held, seconds, cpu] = [held, seconds, cpu].map(figure);
        format!("{seconds} s (CPU {cpu} s) where the slot holds {held} MB of WAL")
    };
    report.note(&format!(
        "A worker that starts after all of this has its first change durable in {}; and in {} for the transaction that was open: \
         what was open then is read again.",
        text(without),
        text(with)
    ));
    let raw = |(held, seconds, cpu): (f64, f64, f64)| json!({"held_megabytes": held, "seconds": seconds, "cpu": cpu});
    report.raw(
        "growth",
        "started again",
        json!({"without": raw(without), "open": raw(with)}),
    );
}

impl Point {
    fn median(&self, what: impl Fn(&Reading) -> f64) -> f64 {
        median(&self.readings.iter().map(what).collect::<Vec<_>>())
    }

    /// Microseconds of CPU time for each change.
    fn cpu(&self) -> f64 {
        self.median(|reading| reading.cpu) * 1e6 / self.changes as f64
    }

    fn clock(&self) -> f64 {
        self.median(|reading| reading.seconds) * 1e6 / self.changes as f64
    }

    fn first_cpu(&self) -> f64 {
        let first = self.first.map_or(f64::NAN, |first| first.cpu);
        first * 1e6 / self.changes as f64
    }

    /// The most in any turn.
    fn most(&self, what: impl Fn(&Reading) -> f64) -> f64 {
        let all = self.readings.iter().chain(&self.first);
        all.map(what).fold(0.0, f64::max)
    }

    fn own(&self) -> f64 {
        self.most(|reading| reading.own)
    }

    fn raw(&self) -> Value {
        let one = |r: &Reading| {
            json!({"seconds": r.seconds, "cpu": r.cpu, "peak_megabytes": r.peak,
                   "anonymous_megabytes": r.own, "megabytes": r.megabytes})
        };
        let readings: Vec<Value> = self.readings.iter().map(one).collect();
        json!({"size": self.size, "changes": self.changes, "open": self.is_open,
               "cpu_us_per_change": self.cpu(), "us_per_change": self.clock(),
               "own_megabytes": self.own(),
               "first": self.first.as_ref().map(one), "readings": readings})
    }
}

fn show(report: &mut Report, sweep: Sweep, points: &[Point]) {
    report.smaller_heading(&format!("More {}", sweep.name()));
    report.note(match sweep {
        Sweep::Changes => {
            "INSERTs, UPDATEs and DELETEs (5 : 3 : 2) of small rows with a key, up to 1,000 of them in a transaction; \
             one worker reads all of them, one size after the other, in parts of at most 10 million."
        }
        Sweep::Tables => {
            "100,000 changes, each INSERT and UPDATE on another table than the last, 100 in a transaction. First: \
             when the worker meets these tables for the first time."
        }
        Sweep::Columns => {
            "As many INSERTs as UPDATEs of whole rows of a key and so many columns of int and text, 100 in a \
             transaction; 2 million values, but at most 100,000 changes. Value: of one column in one row."
        }
    });
    let row = |point: &Point| {
        let megabytes = point.median(|reading| reading.megabytes);
        let mut row = vec![
            point.size.to_string(),
            if point.is_open { "open" } else { "" }.to_string(),
            point.readings.len().to_string(),
            figure(point.cpu()),
            figure(point.clock()),
        ];
        match sweep {
            Sweep::Changes => (),
            Sweep::Tables => row.push(figure(point.first_cpu())),
            Sweep::Columns => row.push(format!("{:.3}", point.cpu() / point.size as f64)),
        }
        row.extend([
            figure(point.own()),
            figure(point.most(|reading| reading.peak)),
            figure(megabytes * 1e6 / point.changes as f64),
        ]);
        row
    };
    let mut header = vec![sweep.name(), "", "turns", "CPU µs", "µs"];
    match sweep {
        Sweep::Changes => (),
        Sweep::Tables => header.push("first, CPU µs"),
        Sweep::Columns => header.push("value, CPU µs"),
    }
    header.extend(["own MB", "peak MB", "bytes"]);
    report.table(&header, &points.iter().map(row).collect::<Vec<_>>());
    let raw = points.iter().map(Point::raw).collect();
    report.raw("growth", sweep.name(), raw);
}

/// The largest against the size of reference, by CPU time: turns are too short for the clock, which a
/// single fsync moves; and with the open transaction against without.
fn judge(report: &mut Report, sweep: Sweep, points: &[Point]) {
    let find = |size, is_open| {
        let mut all = points.iter();
        let found = all.find(|point| point.size == size && point.is_open == is_open);
        found.expect("every size was measured")
    };
    let largest = points.last().expect("there are sizes").size;
    let (name, reference) = (sweep.name(), sweep.reference());
    if largest <= reference {
        return;
    }
    // A wider row costs more by its values; a value must not.
    let (one, per) = match sweep {
        Sweep::Columns => ("a value", largest as f64 / reference as f64),
        _ => ("a change", 1.0),
    };
    for (is_open, state) in [(false, ""), (true, " with an open transaction")] {
        let (last, first) = (find(largest, is_open), find(reference, is_open));
        let against = format!("at {largest} {name}{state}, as a multiple of that at {reference}");
        let what = format!("growth: CPU time of {one} {against}");
        report.at_most(&what, FLAT, last.cpu() / first.cpu() / per, "");
        let what = format!("growth: the worker's own memory {against}");
        report.at_most(&what, FLAT, last.own() / first.own(), "");
    }
    let what = format!(
        "growth: CPU time of {one} at {largest} {name} with an open transaction, as a multiple of without"
    );
    let ratio = find(largest, true).cpu() / find(largest, false).cpu();
    report.at_most(&what, FLAT, ratio, "");
}
