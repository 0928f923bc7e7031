//! A switch of the timeline: what the files contain behind the point at which the server's history left theirs.
//!
//! A server that goes on in a chain after its promotion has other WAL from the switch point on. What the files have
//! behind it is not in its history: positions and sequence positions are cut off, since a position would let the server's
//! own commits below it count as repeats; transactions are set apart, see [`super::lost`], and the chain ends. Where nobody
//! has said that they may be, as after a point-in-time recovery in place, the files stay as they are, and the chain ends.
//!
//! Each step can be repeated, and is when the chain is opened after a crash:
//!
//! 1. if transactions are lost, their segments are complete in the directory of what is lost,
//! 2. the open segment is shortened, under its name,
//! 3. a shortened closed one is published under a new name, and the manifest marks what it replaces and what is behind,
//! 4. what is marked is removed, or moved to what is lost.
//!
//! Who reads the archive is waited for, but not for long: capture does not run meanwhile. A reader that goes on after that
//! meets a file that is gone, or shorter than it was checked to be, and fails: what it has checked does not change otherwise.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::time::Duration;

use super::grammar::Key;
use super::header::Header;
use super::lost::{Lost, LostTransaction};
use super::manifest_line;
use super::parse::{Event, Scanner};
use super::source;
use super::summary::Tally;
use crate::base;
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::globals;
use crate::layout::{BaseName, ChainDir, GlobalsName, SegmentName, Stored};
use crate::lock::exclusive_within;
use crate::lsn::Lsn;
use crate::manifest::{self, Entry};
use crate::pins;
use crate::time;

/// So long readers are waited for.
const FOR_READERS: Duration = Duration::from_secs(10);

/// Fails if the right to write is gone.
pub type EnsureHeld<'a> = &'a dyn Fn() -> Result<()>;

/// Where a server's history left a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: u32,
    pub at: Lsn,
    /// Transactions behind it may be set apart: the server was told to go on in the chain of another.
    pub sets_apart: bool,
}

/// A segment that reaches behind the switch.
pub(super) struct Behind {
    pub name: SegmentName,
    pub stored: Stored,
    header: Option<Header>,
    key: Option<Key>,
    /// Of what is before the switch: its end in the file (0: there is nothing), and its sums.
    whole: u64,
    tally: Tally,
    pub lost: Vec<LostTransaction>,
}

/// Everything that is behind the switch.
pub(super) struct Cut {
    /// In replay order.
    pub segments: Vec<Behind>,
    /// The last segment that is not.
    pub before: Option<SegmentName>,
    pub bases: Vec<BaseName>,
    pub sets: Vec<GlobalsName>,
}

impl ChainDir {
    /// Leaves only what is before the switch in the chain. Fails with [`Error::SetApart`] if transactions were behind it,
    /// and with [`Error::BehindSwitch`], before it changes anything, if they may not be set apart, or the chain begins there.
    pub(super) fn cut_at_switch(
        &self,
        switch: Option<Switch>,
        ensure_held: EnsureHeld<'_>,
    ) -> Result<()> {
        let begun = Lost::begun(self)?;
        let begun_at = begun.as_ref().map(|lost| lost.switch());
        let Some(switch) = begun_at.or(switch) else {
            return Ok(());
        };
        let begins_behind = self.info.slot_start_lsn > switch.at;
        let cut = Cut::find(self, switch)?;
        let has_transactions = cut.transactions().next().is_some();
        if begins_behind || has_transactions && !switch.sets_apart {
            return Err(Error::BehindSwitch {
                timeline: switch.timeline,
                at: switch.at,
                end: self.last_lsn()?,
            });
        }
        // None of what is cut is left to be changed, as at most starts.
        let has_any = !(cut.segments.is_empty() && cut.bases.is_empty() && cut.sets.is_empty());
        let _readers = match self.path.parent().filter(|_| has_any) {
            Some(database) => exclusive_within(database, FOR_READERS)?,
            None => None,
        };
        // To find it may have taken long: all of it is read.
        ensure_held()?;
        if has_any {
            cut.complete_manifest(self)?;
        }
        let lost = match begun {
            Some(lost) => Some(lost),
            None => Lost::set_apart(self, switch, &cut)?,
        };
        pass("switch: set apart").map_err(Error::io("write", &self.path))?;
        ensure_held()?;
        cut.shorten_open(self)?;
        ensure_held()?;
        cut.replace_closed(self)?;
        pass("switch: marked").map_err(Error::io("write", &self.path))?;
        ensure_held()?;
        cut.remove(self, lost.as_ref())?;
        match lost.filter(|lost| lost.transactions > 0) {
            Some(lost) => Err(lost.into_error(self)),
            None => Ok(()),
        }
    }
}

impl Cut {
    fn find(chain: &ChainDir, switch: Switch) -> Result<Cut> {
        let mut cut = Cut {
            segments: Vec::new(),
            before: None,
            bases: chain.bases()?,
            sets: chain.globals_sets()?,
        };
        cut.bases.retain(|base| base.lsn > switch.at);
        cut.sets.retain(|set| set.lsn > switch.at);
        let segments = chain.segments()?;
        for (position, (name, stored)) in segments.iter().enumerate().rev() {
            if let Some(behind) = Behind::look(chain, *name, *stored, switch)? {
                cut.segments.insert(0, behind);
                continue;
            }
            cut.before = cut.before.or(Some(*name));
            // A crash may have left a shortened one behind the one that it replaces.
            let earlier = position.checked_sub(1).map(|before| segments[before].0);
            if earlier.is_none_or(|earlier| earlier.start_lsn != name.start_lsn) {
                break;
            }
        }
        Ok(cut)
    }

    pub fn transactions(&self) -> impl Iterator<Item = &LostTransaction> {
        self.segments.iter().flat_map(|segment| &segment.lost)
    }

    /// Gives each file its line, in which it is marked. A copy may have files that its manifest did not list yet.
    fn complete_manifest(&self, chain: &ChainDir) -> Result<()> {
        base::complete_manifest(chain, &mut || {})?;
        manifest::append_missing(
            chain,
            chain.globals_sets()?,
            |set| globals::file_of(*set),
            |set| globals::entry_of_set(chain, *set),
            &mut || {},
        )?;
        // One that was shortened before a crash is listed when what it replaces is marked.
        let is_shortened = |name: SegmentName| {
            self.closed()
                .any(|behind| behind.name != name && behind.name.start_lsn == name.start_lsn)
                && self.before == Some(name)
        };
        let segments = chain.segments()?.into_iter();
        manifest::append_missing(
            chain,
            segments.filter(|(name, stored)| *stored != Stored::Partial && !is_shortened(*name)),
            |(name, _)| Entry::segment_file(*name),
            |(name, stored)| manifest_line::read_line(chain, *name, *stored),
            &mut || {},
        )
    }

    fn shorten_open(&self, chain: &ChainDir) -> Result<()> {
        let open = |behind: &&Behind| behind.stored == Stored::Partial;
        for behind in self.segments.iter().filter(open) {
            let path = chain.segment_path(behind.name, behind.stored);
            match behind.whole {
                0 => durable::remove_if_there(&path)?,
                whole => {
                    let whole = durable::open_to_read(&path)?.take(whole);
                    durable::copy_atomically(&path, whole)?;
                }
            }
        }
        Ok(())
    }

    fn closed(&self) -> impl Iterator<Item = &Behind> {
        self.segments
            .iter()
            .filter(|behind| behind.stored != Stored::Partial)
    }

    fn replace_closed(&self, chain: &ChainDir) -> Result<()> {
        let mut files: HashSet<String> = self
            .closed()
            .map(|behind| Entry::segment_file(behind.name))
            .collect();
        files.extend(self.bases.iter().map(|base| base::file_of(*base)));
        files.extend(self.sets.iter().map(|set| globals::file_of(*set)));
        if files.is_empty() {
            return Ok(());
        }
        manifest::replace(chain, &files, time::now(), || {
            let shortened = |behind: &&Behind| behind.tally.end_lsn > behind.name.start_lsn;
            let Some(behind) = self.closed().find(shortened) else {
                return Ok(None);
            };
            // Published before a crash.
            let before = self.before.filter(|b| b.start_lsn == behind.name.start_lsn);
            let name = match before {
                Some(name) => name,
                None => behind.shorten(chain)?,
            };
            pass("switch: shortened").map_err(Error::io("write", &chain.path))?;
            manifest_line::read_line(chain, name, Stored::Plain).map(Some)
        })
    }

    fn remove(&self, chain: &ChainDir, lost: Option<&Lost>) -> Result<()> {
        let names: HashSet<SegmentName> = self.closed().map(|behind| behind.name).collect();
        for (name, stored) in chain.stored_segments()? {
            if stored != Stored::Partial && names.contains(&name) {
                let path = chain.segment_path(name, stored);
                pass("switch: remove").map_err(Error::io("remove", &path))?;
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        if !names.is_empty() {
            durable::fsync_dir(&chain.incremental())?;
        }
        for name in names {
            // Some have none, and what has none needs no directory.
            if chain.index(name).symlink_metadata().is_ok() {
                durable::remove_if_there(&chain.index(name))?;
            }
        }
        if let Some(lost) = lost {
            for base in &self.bases {
                lost.take(chain, &base::path_of(chain, *base), &base::file_of(*base))?;
            }
            for set in &self.sets {
                let path = globals::path_of(chain, *set);
                lost.take(chain, &path, &globals::file_of(*set))?;
            }
        }
        pins::remove(chain, &self.bases).map(|_| ())
    }
}

impl Behind {
    /// Reads a segment; `None` if nothing in it is behind the switch, or it is of a timeline that was begun there.
    fn look(
        chain: &ChainDir,
        name: SegmentName,
        stored: Stored,
        switch: Switch,
    ) -> Result<Option<Behind>> {
        let at = switch.at;
        let path = chain.segment_path(name, stored);
        let mut scanner = Scanner::new(source::open(&path, stored)?);
        let mut behind = Behind {
            name,
            stored,
            header: None,
            key: None,
            whole: 0,
            tally: Tally {
                end_lsn: name.start_lsn,
                ..Tally::default()
            },
            lost: Vec::new(),
        };
        let mut is_behind = name.start_lsn > at;
        let mut open = None;
        while let Some(event) = scanner.next_event().map_err(Error::io("read", &path))? {
            match event {
                Event::Header(header) if header.timeline > switch.timeline => return Ok(None),
                Event::Header(header) => behind.header = Some(*header),
                Event::Transaction {
                    xid,
                    commit_lsn,
                    commit_time,
                    ..
                } => {
                    is_behind |= commit_lsn > at;
                    open = Some((xid, commit_lsn, commit_time));
                }
                Event::End { statements, .. } => match open.take() {
                    Some((xid, lsn, at)) if is_behind => behind.lost.push(LostTransaction {
                        xid,
                        lsn,
                        at,
                        statements,
                    }),
                    Some((xid, lsn, at)) => behind.tally.add(xid, lsn, at, statements),
                    None => {}
                },
                Event::Position { lsn, .. } => {
                    is_behind |= lsn > at;
                    if !is_behind {
                        behind.tally.end_lsn = lsn;
                    }
                }
                Event::Sequences { lsn, .. } => is_behind |= lsn > at,
                _ => {}
            }
            if !is_behind {
                behind.whole = scanner.complete_offset();
            }
        }
        behind.key = scanner.key();
        Ok(is_behind.then_some(behind))
    }

    /// Publishes what is before the switch as a closed segment of its own.
    fn shorten(&self, chain: &ChainDir) -> Result<SegmentName> {
        let path = chain.segment_path(self.name, self.stored);
        let (Some(header), Some(key)) = (&self.header, self.key) else {
            return Err(Error::damaged(
                &path,
                0,
                "a closed segment without a header",
            ));
        };
        // Two names must differ, in seconds.
        let later = header.opened_at + chrono::TimeDelta::seconds(1);
        let header = Header {
            opened_at: time::now().max(later),
            ..header.clone()
        };
        let mut input = BufReader::new(source::open(&path, self.stored)?);
        let mut lines = Vec::new();
        let read = Error::io("read", &path);
        let magic = input
            .read_until(b'\n', &mut lines)
            .and_then(|magic| input.read_until(b'\n', &mut lines).map(|_| magic))
            .map_err(read)?;
        let rest = input.take(self.whole.saturating_sub(lines.len() as u64));
        let comment = header.comment(key);
        lines.truncate(magic);
        lines.extend_from_slice(comment.as_bytes());
        let footer = self.tally.footer().write(key).into_bytes();
        let content = Cursor::new(lines).chain(rest).chain(Cursor::new(footer));
        let name = header.name();
        durable::copy_atomically(&chain.segment_path(name, Stored::Plain), content)?;
        Ok(name)
    }
}
