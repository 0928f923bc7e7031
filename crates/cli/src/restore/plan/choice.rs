//! Chooses chain, base and segments for a moment.

use archive::layout::{BaseName, Stored};
use archive::segment::Previous;
use archive::storage::Storage;
use archive::time::{iso, Time};
use archive::Lsn;
use archive_query::catalog::{Base, Catalog, Chain, Extent, Globals, Segment};

use super::base::ensure_sealed;
use super::moment::Moment;
use super::segment::{self, Facts, Found, LostHere, Needs};
use super::{Figures, Plan};
use crate::error::{Error, Result};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub moment: Moment,
    pub chain: Option<u32>,
    pub base: Option<BaseName>,
    /// Where the archive ends before the moment, its end will do.
    pub allow_earlier: bool,
}

/// The end of a chain's files.
struct End {
    lsn: Lsn,
    /// All that was committed up to then is in them.
    at: Option<Time>,
}

/// Makes the plan; reads and checks all that a restore will read.
pub fn choose(storage: &dyn Storage, catalog: &Catalog, wish: &Wish) -> Result<Plan> {
    let (chain, newer) = chain_of(storage, catalog, wish)?;
    let mut choice = Choice {
        storage,
        chain,
        wish,
        warnings: Vec::new(),
    };
    let base = choice.base(newer)?;
    choice.plan(base, newer)
}

/// The newest chain that reaches the moment, else the newest with a base before it; and the newest that was passed over
/// because it has none.
fn chain_of<'a>(
    storage: &dyn Storage,
    catalog: &'a Catalog,
    wish: &Wish,
) -> Result<(&'a Chain, Option<u32>)> {
    let chains: Vec<&Chain> = catalog
        .chains
        .iter()
        .rev()
        .filter(|chain| wish.chain.is_none_or(|number| chain.number == number))
        .collect();
    let Some(newest) = chains.first() else {
        let message = match wish.chain {
            Some(number) => format!("there is no chain-{number} in {}", storage.place("")),
            None => format!("there is no chain in {}", storage.place("")),
        };
        let hint = "Retention removes a chain when nothing of it is kept; pg_incrbackup info shows those there are.";
        return Err(Error::no_such_moment(message, hint));
    };
    let (mut nearest, mut newer) = (None, None);
    for chain in &chains {
        if wish.moment.is_of_transaction() && !holds_transaction(storage, chain, wish)? {
            continue;
        }
        if latest_base(chain, wish).is_none() {
            newer = newer.or(nearest.is_none().then_some(chain.number));
            continue;
        }
        nearest = nearest.or(Some(*chain));
        if !reaches(storage, chain, wish)? {
            continue;
        }
        let others = chains.iter().filter(|other| other.number < chain.number);
        if let Moment::Lsn(lsn) = wish.moment {
            for other in others {
                if latest_base(other, wish).is_some() && reaches(storage, other, wish)? {
                    let (one, two) = (chain.number, other.number);
                    let message = format!("both chain-{two} and chain-{one} hold {lsn}");
                    return Err(Error::wrong_use(message, "Choose one with --chain N."));
                }
            }
        }
        return Ok((chain, newer));
    }
    match nearest {
        Some(chain) => Ok((chain, newer)),
        None if wish.moment.is_of_transaction() && newer.is_none() => {
            let message = format!("{} is not in the segments of any chain", said(&wish.moment));
            let hint =
                "Retention may have removed its segment; pg_incrbackup info shows what is there.";
            Err(Error::no_such_moment(message, hint))
        }
        None => Ok((newest, None)),
    }
}

fn holds_transaction(storage: &dyn Storage, chain: &Chain, wish: &Wish) -> Result<bool> {
    let mut found = Found::default();
    for segment in &chain.segments {
        let needs = &mut Needs::default();
        found = segment::read(storage, chain, segment, &wish.moment, found, needs)?.found;
        if found.is_there {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The newest base that is not after the moment, as far as its LSN and its time tell.
fn latest_base<'a>(chain: &'a Chain, wish: &Wish) -> Option<&'a Base> {
    let serves = |base: &&Base| {
        let is_early_enough = match wish.moment {
            Moment::Lsn(lsn) => base.metadata.lsn <= lsn,
            Moment::Time(time) => base.metadata.taken_at <= time,
            Moment::Newest | Moment::Xid(_) | Moment::BeforeXid(_) => true,
        };
        is_early_enough
            && match &wish.base {
                Some(name) => base.name == *name,
                None => chain.is_listed(base),
            }
    };
    chain.bases.iter().rev().find(serves)
}

fn end_of(storage: &dyn Storage, chain: &Chain) -> Result<Option<End>> {
    let mut end: Option<End> = None;
    for segment in chain.segments.iter().rev() {
        let Some(extent) = Extent::of(storage, chain, segment)? else {
            continue;
        };
        let lsn = end.map_or(extent.end_lsn, |end| end.lsn);
        end = Some(End {
            lsn,
            at: extent.latest,
        });
        if extent.latest.is_some() {
            break;
        }
    }
    Ok(end)
}

fn reaches(storage: &dyn Storage, chain: &Chain, wish: &Wish) -> Result<bool> {
    let base = latest_base(chain, wish);
    let taken = base.map(|base| (base.metadata.lsn, base.metadata.taken_at));
    let end = end_of(storage, chain)?;
    let at = end.as_ref().and_then(|end| end.at);
    Ok(match wish.moment {
        Moment::Lsn(lsn) => end.map(|end| end.lsn).max(taken.map(|(lsn, _)| lsn)) >= Some(lsn),
        Moment::Time(time) => at.max(taken.map(|(_, at)| at)) >= Some(time),
        Moment::Newest | Moment::Xid(_) | Moment::BeforeXid(_) => true,
    })
}

/// A moment in words.
pub fn said(moment: &Moment) -> String {
    match moment {
        Moment::Newest => "the newest moment".to_owned(),
        Moment::Time(time) => iso(*time),
        Moment::Lsn(lsn) => lsn.to_string(),
        Moment::Xid(xid) => format!("transaction {xid}"),
        Moment::BeforeXid(xid) => format!("the moment before transaction {xid}"),
    }
}

/// The choice within one chain.
struct Choice<'a> {
    storage: &'a dyn Storage,
    chain: &'a Chain,
    wish: &'a Wish,
    warnings: Vec<String>,
}

/// What the pass over the segments has found.
struct Passed {
    use_segments: Vec<Segment>,
    needs: Needs,
    found: Found,
    end_lsn: Lsn,
    latest: Time,
    figures: Figures,
}

impl Choice<'_> {
    fn base(&mut self, newer: Option<u32>) -> Result<Base> {
        let number = self.chain.number;
        let Some(base) = latest_base(self.chain, self.wish) else {
            let named = self
                .wish
                .base
                .map_or_else(String::new, |name| format!(" {name}"));
            let moment = said(&self.wish.moment);
            let message = format!("chain-{number} has no base{named} at or before {moment}");
            let hint = match self.chain.bases.first() {
                Some(oldest) => format!(
                    "The oldest one that is left is {} of {}.",
                    oldest.name,
                    iso(oldest.metadata.taken_at)
                ),
                None => "It has no finished base at all.".to_owned(),
            };
            return Err(Error::no_such_moment(message, hint));
        };
        let newest = self.chain.bases.iter().rev().find(|b| b.name >= base.name);
        if let Some(passed_over) = newest.filter(|newest| newest.name > base.name) {
            if self.wish.base.is_none() && !self.chain.is_listed(passed_over) {
                let name = passed_over.name;
                self.warnings.push(format!(
                    "the manifest of chain-{number} does not list base {name}: it is passed over"
                ));
            }
        }
        if base.entry.is_none() {
            let name = base.name;
            self.warnings.push(format!(
                "the manifest of chain-{number} does not list base {name}: it is used all the same"
            ));
        }
        if let Some(newer) = newer {
            self.warnings.push(format!(
                "chain-{newer}, which came later, has no base as early"
            ));
        }
        Ok(base.clone())
    }

    fn plan(mut self, base: Base, newer: Option<u32>) -> Result<Plan> {
        let storage = self.storage;
        let directory = self.chain.file(&base.directory());
        let listed = base.entry.as_ref().map(|entry| entry.sha256.as_str());
        let base_bytes = ensure_sealed(storage, &directory, listed)?;
        let first = self.first_segment(&base)?;
        let is_alone = self.is_alone(&base, first)?;
        let mut passed = match (first, is_alone) {
            (Some(first), false) => self.pass(&base, first)?,
            _ => Passed {
                use_segments: Vec::new(),
                needs: Needs::default(),
                found: Found::default(),
                end_lsn: base.metadata.lsn,
                latest: base.metadata.taken_at,
                figures: Figures::default(),
            },
        };
        passed.figures.base_bytes = base_bytes;
        let remark = self.ensure_reached(&base, &passed, newer)?;
        let upto = match self.wish.moment {
            _ if is_alone => base.metadata.lsn,
            Moment::Newest => Lsn(u64::MAX),
            Moment::Lsn(lsn) => lsn,
            // The last commit not after it; what commits next must not be in the base.
            Moment::Time(_) => {
                if passed
                    .found
                    .beyond
                    .is_some_and(|beyond| beyond <= base.metadata.lsn)
                {
                    let message = "the base contains transactions of a later commit time";
                    return Err(Error::wrong_use(message, "Name an older base with --base."));
                }
                passed.found.last.unwrap_or(Lsn(0))
            }
            Moment::Xid(_) | Moment::BeforeXid(_) => passed.found.last.unwrap_or(Lsn(0)),
        };
        if self.wish.moment.is_of_transaction() && upto < base.metadata.lsn {
            let moment = said(&self.wish.moment);
            let message = format!("base {} is after {moment}", base.name);
            return Err(Error::wrong_use(message, "Name an older base with --base."));
        }
        let (first_globals, later_globals) = self.globals(&base, upto, passed.found)?;
        passed
            .needs
            .lost
            .retain(|lost| lost.lsn <= upto && !base.metadata.snapshot.sees(lost.xid));
        passed.figures.until = Some(passed.latest);
        Ok(Plan {
            chain: self.chain.clone(),
            lost: each_once(&passed.needs.lost),
            base,
            segments: passed.use_segments,
            upto,
            first_globals,
            later_globals,
            needs: passed.needs,
            figures: passed.figures,
            remark,
            warnings: self.warnings,
        })
    }

    /// The last segment that was opened before any transaction from the snapshot's xmin on was written; the first of
    /// the chain if none is that old. What an open segment says of itself is covered by no checksum.
    fn first_segment(&self, base: &Base) -> Result<Option<(usize, u64)>> {
        let xmin = base.metadata.snapshot.xmin;
        let mut first = None;
        for (at, segment) in self.chain.segments.iter().enumerate() {
            let is_open = segment.stored == Stored::Partial;
            if is_open && first.is_some() {
                break;
            }
            let next_xid = match segment.entry.as_ref().and_then(|entry| entry.next_xid) {
                Some(next_xid) => next_xid,
                None => match Extent::of(self.storage, self.chain, segment)? {
                    Some(extent) => extent.next_xid,
                    None if is_open => break,
                    None => {
                        let place = self.storage.place(&self.chain.file(&segment.file()));
                        let why = format!("{place} is damaged: its header cannot be parsed");
                        return Err(Error::damaged(why));
                    }
                },
            };
            if first.is_some() && next_xid > xmin {
                break;
            }
            first = Some((at, next_xid));
        }
        Ok(first)
    }

    /// Whether retention has removed the segments after this base: it is a single point then.
    fn is_alone(&self, base: &Base, first: Option<(usize, u64)>) -> Result<bool> {
        let Some(expired) = &self.chain.last_expired else {
            return Ok(false);
        };
        let xmin = base.metadata.snapshot.xmin;
        let joins = first.is_some_and(|(at, next_xid)| {
            next_xid <= xmin || self.chain.segments[at].start_lsn() != expired.end_lsn
        });
        if joins {
            return Ok(false);
        }
        if self.wish.base.is_some() && self.wish.moment == Moment::Newest {
            return Ok(true);
        }
        let (number, name) = (self.chain.number, base.name);
        let message = format!(
            "retention has removed the segments of chain-{number} before {}: base {name} can only be restored as of \
             {}, when it was taken",
            expired.end_lsn,
            iso(base.metadata.taken_at)
        );
        let later = self.chain.bases.iter().find(|later| {
            first.is_some_and(|(_, next_xid)| later.metadata.snapshot.xmin >= next_xid)
        });
        let from = later.map_or_else(String::new, |later| {
            format!(
                " Every moment from {} ({}) on can be restored.",
                iso(later.metadata.taken_at),
                later.metadata.lsn
            )
        });
        let hint = format!("--base {name}, without --until-…, restores that moment.{from}");
        Err(Error::no_such_moment(message, hint))
    }

    /// Reads the segments from the first on, up to the moment.
    fn pass(&self, base: &Base, (first, _): (usize, u64)) -> Result<Passed> {
        let mut passed = Passed {
            use_segments: Vec::new(),
            needs: Needs::default(),
            found: Found::default(),
            end_lsn: Lsn(0),
            latest: base.metadata.taken_at,
            figures: Figures::default(),
        };
        let mut before: Option<(Lsn, Previous)> = None;
        for segment in &self.chain.segments[first..] {
            let moment = &self.wish.moment;
            let (storage, needs) = (self.storage, &mut passed.needs);
            let facts = segment::read(storage, self.chain, segment, moment, passed.found, needs)?;
            let Some(header) = &facts.header else {
                match segment.stored {
                    // Torn before its first transaction.
                    Stored::Partial => break,
                    _ => return Err(self.unreadable(segment, &facts)),
                }
            };
            facts.ensure_whole(storage, &self.chain.file(&segment.file()), segment.stored)?;
            self.ensure_joins(base, segment, &facts, before.as_ref())?;
            if matches!(moment, Moment::Time(_)) && facts.is_timeless {
                let place = storage.place(&self.chain.file(&segment.file()));
                let message = format!("{place} has transactions without a commit time");
                let hint = "track_commit_timestamp was off: use --until-lsn.";
                return Err(Error::wrong_use(message, hint));
            }
            passed.found = facts.found;
            passed.end_lsn = facts.end_lsn;
            passed.latest = facts
                .latest
                .map_or(passed.latest, |at| at.max(passed.latest));
            passed.figures.transactions += facts.transactions;
            passed.figures.statements += facts.statements;
            // One that starts at the moment or later is only needed to check the one before.
            let is_behind = match moment {
                Moment::Lsn(upto) => *upto <= header.start_lsn,
                _ => false,
            };
            let previous = Previous {
                file: segment.name.file(Stored::Plain),
                sha256: facts.sha256.clone(),
            };
            before = Some((facts.end_lsn, previous));
            if is_behind {
                break;
            }
            passed.figures.segment_bytes += facts.bytes;
            passed.use_segments.push(segment.clone());
            if moment.is_of_transaction() && facts.found.is_there {
                break;
            }
        }
        passed.end_lsn = passed.end_lsn.max(base.metadata.lsn);
        Ok(passed)
    }

    fn unreadable(&self, segment: &Segment, facts: &Facts) -> Error {
        let place = self.storage.place(&self.chain.file(&segment.file()));
        let why = facts.torn.as_ref().map_or("it is empty", |(_, why)| why);
        Error::damaged(format!("{place} is damaged: {why}"))
    }

    /// A segment's facts against its name, its checksum and the one before.
    fn ensure_joins(
        &self,
        base: &Base,
        segment: &Segment,
        facts: &Facts,
        before: Option<&(Lsn, Previous)>,
    ) -> Result<()> {
        let place = self.storage.place(&self.chain.file(&segment.file()));
        let damaged = |why: String| Err(Error::damaged(why));
        let header = facts.header.as_ref().expect("a caller has looked");
        if header.start_lsn != segment.start_lsn() {
            return damaged(format!("{place} does not start where its name says"));
        }
        let listed = segment.entry.as_ref();
        if listed.is_some_and(|entry| entry.sha256 != facts.sha256) {
            return damaged(format!(
                "{place} is damaged: its checksum does not match the manifest"
            ));
        }
        let Some((end, previous)) = before else {
            if header.next_xid > base.metadata.snapshot.xmin && header.previous.is_some() {
                return damaged(format!(
                    "segments before {place} that the base needs are missing"
                ));
            }
            return self.ensure_follows_listed(segment, header.previous.as_ref(), &place);
        };
        if header.start_lsn != *end {
            let (start, file) = (header.start_lsn, &previous.file);
            return damaged(format!("{place} starts at {start}, {file} ends at {end}"));
        }
        if header.previous.as_ref() != Some(previous) {
            let file = &previous.file;
            return damaged(format!(
                "{file} is damaged, or is not the segment before {place}"
            ));
        }
        Ok(())
    }

    /// A first segment without a line, the open one or one whose line a crash has lost, must follow the last that is
    /// listed.
    fn ensure_follows_listed(
        &self,
        segment: &Segment,
        previous: Option<&Previous>,
        place: &str,
    ) -> Result<()> {
        let listed = self.chain.segments.iter().rev().find(|s| s.entry.is_some());
        let Some(listed) = listed.filter(|_| segment.entry.is_none()) else {
            return Ok(());
        };
        let sha256 = listed.entry.as_ref().map(|entry| entry.sha256.clone());
        let last = Previous {
            file: listed.name.file(Stored::Plain),
            sha256: sha256.unwrap_or_default(),
        };
        if segment.name > listed.name && previous != Some(&last) {
            let why = format!(
                "{place} is not in the manifest, and does not follow the last segment that is"
            );
            return Err(Error::damaged(why));
        }
        Ok(())
    }

    /// An older state than requested is never restored silently.
    fn ensure_reached(
        &self,
        base: &Base,
        passed: &Passed,
        newer: Option<u32>,
    ) -> Result<Option<String>> {
        let number = self.chain.number;
        let ended = self.chain.info.ended.as_ref();
        let why = ended.map(|end| format!("chain-{number} has ended: {}", end.reason));
        let latest = passed.latest.max(base.metadata.taken_at);
        let is_missed = match self.wish.moment {
            Moment::Time(time) => time > latest,
            Moment::Lsn(lsn) => lsn > passed.end_lsn,
            Moment::Newest | Moment::Xid(_) | Moment::BeforeXid(_) => false,
        };
        if !is_missed {
            let newer = newer.map(|newer| format!("chain-{newer} came later"));
            let said = [why, newer]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; ");
            let is_newest = self.wish.moment == Moment::Newest;
            return Ok((is_newest && !said.is_empty()).then_some(said));
        }
        let why = why.unwrap_or_else(|| {
            "the chain has not ended: if its server is running, SELECT incr_flush() writes the latest changes to the \
             files"
                .to_owned()
        });
        let message = format!(
            "the archive ends at {}, with all that was committed up to {}, before the requested {}",
            passed.end_lsn,
            iso(latest),
            said(&self.wish.moment)
        );
        if self.wish.allow_earlier {
            return Ok(Some(format!("{message}; {why}")));
        }
        let hint = format!("{why}. --allow-earlier restores to that end.");
        Err(Error::no_such_moment(message, hint))
    }

    /// The sets up to the moment. One between its last commit and the next is chosen by the requested time.
    fn globals(
        &mut self,
        base: &Base,
        upto: Lsn,
        found: Found,
    ) -> Result<(Option<Globals>, Vec<Globals>)> {
        let (mut first, mut later) = (None, Vec::new());
        for set in &self.chain.globals {
            let is_sure = set.name.lsn <= upto;
            let is_in_time = match self.wish.moment {
                Moment::Time(time) => {
                    found.beyond.is_none_or(|beyond| set.name.lsn < beyond)
                        && set.facts.changed_at <= time
                }
                _ => false,
            };
            if !is_sure && !is_in_time {
                continue;
            }
            if set.entry.is_none() {
                let name = set.name;
                self.warnings.push(format!(
                    "the manifest does not list the set of globals {name}: it is skipped"
                ));
                continue;
            }
            if is_sure && set.name.lsn <= base.metadata.lsn {
                first = Some(set.clone());
            } else {
                later.push(set.clone());
            }
        }
        for set in first.iter().chain(&later) {
            let listed = set.entry.as_ref().map(|entry| entry.sha256.as_str());
            ensure_sealed(self.storage, &self.chain.file(&set.directory()), listed)?;
        }
        Ok((first, later))
    }
}

fn each_once(lost: &[LostHere]) -> Vec<LostHere> {
    let mut seen: Vec<&LostHere> = Vec::new();
    for here in lost {
        let is_same = |other: &&&LostHere| {
            (other.lost.what, &other.lost.class, other.lost.oid)
                == (here.lost.what, &here.lost.class, here.lost.oid)
                && (here.lost.oid != 0 || other.lost.identity == here.lost.identity)
        };
        if !seen.iter().any(|other| is_same(&other)) {
            seen.push(here);
        }
    }
    seen.into_iter().cloned().collect()
}
