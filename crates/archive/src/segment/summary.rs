//! Properties of a whole segment, for resume, manifest and verify.

use std::io::{self, Read};

use super::grammar::{Footer, Key};
use super::header::Header;
use super::parse::{Event, Scanner};
use crate::lsn::Lsn;
use crate::time::Time;

/// Sums up the transactions of a segment; the writer maintains the same while it writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The last commit or position, or the start of the segment.
    pub end_lsn: Lsn,
    pub last_commit_lsn: Option<Lsn>,
    pub first_commit_at: Option<Time>,
    pub last_commit_at: Option<Time>,
    pub transactions: u64,
    pub statements: u64,
    /// The highest 64-bit xid, 0 if there is no transaction.
    pub highest_xid: u64,
    /// The number of `flag` comments.
    pub flags: u64,
}

impl Tally {
    /// Counts a complete transaction.
    pub fn add(&mut self, xid: u64, commit_lsn: Lsn, commit_time: Option<Time>, statements: u64) {
        self.end_lsn = commit_lsn;
        self.last_commit_lsn = Some(commit_lsn);
        self.first_commit_at = self.first_commit_at.or(commit_time);
        self.last_commit_at = commit_time.or(self.last_commit_at);
        self.transactions += 1;
        self.statements += statements;
        self.highest_xid = self.highest_xid.max(xid);
    }

    /// The corresponding footer.
    pub fn footer(&self) -> Footer {
        Footer {
            last_commit_lsn: self.last_commit_lsn,
            end_lsn: self.end_lsn,
            first_commit_at: self.first_commit_at,
            last_commit_at: self.last_commit_at,
            transactions: self.transactions,
            statements: self.statements,
        }
    }
}

/// The result of reading a whole segment.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub key: Option<Key>,
    pub header: Option<Header>,
    pub tally: Tally,
    /// Present if the footer and the line after it are complete.
    pub footer: Option<Footer>,
    /// After the last complete transaction, sequences block or position; 0 if there is none.
    pub complete: u64,
    /// After the last transaction or position that is not above the given LSN.
    pub proven: u64,
    /// The size of the file.
    pub size: u64,
    /// Where and why the content is not valid.
    pub torn: Option<(u64, String)>,
    /// It only breaks off there, as an open segment does after a crash.
    pub is_cut: bool,
    /// The first contradiction between complete lines: order, counts.
    pub contradiction: Option<String>,
}

impl Summary {
    /// Reads to the end.
    pub fn of(input: impl Read) -> io::Result<Summary> {
        Summary::with_proven(input, Lsn(0))
    }

    /// Reads to the end, and records how much of the content `confirmed` covers.
    pub fn with_proven(input: impl Read, confirmed: Lsn) -> io::Result<Summary> {
        let mut scanner = Scanner::new(input);
        let mut summary = Summary::default();
        let mut open: Option<(u64, Lsn, Option<Time>)> = None;
        let mut footer = None;
        while let Some(event) = scanner.next_event()? {
            match event {
                Event::Header(header) => {
                    summary.tally.end_lsn = header.start_lsn;
                    summary.header = Some(*header);
                }
                Event::Transaction {
                    xid,
                    commit_lsn,
                    commit_time,
                    ..
                } => {
                    summary.ensure(commit_lsn > summary.tally.end_lsn, "commit", commit_lsn);
                    open = Some((xid, commit_lsn, commit_time));
                }
                Event::End { statements, .. } => {
                    if let Some((xid, commit_lsn, commit_time)) = open.take() {
                        summary.tally.add(xid, commit_lsn, commit_time, statements);
                    }
                }
                Event::Position { lsn, .. } => {
                    summary.ensure(lsn >= summary.tally.end_lsn, "position", lsn);
                    summary.tally.end_lsn = lsn;
                }
                Event::Sequences { lsn, .. } => {
                    summary.ensure(lsn >= summary.tally.end_lsn, "sequences", lsn);
                }
                Event::Flag { .. } => summary.tally.flags += 1,
                Event::LeftOut { .. } | Event::Fact(_) | Event::Mark(_) => {}
                Event::Ddl { .. } | Event::Effect(_) => {}
                Event::Words(_) | Event::Unhandled { .. } => {}
                Event::Footer(found) => footer = Some(found),
                Event::Torn {
                    at, why, is_cut, ..
                } => {
                    summary.torn = Some((at, why));
                    summary.is_cut = is_cut;
                }
            }
            if summary.header.is_some() && summary.tally.end_lsn <= confirmed {
                summary.proven = scanner.complete_offset();
            }
        }
        summary.key = scanner.key();
        summary.complete = scanner.complete_offset();
        summary.size = scanner.offset();
        summary.take_footer(footer);
        Ok(summary)
    }

    fn take_footer(&mut self, footer: Option<Footer>) {
        let Some(footer) = footer.filter(|_| self.torn.is_none()) else {
            return;
        };
        if footer != self.tally.footer() {
            self.contradict("the footer does not match the segment".to_owned());
        }
        self.footer = Some(footer);
    }

    fn ensure(&mut self, holds: bool, what: &str, lsn: Lsn) {
        if !holds {
            self.contradict(format!(
                "{what} at {lsn} comes after {}",
                self.tally.end_lsn
            ));
        }
    }

    fn contradict(&mut self, what: String) {
        self.contradiction.get_or_insert(what);
    }
}
