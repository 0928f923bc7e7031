//! The net effect of row changes on the rows of one table, by their keys.
//!
//! A row is followed from the key under which the target has it (none if it was inserted here) to the one that it has now
//! (none if it was deleted). Its values are kept as the lines that set them: a line that sets all columns that another has
//! set replaces it, which is what a next UPDATE of the same row does. No line is parsed twice before it is applied.

use std::collections::HashMap;
use std::rc::Rc;

use super::definition::Column;

/// The values of a key's columns, as the fields of a COPY row.
pub type Key = Rc<[u8]>;

/// Which file and line; the file is a number that the caller has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: u32,
    pub line: u64,
}

/// Bytes that a row takes beside its texts, about.
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

/// A row.
#[derive(Debug)]
pub struct Row {
    /// The key under which the target has it.
    pub origin: Option<Key>,
    /// The key that it has now.
    pub key: Option<Key>,
    /// The oldest first.
    pub layers: Vec<Layer>,
    /// Of the first line.
    pub place: Place,
}

impl Row {
    /// Puts a line over the others, and drops those of which nothing is seen any more. `text` is copied into the room of
    /// one that it replaces, if that is not much more.
    fn cover(&mut self, sets: &Rc<Columns>, text: Vec<u8>) {
        if let [only] = &mut self.layers[..] {
            if Rc::ptr_eq(&only.sets, sets) {
                // Short ones that follow a long one do not keep its room.
                if only.text.capacity() > 2 * text.len() {
                    only.text = text;
                } else {
                    only.text.clear();
                    only.text.extend_from_slice(&text);
                }
                return;
            }
        }
        let mut seen = Columns::clone(sets);
        let mut kept = vec![Layer {
            sets: Rc::clone(sets),
            text,
        }];
        for layer in self.layers.drain(..).rev() {
            if !seen.covers(&layer.sets) {
                seen.add_all(&layer.sets);
                kept.push(layer);
            }
        }
        kept.reverse();
        self.layers = kept;
    }

    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        let keys = [&self.origin, &self.key].into_iter().flatten();
        let keys: usize = keys.map(|key| key.len()).sum();
        let texts = self.layers.iter().map(|layer| layer.text.capacity());
        OVERHEAD + keys + texts.sum::<usize>() + self.layers.len() * size_of::<Layer>()
    }
}

/// The rows of a table that have changed.
#[derive(Debug, Default)]
pub struct Net {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    /// Those that exist, by the keys that they have now.
    now: HashMap<Key, u32>,
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
        self.now.contains_key(key)
    }

    /// A row of a key that no other has.
    pub fn insert(&mut self, key: &[u8], sets: &Rc<Columns>, text: Vec<u8>, place: Place) {
        let layer = Layer {
            sets: Rc::clone(sets),
            text,
        };
        self.add(Row {
            origin: None,
            key: Some(Rc::from(key)),
            layers: vec![layer],
            place,
        });
    }

    /// With another key, it is one that no other row has.
    pub fn update(
        &mut self,
        (old, new): (&[u8], &[u8]),
        sets: &Rc<Columns>,
        text: Vec<u8>,
        place: Place,
    ) {
        let known = self.now.get(old).copied();
        let row = known.and_then(|at| Some((at, self.rows[at as usize].as_mut()?)));
        let Some((at, row)) = row else {
            let origin: Key = Rc::from(old);
            let is_same = old == new;
            let key = (!is_same).then(|| Rc::from(new));
            let key = key.unwrap_or_else(|| Rc::clone(&origin));
            let layer = Layer {
                sets: Rc::clone(sets),
                text,
            };
            self.add(Row {
                origin: Some(origin),
                key: Some(key),
                layers: vec![layer],
                place,
            });
            return;
        };
        self.bytes -= row.size();
        if old != new {
            self.now.remove(old);
            let key: Key = Rc::from(new);
            self.now.insert(Rc::clone(&key), at);
            row.key = Some(key);
        }
        row.cover(sets, text);
        self.bytes += row.size();
    }

    pub fn delete(&mut self, old: &[u8], place: Place) {
        let Some((_, at)) = self.now.remove_entry(old) else {
            self.add(Row {
                origin: Some(Rc::from(old)),
                key: None,
                layers: Vec::new(),
                place,
            });
            return;
        };
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
        (row.key, row.layers) = (None, Vec::new());
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
            self.now.insert(key, at);
        }
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
