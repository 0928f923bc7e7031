//! The rows of one table, as they are at a place of the files.
//!
//! A row is found by the values in a statement's WHERE, through an index on some of its columns: those that the statements so
//! far have in common, since a table whose rows are found by a key has more in a DELETE.

use std::borrow::Cow;

use super::error::Result;
use super::row::{borrowed, Layouts};
use super::shape::{Column, Shape};
use super::store::{Space, Store};
use crate::history::ddl::TableName;
use crate::history::filter::of_value;
use crate::history::Value;

/// Former states of rows are in a space of their own.
const FORMER: Space = 1 << 31;
/// How many rows with one hash are looked at at a time.
const MOST: usize = 1 << 10;

/// The rows of a table.
pub struct Live {
    pub oid: u32,
    pub name: TableName,
    pub shape: Shape,
    pub is_gone: bool,
    space: Space,
    layouts: Layouts,
    /// Numbers of the columns of the index, ascending; `None` before the first search.
    indexed: Option<Vec<u32>>,
    /// The columns at the mark.
    marked: Option<(TableName, Shape)>,
    count: u64,
}

/// What a search has found.
pub enum Search {
    One(u64),
    Nothing,
    /// Rows that differ.
    Several,
    /// A column that the table does not have.
    NoColumn(Vec<u8>),
    /// It names nothing but columns whose values are computed.
    Computed,
}

impl Live {
    pub fn new(oid: u32, space: Space, name: TableName, shape: Shape) -> Live {
        let mut layouts = Layouts::default();
        layouts.follow(&shape);
        Live {
            oid,
            name,
            shape,
            is_gone: false,
            space,
            layouts,
            indexed: None,
            marked: None,
            count: 0,
        }
    }

    /// How many rows it has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Its columns are these from now on.
    pub fn reshape(&mut self, store: &mut Store, name: &TableName, shape: &Shape) -> Result<()> {
        self.name.clone_from(name);
        if self.shape == *shape {
            return Ok(());
        }
        let has = |number: &u32| shape.stored().any(|column| column.number == *number);
        let is_index_lost = self
            .indexed
            .as_ref()
            .is_some_and(|columns| !columns.iter().all(has));
        self.shape.clone_from(shape);
        self.layouts.follow(shape);
        if is_index_lost {
            self.indexed = None;
            store.clear_index(self.space)?;
        }
        Ok(())
    }

    /// From here on, what changes is noted.
    pub fn mark(&mut self, store: &mut Store) -> Result<()> {
        self.marked = Some((self.name.clone(), self.shape.clone()));
        store.clear(self.space | FORMER)
    }

    /// The name and the columns at the mark.
    pub fn marked(&self) -> Option<&(TableName, Shape)> {
        self.marked.as_ref()
    }

    /// Adds a row with a value for each stored column, in their order.
    pub fn insert(&mut self, store: &mut Store, values: &[Value<'_>]) -> Result<u64> {
        let number = store.take_number();
        if self.marked.is_some() {
            store.put(self.space | FORMER, number, &[])?;
        }
        let mut row = Vec::new();
        self.layouts.write(values, &mut row);
        store.put(self.space, number, &row)?;
        if let Some(hash) = self.hash_of(values) {
            store.index(self.space, hash, number)?;
        }
        self.count += 1;
        Ok(number)
    }

    /// Notes a row's state at the mark, unless it is noted.
    fn note(&self, store: &mut Store, number: u64, row: &[u8]) -> Result<()> {
        if self.marked.is_none() {
            return Ok(());
        }
        let mut noted = Vec::new();
        if !store.get(self.space | FORMER, number, &mut noted)? {
            store.put(self.space | FORMER, number, row)?;
        }
        Ok(())
    }

    /// Sets values of a row; `row` is as it was.
    pub fn update(
        &self,
        store: &mut Store,
        number: u64,
        row: &[u8],
        values: &[Value<'_>],
    ) -> Result<()> {
        self.note(store, number, row)?;
        let before = self.layouts.read(row, &self.shape);
        let (old, new) = (self.hash_of(&before), self.hash_of(values));
        if old != new {
            if let Some((old, new)) = old.zip(new) {
                store.unindex(self.space, old, number)?;
                store.index(self.space, new, number)?;
            }
        }
        let mut after = Vec::new();
        self.layouts.write(values, &mut after);
        store.put(self.space, number, &after)
    }

    /// Removes a row; `row` is as it was.
    pub fn delete(&mut self, store: &mut Store, number: u64, row: &[u8]) -> Result<()> {
        self.note(store, number, row)?;
        let before = self.layouts.read(row, &self.shape);
        if let Some(hash) = self.hash_of(&before) {
            store.unindex(self.space, hash, number)?;
        }
        store.remove(self.space, number)?;
        self.count -= 1;
        Ok(())
    }

    /// Removes all rows.
    pub fn clear(&mut self, store: &mut Store) -> Result<()> {
        if self.marked.is_some() {
            let (mut from, mut row) = (0, Vec::new());
            while let Some(number) = store.next_row(self.space, from, &mut row)? {
                self.note(store, number, &row)?;
                from = number + 1;
            }
        }
        self.count = 0;
        store.clear(self.space)
    }

    /// The first row from a number on; its bytes in `row`.
    pub fn next_row(&self, store: &Store, from: u64, row: &mut Vec<u8>) -> Result<Option<u64>> {
        store.next_row(self.space, from, row)
    }

    /// The same of those that were changed since the mark: as they were. Empty for one that was not there.
    pub fn next_former(&self, store: &Store, from: u64, row: &mut Vec<u8>) -> Result<Option<u64>> {
        store.next_row(self.space | FORMER, from, row)
    }

    /// A row by its number.
    pub fn get(&self, store: &Store, number: u64, row: &mut Vec<u8>) -> Result<bool> {
        store.get(self.space, number, row)
    }

    /// The values of a row, in the order of the stored columns.
    pub fn read<'r>(&'r self, row: &'r [u8]) -> Vec<Value<'r>> {
        self.layouts.read(row, &self.shape)
    }

    /// The same with the columns of the mark.
    pub fn read_former<'r>(&'r self, row: &'r [u8], shape: &'r Shape) -> Vec<Value<'r>> {
        self.layouts.read(row, shape)
    }

    /// The row that has these values; its bytes in `row`.
    pub fn find(
        &mut self,
        store: &mut Store,
        sought: &[(Cow<'_, [u8]>, Value<'_>)],
        row: &mut Vec<u8>,
    ) -> Result<Search> {
        let mut wanted: Vec<(u32, usize, &Value<'_>)> = Vec::with_capacity(sought.len());
        for (name, value) in sought {
            let Some(column) = self.shape.column(name) else {
                return Ok(Search::NoColumn(name.to_vec()));
            };
            if column.is_generated {
                continue;
            }
            let number = column.number;
            let at = self.shape.stored().position(|it| it.number == number);
            wanted.push((number, at.unwrap_or_default(), value));
        }
        if wanted.is_empty() && !sought.is_empty() {
            return Ok(Search::Computed);
        }
        wanted.sort_by_key(|(number, ..)| *number);
        self.ensure_indexed(store, &wanted)?;
        let indexed = self.indexed.as_deref().unwrap_or_default();
        let key = wanted
            .iter()
            .filter(|(number, ..)| indexed.contains(number));
        let hash = hash(key.map(|(number, _, value)| (*number, *value)));
        let mut found = Vec::new();
        store.find(self.space, hash, MOST, &mut found)?;
        if found.len() == MOST {
            // Many alike: one of the last will do, or all are looked at.
            let first = self.choose(store, &found, &wanted, row)?;
            if matches!(first, Search::One(_)) {
                return Ok(first);
            }
            store.find(self.space, hash, usize::MAX, &mut found)?;
        }
        self.choose(store, &found, &wanted, row)
    }

    /// Among rows with the same hash. Equal texts go before equal numbers.
    fn choose(
        &self,
        store: &Store,
        found: &[u64],
        wanted: &[(u32, usize, &Value<'_>)],
        row: &mut Vec<u8>,
    ) -> Result<Search> {
        // Where all values are given, any of those that have them will do.
        let is_whole = wanted.len() == self.shape.stored().count();
        let mut best: Option<(u64, Vec<u8>, bool)> = None;
        let mut is_several = false;
        for number in found {
            if !store.get(self.space, *number, row)? {
                continue;
            }
            let values = self.layouts.read(row, &self.shape);
            let mut pairs = wanted.iter().map(|(_, at, value)| (&values[*at], *value));
            if !pairs.all(|(is, value)| is.is_same(value)) {
                continue;
            }
            let is_exact = wanted.iter().all(|(_, at, value)| values[*at] == **value);
            if is_exact && is_whole {
                return Ok(Search::One(*number));
            }
            match &best {
                Some((_, _, true)) if !is_exact => {}
                Some((_, other, was_exact)) if *was_exact == is_exact => {
                    is_several |= self.layouts.read(other, &self.shape) != values;
                }
                _ => {
                    is_several = false;
                    best = Some((*number, row.clone(), is_exact));
                }
            }
        }
        if is_several {
            return Ok(Search::Several);
        }
        Ok(match best {
            Some((number, bytes, _)) => {
                *row = bytes;
                Search::One(number)
            }
            None => Search::Nothing,
        })
    }

    /// Indexes the rows by columns that all statements so far have in common.
    fn ensure_indexed(
        &mut self,
        store: &mut Store,
        wanted: &[(u32, usize, &Value<'_>)],
    ) -> Result<()> {
        let has = |number: &u32| wanted.iter().any(|(it, ..)| it == number);
        if self
            .indexed
            .as_ref()
            .is_some_and(|columns| columns.iter().all(has))
        {
            return Ok(());
        }
        let mut common: Vec<u32> = self.indexed.take().unwrap_or_default();
        common.retain(has);
        if common.is_empty() {
            common = wanted.iter().map(|(number, ..)| *number).collect();
        }
        store.clear_index(self.space)?;
        self.indexed = Some(common);
        let (mut from, mut row) = (0, Vec::new());
        while let Some(number) = store.next_row(self.space, from, &mut row)? {
            let values = self.layouts.read(&row, &self.shape);
            if let Some(hash) = self.hash_of(&values) {
                store.index(self.space, hash, number)?;
            }
            from = number + 1;
        }
        Ok(())
    }

    /// Of the columns of the index.
    fn hash_of(&self, values: &[Value<'_>]) -> Option<u64> {
        let indexed = self.indexed.as_deref()?;
        let mut key: Vec<(u32, &Value<'_>)> = Vec::with_capacity(indexed.len());
        for (column, value) in self.shape.stored().zip(values) {
            if indexed.contains(&column.number) {
                key.push((column.number, value));
            }
        }
        key.sort_by_key(|(number, _)| *number);
        Some(hash(key.into_iter()))
    }

    /// Changes the text of a column in all rows.
    pub fn rewrite(
        &mut self,
        store: &mut Store,
        number: u32,
        change: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<()> {
        let Some(at) = self
            .shape
            .stored()
            .position(|column| column.number == number)
        else {
            return Ok(());
        };
        let (mut from, mut row) = (0, Vec::new());
        while let Some(found) = self.next_row(store, from, &mut row)? {
            from = found + 1;
            let mut values = self.layouts.read(&row, &self.shape);
            let Value::Text(text) = &values[at] else {
                continue;
            };
            values[at] = Value::Text(Cow::Owned(change(text)));
            let values: Vec<Value<'static>> = values.into_iter().map(Value::into_owned).collect();
            self.update(store, found, &row, &values)?;
        }
        Ok(())
    }
}

/// In the order of columns' numbers.
fn hash<'v>(key: impl Iterator<Item = (u32, &'v Value<'v>)>) -> u64 {
    key.fold(0x51_7c_c1_b7_27_22_0a_95, |hash, (number, value)| {
        // What counts as the same hashes alike: of_value takes numbers without trailing zeros.
        of_value(hash ^ u64::from(number), value)
    })
}

/// A row's values for the stored columns, by the pairs of an INSERT; `Err` names a column that it lacks.
pub fn arranged<'v>(
    shape: &Shape,
    pairs: &'v [(Cow<'v, [u8]>, Value<'v>)],
) -> std::result::Result<Vec<Value<'v>>, Vec<u8>> {
    let is_in_order = shape
        .stored()
        .map(|column| &column.name[..])
        .eq(pairs.iter().map(|(name, _)| &name[..]));
    if is_in_order {
        return Ok(pairs.iter().map(|(_, value)| borrowed(value)).collect());
    }
    if let Some((other, _)) = pairs.iter().find(|(name, _)| shape.column(name).is_none()) {
        return Err(other.to_vec());
    }
    let value = |column: &Column| {
        let mut pairs = pairs.iter();
        let pair = pairs.find(|(name, _)| name[..] == column.name[..]);
        pair.map(|(_, value)| borrowed(value))
            .ok_or_else(|| column.name.clone())
    };
    shape.stored().map(value).collect()
}
