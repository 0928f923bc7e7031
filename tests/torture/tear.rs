//! Tearing the open segment as a crash of the machine may: behind what the slot was told, anything.

use super::stream::field_lsn;
use fastrand::Rng;
use harness::{give_to_server_user, Cluster};
use std::fs;
use std::path::PathBuf;

/// What a file system leaves of what was not fsynced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    Cut,
    Garbage,
    Zeros,
}

/// Tears the open segment of a stopped server; says what it did, nothing where there is none.
pub fn tear(c: &Cluster, how: Tear, rng: &mut Rng) -> Option<String> {
    let path = open_segment(c)?;
    let mut bytes = fs::read(&path).expect("the open segment can be read");
    let safe = safe_length(&bytes, confirmed_on_disk(c));
    let length = bytes.len();
    let at = rng.usize(safe..=length);
    bytes.truncate(at);
    match how {
        Tear::Cut => {}
        Tear::Garbage => bytes.extend((0..rng.usize(1..20_000)).map(|_| rng.u8(..))),
        // Pages that were allocated and never written.
        Tear::Zeros => bytes.resize(length.max(at + 1).next_multiple_of(4096), 0),
    }
    fs::write(&path, bytes).expect("the open segment can be written");
    give_to_server_user(&path);
    Some(format!("{how:?} at {at} of {length}, {safe} are durable"))
}

fn open_segment(c: &Cluster) -> Option<PathBuf> {
    let listing = fs::read_dir(c.chain_directory().join("incremental")).ok()?;
    let mut paths = listing.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|e| e == "partial"))
}

/// confirmed_flush of our slot as PostgreSQL keeps it on disk (ReplicationSlotOnDisk in slot.c): a
/// restarted server knows no other. It is never past what was fsynced.
fn confirmed_on_disk(c: &Cluster) -> u64 {
    let slots = fs::read_dir(c.data_directory().join("pg_replslot")).expect("there are slots");
    let mut paths = slots.flatten().map(|entry| entry.path());
    let ours = paths.find(|path| path.to_string_lossy().contains("pg_incrbackup_"));
    let state = fs::read(ours.expect("our slot is there").join("state")).expect("it has a state");
    // 16 bytes of header; name, database, persistency, two xids, restart_lsn, invalidation.
    let confirmed = state[112..120].try_into().expect("eight bytes");
    u64::from_ne_bytes(confirmed)
}

/// Behind the last transaction or position that `confirmed` covers.
fn safe_length(bytes: &[u8], confirmed: u64) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let key = text.lines().nth(1).and_then(|line| line.get(4..20));
    let prefix = format!("-- @{} ", key.unwrap_or("no key"));
    let (mut safe, mut offset) = (0, 0);
    let mut open = None;
    for line in text.split_inclusive('\n') {
        offset += line.len();
        let comment = line.trim_end().strip_prefix(&prefix);
        match comment.and_then(|c| c.split_once(' ')) {
            Some(("transaction", fields)) => open = Some(field_lsn(fields, "commit_lsn=")),
            Some(("position", fields)) if field_lsn(fields, "lsn=") <= confirmed => safe = offset,
            _ if line == "COMMIT;\n" && open.take().is_some_and(|lsn| lsn <= confirmed) => {
                safe = offset;
            }
            _ => {}
        }
    }
    safe
}
