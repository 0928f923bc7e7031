//! Opens a chain for appending: after a clean stop, after a crash, or for the first time.
//!
//! The state of the files is determined here once: a torn tail is truncated after the last complete
//! transaction or position, a segment that has its footer gets its final name, a closed segment that is
//! missing in the manifest gets its line. Everything that is left is fsynced before the first LSN is
//! reported, and what was not confirmed to the slot is written again: see `file`.
//!
//! A crash only tears what was not fsynced yet, and nothing of that was confirmed to the slot. Damage before
//! the confirmed position has another cause, and cannot be repaired: the file is kept aside unchanged.
//!
//! A segment has one format. An open one of an older version is closed, or, if it only contains positions and
//! sequences, converted to the current format.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};

use super::file::{write_again, SegmentFile};
use super::grammar::{first_line, FORMAT};
use super::header::{Header, Previous};
use super::manifest_line;
use super::rotate::open_segment;
use super::source;
use super::summary::{Summary, Tally};
use super::switch::{EnsureHeld, Switch};
use super::writer::Appender;
use crate::base;
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::{ChainDir, SegmentName, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry};
use crate::pause::Pause;

/// What a new segment's header contains in addition to `chain.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIdentity {
    pub timeline: u32,
    /// If the files end on another timeline: where the server's history left that one.
    pub switch: Option<Switch>,
    /// The database's current name.
    pub database: String,
    /// As `server_version_num`.
    pub server_version: u32,
    /// The database's encoding, as in `client_encoding`.
    pub encoding: String,
    /// The server's next 64-bit xid, read now.
    pub next_xid: u64,
}

/// The part that was truncated from the open segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The new size of the file; 0 if the whole file was removed.
    pub offset: u64,
    /// The number of bytes removed.
    pub bytes: u64,
    pub why: String,
}

/// The end of the closed segments of a chain.
struct ClosedEnd {
    end_lsn: Lsn,
    previous: Option<Previous>,
}

impl ChainDir {
    /// Opens the chain for appending. `confirmed` is the position confirmed to the slot. Fails if another
    /// process has it open, if the chain has ended, and if the files contradict themselves or the slot in a
    /// way that no crash explains. After a switch of the timeline, what the files contain behind it is cut off; if
    /// transactions are among it, they are set apart and it fails with [`Error::SetApart`], or with
    /// [`Error::BehindSwitch`] where they may not be: the chain ends.
    pub fn open_for_append(&self, identity: SegmentIdentity, confirmed: Lsn) -> Result<Appender> {
        self.open_for_append_while(identity, confirmed, &|| Ok(()))
    }

    /// [`Self::open_for_append`] with a check whether the right to write still is there, which fails if it is not: made before
    /// each step that changes what is in the chain already.
    pub fn open_for_append_while(
        &self,
        identity: SegmentIdentity,
        confirmed: Lsn,
        ensure_held: EnsureHeld<'_>,
    ) -> Result<Appender> {
        if self.info.ended.is_some() {
            return Err(Error::refused(&self.path, "the chain has ended"));
        }
        let lock = self.lock()?;
        self.cut_at_switch(identity.switch, ensure_held)?;
        ensure_held()?;
        base::complete_manifest(self, &mut || {})?;
        self.complete_manifest(&mut || {})?;
        let closed = self.closed_end()?;
        let is_closed_confirmed = closed.end_lsn <= confirmed;
        let mut appender = match self.open_partial()? {
            Some(partial) => self.resume(partial, closed, identity, confirmed, lock),
            None => self.start(closed, identity, lock),
        }?;
        // What closed segments have and the slot was not confirmed for must come again, too.
        if !is_closed_confirmed && appender.last_commit_lsn().is_none() {
            appender.closed_commit = self.last_closed_commit(confirmed)?;
        }
        Ok(appender)
    }

    /// Reads the end of the files, without changing them: the later result of [`Appender::last_lsn`].
    pub fn last_lsn(&self) -> Result<Lsn> {
        let closed = self.closed_end()?;
        let Some(name) = self.open_partial()? else {
            return Ok(closed.end_lsn);
        };
        Ok(self
            .summarize(name, Stored::Partial)?
            .tally
            .end_lsn
            .max(closed.end_lsn))
    }

    /// Reads one segment to its end.
    pub fn summarize(&self, name: SegmentName, stored: Stored) -> Result<Summary> {
        self.summarize_with_proven(name, stored, Lsn(0))
    }

    fn summarize_with_proven(
        &self,
        name: SegmentName,
        stored: Stored,
        confirmed: Lsn,
    ) -> Result<Summary> {
        let path = self.segment_path(name, stored);
        Summary::with_proven(source::open(&path, stored)?, confirmed)
            .map_err(Error::io("read", &path))
    }

    /// Excludes a second writer; the lock is released with the returned file.
    pub(crate) fn lock(&self) -> Result<File> {
        let directory = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(directory),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked {
                path: self.path.clone(),
            }),
            Err(errno) => Err(Error::io("lock", &self.path)(errno.into())),
        }
    }

    fn open_partial(&self) -> Result<Option<SegmentName>> {
        let mut partials = self
            .segments()?
            .into_iter()
            .filter(|(_, stored)| *stored == Stored::Partial);
        let first = partials.next().map(|(name, _)| name);
        match partials.next() {
            Some((name, stored)) => {
                let path = self.segment_path(name, stored);
                Err(Error::damaged(&path, 0, "an earlier segment is still open"))
            }
            None => Ok(first),
        }
    }

    /// Gives the files that are appended to a new inode each, with the same content: a process that still has the former
    /// one open, without the right to write any more, writes to none of the chain's files.
    pub(crate) fn renew_appended(&self) -> Result<()> {
        let open = self.segments()?.into_iter();
        let open = open.filter(|(_, stored)| *stored == Stored::Partial);
        let open = open.map(|(name, stored)| self.segment_path(name, stored));
        for path in open.chain([self.manifest()]) {
            if path.symlink_metadata().is_ok() {
                durable::copy_atomically(&path, durable::open_to_read(&path)?)?;
            }
        }
        Ok(())
    }

    /// Adds missing lines of closed segments to the manifest.
    pub(crate) fn complete_manifest(&self, pause: Pause) -> Result<()> {
        let closed = self.segments()?.into_iter();
        manifest::append_missing(
            self,
            closed.filter(|(_, stored)| *stored != Stored::Partial),
            |(name, _)| Entry::segment_file(*name),
            |(name, stored)| manifest_line::read_line(self, *name, *stored),
            pause,
        )
    }

    fn closed_end(&self) -> Result<ClosedEnd> {
        let last = self
            .segments()?
            .into_iter()
            .rfind(|(_, stored)| *stored != Stored::Partial);
        let Some((name, stored)) = last else {
            return Ok(ClosedEnd {
                end_lsn: self.info.slot_start_lsn,
                previous: None,
            });
        };
        let file = Entry::segment_file(name);
        let listed = manifest::read(self)?
            .entries
            .into_iter()
            .rfind(|entry| entry.file == file);
        let entry = match listed {
            Some(entry) => entry,
            None => manifest_line::read_line(self, name, stored)?,
        };
        let previous = Previous {
            file: name.file(Stored::Plain),
            sha256: entry.sha256,
        };
        Ok(ClosedEnd {
            end_lsn: entry.end_lsn,
            previous: Some(previous),
        })
    }

    fn start(&self, closed: ClosedEnd, identity: SegmentIdentity, lock: File) -> Result<Appender> {
        let opened = open_segment(self, &identity, closed.end_lsn, closed.previous)?;
        let tally = Tally {
            end_lsn: closed.end_lsn,
            ..Tally::default()
        };
        Ok(Appender::around(
            self.clone(),
            identity,
            opened,
            tally,
            lock,
        ))
    }

    fn resume(
        &self,
        name: SegmentName,
        closed: ClosedEnd,
        identity: SegmentIdentity,
        confirmed: Lsn,
        lock: File,
    ) -> Result<Appender> {
        let path = self.segment_path(name, Stored::Partial);
        let summary = self.summarize_with_proven(name, Stored::Partial, confirmed)?;
        if summary.tally.end_lsn.max(closed.end_lsn) < confirmed {
            if let Some((at, why)) = summary.torn {
                return Err(self.keep_aside(&path, summary.complete, at, why)?);
            }
        }
        if let Some(why) = summary.contradiction {
            return Err(Error::damaged(&path, 0, why));
        }
        let torn = summary.torn.map(|(_, why)| TornTail {
            offset: summary.complete,
            bytes: summary.size - summary.complete,
            why,
        });
        let mut identity = identity;
        let is_of_timeline = |header: &Header| header.timeline == identity.timeline;
        if let Some(header) = summary
            .header
            .as_ref()
            .filter(|header| is_of_timeline(header))
        {
            // The first of its timeline, in case that it is begun again.
            let timeline = header.timeline;
            let switch = header.switched_at.map(|at| Switch {
                timeline,
                at,
                sets_apart: false,
            });
            identity.switch = identity.switch.or(switch);
        }
        let (Some(mut header), Some(key), 1..) = (summary.header, summary.key, summary.complete)
        else {
            // Only a header, or not even that: it may lack settings, and contains nothing.
            durable::remove_if_there(&path)?;
            let mut appender = self.start(closed, identity, lock)?;
            appender.torn = torn;
            return Ok(appender);
        };
        self.ensure_follows(name, &header, &closed)?;
        if summary.footer.is_some() {
            self.finish(name, summary.proven)?;
            self.complete_manifest(&mut || {})?;
            let mut appender = self.start(self.closed_end()?, identity, lock)?;
            appender.closed_commit = summary.tally.last_commit_lsn;
            return Ok(appender);
        }
        if header.timeline != identity.timeline && summary.tally.end_lsn == header.start_lsn {
            // Only positions of sequences: they are written again, and two segments can't begin at one LSN.
            durable::remove_if_there(&path)?;
            return self.start(closed, identity, lock);
        }
        if header.format != FORMAT && summary.tally.transactions == 0 {
            renew_format(&path, summary.complete)?;
            header.format = FORMAT;
        }
        let file = SegmentFile::reopen(path, summary.complete, summary.proven)?;
        let opened = (file, header, key);
        let mut appender = Appender::around(self.clone(), identity, opened, summary.tally, lock);
        appender.torn = torn;
        appender.close_if_begun_otherwise()?;
        Ok(appender)
    }

    /// The open segment must begin where the closed ones end, and belong to this chain.
    fn ensure_follows(&self, name: SegmentName, header: &Header, closed: &ClosedEnd) -> Result<()> {
        let path = self.segment_path(name, Stored::Partial);
        let wrong = |why: String| Err(Error::damaged(&path, 0, why));
        let ours = (
            self.info.system_identifier,
            self.info.database_oid,
            self.number,
        );
        if (header.system_identifier, header.database_oid, header.chain) != ours {
            return wrong("its header names another cluster, database or chain".to_owned());
        }
        if header.start_lsn != name.start_lsn || header.start_lsn != closed.end_lsn {
            return wrong(format!(
                "it starts at {}, the segment before ends at {}",
                header.start_lsn, closed.end_lsn
            ));
        }
        if header.previous != closed.previous {
            return wrong("its header names another segment before it".to_owned());
        }
        Ok(())
    }

    /// Keeps the open segment unchanged under another name, and its intact part under its own: that can still
    /// be restored. In this order, a crash in between leaves both or repeats it.
    fn keep_aside(&self, path: &Path, whole: u64, at: u64, why: String) -> Result<Error> {
        let kept = self.name_aside(path)?;
        durable::keep_as(path, &kept)?;
        match whole {
            0 => durable::remove_if_there(path)?,
            _ => {
                let whole = durable::open_to_read(path)?.take(whole);
                durable::copy_atomically(path, whole)?;
            }
        }
        Ok(Error::KeptAside {
            path: path.to_owned(),
            offset: at,
            why,
            kept,
        })
    }

    /// The first free name derived from the segment's own.
    fn name_aside(&self, path: &Path) -> Result<PathBuf> {
        let mut number = 1;
        loop {
            let name = durable::beside(path, &format!(".damaged-{number}"));
            match name.symlink_metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(name),
                Err(error) => return Err(Error::io("stat", &name)(error)),
                Ok(_) => number += 1,
            }
        }
    }

    /// Gives a segment that has its footer its final name.
    fn finish(&self, name: SegmentName, proven: u64) -> Result<()> {
        let from = self.segment_path(name, Stored::Partial);
        let mut file = durable::open_for_update(&from)?;
        write_again(&mut file, &from, proven)?;
        durable::publish(&file, &from, &self.segment_path(name, Stored::Plain))
    }
}

/// Writes the current format to a segment's first line. Positions and sequences are the same in every format.
/// A crash in between leaves either the one or the other.
fn renew_format(path: &Path, whole: u64) -> Result<()> {
    let mut rest = BufReader::new(durable::open_to_read(path)?.take(whole));
    let mut line = Vec::new();
    rest.read_until(b'\n', &mut line)
        .map_err(Error::io("read", path))?;
    let line = first_line(FORMAT) + "\n";
    durable::copy_atomically(path, line.as_bytes().chain(rest))
}
