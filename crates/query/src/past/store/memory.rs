//! Rows in memory.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::{Disk, Space, OVERHEAD};
use crate::past::error::Result;

#[derive(Default)]
pub struct Memory {
    spaces: BTreeMap<Space, Rows>,
    bytes: usize,
}

#[derive(Default)]
struct Rows {
    rows: BTreeMap<u64, Box<[u8]>>,
    index: HashMap<u64, Numbers, BuildHasherDefault<AsItIs>>,
}

/// Most hashes are of one row.
enum Numbers {
    One(u64),
    Many(Vec<u64>),
}

/// What is hashed is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Memory {
    /// How much it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn put(&mut self, space: Space, number: u64, row: &[u8]) {
        let rows = &mut self.spaces.entry(space).or_default().rows;
        self.bytes += row.len() + OVERHEAD;
        if let Some(old) = rows.insert(number, row.into()) {
            self.bytes -= old.len() + OVERHEAD;
        }
    }

    pub fn get(&self, space: Space, number: u64) -> Option<&[u8]> {
        self.spaces.get(&space)?.rows.get(&number).map(|row| &**row)
    }

    pub fn remove(&mut self, space: Space, number: u64) {
        let rows = self.spaces.get_mut(&space).map(|space| &mut space.rows);
        if let Some(old) = rows.and_then(|rows| rows.remove(&number)) {
            self.bytes -= old.len() + OVERHEAD;
        }
    }

    pub fn next_row(&self, space: Space, from: u64) -> Option<(u64, &[u8])> {
        let mut rows = self.spaces.get(&space)?.rows.range(from..);
        rows.next().map(|(number, row)| (*number, &**row))
    }

    pub fn clear(&mut self, space: Space) {
        self.clear_index(space);
        if let Some(space) = self.spaces.remove(&space) {
            let rows = space.rows.values();
            self.bytes -= rows.map(|row| row.len() + OVERHEAD).sum::<usize>();
        }
    }

    pub fn index(&mut self, space: Space, hash: u64, number: u64) {
        self.bytes += OVERHEAD;
        let index = &mut self.spaces.entry(space).or_default().index;
        match index.entry(hash) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Numbers::One(number));
            }
            std::collections::hash_map::Entry::Occupied(mut there) => match there.get_mut() {
                Numbers::One(one) => {
                    let many = vec![*one, number];
                    there.insert(Numbers::Many(many));
                }
                Numbers::Many(many) => many.push(number),
            },
        }
    }

    pub fn unindex(&mut self, space: Space, hash: u64, number: u64) {
        let Some(space) = self.spaces.get_mut(&space) else {
            return;
        };
        let is_last = match space.index.get_mut(&hash) {
            Some(Numbers::One(one)) if *one == number => true,
            Some(Numbers::Many(many)) => {
                // Mostly the one that was found first.
                let Some(at) = many.iter().rposition(|it| *it == number) else {
                    return;
                };
                many.swap_remove(at);
                many.is_empty()
            }
            _ => return,
        };
        self.bytes -= OVERHEAD;
        if is_last {
            space.index.remove(&hash);
        }
    }

    pub fn find(&self, space: Space, hash: u64, most: usize, found: &mut Vec<u64>) {
        let index = self.spaces.get(&space).map(|space| &space.index);
        match index.and_then(|index| index.get(&hash)) {
            Some(Numbers::One(one)) => found.push(*one),
            Some(Numbers::Many(many)) => found.extend(many.iter().rev().take(most)),
            None => {}
        }
    }

    pub fn clear_index(&mut self, space: Space) {
        if let Some(space) = self.spaces.get_mut(&space) {
            let entries = space.index.values().map(|numbers| match numbers {
                Numbers::One(_) => 1,
                Numbers::Many(many) => many.len(),
            });
            self.bytes -= entries.sum::<usize>() * OVERHEAD;
            space.index = HashMap::default();
        }
    }

    /// Everything, bit by bit, so that it is not twice in memory.
    pub fn move_to(&mut self, disk: &mut Disk) -> Result<()> {
        for (number, space) in std::mem::take(&mut self.spaces) {
            disk.put_all(number, space.rows)?;
            let entries = space.index.into_iter().flat_map(|(hash, numbers)| {
                let numbers = match numbers {
                    Numbers::One(one) => vec![one],
                    Numbers::Many(many) => many,
                };
                numbers.into_iter().map(move |number| (hash, number))
            });
            disk.index_all(number, entries)?;
        }
        self.bytes = 0;
        Ok(())
    }
}
