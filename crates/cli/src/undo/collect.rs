//! The changes that are taken back, each with the whole row before and after, and who has changed the row later.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use archive::Lsn;
use archive_query::history::Value;
use archive_query::past::quoting::{written, written_table};
use archive_query::past::{Change, Kind, Observer, Shape, Tables};

use super::statement::{self, Column, Table};
use super::wanted::{Choice, Wanted};
use crate::error::{Error, Result};
use crate::restore::part::wanted::Name;
use crate::shown::{line, size};
use crate::stretch::reading::Commit;

/// All values of the changes may take so much memory, in bytes.
const MOST: usize = 1 << 30;

type Row = Vec<Value<'static>>;

/// A change that is taken back.
pub struct Undone {
    pub commit: Commit,
    /// Its place among the tables.
    pub table: usize,
    pub before: Option<Row>,
    pub after: Option<Row>,
    /// Who has changed the row since, if it was not one of those that are taken back.
    pub later: Option<Commit>,
}

/// A table with the columns that it had.
pub struct Former {
    pub oid: u32,
    pub name: Name,
    shape: Shape,
    /// As it is written in statements.
    pub table: Table,
    /// The places of the columns that identify a row.
    pub key: Option<Vec<usize>>,
}

/// What is told of the changes.
pub struct Collect<'a> {
    wanted: HashSet<Lsn>,
    choice: &'a Choice<'a>,
    keys: &'a std::collections::BTreeMap<Name, Vec<Vec<u8>>>,
    pub tables: Vec<Former>,
    pub undone: Vec<Undone>,
    /// The changes whose row is so at present, by its contents.
    current: HashMap<(u32, u64), Vec<usize>>,
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
            current: HashMap::new(),
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
        let before = change.before.map(|row| (change.oid, hash(row)));
        let after = change.after.map(|row| (change.oid, hash(row)));
        let met = before
            .and_then(|key| self.current.remove(&key))
            .unwrap_or_default();
        let is_wanted = self.wanted.contains(&commit.lsn) && self.choice.has_table(&name);
        if !is_wanted {
            for nth in met {
                self.undone[nth].later.get_or_insert(commit);
            }
            return Ok(());
        }
        if !matches!(change.kind, Kind::Inserted | Kind::Updated | Kind::Deleted) {
            let table = line(&String::from_utf8_lossy(&written_table(change.name)));
            let message = format!(
                "transaction {} has emptied or rewritten {table}, which is not taken back row by row",
                commit.xid
            );
            let hint = format!("pg_incrbackup restore --table '{table}' --into-schema before --before-xid {} makes it beside the live one.", commit.xid);
            return Err(Error::failed(message, hint));
        }
        let table = self.table(change, &name);
        let number = self.undone.len();
        if let Some(after) = after {
            let there = self.current.entry(after).or_default();
            there.extend(met);
            there.push(number);
        }
        let owned =
            |row: &[Value<'_>]| row.iter().map(|value| value.clone().into_owned()).collect();
        let undone = Undone {
            commit,
            table,
            before: change.before.map(owned),
            after: change.after.map(owned),
            later: None,
        };
        self.bytes += undone.size();
        self.undone.push(undone);
        if self.bytes > MOST {
            let message = format!("the changes are more than {}", size(MOST as u64));
            let hint = "Take back fewer at once, the newest first; or pg_incrbackup restore --table makes the table as it was.";
            return Err(Error::failed(message, hint));
        }
        Ok(())
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
        let place = |wanted: &Vec<u8>| change.shape.stored().position(|it| it.name == *wanted);
        let key = self.keys.get(name);
        let key = key.and_then(|columns| columns.iter().map(place).collect());
        self.tables.push(Former {
            oid: change.oid,
            name: name.clone(),
            shape: change.shape.clone(),
            table: Table {
                name: written_table(change.name),
                columns,
                is_partitioned: false,
            },
            key,
        });
        self.tables.len() - 1
    }

    /// Compares the tables with those at the end of the files: what has another form by now is refused.
    pub fn ensure_as_now(&mut self, now: &Tables) -> Result<()> {
        for former in &mut self.tables {
            let shown = former.name.shown();
            let hint = format!(
                "pg_incrbackup restore --table '{shown}' makes a table as it was at a moment, beside the live one."
            );
            let Some(table) = now.all.get(&former.oid) else {
                return Err(Error::failed(format!("{shown} was dropped later"), hint));
            };
            if (&table.name.schema, &table.name.table) != (&former.name.schema, &former.name.name) {
                let message = format!(
                    "{shown} is called {} by now",
                    line(&String::from_utf8_lossy(&written_table(&table.name)))
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
                    let name = line(&String::from_utf8_lossy(&written(&column.name)));
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

impl Undone {
    fn size(&self) -> usize {
        let of_value = |value: &Value<'_>| {
            let length = match value {
                Value::Null => 0,
                Value::Text(text) => text.len(),
            };
            length + std::mem::size_of::<Value<'_>>()
        };
        let of_row = |row: &Option<Row>| row.iter().flatten().map(of_value).sum::<usize>();
        std::mem::size_of::<Undone>() + of_row(&self.before) + of_row(&self.after)
    }

    /// `INSERT`, as it was done.
    pub fn operation(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "INSERT",
            (Some(_), Some(_)) => "UPDATE",
            (Some(_), None) => "DELETE",
        }
    }

    /// The statement that takes it back; `None` for a change that changed nothing.
    pub fn statement(&self, tables: &[Former]) -> Option<Vec<u8>> {
        let former = &tables[self.table];
        let change = match (&self.before, &self.after) {
            (None, Some(after)) => statement::Change::Insert(after),
            (Some(before), Some(after)) => {
                statement::Change::Update(before, after, former.key.as_deref())
            }
            (Some(before), None) => statement::Change::Delete(before),
            (None, None) => return None,
        };
        statement::taking_back(&former.table, change)
    }

    /// `public.orders id=5`, for people.
    pub fn row(&self, tables: &[Former]) -> String {
        const MOST: usize = 60;
        let former = &tables[self.table];
        let Some(row) = self.after.as_ref().or(self.before.as_ref()) else {
            return former.name.shown();
        };
        let places = former.key.clone().unwrap_or_else(|| vec![0]);
        let columns = places.iter().filter_map(|nth| {
            let column = former.table.columns.get(*nth)?;
            let value = match row.get(*nth)? {
                Value::Null => "NULL".to_owned(),
                Value::Text(text) => {
                    let text = line(&archive_query::report::text::readable(text));
                    let short: String = text.chars().take(MOST).collect();
                    let more = if short.len() < text.len() { "..." } else { "" };
                    format!("{short}{more}")
                }
            };
            let name = line(&archive_query::report::text::readable(&column.name));
            Some(format!("{name}={value}"))
        });
        let columns: Vec<String> = columns.collect();
        format!("{} {}", former.name.shown(), columns.join(" "))
    }
}

fn hash(row: &[Value<'_>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}
