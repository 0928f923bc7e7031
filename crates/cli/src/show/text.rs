//! Changes for people: SQL, with a heading for each transaction.
//!
//! What an archive contains reaches the terminal as text only: control characters are spelled out, and no line of a value or a
//! statement can pose as a heading, since further lines are indented. A transaction's heading has its counts if its text fits
//! into memory; of a larger one they follow at its end.

use archive::counted;
use std::io::{self, BufWriter, Stdout, Write};
use std::time::{Duration, Instant};

use archive::segment::{TypedWords, Who};
use archive::time::iso;
use archive_query::report::text::readable;

use super::{shorten, Change, Sink, Tally};
use crate::shown::{count, line, lines};
use crate::stretch::reading::Commit;

/// So much of a transaction is kept for its heading.
const MOST_KEPT: usize = 256 * 1024;
/// A reader waits no longer for what is there.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

const HEADING: &str = "\x1b[1;33m";
const TYPED: &str = "\x1b[36m";
const GONE: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The text.
pub struct Text {
    out: BufWriter<Stdout>,
    is_colored: bool,
    is_full: bool,
    commit: Option<Commit>,
    /// Who made it, as text; empty if that was not recorded.
    by: String,
    /// What of the transaction is not written yet.
    kept: Vec<u8>,
    /// Its heading is written.
    is_begun: bool,
    is_first: bool,
    /// The words that stand above the effects.
    words: Option<TypedWords>,
    /// The first line of the open COPY block.
    copy: Option<Vec<u8>>,
    flushed: Option<Instant>,
}

impl Text {
    pub fn new(is_colored: bool, is_full: bool) -> Text {
        Text {
            out: BufWriter::new(io::stdout()),
            is_colored,
            is_full,
            commit: None,
            by: String::new(),
            kept: Vec::new(),
            is_begun: false,
            is_first: true,
            words: None,
            copy: None,
            flushed: None,
        }
    }

    fn push(&mut self, color: &str, text: &str) {
        if self.is_colored && !color.is_empty() {
            self.kept.extend_from_slice(color.as_bytes());
            self.kept.extend_from_slice(text.as_bytes());
            self.kept.extend_from_slice(PLAIN.as_bytes());
        } else {
            self.kept.extend_from_slice(text.as_bytes());
        }
        self.kept.push(b'\n');
    }

    fn push_row(&mut self, color: &str, line: &[u8]) {
        let text = if self.is_full {
            lines(&readable(line))
        } else {
            lines(&readable(&shorten::line(line)))
        };
        self.push(color, &text);
    }

    /// Further lines are indented.
    fn push_statement(&mut self, color: &str, text: &[u8], end: &str) {
        let text = if self.is_full {
            readable(text)
        } else {
            readable(&shorten::statement(text))
        };
        let text = lines(text.trim_end()).replace('\n', "\n    ");
        self.push(color, &format!("{text}{end}"));
    }

    fn push_words(&mut self, words: &TypedWords) {
        let at = words
            .at
            .map_or_else(String::new, |at| format!(" at {}", iso(at)));
        let rest = match words.text_cut {
            0 => String::new(),
            cut => format!("... ({} more bytes)", count(cut)),
        };
        let text = readable(&words.text);
        let text = lines(text.trim_end()).replace('\n', "\n--     ");
        let role = lines(&readable(&words.role)).replace('\n', "\\n");
        self.push(TYPED, &format!("-- {role}{at}: {text}{rest}"));
    }

    fn close_copy(&mut self) {
        if self.copy.take().is_some() {
            self.push("", "\\.");
        }
    }

    fn heading(&mut self, tally: Option<&Tally>) -> io::Result<()> {
        let Some(commit) = self.commit else {
            return Ok(());
        };
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b"\n")?;
        }
        let at = commit.at.map_or_else(|| "(time unknown)".to_owned(), iso);
        let counts = tally.map_or_else(|| "many changes".to_owned(), counts);
        let text = format!(
            "-- transaction {}  {at}  {}  {}{counts}",
            commit.xid, commit.lsn, self.by
        );
        let text = text.trim_end();
        if self.is_colored {
            writeln!(self.out, "{HEADING}{text}{PLAIN}")
        } else {
            writeln!(self.out, "{text}")
        }
    }

    fn write_kept(&mut self) -> io::Result<()> {
        self.out.write_all(&self.kept)?;
        self.kept.clear();
        // The first transaction at once.
        let is_due = |flushed: Instant| flushed.elapsed() > LONGEST_WAIT;
        if self.flushed.is_none_or(is_due) {
            self.flush()?;
        }
        Ok(())
    }
}

impl Sink for Text {
    fn begin(&mut self, commit: Commit, who: Option<&Who>) -> io::Result<()> {
        self.commit = Some(commit);
        self.by = who.map(by).unwrap_or_default();
        self.kept.clear();
        self.is_begun = false;
        self.words = None;
        self.copy = None;
        Ok(())
    }

    fn change(&mut self, change: &Change<'_>) -> io::Result<()> {
        if let Change::CopyRow(_, head, row) = change {
            if self.copy.as_deref() != Some(*head) {
                self.close_copy();
                self.push_row("", head);
                self.copy = Some(head.to_vec());
            }
            let text = if self.is_full {
                lines(&readable(row))
            } else {
                lines(&readable(&shorten::copy_row(row)))
            };
            // A row may read like a heading, or like a statement.
            self.push("", &format!("    {text}"));
        } else {
            self.close_copy();
        }
        match change {
            Change::CopyRow(..) => {}
            Change::Row(row, line) if row.operation == "DELETE" => self.push_row(GONE, line),
            Change::Row(_, line) | Change::Other(line) => self.push_row("", line),
            Change::Truncate(_, line) => self.push_row(GONE, line),
            Change::Effect(effect, statement, words) => {
                if let Some(words) = words.filter(|words| self.words.as_ref() != Some(words)) {
                    self.push_words(words);
                    self.words = Some(words.clone());
                }
                let color = if effect.verb == "drop" { GONE } else { "" };
                self.push_statement(color, statement, ";");
            }
            Change::Ddl(command, role, statement) => {
                let role = lines(&readable(role)).replace('\n', "\\n");
                self.push(TYPED, &format!("-- {role}: {}", lines(command)));
                self.push_statement("", statement, ";");
            }
            Change::Mark(mark) => {
                let name = lines(&mark.name).replace('\n', "\\n");
                self.push(TYPED, &format!("-- mark \"{name}\""));
            }
            Change::Flag(reason, lost) => {
                let lost = lost.map_or("", |_| "LOST: ");
                let reason = lines(&readable(reason)).replace('\n', " ");
                self.push(GONE, &format!("-- {lost}{reason}"));
            }
            Change::LeftOut(object) => {
                let object = lines(&readable(object)).replace('\n', " ");
                self.push(TYPED, &format!("-- left out by a restore: {object}"));
            }
        }
        if self.kept.len() > MOST_KEPT {
            if !std::mem::replace(&mut self.is_begun, true) {
                self.heading(None)?;
            }
            self.write_kept()?;
        }
        Ok(())
    }

    fn end(&mut self, tally: &Tally) -> io::Result<()> {
        if tally.shown == 0 {
            return Ok(());
        }
        self.close_copy();
        if !self.is_begun {
            self.heading(Some(tally))?;
        } else {
            let text = format!("-- in all: {}", counts(tally));
            self.push(HEADING, &text);
        }
        if tally.hidden > 0 {
            let hidden = counted(count(tally.hidden), "more change");
            self.push(TYPED, &format!("-- and {hidden}, not shown"));
        }
        self.write_kept()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Some(Instant::now());
        self.out.flush()
    }
}

/// `by alice, psql, 10.0.0.5  `
fn by(who: &Who) -> String {
    let parts = [&who.role, &who.application, &who.client];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| line(&readable(part))).collect();
    format!("by {}  ", parts.join(", "))
}

/// `2 inserted, 1 updated`
fn counts(tally: &Tally) -> String {
    let words = [
        (tally.inserted, "inserted"),
        (tally.updated, "updated"),
        (tally.deleted, "deleted"),
    ];
    let words = words.iter().filter(|(number, _)| *number > 0);
    let mut said: Vec<String> = words
        .map(|(number, word)| format!("{} {word}", count(*number)))
        .collect();
    if tally.truncated > 0 {
        said.push(format!(
            "{} truncated",
            counted(count(tally.truncated), "table")
        ));
    }
    if tally.schema_changes > 0 {
        said.push(counted(count(tally.schema_changes), "schema change"));
    }
    said.join(", ")
}
