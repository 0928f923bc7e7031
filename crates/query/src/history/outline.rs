//! What must be known of a segment to pass over it: whether it has anything beside rows, and the last positions of
//! sequences.

use std::collections::BTreeMap;

use archive::segment::grammar::SETVAL_PREFIX;
use archive::Lsn;
use memchr::memmem;

use super::ddl::Name;
use super::index::Outline;
use super::lines::Transaction;
use super::literal::Value;
use super::scanner::Words;
use super::statement;

/// With more sequences a segment has no outline: it is as fast to read it.
const MOST_SEQUENCES: usize = 1000;

/// The outline of a segment that is being read.
#[derive(Debug, Default)]
pub(super) struct Outlining {
    outline: Outline,
    /// Of each sequence the last: when, and the statement.
    positions: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    count: u64,
    /// There is something else.
    is_over: bool,
}

impl Outlining {
    /// There is something that a reader must see.
    pub fn give_up(&mut self) {
        self.is_over = true;
        self.positions.clear();
    }

    pub fn transaction(&mut self, transaction: Option<Transaction>) {
        let Some(transaction) = transaction else {
            return;
        };
        self.outline.last_commit = Some(transaction.commit_lsn);
        self.outline.is_timeless |= transaction.commit_time.is_none();
    }

    /// A statement of a transaction.
    pub fn statement(&mut self, line: &[u8], lsn: Option<Lsn>) {
        if line.starts_with(SETVAL_PREFIX.as_bytes()) {
            return self.position(line, lsn);
        }
        let is_of_rows = statement::head(line).is_some() || statement::truncated(line).is_some();
        if !is_of_rows {
            self.give_up();
        }
    }

    /// A position, of a transaction or a sequences block with this LSN.
    pub fn position(&mut self, line: &[u8], lsn: Option<Lsn>) {
        if self.is_over {
            return;
        }
        let Some(lsn) = lsn else {
            return self.give_up();
        };
        let (lowest, highest) = self.outline.positions_between.unwrap_or((lsn, lsn));
        self.outline.positions_between = Some((lowest.min(lsn), highest.max(lsn)));
        self.count += 1;
        self.positions
            .insert(sequence_of(line), (self.count, line.to_vec()));
        if self.positions.len() > MOST_SEQUENCES {
            self.give_up();
        }
    }

    pub fn end(&mut self) -> Option<Outline> {
        let mut positions: Vec<_> = std::mem::take(&mut self.positions).into_values().collect();
        positions.sort();
        let positions = positions.into_iter().map(|(_, text)| Name(text)).collect();
        let outline = Outline {
            positions,
            ..std::mem::take(&mut self.outline)
        };
        (!self.is_over).then_some(outline)
    }
}

/// What identifies the sequence of a position, a statement that begins as [`SETVAL_PREFIX`]: its name; of a guarded one
/// ([`archive::segment`]) the end, with both names.
pub fn sequence_of(text: &[u8]) -> Vec<u8> {
    let mut words = Words::new(text.get(SETVAL_PREFIX.len()..).unwrap_or_default());
    if let (true, Some(Value::Text(name))) = (words.rest().starts_with(b"'"), words.literal()) {
        return name.into_owned();
    }
    let end = memmem::rfind(text, b" WHERE ").unwrap_or_default();
    text[end..].to_vec()
}
