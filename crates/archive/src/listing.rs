//! The contents of a database's directory, for `incr_files()`: finished files as in the manifest, and the
//! current open segment.

use std::collections::HashMap;

use crate::archiving::{self, Notes};
use crate::error::{Error, Result};
use crate::layout::names::INCREMENTAL;
use crate::layout::{BaseName, ChainDir, DatabaseDir, GlobalsName, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry, Kind};
use crate::segment::{source, Summary};
use crate::time::Time;

/// One file, or one base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub chain: u32,
    pub kind: Kind,
    /// Relative to the chain's directory, as stored.
    pub file: String,
    pub start_lsn: Lsn,
    pub end_lsn: Lsn,
    pub first_commit_at: Option<Time>,
    /// Of a base when it was taken, of a set of globals when they changed: what was committed up to then is in it.
    pub last_commit_at: Option<Time>,
    pub transactions: u64,
    pub statements: u64,
    /// Uncompressed.
    pub bytes: u64,
    /// Of the uncompressed bytes; `None` for the open segment.
    pub sha256: Option<String>,
    /// When archive_command had archived it completely.
    pub archived_at: Option<Time>,
}

/// Lists the chains in order, each in the order of its LSNs. The open segment is read up to its last complete
/// transaction.
pub fn files(chains: &[ChainDir]) -> Result<Vec<FileRow>> {
    let mut rows = Vec::new();
    for chain in chains {
        let mut of_chain = finished(chain)?;
        of_chain.extend(open_segment(chain)?);
        of_chain.sort_by_key(|row| (row.start_lsn, row.kind != Kind::Base));
        rows.append(&mut of_chain);
    }
    Ok(rows)
}

fn finished(chain: &ChainDir) -> Result<Vec<FileRow>> {
    let segments = chain.segments()?.into_iter();
    let closed = segments.filter(|(_, stored)| *stored != Stored::Partial);
    let stored_as: HashMap<String, String> = closed
        .map(|(name, stored)| {
            let stored = format!("{INCREMENTAL}/{}", name.file(stored));
            (Entry::segment_file(name), stored)
        })
        .collect();
    let database = chain.path.parent().and_then(DatabaseDir::at);
    let notes = database.as_ref().map(Notes::read).transpose()?;
    let archived_at = |entry: &Entry| {
        let (database, notes) = (database.as_ref()?, notes.as_ref()?);
        archiving::is_archived(database, notes, chain, entry)
    };
    let rows = manifest::without_repeats(manifest::read(chain)?.entries)
        .into_iter()
        .filter(|entry| !entry.is_gone())
        .map(|entry| FileRow {
            archived_at: archived_at(&entry),
            chain: chain.number,
            kind: entry.kind,
            start_lsn: entry.start_lsn,
            end_lsn: entry.end_lsn,
            first_commit_at: entry.first_commit_at,
            last_commit_at: entry.last_commit_at.or_else(|| time_of(&entry)),
            transactions: entry.transactions,
            statements: entry.statements,
            bytes: entry.bytes,
            sha256: Some(entry.sha256),
            file: stored_as.get(&entry.file).cloned().unwrap_or(entry.file),
        });
    Ok(rows.collect())
}

/// As its name says it, in seconds.
fn time_of(entry: &Entry) -> Option<Time> {
    let name = entry.file.rsplit('/').next()?;
    match entry.kind {
        Kind::Base => BaseName::parse(name).map(|name| name.taken_at),
        Kind::Globals => GlobalsName::parse(name).map(|name| name.changed_at),
        Kind::Incremental => None,
    }
}

fn open_segment(chain: &ChainDir) -> Result<Option<FileRow>> {
    let segments = chain.segments()?;
    let Some((name, stored)) = segments.last().filter(|(_, s)| *s == Stored::Partial) else {
        return Ok(None);
    };
    let path = chain.segment_path(*name, *stored);
    let summary = match source::open(&path, *stored) {
        Ok(source) => Summary::of(source).map_err(Error::io("read", &path))?,
        // It was closed since the directory was read: it is in the manifest by now, or will be soon.
        Err(_) if std::fs::symlink_metadata(&path).is_err() => return Ok(None),
        Err(error) => return Err(error),
    };
    let tally = summary.tally;
    Ok(Some(FileRow {
        chain: chain.number,
        kind: Kind::Incremental,
        file: format!("{INCREMENTAL}/{}", name.file(*stored)),
        start_lsn: name.start_lsn,
        end_lsn: tally.end_lsn.max(name.start_lsn),
        first_commit_at: tally.first_commit_at,
        last_commit_at: tally.last_commit_at,
        transactions: tally.transactions,
        statements: tally.statements,
        bytes: summary.size,
        sha256: None,
        archived_at: None,
    }))
}
