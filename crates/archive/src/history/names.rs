//! Which names a table and its columns had at which place of the files.

use super::ddl::{Rename, TableName};

/// A place in the files: which of the segments, counted from the oldest, and the offset in it.
pub type Place = (usize, u64);

/// A table that is asked about, by its names of today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: TableName,
    /// The columns whose values are given.
    pub columns: Vec<Vec<u8>>,
}

/// The names of one table, from the oldest on.
#[derive(Debug, Clone)]
pub struct Names {
    /// Each holds up to a place, that one included.
    periods: Vec<(Place, Table)>,
}

impl Names {
    /// Goes back from today through the renames, which stand in the order of the files.
    pub fn of(table: Table, renames: &[(Place, Rename)]) -> Names {
        let mut periods = vec![((usize::MAX, u64::MAX), table)];
        for (place, rename) in renames.iter().rev() {
            let after = &periods[periods.len() - 1].1;
            let columns = after.columns.iter();
            let before = Table {
                name: rename.undo(&after.name),
                columns: columns
                    .map(|column| {
                        let old = rename.undo_column(&after.name, column);
                        old.unwrap_or_else(|| column.clone())
                    })
                    .collect(),
            };
            if before != *after {
                periods.push((*place, before));
            }
        }
        periods.reverse();
        Names { periods }
    }

    /// The names at a place.
    pub fn at(&self, place: Place) -> &Table {
        let known = self.periods.iter().find(|(until, _)| place <= *until);
        &known.unwrap_or(&self.periods[self.periods.len() - 1]).1
    }

    /// The names between two places.
    pub fn between(&self, from: Place, to: Place) -> impl Iterator<Item = &Table> {
        let first = self.periods.partition_point(|(until, _)| *until < from);
        let mut is_over = false;
        self.periods[first..]
            .iter()
            .map_while(move |(until, table)| {
                let was_over = std::mem::replace(&mut is_over, *until >= to);
                (!was_over).then_some(table)
            })
    }
}
