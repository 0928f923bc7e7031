//! The pass over the segments from the base to the moment: each is as its checksum says, and joins the one before.

use std::collections::BTreeSet;

use archive::layout::Stored;
use archive::segment::Previous;
use archive::time::Time;
use archive::Lsn;
use archive_query::catalog::{Base, Segment};
use archive_query::history::index;

use super::ahead::{self, Ahead};
use super::choice::Choice;
use super::moment::Moment;
use super::segment::{self, Facts, Found, Needs};
use super::{outline, Figures, Planned};
use crate::error::{Error, Result};

/// What the pass over the segments has found.
pub(super) struct Passed {
    pub use_segments: Vec<Planned>,
    pub needs: Needs,
    pub found: Found,
    pub end_lsn: Lsn,
    pub latest: Time,
    pub figures: Figures,
}

impl Choice<'_> {
    /// Reads the segments from the first on, up to the moment.
    pub(super) fn pass(&self, base: &Base, (first, _): (usize, u64)) -> Result<Passed> {
        let mut passed = Passed {
            use_segments: Vec::new(),
            needs: Needs::default(),
            found: Found::default(),
            end_lsn: Lsn(0),
            latest: base.metadata.taken_at,
            figures: Figures::default(),
        };
        let mut before: Option<(Lsn, Previous)> = None;
        // Not by the way: each file that is not there would be asked for. (A server shows none.)
        let indexes = if self.wish.is_part {
            index::segments(self.storage, self.chain)
        } else {
            BTreeSet::new()
        };
        // Of a part few are read.
        let count = if self.wish.is_part {
            1
        } else {
            ahead::at_once()
        };
        let mut ahead = Ahead::new(count);
        let segments = &self.chain.segments[first..];
        for (nth, segment) in segments.iter().enumerate() {
            let moment = &self.wish.moment;
            let storage = self.storage;
            let outlined = if indexes.contains(&segment.name.to_string()) {
                outline::of(storage, self.chain, segment, moment, passed.found)?
            } else {
                None
            };
            let (facts, outline) = match outlined {
                Some((facts, outline)) => (facts, Some(outline)),
                None => {
                    let read = |segment: &Segment| {
                        let (found, mut needs) = (Found::default(), Needs::default());
                        segment::read(storage, self.chain, segment, moment, found, &mut needs)
                            .map(|facts| (facts, needs))
                    };
                    let (mut facts, needs) = ahead.read(&segments[nth..], read)?;
                    passed.needs.absorb(needs);
                    facts.found = passed.found.then(facts.found);
                    (facts, None)
                }
            };
            let Some(header) = &facts.header else {
                // Torn before its first transaction.
                if segment.stored == Stored::Partial && facts.is_cut {
                    break;
                }
                return Err(self.unreadable(segment, &facts));
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
            // There is nothing in one that was only just begun, and it may go when capture begins again.
            if facts.complete > 0 {
                passed.use_segments.push(Planned {
                    segment: segment.clone(),
                    complete: facts.complete,
                    outline,
                    from: None,
                });
            }
        }
        passed.end_lsn = passed.end_lsn.max(base.metadata.lsn);
        Ok(passed)
    }

    /// An open segment without a header ends within it, and is not of another format.
    pub(super) fn ensure_torn_off(&self, segment: &Segment) -> Result<()> {
        let (found, needs) = (Found::default(), &mut Needs::default());
        let moment = &Moment::Newest;
        let facts = segment::read(self.storage, self.chain, segment, moment, found, needs)?;
        if facts.header.is_none() && !facts.is_cut {
            return Err(self.unreadable(segment, &facts));
        }
        Ok(())
    }

    fn unreadable(&self, segment: &Segment, facts: &Facts) -> Error {
        let place = self.storage.place(&self.chain.file(&segment.file()));
        let (at, why) = match &facts.torn {
            Some((at, why)) => (*at, why.as_str()),
            None => (0, "it is empty"),
        };
        if at == 0 && !facts.is_cut {
            let message = format!("{place} is of another format than this version can read: {why}");
            let hint =
                "A newer version of pg_incrbackup has written it: use the program of that version.";
            return Error::failed(message, hint);
        }
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
        facts.ensure_listed(&place, segment)?;
        if header.has_left(base.metadata.timeline, base.metadata.lsn) {
            return Err(left_before(base, &place));
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
}

/// A copy of the archive that is being made has the segments of a promoted server before the manifest.
fn left_before(base: &Base, place: &str) -> Error {
    let message = format!(
        "the history of {place} had left that of base {} before it: a server was promoted that never had this base",
        base.name
    );
    let hint = "The manifest does not say yet what was set apart: copy the archive again, or name an older base (--base).".to_owned();
    Error::Damaged { message, hint }
}
