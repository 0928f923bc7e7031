//! Who drains the WAL, and how each of them is measured.
//!
//! Ours: from the start of the capture worker until `durable_lsn` has passed the end. Peers:
//! `pg_recvlogical` from its start to its end, which is after its fsync. The floor: the null plugin
//! read by `pg_logical_slot_peek_binary_changes`, and `pg_replication_slot_advance`, timed by the
//! clock inside a session that is connected already. That is the null plugin at its fairest: as the
//! capture does, it decodes in a backend of the server, without a walsender, a socket and a client;
//! and peeking at an output without rows leaves nothing but the decoding.

use crate::wal::Wal;
use crate::{process, server};
use harness::{Cluster, Installation};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contestant {
    /// Our capture; memory as `logical_decoding_work_mem` says it, 0 for the server's own.
    Ours {
        reader: &'static str,
        memory: &'static str,
    },
    /// An output plugin behind `pg_recvlogical`.
    Peer(&'static str),
    Null {
        memory: &'static str,
    },
    Advance,
}

pub const STREAM: Contestant = Contestant::Ours {
    reader: "stream",
    memory: "0",
};
pub const STREAM_LARGE: Contestant = Contestant::Ours {
    reader: "stream",
    memory: LARGE,
};
pub const POLL: Contestant = Contestant::Ours {
    reader: "poll",
    memory: "0",
};
pub const NULL: Contestant = Contestant::Null { memory: DEFAULT };
pub const NULL_LARGE: Contestant = Contestant::Null { memory: LARGE };

/// logical_decoding_work_mem's default.
const DEFAULT: &str = "64MB";
const LARGE: &str = "192MB";

/// What one turn took.
pub struct Drained {
    pub seconds: f64,
    /// CPU seconds of everybody who took part: worker, or backend, or walsender and client.
    pub cpu: f64,
    /// What is on disk afterwards.
    pub megabytes: Option<f64>,
    /// Our worker's: the most it held with what it touched of shared memory, and the most that was
    /// its own (looked at every 10 ms).
    pub peak: Option<f64>,
    pub anonymous: Option<f64>,
}

/// Everybody who can run on this server, ours first.
pub fn all(installation: &Installation) -> Vec<Contestant> {
    let peers = ["test_decoding", "wal2json", "decoder_raw"].map(Contestant::Peer);
    let mut all = vec![STREAM, STREAM_LARGE, POLL];
    all.extend(peers);
    all.extend([NULL, NULL_LARGE, Contestant::Advance]);
    all.retain(|contestant| match contestant {
        Contestant::Peer(plugin) => server::has_plugin(installation, plugin),
        _ => true,
    });
    all
}

impl Contestant {
    pub fn name(&self) -> String {
        match self {
            Contestant::Ours {
                reader,
                memory: "0",
            } => format!("pg_incrbackup, {reader}"),
            Contestant::Ours { reader, memory } => format!("pg_incrbackup, {reader}, {memory}"),
            Contestant::Peer(plugin) => format!("pg_recvlogical, {plugin}"),
            Contestant::Null { memory: DEFAULT } => "null plugin".to_string(),
            Contestant::Null { memory } => format!("null plugin, {memory}"),
            Contestant::Advance => "pg_replication_slot_advance".to_string(),
        }
    }

    /// For the head of a column.
    pub fn short_name(&self) -> String {
        let name = self.name();
        let short = name
            .replace("pg_incrbackup, ", "")
            .replace("pg_recvlogical, ", "");
        short
            .replace(" plugin", "")
            .replace("pg_replication_slot_", "")
            .replace(", ", " ")
    }

    pub fn drain(&self, wal: &Wal) -> Drained {
        match self {
            Contestant::Ours { reader, memory } => capture(wal, reader, memory),
            Contestant::Peer(plugin) => peer(wal, plugin),
            Contestant::Null { memory } => null(wal, memory),
            Contestant::Advance => advance(wal),
        }
    }
}

fn capture(wal: &Wal, reader: &str, memory: &str) -> Drained {
    let c = &wal.cluster;
    wal.rewind(&[
        ("pg_incrbackup.reader", reader.to_string()),
        ("pg_incrbackup.decoding_work_mem", format!("'{memory}'")),
    ]);
    let is_over = AtomicBool::new(false);
    let (seconds, anonymous, worker) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(c, &is_over));
        let seconds = c.try_sql(&format!("SELECT seconds_until_drained('{}')", wal.end));
        is_over.store(true, Ordering::Relaxed);
        let (worker, anonymous) = watcher.join().expect("the watcher does not panic");
        let seconds = seconds.unwrap_or_else(|e| panic!("{e}"));
        (seconds, anonymous, worker)
    });
    Drained {
        seconds: seconds.parse().expect("a number of seconds"),
        cpu: process::cpu_seconds(&worker),
        megabytes: Some(wal.stream_megabytes()),
        peak: Some(process::peak_megabytes(&worker)),
        anonymous: Some(anonymous),
    }
}

/// Looks at the worker's own memory until the end; its process id, and the most that was seen.
fn watch(c: &Cluster, is_over: &AtomicBool) -> (String, f64) {
    let mut worker = String::new();
    let mut most: f64 = 0.0;
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        if worker.is_empty() {
            worker = c.capture_pid();
        }
        most = most.max(process::anonymous_megabytes(&worker));
        if is_last {
            return (worker, most);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Options with which a plugin writes whole transactions, a change at a time.
fn options(plugin: &str) -> &'static [&'static str] {
    match plugin {
        "wal2json" => &["-o", "format-version=2"],
        "decoder_raw" => &["-o", "include_transaction=on"],
        _ => &[],
    }
}

/// Where a peer writes.
pub fn output_file(c: &Cluster, plugin: &str) -> PathBuf {
    c.root().join(format!("{plugin}.out"))
}

/// pg_recvlogical on the slot "peer", writing to a file as a backup would.
pub fn recvlogical(c: &Cluster, plugin: &str, file: &Path) -> Command {
    let mut command = c.installation().command("pg_recvlogical");
    let conninfo = c.conninfo(c.database());
    command.args(["-d", &conninfo, "-S", "peer", "--start", "--no-loop", "-f"]);
    command.arg(file).args(options(plugin));
    command
}

fn peer(wal: &Wal, plugin: &str) -> Drained {
    let c = &wal.cluster;
    let file = output_file(c, plugin);
    std::fs::remove_file(&file).ok();
    c.sql(&format!(
        "SELECT pg_copy_logical_replication_slot('start', 'peer', false, '{plugin}')"
    ));
    let mut command = recvlogical(c, plugin, &file);
    command.args(["--endpos", &wal.end]);

    server::wait_for_sessions_to_end(c);
    let (server, own) = (server::postmaster(c), std::process::id().to_string());
    let cpu = || process::waited_for_cpu_seconds(&server) + process::waited_for_cpu_seconds(&own);
    let before = cpu();
    let started = Instant::now();
    harness::run(&mut command);
    let seconds = started.elapsed().as_secs_f64();
    // The walsender's CPU time is the postmaster's once it has ended.
    server::wait_for_sessions_to_end(c);
    let cpu = cpu() - before;
    c.sql("SELECT pg_drop_replication_slot('peer')");
    let megabytes = std::fs::metadata(&file).expect("a peer has written").len() as f64 / 1e6;
    Drained {
        seconds,
        cpu,
        megabytes: Some(megabytes),
        peak: None,
        anonymous: None,
    }
}

fn null(wal: &Wal, memory: &str) -> Drained {
    let c = &wal.cluster;
    c.sql("SELECT pg_copy_logical_replication_slot('start', 'peer', false, 'null_plugin')");
    let peek = format!(
        "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('peer', '{}', NULL)",
        wal.end
    );
    let drained = in_backend(
        c,
        &format!("SET logical_decoding_work_mem = '{memory}'"),
        &peek,
    );
    c.sql("SELECT pg_drop_replication_slot('peer')");
    drained
}

fn advance(wal: &Wal) -> Drained {
    let c = &wal.cluster;
    c.sql("SELECT pg_copy_logical_replication_slot('start', 'peer', false, 'test_decoding')");
    let advance = format!(
        "SELECT count(*) FROM pg_replication_slot_advance('peer', '{}')",
        wal.end
    );
    let drained = in_backend(c, "SELECT", &advance);
    c.sql("SELECT pg_drop_replication_slot('peer')");
    drained
}

/// One statement in a session of its own, timed there, after another that is not.
fn in_backend(c: &Cluster, prepare: &str, work: &str) -> Drained {
    const NOW: &str =
        "SELECT extract(epoch FROM clock_timestamp()), pg_read_file('/proc/self/stat')";
    let output = c.sql(&format!("{prepare};\n{NOW};\n{work};\n{NOW};"));
    let moments: Vec<(f64, f64)> = output.lines().filter_map(moment).collect();
    let [(began, cpu_before), (ended, cpu_after)] = moments[..] else {
        panic!("two moments were asked for: {output}");
    };
    Drained {
        seconds: ended - began,
        cpu: cpu_after - cpu_before,
        megabytes: None,
        peak: None,
        anonymous: None,
    }
}

fn moment(line: &str) -> Option<(f64, f64)> {
    let (clock, stat) = line.split_once('|')?;
    Some((clock.parse().ok()?, process::cpu_of(stat)))
}
