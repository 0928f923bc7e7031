//! `manifest.jsonl`: one JSON object per finished file of a chain, in the order in which they were added.
//!
//! Several processes append to it (capture, base backup, globals, compression), each line under a lock; a
//! torn last line is removed by the next one that appends. Of several lines about one file the last one
//! counts: a segment that was compressed is stored in another form than in its first line. Retention marks a
//! file as expired in its line before the file is removed: from then on no reader uses it, whatever a crash
//! left of it. Everything except these marks can be rebuilt from the files.

mod expired;
mod parts;
mod set_apart;
mod strictly;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use memchr::memmem::Finder;
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::layout::names::INCREMENTAL;
use crate::layout::{ChainDir, SegmentName, Stored};
use crate::lsn::Lsn;
use crate::pause::{going_on, lock_exclusive, Pause};
use crate::snapshot::Snapshot;
use crate::time::{self, Time};

pub use expired::expire;
pub use parts::{in_parts, is_part, joined};
pub(crate) use set_apart::replace;
pub use strictly::{parse_strictly, read_stored, read_strictly};

/// The subject of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Incremental,
    Base,
    Globals,
}

/// One line. The keys of the JSON object are in the order of these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: Kind,
    /// Relative to the chain's directory; for a segment the name without a compression suffix.
    pub file: String,
    /// For a base or a set of globals: its LSN, twice.
    pub start_lsn: Lsn,
    pub end_lsn: Lsn,
    #[serde(with = "time::json_option")]
    pub first_commit_at: Option<Time>,
    #[serde(with = "time::json_option")]
    pub last_commit_at: Option<Time>,
    pub transactions: u64,
    pub statements: u64,
    /// For a segment uncompressed; for a base or a set all its files.
    pub bytes: u64,
    /// For a segment uncompressed; for a base or a set its SHA256SUMS.
    pub sha256: String,
    /// As stored.
    pub file_bytes: u64,
    pub file_sha256: String,
    pub next_xid: Option<u64>,
    pub previous_sha256: Option<String>,
    /// For a base only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<Snapshot>,
    /// For a base only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// When retention marked the file as expired. It is no longer part of the archive, whether it exists or
    /// not.
    #[serde(
        with = "time::json_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub expired_at: Option<Time>,
    /// When the file was replaced by a shorter one, or set apart: it reaches behind the point at which the server's
    /// history left the file's timeline. It is no longer part of the archive, whether it exists or not.
    #[serde(
        with = "time::json_option",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub set_apart_at: Option<Time>,
}

/// A manifest as it was read.
#[derive(Debug, Default)]
pub struct Manifest {
    pub entries: Vec<Entry>,
    /// Line numbers (from 1) that cannot be parsed, and why. A torn last line is not included.
    pub damaged: Vec<(usize, String)>,
}

impl Entry {
    /// True for a file that is part of the archive no longer, by retention or by a switch of the timeline.
    pub fn is_gone(&self) -> bool {
        self.expired_at.is_some() || self.set_apart_at.is_some()
    }

    /// How a manifest names a segment, compressed or not.
    pub fn segment_file(name: SegmentName) -> String {
        format!("{INCREMENTAL}/{}", name.file(Stored::Plain))
    }
}

/// The manifest under its lock. A process that gives a file its final name holds it from before the rename until the
/// line is written, so that a file without a line is a fault.
pub struct Locked {
    path: PathBuf,
    file: File,
}

/// Waits for the lock; released with the value.
pub fn lock(chain: &ChainDir) -> Result<Locked> {
    let path = chain.manifest();
    let file = open_locked(chain)?;
    Ok(Locked { path, file })
}

/// The same for a session, whose wait must be interruptible.
pub fn lock_with(chain: &ChainDir, pause: Pause) -> Result<Locked> {
    let path = chain.manifest();
    let mut between = going_on::<Error>(pause);
    let file = open_locked_by(chain, &mut |file| lock_exclusive(file, &mut between))?;
    Ok(Locked { path, file })
}

impl Locked {
    /// The last line about a file, which is the valid one. Others are not parsed.
    pub fn last(&self, file: &str) -> Result<Option<Entry>> {
        let bytes = durable::read(&self.path)?;
        let name = Finder::new(file);
        let lines = bytes.rsplit(|byte| *byte == b'\n');
        // What follows the last line end is a torn line, or nothing.
        let about = lines.skip(1).filter(|line| name.find(line).is_some());
        let mut entries = about.filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
        Ok(entries.find(|entry| entry.file == file))
    }

    /// For an existing line.
    pub fn make_durable(self) -> Result<()> {
        durable::fsync(&self.file, "manifest: fsync", &self.path)?;
        durable::fsync_parent(&self.path)
    }

    /// Appends one line; durable when this returns.
    pub fn append(mut self, entry: &Entry) -> Result<()> {
        let Locked { path, file } = &mut self;
        let mut line = serde_json::to_vec(entry).expect("plain fields always become JSON");
        line.push(b'\n');
        let length = cut_torn_line(file).map_err(Error::io("repair", path))?;
        let appended = pass("manifest: write")
            .and_then(|()| file.write_all(&line))
            .map_err(Error::io("write", path))
            .and_then(|()| durable::fsync(file, "manifest: fsync", path));
        if appended.is_err() {
            // A line that may never reach the disk must not count.
            let _ = file.set_len(length);
        }
        appended?;
        // Also if it existed before: the process that created it may not have done this.
        durable::fsync_parent(path)
    }
}

/// Appends missing lines of these entries, after a crash.
pub fn append_missing<N>(
    chain: &ChainDir,
    names: impl IntoIterator<Item = N>,
    file: impl Fn(&N) -> String,
    entry: impl Fn(&N) -> Result<Entry>,
    pause: Pause,
) -> Result<()> {
    let listed = read(chain)?.entries.into_iter();
    let listed: HashSet<String> = listed.map(|entry| entry.file).collect();
    for name in names {
        let file = file(&name);
        if listed.contains(&file) {
            continue;
        }
        pause();
        let entry = entry(&name)?;
        let manifest = lock_with(chain, pause)?;
        // The process that created the file may have written it in the meantime.
        if manifest.last(&file)?.is_none() {
            manifest.append(&entry)?;
        }
    }
    Ok(())
}

/// Reads all lines, each of which must be valid. A torn last one counts as not written.
pub(crate) fn read_whole(chain: &ChainDir) -> Result<Vec<Entry>> {
    let manifest = read(chain)?;
    match manifest.damaged.first() {
        None => Ok(manifest.entries),
        Some((line, why)) => {
            let why = format!("line {line} is invalid: {why}");
            Err(Error::damaged(&chain.manifest(), 0, why))
        }
    }
}

/// The valid line about each file; lines that cannot be parsed are skipped.
pub(crate) fn by_file(chain: &ChainDir) -> Result<HashMap<String, Entry>> {
    let entries = read(chain)?.entries.into_iter();
    Ok(entries.map(|entry| (entry.file.clone(), entry)).collect())
}

/// Keeps one line about each file, at the position of the first, with the contents of the last.
pub fn without_repeats(entries: Vec<Entry>) -> Vec<Entry> {
    let mut places = HashMap::new();
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match places.get(&entry.file) {
            Some(place) => kept[*place] = entry,
            None => {
                places.insert(entry.file.clone(), kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

pub(crate) fn to_lines<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).expect("plain fields always become JSON");
        text.push(b'\n');
    }
    text
}

/// Reads all lines; a missing manifest is an empty one.
pub fn read(chain: &ChainDir) -> Result<Manifest> {
    Ok(parse(&content(chain)?))
}

/// All lines, those of a copy's other parts too.
fn content(chain: &ChainDir) -> Result<Vec<u8>> {
    loop {
        let others = parts::others(chain)?;
        let bytes = match durable::read(&chain.manifest()) {
            Err(error) if is_missing(&error) => Vec::new(),
            read => read?,
        };
        if others.is_empty() {
            return Ok(bytes);
        }
        let read: Result<Vec<_>> = others.iter().map(|path| durable::read(path)).collect();
        match read {
            // Another process has joined them in the meantime.
            Err(error) if is_missing(&error) => continue,
            others => return Ok(joined(bytes, &others?)),
        }
    }
}

fn is_missing(error: &Error) -> bool {
    error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound)
}

/// The content of a manifest: complete lines.
pub fn parse(bytes: &[u8]) -> Manifest {
    let mut manifest = Manifest::default();
    let complete = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(&[][..], |p| &bytes[..p]);
    if complete.is_empty() {
        return manifest;
    }
    for (position, line) in complete.split(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(entry) => manifest.entries.push(entry),
            Err(error) => manifest.damaged.push((position + 1, error.to_string())),
        }
    }
    manifest
}

/// Opens the manifest under an exclusive lock, in one part. Joining the parts and expiry replace the file: after a wait
/// for the lock of a replaced one it is opened again.
fn open_locked(chain: &ChainDir) -> Result<File> {
    open_locked_by(chain, &mut |file| {
        Ok(flock(file, FlockOperation::LockExclusive))
    })
}

fn open_locked_by(
    chain: &ChainDir,
    take: &mut dyn FnMut(&File) -> Result<std::result::Result<(), Errno>>,
) -> Result<File> {
    let path = chain.manifest();
    loop {
        let file = durable::open_for_appending(&path)?;
        take(&file)?.map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        if !durable::is_at(&file, &path)? {
            continue;
        }
        let others = parts::others(chain)?;
        if others.is_empty() {
            return Ok(file);
        }
        durable::write_atomically(&path, &content(chain)?)?;
        for part in others {
            durable::remove_if_there(&part)?;
        }
    }
}

/// Returns the remaining length.
fn cut_torn_line(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == [b'\n'] {
        return Ok(length);
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let complete = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |p| p + 1) as u64;
    file.set_len(complete)?;
    Ok(complete)
}
