//! Closing the open segment and opening the next: footer, fsync, final name, manifest, next header.

use std::path::PathBuf;

use super::file::SegmentFile;
use super::grammar::{Key, FORMAT};
use super::header::{Header, Previous};
use super::manifest_line;
use super::resume::SegmentIdentity;
use super::summary::Tally;
use super::writer::Appender;
use crate::error::{Error, Result};
use crate::layout::{ChainDir, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry};
use crate::time;

/// A segment without transactions is only closed when its position lines have grown to this size.
const POSITIONS_WORTH_CLOSING: u64 = 1024 * 1024;
/// A segment that was closed just now.
#[derive(Debug, Clone)]
pub struct ClosedSegment {
    pub path: PathBuf,
    pub entry: Entry,
}

impl Appender {
    /// True if closing the open segment would leave a file without content.
    pub fn is_empty(&self) -> bool {
        let is_small = self.file.bytes() < POSITIONS_WORTH_CLOSING;
        self.tally.transactions == 0 && (is_small || self.tally.end_lsn == self.header.start_lsn)
    }

    /// True if the open segment says more than the one before it, if only that nothing happened up to a position.
    pub fn has_moved(&self) -> bool {
        self.tally.end_lsn > self.header.start_lsn
    }

    /// Closes the open segment if it has moved, also if it only contains positions, which [`Appender::rotate`] leaves open.
    pub fn rotate_moved(&mut self, next_xid: u64) -> Result<Option<ClosedSegment>> {
        self.ensure_idle("rotate")?;
        if !self.has_moved() {
            return Ok(None);
        }
        self.close(next_xid).map(Some)
    }

    /// Closes the open segment and opens the next one; `None` if there is nothing to close. `next_xid` is the
    /// server's current one. Everything written is durable afterwards.
    pub fn rotate(&mut self, next_xid: u64) -> Result<Option<ClosedSegment>> {
        self.ensure_idle("rotate")?;
        if self.is_empty() {
            return Ok(None);
        }
        self.close(next_xid).map(Some)
    }

    fn close(&mut self, next_xid: u64) -> Result<ClosedSegment> {
        self.identity.next_xid = next_xid.max(self.tally.highest_xid + 1);
        let footer = self.tally.footer().write(self.key);
        self.put(footer.as_bytes())?;
        self.sync()?;
        self.publish()
    }

    /// Closes a segment started by another server (an older minor, the old primary), or by another version of
    /// this crate in its format. One of another timeline is closed although it only contains positions: what follows is
    /// in a segment whose header says where the timeline began.
    pub(super) fn close_if_begun_otherwise(&mut self) -> Result<()> {
        let (identity, header) = (&self.identity, &self.header);
        let here = (identity.timeline, identity.server_version, FORMAT);
        if here == (header.timeline, header.server_version, header.format) {
            return Ok(());
        }
        if identity.timeline == header.timeline && self.is_empty() {
            return Ok(());
        }
        self.close(self.identity.next_xid).map(|_| ())
    }

    /// The end of [`Appender::rotate`], after the footer: final name, then manifest, then the next segment,
    /// whose header contains the checksum.
    fn publish(&mut self) -> Result<ClosedSegment> {
        let name = self.header.name();
        let path = self.chain.segment_path(name, Stored::Plain);
        let manifest = manifest::lock(&self.chain)?;
        let checksum = self.file.publish(&path)?;
        let entry = manifest_line::line(&self.header, &self.tally, &checksum, &checksum);
        manifest.append(&entry)?;
        let previous = Previous {
            file: name.file(Stored::Plain),
            sha256: checksum.sha256,
        };
        self.closed_commit = self.last_commit_lsn();
        let start_lsn = self.tally.end_lsn;
        let highest_xid = self.tally.highest_xid;
        if self.header.timeline == self.identity.timeline {
            self.identity.switch = None;
        }
        (self.file, self.header, self.key) =
            open_segment(&self.chain, &self.identity, start_lsn, Some(previous))?;
        self.tally = Tally {
            end_lsn: start_lsn,
            highest_xid,
            ..Tally::default()
        };
        Ok(ClosedSegment { path, entry })
    }
}

/// Opens a new segment at `start_lsn`; its header is durable.
pub(super) fn open_segment(
    chain: &ChainDir,
    identity: &SegmentIdentity,
    start_lsn: Lsn,
    previous: Option<Previous>,
) -> Result<(SegmentFile, Header, Key)> {
    let header = Header {
        format: FORMAT,
        system_identifier: chain.info.system_identifier,
        timeline: identity.timeline,
        switched_at: identity.switch.map(|switch| switch.at),
        database_oid: chain.info.database_oid,
        database: identity.database.clone(),
        chain: chain.number,
        start_lsn,
        next_xid: identity.next_xid,
        opened_at: time::now(),
        server_version: identity.server_version,
        encoding: identity.encoding.clone(),
        previous,
    };
    let path = chain.segment_path(header.name(), Stored::Partial);
    let key = Key::random().map_err(Error::io("draw a key for", &path))?;
    let file = SegmentFile::create(path, header.write(key).as_bytes())?;
    Ok((file, header, key))
}
