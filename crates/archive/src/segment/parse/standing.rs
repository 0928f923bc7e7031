//! Where a scanner stands, so that another one goes on there when the segment has grown.

use std::io::{BufReader, Read};

use super::line::Line;
use super::{Part, Scanner, State, READ_SIZE};
use crate::segment::grammar::Key;

/// Behind a complete transaction, sequences block or position of a segment: what of its beginning must be known to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    key: Key,
    format: u32,
    /// In bytes of the uncompressed text.
    offset: u64,
    /// Lines before it.
    number: u64,
}

impl Standing {
    /// Bytes of the uncompressed text before it.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl<R: Read> Scanner<R> {
    /// Where it stands; `None` within a transaction, in a header, and behind a footer.
    pub fn standing(&self) -> Option<Standing> {
        let is_between = self.state == State::Between && self.complete == self.offset;
        self.key.filter(|_| is_between).map(|key| Standing {
            key,
            format: self.format,
            offset: self.offset,
            number: self.number,
        })
    }

    /// Goes on where another scanner stood; `input` begins with the byte at [`Standing::offset`].
    pub fn going_on(input: R, standing: &Standing) -> Scanner<R> {
        Scanner {
            input: BufReader::with_capacity(READ_SIZE, input),
            line: Line::default(),
            state: State::Between,
            format: standing.format,
            key: Some(standing.key),
            offset: standing.offset,
            complete: standing.offset,
            statements: 0,
            part: Part::Around,
            number: standing.number,
        }
    }

    /// [`Self::going_on`] for a reader of every line's text.
    pub fn going_on_with_text(input: R, standing: &Standing) -> Scanner<R> {
        let mut scanner = Scanner::going_on(input, standing);
        scanner.line.keeps_text = true;
        scanner
    }
}
