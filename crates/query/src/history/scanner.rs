//! Where words of SQL begin and end: in the lines that the output plugin wrote ([`Words`]), and in a
//! statement as somebody typed it ([`tokens`]).

use std::borrow::Cow;

use archive::segment::grammar::WAS_BEGIN;

use super::literal::{name_of, unescape, Value};

/// Reads one word after the other.
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Begins at the start of `text`.
    pub fn new(text: &'a [u8]) -> Words<'a> {
        Words { rest: text }
    }

    /// The rest of the text.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Skips `text` if it follows.
    pub fn pass(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The same for use with `?`.
    pub fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.pass(text).then_some(())
    }

    /// An identifier: unquoted, `"…"` or `U&"…"`.
    pub fn identifier(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        let quoted = start.strip_prefix(b"U&").unwrap_or(start);
        let length = match quoted.strip_prefix(b"\"") {
            Some(inside) => {
                start.len() - quoted.len() + 1 + end_of_quoted(inside, b'"', false)? + 1
            }
            None => start.iter().take_while(|b| is_name_byte(**b)).count(),
        };
        self.rest = &start[length..];
        (length > 0).then_some(&start[..length])
    }

    /// `schema.name` as written.
    pub fn qualified(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        self.identifier()?;
        while self.pass(b".") {
            self.identifier()?;
        }
        Some(&start[..start.len() - self.rest.len()])
    }

    /// A literal: `null`, `'…'`, `E'…'`, `B'…'`, or an unquoted number or boolean.
    pub fn literal(&mut self) -> Option<Value<'a>> {
        if self.pass(b"E'") {
            let end = end_of_quoted(self.rest, b'\'', true)?;
            let inside = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            return Some(Value::Text(unescape(inside, true)));
        }
        if self.pass(b"'") || self.pass(b"B'") {
            let end = end_of_quoted(self.rest, b'\'', false)?;
            let inside = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            return Some(Value::Text(unescape(inside, false)));
        }
        let ends = |byte: &u8| matches!(byte, b',' | b')' | b' ' | b';' | b':');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            b"" => None,
            b"null" | b"NULL" => Some(Value::Null),
            word => Some(Value::Text(Cow::Borrowed(word))),
        }
    }

    /// Skips `::type` if it follows: up to ` AND `, ` LIMIT `, a comment with old values, or the end.
    pub fn pass_cast(&mut self) {
        if !self.rest.starts_with(b"::") {
            return;
        }
        let mut at = 2;
        while at < self.rest.len() {
            let rest = &self.rest[at..];
            let ends: [&[u8]; 3] = [b" AND ", b" LIMIT ", WAS_BEGIN];
            if ends.iter().any(|end| rest.starts_with(end)) || rest == b";" {
                break;
            }
            at += match rest.strip_prefix(b"\"") {
                Some(inside) => end_of_quoted(inside, b'"', false).map_or(rest.len(), |e| e + 2),
                None => 1,
            };
        }
        self.rest = &self.rest[at..];
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The position of the closing quote; not a doubled one, or (in `E'…'`) one after a backslash.
pub fn end_of_quoted(text: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let next = if escapes {
            memchr::memchr2(quote, b'\\', &text[at..])
        } else {
            memchr::memchr(quote, &text[at..])
        };
        let here = at + next?;
        if text[here] == b'\\' && escapes || text.get(here + 1) == Some(&quote) {
            at = here + 2;
            if at > text.len() {
                return None;
            }
        } else {
            return Some(here);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// Unquoted names are folded to lower case.
    Name(Vec<u8>),
    Symbol(u8),
}

/// Names and symbols, without comments and literals.
pub fn tokens(text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        if byte.is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += comment_length(rest);
        } else if byte == b'$' {
            at += dollar_length(rest);
        } else if byte == b'\'' {
            let escapes = at > 0 && matches!(text[at - 1], b'E' | b'e');
            at += end_of_quoted(&rest[1..], b'\'', escapes).map_or(rest.len(), |end| end + 2);
        } else {
            let mut words = Words::new(rest);
            match words.identifier() {
                Some(identifier) => {
                    at += identifier.len();
                    let is_quoted = identifier.ends_with(b"\"");
                    tokens.push(Token::Name(if is_quoted {
                        name_of(identifier).into_owned()
                    } else {
                        identifier.to_ascii_lowercase()
                    }));
                }
                None => {
                    at += 1;
                    tokens.push(Token::Symbol(byte));
                }
            }
        }
    }
    tokens
}

fn comment_length(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn dollar_length(text: &[u8]) -> usize {
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let tag = 1 + text[1..].iter().take_while(|byte| is_tag(byte)).count();
    if text.get(tag) != Some(&b'$') {
        return 1;
    }
    let tag = &text[..=tag];
    let inside = &text[tag.len()..];
    let end = memchr::memmem::find(inside, tag).map_or(inside.len(), |end| end + tag.len());
    tag.len() + end
}
