//! Rows in a temporary file, by [`redb`].
//!
//! The file has no name from the moment it is made, so that nothing is left of it whatever ends the process. Nothing is ever
//! committed in it: the one transaction lasts as long as the store, and what it has written beyond its cache is in the file.

use redb::backends::FileBackend;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::Space;
use crate::past::error::{Error, Result};

const ROWS: TableDefinition<(Space, u64), &[u8]> = TableDefinition::new("rows");
const INDEX: TableDefinition<(Space, u64, u64), ()> = TableDefinition::new("index");
/// The least cache, in bytes.
const LEAST: usize = 4 << 20;

pub struct Disk {
    transaction: WriteTransaction,
    /// Dropped after its transaction.
    _database: Database,
}

impl Disk {
    /// With about this many bytes of memory for a cache.
    pub fn new(cache: usize) -> Result<Disk> {
        let file = tempfile::tempfile().map_err(|error| Error::Spill(error.to_string()))?;
        let mut builder = Database::builder();
        let backend = FileBackend::new(file).map_err(redb::Error::from)?;
        let database = builder
            .set_cache_size(cache.max(LEAST))
            .create_with_backend(backend);
        let database = database.map_err(redb::Error::from)?;
        let transaction = database.begin_write().map_err(redb::Error::from)?;
        transaction.open_table(ROWS).map_err(redb::Error::from)?;
        transaction.open_table(INDEX).map_err(redb::Error::from)?;
        Ok(Disk {
            transaction,
            _database: database,
        })
    }

    fn rows(&self) -> Result<redb::Table<'_, (Space, u64), &'static [u8]>> {
        Ok(self
            .transaction
            .open_table(ROWS)
            .map_err(redb::Error::from)?)
    }

    fn entries(&self) -> Result<redb::Table<'_, (Space, u64, u64), ()>> {
        Ok(self
            .transaction
            .open_table(INDEX)
            .map_err(redb::Error::from)?)
    }

    pub fn put(&mut self, space: Space, number: u64, row: &[u8]) -> Result<()> {
        self.rows()?
            .insert((space, number), row)
            .map_err(redb::Error::from)?;
        Ok(())
    }

    pub fn put_all(
        &mut self,
        space: Space,
        rows: impl IntoIterator<Item = (u64, Box<[u8]>)>,
    ) -> Result<()> {
        let mut table = self.rows()?;
        for (number, row) in rows {
            table
                .insert((space, number), &*row)
                .map_err(redb::Error::from)?;
        }
        Ok(())
    }

    pub fn get(&self, space: Space, number: u64, row: &mut Vec<u8>) -> Result<bool> {
        let table = self.rows()?;
        let found = table.get((space, number)).map_err(redb::Error::from)?;
        if let Some(found) = &found {
            row.extend_from_slice(found.value());
        }
        Ok(found.is_some())
    }

    pub fn remove(&mut self, space: Space, number: u64) -> Result<()> {
        self.rows()?
            .remove((space, number))
            .map_err(redb::Error::from)?;
        Ok(())
    }

    pub fn next_row(&self, space: Space, from: u64, row: &mut Vec<u8>) -> Result<Option<u64>> {
        let table = self.rows()?;
        let range = table.range((space, from)..=(space, u64::MAX));
        let first = range.map_err(redb::Error::from)?.next();
        let Some(first) = first else {
            return Ok(None);
        };
        let (key, value) = first.map_err(redb::Error::from)?;
        row.extend_from_slice(value.value());
        Ok(Some(key.value().1))
    }

    pub fn clear(&mut self, space: Space) -> Result<()> {
        self.clear_index(space)?;
        let range = (space, 0)..=(space, u64::MAX);
        let mut table = self.rows()?;
        let cleared = table.retain_in(range, |_, _| false);
        Ok(cleared.map_err(redb::Error::from)?)
    }

    pub fn index(&mut self, space: Space, hash: u64, number: u64) -> Result<()> {
        self.index_all(space, [(hash, number)])
    }

    pub fn index_all(
        &mut self,
        space: Space,
        entries: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<()> {
        let mut table = self.entries()?;
        for (hash, number) in entries {
            table
                .insert((space, hash, number), ())
                .map_err(redb::Error::from)?;
        }
        Ok(())
    }

    pub fn unindex(&mut self, space: Space, hash: u64, number: u64) -> Result<()> {
        self.entries()?
            .remove((space, hash, number))
            .map_err(redb::Error::from)?;
        Ok(())
    }

    pub fn find(&self, space: Space, hash: u64, most: usize, found: &mut Vec<u64>) -> Result<()> {
        let table = self.entries()?;
        let range = table.range((space, hash, 0)..=(space, hash, u64::MAX));
        for entry in range.map_err(redb::Error::from)?.rev().take(most) {
            let (key, _) = entry.map_err(redb::Error::from)?;
            found.push(key.value().2);
        }
        Ok(())
    }

    pub fn clear_index(&mut self, space: Space) -> Result<()> {
        let range = (space, 0, 0)..=(space, u64::MAX, u64::MAX);
        let mut table = self.entries()?;
        let cleared = table.retain_in(range, |_, _| false);
        Ok(cleared.map_err(redb::Error::from)?)
    }
}
