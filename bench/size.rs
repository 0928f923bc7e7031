//! What the reference load takes on disk, plain and compressed, beside what peers write of it.

use crate::contestant::{output_file, Contestant, STREAM};
use crate::loads::{self, REFERENCE_CHANGES};
use crate::report::{figure, Report};
use crate::server;
use crate::wal::Wal;
use harness::Cluster;
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PEERS: [&str; 3] = ["test_decoding", "wal2json", "decoder_raw"];

/// Without the drain's measurements: everybody writes the reference load once.
pub fn measure_alone(report: &mut Report) {
    let wal = Wal::of(&loads::REFERENCE);
    STREAM.drain(&wal);
    for plugin in PEERS {
        if server::has_plugin(wal.cluster.installation(), plugin) {
            Contestant::Peer(plugin).drain(&wal);
        }
    }
    Sizes::of(&wal).show(report);
}

/// Bytes for each change: name, plain, compressed; ours first.
pub struct Sizes(Vec<(String, f64, f64)>);

impl Sizes {
    /// Of the files that the contestants' last turns left.
    pub fn of(wal: &Wal) -> Self {
        let per_change = |bytes: u64| bytes as f64 / f64::from(REFERENCE_CHANGES);
        let sizes = |name: &str, files: &[PathBuf]| {
            let plain: u64 = files.iter().map(|file| length(file)).sum();
            let compressed: u64 = files.iter().map(|file| compressed_length(file)).sum();
            (name.to_string(), per_change(plain), per_change(compressed))
        };
        let mut all = vec![sizes("pg_incrbackup", &segments(&wal.cluster))];
        for plugin in PEERS {
            let file = output_file(&wal.cluster, plugin);
            if file.exists() {
                ensure_complete(plugin, &file);
                all.push(sizes(plugin, &[file]));
            }
        }
        Self(all)
    }

    pub fn show(self, report: &mut Report) {
        report.heading("Size");
        report.note(&format!(
            "Bytes on disk for each of the {REFERENCE_CHANGES} rows that the reference load changes; \
             compressed with zstd -3, file by file."
        ));
        let (_, ours, ours_compressed) = self.0[0].clone();
        let row = |(name, plain, compressed): &(String, f64, f64)| {
            vec![
                name.clone(),
                figure(*plain),
                figure(plain / ours),
                figure(*compressed),
                figure(compressed / ours_compressed),
            ]
        };
        let header = ["writer", "bytes", "× ours", "zstd -3", "× ours"];
        report.table(&header, &self.0.iter().map(row).collect::<Vec<_>>());
        let raw = self.0.into_iter().map(|(name, plain, compressed)| {
            (
                name,
                json!({"bytes_per_change": plain, "zstd_bytes_per_change": compressed}),
            )
        });
        let raw = raw.collect::<serde_json::Map<_, _>>();
        report.raw("size", "reference", raw.into());
        report.save();
    }
}

/// A peer that stopped early would be a fast one. (That ours is complete, the restore shows.)
fn ensure_complete(plugin: &str, file: &Path) {
    let marks: &[&str] = match plugin {
        "wal2json" => &[
            "{\"action\":\"I\"",
            "{\"action\":\"U\"",
            "{\"action\":\"D\"",
        ],
        "decoder_raw" => &["INSERT INTO ", "UPDATE ", "DELETE FROM "],
        _ => &["table "],
    };
    let file = std::fs::File::open(file).expect("a peer's output can be read");
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let is_change = |line: &String| marks.iter().any(|mark| line.starts_with(mark));
    let changes = lines.filter(is_change).count();
    assert_eq!(
        changes, REFERENCE_CHANGES as usize,
        "changes that {plugin} wrote"
    );
}

fn segments(c: &Cluster) -> Vec<PathBuf> {
    let segments = c.segments().into_iter();
    segments.map(|segment| segment.path).collect()
}

fn length(file: &Path) -> u64 {
    let metadata = std::fs::metadata(file);
    metadata.expect("a file that was written is there").len()
}

fn compressed_length(file: &Path) -> u64 {
    let mut command = Command::new("zstd");
    command
        .args(["-q", "-3", "-c"])
        .arg(file)
        .stdout(Stdio::piped());
    let mut zstd = command.spawn().expect("zstd can be run");
    let mut output = zstd.stdout.take().expect("stdout is piped");
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match output.read(&mut buffer).expect("zstd can be read from") {
            0 => break,
            count => total += count as u64,
        }
    }
    assert!(
        zstd.wait().is_ok_and(|status| status.success()),
        "zstd failed"
    );
    total
}
