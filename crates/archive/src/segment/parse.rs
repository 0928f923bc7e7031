//! Reads a segment as a stream of events.
//!
//! It guarantees bounded memory whatever the file contains (only both ends of a long line are kept), no panic
//! on any bytes, and [`Event::Torn`] with the offset after the last complete transaction or position wherever
//! the file is not what the writer writes. This includes a NUL byte, which no text of PostgreSQL contains,
//! but a lost page of a file system does. LSN order and the footer's counts are checked by `summary`.

mod line;
mod rows;
mod standing;

use std::io::{self, BufReader, Read};

use super::cluster_fact::ClusterFact;
use super::effect::{Effect, TypedWords};
use super::flag::Lost;
use super::grammar::{
    first_line, format_of, Comment, Flaw, Footer, Key, BEGIN, COMMIT, COPY_END, COPY_PREFIX,
    COPY_SUFFIX, FORMAT, SETVAL_PREFIX,
};
use super::header::Header;
use super::mark::Mark;
use super::who::Who;
use crate::lsn::Lsn;
use crate::time::Time;
use line::Line;
pub use standing::Standing;

/// How much is read from the file at a time.
const READ_SIZE: usize = 256 * 1024;

/// The contents of a segment, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The header comment; always first.
    Header(Box<Header>),
    /// A transaction begins; `offset` is the start of its comment line.
    Transaction {
        xid: u64,
        commit_lsn: Lsn,
        commit_time: Option<Time>,
        /// Who made it, where that was recorded.
        who: Option<Box<Who>>,
        offset: u64,
    },
    /// A sequences block begins, outside any user transaction.
    Sequences { lsn: Lsn, at: Time },
    /// A DDL block inside a transaction.
    Ddl { command: String, role: Vec<u8> },
    /// The original statement whose effects follow.
    Words(Box<TypedWords>),
    /// An effect inside a transaction.
    Effect(Box<Effect>),
    /// The following DDL block is of a class of objects whose effects are unknown.
    Unhandled { class: String, command: String },
    /// About a role or a tablespace.
    Fact(ClusterFact),
    /// A point with a name, in a transaction.
    Mark(Box<Mark>),
    /// A change that could not be captured exactly, and what is lost by it, if anything.
    Flag { reason: Vec<u8>, lost: Option<Lost> },
    /// An object that a restore omits, such as a view on this extension's functions.
    LeftOut {
        object: Vec<u8>,
        definition: Vec<u8>,
    },
    /// The transaction or sequences block that began last is complete; `offset` is after it.
    End { statements: u64, offset: u64 },
    /// Everything up to here was read.
    Position { lsn: Lsn, at: Time, offset: u64 },
    /// The segment is closed; only the end of the file follows.
    Footer(Footer),
    /// Not what the writer writes, or an unexpected end: the last event. `offset` is after the last complete
    /// transaction, sequences block or position (0: none).
    Torn {
        offset: u64,
        at: u64,
        why: String,
        /// The file breaks off there, or goes on with what a lost page is read as: what a crash leaves of an open
        /// segment. Otherwise something else stands in the place.
        is_cut: bool,
    },
}

/// The kind of a line, for a reader of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A structural comment, the first line, a setting, or a guard of psql.
    Around,
    Begin,
    Commit,
    /// A statement on one line.
    Statement,
    /// The first line of a COPY block.
    Copy,
    CopyRow,
    CopyEnd,
    /// A line of a DDL block or an effect; true for the last one.
    Block(bool),
}

/// The state of the scanner, which determines the possible next lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    HeaderComment,
    Restrict,
    Settings,
    Between,
    Begin,
    Inside,
    Ddl { lines_left: u64 },
    Copy,
    Unrestrict,
    Closed,
    Done,
}

/// The scanner over any reader.
pub struct Scanner<R> {
    input: BufReader<R>,
    line: Line,
    state: State,
    format: u32,
    key: Option<Key>,
    offset: u64,
    complete: u64,
    statements: u64,
    part: Part,
    number: u64,
}

impl<R: Read> Scanner<R> {
    /// Starts at the first byte of a segment.
    pub fn new(input: R) -> Scanner<R> {
        Scanner {
            input: BufReader::with_capacity(READ_SIZE, input),
            line: Line::default(),
            state: State::Magic,
            format: 0,
            key: None,
            offset: 0,
            complete: 0,
            statements: 0,
            part: Part::Around,
            number: 0,
        }
    }

    /// The same for a reader of every line's text ([`Self::next_line`]): its memory is that of the longest line.
    pub fn with_text(input: R) -> Scanner<R> {
        let mut scanner = Scanner::new(input);
        scanner.line.keeps_text = true;
        scanner
    }

    /// Whether the texts of the next lines are kept as well: for a reader of few of them.
    pub fn keep_text(&mut self, keeps: bool) {
        self.line.keeps_text = keeps;
    }

    /// The next event; `None` at the end of the file, which is between two transactions or after a footer, or
    /// after [`Event::Torn`]. Errors are the reader's own.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        while self.state != State::Done {
            match self.next_line()? {
                Some((_, None)) => {}
                Some((_, event)) => return Ok(event),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The next line's kind, and its event if it is one; `None` at the end. [`Event::Torn`] is the last one.
    pub fn next_line(&mut self) -> io::Result<Option<(Part, Option<Event>)>> {
        if self.state == State::Done {
            return Ok(None);
        }
        let start = self.offset;
        self.part = Part::Around;
        if !self.line.read(&mut self.input)? {
            return Ok(self.end_of_file().map(|event| (Part::Around, Some(event))));
        }
        self.number += 1;
        self.offset += self.line.length + u64::from(self.line.has_newline);
        let event = match self.line.flaw() {
            Some(flaw) => Some(self.torn(start, flaw.to_owned(), true)),
            None => self
                .take_line(start)
                .unwrap_or_else(|why| Some(self.torn(start, why, false))),
        };
        Ok(Some((self.part, event)))
    }

    /// The current line without its end.
    pub fn text(&self) -> &[u8] {
        &self.line.text
    }

    /// The beginning of the current line, at most [`LONGEST_COMMENT`] bytes.
    pub fn head(&self) -> &[u8] {
        self.line.head()
    }

    /// Takes the current line, so that a large value is not copied.
    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line.text)
    }

    /// The current line's number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The segment's key, once the header was read.
    pub fn key(&self) -> Option<Key> {
        self.key
    }

    /// Bytes read so far; the size of the file at its end.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// After the last complete transaction, sequences block or position; 0 before the first.
    pub fn complete_offset(&self) -> u64 {
        self.complete
    }

    fn end_of_file(&mut self) -> Option<Event> {
        match self.state {
            State::Between | State::Settings | State::Closed => {
                self.state = State::Done;
                None
            }
            _ => Some(self.torn(self.offset, "unexpected end of file".to_owned(), true)),
        }
    }

    fn torn(&mut self, at: u64, why: String, is_cut: bool) -> Event {
        self.state = State::Done;
        Event::Torn {
            offset: self.complete,
            at,
            why,
            is_cut,
        }
    }

    fn take_line(&mut self, start: u64) -> Result<Option<Event>, Flaw> {
        match self.state {
            State::Magic => self.take_magic(),
            State::HeaderComment => self.take_header(),
            State::Restrict => self.expect_restrict("\\restrict ", State::Settings),
            State::Settings if self.line.starts_with(b"SET ") => Ok(None),
            State::Settings | State::Between => self.take_between(start),
            State::Begin => {
                self.part = Part::Begin;
                self.expect(BEGIN, State::Inside)
            }
            State::Inside => self.take_inside(),
            State::Ddl { lines_left } => {
                self.part = Part::Block(lines_left <= 1);
                self.state = match lines_left {
                    0 | 1 => State::Inside,
                    more => State::Ddl {
                        lines_left: more - 1,
                    },
                };
                Ok(None)
            }
            State::Copy => {
                self.part = Part::CopyRow;
                if self.line.is(COPY_END) {
                    self.part = Part::CopyEnd;
                    self.state = State::Inside;
                }
                Ok(None)
            }
            State::Unrestrict => self.expect_restrict("\\unrestrict ", State::Closed),
            State::Closed | State::Done => Err("something follows the footer".to_owned()),
        }
    }

    fn take_magic(&mut self) -> Result<Option<Event>, Flaw> {
        self.format = format_of(self.line.head()).unwrap_or(FORMAT);
        self.expect(&first_line(self.format), State::HeaderComment)
    }

    fn expect(&mut self, text: &str, next: State) -> Result<Option<Event>, Flaw> {
        if !self.line.is(text) {
            return Err(format!("\"{text}\" expected"));
        }
        self.state = next;
        Ok(None)
    }

    fn expect_restrict(&mut self, prefix: &str, next: State) -> Result<Option<Event>, Flaw> {
        let key = self.key.ok_or("no key")?;
        self.expect(&format!("{prefix}{}", key.as_str()), next)
    }

    fn take_header(&mut self) -> Result<Option<Event>, Flaw> {
        let key = Comment::key_of(self.line.head()).ok_or("header comment expected")?;
        self.key = Some(key);
        let comment = self
            .line
            .comment(key)
            .filter(|comment| comment.kind == "header");
        let header = Header::read(&comment.ok_or("header comment expected")?, self.format)?;
        self.state = State::Restrict;
        Ok(Some(Event::Header(Box::new(header))))
    }

    fn take_between(&mut self, start: u64) -> Result<Option<Event>, Flaw> {
        let comment = self.key.and_then(|key| self.line.comment(key));
        let comment = comment.ok_or("structural comment expected")?;
        let (event, next) = match comment.kind {
            "transaction" => {
                let xid = comment.value("xid")?;
                let commit_lsn = comment.value("commit_lsn")?;
                let commit_time = comment.optional("commit_time", |c, name| c.time(name))?;
                let who = Who::read(&comment)?.map(Box::new);
                let offset = start;
                (
                    Event::Transaction {
                        xid,
                        commit_lsn,
                        commit_time,
                        who,
                        offset,
                    },
                    State::Begin,
                )
            }
            "sequences" => {
                let (lsn, at) = (comment.value("lsn")?, comment.time("at")?);
                (Event::Sequences { lsn, at }, State::Begin)
            }
            "position" => {
                let (lsn, at) = (comment.value("lsn")?, comment.time("at")?);
                self.complete = self.offset;
                (
                    Event::Position {
                        lsn,
                        at,
                        offset: self.offset,
                    },
                    State::Between,
                )
            }
            "footer" => (Event::Footer(Footer::read(&comment)?), State::Unrestrict),
            other => return Err(format!("unexpected {other} comment")),
        };
        self.state = next;
        self.statements = 0;
        Ok(Some(event))
    }

    /// A statement of several lines, with any contents.
    fn begin_block(&mut self, lines_left: u64, event: Event) -> Result<Option<Event>, Flaw> {
        self.statements += 1;
        self.state = State::Ddl { lines_left };
        Ok(Some(event))
    }

    fn take_inside(&mut self) -> Result<Option<Event>, Flaw> {
        if let Some(comment) = self.key.and_then(|key| self.line.comment(key)) {
            return match comment.kind {
                "ddl" => {
                    let (command, role) = (comment.text("command")?, comment.bytes("role")?);
                    let lines = block_lines(&comment)?;
                    self.begin_block(lines, Event::Ddl { command, role })
                }
                "effect" if self.format > 1 => {
                    let effect = Effect::read(&comment)?;
                    let lines = block_lines(&comment)?;
                    self.begin_block(lines, Event::Effect(Box::new(effect)))
                }
                "words" if self.format > 1 => {
                    let words = TypedWords::read(&comment)?;
                    Ok(Some(Event::Words(Box::new(words))))
                }
                "unhandled" if self.format > 1 => Ok(Some(Event::Unhandled {
                    class: comment.text("class")?,
                    command: comment.text("command")?,
                })),
                "flag" => Ok(Some(Event::Flag {
                    reason: comment.bytes("reason")?,
                    lost: Lost::read(&comment)?,
                })),
                "left_out" => Ok(Some(Event::LeftOut {
                    object: comment.bytes("object")?,
                    definition: comment.bytes("definition")?,
                })),
                "mark" if self.format > 1 => Ok(Some(Event::Mark(Box::new(Mark::read(&comment)?)))),
                other => match ClusterFact::read(&comment) {
                    Some(fact) => Ok(Some(Event::Fact(fact?))),
                    None => Err(format!("unexpected {other} comment inside a transaction")),
                },
            };
        }
        if self.line.is(COMMIT) {
            self.part = Part::Commit;
            self.state = State::Between;
            self.complete = self.offset;
            return Ok(Some(Event::End {
                statements: self.statements,
                offset: self.offset,
            }));
        }
        if !self.line.ends_with(b";") {
            return Err("a statement that spans more than one line".to_owned());
        }
        self.part = Part::Statement;
        if self.line.starts_with(COPY_PREFIX.as_bytes())
            && self.line.ends_with(COPY_SUFFIX.as_bytes())
        {
            self.part = Part::Copy;
            self.state = State::Copy;
        }
        self.statements += u64::from(!self.line.starts_with(SETVAL_PREFIX.as_bytes()));
        Ok(None)
    }
}

/// The number of lines of the block that a comment announces.
fn block_lines(comment: &Comment<'_>) -> Result<u64, Flaw> {
    match comment.value("lines")? {
        0 => Err(format!("{} comment without lines", comment.kind)),
        lines => Ok(lines),
    }
}
