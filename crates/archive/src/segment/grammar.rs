//! One structural line: `-- @KEY kind name=value …`, formatted and parsed.
//!
//! The key is random for each segment, so no value and no function body can imitate structure. Values are
//! percent-encoded; a line never contains a raw newline, whatever the values are.

use std::fmt::{self, Display};

use crate::escape::{fitting, percent_decode, percent_encode};
use crate::lsn::Lsn;
use crate::time::{iso, parse_iso, Time};

/// The format that is written. Format 1 has no effects, words and unhandled classes; it can be read.
pub const FORMAT: u32 = 2;
/// The first line of every segment, up to the format's number.
const MAGIC: &str = "-- pg_incrbackup segment format=";
/// Opens a transaction or a sequences block.
pub const BEGIN: &str = "BEGIN;";
/// Ends a transaction or a sequences block.
pub const COMMIT: &str = "COMMIT;";
/// Ends a COPY block.
pub const COPY_END: &str = "\\.";
/// How the first line of a COPY block begins …
pub const COPY_PREFIX: &str = "COPY ";
/// … and ends.
pub const COPY_SUFFIX: &str = " FROM stdin;";
/// The prefix of a line that sets a sequence; such lines don't count as statements.
pub const SETVAL_PREFIX: &str = "SELECT pg_catalog.setval(";
/// In an UPDATE, before its semicolon: old values as a comment, which begins so …
pub const WAS_BEGIN: &[u8] = b" /* was ";
/// … and ends so. Names and values in it have neither in them.
pub const WAS_END: &[u8] = b" */";
/// The longest structural line that is read; a longer one is damage. Values are truncated to fit.
pub const LONGEST_COMMENT: usize = 4096;

/// The first line of a segment of this format.
pub fn first_line(format: u32) -> String {
    format!("{MAGIC}{format}")
}

/// The format in a segment's first line; `None` if it is unknown.
pub fn format_of(line: &[u8]) -> Option<u32> {
    (1..=FORMAT).find(|format| line == first_line(*format).as_bytes())
}

/// The random key of one segment: 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// A key that nobody could have known before.
    pub fn random() -> std::io::Result<Key> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut random = [0u8; 16];
        getrandom::fill(&mut random)?;
        Ok(Key(random.map(|byte| HEX[usize::from(byte & 15)])))
    }

    /// Reads 16 lower-case hex digits.
    pub fn parse(text: &[u8]) -> Option<Key> {
        let digits: [u8; 16] = text.try_into().ok()?;
        digits
            .iter()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Key(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A structural line under construction.
pub struct CommentWriter {
    line: String,
}

impl CommentWriter {
    /// Begins `-- @KEY kind`.
    pub fn new(key: Key, kind: &str) -> CommentWriter {
        CommentWriter {
            line: format!("-- @{} {kind}", key.as_str()),
        }
    }

    /// Begins `kind` alone, for a comment that gets its key when it is written to the segment.
    pub(super) fn keyless(kind: &str) -> CommentWriter {
        CommentWriter {
            line: kind.to_owned(),
        }
    }

    /// Adds a value that has a text form.
    pub fn field(self, name: &str, value: impl Display) -> CommentWriter {
        self.bytes(name, value.to_string().as_bytes())
    }

    /// Adds a time.
    pub fn time(self, name: &str, value: Time) -> CommentWriter {
        self.field(name, iso(value))
    }

    /// Adds a time, or the word `none`.
    pub fn time_or_none(self, name: &str, value: Option<Time>) -> CommentWriter {
        self.field(name, value.map_or_else(|| "none".to_owned(), iso))
    }

    /// Adds any bytes.
    pub fn bytes(mut self, name: &str, value: &[u8]) -> CommentWriter {
        self.line.push(' ');
        self.line.push_str(name);
        self.line.push('=');
        self.line.push_str(&percent_encode(value));
        self
    }

    /// Adds bytes, as many as take up to `most` when they are encoded and fit into the line; after a
    /// truncated value, `NAME_cut` contains the number of missing bytes.
    pub fn cut(self, name: &str, value: &[u8], most: usize) -> CommentWriter {
        let room = self.room().saturating_sub(name.len());
        let count = fitting(value, most.min(room));
        let line = self.bytes(name, &value[..count]);
        line.missing(name, value.len() - count)
    }

    /// Adds pairs of numbers, as many as fit into the line.
    pub fn pairs(mut self, name: &str, pairs: &[(u32, u32)]) -> CommentWriter {
        const LONGEST_PAIR: usize = ",4294967295:4294967295".len();
        let room = self.room().saturating_sub(name.len());
        let end = self.line.len() + room;
        self.line.push_str(&format!(" {name}="));
        let mut count = 0;
        for (one, other) in pairs {
            if self.line.len() + LONGEST_PAIR > end {
                break;
            }
            let comma = if count > 0 { "," } else { "" };
            self.line.push_str(&format!("{comma}{one}:{other}"));
            count += 1;
        }
        self.missing(name, pairs.len() - count)
    }

    fn missing(self, name: &str, count: usize) -> CommentWriter {
        match count {
            0 => self,
            count => self.field(&format!("{name}_cut"), count),
        }
    }

    /// The maximum length of the value of a last field, with space for its name and for the number of missing
    /// bytes.
    pub fn room(&self) -> usize {
        const AROUND: usize = 100;
        LONGEST_COMMENT.saturating_sub(self.line.len() + AROUND)
    }

    /// The line with its newline.
    pub fn finish(mut self) -> String {
        self.line.push('\n');
        self.line
    }
}

/// A parsed structural line: its kind and its raw fields.
#[derive(Debug, Clone, Copy)]
pub struct Comment<'a> {
    pub kind: &'a str,
    fields: &'a str,
}

/// Why a structural line is invalid.
pub type Flaw = String;

impl<'a> Comment<'a> {
    /// Parses a line (without its newline) with this key; `None` if it is another line.
    pub fn parse(line: &'a [u8], key: Key) -> Option<Comment<'a>> {
        let rest = line
            .strip_prefix(b"-- @")?
            .strip_prefix(&key.0)?
            .strip_prefix(b" ")?;
        Some(Self::keyless(std::str::from_utf8(rest).ok()?))
    }

    /// Parses what follows the key.
    pub(super) fn keyless(text: &'a str) -> Comment<'a> {
        let (kind, fields) = text.split_once(' ').unwrap_or((text, ""));
        Comment { kind, fields }
    }

    /// Extracts the key of any structural line; used for the header only.
    pub fn key_of(line: &[u8]) -> Option<Key> {
        Key::parse(line.strip_prefix(b"-- @")?.get(..16)?)
    }

    /// A value's bytes.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Flaw> {
        self.field(name)
            .and_then(|value| percent_decode(value.as_bytes()))
            .ok_or_else(|| format!("{} comment without a valid {name}", self.kind))
    }

    /// A value as text.
    pub fn text(&self, name: &str) -> Result<String, Flaw> {
        String::from_utf8(self.bytes(name)?)
            .map_err(|_| format!("{} comment with a {name} that is not UTF-8", self.kind))
    }

    /// A value that has a text form.
    pub fn value<T: std::str::FromStr>(&self, name: &str) -> Result<T, Flaw> {
        let text = self.text(name)?;
        text.parse().map_err(|_| self.invalid(name, &text))
    }

    /// True if the field exists.
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// How much of a field is missing.
    pub fn missing(&self, name: &str) -> Result<u64, Flaw> {
        let name = format!("{name}_cut");
        match self.field(&name) {
            None => Ok(0),
            Some(_) => self.value(&name),
        }
    }

    /// Pairs of numbers.
    pub fn pairs(&self, name: &str) -> Result<Vec<(u32, u32)>, Flaw> {
        let text = self.text(name)?;
        let pair = |pair: &str| {
            let (one, other) = pair.split_once(':')?;
            Some((one.parse().ok()?, other.parse().ok()?))
        };
        let pairs: Option<Vec<(u32, u32)>> = match text.as_str() {
            "" => Some(Vec::new()),
            text => text.split(',').map(pair).collect(),
        };
        pairs.ok_or_else(|| self.invalid(name, &text))
    }

    /// A time.
    pub fn time(&self, name: &str) -> Result<Time, Flaw> {
        let text = self.text(name)?;
        parse_iso(&text).ok_or_else(|| self.invalid(name, &text))
    }

    /// A value or the word `none`.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Comment<'a>, &str) -> Result<T, Flaw>,
    ) -> Result<Option<T>, Flaw> {
        if self.bytes(name)? == b"none" {
            return Ok(None);
        }
        read(self, name).map(Some)
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.fields
            .split(' ')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    fn invalid(&self, name: &str, text: &str) -> Flaw {
        format!("{} comment with invalid {name} \"{text}\"", self.kind)
    }
}

/// The contents of the last structural line of a closed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// `None` if the segment contains no transaction, only positions or sequences.
    pub last_commit_lsn: Option<Lsn>,
    /// The start of the next segment: the last commit or position.
    pub end_lsn: Lsn,
    pub first_commit_at: Option<Time>,
    pub last_commit_at: Option<Time>,
    pub transactions: u64,
    pub statements: u64,
}

impl Footer {
    /// The line and the following `\unrestrict`.
    pub fn write(&self, key: Key) -> String {
        let last_commit_lsn = self
            .last_commit_lsn
            .map_or("none".to_owned(), |l| l.to_string());
        let mut text = CommentWriter::new(key, "footer")
            .field("last_commit_lsn", last_commit_lsn)
            .field("end_lsn", self.end_lsn)
            .time_or_none("first_commit_at", self.first_commit_at)
            .time_or_none("last_commit_at", self.last_commit_at)
            .field("transactions", self.transactions)
            .field("statements", self.statements)
            .finish();
        text.push_str(&format!("\\unrestrict {}\n", key.as_str()));
        text
    }

    /// Reads the line.
    pub fn read(comment: &Comment<'_>) -> Result<Footer, Flaw> {
        Ok(Footer {
            last_commit_lsn: comment.optional("last_commit_lsn", |c, name| c.value(name))?,
            end_lsn: comment.value("end_lsn")?,
            first_commit_at: comment.optional("first_commit_at", |c, name| c.time(name))?,
            last_commit_at: comment.optional("last_commit_at", |c, name| c.time(name))?,
            transactions: comment.value("transactions")?,
            statements: comment.value("statements")?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::parse(b"0123456789abcdef").unwrap()
    }

    #[test]
    fn keys_are_random_hex() {
        let one = Key::random().unwrap();
        assert_eq!(Key::parse(one.as_str().as_bytes()), Some(one));
        assert_ne!(one, Key::random().unwrap());
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert_eq!(Key::parse(bad.as_bytes()), None);
        }
    }

    #[test]
    fn any_value_stays_on_one_line_and_comes_back() {
        let nasty = b"a b\nc=d\\.\r\0\xff% -- @";
        let line = CommentWriter::new(key(), "flag")
            .bytes("reason", nasty)
            .finish();
        assert_eq!(line.matches('\n').count(), 1);
        let comment = Comment::parse(line.trim_end().as_bytes(), key()).unwrap();
        assert_eq!(comment.kind, "flag");
        assert_eq!(comment.bytes("reason").unwrap(), nasty);
        assert!(comment.bytes("eason").is_err() && comment.bytes("other").is_err());
    }

    #[test]
    fn a_format_is_known_or_is_none() {
        assert_eq!(format_of(first_line(1).as_bytes()), Some(1));
        assert_eq!(format_of(first_line(FORMAT).as_bytes()), Some(FORMAT));
        for unknown in ["", "0", "3", "12", "2 ", "02"] {
            let line = format!("-- pg_incrbackup segment format={unknown}");
            assert_eq!(format_of(line.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn only_lines_with_the_key_are_structure() {
        for line in [
            "-- @0123456789abcdee flag reason=x",
            "-- flag",
            " -- @0123456789abcdef flag",
        ] {
            assert!(Comment::parse(line.as_bytes(), key()).is_none(), "{line:?}");
        }
    }

    #[test]
    fn footers_go_there_and_back() {
        let time = parse_iso("2026-11-21T03:40:00.123456Z");
        let full = Footer {
            last_commit_lsn: Some(Lsn(77)),
            end_lsn: Lsn(78),
            first_commit_at: time,
            last_commit_at: time,
            transactions: 5,
            statements: 6,
        };
        let bare = Footer {
            last_commit_lsn: None,
            first_commit_at: None,
            last_commit_at: None,
            transactions: 0,
            ..full.clone()
        };
        for footer in [full, bare] {
            let text = footer.write(key());
            let (line, rest) = text.split_once('\n').unwrap();
            assert_eq!(rest, "\\unrestrict 0123456789abcdef\n");
            let comment = Comment::parse(line.as_bytes(), key()).unwrap();
            assert_eq!(Footer::read(&comment), Ok(footer));
        }
    }
}
