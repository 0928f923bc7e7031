//! Behind a loss statements may not fit what is there: each may fail, and what fails is listed.

use archive::segment::DdlBlock;
use serde::{Deserialize, Serialize};

use super::effects::run;
use super::Replay;
use crate::connection::{RELEASE, ROLLBACK, SAVEPOINT};
use crate::error::{Error, Result};
use crate::restore::deferred;

/// What was left out of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The object, or the start of the statement up to its table.
    pub what: String,
    pub count: u64,
    /// Of the first: file and line, and why.
    pub first: String,
}

/// The state behind a loss.
#[derive(Debug, Default)]
pub struct Lenient {
    left_out: Vec<LeftOut>,
    /// Since [`Self::noted`] was called.
    has_new: bool,
}

impl Lenient {
    /// With what an earlier run has left out.
    pub fn of(left_out: Vec<LeftOut>) -> Lenient {
        Lenient {
            left_out,
            has_new: false,
        }
    }

    /// Whether something was left out since [`Self::noted`].
    pub fn has_new(&self) -> bool {
        self.has_new
    }

    /// What was left out so far, to be kept.
    pub fn noted(&mut self) -> &[LeftOut] {
        self.has_new = false;
        &self.left_out
    }

    /// How many changes were left out so far.
    pub fn count(&self) -> u64 {
        self.left_out.iter().map(|left| left.count).sum()
    }

    pub fn left_out(self) -> Vec<LeftOut> {
        self.left_out
    }

    fn add(&mut self, what: String, place: String) {
        self.has_new = true;
        match self.left_out.iter_mut().find(|left| left.what == what) {
            Some(left) => left.count += 1,
            None => self.left_out.push(LeftOut {
                what,
                count: 1,
                first: place,
            }),
        }
    }
}

impl Replay<'_> {
    /// A statement that may fail.
    pub(super) async fn leniently(&mut self, line: u64, text: &[u8]) -> Result<()> {
        let exactly_one = text.starts_with(b"UPDATE ") || text.starts_with(b"DELETE FROM ");
        self.session.client.batch_execute(SAVEPOINT).await?;
        let ended = match self.session.statement(text).await {
            Ok(count) if count == 1 || !exactly_one => Ok(()),
            Ok(count) => Err(Error::failed(
                format!("it hit {count} rows, not exactly one"),
                "",
            )),
            Err(error) => Err(error),
        };
        self.end_leniently(line, &subject(text), ended).await
    }

    /// A schema change that may fail.
    pub(super) async fn change_leniently(
        &mut self,
        line: u64,
        what: &str,
        block: &DdlBlock<'_>,
        is_own: bool,
    ) -> Result<()> {
        self.session.client.batch_execute(SAVEPOINT).await?;
        let ended = if is_own {
            self.globals.own(self.session, block.statement).await
        } else {
            run(self.session, block).await
        };
        self.end_leniently(line, what, ended).await
    }

    /// Lists an error that was rolled back to a savepoint already.
    pub(super) fn forgive(&mut self, line: u64, what: &str, error: Error) -> Result<()> {
        if is_of_the_server(&error) {
            return Err(self.at(line, error));
        }
        let place = format!("{}:{line}: {error}", self.file);
        if let Some(lenient) = &mut self.lenient {
            lenient.add(what.to_owned(), place);
        }
        Ok(())
    }

    async fn end_leniently(&mut self, line: u64, what: &str, ended: Result<()>) -> Result<()> {
        let Err(error) = ended else {
            return Ok(self.session.client.batch_execute(RELEASE).await?);
        };
        if is_of_the_server(&error) {
            return Err(self.at(line, error));
        }
        self.session.client.batch_execute(ROLLBACK).await?;
        self.forgive(line, what, error)
    }

    /// Rows of a COPY block, each as an INSERT: none makes others fail.
    pub(super) async fn rows_as_inserts(
        &mut self,
        line: u64,
        head: &[u8],
        rows: &[u8],
    ) -> Result<()> {
        let rows = rows.split_inclusive(|byte| *byte == b'\n');
        for (nth, row) in rows.enumerate() {
            let row = row.strip_suffix(b"\n").unwrap_or(row);
            self.statement(line + nth as u64, insert(head, row)).await?;
        }
        Ok(())
    }
}

/// An INSERT of a COPY block's row. `head` is its table with the columns.
fn insert(head: &[u8], row: &[u8]) -> Vec<u8> {
    let mut text = [b"INSERT INTO ", head, b" OVERRIDING SYSTEM VALUE VALUES ("].concat();
    for (nth, field) in row.split(|byte| *byte == b'\t').enumerate() {
        if nth > 0 {
            text.extend_from_slice(b", ");
        }
        if field == b"\\N" {
            text.extend_from_slice(b"NULL");
            continue;
        }
        // The escapes of our COPY blocks are among those of E''.
        text.extend_from_slice(b"E'");
        for byte in field {
            text.extend_from_slice(if *byte == b'\'' {
                b"''"
            } else {
                std::slice::from_ref(byte)
            });
        }
        text.push(b'\'');
    }
    text.extend_from_slice(b");");
    text
}

fn is_of_the_server(error: &Error) -> bool {
    let Error::Server(error) = error else {
        return false;
    };
    let code = error.code();
    code.is_none_or(|code| deferred::is_of_the_server(code.code()))
}

/// The start of a statement, up to the name of its table.
fn subject(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let ends: &[&str] = if text.starts_with("INSERT ") {
        &[" ("]
    } else {
        &[" SET ", " WHERE "]
    };
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let text = &text[..end.unwrap_or(text.len())];
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
