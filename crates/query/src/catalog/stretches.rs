//! Which moments of a chain can be restored: stretches, the gaps between them, and what was lost within.

use std::io;

use archive::flags::Flagged;
use archive::segment::{Event, Scanner};
use archive::storage::{self, Storage};
use archive::time::Time;
use archive::{Lsn, Result};

use super::{Base, Chain, Segment};

/// Segments that join, and the oldest base that joins them.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Where its first segment starts.
    pub start_lsn: Lsn,
    /// The last commit or recorded position.
    pub end_lsn: Lsn,
    /// All that was committed up to then is in it; `None` if nothing is recorded.
    pub end_at: Option<Time>,
    /// The name of the oldest base from which every later point of the stretch can be restored; `None` if no base joins.
    pub base: Option<String>,
    /// When and where that base was taken: the first moment.
    pub from: Option<(Time, Lsn)>,
}

/// No segment has the changes between these LSNs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub after: Lsn,
    pub before: Lsn,
}

/// Changes of an object are lost from a flag on, up to a base.
#[derive(Debug, Clone)]
pub struct Loss {
    pub flag: Flagged,
    /// When the base that ends it was taken; `None` while there is none.
    pub ended_at: Option<Time>,
}

/// What a segment's own lines say about its extent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    pub next_xid: u64,
    pub start_lsn: Lsn,
    /// The last complete transaction or position.
    pub end_lsn: Lsn,
    /// The last commit time or time of a position.
    pub latest: Option<Time>,
}

impl Extent {
    /// Reads the segment; `None` if it is torn in its header. One that has gone is an error.
    pub fn of(storage: &dyn Storage, chain: &Chain, segment: &Segment) -> Result<Option<Extent>> {
        let file = chain.file(&segment.file());
        let input = chain.open(storage, segment)?;
        let input = input.ok_or(io::ErrorKind::NotFound);
        let input = input.map_err(|kind| storage::failed("open", storage, &file)(kind.into()))?;
        let mut scanner = Scanner::new(input);
        let (mut extent, mut open) = (None::<Extent>, None);
        while let Some(event) = scanner
            .next_event()
            .map_err(storage::failed("read", storage, &file))?
        {
            if let Event::Header(header) = &event {
                extent = Some(Extent {
                    next_xid: header.next_xid,
                    start_lsn: header.start_lsn,
                    end_lsn: header.start_lsn,
                    latest: None,
                });
            }
            let Some(extent) = &mut extent else {
                continue;
            };
            match event {
                Event::Transaction {
                    commit_lsn,
                    commit_time,
                    ..
                } => open = Some((commit_lsn, commit_time)),
                Event::End { .. } => {
                    if let Some((lsn, time)) = open.take() {
                        extent.end_lsn = lsn;
                        extent.latest = extent.latest.max(time);
                    }
                }
                Event::Position { lsn, at, .. } => {
                    extent.end_lsn = lsn;
                    extent.latest = extent.latest.max(Some(at));
                }
                _ => {}
            }
        }
        Ok(extent)
    }
}

impl Chain {
    /// The stretches, oldest first, and the gaps between them. Reads the ends of stretches only.
    pub fn stretches(&self, storage: &dyn Storage) -> Result<(Vec<Stretch>, Vec<Gap>)> {
        let (mut stretches, mut gaps) = (Vec::new(), Vec::new());
        let mut joined: Vec<(&Segment, Lsn, u64)> = Vec::new();
        for segment in &self.segments {
            let start = segment.start_lsn();
            let (end, next_xid) = match segment.entry.as_ref() {
                Some(entry) => (entry.end_lsn, entry.next_xid.unwrap_or(0)),
                None => match Extent::of(storage, self, segment) {
                    Ok(Some(extent)) => (extent.end_lsn, extent.next_xid),
                    Ok(None) => continue,
                    Err(error) if is_missing(&error) => continue,
                    Err(error) => return Err(error),
                },
            };
            if let Some((_, before, _)) = joined.last().filter(|(_, end, _)| *end != start) {
                gaps.push(Gap {
                    after: *before,
                    before: start,
                });
                stretches.push(self.stretch(storage, &joined, stretches.is_empty())?);
                joined.clear();
            }
            joined.push((segment, end, next_xid));
        }
        if !joined.is_empty() {
            stretches.push(self.stretch(storage, &joined, stretches.is_empty())?);
        }
        Ok((stretches, gaps))
    }

    fn stretch(
        &self,
        storage: &dyn Storage,
        joined: &[(&Segment, Lsn, u64)],
        is_first: bool,
    ) -> Result<Stretch> {
        let (first, _, next_xid) = joined.first().expect("a stretch has a segment");
        let (_, end_lsn, _) = joined.last().expect("a stretch has a segment");
        // The slot's first segment joins the first base, whatever its next_xid.
        let is_whole = is_first && self.last_expired.is_none();
        let joins = |base: &&Base| {
            let lsn = base.metadata.lsn;
            self.is_listed(base)
                && (first.start_lsn()..=*end_lsn).contains(&lsn)
                && (is_whole || base.metadata.snapshot.xmin >= *next_xid)
        };
        let base = self.bases.iter().find(joins);
        let mut end_at = None;
        for (segment, ..) in joined.iter().rev() {
            let extent = match Extent::of(storage, self, segment) {
                Err(error) if is_missing(&error) => None,
                extent => extent?,
            };
            end_at = extent.and_then(|extent| extent.latest);
            if end_at.is_some() {
                break;
            }
        }
        let from = base.map(|base| (base.metadata.taken_at, base.metadata.lsn));
        Ok(Stretch {
            start_lsn: first.start_lsn(),
            end_lsn: *end_lsn,
            end_at: end_at.or(from.map(|(at, _)| at)),
            base: base.map(|base| base.name.to_string()),
            from,
        })
    }

    /// What was lost, and until when.
    pub fn losses(&self) -> Vec<Loss> {
        let ended = |flag: &Flagged| {
            let sees = |base: &&Base| base.metadata.snapshot.sees(flag.last_xid);
            let base = self.bases.iter().find(sees)?;
            Some(base.metadata.taken_at)
        };
        let losses = self.flags.iter().map(|flag| Loss {
            ended_at: ended(flag),
            flag: flag.clone(),
        });
        losses.collect()
    }
}

/// Retention has removed it since it was listed.
fn is_missing(error: &archive::Error) -> bool {
    error.io_error().map(io::Error::kind) == Some(io::ErrorKind::NotFound)
}
