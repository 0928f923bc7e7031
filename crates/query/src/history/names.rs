//! The names of a table and its columns at each position of the files.

use super::ddl::{Rename, TableName};
use super::literal::names_of;
use super::partitions::{former, Membership, Step};

/// A position in the files: the segment, counted from the oldest, and the offset in it.
pub type Place = (usize, u64);

/// The table in question, by its current names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: TableName,
    /// The columns whose values are given.
    pub columns: Vec<Vec<u8>>,
    /// It is above the one in question, which is a partition: its other partitions are not asked for.
    pub is_ancestor: bool,
}

/// What changes the names of tables, each in the order of the files.
#[derive(Debug, Default)]
pub struct Past {
    pub renames: Vec<(Place, Rename)>,
    pub memberships: Vec<(Place, Membership)>,
}

/// The names of one table, from the oldest on.
#[derive(Debug, Clone)]
pub struct Names {
    /// Each is valid up to and including a position.
    periods: Vec<(Place, Table)>,
}

impl Names {
    /// Goes back from the current names through the renames, which are in the order of the files. The tables
    /// are a partitioned one and its partitions: they have the same column names.
    pub fn of(tables: &[Table], renames: &[(Place, Rename)]) -> Vec<Names> {
        let today = |table: &Table| Names {
            periods: vec![((usize::MAX, u64::MAX), table.clone())],
        };
        let mut all: Vec<Names> = tables.iter().map(today).collect();
        for (place, rename) in renames.iter().rev() {
            let after: Vec<&Table> = all.iter().map(Names::first).collect();
            let old_column = |column: &Vec<u8>| {
                let mut tables = after.iter();
                let old = tables.find_map(|table| rename.undo_column(&table.name, column));
                old.unwrap_or_else(|| column.clone())
            };
            let before: Vec<Table> = after
                .iter()
                .map(|after| Table {
                    name: rename.undo(&after.name),
                    columns: after.columns.iter().map(old_column).collect(),
                    is_ancestor: after.is_ancestor,
                })
                .collect();
            for (names, before) in all.iter_mut().zip(before) {
                if before != *names.first() {
                    names.periods.insert(0, (*place, before));
                }
            }
        }
        all
    }

    /// The names of a table and of the partitions that it had; `tables` are the table in question, first, and those of today.
    pub fn over_time(tables: &[Table], past: &Past) -> Vec<Names> {
        let mut names = Names::of(tables, &past.renames);
        let renames = past.renames.iter();
        let renames = renames.map(|(place, rename)| (*place, Step::Rename(rename)));
        let memberships = past.memberships.iter();
        let memberships = memberships.map(|(place, it)| (*place, Step::Membership(it)));
        let mut steps: Vec<_> = renames.chain(memberships).collect();
        steps.sort_by_key(|(place, _)| *place);
        let former = former(tables, &names, &steps);
        names.extend(former);
        names
    }

    /// `periods` end with the end of the files.
    pub(super) fn in_periods(periods: Vec<(Place, Table)>) -> Names {
        Names { periods }
    }

    fn first(&self) -> &Table {
        &self.periods[0].1
    }

    /// The names at a position.
    pub fn at(&self, place: Place) -> &Table {
        let known = self.periods.iter().find(|(until, _)| place <= *until);
        &known.unwrap_or(&self.periods[self.periods.len() - 1]).1
    }

    /// The names between two positions.
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

/// Which of the tables had this name, as written, at a position.
pub fn table_of(all: &[Names], written: &[u8], place: Place) -> Option<usize> {
    let names = names_of(written);
    let [schema, table] = names.as_slice() else {
        return None;
    };
    all.iter().position(|names| {
        let name = &names.at(place).name;
        name.schema == *schema && name.table == *table
    })
}
