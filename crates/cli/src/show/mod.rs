//! `pg_incrbackup show`: what happened between two moments, as SQL.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`options`] | the command line |
//! | [`filter`], [`change`] | what of it is wanted |
//! | [`text`], [`shorten`] | for people |
//! | [`json`] | for programs |

mod change;
mod filter;
mod json;
mod options;
mod shorten;
mod text;

use std::collections::BTreeSet;
use std::io;

use archive::segment::{DdlBlock, Effect, Lost, Mark, TypedWords, Who};
use archive::storage::Storage;
use archive::Lsn;
use archive_query::catalog::Segment;
use archive_query::history::statement;

use crate::error::{Error, Outcome, Result};
use crate::output::Output;
use crate::source;
use crate::stretch::reading::{Commit, Piece, Reading};
use crate::stretch::{self, Asked, Stretch};
use change::RowChange;
use filter::Filter;
pub use options::Show;

/// A change that is shown.
pub enum Change<'a> {
    /// The line of a row change.
    Row(&'a RowChange<'a>, &'a [u8]),
    /// A row of a COPY block: its values, the block's first line, and the row.
    CopyRow(&'a RowChange<'a>, &'a [u8], &'a [u8]),
    /// The tables that are wanted, and the line.
    Truncate(Vec<&'a [u8]>, &'a [u8]),
    Effect(&'a Effect, &'a [u8], Option<&'a TypedWords>),
    /// A statement that is written as text: its command, and the role that ran it.
    Ddl(&'a str, &'a [u8], &'a [u8]),
    /// The position of a sequence, or what surrounds another change.
    Other(&'a [u8]),
    Mark(&'a Mark),
    Flag(&'a [u8], Option<&'a Lost>),
    /// An object that a restore leaves out.
    LeftOut(&'a [u8]),
}

/// How many changes a transaction has.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    pub truncated: u64,
    pub schema_changes: u64,
    pub others: u64,
    pub shown: u64,
    /// Not wanted.
    pub hidden: u64,
}

/// Where changes go.
pub trait Sink {
    /// `who` made the transaction, where that was recorded.
    fn begin(&mut self, commit: Commit, who: Option<&Who>) -> io::Result<()>;
    fn change(&mut self, change: &Change<'_>) -> io::Result<()>;
    fn end(&mut self, tally: &Tally) -> io::Result<()>;
    /// All that was shown, to its reader.
    fn flush(&mut self) -> io::Result<()>;
}

pub fn run(options: &Show, output: &Output) -> Result<Outcome> {
    let filter = Filter::of(options)?;
    let source = source::one(&options.archive)?;
    let storage = &*source.storage;
    // Retention removes nothing meanwhile.
    let _hold = storage.hold()?;
    let catalog = stretch::catalog(storage, output)?;
    let asked = Asked {
        since: options.since.moment()?,
        until: options.until.moment()?,
        chain: options.chain,
        xids: filter.xids.clone(),
    };
    let stretch = Stretch::find(storage, &catalog, &asked)?;
    for note in stretch.notes.iter().filter(|_| filter.xids.is_empty()) {
        output.warning(note);
    }
    let mut sink: Box<dyn Sink> = if output.is_json() {
        Box::new(json::Json::new())
    } else {
        Box::new(text::Text::new(options.color.is_on(), options.full))
    };
    let mut walk = Walk {
        storage,
        stretch: &stretch,
        filter: &filter,
        limit: options.limit.unwrap_or(u64::MAX),
        missing: filter.xids.clone(),
        wanted: None,
    };
    if options.whole && !filter.is_empty() {
        let mut found = Found(BTreeSet::new(), None);
        walk.run(&mut found)?;
        walk.wanted = Some(found.0);
        walk.missing.clone_from(&filter.xids);
        filter.undecided.set(0);
    }
    let shown = walk.run(&mut *sink);
    let flushed = sink.flush();
    let is_read = shown? && keep_reader(flushed)?;
    if is_read {
        walk.ensure_found()?;
    }
    match filter.undecided.get() {
        0 => {}
        count => output.warning(&format!(
            "{count} changes do not tell all columns of --key, and are not shown: a DELETE and the row before an UPDATE \
             are often told by the key of the table alone"
        )),
    }
    Ok(Outcome::Done)
}

/// False if nobody reads any more.
fn keep_reader(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::failed(format!("could not write: {error}"), "")),
    }
}

/// The transactions that have something that is wanted.
struct Found(BTreeSet<Lsn>, Option<Lsn>);

impl Sink for Found {
    fn begin(&mut self, commit: Commit, _: Option<&Who>) -> io::Result<()> {
        self.1 = Some(commit.lsn);
        Ok(())
    }

    fn change(&mut self, _: &Change<'_>) -> io::Result<()> {
        self.0.extend(self.1);
        Ok(())
    }

    fn end(&mut self, _: &Tally) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One pass through the stretch.
struct Walk<'a> {
    storage: &'a dyn Storage,
    stretch: &'a Stretch,
    filter: &'a Filter,
    /// Of transactions.
    limit: u64,
    /// Transactions that are wanted by their ids, and were not met yet.
    missing: BTreeSet<u64>,
    /// All of these transactions is shown, and of no other.
    wanted: Option<BTreeSet<Lsn>>,
}

/// The transaction that is being read.
#[derive(Default)]
struct Current {
    /// Nothing of it is wanted.
    is_passed: bool,
    is_whole: bool,
    tally: Tally,
    words: Option<TypedWords>,
    /// The first line of the open COPY block, and its columns.
    copy: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Walk<'_> {
    /// False if nobody reads any more.
    fn run(&mut self, sink: &mut dyn Sink) -> Result<bool> {
        let (storage, filter, stretch) = (self.storage, self.filter, self.stretch);
        let skips = |segment: &Segment| {
            self.wanted.is_none() && filter.passes_over(storage, &stretch.chain, segment)
        };
        let mut reading = Reading::new(storage, stretch, &skips);
        let (mut current, mut count) = (Current::default(), 0);
        while let Some(piece) = reading.next_piece()? {
            let written = match piece {
                Piece::Begin(commit) => {
                    let is_wanted = filter.xids.is_empty() || filter.xids.contains(&commit.xid);
                    let is_whole = self
                        .wanted
                        .as_ref()
                        .map(|wanted| wanted.contains(&commit.lsn));
                    current = Current {
                        is_passed: !is_wanted || is_whole == Some(false),
                        is_whole: is_whole.unwrap_or(false),
                        ..Current::default()
                    };
                    self.missing.remove(&commit.xid);
                    filter.begin(reading.who());
                    sink.begin(commit, reading.who())
                }
                Piece::End => {
                    count += u64::from(current.tally.shown > 0);
                    let is_found = !filter.xids.is_empty() && self.missing.is_empty();
                    if count >= self.limit || is_found {
                        reading.stop();
                    }
                    sink.end(&current.tally)
                }
                _ if current.is_passed => Ok(()),
                piece => current.take(filter, &piece, reading.text(), sink),
            };
            if !keep_reader(written)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn ensure_found(&self) -> Result<()> {
        let Some(xid) = self.missing.first() else {
            return Ok(());
        };
        let message = format!(
            "transaction {xid} is not in the stretch of chain-{} that was read",
            self.stretch.chain.number
        );
        let hint = "It may have been rolled back or have changed nothing; ids are those of transactions, not of their \
                    subtransactions; SELECT incr_flush() writes the latest commits to the files.";
        Err(Error::no_such_moment(message, hint))
    }
}

impl Current {
    fn take(
        &mut self,
        filter: &Filter,
        piece: &Piece,
        text: &[u8],
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        let mut show = |tally: &mut Tally, is_wanted: bool, change: &Change<'_>| {
            if !is_wanted && !self.is_whole {
                tally.hidden += 1;
                return Ok(());
            }
            tally.shown += 1;
            sink.change(change)
        };
        let tally = &mut self.tally;
        match piece {
            Piece::Words(words) => {
                self.words = Some((**words).clone());
                Ok(())
            }
            Piece::Effect(effect) => {
                tally.schema_changes += 1;
                let statement = DdlBlock::read(text).statement;
                let words = self.words.as_ref();
                let is_wanted = filter.takes_effect(effect, statement, words);
                show(tally, is_wanted, &Change::Effect(effect, statement, words))
            }
            Piece::Ddl { command, role } => {
                tally.schema_changes += 1;
                let statement = DdlBlock::read(text).statement;
                let is_wanted = filter.takes_ddl(role, statement);
                show(tally, is_wanted, &Change::Ddl(command, role, statement))
            }
            Piece::Statement => self.take_statement(filter, text, sink),
            Piece::Copy => {
                let columns = statement::copy_columns(text).unwrap_or_default();
                self.copy = Some((text.to_vec(), columns));
                Ok(())
            }
            Piece::CopyRow => {
                let Some((head, columns)) = &self.copy else {
                    return Ok(());
                };
                tally.inserted += 1;
                let change = RowChange::of_copy_row(head, columns, text);
                let is_wanted = filter.takes_row(&change, text);
                show(tally, is_wanted, &Change::CopyRow(&change, head, text))
            }
            Piece::CopyEnd => {
                self.copy = None;
                Ok(())
            }
            Piece::Mark(mark) => {
                tally.others += 1;
                let is_wanted = filter.takes_other(Some(&mark.role), mark.name.as_bytes());
                show(tally, is_wanted, &Change::Mark(mark))
            }
            Piece::Flag { reason, lost } => {
                tally.others += 1;
                let is_wanted = filter.takes_flag(reason, lost.as_ref());
                show(tally, is_wanted, &Change::Flag(reason, lost.as_ref()))
            }
            Piece::LeftOut(object) => {
                tally.others += 1;
                let is_wanted = filter.takes_other(None, object);
                show(tally, is_wanted, &Change::LeftOut(object))
            }
            Piece::Begin(_) | Piece::End => Ok(()),
        }
    }

    fn take_statement(
        &mut self,
        filter: &Filter,
        text: &[u8],
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        let tally = &mut self.tally;
        let is_whole = self.is_whole;
        if let Some(change) = RowChange::of_line(text) {
            match change.operation {
                "INSERT" => tally.inserted += 1,
                "UPDATE" => tally.updated += 1,
                _ => tally.deleted += 1,
            }
            if !filter.takes_row(&change, text) && !is_whole {
                tally.hidden += 1;
                return Ok(());
            }
            tally.shown += 1;
            return sink.change(&Change::Row(&change, text));
        }
        if let Some(all) = statement::truncated(text) {
            tally.truncated += all.len() as u64;
            let wanted = if is_whole {
                all
            } else {
                filter.truncated(text)
            };
            if wanted.is_empty() {
                tally.hidden += 1;
                return Ok(());
            }
            tally.shown += 1;
            return sink.change(&Change::Truncate(wanted, text));
        }
        tally.others += 1;
        if !filter.takes_other(None, text) && !is_whole {
            tally.hidden += 1;
            return Ok(());
        }
        tally.shown += 1;
        sink.change(&Change::Other(text))
    }
}
