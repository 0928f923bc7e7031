//! Reads what is new of a segment: a closed one as a whole, an open one from where it was read to.

use std::io::Read;
use std::sync::Arc;

use archive::layout::{SegmentName, Stored};
use archive::segment::{Event, Header, Previous, Scanner};
use archive::storage::{self, Storage};
use archive_query::catalog::Segment;

use super::super::choice::each_once;
use super::super::moment::Moment;
use super::super::segment::{self, Found, LostHere, Needs};
use super::{Behind, Open, Tail, LONG};
use crate::error::{Error, Result};

impl Tail {
    /// A closed segment, as a whole.
    pub(super) fn close(&mut self, storage: &dyn Storage, segment: &Segment) -> Result<()> {
        let (moment, found) = (&Moment::Newest, Found::default());
        let mut needs = Needs::default();
        let facts = segment::read(storage, &self.chain, segment, moment, found, &mut needs);
        let facts = facts.map_err(passing)?;
        let file = self.chain.file(&segment.file());
        let place = storage.place(&file);
        let Some(header) = &facts.header else {
            return Err(match &facts.torn {
                Some((0, why)) if !facts.is_cut => of_another_format(&place, why),
                _ => Error::damaged(format!("{place} is damaged: its header cannot be parsed")),
            });
        };
        facts.ensure_whole(storage, &file, segment.stored)?;
        facts.ensure_listed(&place, segment)?;
        self.ensure_joins(segment, header, &place)?;
        let open = self.open.take().filter(|open| open.name == segment.name);
        if let Some(read) = open.and_then(|open| open.behind) {
            let is_there = read.standing.offset() <= facts.complete
                && read.reader(storage, &self.chain, segment)?.is_some();
            if !is_there {
                return Err(self.rewritten());
            }
        }
        self.before = Some((
            facts.end_lsn,
            Previous {
                file: segment.name.file(Stored::Plain),
                sha256: facts.sha256.clone(),
            },
        ));
        self.lose(needs.lost);
        self.end_lsn = self.end_lsn.max(facts.end_lsn);
        self.end_at = self.end_at.max(facts.latest);
        if facts.transactions > 0 {
            let first = segment
                .entry
                .as_ref()
                .and_then(|entry| entry.first_commit_at);
            self.oldest = self.oldest.or(first);
        }
        self.plan(segment, facts.complete);
        Ok(())
    }

    /// The open segment, from where it was read to on.
    pub(super) fn grow(&mut self, storage: &dyn Storage, segment: &Segment) -> Result<()> {
        let known = self.open.as_ref().filter(|open| open.name == segment.name);
        if let Some(open) = known {
            let unread = open.size
                - open
                    .behind
                    .as_ref()
                    .map_or(0, |it| it.standing.offset())
                    .min(open.size);
            let enough = if unread > LONG {
                open.size + unread / 4
            } else {
                open.size
            };
            if segment.size == open.size || (open.size..enough).contains(&segment.size) {
                return Ok(());
            }
        }
        let behind = known.and_then(|open| open.behind.clone());
        if let Some(behind) = behind {
            let Some(input) = behind.reader(storage, &self.chain, segment)? else {
                return Err(self.rewritten());
            };
            let scanner = Scanner::going_on(input, &behind.standing);
            if self.scan(storage, segment, scanner, Some(behind))? {
                return Ok(());
            }
            self.read_again(segment.name);
        }
        let Some(input) = self.chain.open(storage, segment)? else {
            let file = self.chain.file(&segment.file());
            return Err(passing(segment::gone(storage, &file)));
        };
        self.scan(storage, segment, Scanner::new(input), None)?;
        Ok(())
    }

    /// Reads to the end of what is complete; false if it is not what it was up to `behind`.
    fn scan(
        &mut self,
        storage: &dyn Storage,
        segment: &Segment,
        mut scanner: Scanner<Box<dyn Read + Send>>,
        mut behind: Option<Arc<Behind>>,
    ) -> Result<bool> {
        let file = self.chain.file(&segment.file());
        let is_going_on = behind.is_some();
        let mut header = behind.as_ref().map(|behind| Arc::clone(&behind.header));
        let (mut mark, mut open) = ((0, Vec::new()), None);
        let mut lost = Vec::new();
        loop {
            let start = scanner.offset();
            let line = scanner
                .next_line()
                .map_err(storage::failed("read", storage, &file))?;
            let Some((_, event)) = line else {
                break;
            };
            let Some(event) = event else {
                continue;
            };
            if let Event::Transaction { .. } | Event::Sequences { .. } | Event::Position { .. } =
                event
            {
                mark = (start, scanner.head().to_vec());
            }
            let ended = match event {
                Event::Header(read) => {
                    self.ensure_joins(segment, &read, &storage.place(&file))?;
                    self.end_lsn = self.end_lsn.max(read.start_lsn);
                    header = Some(Arc::from(read));
                    continue;
                }
                Event::Transaction {
                    xid,
                    commit_lsn,
                    commit_time,
                    ..
                } => {
                    open = Some((xid, commit_lsn, commit_time));
                    lost.clear();
                    continue;
                }
                Event::Flag {
                    reason,
                    lost: Some(what),
                } => {
                    if let Some((xid, lsn, at)) = open {
                        lost.push(LostHere {
                            lsn,
                            xid,
                            at,
                            lost: what,
                            reason,
                        });
                    }
                    continue;
                }
                Event::End { .. } => open.take().map(|(_, lsn, at)| {
                    self.oldest = self.oldest.or(at);
                    (lsn, at)
                }),
                Event::Position { lsn, at, .. } => Some((lsn, Some(at))),
                Event::Torn { is_cut: false, .. } if is_going_on => return Ok(false),
                Event::Torn {
                    is_cut: false,
                    at,
                    why,
                    ..
                } => {
                    let place = storage.place(&file);
                    if at == 0 {
                        return Err(of_another_format(&place, &why));
                    }
                    return Err(Error::damaged(format!(
                        "{place} is damaged at byte {at}: {why}"
                    )));
                }
                _ => continue,
            };
            if let Some((lsn, at)) = ended {
                self.end_lsn = self.end_lsn.max(lsn);
                self.end_at = self.end_at.max(at);
            }
            self.lose(std::mem::take(&mut lost));
            if let Some((standing, header)) = scanner.standing().zip(header.as_ref()) {
                behind = Some(Arc::new(Behind {
                    standing,
                    header: Arc::clone(header),
                    mark: std::mem::take(&mut mark.1),
                    mark_at: mark.0,
                }));
            }
        }
        self.open = Some(Open {
            name: segment.name,
            size: segment.size.max(scanner.offset()),
            behind,
        });
        if scanner.complete_offset() > 0 {
            self.plan(segment, scanner.complete_offset());
        }
        Ok(true)
    }

    /// What was read of a segment is not what it is any more: what is applied of it is found by its commits.
    fn read_again(&mut self, name: SegmentName) {
        self.open = None;
        let same = self
            .waiting
            .iter_mut()
            .filter(|planned| planned.segment.name == name);
        same.for_each(|planned| planned.from = None);
    }

    /// What the base does not have.
    fn lose(&mut self, lost: Vec<LostHere>) {
        if lost.is_empty() {
            return;
        }
        let snapshot = &self.base.metadata.snapshot;
        self.lost
            .extend(lost.into_iter().filter(|lost| !snapshot.sees(lost.xid)));
        self.lost = each_once(&self.lost);
    }

    /// A segment starts where its name says, and where the one before it ends.
    fn ensure_joins(&mut self, segment: &Segment, header: &Header, place: &str) -> Result<()> {
        if header.start_lsn != segment.start_lsn() {
            return Err(Error::damaged(format!(
                "{place} does not start where its name says"
            )));
        }
        let base = &self.base.metadata;
        self.is_left |= header.has_left(base.timeline, base.lsn);
        let Some((end, previous)) = &self.before else {
            return Ok(());
        };
        if header.start_lsn != *end {
            let (start, file) = (header.start_lsn, &previous.file);
            let why = format!("{place} starts at {start}, {file} ends at {end}");
            return Err(Error::damaged(why));
        }
        if header.previous.as_ref() != Some(previous) {
            let file = &previous.file;
            let why = format!("{file} is damaged, or is not the segment before {place}");
            return Err(Error::damaged(why));
        }
        Ok(())
    }
}

/// A file that has gone since it was listed: whoever looks again finds another form of it, or that it has gone for good.
fn passing(error: Error) -> Error {
    match error {
        Error::Failed { message, hint } => Error::Unavailable { message, hint },
        error => error,
    }
}

/// What is not a segment of ours at all.
fn of_another_format(place: &str, why: &str) -> Error {
    let message = format!("{place} is of another format than this version can read: {why}");
    let hint = "A newer version of pg_incrbackup has written it: use the program of that version.";
    Error::failed(message, hint)
}
