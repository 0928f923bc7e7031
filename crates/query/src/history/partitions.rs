//! Partitions that a table had at some time and has no more: whoever asks about the table asks about them, too.

use serde::{Deserialize, Serialize};

use super::ddl::{Cursor, Ddl, Name, Rename, TableName};
use super::names::{Names, Place, Table};

/// What a statement does to the membership of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    Joined {
        parent: Qualified,
        partition: Qualified,
    },
    Left {
        parent: Qualified,
        partition: Qualified,
    },
    /// Tables were dropped, of whatever kind.
    Dropped { tables: Vec<Qualified> },
}

/// A table with its schema. Of a name without one it is the first schema of the search_path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qualified {
    pub schema: Name,
    pub table: Name,
}

impl Qualified {
    fn name(&self) -> TableName {
        TableName {
            schema: self.schema.0.clone(),
            table: self.table.0.clone(),
        }
    }
}

impl Ddl<'_> {
    /// Which partition the statement adds to its table, or removes.
    pub fn membership(&self) -> Option<Membership> {
        let mut words = Cursor::of(self.statement);
        if words.word("drop").is_some() {
            words.word("table")?;
            words.word("if").map(|()| words.word("exists"));
            let mut tables = vec![self.qualified(&mut words)?];
            while words.symbol(b',').is_some() {
                tables.push(self.qualified(&mut words)?);
            }
            return Some(Membership::Dropped { tables });
        }
        if words.word("create").is_some() {
            words.word("table")?;
            words.word("if").map(|()| {
                let _ = words.word("not");
                words.word("exists")
            });
            let partition = self.qualified(&mut words)?;
            words.word("partition")?;
            words.word("of")?;
            let parent = self.qualified(&mut words)?;
            return Some(Membership::Joined { parent, partition });
        }
        words.word("alter")?;
        words.word("table")?;
        words.word("if").map(|()| words.word("exists"));
        let _ = words.word("only");
        let parent = self.qualified(&mut words)?;
        let is_joining = words.word("attach").is_some();
        if !is_joining {
            words.word("detach")?;
        }
        words.word("partition")?;
        let partition = self.qualified(&mut words)?;
        Some(if is_joining {
            Membership::Joined { parent, partition }
        } else {
            Membership::Left { parent, partition }
        })
    }

    fn qualified(&self, words: &mut Cursor) -> Option<Qualified> {
        let first = words.name()?;
        Some(match words.symbol(b'.') {
            Some(()) => Qualified {
                schema: first,
                table: words.name()?,
            },
            None => Qualified {
                schema: Name(self.search_path.first()?.clone()),
                table: first,
            },
        })
    }
}

/// What changes names or memberships, in the order of the files.
pub enum Step<'a> {
    Rename(&'a Rename),
    Membership(&'a Membership),
}

/// A partition that is none now, while it is followed.
struct Former {
    /// From the oldest on.
    periods: Vec<(Place, Table)>,
    name: TableName,
    parent: TableName,
    is_over: bool,
}

/// The names of the partitions that the first of the tables, or one of those below it, had and has no more; `now` are the
/// names of `tables`. Those that were there before the first step are found where they are detached, not where they are
/// dropped.
pub fn former(tables: &[Table], now: &[Names], steps: &[(Place, Step<'_>)]) -> Vec<Names> {
    let Some(root) = now.first() else {
        return Vec::new();
    };
    let mut all: Vec<Former> = Vec::new();
    let is_parent = |all: &[Former], name: &TableName, place: Place| {
        let mut below = tables
            .iter()
            .zip(now)
            .filter(|(table, _)| !table.is_ancestor);
        below.any(|(_, names)| names.at(place).name == *name)
            || all
                .iter()
                .any(|former| !former.is_over && former.name == *name)
    };
    let is_known = |all: &[Former], name: &TableName, place: Place| {
        now.iter().any(|names| names.at(place).name == *name)
            || all
                .iter()
                .any(|former| !former.is_over && former.name == *name)
    };
    for (nth, (place, step)) in steps.iter().enumerate() {
        let place = *place;
        match step {
            Step::Rename(rename) => {
                let after = (place.0, place.1 + 1);
                let has_columns_renamed = root.at(place).columns != root.at(after).columns;
                for former in all.iter_mut().filter(|former| !former.is_over) {
                    former.parent = rename.redo(&former.parent);
                    let name = rename.redo(&former.name);
                    if name != former.name || has_columns_renamed {
                        former.close(root, place);
                        former.name = name;
                    }
                }
            }
            Step::Membership(Membership::Joined { parent, partition }) => {
                let name = partition.name();
                if is_parent(&all, &parent.name(), place) && !is_known(&all, &name, place) {
                    all.push(Former {
                        periods: vec![(place, nobody(root, place))],
                        name,
                        parent: parent.name(),
                        is_over: false,
                    });
                }
            }
            Step::Membership(Membership::Left { parent, partition }) => {
                let name = partition.name();
                if is_parent(&all, &parent.name(), place) && !is_known(&all, &name, place) {
                    all.push(Former {
                        periods: before(root, &steps[..nth], &name),
                        name: name.clone(),
                        parent: parent.name(),
                        is_over: false,
                    });
                }
                end(&mut all, root, &name, place);
            }
            Step::Membership(Membership::Dropped { tables }) => {
                for table in tables {
                    end(&mut all, root, &table.name(), place);
                }
            }
        }
    }
    let names = all.into_iter().map(|mut former| {
        if !former.is_over {
            former.close(root, LAST);
        }
        former.periods.push((LAST, nobody(root, LAST)));
        Names::in_periods(former.periods)
    });
    names.collect()
}

const LAST: Place = (usize::MAX, u64::MAX);

impl Former {
    /// Its name was valid up to a position.
    fn close(&mut self, root: &Names, place: Place) {
        self.periods
            .push((place, named(root, place, self.name.clone())));
    }
}

/// Its own partitions go with it.
fn end(all: &mut [Former], root: &Names, name: &TableName, place: Place) {
    let mut gone = vec![name.clone()];
    while let Some(name) = gone.pop() {
        for former in all.iter_mut().filter(|former| !former.is_over) {
            if former.name == name {
                former.close(root, place);
                former.is_over = true;
            } else if former.parent == name {
                gone.push(former.name.clone());
            }
        }
    }
}

/// The names of a partition before a position at which it has `name`, from the beginning of the files.
fn before(root: &Names, steps: &[(Place, Step<'_>)], name: &TableName) -> Vec<(Place, Table)> {
    let mut periods = Vec::new();
    let mut name = name.clone();
    for (place, step) in steps.iter().rev() {
        if let Step::Rename(rename) = step {
            let old = rename.undo(&name);
            if old != name {
                periods.insert(0, (*place, named(root, *place, old.clone())));
                name = old;
            }
        }
    }
    periods
}

fn named(root: &Names, place: Place, name: TableName) -> Table {
    Table {
        name,
        ..root.at(place).clone()
    }
}

/// No table has this name.
fn nobody(root: &Names, place: Place) -> Table {
    let name = TableName {
        schema: Vec::new(),
        table: Vec::new(),
    };
    named(root, place, name)
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
