//! Changes of rows, many lines at once: those of a form that is known of their table are collected from where they are,
//! and nothing else is done for each of them. All others go the way of a single line ([`Replay::statement`]).

use archive_query::history::statement::{self, Operation};

use super::super::large::LARGE;
use super::super::Replay;
use super::Squash;
use crate::error::Result;

/// Lines that were collected.
#[derive(Default)]
struct Passed {
    lines: u64,
    /// With their ends.
    bytes: usize,
    /// Rows that came, less those that went, of the table of the last one.
    rows: i64,
    /// The number of that table.
    table: usize,
}

impl Replay<'_> {
    /// Changes of rows, each a line with its end; `line` is the number of the first.
    pub(in super::super) async fn rows(&mut self, mut line: u64, lines: &[u8]) -> Result<()> {
        let mut rest = lines;
        loop {
            let passed = self.pass_known(line, rest);
            line += passed.lines;
            rest = &rest[passed.bytes..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return Ok(());
            };
            self.statement(line, rest[..end].to_vec()).await?;
            line += 1;
            rest = &rest[end + 1..];
        }
    }

    /// Collects lines up to the first for which more is to be done than that.
    fn pass_known(&mut self, line: u64, lines: &[u8]) -> Passed {
        let is_plain = self.is_open
            && !self.may_check
            && self.lanes.is_none()
            && self.lenient.is_none()
            && self.rights.is_unlimited();
        let Some(squash) = self.squash.as_mut().filter(|_| is_plain) else {
            return Passed::default();
        };
        let passed = squash.pass_known(&self.file, line, lines);
        if passed.rows != 0 {
            self.counts
                .add(&squash.tables[passed.table].name, passed.rows);
        }
        self.items += passed.lines;
        self.statements += passed.lines;
        self.bytes += passed.bytes;
        passed
    }
}

impl Squash {
    /// Collects lines of one table that are of a form that is known, up to the first that is not.
    fn pass_known(&mut self, file: &str, line: u64, lines: &[u8]) -> Passed {
        let mut passed = Passed::default();
        let Some((_, name)) = statement::head(lines).filter(|_| !self.is_switched) else {
            return passed;
        };
        let Some(at) = self.find(name) else {
            return passed;
        };
        passed.table = at;
        let mut place = self.place(file, line);
        let table = &mut self.tables[at];
        let others = self.bytes.saturating_sub(table.bytes);
        for newline in memchr::memchr_iter(b'\n', lines) {
            let text = &lines[passed.bytes..newline];
            // One that reaches the limit is collected, and those behind it go the other way.
            if text.len() >= LARGE || others + table.bytes >= self.most {
                break;
            }
            let Some(operation) = table.add_known(place, text) else {
                break;
            };
            passed.rows += match operation {
                Operation::Insert => 1,
                Operation::Update => 0,
                Operation::Delete => -1,
            };
            passed.lines += 1;
            passed.bytes = newline + 1;
            place.line += 1;
        }
        self.bytes = others + table.bytes;
        passed
    }
}

#[cfg(test)]
#[path = "many_tests.rs"]
mod tests;
