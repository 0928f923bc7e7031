//! From commit to fsynced file, and what the worker does at rest.
//!
//! The commit's time is the one in the commit record. The moment at which it is safe is seen by an
//! observer in a session of its own, which notes the clock whenever `durable_lsn` has moved. It
//! looks about every millisecond, so a delay is measured too long by up to that much, never too
//! short; the server's own flush of the WAL is part of it.

use crate::pgbench::pgbench;
use crate::report::{figure, Report};
use crate::stats::{median, percentile};
use crate::{process, server};
use chrono::DateTime;
use harness::Cluster;
use serde_json::json;
use std::time::{Duration, Instant};

const SECONDS: u32 = 10;
const REST: Duration = Duration::from_secs(20);

/// It looks until somebody holds the lock.
const OBSERVER: &str = "
    CREATE FUNCTION observe() RETURNS TABLE (at float8, lsn pg_lsn) LANGUAGE plpgsql AS $$
    DECLARE
      seen pg_lsn := '0/0';
      is_last bool;
    BEGIN
      LOOP
        is_last := NOT pg_try_advisory_lock(1);
        SELECT durable_lsn INTO lsn FROM incr_status() WHERE worker = 'capture';
        IF lsn > seen THEN
          at := extract(epoch FROM clock_timestamp());
          seen := lsn;
          RETURN NEXT;
        END IF;
        EXIT WHEN is_last;
        PERFORM pg_advisory_unlock(1);
        PERFORM pg_sleep(0.001);
      END LOOP;
    END $$;";

/// One run at one rate.
struct Run {
    commits_per_second: f64,
    /// Milliseconds of every commit.
    delays: Vec<f64>,
    switches_per_second: f64,
    cpu_share: f64,
}

/// pgbench's -R, and the name of the row; no rate: as fast as it goes.
const RATES: [(Option<&str>, &str); 3] = [
    (Some("100"), "100 commits/s"),
    (Some("1000"), "1,000 commits/s"),
    (None, "full load"),
];

pub fn measure(report: &mut Report, repeats: usize) {
    let c = server::builder().start();
    c.sql("CREATE TABLE t (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), v int)");
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql(OBSERVER);
    c.sql("SELECT * FROM incr_setup()");
    c.flush();
    let rest = rest(&c);
    let mut all: [Vec<Run>; 3] = Default::default();
    for _ in 0..repeats {
        for ((rate, _), runs) in RATES.into_iter().zip(&mut all) {
            runs.push(Run::at(&c, rate));
        }
    }
    show(report, &all, rest);
}

impl Run {
    fn at(c: &Cluster, rate: Option<&str>) -> Self {
        let before = c.transactions().len();
        let mut observer = c.session();
        observer.send("SELECT at, lsn FROM observe()");
        let worker = c.capture_pid();
        let looked = Sample::at(&worker);
        let run = load(c, rate);
        let (switches_per_second, cpu_share) = looked.since(&worker);
        c.flush();
        let mut ending = c.session();
        ending.run("SELECT pg_advisory_lock(1)");
        let observed: Vec<(f64, u64)> = observer.finish().lines().filter_map(observation).collect();
        ending.run("SELECT pg_advisory_unlock(1)");

        let transactions = c.transactions().split_off(before);
        let delay = |t: &harness::Transaction| {
            let committed = DateTime::parse_from_rfc3339(&t.commit_time)
                .ok()?
                .timestamp_micros() as f64
                / 1e6;
            let commit_lsn = lsn(&t.commit_lsn)?;
            let first = observed.partition_point(|(_, durable)| *durable < commit_lsn);
            observed.get(first).map(|(at, _)| (at - committed) * 1000.0)
        };
        let delays: Vec<f64> = transactions.iter().filter_map(delay).collect();
        assert!(!delays.is_empty(), "nothing was measured");
        assert!(
            delays.len() == transactions.len(),
            "commits were not seen to be safe"
        );
        Self {
            commits_per_second: run,
            delays,
            switches_per_second,
            cpu_share,
        }
    }

    fn delay(&self, share: f64) -> f64 {
        percentile(&self.delays, share)
    }
}

/// One small row in each transaction; gives commits per second.
fn load(c: &Cluster, rate: Option<&str>) -> f64 {
    let script = c.root().join("insert.sql");
    std::fs::write(&script, "INSERT INTO t (v) VALUES (1);\n").expect("the script can be written");
    let (seconds, script) = (SECONDS.to_string(), script.display().to_string());
    let mut arguments = vec!["-c", "4", "-j", "1", "-T", &seconds, "-f", &script];
    if let Some(rate) = rate {
        arguments.extend(["-R", rate]);
    }
    pgbench(c, &arguments).tps
}

/// What a process has done up to a moment.
struct Sample {
    at: Instant,
    switches: f64,
    cpu: f64,
}

impl Sample {
    fn at(pid: &str) -> Self {
        Self {
            at: Instant::now(),
            switches: process::voluntary_switches(pid),
            cpu: process::cpu_seconds(pid),
        }
    }

    /// Voluntary context switches per second, and percent of a core.
    fn since(&self, pid: &str) -> (f64, f64) {
        let now = Self::at(pid);
        let seconds = (now.at - self.at).as_secs_f64();
        (
            (now.switches - self.switches) / seconds,
            (now.cpu - self.cpu) / seconds * 100.0,
        )
    }
}

/// A worker that has nothing to do, watched for a while: here the time is what is measured.
fn rest(c: &Cluster) -> (f64, f64) {
    let worker = c.capture_pid();
    let looked = Sample::at(&worker);
    std::thread::sleep(REST);
    looked.since(&worker)
}

fn show(report: &mut Report, all: &[Vec<Run>; 3], rest: (f64, f64)) {
    report.heading("Delay");
    report.note(&format!(
        "Milliseconds from the commit record to the fsynced file; one insert a transaction, 4 clients, {SECONDS} s a run; \
         medians of the runs. CPU and voluntary context switches are the worker's."
    ));
    let mut rows = Vec::new();
    for ((_, name), runs) in RATES.into_iter().zip(all) {
        let of = |what: &dyn Fn(&Run) -> f64| median(&runs.iter().map(what).collect::<Vec<_>>());
        rows.push(vec![
            name.to_string(),
            format!("{:.0}", of(&|run| run.commits_per_second)),
            figure(of(&|run| run.delay(0.5))),
            figure(of(&|run| run.delay(0.99))),
            figure(of(&|run| run.delay(1.0))),
            figure(of(&|run| run.switches_per_second)),
            format!("{:.1}%", of(&|run| run.cpu_share)),
        ]);
        if name.starts_with("1,000") {
            report.at_most(
                "delay: p99 at 1,000 commits/s",
                50.0,
                of(&|run| run.delay(0.99)),
                " ms",
            );
        }
        let raw = runs.iter().map(|run| {
            json!({"commits_per_second": run.commits_per_second, "median_ms": run.delay(0.5),
                   "p99_ms": run.delay(0.99), "longest_ms": run.delay(1.0),
                   "switches_per_second": run.switches_per_second, "cpu_percent": run.cpu_share})
        });
        report.raw("delay", name, raw.collect());
    }
    let (switches, cpu) = rest;
    let mut row = vec![format!("at rest ({} s)", REST.as_secs()), "0".to_string()];
    row.extend(["", "", ""].map(String::from));
    row.extend([figure(switches), format!("{cpu:.1}%")]);
    rows.push(row);
    let header = [
        "load",
        "commits/s",
        "median ms",
        "p99 ms",
        "longest ms",
        "switches/s",
        "CPU",
    ];
    report.table(&header, &rows);
    report.raw(
        "delay",
        "at rest",
        json!({"switches_per_second": switches, "cpu_percent": cpu}),
    );
    // Less than /proc can show in that time is none.
    let least = 100.0 * 0.01 / REST.as_secs_f64();
    report.at_most("worker at rest: CPU", least, cpu, "%");
    report.save();
}

fn observation(row: &str) -> Option<(f64, u64)> {
    let (at, durable) = row.split_once('|')?;
    Some((at.parse().ok()?, lsn(durable)?))
}

/// `16/B374D848` as a number.
fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some(number(high)? << 32 | number(low)?)
}
