//! The end of a chain that grows: what is new there is checked, as all that a restore reads, and planned.
//!
//! An open segment is read on where the look before has ended; once it is closed, it is read as a whole, against its
//! checksum. A transaction that is still being written is none. Whatever was listed may have been closed, compressed or
//! removed when it is read: whoever gets an error looks again.
//!
//! What was read may be in the chain no more: a server that was promoted goes on in it, and has cut off what is not in its
//! history. Then nothing that was read counts, whether it is applied or not: whoever follows begins a new look behind the
//! last commit that is applied.

mod behind;
mod read;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use archive::layout::chain::ChainInfo;
use archive::layout::names::{BASE, CHAIN_JSON, GLOBALS, INCREMENTAL};
use archive::layout::{GlobalsName, SegmentName, Stored};
use archive::segment::Previous;
use archive::storage::{self, Storage};
use archive::time::Time;
use archive::verify::Sealed;
use archive::Lsn;
use archive_query::catalog::{Base, Catalog, Chain, Globals, Segment};

use super::base::ensure_sealed;
use super::choice::Choice;
use super::moment::Moment;
use super::segment::LostHere;
use super::{Planned, Wish};
use crate::error::{Error, Result};
pub use behind::Behind;

/// An unfinished transaction of this size is not looked at again before it has grown by a quarter.
const LONG: u64 = 16 << 20;

/// How far a chain is known.
pub struct Tail {
    pub chain: Chain,
    base: Base,
    /// Checked, and not applied yet; the first one maybe in part.
    waiting: VecDeque<Planned>,
    /// The last segment that was looked at.
    at: Option<SegmentName>,
    open: Option<Open>,
    /// The end of the last closed one, and what the next one says of it.
    before: Option<(Lsn, Previous)>,
    /// Files and their sizes, but for that of the open segment.
    listed: Vec<(String, u64)>,
    /// The last commit or position.
    pub end_lsn: Lsn,
    /// All that was committed up to then is in the files.
    pub end_at: Option<Time>,
    /// When the first transaction committed that is not applied, as far as it is known.
    pub oldest: Option<Time>,
    /// What is lost, each object once.
    pub lost: Vec<LostHere>,
    /// A closed segment that the manifest does not list is read although it may be one that is being copied.
    pub takes_unlisted: bool,
    /// A newer chain of the archive.
    pub newer: Option<u32>,
    /// The header of a segment says that its history had left the base's timeline before the base.
    is_left: bool,
    /// What was read is not what is there now: this look is of no use any more.
    pub is_rewritten: bool,
}

/// An open segment, as far as it was read.
struct Open {
    name: SegmentName,
    /// Of the file, when it was read.
    size: u64,
    behind: Option<Arc<Behind>>,
}

/// What is to be applied at once, and where the end of it is.
pub struct Round {
    pub segments: Vec<Planned>,
    end: Option<Arc<Behind>>,
}

impl Tail {
    /// Of a chain, behind the commit `last`; from the base on if nothing was applied.
    pub fn new(
        storage: &dyn Storage,
        chain: Chain,
        base: Base,
        last: Option<Lsn>,
        lost: Vec<LostHere>,
    ) -> Result<Tail> {
        let mut tail = Tail {
            end_lsn: last.unwrap_or(base.metadata.lsn),
            chain,
            base,
            waiting: VecDeque::new(),
            at: None,
            open: None,
            before: None,
            listed: Vec::new(),
            end_at: None,
            oldest: None,
            lost,
            takes_unlisted: false,
            newer: None,
            is_left: false,
            is_rewritten: false,
        };
        tail.look(storage)?;
        if tail.lost_base().is_some() {
            return Ok(tail);
        }
        let segments = &tail.chain.segments;
        tail.at = match last {
            Some(last) => {
                let first = segments.iter().rev().find(|it| it.start_lsn() <= last);
                Some(first.ok_or_else(|| tail.gone(last))?.name)
            }
            None => tail.first(storage)?,
        };
        Ok(tail)
    }

    /// Where the base is that the copy was made of, if that was set apart. Nothing of the chain can be applied to it: LSNs and
    /// transaction ids behind the switch of the timeline mean something else in the history of the server that goes on.
    pub fn lost_base(&self) -> Option<Lsn> {
        let is_lost = self.is_left || self.chain.lost_bases.contains(&self.base.name);
        is_lost.then_some(self.base.metadata.lsn)
    }

    /// The first segment that may have something that the base does not.
    fn first(&self, storage: &dyn Storage) -> Result<Option<SegmentName>> {
        let wish = Wish {
            moment: Moment::Newest,
            chain: None,
            base: None,
            allow_earlier: false,
            seen: None,
            is_part: false,
        };
        let choice = Choice {
            storage,
            chain: &self.chain,
            wish: &wish,
            warnings: Vec::new(),
        };
        let first = choice.first_segment(&self.base)?;
        Ok(first.map(|(at, _)| self.chain.segments[at].name))
    }

    fn gone(&self, last: Lsn) -> Error {
        let number = self.chain.number;
        let message = format!(
            "the segments of chain-{number} behind {last}, up to which everything is applied, are not in the archive any more"
        );
        let hint = "Retention has removed them (pg_incrbackup.keep_incremental), or this copy of the archive has a gap. \
            Drop the database, and the same command begins anew from the newest base.";
        Error::no_such_moment(message, hint)
    }

    /// What was read is there no more. Retention takes what is old: the new look finds that out.
    fn rewritten(&mut self) -> Error {
        self.is_rewritten = true;
        let message = format!(
            "the end of chain-{}, as it was read, is in the archive no more",
            self.chain.number
        );
        Error::failed(message, "")
    }

    /// Looks for what is new, and checks it.
    pub fn refresh(&mut self, storage: &dyn Storage) -> Result<()> {
        self.look(storage)?;
        if self.lost_base().is_some() {
            // What was read before is of that history, too.
            if !self.waiting.is_empty() {
                return Err(self.rewritten());
            }
            return Ok(());
        }
        let at = self.at;
        let news: Vec<Segment> = self
            .chain
            .segments
            .iter()
            .filter(|segment| at.is_none_or(|at| segment.name >= at))
            .cloned()
            .collect();
        if let (Some(open), Some(first)) = (&self.open, news.first()) {
            // One that was only just begun may go when capture begins again.
            if open.name != first.name && open.behind.is_some() {
                return Err(self.rewritten());
            }
        }
        let has_read =
            self.before.is_some() || self.open.as_ref().is_some_and(|it| it.behind.is_some());
        if news.is_empty() && has_read {
            return Err(self.rewritten());
        }
        // What was begun, and has nothing yet, may go.
        let is_there = |planned: &Planned| {
            let name = planned.segment.name;
            let is_begun = self
                .open
                .as_ref()
                .is_some_and(|open| open.name == name && open.behind.is_none());
            !is_begun || news.iter().any(|segment| segment.name == name)
        };
        self.waiting.retain(is_there);
        if let (Some((end, _)), Some(first), None) = (&self.before, news.first(), &self.open) {
            if Some(first.name) != at && first.start_lsn() != *end {
                return Err(self.rewritten());
            }
        }
        for segment in &news {
            let is_checked =
                Some(segment.name) == at && self.open.is_none() && self.before.is_some();
            let is_open = segment.stored == Stored::Partial;
            // In a copy the manifest comes after the files that it lists.
            let is_last = news.last().map(|last| last.name) == Some(segment.name);
            if !is_open && is_last && segment.entry.is_none() && !self.takes_unlisted {
                break;
            }
            if is_open {
                self.grow(storage, segment)?;
            } else if !is_checked {
                self.close(storage, segment)?;
            }
            if self.is_left {
                self.waiting.clear();
                break;
            }
            self.at = Some(segment.name);
        }
        Ok(())
    }

    /// What is listed now. A list of files is cheap (it grows with their number, as a look at it does with each interval); the
    /// catalog is only read again where it has changed.
    fn look(&mut self, storage: &dyn Storage) -> Result<()> {
        // First, and not from a list that was read before: nothing is written behind the end of a chain.
        let file = self.chain.file(CHAIN_JSON);
        let number = self.chain.number;
        let Some(text) = storage::read(storage, &file)? else {
            let message = format!(
                "chain-{number}, which is followed, has gone from {}",
                storage.place("")
            );
            return Err(Error::no_such_moment(
                message,
                "Drop the database, and the same command begins anew.",
            ));
        };
        let info = ChainInfo::parse(&text, Path::new(&storage.place(&file)))?;
        let is_same = |other: &ChainInfo| {
            (other.system_identifier, other.slot_start_lsn)
                == (
                    self.chain.info.system_identifier,
                    self.chain.info.slot_start_lsn,
                )
        };
        if !is_same(&info) {
            let message = format!(
                "chain-{number} of {} is another one than was followed",
                storage.place("")
            );
            return Err(Error::no_such_moment(message, "Name the archive that was followed; or drop the database, and the same command begins anew."));
        }
        self.chain.info = info;
        let mut listed = Vec::new();
        let below = [INCREMENTAL, GLOBALS, BASE].map(|room| self.chain.file(room));
        let rooms = [String::new(), archive::layout::names::chain_name(number)];
        for room in rooms.into_iter().chain(below) {
            for item in storage.list(&room)? {
                let is_open = item.name.ends_with(".partial");
                let size = if is_open { 0 } else { item.size };
                listed.push((format!("{room}/{}", item.name), size));
            }
        }
        if listed != self.listed {
            let (catalog, damage) = Catalog::read_sound(storage)?;
            self.newer = catalog
                .chains
                .iter()
                .map(|chain| chain.number)
                .max()
                .filter(|newest| *newest > number);
            let chain = catalog
                .chains
                .into_iter()
                .find(|chain| chain.number == number);
            let Some(chain) = chain else {
                return Err(damage
                    .into_iter()
                    .next()
                    .map_or_else(|| self.gone(self.end_lsn), Error::from));
            };
            self.chain = chain;
            self.listed = listed;
            return Ok(());
        }
        // Only the size of the open one has changed.
        if let Some(open) = self
            .chain
            .segments
            .last_mut()
            .filter(|it| it.stored == Stored::Partial)
        {
            let file = format!("chain-{number}/{}", open.file());
            open.size = storage.size(&file)?.unwrap_or(open.size);
        }
        Ok(())
    }

    fn plan(&mut self, segment: &Segment, complete: u64) {
        let last = self
            .waiting
            .back_mut()
            .filter(|last| last.segment.name == segment.name);
        match last {
            Some(last) => {
                last.segment = segment.clone();
                last.complete = complete;
            }
            None => self.waiting.push_back(Planned {
                segment: segment.clone(),
                complete,
                outline: None,
                from: None,
            }),
        }
    }

    /// What is checked, and not applied; `None` if all is.
    pub fn round(&self) -> Option<Round> {
        let is_new = |planned: &&Planned| planned.new_bytes() > 0;
        let segments: Vec<Planned> = self.waiting.iter().filter(is_new).cloned().collect();
        let last = segments.last()?.segment.name;
        let open = self.open.as_ref().filter(|open| open.name == last);
        let end = open.and_then(|open| open.behind.clone());
        Some(Round { segments, end })
    }

    /// All of a round is applied.
    pub fn applied(&mut self, round: &Round) {
        let Some(last) = round.segments.last() else {
            return;
        };
        self.oldest = None;
        let name = last.segment.name;
        self.waiting.retain(|planned| planned.segment.name >= name);
        let Some(planned) = self
            .waiting
            .front_mut()
            .filter(|it| it.segment.name == name)
        else {
            return;
        };
        if let Some(end) = &round.end {
            planned.from = Some(Arc::clone(end));
        } else if planned.segment.stored != Stored::Partial && planned.complete == last.complete {
            self.waiting.pop_front();
            return;
        }
        if planned.segment.stored != Stored::Partial && planned.new_bytes() == 0 {
            self.waiting.pop_front();
        }
    }

    /// Bytes of the uncompressed text that are not applied.
    pub fn behind_bytes(&self) -> u64 {
        self.waiting.iter().map(Planned::new_bytes).sum()
    }

    /// Sets of globals behind this one, or behind the base, that are finished; checked.
    pub fn globals(
        &self,
        storage: &dyn Storage,
        last: Option<GlobalsName>,
    ) -> Result<Vec<Globals>> {
        let sets: Vec<Globals> = self.later_globals(last).cloned().collect();
        for set in &sets {
            let directory = self.chain.file(&set.directory());
            let sealed = Sealed::globals(storage, &directory, set.name, &mut || {});
            ensure_sealed(storage, &directory, sealed, set.entry.as_ref())?;
        }
        Ok(sets)
    }

    /// Whether there are such ones.
    pub fn has_globals(&self, last: Option<GlobalsName>) -> bool {
        self.later_globals(last).next().is_some()
    }

    fn later_globals(&self, last: Option<GlobalsName>) -> impl Iterator<Item = &Globals> {
        let base = self.base.metadata.lsn;
        let sets = self.chain.globals.iter().filter(|set| set.entry.is_some());
        sets.filter(move |set| match last {
            Some(last) => set.name > last,
            None => set.name.lsn > base,
        })
    }
}

impl Planned {
    /// Bytes that are to be read.
    fn new_bytes(&self) -> u64 {
        let from = self.from.as_ref().map_or(0, |from| from.standing.offset());
        self.complete.saturating_sub(from)
    }
}
