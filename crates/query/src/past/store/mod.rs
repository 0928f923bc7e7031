//! Where rows are kept: in memory up to a budget, and beyond that in a temporary file.
//!
//! Rows are bytes, under the number of their table ([`Space`]) and one of their own, which grows: so they come back in the
//! order in which they were inserted. An index, a multimap from hashes to rows, is kept with them. When the memory is used
//! up, all of it moves to a file without a name ([`disk`]).

mod disk;
mod memory;

use disk::Disk;
use memory::Memory;

use super::error::Result;

/// A set of rows: those of a table, or their former states.
pub type Space = u32;

/// Bytes for a row or an index entry, beside its own.
const OVERHEAD: usize = 64;

/// The rows of all tables.
pub struct Store {
    kept: Kept,
    /// Bytes of memory.
    budget: usize,
    next: u64,
}

enum Kept {
    Memory(Memory),
    Disk(Box<Disk>),
}

impl Store {
    /// `budget` is in bytes of memory; a file is used beyond it.
    pub fn new(budget: usize) -> Store {
        Store {
            kept: Kept::Memory(Memory::default()),
            budget,
            next: 1,
        }
    }

    /// Whether a file is used.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.kept, Kept::Disk(_))
    }

    /// A number that no row has, and greater than all.
    pub fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Adds or replaces a row.
    pub fn put(&mut self, space: Space, number: u64, row: &[u8]) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.put(space, number, row);
                self.ensure_within()
            }
            Kept::Disk(disk) => disk.put(space, number, row),
        }
    }

    /// Reads a row into `row`; false if there is none.
    pub fn get(&self, space: Space, number: u64, row: &mut Vec<u8>) -> Result<bool> {
        row.clear();
        match &self.kept {
            Kept::Memory(memory) => {
                let found = memory.get(space, number);
                row.extend_from_slice(found.unwrap_or_default());
                Ok(found.is_some())
            }
            Kept::Disk(disk) => disk.get(space, number, row),
        }
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, space: Space, number: u64) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.remove(space, number);
                Ok(())
            }
            Kept::Disk(disk) => disk.remove(space, number),
        }
    }

    /// The first row from this number on: its number, and its bytes in `row`.
    pub fn next_row(&self, space: Space, from: u64, row: &mut Vec<u8>) -> Result<Option<u64>> {
        row.clear();
        match &self.kept {
            Kept::Memory(memory) => Ok(memory.next_row(space, from).map(|(number, bytes)| {
                row.extend_from_slice(bytes);
                number
            })),
            Kept::Disk(disk) => disk.next_row(space, from, row),
        }
    }

    /// Removes all rows of a space, and its index.
    pub fn clear(&mut self, space: Space) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.clear(space);
                Ok(())
            }
            Kept::Disk(disk) => disk.clear(space),
        }
    }

    /// Adds a row to the index of a space.
    pub fn index(&mut self, space: Space, hash: u64, number: u64) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.index(space, hash, number);
                self.ensure_within()
            }
            Kept::Disk(disk) => disk.index(space, hash, number),
        }
    }

    /// Takes it from the index.
    pub fn unindex(&mut self, space: Space, hash: u64, number: u64) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.unindex(space, hash, number);
                Ok(())
            }
            Kept::Disk(disk) => disk.unindex(space, hash, number),
        }
    }

    /// The rows with this hash, at most `most` of them, the last first.
    pub fn find(&self, space: Space, hash: u64, most: usize, found: &mut Vec<u64>) -> Result<()> {
        found.clear();
        match &self.kept {
            Kept::Memory(memory) => {
                memory.find(space, hash, most, found);
                Ok(())
            }
            Kept::Disk(disk) => disk.find(space, hash, most, found),
        }
    }

    /// Empties the index of a space.
    pub fn clear_index(&mut self, space: Space) -> Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => {
                memory.clear_index(space);
                Ok(())
            }
            Kept::Disk(disk) => disk.clear_index(space),
        }
    }

    /// Moves everything to a file once the memory is used up.
    fn ensure_within(&mut self) -> Result<()> {
        let Kept::Memory(memory) = &mut self.kept else {
            return Ok(());
        };
        if memory.bytes() <= self.budget {
            return Ok(());
        }
        let mut disk = Disk::new(self.budget)?;
        memory.move_to(&mut disk)?;
        self.kept = Kept::Disk(Box::new(disk));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a store answers, whatever it is made of.
    fn play(budget: usize) -> (bool, Vec<String>) {
        let mut store = Store::new(budget);
        let mut said = Vec::new();
        let mut row = Vec::new();
        for at in 0..300u64 {
            let number = store.take_number();
            let space = (at % 3) as Space;
            store
                .put(space, number, format!("row {at}").as_bytes())
                .unwrap();
            store.index(space, at % 7, number).unwrap();
        }
        for number in (1..300).step_by(5) {
            for space in 0..3 {
                if store.get(space, number, &mut row).unwrap() {
                    store.unindex(space, (number - 1) % 7, number).unwrap();
                    store.remove(space, number).unwrap();
                }
            }
        }
        store.put(1, 2, b"replaced").unwrap();
        store.clear(2).unwrap();
        for space in 0..3 {
            let mut from = 0;
            while let Some(number) = store.next_row(space, from, &mut row).unwrap() {
                said.push(format!(
                    "{space} {number} {}",
                    String::from_utf8_lossy(&row)
                ));
                from = number + 1;
            }
            for hash in 0..7 {
                let mut found = Vec::new();
                store.find(space, hash, 1000, &mut found).unwrap();
                found.sort_unstable();
                said.push(format!("{space} {hash} {found:?}"));
            }
        }
        store.clear_index(0).unwrap();
        let mut found = Vec::new();
        store.find(0, 0, 9, &mut found).unwrap();
        assert!(found.is_empty());
        (store.is_on_disk(), said)
    }

    #[test]
    fn a_store_answers_alike_in_memory_and_on_disk() {
        let (in_file, memory) = play(1 << 20);
        assert!(!in_file && memory.len() > 150);
        // From the first row on, and from some row on.
        for budget in [0, 5_000] {
            let (in_file, disk) = play(budget);
            assert!(in_file);
            assert_eq!(disk, memory);
        }
    }
}
