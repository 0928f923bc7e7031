//! The results of a search, whose text is read from the files again on demand.

use std::collections::BTreeMap;

use super::ddl::Ddl;
use super::files::Files;
use super::index::BlockReader;
use super::lines::{Session, Transaction, Typed};
use super::literal::Value;
use super::names::Place;
use super::statement::{self, Operation};
use archive::error::Result;
use archive::literal::push_literal;
use archive::lock::Lock;
use archive::lsn::Lsn;
use archive::time::Time;

/// A result.
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// The session that made it, by its number.
    pub who: Option<u32>,
    pub transaction: Transaction,
    pub line: u64,
    pub length: u64,
    pub what: What,
}

/// Its kind.
#[derive(Debug, Clone, Copy)]
pub enum What {
    Statement(Operation),
    /// A row change that could not be parsed.
    Unread(Operation),
    /// A row of a COPY block, whose first line this is.
    CopyRow(u32),
    Truncate,
    /// DDL with its command tag.
    Ddl(u32),
    /// An effect, with a command tag, and the statement above it.
    Effect(u32, Option<u32>),
}

impl Hit {
    /// Both are effects of the same statement.
    fn is_of_statement(&self, other: &Hit) -> bool {
        self.transaction.xid == other.transaction.xid
            && matches!((self.what, other.what), (What::Effect(_, Some(one)), What::Effect(_, Some(two))) if one == two)
    }
}

/// A row of the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub commit_time: Option<Time>,
    pub xid: Option<u64>,
    pub lsn: Option<Lsn>,
    /// Who made the transaction, where that was recorded.
    pub who: Option<Session>,
    /// INSERT, UPDATE, DELETE, TRUNCATE, a command, or NOT SHOWN.
    pub operation: String,
    /// In the database's encoding; for a schema change, all its effects that name the table.
    pub statement: Option<Vec<u8>>,
    /// Relative to the database's directory.
    pub file: Option<String>,
    pub line: Option<u64>,
    /// The original statement that had this effect.
    pub typed: Option<Typed>,
    /// A remark, if any.
    pub note: Option<String>,
}

/// The operation of a row about missing contents.
pub const NOT_SHOWN: &str = "NOT SHOWN";

/// All results, in the order of the files.
pub struct Found {
    files: Files,
    /// Prevents removal of files while rows are read.
    _lock: Lock,
    hits: std::collections::btree_map::IntoIter<Place, Hit>,
    heads: Vec<Vec<u8>>,
    commands: Vec<String>,
    typed: Vec<Typed>,
    sessions: Vec<Session>,
    /// The next result after the problems of its file and earlier ones.
    next: Option<(Place, Hit)>,
    /// Files whose problems have been reported.
    told: usize,
    reader: Option<(usize, BlockReader)>,
    last: Vec<String>,
}

impl Found {
    pub(super) fn new(
        (files, lock): (Files, Lock),
        hits: BTreeMap<Place, Hit>,
        (heads, commands, typed, sessions): (Vec<Vec<u8>>, Vec<String>, Vec<Typed>, Vec<Session>),
        undecided: u64,
        unfollowed: u64,
    ) -> Found {
        let mut last = Vec::new();
        if undecided > 0 {
            last.push(format!(
                "{undecided} changes of the table identify their rows by other columns: some may concern this row"
            ));
        }
        if unfollowed > 0 {
            last.push(format!(
                "the row had too many keys: {unfollowed} were not followed"
            ));
        }
        last.reverse();
        let mut hits = hits.into_iter();
        let next = hits.next();
        Found {
            files,
            _lock: lock,
            hits,
            heads,
            commands,
            typed,
            sessions,
            next,
            told: 0,
            reader: None,
            last,
        }
    }

    /// What is missing, damaged or unclear, by file; known before the first row is read.
    pub fn problems(&self) -> Vec<String> {
        let of_files = self.files.files.iter().flat_map(|file| {
            let shown = file.shown();
            let problems = file.problems.iter();
            problems.map(move |problem| format!("{shown}: {problem}"))
        });
        of_files.chain(self.last.iter().rev().cloned()).collect()
    }

    /// Commit time of the first transaction in the files.
    pub fn first_commit(&self) -> Option<Time> {
        super::files::first_commit(&self.files)
    }

    /// The next row.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        let until = self
            .next
            .map_or(self.files.files.len(), |(place, _)| place.0 + 1);
        while self.told < until {
            let file = &mut self.files.files[self.told];
            if !file.problems.is_empty() {
                let note = file.problems.remove(0);
                return Ok(Some(Row {
                    file: Some(file.shown()),
                    ..not_shown(note)
                }));
            }
            self.told += 1;
        }
        let Some((place, hit)) = std::mem::replace(&mut self.next, self.hits.next()) else {
            return Ok(self.last.pop().map(not_shown));
        };
        let mut row = self.row(place, hit)?;
        // All effects of one statement are one row.
        let is_more = |next: &(Place, Hit)| next.0 .0 == place.0 && next.1.is_of_statement(&hit);
        while let Some((place, more)) = self.next.filter(is_more) {
            self.next = self.hits.next();
            let more = self.row(place, more)?;
            match (&mut row.statement, more.statement) {
                (Some(statement), Some(more)) => statement.extend([&b";\n"[..], &more].concat()),
                (_, None) => row.note = more.note,
                (None, _) => {}
            }
        }
        Ok(Some(row))
    }

    fn row(&mut self, place: Place, hit: Hit) -> Result<Row> {
        let text = self.text(place, hit.length);
        let mut row = Row {
            commit_time: hit.transaction.commit_time,
            xid: Some(hit.transaction.xid),
            lsn: Some(hit.transaction.commit_lsn),
            who: hit.who.map(|number| self.sessions[number as usize].clone()),
            file: Some(self.files.files[place.0].shown()),
            line: Some(hit.line),
            ..Row::default()
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                row.operation = NOT_SHOWN.to_owned();
                row.note = Some(error.to_string());
                return Ok(row);
            }
        };
        let (operation, statement) = match hit.what {
            What::Statement(operation) => (name(operation).to_owned(), text),
            What::Unread(operation) => {
                row.note = Some("could not be parsed: it may concern another row".to_owned());
                (name(operation).to_owned(), text)
            }
            What::CopyRow(head) => {
                row.note = Some("a row of a COPY block".to_owned());
                let head = &self.heads[head as usize];
                ("INSERT".to_owned(), insert_of(head, &text))
            }
            What::Truncate => ("TRUNCATE".to_owned(), text),
            What::Ddl(number) | What::Effect(number, _) => {
                let block = memchr::memchr(b'\n', &text).map_or(&text[..], |at| &text[at + 1..]);
                let statement = Ddl::read(block, b"").statement.to_vec();
                (self.commands[number as usize].clone(), statement)
            }
        };
        row.operation = operation;
        if let What::Effect(_, Some(number)) = hit.what {
            let typed = &self.typed[number as usize];
            row.operation.clone_from(&typed.command);
            row.typed = Some(typed.clone());
        }
        row.statement = Some(statement);
        Ok(row)
    }

    /// The bytes without the last line end.
    fn text(&mut self, place: Place, length: u64) -> Result<Vec<u8>> {
        let file = &self.files.files[place.0];
        let reader = match &mut self.reader {
            Some((nth, reader)) if *nth == place.0 => reader,
            reader => {
                let opened = file.open_by(BlockReader::open)?;
                &mut reader.insert((place.0, opened)).1
            }
        };
        let mut text = match reader.read(place.1, length) {
            Ok(text) => text,
            Err(error) => {
                self.reader = None;
                return Err(error);
            }
        };
        text.pop();
        Ok(text)
    }
}

fn not_shown(note: String) -> Row {
    Row {
        operation: NOT_SHOWN.to_owned(),
        note: Some(note),
        ..Row::default()
    }
}

pub(super) fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "INSERT",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    }
}

/// The INSERT equivalent to a row of COPY.
pub(super) fn insert_of(head: &[u8], row: &[u8]) -> Vec<u8> {
    let start = head.strip_prefix(b"COPY ").unwrap_or(head);
    let target = start.strip_suffix(b" FROM stdin;").unwrap_or(start);
    let mut insert = [b"INSERT INTO ", target, b" VALUES ("].concat();
    for (nth, value) in statement::copy_values(row).enumerate() {
        if nth > 0 {
            insert.extend_from_slice(b", ");
        }
        match value {
            Value::Null => insert.extend_from_slice(b"null"),
            Value::Text(text) => push_literal(&mut insert, &text),
        }
    }
    insert.extend_from_slice(b");");
    insert
}
