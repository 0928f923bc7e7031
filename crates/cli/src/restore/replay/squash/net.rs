//! The net effect of row changes on the rows of one table, by their keys.
//!
//! A row is followed from the key under which the target has it (none if it was inserted here) to the one that it has now
//! (none if it was deleted). Its values are kept as the lines that set them: a line that sets all columns that another has
//! set replaces it, which is what a next UPDATE of the same row does. No line is parsed twice before it is applied.

use std::rc::Rc;

use hashbrown::HashTable;

use super::definition::Column;
use super::key::{hash_of, is_same, Key};

/// Which file and line; the file is a number that the caller has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: u32,
    pub line: u64,
}

/// Bytes that a row takes beside its texts, about: its place among the others, which grow by doubling, and its number by
/// its key.
const OVERHEAD: usize = 320;

/// Columns of a line, by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// As the line has them.
    pub order: Vec<usize>,
    bits: Vec<u64>,
}

impl Columns {
    pub fn of(order: Vec<usize>) -> Columns {
        let mut columns = Columns::default();
        order.iter().for_each(|column| columns.add(*column));
        columns.order = order;
        columns
    }

    /// Those of a table that are not generated: an INSERT sets all of them.
    pub fn written(columns: &[Column]) -> Columns {
        let numbers = columns.iter().enumerate();
        let written = numbers.filter(|(_, column)| !column.is_generated);
        Columns::of(written.map(|(number, _)| number).collect())
    }

    /// Adds one to the set.
    pub fn add(&mut self, column: usize) {
        let word = column / 64;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (column % 64);
    }

    pub fn has(&self, column: usize) -> bool {
        let word = self.bits.get(column / 64).copied().unwrap_or(0);
        word & (1 << (column % 64)) != 0
    }

    /// Adds those of another to the set.
    pub fn add_all(&mut self, other: &Columns) {
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        let bits = self.bits.iter_mut().zip(&other.bits);
        bits.for_each(|(a, b)| *a |= b);
    }

    /// Whether all of `other` are in the set.
    pub fn covers(&self, other: &Columns) -> bool {
        let word = |nth: usize| self.bits.get(nth).copied().unwrap_or(0);
        let mut others = other.bits.iter().enumerate();
        others.all(|(nth, bits)| bits & !word(nth) == 0)
    }
}

/// A line that sets columns of a row.
#[derive(Debug)]
pub struct Layer {
    /// The columns, which many lines share.
    pub sets: Rc<Columns>,
    pub text: Vec<u8>,
}

impl Layer {
    fn new(sets: &Rc<Columns>, text: &[u8]) -> Layer {
        Layer {
            sets: Rc::clone(sets),
            text: text.to_vec(),
        }
    }
}

/// A row.
#[derive(Debug)]
pub struct Row {
    /// The key under which the target has it.
    pub origin: Option<Key>,
    /// The key that it has now.
    pub key: Option<Key>,
    /// The newest line; it is the only one of most rows.
    newest: Option<Layer>,
    /// Those below it, the oldest first.
    below: Vec<Layer>,
    /// Of the first line.
    pub place: Place,
}

impl Row {
    /// Its lines, the oldest first.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.below.iter().chain(&self.newest)
    }

    /// Puts a line into the place of the only other, if it sets the same and has the room for it; whether it has. What the
    /// row takes is the same then. This is what becomes of most lines.
    #[inline]
    fn replaces(&mut self, sets: &Rc<Columns>, text: &[u8]) -> bool {
        let Some(newest) = self.newest.as_mut().filter(|_| self.below.is_empty()) else {
            return false;
        };
        let room = newest.text.capacity();
        // Short ones that follow a long one do not keep its room.
        let fits = Rc::ptr_eq(&newest.sets, sets) && room >= text.len() && room <= 2 * text.len();
        if fits {
            newest.text.clear();
            newest.text.extend_from_slice(text);
        }
        fits
    }

    /// Puts a line over the others, and drops those of which nothing is seen any more.
    fn cover(&mut self, sets: &Rc<Columns>, text: &[u8]) {
        match &mut self.newest {
            Some(newest) if self.below.is_empty() && Rc::ptr_eq(&newest.sets, sets) => {
                newest.text = text.to_vec();
                return;
            }
            _ => {}
        }
        let mut seen = Columns::clone(sets);
        let mut kept = Vec::new();
        let newest = self.newest.replace(Layer::new(sets, text));
        for layer in newest.into_iter().chain(self.below.drain(..).rev()) {
            if !seen.covers(&layer.sets) {
                seen.add_all(&layer.sets);
                kept.push(layer);
            }
        }
        kept.reverse();
        self.below = kept;
    }

    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        let keys = [&self.origin, &self.key].into_iter().flatten();
        let keys: usize = keys.map(|key| key.len()).sum();
        let layer = |layer: &Layer| layer.text.capacity() + size_of::<Layer>();
        OVERHEAD + keys + self.layers().map(layer).sum::<usize>()
    }
}

/// The number of a row, and the hash of the key that it has now.
#[derive(Debug, Clone, Copy)]
struct Now {
    hash: u32,
    at: u32,
}

/// All bits of the hash that is kept, where the table looks for them.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// The rows of a table that have changed.
#[derive(Debug, Default)]
pub struct Net {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    /// Those that exist, by the keys that they have now.
    now: HashTable<Now>,
    /// The row that was changed last, and whether it is the next of the one before: rows that came one after the other
    /// often change so again, and the next is at hand then.
    last: u32,
    is_sweep: bool,
    bytes: usize,
}

impl Net {
    /// Memory that it takes, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that have changed, come or gone.
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// The rows, in no order.
    pub fn into_rows(self) -> impl Iterator<Item = Row> {
        self.rows.into_iter().flatten()
    }

    /// Whether a row has this key now.
    pub fn has(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// A row of a key that no other has.
    pub fn insert(&mut self, key: &[u8], sets: &Rc<Columns>, text: &[u8], place: Place) {
        self.add(Row {
            origin: None,
            key: Some(Key::from(key)),
            newest: Some(Layer::new(sets, text)),
            below: Vec::new(),
            place,
        });
    }

    /// With another key, it is one that no other row has.
    pub fn update(
        &mut self,
        (old, new): (&[u8], &[u8]),
        sets: &Rc<Columns>,
        text: &[u8],
        place: Place,
    ) {
        let known = self.find_to_change(old);
        let row = known.and_then(|at| Some((at, self.rows[at as usize].as_mut()?)));
        let Some((at, row)) = row else {
            self.add(Row {
                origin: Some(Key::from(old)),
                key: Some(Key::from(new)),
                newest: Some(Layer::new(sets, text)),
                below: Vec::new(),
                place,
            });
            return;
        };
        let is_moved = !is_same(old, new);
        if !is_moved && row.replaces(sets, text) {
            return;
        }
        let before = row.size();
        row.cover(sets, text);
        if is_moved {
            row.key = Some(Key::from(new));
        }
        self.bytes = self.bytes + row.size() - before;
        if is_moved {
            self.remove(old, at);
            self.put(new, at);
        }
    }

    pub fn delete(&mut self, old: &[u8], place: Place) {
        let Some(at) = self.find_to_change(old) else {
            self.add(Row {
                origin: Some(Key::from(old)),
                key: None,
                newest: None,
                below: Vec::new(),
                place,
            });
            return;
        };
        self.remove(old, at);
        let slot = &mut self.rows[at as usize];
        let Some(row) = slot else {
            return;
        };
        self.bytes -= row.size();
        if row.origin.is_none() {
            *slot = None;
            self.free.push(at);
            return;
        }
        (row.key, row.newest, row.below) = (None, None, Vec::new());
        self.bytes += row.size();
    }

    fn add(&mut self, row: Row) {
        self.bytes += row.size();
        let key = row.key.clone();
        let at = match self.free.pop() {
            Some(at) => {
                self.rows[at as usize] = Some(row);
                at
            }
            None => {
                self.rows.push(Some(row));
                u32::try_from(self.rows.len() - 1).expect("the limit of bytes comes first")
            }
        };
        if let Some(key) = key {
            self.put(&key, at);
        }
    }

    /// The number of the row that has this key now.
    fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = hash_of(key);
        let is_it = |now: &Now| now.hash == hash && self.has_at(now.at, key);
        self.now.find(spread(hash), is_it).map(|now| now.at)
    }

    /// The same of a row that changes.
    fn find_to_change(&mut self, key: &[u8]) -> Option<u32> {
        let next = self.last.wrapping_add(1);
        if self.is_sweep && self.has_at(next, key) {
            self.last = next;
            return Some(next);
        }
        let found = self.find(key);
        self.is_sweep = found == Some(next);
        self.last = found.unwrap_or(self.last);
        found
    }

    /// Whether the row of this number has this key now.
    fn has_at(&self, at: u32, key: &[u8]) -> bool {
        let row = self.rows.get(at as usize).and_then(Option::as_ref);
        let now = row.and_then(|row| row.key.as_deref());
        now.is_some_and(|now| is_same(now, key))
    }

    fn put(&mut self, key: &[u8], at: u32) {
        let hash = hash_of(key);
        let now = Now { hash, at };
        self.now
            .insert_unique(spread(hash), now, |now| spread(now.hash));
    }

    /// A row has this key no longer.
    fn remove(&mut self, key: &[u8], at: u32) {
        let found = self
            .now
            .find_entry(spread(hash_of(key)), |now| now.at == at);
        if let Ok(entry) = found {
            entry.remove();
        }
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
