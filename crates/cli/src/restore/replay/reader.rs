//! Reads the segments in a thread of its own, ahead of what is executed, by a fixed number of bytes.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use archive::segment::{Event, Part, Scanner};
use archive::storage::{self, Storage};
use archive::Lsn;
use tokio::sync::mpsc::{self, Receiver};

use super::item::{extend, Batch, Counting, Item, What};
use super::outbox::{Outbox, Stopped};
use crate::error::{Error, Result};
use crate::restore::part::filter::{self, Filter};
use crate::restore::plan::outline::{self, Outline};
use crate::restore::plan::{gone, Plan, Planned};
use crate::restore::progress::Place;

/// The reading thread.
pub struct Reader {
    pub batches: Receiver<Result<Batch>>,
    /// Uncompressed bytes read so far.
    pub bytes: Arc<AtomicU64>,
}

impl Reader {
    /// Begins to read, behind the place that an earlier run has reached.
    pub fn start(storage: Arc<dyn Storage>, plan: Arc<Plan>, place: &Place) -> Result<Reader> {
        let mut segments = plan.segments.iter();
        let first = segments.position(|it| it.segment.name.to_string() == place.segment);
        let first = match first {
            Some(first) => first,
            None if place.segment.is_empty() => 0,
            None => {
                let why = format!("segment {}, in which it goes on, is missing", place.segment);
                return Err(Error::damaged(why));
            }
        };
        Reader::from(storage, plan, (first, place.units), None)
    }

    /// Begins to read what was planned, behind this commit: of a chain that is followed.
    pub fn behind(storage: Arc<dyn Storage>, plan: Arc<Plan>, last: Lsn) -> Result<Reader> {
        Reader::from(storage, plan, (0, 0), Some(last))
    }

    fn from(
        storage: Arc<dyn Storage>,
        plan: Arc<Plan>,
        (first, to_pass): (usize, u64),
        last: Option<Lsn>,
    ) -> Result<Reader> {
        let (sender, batches) = mpsc::channel(1 << 10);
        let behind = plan.segments[..first].iter().map(|it| it.complete).sum();
        let bytes = Arc::new(AtomicU64::new(behind));
        let plan_part = plan.part.as_ref().map(Filter::new);
        let reading = Reading {
            storage,
            plan,
            out: Outbox::new(sender.clone()),
            bytes: Arc::clone(&bytes),
            first,
            to_pass,
            last,
            filter: plan_part,
            passes_copy: false,
        };
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let failed = sender;
        let read = move || {
            let read = std::panic::catch_unwind(AssertUnwindSafe(|| reading.run()));
            if read.is_err() {
                // An end without this would be the end of the segments.
                let message = "reading the segments ended with an internal error";
                let hint = "Please report it, with what stands above.";
                let _ = failed.blocking_send(Err(Error::failed(message, hint)));
            }
        };
        thread
            .spawn(read)
            .map_err(|error| Error::failed(format!("could not start a thread: {error}"), ""))?;
        Ok(Reader { batches, bytes })
    }
}

struct Reading {
    storage: Arc<dyn Storage>,
    plan: Arc<Plan>,
    out: Outbox,
    bytes: Arc<AtomicU64>,
    /// The first segment of the plan that is read.
    first: usize,
    /// Transactions and sequence positions of it that an earlier run has done.
    to_pass: u64,
    /// Commits up to this one are applied.
    last: Option<Lsn>,
    /// Only a part is wanted.
    filter: Option<Filter>,
    /// A COPY block is not wanted.
    passes_copy: bool,
}

impl Reading {
    fn run(mut self) {
        let plan = Arc::clone(&self.plan);
        for planned in &plan.segments[self.first..] {
            match self.segment(planned) {
                Ok(Ok(())) => {}
                Ok(Err(Stopped)) => return,
                Err(error) => {
                    self.out.fail(error);
                    return;
                }
            }
        }
        if self.last_positions().is_ok() {
            let _ = self.out.hand_over();
        }
    }

    fn segment(&mut self, planned: &Planned) -> Result<std::result::Result<(), Stopped>> {
        let plan = Arc::clone(&self.plan);
        let storage = Arc::clone(&self.storage);
        let file = plan.chain.file(&planned.segment.file());
        if let Some(outline) = &planned.outline {
            return self.passed_over(planned, file, outline);
        }
        let from = planned.from.as_ref();
        let input = match from {
            Some(from) => from.reader(&*storage, &plan.chain, &planned.segment)?,
            None => plan.chain.open(&*storage, &planned.segment)?,
        };
        let Some(input) = input else {
            let gone = gone(&*storage, &file);
            // Of a chain that is followed: it is looked at again, and is there in another form, or has gone for good.
            if self.last.is_some() {
                let (message, hint) = (gone.to_string(), String::new());
                return Err(Error::Unavailable { message, hint });
            }
            return Err(gone);
        };
        let counting = Counting {
            inner: input,
            bytes: Arc::clone(&self.bytes),
        };
        let mut scanner = match from {
            Some(from) => {
                let header = Box::new((*from.header).clone());
                let file = file.clone();
                if self.out.add(1, 0, What::Segment { file, header }).is_err() {
                    return Ok(Err(Stopped));
                }
                Scanner::going_on_with_text(counting, &from.standing)
            }
            None => Scanner::with_text(counting),
        };
        let read = self.lines(&mut scanner, &file, planned.complete);
        let read = read.map_err(storage::failed("read", &*storage, &file))?;
        if read.is_ok() && scanner.complete_offset() != planned.complete {
            let place = storage.place(&file);
            let (is, was) = (scanner.complete_offset(), planned.complete);
            let why = format!(
                "{place} has changed since it was checked: it ends at byte {is}, not at {was}"
            );
            return Err(Error::damaged(why));
        }
        if read.is_ok() && self.to_pass > 0 {
            let place = storage.place(&file);
            let why = format!("{place} has fewer transactions than were applied of it");
            return Err(Error::damaged(why));
        }
        Ok(read)
    }

    /// A segment with nothing of the part but, maybe, positions of its sequences.
    fn passed_over(
        &mut self,
        planned: &Planned,
        file: String,
        outline: &Outline,
    ) -> Result<std::result::Result<(), Stopped>> {
        let header = outline::header(&*self.storage, &self.plan.chain, &planned.segment)?;
        let Some(header) = header else {
            return Err(gone(&*self.storage, &file));
        };
        let header = Box::new(header);
        if self.out.add(1, 0, What::Segment { file, header }).is_err() {
            return Ok(Err(Stopped));
        }
        if let Some(filter) = &mut self.filter {
            let positions = outline.positions.iter();
            positions.for_each(|text| filter.passed_position(text));
        }
        self.bytes.fetch_add(planned.complete, Ordering::Relaxed);
        Ok(Ok(()))
    }

    /// Whether an earlier run has done the transaction, or the sequence positions, that begin.
    fn passes(&mut self) -> bool {
        let passes = self.to_pass > 0;
        self.to_pass = self.to_pass.saturating_sub(1);
        passes
    }

    /// Up to the byte to which the segment was checked.
    fn lines(
        &mut self,
        scanner: &mut Scanner<Counting>,
        file: &str,
        complete: u64,
    ) -> io::Result<std::result::Result<(), Stopped>> {
        let mut applies = false;
        let mut block: Option<What> = None;
        let mut held = 0;
        while scanner.complete_offset() < complete {
            if self.filter.is_none() && self.rows(scanner, applies)?.is_err() {
                return Ok(Err(Stopped));
            }
            let Some((part, event)) = scanner.next_line()? else {
                break;
            };
            let line = scanner.number();
            if let Some(Event::Torn { .. }) = event {
                break;
            }
            let is_change = matches!(event, Some(Event::Effect(_) | Event::Ddl { .. }));
            if is_change && applies && self.positions().is_err() {
                return Ok(Err(Stopped));
            }
            let taken = match (part, event) {
                (_, Some(event)) => match self.event(event, file, &mut applies) {
                    Taken::Now(what @ (What::Begin { .. } | What::Sequences { .. }))
                        if self.filter.is_some() =>
                    {
                        self.out.begin(Item { line, what });
                        Ok(())
                    }
                    Taken::Now(What::Commit) if self.out.is_only_begun() => Ok(()),
                    Taken::Now(what) => self.out.add(line, 0, what),
                    Taken::WithItsLines(what) => {
                        (block, held) = (Some(what), line + 1);
                        Ok(())
                    }
                    Taken::Not => Ok(()),
                },
                (Part::Around | Part::Begin, None) => Ok(()),
                (Part::Commit, None) => Ok(()),
                (_, None) if !applies => Ok(()),
                (Part::Statement, None) => self.statement(line, scanner),
                (Part::Copy, None) => {
                    let filter = self.filter.as_mut();
                    let text = scanner.text();
                    self.passes_copy = filter.is_some_and(|filter| !filter.takes_copy(text));
                    if self.passes_copy {
                        continue;
                    }
                    let text = scanner.take_text();
                    self.out.add(line, text.len(), What::Copy(text))
                }
                (Part::CopyRow | Part::CopyEnd, None) if self.passes_copy => Ok(()),
                (Part::CopyRow, None) if self.out.joins_row(scanner.text()) => Ok(()),
                (Part::CopyRow, None) => {
                    let mut rows = scanner.take_text();
                    rows.push(b'\n');
                    self.out.add(line, rows.len(), What::CopyRows(rows))
                }
                (Part::CopyEnd, None) => self.out.add(line, 0, What::CopyEnd),
                (Part::Block(is_last), None) => {
                    let whole = extend(&mut block, scanner.text(), is_last);
                    whole.map_or(Ok(()), |(size, what)| self.out.add(held, size, what))
                }
            };
            if taken.is_err() {
                return Ok(Err(Stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Changes of rows, as many as are at hand.
    fn rows(
        &mut self,
        scanner: &mut Scanner<Counting>,
        applies: bool,
    ) -> io::Result<std::result::Result<(), Stopped>> {
        let first = scanner.number() + 1;
        let mut rows = Vec::new();
        scanner.pass_rows(|lines| {
            if applies {
                rows.extend_from_slice(lines);
            }
        })?;
        if rows.is_empty() {
            return Ok(Ok(()));
        }
        Ok(self.out.add(first, rows.len(), What::Rows(rows)))
    }

    /// A statement of one line, if it is wanted.
    fn statement(
        &mut self,
        line: u64,
        scanner: &mut Scanner<Counting>,
    ) -> std::result::Result<(), Stopped> {
        let filter = self.filter.as_mut();
        let taken = filter.map(|filter| filter.statement(line, scanner.text()));
        let text = match taken {
            None | Some(filter::Taken::AsItIs) => scanner.take_text(),
            Some(filter::Taken::As(text)) => text,
            Some(filter::Taken::Not) => return Ok(()),
        };
        self.out.add(line, text.len(), What::Statement(text))
    }

    /// Positions of sequences that are due before a schema change.
    fn positions(&mut self) -> std::result::Result<(), Stopped> {
        let Some(filter) = &mut self.filter else {
            return Ok(());
        };
        let due: Vec<(u64, Vec<u8>)> = filter.take_positions().collect();
        for (line, text) in due {
            self.out.add(line, text.len(), What::Statement(text))?;
        }
        Ok(())
    }

    /// The same at the end, where no transaction is open.
    fn last_positions(&mut self) -> std::result::Result<(), Stopped> {
        if !self.filter.as_ref().is_some_and(Filter::has_positions) {
            return Ok(());
        }
        self.out.add(0, 0, What::Sequences { at: None })?;
        self.positions()?;
        self.out.add(0, 0, What::Commit)
    }

    fn event(&mut self, event: Event, file: &str, applies: &mut bool) -> Taken {
        match event {
            Event::Header(header) => Taken::Now(What::Segment {
                file: file.to_owned(),
                header,
            }),
            Event::Transaction {
                xid,
                commit_lsn,
                commit_time,
                ..
            } => {
                *applies = self.plan.applies(xid, commit_lsn);
                let is_in_base = !*applies && commit_lsn <= self.plan.upto;
                let is_done = self.last.is_some_and(|last| commit_lsn <= last);
                if is_done || (*applies || is_in_base) && self.passes() {
                    *applies = false;
                    return Taken::Not;
                }
                if *applies {
                    Taken::Now(What::Begin {
                        lsn: commit_lsn,
                        time: commit_time,
                    })
                } else {
                    is_in_base.then_some(What::Skipped).into()
                }
            }
            Event::Sequences { lsn, at } => {
                *applies = self.plan.applies_sequences(lsn);
                // Those of the same LSN as the last commit may be of after it; to set them again does no harm.
                let is_done = self.last.is_some_and(|last| lsn < last);
                *applies = *applies && !is_done && !self.passes();
                applies.then_some(What::Sequences { at: Some(at) }).into()
            }
            Event::End { .. } => std::mem::take(applies).then_some(What::Commit).into(),
            Event::Effect(effect) if *applies => {
                let mut filter = self.filter.as_mut();
                if filter.as_mut().is_some_and(|it| !it.takes_effect(&effect)) {
                    return Taken::Not;
                }
                Taken::WithItsLines(What::Effect(effect, Vec::new()))
            }
            Event::Ddl { command, role } if *applies => {
                let mut filter = self.filter.as_mut();
                if filter.as_mut().is_some_and(|it| !it.takes_ddl(&command)) {
                    return Taken::Not;
                }
                Taken::WithItsLines(What::Ddl {
                    command,
                    role,
                    text: Vec::new(),
                })
            }
            Event::Fact(fact) if *applies => Taken::Now(What::Fact(fact)),
            Event::Flag { lost: None, .. } if *applies => Taken::Now(What::Flag),
            Event::LeftOut { object, .. } if *applies => Taken::Now(What::LeftOut(object)),
            _ => Taken::Not,
        }
    }
}

/// What becomes of an event.
enum Taken {
    Now(What),
    /// Its lines follow.
    WithItsLines(What),
    Not,
}

impl From<Option<What>> for Taken {
    fn from(what: Option<What>) -> Taken {
        what.map_or(Taken::Not, Taken::Now)
    }
}
