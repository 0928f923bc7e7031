//! How many rows differ, table by table.
//!
//! The engine keeps a row's identity through UPDATEs. One that was deleted and inserted again as it was is no difference
//! either: deleted rows are counted by their contents (two hashes of 64 bits), and an inserted one that is the same takes one away.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use archive_query::history::Value;
use archive_query::past::{Net, Past, Shape, Tables};

use super::presence;
use super::shown::Shower;
use crate::error::Result;
use crate::stretch::touched::Touched;

/// A table's differences.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
pub struct Counts {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// What became of a row.
pub enum Became {
    Inserted,
    Updated,
    Deleted,
}

/// Rows by table and contents, and how many of them.
type Contents = HashMap<(u32, u64, u64), u64>;

/// The differences of all tables.
pub struct Nets {
    counts: BTreeMap<u32, Counts>,
    /// Deleted rows that were inserted again.
    again: Contents,
    /// Tables that were made since, and are not among what the engine noted.
    made: Vec<u32>,
}

impl Nets {
    /// `before`: the tables at the first moment.
    pub fn of(past: &Past, before: &Tables) -> Result<Nets> {
        let mut deleted = Contents::new();
        let each = past.changes(&mut |net| {
            if let (Some(before), None) = (net.before, net.after) {
                *deleted.entry(key_of(net, before, net.shapes)).or_default() += 1;
            }
            Ok(())
        });
        each?;
        let mut again = Contents::new();
        let mut nets = Nets {
            counts: BTreeMap::new(),
            again: Contents::new(),
            made: Vec::new(),
        };
        let each = past.changes(&mut |net| {
            if let (None, Some(after)) = (net.before, net.after) {
                let key = key_of(net, after, (net.shapes.1, net.shapes.0));
                if let Some(count) = deleted.get_mut(&key).filter(|count| **count > 0) {
                    *count -= 1;
                    *again.entry(key).or_default() += 1;
                }
            }
            Ok(())
        });
        each?;
        nets.again = again;
        let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
        nets.each(past, &mut |net, became| {
            let counts = counts.entry(net.oid).or_default();
            match became {
                Became::Inserted => counts.inserted += 1,
                Became::Updated => counts.updated += 1,
                Became::Deleted => counts.deleted += 1,
            }
        })?;
        nets.counts = counts;
        nets.add_made(past, before)?;
        Ok(nets)
    }

    /// All rows of a table that was made since are new.
    fn add_made(&mut self, past: &Past, before: &Tables) -> Result<()> {
        for (oid, table) in &past.tables().all {
            let is_made = !before.all.contains_key(oid) && !self.counts.contains_key(oid);
            let count = past.count(*oid);
            if is_made && count > 0 && !table.is_partitioned {
                let counts = Counts {
                    inserted: count,
                    ..Counts::default()
                };
                self.counts.insert(*oid, counts);
                self.made.push(*oid);
            }
        }
        Ok(())
    }

    /// Every difference.
    fn each(&self, past: &Past, take: &mut dyn FnMut(&Net<'_>, Became)) -> Result<()> {
        let (mut deleted, mut inserted) = (self.again.clone(), self.again.clone());
        let is_again = |again: &mut Contents, key| {
            let there = again.get_mut(&key).filter(|count| **count > 0);
            there.map(|count| *count -= 1).is_some()
        };
        let each = past.changes(&mut |net| {
            let became = match (net.before, net.after) {
                (Some(before), Some(after)) => {
                    let (one, other) = net.shapes;
                    differ(one, before, other, after).then_some(Became::Updated)
                }
                (Some(before), None) => {
                    let is_again = is_again(&mut deleted, key_of(net, before, net.shapes));
                    (!is_again).then_some(Became::Deleted)
                }
                (None, Some(after)) => {
                    let is_again = is_again(
                        &mut inserted,
                        key_of(net, after, (net.shapes.1, net.shapes.0)),
                    );
                    (!is_again).then_some(Became::Inserted)
                }
                (None, None) => None,
            };
            if let Some(became) = became {
                take(net, became);
            }
            Ok(())
        });
        Ok(each?)
    }

    /// Table by table; without rows in the order of their names at the end.
    pub fn show(
        &self,
        past: &Past,
        before: &Tables,
        touched: &Touched,
        shower: &Shower,
    ) -> Result<()> {
        let after = past.tables();
        let mut oids: Vec<u32> = self.counts.keys().copied().collect();
        for oid in before.all.keys().chain(after.all.keys()) {
            let (was_there, is_there) = presence(before, after, *oid);
            let table = after.all.get(oid).or(before.all.get(oid));
            let is_named = table
                .is_some_and(|table| touched.has(&table.name) && shower.has_table(&table.name));
            if was_there != is_there && is_named && !oids.contains(oid) {
                oids.push(*oid);
            }
        }
        let name = |oid: &u32| {
            let table = after.all.get(oid).or(before.all.get(oid));
            table.map(|table| (table.name.schema.clone(), table.name.table.clone()))
        };
        oids.sort_by_key(name);
        let heading = |oid: u32| {
            if let Some(table) = after.all.get(&oid).or(before.all.get(&oid)) {
                let counts = self.counts.get(&oid).copied().unwrap_or_default();
                shower.table(oid, &table.name, counts, presence(before, after, oid));
            }
        };
        if !shower.lists_rows() {
            oids.into_iter().for_each(heading);
            return Ok(());
        }
        // All rows of a table come one after the other.
        let mut last = None;
        self.each(past, &mut |net, became| {
            if last.replace(net.oid) != Some(net.oid) {
                heading(net.oid);
                oids.retain(|oid| *oid != net.oid);
            }
            let key = touched.key_of(net.name);
            shower.row(net, &became, key);
        })?;
        for oid in oids {
            heading(oid);
            let made = after.all.get(&oid).filter(|_| self.made.contains(&oid));
            if let Some(table) = made {
                let rows = past.rows(oid, &mut |values| {
                    shower.made_row(table, values);
                    Ok(())
                });
                rows?;
            }
        }
        Ok(())
    }
}

/// Of a row by its values in the columns that are there at both moments; `shapes` begins with that of the row.
fn key_of(net: &Net<'_>, values: &[Value<'_>], shapes: (&Shape, &Shape)) -> (u32, u64, u64) {
    let (own, other) = shapes;
    let is_kept = |number: u32| other.stored().any(|column| column.number == number);
    let hash = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for (column, value) in own.stored().zip(values) {
            if is_kept(column.number) {
                column.number.hash(&mut hasher);
                value.hash(&mut hasher);
            }
        }
        hasher.finish()
    };
    (net.oid, hash(0), hash(1))
}

/// Whether a column that both have has another value; one is the same column under another name.
fn differ(one: &Shape, before: &[Value<'_>], other: &Shape, after: &[Value<'_>]) -> bool {
    changed(one, before, other, after).next().is_some()
}

/// The columns that differ, by their names at the end: old and new value.
pub fn changed<'v>(
    one: &'v Shape,
    before: &'v [Value<'v>],
    other: &'v Shape,
    after: &'v [Value<'v>],
) -> impl Iterator<Item = (&'v [u8], &'v Value<'v>, &'v Value<'v>)> {
    other.stored().zip(after).filter_map(move |(column, new)| {
        let at = one.stored().position(|it| it.number == column.number)?;
        let old = &before[at];
        (old != new).then_some((&column.name[..], old, new))
    })
}
