//! A plain dump without `dump.toc`, of a release before 0.3.0.
//!
//! Nothing says where its entries are. What is outside of quotes, by the rules of the server, is cut at pg_dump's
//! comments and at COPY: a definition keeps no comment of a user's outside of quotes.

use std::io::Read;

use archive::dump::Listed;

use super::ahead::Ahead;
use super::counted::Count;
use super::entry::Entries;
use super::large_objects;
use super::lexer::Lexer;
use super::plain::without_head;
use super::rows::CopyStatement;
use super::Loading;
use crate::error::Result;

/// Lines of large objects are sent when they are this long together, in bytes.
const BATCH: usize = 256 * 1024;
const COMPLETE: &[u8] = b"-- PostgreSQL database dump complete\n";
const HEAD: &[u8] = b"--\n";

/// Loads it.
pub async fn load<'a>(
    loading: &Loading<'a>,
    entries: &mut Entries<'a>,
    input: Box<dyn Read + Send>,
    count: &Count,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let file = loading.file(&loading.base.metadata.dump);
    let unreadable = loading.unreadable(&file);
    let mut input = Ahead::start(input);
    let mut text = Text::default();
    while let Some(line) = input.line().await.map_err(&unreadable)? {
        text.number += 1;
        let is_outside = text.lexer.is_plain() && text.is_ended;
        if is_outside && line.starts_with(b"\\") {
            if !is_guard(&line) {
                return Err(entries.misfit(None, "it has a meta-command of psql"));
            }
            continue;
        }
        if is_outside && (line == HEAD && !text.is_in_head() || line.starts_with(b"COPY ")) {
            text.send(entries).await?;
            progress(count.get());
        }
        text.is_complete |= is_outside && line == COMPLETE;
        if is_outside && large_objects::is_frame(&line) {
            // What is sent between the two is one piece.
            text.is_framed = line == b"BEGIN;\n";
            continue;
        }
        text.add(&line);
        if let Some(statement) = text.copy() {
            let entry = text.described(true);
            if entries.passes(&entry, b"").await? {
                text.number += pass_rows(&mut input).await.map_err(&unreadable)?;
                text.clear();
                continue;
            }
            entries.before(&entry).await?;
            if entries.lacks_table(&entry).await? {
                let lines = pass_rows(&mut input).await.map_err(&unreadable)?;
                text.number += lines;
                entries.leave_out_rows(lines - 1);
                text.clear();
                entries.commit().await?;
                continue;
            }
            let mut tick = || progress(count.get());
            let copied = statement.copy(
                entries.session(),
                entries.is_utf8(),
                &mut input,
                &unreadable,
                &mut tick,
            );
            let rows = copied
                .await
                .map_err(|error| entries.at(&entry, text.first, b"", error))?;
            text.number += rows + 1;
            text.clear();
            entries.count(statement.table(), rows).await?;
            entries.commit().await?;
        } else if text.pending.len() > BATCH && large_objects::is_known(&line) {
            text.send(entries).await?;
        }
    }
    text.send(entries).await?;
    progress(count.get());
    if text.is_complete && text.lexer.is_plain() {
        return Ok(());
    }
    Err(entries.misfit(None, "it is not complete"))
}

/// What is read and not sent.
struct Text {
    lexer: Lexer,
    pending: Vec<u8>,
    /// Numbers of its first line, and of the last one that was read.
    first: u64,
    number: u64,
    /// The last statement has its `;`.
    is_ended: bool,
    is_complete: bool,
    /// pg_dump's comment above it.
    name: Vec<u8>,
    /// Large objects are read, which are one piece with all that is sent before their end.
    is_framed: bool,
}

impl Default for Text {
    fn default() -> Text {
        Text {
            lexer: Lexer::Plain,
            pending: Vec::new(),
            first: 1,
            number: 0,
            is_ended: true,
            is_complete: false,
            name: Vec::new(),
            is_framed: false,
        }
    }
}

impl Text {
    fn add(&mut self, line: &[u8]) {
        if self.pending.is_empty() {
            self.first = self.number;
        }
        if self.pending == HEAD {
            self.name = line
                .strip_prefix(b"-- ")
                .unwrap_or_default()
                .trim_ascii_end()
                .to_vec();
        }
        let last = self.lexer.line(line);
        if let Some(last) = last {
            self.is_ended = self.lexer.is_plain() && last == b';';
        }
        self.pending.extend_from_slice(line);
    }

    /// It is the first two lines of pg_dump's comment, which the third one ends.
    fn is_in_head(&self) -> bool {
        self.pending.starts_with(HEAD) && memchr::memchr_iter(b'\n', &self.pending).count() == 2
    }

    /// All of it is a COPY statement.
    fn copy(&self) -> Option<CopyStatement> {
        if !self.pending.starts_with(b"COPY ") || !self.is_ended {
            return None;
        }
        let (statement, length) = CopyStatement::parse(&self.pending)?;
        (length == self.pending.len()).then_some(statement)
    }

    fn described(&self, is_data: bool) -> Listed {
        const TYPE: &[u8] = b"; Type: ";
        let name = self.name.as_slice();
        let kind = memchr::memmem::rfind(name, TYPE).map(|at| &name[at + TYPE.len()..]);
        let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
        Listed {
            is_data,
            kind: kind.unwrap_or(b"SQL").to_vec(),
            name: name.to_vec(),
            ..Listed::default()
        }
    }

    async fn send(&mut self, entries: &mut Entries<'_>) -> Result<()> {
        if !self.pending.trim_ascii().is_empty() {
            let entry = self.described(false);
            let body = without_head(&self.pending).unwrap_or(&self.pending);
            let lines = memchr::memchr_iter(b'\n', &self.pending).count()
                - memchr::memchr_iter(b'\n', body).count();
            let first = self.first + lines as u64;
            if self.is_framed {
                if !entries.is_passing() {
                    entries.sql(&entry, first, body).await?;
                }
            } else if !entries.passes(&entry, body).await? {
                entries.entry(&entry, first, body).await?;
            } else if entry.kind == b"SQL" {
                // Settings at the beginning.
                entries.sql(&entry, first, body).await?;
            }
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.is_ended = true;
    }
}

/// Goes behind the rows of a table: the number of lines.
async fn pass_rows(input: &mut Ahead) -> std::io::Result<u64> {
    let mut lines = 0;
    while let Some(line) = input.line().await? {
        lines += 1;
        if line == b"\\.\n" {
            return Ok(lines);
        }
    }
    Err(super::odd("the file ends within the rows of a table"))
}

/// `\restrict` and `\unrestrict`: what is behind them says nothing to the server.
fn is_guard(line: &[u8]) -> bool {
    let words = [&b"\\restrict "[..], b"\\unrestrict "];
    let key = words.iter().find_map(|word| line.strip_prefix(*word));
    key.is_some_and(|key| key.trim_ascii_end().iter().all(u8::is_ascii_alphanumeric))
}
