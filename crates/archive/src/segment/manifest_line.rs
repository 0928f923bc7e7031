//! A closed segment's line in the manifest.

use super::{source, Header, Summary, Tally};
use crate::checksum::{self, Checksum, Hashing};
use crate::error::{Error, Result};
use crate::layout::{ChainDir, SegmentName, Stored};
use crate::manifest::{Entry, Kind};

/// Out of what was written, or read.
pub fn line(header: &Header, tally: &Tally, content: &Checksum, stored: &Checksum) -> Entry {
    Entry {
        kind: Kind::Incremental,
        file: Entry::segment_file(header.name()),
        start_lsn: header.start_lsn,
        end_lsn: tally.end_lsn,
        first_commit_at: tally.first_commit_at,
        last_commit_at: tally.last_commit_at,
        transactions: tally.transactions,
        statements: tally.statements,
        bytes: content.bytes,
        sha256: content.sha256.clone(),
        file_bytes: stored.bytes,
        file_sha256: stored.sha256.clone(),
        next_xid: Some(header.next_xid),
        previous_sha256: header
            .previous
            .as_ref()
            .map(|previous| previous.sha256.clone()),
        snapshot: None,
        duration_ms: None,
        expired_at: None,
        set_apart_at: None,
    }
}

/// Reads a closed segment and makes its line.
pub fn read_line(chain: &ChainDir, name: SegmentName, stored: Stored) -> Result<Entry> {
    let path = chain.segment_path(name, stored);
    let mut hashing = Hashing::new(source::open(&path, stored)?);
    let summary = Summary::of(&mut hashing).map_err(Error::io("read", &path))?;
    let flaw = summary.torn.or(summary.contradiction.map(|why| (0, why)));
    if let Some((offset, why)) = flaw {
        return Err(Error::damaged(&path, offset, why));
    }
    let (Some(header), Some(_)) = (summary.header, summary.footer) else {
        return Err(Error::damaged(
            &path,
            summary.size,
            "a closed segment without a footer",
        ));
    };
    if header.name() != name {
        return Err(Error::damaged(
            &path,
            0,
            "its name does not match its header",
        ));
    }
    let content = hashing.finish();
    let stored = match stored {
        Stored::Partial | Stored::Plain => content.clone(),
        Stored::Gzip | Stored::Zstd => checksum::of_file(&path)?,
    };
    Ok(line(&header, &summary.tally, &content, &stored))
}
