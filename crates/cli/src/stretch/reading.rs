//! The transactions of a stretch, one piece after the other, in commit order.
//!
//! Memory is that of the longest line. Only complete transactions are read of an open segment. A closed one that was read to
//! its end must have the checksum that the manifest lists.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use archive::checksum::Hashing;
use archive::layout::Stored;
use archive::segment::{Effect, Event, Lost, Mark, Part, Scanner, TypedWords, Who};
use archive::storage::{self, Storage};
use archive::time::Time;
use archive::Lsn;
use archive_query::catalog::Segment;

use super::{complete_of, Stretch};
use crate::error::{Error, Result};
use crate::restore::plan::gone;

/// A transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// 64-bit.
    pub xid: u64,
    pub lsn: Lsn,
    pub at: Option<Time>,
}

/// A piece of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Begin(Commit),
    /// The statement as it was typed, whose effects follow.
    Words(Box<TypedWords>),
    /// A schema change; its text is the block.
    Effect(Box<Effect>),
    /// A statement that is written as text; its text is the block.
    Ddl {
        command: String,
        role: Vec<u8>,
    },
    /// A line of a row change, of a sequence, or another statement of one line.
    Statement,
    /// The first line of a COPY block.
    Copy,
    CopyRow,
    CopyEnd,
    Mark(Box<Mark>),
    Flag {
        reason: Vec<u8>,
        lost: Option<Lost>,
    },
    LeftOut(Vec<u8>),
    End,
}

/// The reader.
pub struct Reading<'a> {
    storage: &'a dyn Storage,
    stretch: &'a Stretch,
    /// True for a segment that has nothing of what is wanted.
    skips: &'a dyn Fn(&Segment) -> bool,
    next: usize,
    open: Option<Open>,
    /// What the lines of a block belong to.
    block: Option<(Piece, Vec<u8>)>,
    /// The lines of a block that is complete.
    text: Option<Vec<u8>>,
    is_over: bool,
}

/// The segment that is being read.
struct Open {
    file: String,
    scanner: Scanner<Shared>,
    hashing: Shared,
    sha256: Option<String>,
    /// The open transaction, if it is of the stretch.
    commit: Option<Commit>,
    /// Who made it, where that was recorded.
    who: Option<Box<Who>>,
}

/// The bytes of a segment; its checksum is taken from it at the end.
#[derive(Clone)]
struct Shared(Rc<RefCell<Hashing<Box<dyn Read>>>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl<'a> Reading<'a> {
    /// Opens nothing yet.
    pub fn new(
        storage: &'a dyn Storage,
        stretch: &'a Stretch,
        skips: &'a dyn Fn(&Segment) -> bool,
    ) -> Reading<'a> {
        Reading {
            storage,
            stretch,
            skips,
            next: 0,
            open: None,
            block: None,
            text: None,
            is_over: false,
        }
    }

    /// The next piece; `None` at the end of the stretch.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        while !self.is_over {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let piece = self.piece_of_line()?;
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// The text of the current piece: its line without the line end, or the lines of its block.
    pub fn text(&self) -> &[u8] {
        match (&self.text, &self.open) {
            (Some(text), _) => text,
            (None, Some(open)) => open.scanner.text(),
            (None, None) => b"",
        }
    }

    /// Nothing behind the open transaction is wanted.
    pub fn stop(&mut self) {
        self.is_over = true;
    }

    /// False at the end.
    fn open_next(&mut self) -> Result<bool> {
        let Some(segment) = self.stretch.segments.get(self.next) else {
            return Ok(false);
        };
        self.next += 1;
        self.ensure_joined(segment)?;
        if (self.skips)(segment) {
            return Ok(true);
        }
        let chain = &self.stretch.chain;
        let file = chain.file(&segment.file());
        let complete = match segment.stored {
            Stored::Partial => Some(complete_of(self.storage, chain, segment)?),
            _ => None,
        };
        // Its writer died, or is, before its header was whole.
        if complete == Some(0) {
            return Ok(true);
        }
        let Some(input) = chain.open(self.storage, segment)? else {
            return Err(gone(self.storage, &file));
        };
        let input: Box<dyn Read> = match complete {
            Some(complete) => Box::new(input.take(complete)),
            None => input,
        };
        let hashing = Shared(Rc::new(RefCell::new(Hashing::new(input))));
        let mut scanner = Scanner::with_text(hashing.clone());
        scanner.keep_text(false);
        self.open = Some(Open {
            file,
            scanner,
            hashing,
            sha256: segment.entry.as_ref().map(|entry| entry.sha256.clone()),
            commit: None,
            who: None,
        });
        Ok(true)
    }

    /// Who made the transaction that is being read, where that was recorded.
    pub fn who(&self) -> Option<&Who> {
        self.open.as_ref()?.who.as_deref()
    }

    /// Segments that the stretch has no use of may lie between them.
    fn ensure_joined(&self, segment: &Segment) -> Result<()> {
        let all = &self.stretch.chain.segments;
        let nth = all.partition_point(|other| other.name < segment.name);
        let before = nth.checked_sub(1).and_then(|nth| all.get(nth));
        let end = before
            .and_then(|before| before.entry.as_ref())
            .map(|entry| entry.end_lsn);
        let start = segment.start_lsn();
        match end {
            Some(end) if end < start && self.stretch.after < start => {
                let number = self.stretch.chain.number;
                let message =
                    format!("segments of chain-{number} are missing: those from {end} to {start}");
                Err(Error::damaged(message))
            }
            _ => Ok(()),
        }
    }

    /// What the next line is; `None` for one that is of no interest.
    fn piece_of_line(&mut self) -> Result<Option<Piece>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        self.text = None;
        let failed = storage::failed("read", self.storage, &open.file);
        let Some((part, event)) = open.scanner.next_line().map_err(failed)? else {
            self.close()?;
            return Ok(None);
        };
        match event {
            Some(Event::Transaction {
                xid,
                commit_lsn,
                commit_time,
                who,
                ..
            }) => {
                if commit_lsn > self.stretch.upto {
                    self.is_over = true;
                    return Ok(None);
                }
                if commit_lsn <= self.stretch.after {
                    return Ok(None);
                }
                let commit = Commit {
                    xid,
                    lsn: commit_lsn,
                    at: commit_time,
                };
                open.commit = Some(commit);
                open.who = who;
                open.scanner.keep_text(true);
                Ok(Some(Piece::Begin(commit)))
            }
            Some(Event::Torn { at, why, .. }) => {
                let place = self.storage.place(&open.file);
                Err(Error::damaged(format!(
                    "{place} is damaged at byte {at}: {why}"
                )))
            }
            Some(Event::End { .. }) => {
                open.scanner.keep_text(false);
                Ok(open.commit.take().map(|_| Piece::End))
            }
            _ if open.commit.is_none() => Ok(None),
            event => Ok(self.inside(part, event)),
        }
    }

    fn inside(&mut self, part: Part, event: Option<Event>) -> Option<Piece> {
        match event {
            Some(Event::Words(words)) => Some(Piece::Words(words)),
            Some(Event::Effect(effect)) => {
                self.block = Some((Piece::Effect(effect), Vec::new()));
                None
            }
            Some(Event::Ddl { command, role }) => {
                self.block = Some((Piece::Ddl { command, role }, Vec::new()));
                None
            }
            Some(Event::Mark(mark)) => Some(Piece::Mark(mark)),
            Some(Event::Flag { reason, lost }) => Some(Piece::Flag { reason, lost }),
            Some(Event::LeftOut { object, .. }) => Some(Piece::LeftOut(object)),
            Some(_) => None,
            None => match part {
                Part::Statement => Some(Piece::Statement),
                Part::Copy => Some(Piece::Copy),
                Part::CopyRow => Some(Piece::CopyRow),
                Part::CopyEnd => Some(Piece::CopyEnd),
                Part::Block(is_last) => self.block_line(is_last),
                Part::Around | Part::Begin | Part::Commit => None,
            },
        }
    }

    fn block_line(&mut self, is_last: bool) -> Option<Piece> {
        let open = self.open.as_ref()?;
        let (_, text) = self.block.as_mut()?;
        text.extend_from_slice(open.scanner.text());
        if !is_last {
            text.push(b'\n');
            return None;
        }
        let (piece, text) = self.block.take()?;
        self.text = Some(text);
        Some(piece)
    }

    /// At the end of a segment.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let Some(sha256) = open.sha256 else {
            return Ok(());
        };
        drop(open.scanner);
        let hashing =
            Rc::into_inner(open.hashing.0).expect("the scanner has gone, which had the other one");
        if hashing.into_inner().finish().sha256 == sha256 {
            return Ok(());
        }
        let place = self.storage.place(&open.file);
        let why = "its checksum does not match the manifest";
        Err(Error::damaged(format!("{place} is damaged: {why}")))
    }
}
