//! The segments of a span, line by line, up to a moment.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use archive::segment::DdlBlock;
use archive::Lsn;

use super::apply::Block;
use super::error::{Error, Result};
use super::watch::{Nobody, Observer, Place};
use super::Past;
use crate::history::lines::{Item, Lines, Transaction};

/// A segment that is being read.
pub(super) struct Open {
    lines: Lines<Box<dyn Read + Send>>,
    complete: u64,
    /// As a person calls it.
    pub file: String,
    /// The transaction that has begun.
    pub transaction: Option<Transaction>,
    /// It is to be applied.
    applies: bool,
    /// Its beginning was read, and it is behind the moment.
    is_held: bool,
    copy: Option<Block>,
}

impl Past {
    /// Goes on to a moment: all transactions whose commit LSN is not after it are applied. The span must reach it.
    pub fn advance_to(&mut self, lsn: Lsn, observer: &mut dyn Observer) -> Result<()> {
        self.go_to(lsn.min(self.span.upto), observer)
    }

    /// Forgets the rows, and follows the columns alone to the end of the segments, beyond the moment of the span: what each
    /// column is called there, if it still is, is in [`Self::tables`].
    pub fn follow_columns(&mut self) -> Result<()> {
        self.has_rows = false;
        self.go_to(Lsn(u64::MAX), &mut Nobody)
    }

    fn go_to(&mut self, lsn: Lsn, observer: &mut dyn Observer) -> Result<()> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.next_segment(lsn)? {
                    Some(open) => open,
                    None => return Ok(()),
                },
            };
            let is_over = self.read(&mut open, lsn, observer)?;
            if !is_over {
                self.open = Some(open);
                return Ok(());
            }
        }
    }

    /// To the end of the span.
    pub fn advance(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.advance_to(Lsn(u64::MAX), observer)
    }

    fn next_segment(&mut self, lsn: Lsn) -> Result<Option<Open>> {
        while let Some(piece) = self.span.segments.get(self.next) {
            // All of its commits are behind its start.
            if piece.segment.start_lsn() >= lsn {
                return Ok(None);
            }
            self.next += 1;
            if piece.is_passed_over {
                continue;
            }
            let chain = &self.span.chain;
            let file = self.storage.place(&chain.file(&piece.segment.file()));
            let Some(input) = chain.open(&*self.storage, &piece.segment)? else {
                return Err(Error::NotThere(format!(
                    "{file} has gone since it was listed: retention has removed it"
                )));
            };
            return Ok(Some(Open {
                lines: Lines::new(input),
                complete: piece.complete,
                file,
                transaction: None,
                applies: false,
                is_held: false,
                copy: None,
            }));
        }
        Ok(None)
    }

    /// True at the end of the segment; false where the next transaction is behind the moment.
    fn read(&mut self, open: &mut Open, lsn: Lsn, observer: &mut dyn Observer) -> Result<bool> {
        let path = Arc::<Path>::from(Path::new(&open.file));
        loop {
            if open.is_held {
                let commit = open.transaction.map(|it| it.commit_lsn);
                if commit.is_some_and(|commit| commit > lsn) {
                    return Ok(false);
                }
                open.is_held = false;
                self.begin(open, observer)?;
            }
            if open.lines.next_start() >= open.complete {
                return Ok(true);
            }
            let Some(item) = open.lines.next_item(&path)? else {
                return Err(archive::Error::damaged(
                    &path,
                    open.lines.start(),
                    "it has changed since it was checked: it ends here",
                )
                .into());
            };
            if item == Item::Transaction {
                open.transaction = open.lines.open().transaction;
                open.is_held = true;
                continue;
            }
            if open.applies {
                self.item(open, item, observer)?;
            }
        }
    }

    fn begin(&mut self, open: &mut Open, observer: &mut dyn Observer) -> Result<()> {
        let Some(transaction) = &open.transaction else {
            return Ok(());
        };
        open.applies = !self.snapshot().sees(transaction.xid);
        if self.has_rows {
            self.last = Some(*transaction);
        }
        if open.applies {
            observer.begin(transaction)?;
        }
        Ok(())
    }

    fn item(&mut self, open: &mut Open, item: Item, observer: &mut dyn Observer) -> Result<()> {
        let Some(transaction) = open.transaction else {
            return Ok(());
        };
        let place = Place {
            file: &open.file,
            line: open.lines.number(),
        };
        let text = open.lines.text();
        if !self.has_rows {
            if let Item::Effect(effect) = item {
                self.follow_column_types(&effect, DdlBlock::read(text).statement);
            }
            return Ok(());
        }
        match item {
            Item::Statement => self.statement(&transaction, place, text, observer),
            Item::CopyStart => {
                open.copy = self.copied(&transaction, place, text)?;
                Ok(())
            }
            Item::CopyRow => match &open.copy {
                Some(block) => self.copy_row(&transaction, place, block, text, observer),
                None => Ok(()),
            },
            Item::Effect(effect) => {
                let statement = DdlBlock::read(text).statement;
                let words = open.lines.open().words.as_ref();
                observer.effect(&transaction, place, &effect, statement, words)?;
                self.effect(&transaction, place, &effect, statement, observer)
            }
            Item::Ddl { command, .. } if command == "REWRITE" => {
                let statement = DdlBlock::read(text).statement;
                self.rewrite(&transaction, place, statement, observer)
            }
            Item::End => {
                open.applies = false;
                open.transaction = None;
                Ok(observer.commit(&transaction)?)
            }
            _ => Ok(()),
        }
    }
}
