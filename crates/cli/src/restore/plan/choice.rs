//! Chooses base and segments within a chain.

use archive::layout::{BaseName, Stored};
use archive::storage::Storage;
use archive::time::iso;
use archive::verify::Sealed;
use archive::Lsn;
use archive_query::catalog::{Base, Catalog, Chain, Extent};

use super::base::{ensure_sealed, joined};
use super::chain::{chain_of, latest_base};
use super::damage::is_needed;
use super::locate::located;
use super::moment::{printable, Moment};
use super::pass::Passed;
use super::segment::{Found, LostHere, Needs};
use super::{Figures, Plan, Seen};
use crate::error::{Error, Result};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub moment: Moment,
    pub chain: Option<u32>,
    pub base: Option<BaseName>,
    /// Where the archive ends before the moment, its end will do.
    pub allow_earlier: bool,
    /// Only what this sees is applied (`--compare`).
    pub seen: Option<Seen>,
    /// Only a part is wanted: what may be of no part is not read here.
    pub is_part: bool,
}

/// Makes the plan; reads and checks all that a restore will read.
///
/// `damage` is what could not be read of the catalog. A restore goes on without a base that it does not need; but not
/// without a chain, or a set of globals, that it may need.
pub fn choose(
    storage: &dyn Storage,
    catalog: &Catalog,
    wish: &Wish,
    mut damage: Vec<archive::Error>,
) -> Result<Plan> {
    match choose_from(storage, catalog, wish) {
        Ok(plan) => {
            let number = plan.chain.number;
            let mut needed = damage
                .iter()
                .map(|error| is_needed(storage, error, wish, number));
            if let Some(at) = needed.position(|is_needed| is_needed) {
                return Err(damage.swap_remove(at).into());
            }
            let damage = damage
                .iter()
                .map(|error| format!("{error}: it is passed over"));
            let warnings = plan.warnings.into_iter().chain(damage).collect();
            Ok(Plan { warnings, ..plan })
        }
        Err(Error::NoSuchMoment { .. }) if !damage.is_empty() => Err(damage.swap_remove(0).into()),
        Err(error) => Err(error),
    }
}

fn choose_from(storage: &dyn Storage, catalog: &Catalog, wish: &Wish) -> Result<Plan> {
    let (wish, located) = located(storage, catalog, wish)?;
    let (chain, newer) = chain_of(storage, catalog, &wish)?;
    let mut choice = Choice {
        storage,
        chain,
        wish: &wish,
        warnings: Vec::new(),
    };
    let base = choice.base(newer)?;
    let plan = choice.plan(base, newer)?;
    Ok(Plan { located, ..plan })
}

/// A moment in words.
pub fn said(moment: &Moment) -> String {
    match moment {
        Moment::Newest => "the newest moment".to_owned(),
        Moment::Time(time) => iso(*time),
        Moment::Lsn(lsn) => lsn.to_string(),
        Moment::Xid(xid) => format!("transaction {xid}"),
        Moment::Mark(name) => format!("mark \"{}\"", printable(name)),
        Moment::BeforeXid(xid) => format!("the moment before transaction {xid}"),
        Moment::BeforeDdl(ddl) => format!("the moment before {}", ddl.words()),
    }
}

/// The choice within one chain.
pub(super) struct Choice<'a> {
    pub storage: &'a dyn Storage,
    pub chain: &'a Chain,
    pub wish: &'a Wish,
    pub warnings: Vec<String>,
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
        let directory = &self.chain.file(&base.directory());
        // Its bytes and those of the segments are hashed at the same time.
        let (sealed, passed) = std::thread::scope(|scope| {
            let passes = |file: &str| self.wish.is_part && base.is_rows(file);
            let sealing = scope.spawn(move || {
                Sealed::base_without(storage, directory, base.name, &passes, &mut || {})
            });
            let passed = self.passed(&base);
            (joined(sealing), passed)
        });
        let base_bytes = ensure_sealed(storage, directory, sealed, base.entry.as_ref())?;
        let (mut passed, is_alone) = passed?;
        passed.figures.base_bytes = base_bytes;
        let remark = self.ensure_reached(&base, &passed, newer, is_alone)?;
        let upto = match self.wish.moment {
            _ if is_alone => base.metadata.lsn,
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
            _ => match &self.wish.seen {
                Some(seen) => self.ensure_has(&passed, seen)?,
                None => Lsn(u64::MAX),
            },
        };
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
            seen: self.wish.seen.clone(),
            first_globals,
            later_globals,
            needs: passed.needs,
            figures: passed.figures,
            located: None,
            remark,
            warnings: self.warnings,
            part: None,
        })
    }

    /// The pass from this base on; and whether the base is alone.
    fn passed(&self, base: &Base) -> Result<(Passed, bool)> {
        let first = self.first_segment(base)?;
        let is_alone = self.is_alone(base, first)?;
        let passed = match (first, is_alone) {
            (Some(first), false) => self.pass(base, first)?,
            _ => Passed {
                use_segments: Vec::new(),
                needs: Needs::default(),
                found: Found::default(),
                end_lsn: base.metadata.lsn,
                latest: base.metadata.taken_at,
                figures: Figures::default(),
            },
        };
        Ok((passed, is_alone))
    }

    /// All that a snapshot sees is in the files: the LSN up to which that is.
    fn ensure_has(&self, passed: &Passed, seen: &Seen) -> Result<Lsn> {
        if passed.end_lsn >= seen.lsn {
            return Ok(seen.lsn);
        }
        let message = format!(
            "the archive ends at {}, before {}, at which its source was read",
            passed.end_lsn, seen.lsn
        );
        let hint = "Capture lags behind, or this is a copy that does: on the source, SELECT incr_flush() writes the \
                    latest changes to the files.";
        Err(Error::no_such_moment(message, hint))
    }

    /// The last segment that was opened before any transaction from the snapshot's xmin on was written; the first of
    /// the chain if none is that old. What an open segment says of itself is covered by no checksum.
    pub(super) fn first_segment(&self, base: &Base) -> Result<Option<(usize, u64)>> {
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
                    None if is_open => {
                        self.ensure_torn_off(segment)?;
                        break;
                    }
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

    /// An older state than requested is never restored silently.
    fn ensure_reached(
        &self,
        base: &Base,
        passed: &Passed,
        newer: Option<u32>,
        is_alone: bool,
    ) -> Result<Option<String>> {
        let number = self.chain.number;
        let ended = self.chain.info.ended.as_ref();
        let why = ended.map(|end| format!("chain-{number} has ended: {}", end.reason));
        let latest = passed.latest.max(base.metadata.taken_at);
        if !is_alone {
            self.ensure_not_missing(passed)?;
        }
        let is_missed = match self.wish.moment {
            Moment::Time(time) => time > latest,
            Moment::Lsn(lsn) => lsn > passed.end_lsn,
            _ => false,
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

    /// What the archive itself says that it had, behind what is there.
    fn ensure_not_missing(&self, passed: &Passed) -> Result<()> {
        let is_reached = match self.wish.moment {
            Moment::Lsn(lsn) => lsn <= passed.end_lsn,
            Moment::Time(_) => passed.found.beyond.is_some(),
            _ => false,
        };
        let ended = self.chain.info.ended.as_ref().map(|end| end.last_lsn);
        let said = self.chain.listed_to.max(ended);
        let Some(said) = said.filter(|said| *said > passed.end_lsn && !is_reached) else {
            return Ok(());
        };
        if self.wish.allow_earlier {
            return Ok(());
        }
        let (number, end) = (self.chain.number, passed.end_lsn);
        let message = format!("segments of chain-{number} are missing: they reach to {end}, and were written to {said}");
        let hint =
            "Take them from another copy of the archive; --allow-earlier restores what is there.";
        Err(Error::Damaged {
            message,
            hint: hint.to_owned(),
        })
    }
}

pub(super) fn each_once(lost: &[LostHere]) -> Vec<LostHere> {
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
