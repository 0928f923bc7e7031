//! The changes that are taken back, each with the whole row before and after, and who has changed the row later.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use archive::Lsn;
use archive_query::history::Value;
use archive_query::past::quoting::{written, written_table};
use archive_query::past::{Change, Kind, Observer, Past, Shape, Tables};
use archive_query::report::text::readable;

use super::statement::{Column, Table};
use super::undone::{Row, Undone};
use super::wanted::{Choice, Columns, Wanted};
use crate::error::{Error, Result};
use crate::restore::part::wanted::Name;
use crate::shown::{line, size};
use crate::stretch::reading::Commit;

/// All values of the changes may take so much memory, in bytes.
const MOST: usize = 1 << 30;

/// A table with the columns that it had.
pub struct Former {
    pub oid: u32,
    pub name: Name,
    pub shape: Shape,
    /// As it is written in statements.
    pub table: Table,
    /// The places of the columns that identify a row.
    pub key: Option<Vec<usize>>,
}

impl Former {
    /// Its name, for people.
    pub fn shown(&self) -> String {
        line(&readable(&self.table.name))
    }
}

/// What is told of the changes.
pub struct Collect<'a> {
    wanted: HashSet<Lsn>,
    choice: &'a Choice<'a>,
    keys: &'a BTreeMap<Name, Vec<(Lsn, Option<Columns>)>>,
    pub tables: Vec<Former>,
    pub undone: Vec<Undone>,
    /// What is undone of a row, by its number.
    of_row: HashMap<u64, Vec<usize>>,
    /// Rows that are there, and rows that were deleted, by their contents.
    there: HashMap<(u32, u64), Vec<usize>>,
    gone: HashMap<(u32, u64), Vec<usize>>,
    /// DELETEs and INSERTs, which may be moves of a row.
    pub moves: Vec<(Lsn, usize, bool)>,
    /// So many changes were taken.
    pub taken: u64,
    bytes: usize,
}

impl<'a> Collect<'a> {
    pub fn new(wanted: &'a Wanted, choice: &'a Choice<'a>) -> Collect<'a> {
        Collect {
            wanted: wanted.commits.iter().map(|commit| commit.lsn).collect(),
            choice,
            keys: &wanted.keys,
            tables: Vec::new(),
            undone: Vec::new(),
            of_row: HashMap::new(),
            there: HashMap::new(),
            gone: HashMap::new(),
            moves: Vec::new(),
            taken: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, change: &Change<'_>) -> Result<()> {
        let name = Name {
            schema: change.name.schema.clone(),
            name: change.name.table.clone(),
        };
        let transaction = change.transaction;
        let commit = Commit {
            xid: transaction.xid,
            lsn: transaction.commit_lsn,
            at: transaction.commit_time,
        };
        let is_wanted = self.wanted.contains(&commit.lsn) && self.choice.has_table(&name);
        if !is_wanted {
            self.others(change, commit);
            return Ok(());
        }
        if !matches!(change.kind, Kind::Inserted | Kind::Updated | Kind::Deleted) {
            let table = line(&readable(&written_table(change.name)));
            let message = format!(
                "transaction {} has emptied or rewritten {table}, which is not taken back row by row",
                commit.xid
            );
            let hint = format!("pg_incrbackup restore --table '{table}' --into-schema before --before-xid {} makes it beside the live one.", commit.xid);
            return Err(Error::failed(message, hint));
        }
        self.taken += 1;
        let table = self.table(change, &name);
        if change.kind != Kind::Inserted {
            let keys = self.keys.get(&name).into_iter().flatten();
            let known = keys.take_while(|(lsn, _)| *lsn <= commit.lsn).last();
            let columns = known.and_then(|(_, key)| key.as_ref());
            let place = |wanted: &Vec<u8>| change.shape.stored().position(|it| it.name == *wanted);
            let key = columns.and_then(|columns| columns.iter().map(place).collect());
            self.tables[table].key = key;
        }
        let number = self.undo(change, commit, table);
        if change.kind != Kind::Updated {
            let is_inserted = change.kind == Kind::Inserted;
            self.moves.push((commit.lsn, number, is_inserted));
        }
        if self.bytes > MOST {
            let message = format!("the changes are more than {}", size(MOST as u64));
            let hint = "Take back fewer at once, the newest first; or pg_incrbackup restore --table makes the table as it was.";
            return Err(Error::failed(message, hint));
        }
        Ok(())
    }

    /// Adds a change to what is undone of its row, unless somebody else has changed the row between.
    fn undo(&mut self, change: &Change<'_>, commit: Commit, table: usize) -> usize {
        let owned =
            |row: &[Value<'_>]| row.iter().map(|value| value.clone().into_owned()).collect();
        let after: Option<Row> = change.after.map(owned);
        let last = self.taken;
        let there = self.of_row.get(&change.row).and_then(|all| all.last());
        let open = there.copied().filter(|nth| {
            let undone = &self.undone[*nth];
            undone.later.is_none() && undone.table == table
        });
        let number = match open {
            Some(nth) => {
                let undone = &mut self.undone[nth];
                self.bytes -= undone.size();
                (undone.commit, undone.last, undone.after) = (commit, last, after);
                nth
            }
            None => {
                self.undone.push(Undone {
                    commit,
                    table,
                    before: change.before.map(owned),
                    after,
                    last,
                    later: None,
                    is_gone: false,
                    alike: None,
                });
                let number = self.undone.len() - 1;
                self.of_row.entry(change.row).or_default().push(number);
                number
            }
        };
        let undone = &self.undone[number];
        self.bytes += undone.size();
        match (&undone.before, &undone.after) {
            (_, Some(row)) => {
                let there = self.there.entry((change.oid, hash(row))).or_default();
                there.push(number);
            }
            (Some(row), None) => {
                let gone = self.gone.entry((change.oid, hash(row))).or_default();
                gone.push(number);
            }
            (None, None) => {}
        }
        number
    }

    /// A change of somebody else.
    fn others(&mut self, change: &Change<'_>, commit: Commit) {
        if let Some(row) = change.before {
            let is_gone = change.kind != Kind::Updated;
            let met = self.of_row.get(&change.row).cloned();
            // Of rows that are the same it may be any.
            let met = met.or_else(|| {
                let alike = self.there.get(&(change.oid, hash(row)))?;
                let is_it = |nth: &&usize| {
                    let undone = &self.undone[**nth];
                    let is_so = undone.after.as_deref().is_some_and(|after| after == row);
                    is_so && undone.later.is_none()
                };
                Some(vec![*alike.iter().find(is_it)?])
            });
            for nth in met.into_iter().flatten() {
                let undone = &mut self.undone[nth];
                undone.later.get_or_insert(commit);
                undone.is_gone |= is_gone;
            }
        }
        if let Some(row) = change.after {
            let alike = self.gone.get(&(change.oid, hash(row)));
            let is_open = |nth: &&usize| {
                let undone = &self.undone[**nth];
                undone.after.is_none() && undone.later.is_none()
            };
            if let Some(nth) = alike.and_then(|alike| alike.iter().find(is_open)) {
                let undone = &mut self.undone[*nth];
                undone.later = Some(commit);
                undone.is_gone = true;
            }
        }
    }

    fn table(&mut self, change: &Change<'_>, name: &Name) -> usize {
        let is_it = |former: &Former| {
            former.oid == change.oid && former.name == *name && former.shape == *change.shape
        };
        if let Some(nth) = self.tables.iter().rposition(is_it) {
            return nth;
        }
        let columns: Vec<Column> = change
            .shape
            .stored()
            .map(|column| Column {
                name: written(&column.name),
                type_: column.type_.clone(),
            })
            .collect();
        self.tables.push(Former {
            oid: change.oid,
            name: name.clone(),
            shape: change.shape.clone(),
            table: Table {
                name: written_table(change.name),
                columns,
                is_partitioned: false,
                added: Vec::new(),
            },
            key: None,
        });
        self.tables.len() - 1
    }

    /// Compares the tables with those at the end of the files: what has another form by now is refused.
    pub fn ensure_as_now(&mut self, now: &Tables) -> Result<()> {
        for former in &mut self.tables {
            let shown = former.shown();
            let hint = format!(
                "pg_incrbackup restore --table '{shown}' makes a table as it was at a moment, beside the live one."
            );
            let Some(table) = now.all.get(&former.oid) else {
                return Err(Error::failed(format!("{shown} was dropped later"), hint));
            };
            if (&table.name.schema, &table.name.table) != (&former.name.schema, &former.name.name) {
                let message = format!(
                    "{shown} is called {} by now",
                    line(&readable(&written_table(&table.name)))
                );
                return Err(Error::failed(message, hint));
            }
            for column in former.shape.stored() {
                let mut there = table.shape.stored();
                let is_same = |it: &&archive_query::past::Column| it.number == column.number;
                let there = there.find(is_same);
                let is_as_it_was = there.is_some_and(|there| {
                    (&there.name, &there.type_) == (&column.name, &column.type_)
                });
                if !is_as_it_was {
                    let name = line(&readable(&written(&column.name)));
                    let what = match there {
                        None => "was dropped later",
                        Some(there) if there.name != column.name => "was renamed later",
                        Some(_) => "has another type by now",
                    };
                    return Err(Error::failed(
                        format!("column {name} of {shown} {what}"),
                        hint,
                    ));
                }
            }
            former.table.is_partitioned = table.is_partitioned;
            let is_new = |column: &&archive_query::past::Column| {
                let mut stored = former.shape.stored();
                !stored.any(|it| it.number == column.number)
            };
            let added = table.shape.stored().filter(is_new).map(|column| {
                let written = Column {
                    name: written(&column.name),
                    type_: column.type_.clone(),
                };
                (written, column.missing.clone().into_owned())
            });
            former.table.added = added.collect();
        }
        Ok(())
    }
}

impl Collect<'_> {
    /// Notes how many rows the files have at their end with the values of each deleted one.
    pub fn count_alike(&mut self, past: &Past) -> Result<()> {
        let mut counts: BTreeMap<usize, HashMap<u64, u64>> = BTreeMap::new();
        for undone in &self.undone {
            if let (Some(row), None) = (&undone.before, &undone.after) {
                let of_table = counts.entry(undone.table).or_default();
                of_table.insert(hash(row), 0);
            }
        }
        for (nth, counts) in &mut counts {
            let former = &self.tables[*nth];
            let Some(now) = past.tables().all.get(&former.oid) else {
                continue;
            };
            let place = |wanted: &archive_query::past::Column| {
                now.shape.stored().position(|it| it.number == wanted.number)
            };
            let places: Vec<usize> = former.shape.stored().filter_map(place).collect();
            past.rows(former.oid, &mut |row| {
                let row: Vec<&Value<'_>> = places.iter().map(|nth| &row[*nth]).collect();
                if let Some(count) = counts.get_mut(&hash(&row)) {
                    *count += 1;
                }
                Ok(())
            })?;
        }
        for undone in &mut self.undone {
            if let (Some(row), None) = (&undone.before, &undone.after) {
                let of_table = counts.get(&undone.table);
                undone.alike = of_table.and_then(|counts| counts.get(&hash(row)).copied());
            }
        }
        Ok(())
    }
}

impl Observer for Collect<'_> {
    fn change(
        &mut self,
        change: &Change<'_>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.take(change).map_err(Into::into)
    }
}

fn hash<V: Hash>(row: &[V]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}
