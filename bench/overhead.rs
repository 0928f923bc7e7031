//! What the capture costs the source: throughput and latency of pgbench without the library, with
//! it but without a slot, with the capture on, and with `pg_recvlogical` attached; at full load, and
//! at a fixed rate of half of what the idle server can do.

use crate::contestant::recvlogical;
use crate::pgbench::{pgbench, Run};
use crate::report::{figure, Report};
use crate::stats::{median, percentile, spread};
use crate::{process, server, turns};
use harness::{run, wait_until, Cluster};
use serde_json::json;
use std::process::{Child, Command, Stdio};

const SECONDS: &str = "12";
const SCALE: &str = "10";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attached {
    /// A server whose shared_preload_libraries is empty.
    NoLibrary,
    NoSlot,
    /// With this `fsync_interval`.
    Capture(&'static str),
    Peer(&'static str),
}

const CAPTURE: Attached = Attached::Capture("0");

/// As seldom as `pg_recvlogical` does by default: what the fsyncs cost is between these two.
const CAPTURE_SELDOM: Attached = Attached::Capture("10s");

/// One state's runs.
struct Runs {
    attached: Attached,
    runs: Vec<Run>,
    /// CPU microseconds of whoever reads the changes, for each transaction, run by run.
    reading: Vec<f64>,
}

struct Servers {
    with: Cluster,
    without: Cluster,
}

pub fn measure(report: &mut Report, repeats: usize) {
    let servers = Servers {
        with: server::builder().start(),
        without: server::builder()
            .without("shared_preload_libraries")
            .start(),
    };
    for c in [&servers.with, &servers.without] {
        c.pgbench(&["-i", "-q", "-s", SCALE]);
        // The first run on a new cluster is slower than any other.
        c.pgbench(&["-c", "4", "-j", "2", "-T", SECONDS]);
    }
    servers.with.sql("CREATE EXTENSION pg_incrbackup");

    report.heading("Overhead");
    report.note(&format!(
        "pgbench's TPC-B at scale {SCALE}, 4 clients, {SECONDS} s a run, fsync on, nothing else on the machine but \
         pgbench and who reads the changes; medians of the runs. The loss is against the library without a slot. \
         Reading: CPU time of worker, or of walsender and client, for each transaction."
    ));
    let full = alternate(&servers, repeats, None);
    report.smaller_heading("At full load");
    show(report, "full load", &full);
    judge(report, &full);

    let rate = format!("{:.0}", tps(&full, Attached::NoSlot) / 2.0);
    let half = alternate(&servers, repeats, Some(&rate));
    report.smaller_heading(&format!("At {rate} transactions per second"));
    show(report, "fixed rate", &half);
    report.save();
}

/// Every state's runs.
fn alternate(servers: &Servers, repeats: usize, rate: Option<&str>) -> Vec<Runs> {
    let mut states = vec![
        Attached::NoSlot,
        CAPTURE,
        CAPTURE_SELDOM,
        Attached::Peer("test_decoding"),
    ];
    if server::has_plugin(servers.with.installation(), "decoder_raw") {
        states.push(Attached::Peer("decoder_raw"));
    }
    states.push(Attached::NoLibrary);
    let mut all: Vec<Runs> = states
        .into_iter()
        .map(|attached| Runs {
            attached,
            runs: Vec::new(),
            reading: Vec::new(),
        })
        .collect();
    turns::alternate(&mut all, repeats, |round, runs| {
        let (run, reading) = runs.attached.run(servers, rate);
        eprintln!(
            "bench: pgbench, round {round}: {}: {:.0} tps, p99 {:.2} ms",
            runs.attached.name(),
            run.tps,
            percentile(&run.latencies, 0.99)
        );
        runs.runs.push(run);
        runs.reading.push(reading);
    });
    all
}

impl Attached {
    fn name(self) -> String {
        match self {
            Attached::NoLibrary => "library not loaded".to_string(),
            Attached::NoSlot => "library loaded, no slot".to_string(),
            CAPTURE => "pg_incrbackup".to_string(),
            Attached::Capture(interval) => format!("pg_incrbackup, fsync each {interval}"),
            Attached::Peer(plugin) => format!("pg_recvlogical, {plugin}"),
        }
    }

    /// One run, and what reading its changes cost.
    fn run(self, servers: &Servers, rate: Option<&str>) -> (Run, f64) {
        let c = match self {
            Attached::NoLibrary => &servers.without,
            _ => &servers.with,
        };
        c.sql("VACUUM pgbench_branches, pgbench_tellers");
        match self {
            Attached::NoLibrary | Attached::NoSlot => load(c, rate, &[]),
            Attached::Capture(fsync_interval) => {
                c.set(
                    "pg_incrbackup.fsync_interval",
                    &format!("'{fsync_interval}'"),
                );
                c.sql("SELECT * FROM incr_setup(new_chain => true)");
                c.flush();
                let run = load(c, rate, &[c.capture_pid()]);
                c.sql("SELECT incr_teardown()");
                run
            }
            Attached::Peer(plugin) => {
                let peer = attach(c, plugin);
                let walsender =
                    "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'peer'";
                let run = load(c, rate, &[c.sql(walsender), peer.id().to_string()]);
                detach(c, peer);
                run
            }
        }
    }
}

/// pgbench, and the CPU time that these processes have spent on each of its transactions when all of
/// them have been read.
fn load(c: &Cluster, rate: Option<&str>, readers: &[String]) -> (Run, f64) {
    let mut arguments = vec!["-c", "4", "-j", "2", "-T", SECONDS];
    if let Some(rate) = rate {
        arguments.extend(["-R", rate]);
    }
    c.sql("CHECKPOINT");
    let cpu = || -> f64 { readers.iter().map(|pid| process::cpu_seconds(pid)).sum() };
    let before = cpu();
    let run = pgbench(c, &arguments);
    if !readers.is_empty() {
        wait_until_read(c);
    }
    let reading = (cpu() - before) * 1e6 / run.latencies.len() as f64;
    (run, reading)
}

/// Until the capture has fsynced, or the walsender has sent, what was committed up to now.
fn wait_until_read(c: &Cluster) {
    let end = c.sql("SELECT pg_current_wal_insert_lsn()");
    let is_read = format!(
        "SELECT bool_or(read >= '{end}') FROM (SELECT sent_lsn FROM pg_stat_replication \
         UNION ALL SELECT durable_lsn FROM incr_status() WHERE worker = 'capture') r (read)"
    );
    wait_until("all changes are read", || c.is_true(&is_read));
}

fn attach(c: &Cluster, plugin: &str) -> Child {
    c.sql(&format!(
        "SELECT pg_create_logical_replication_slot('peer', '{plugin}')"
    ));
    let mut command = recvlogical(c, plugin, &c.root().join("peer.out"));
    let peer = command.stderr(Stdio::null()).spawn();
    let is_attached = "SELECT active FROM pg_replication_slots WHERE slot_name = 'peer'";
    wait_until("pg_recvlogical reads", || c.is_true(is_attached));
    peer.expect("pg_recvlogical can be run")
}

fn detach(c: &Cluster, mut peer: Child) {
    run(Command::new("kill").args(["-INT", &peer.id().to_string()]));
    peer.wait().expect("pg_recvlogical can be waited for");
    let is_gone = "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'peer'";
    wait_until("the walsender ends", || c.is_true(is_gone));
    c.sql("SELECT pg_drop_replication_slot('peer')");
    std::fs::remove_file(c.root().join("peer.out")).expect("its output can be removed");
}

fn show(report: &mut Report, name: &str, all: &[Runs]) {
    let base = tps(all, Attached::NoSlot);
    let row = |runs: &Runs| {
        let tps = runs.tps();
        vec![
            runs.attached.name(),
            format!("{tps:.0}"),
            format!("{:.1}%", (1.0 - tps / base) * 100.0),
            figure(runs.median_latency(0.5)),
            figure(runs.median_latency(0.99)),
            figure(median(&runs.reading)),
        ]
    };
    let header = [
        "attached",
        "tps",
        "loss",
        "median ms",
        "p99 ms",
        "reading, CPU µs",
    ];
    report.table(&header, &all.iter().map(row).collect::<Vec<_>>());
    let raw = all.iter().map(|runs| {
        let runs_of = runs.runs.iter().zip(&runs.reading).map(|(run, reading)| {
            json!({"tps": run.tps, "median_ms": percentile(&run.latencies, 0.5),
                   "p99_ms": percentile(&run.latencies, 0.99),
                   "reading_cpu_us": reading})
        });
        (runs.attached.name(), runs_of.collect())
    });
    report.raw(
        "overhead",
        name,
        raw.collect::<serde_json::Map<_, _>>().into(),
    );
}

fn judge(report: &mut Report, all: &[Runs]) {
    let base = tps(all, Attached::NoSlot);
    let loss = |attached: Attached| (1.0 - tps(all, attached) / base) * 100.0;
    for runs in all {
        if let Attached::Peer(plugin) = runs.attached {
            let what =
                format!("pgbench at full load: loss of throughput, against half of {plugin}'s");
            report.at_most(&what, loss(runs.attached) / 2.0, loss(CAPTURE), "%");
        }
    }
    // Nothing measurable: no more than runs of one and the same state differ among themselves.
    let without = all.iter().find(|runs| runs.attached == Attached::NoLibrary);
    let without = without.expect("the server without the library was measured");
    let each: Vec<f64> = without.runs.iter().map(|run| run.tps).collect();
    let cost = (1.0 - base / without.tps()) * 100.0;
    let what = "pgbench without a slot: loss by the loaded library, against the spread without it";
    report.at_most(what, spread(&each) * 100.0, cost, "%");
}

fn tps(all: &[Runs], attached: Attached) -> f64 {
    let runs = all.iter().find(|runs| runs.attached == attached);
    runs.map_or(f64::NAN, Runs::tps)
}

impl Runs {
    fn tps(&self) -> f64 {
        median(&self.runs.iter().map(|run| run.tps).collect::<Vec<_>>())
    }

    fn median_latency(&self, share: f64) -> f64 {
        let each = self
            .runs
            .iter()
            .map(|run| percentile(&run.latencies, share));
        median(&each.collect::<Vec<_>>())
    }
}
