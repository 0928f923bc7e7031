//! One line of a segment.

use std::io::{self, BufRead};

use super::super::grammar::{Comment, Key, COPY_SUFFIX, LONGEST_COMMENT};

/// The current line: both ends of it, its length, and what is wrong with it; all of it where a reader wants the text.
#[derive(Default)]
pub(super) struct Line {
    pub(super) keeps_text: bool,
    pub(super) text: Vec<u8>,
    head: Vec<u8>,
    tail: Vec<u8>,
    pub(super) length: u64,
    pub(super) has_newline: bool,
    has_nul: bool,
}

impl Line {
    /// Longest suffix that is compared.
    const TAIL: usize = COPY_SUFFIX.len();

    /// Reads one line; false at the end of the file.
    pub(super) fn read(&mut self, input: &mut impl BufRead) -> io::Result<bool> {
        *self = Line {
            head: std::mem::take(&mut self.head),
            tail: std::mem::take(&mut self.tail),
            text: std::mem::take(&mut self.text),
            keeps_text: self.keeps_text,
            ..Line::default()
        };
        self.text.clear();
        self.head.clear();
        self.tail.clear();
        loop {
            let available = match input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(self.length > 0);
            }
            let newline = memchr::memchr(b'\n', available);
            let part = &available[..newline.unwrap_or(available.len())];
            let used = part.len() + usize::from(newline.is_some());
            self.keep(part);
            input.consume(used);
            if newline.is_some() {
                self.has_newline = true;
                return Ok(true);
            }
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.keeps_text {
            self.text.extend_from_slice(part);
        }
        let room = LONGEST_COMMENT - self.head.len();
        self.head.extend_from_slice(&part[..part.len().min(room)]);
        self.tail
            .extend_from_slice(&part[part.len().saturating_sub(Self::TAIL)..]);
        let too_many = self.tail.len().saturating_sub(Self::TAIL);
        self.tail.drain(..too_many);
        self.length += part.len() as u64;
        self.has_nul |= memchr::memchr(0, part).is_some();
    }

    pub(super) fn flaw(&self) -> Option<&'static str> {
        match (self.has_nul, self.has_newline) {
            (true, _) => Some("a NUL byte"),
            (_, false) => Some("a line without its end"),
            _ => None,
        }
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.length == text.len() as u64 && self.head == text.as_bytes()
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn starts_with(&self, prefix: &[u8]) -> bool {
        self.head.starts_with(prefix)
    }

    pub(super) fn ends_with(&self, suffix: &[u8]) -> bool {
        self.tail.ends_with(suffix)
    }

    pub(super) fn comment(&self, key: Key) -> Option<Comment<'_>> {
        if self.length > LONGEST_COMMENT as u64 {
            return None;
        }
        Comment::parse(&self.head, key)
    }
}
