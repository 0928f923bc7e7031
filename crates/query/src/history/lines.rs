//! A segment line by line, with the kind of each line, for searches.
//!
//! [`archive::segment::Scanner`] checks a segment and keeps no text; this keeps the complete current line, so
//! its memory is that of the longest one. It can start at any line outside of DDL, given what is open there.
//! It performs few checks: checksums show whether a segment is unchanged.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::index::Sum;
use archive::error::{Error, Result};
use archive::lsn::Lsn;
use archive::segment::grammar::{
    format_of, Comment, Key, BEGIN, COMMIT, COPY_END, COPY_PREFIX, COPY_SUFFIX, SETVAL_PREFIX,
};
use archive::segment::{Effect, TypedWords, Who};
use archive::time::{self, Time};

const READ_SIZE: usize = 256 * 1024;

/// A transaction, from its comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// 64-bit.
    pub xid: u64,
    pub commit_lsn: Lsn,
    #[serde(with = "time::json_option")]
    pub commit_time: Option<Time>,
}

/// What is open at the start of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub transaction: Option<Transaction>,
    /// The first line of the COPY block, percent-encoded in JSON.
    #[serde(with = "encoded_option")]
    pub copy: Option<Vec<u8>>,
    /// The statement whose effects follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Typed>,
    /// Who made the transaction, where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Session>,
}

/// The session of a transaction, as [`Who`]. In the database's encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    #[serde(with = "encoded")]
    pub role: Vec<u8>,
    #[serde(with = "encoded")]
    pub application: Vec<u8>,
    #[serde(with = "encoded")]
    pub client: Vec<u8>,
}

impl From<Who> for Session {
    fn from(who: Who) -> Session {
        Session {
            role: who.role,
            application: who.application,
            client: who.client,
        }
    }
}

/// The statement as the user typed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    pub command: String,
    #[serde(with = "encoded")]
    pub role: Vec<u8>,
    /// In the database's encoding.
    #[serde(with = "encoded")]
    pub text: Vec<u8>,
    /// The number of missing bytes; the last character may be incomplete.
    pub cut: u64,
}

impl From<TypedWords> for Typed {
    fn from(words: TypedWords) -> Typed {
        Typed {
            command: words.command,
            role: words.role,
            text: words.text,
            cut: words.text_cut,
        }
    }
}

/// The kind of the current line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Irrelevant: the header, a setting, a block's end, a comment that says how far the segment reaches.
    Other,
    /// Irrelevant for a history, but not for every reader: a flag, a fact about the cluster, what was left out.
    Apart,
    /// The position of a sequence, outside of transactions.
    Position,
    /// The comment that opens a transaction.
    Transaction,
    /// The first line of a COPY block.
    CopyStart,
    CopyRow,
    /// Any other statement on one line.
    Statement,
    /// DDL, all lines of it.
    Ddl {
        command: String,
        role: Vec<u8>,
    },
    /// The original statement, which is open from here on.
    Words,
    /// An effect, all lines of it.
    Effect(Box<Effect>),
    /// A transaction or a sequences block is complete.
    End,
    /// The last line but one.
    Footer,
}

/// The reader.
pub struct Lines<R> {
    input: BufReader<R>,
    text: Vec<u8>,
    key: Option<Key>,
    open: Open,
    /// The position of the sequences block that is open.
    in_sequences: Option<Lsn>,
    start: u64,
    next: u64,
    number: u64,
    next_number: u64,
    sum: Sum,
}

impl<R: Read> Lines<R> {
    /// Starts at the first byte of a segment.
    pub fn new(input: R) -> Lines<R> {
        Lines {
            input: BufReader::with_capacity(READ_SIZE, input),
            text: Vec::new(),
            key: None,
            open: Open::default(),
            in_sequences: None,
            start: 0,
            next: 0,
            number: 0,
            next_number: 1,
            sum: Sum::new(),
        }
    }

    /// Where what is open belongs: the commit of the transaction, or the position of the sequences block.
    pub fn lsn(&self) -> Option<Lsn> {
        let transaction = self.open.transaction;
        transaction.map(|it| it.commit_lsn).or(self.in_sequences)
    }

    /// Starts at a line in the middle, where `input` is positioned.
    pub fn resume(input: R, key: Key, open: Open, offset: u64, number: u64) -> Lines<R> {
        Lines {
            key: Some(key),
            open,
            start: offset,
            next: offset,
            next_number: number,
            ..Lines::new(input)
        }
    }

    /// Reads the next line, or a whole DDL block; `None` at the end of the file. An incomplete line is not
    /// read: it is still being written, or was torn.
    pub fn next_item(&mut self, path: &Path) -> Result<Option<Item>> {
        self.start = self.next;
        self.number = self.next_number;
        self.text.clear();
        if !self.read_line(path)? {
            return Ok(None);
        }
        if self.key.is_none() {
            return self.take_opening(path).map(Some);
        }
        if self.open.copy.is_some() {
            if self.text == COPY_END.as_bytes() {
                self.open.copy = None;
                return Ok(Some(Item::Other));
            }
            return Ok(Some(Item::CopyRow));
        }
        if self.text.starts_with(b"-- @") {
            return self.take_comment(path);
        }
        Ok(Some(self.take_statement()))
    }

    /// The current line without its end.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where the current line starts.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where the next line starts.
    pub fn next_start(&self) -> u64 {
        self.next
    }

    /// The current line's number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line's number.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// What is open after the current line.
    pub fn open(&self) -> &Open {
        &self.open
    }

    /// The segment's key, once its header was read.
    pub fn key(&self) -> Option<Key> {
        self.key
    }

    /// Checksum of the complete lines read since the last call.
    pub fn take_sum(&mut self) -> u64 {
        std::mem::take(&mut self.sum).finish()
    }

    fn read_line(&mut self, path: &Path) -> Result<bool> {
        let before = self.text.len();
        let count = read_until(&mut self.input, &mut self.text).map_err(Error::io("read", path))?;
        if self.text.len() == before || self.text.last() != Some(&b'\n') {
            return Ok(false);
        }
        self.sum.add(&self.text[before..]);
        self.text.pop();
        self.next += count as u64;
        self.next_number += 1;
        Ok(true)
    }

    fn take_opening(&mut self, path: &Path) -> Result<Item> {
        if self.number == 1 {
            return match format_of(&self.text) {
                Some(_) => Ok(Item::Other),
                None => Err(self.damaged(path, "it does not begin with a segment header")),
            };
        }
        self.key = Comment::key_of(&self.text);
        match self.key {
            Some(_) => Ok(Item::Other),
            None => Err(self.damaged(path, "header comment expected")),
        }
    }

    fn take_comment(&mut self, path: &Path) -> Result<Option<Item>> {
        let comment = self.key.and_then(|key| Comment::parse(&self.text, key));
        let Some(comment) = comment else {
            return Ok(Some(Item::Apart));
        };
        let flawed = |why: String| Error::damaged(path, self.start, why);
        match comment.kind {
            "transaction" => {
                let transaction = Transaction {
                    xid: comment.value("xid").map_err(flawed)?,
                    commit_lsn: comment.value("commit_lsn").map_err(flawed)?,
                    commit_time: comment
                        .optional("commit_time", |c, name| c.time(name))
                        .map_err(flawed)?,
                };
                self.open.transaction = Some(transaction);
                self.open.who = Who::read(&comment).map_err(flawed)?.map(Session::from);
                Ok(Some(Item::Transaction))
            }
            "sequences" => {
                self.in_sequences = Some(comment.value("lsn").map_err(flawed)?);
                Ok(Some(Item::Other))
            }
            "ddl" => {
                let lines = comment.value("lines").map_err(flawed)?;
                let command = comment.text("command").map_err(flawed)?;
                let role = comment.bytes("role").map_err(flawed)?;
                self.open.words = None;
                self.take_block(path, lines, Item::Ddl { command, role })
            }
            "effect" => {
                let lines = comment.value("lines").map_err(flawed)?;
                let effect = Effect::read(&comment).map_err(flawed)?;
                self.take_block(path, lines, Item::Effect(Box::new(effect)))
            }
            "words" => {
                let words = TypedWords::read(&comment).map_err(flawed)?;
                self.open.words = Some(words.into());
                Ok(Some(Item::Words))
            }
            "footer" => Ok(Some(Item::Footer)),
            "position" | "mark" => Ok(Some(Item::Other)),
            _ => Ok(Some(Item::Apart)),
        }
    }

    /// The lines of DDL or of an effect.
    fn take_block(&mut self, path: &Path, lines: u64, item: Item) -> Result<Option<Item>> {
        self.text.clear();
        for nth in 0..lines {
            if nth > 0 {
                self.text.push(b'\n');
            }
            if !self.read_line(path)? {
                return Ok(None);
            }
        }
        Ok(Some(item))
    }

    fn take_statement(&mut self) -> Item {
        if self.text == COMMIT.as_bytes() {
            self.open.transaction = None;
            self.open.words = None;
            self.open.who = None;
            self.in_sequences = None;
            return Item::End;
        }
        if self.in_sequences.is_some() && self.text != BEGIN.as_bytes() {
            let is_position = self.text.starts_with(SETVAL_PREFIX.as_bytes());
            return if is_position {
                Item::Position
            } else {
                Item::Apart
            };
        }
        if self.text == BEGIN.as_bytes() || self.open.transaction.is_none() {
            return Item::Other;
        }
        let is_copy = self.text.starts_with(COPY_PREFIX.as_bytes())
            && self.text.ends_with(COPY_SUFFIX.as_bytes());
        if is_copy {
            self.open.copy = Some(self.text.clone());
            return Item::CopyStart;
        }
        Item::Statement
    }

    fn damaged(&self, path: &Path, why: &str) -> Error {
        Error::damaged(path, self.start, why)
    }
}

fn read_until(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match input.read_until(b'\n', text) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Bytes of any encoding in JSON, percent-encoded.
pub mod encoded {
    use serde::{de, Deserialize, Deserializer, Serializer};

    use archive::escape::{percent_decode, percent_encode};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&percent_encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        percent_decode(text.as_bytes()).ok_or_else(|| de::Error::custom("a broken escape"))
    }
}

mod encoded_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Bytes(#[serde(with = "super::encoded")] Vec<u8>);

    pub fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Bytes).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes>::deserialize(deserializer)?.map(|bytes| bytes.0))
    }
}
