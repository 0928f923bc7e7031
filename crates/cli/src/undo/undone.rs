//! What is taken back of a row, as one change: from the first that is undone to the last, where nobody else has changed the row
//! between; and which rows are taken back together.

use std::collections::HashMap;

use archive::time::iso;
use archive::Lsn;
use archive_query::history::Value;
use archive_query::past::Tables;
use archive_query::report::text::readable;

use super::collect::Former;
use super::statement::{self, Step};
use crate::shown::line;
use crate::stretch::reading::Commit;

pub type Row = Vec<Value<'static>>;

/// Changes of a row that are taken back.
pub struct Undone {
    /// The last of them.
    pub commit: Commit,
    /// Its place among the tables.
    pub table: usize,
    pub before: Option<Row>,
    pub after: Option<Row>,
    /// The number of the last of them.
    pub last: u64,
    /// Who has changed the row since, if it was not one of those that are taken back.
    pub later: Option<Commit>,
    /// The row was deleted since, or one like it inserted again: one that is found now is another.
    pub is_gone: bool,
    /// So many rows have the values of a deleted one at the end of the files.
    pub alike: Option<u64>,
}

/// A transaction, for people.
pub fn named(commit: Commit) -> String {
    let at = commit
        .at
        .map_or_else(String::new, |at| format!(" of {}", iso(at)));
    format!("transaction {}{at}", commit.xid)
}

impl Undone {
    pub fn size(&self) -> usize {
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

    /// What takes it back; `None` for changes that have changed nothing.
    pub fn step(&self, tables: &[Former]) -> Option<Step> {
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

    /// That it was not taken back.
    pub fn not_taken_back(&self, tables: &[Former]) -> String {
        let (operation, row) = (self.operation(), self.row(tables));
        let xid = self.commit.xid;
        let later = self.later.map(named);
        if self.after.is_none() {
            let there = match later {
                Some(later) => format!("{later} has inserted one like it later"),
                None => "rows like it are there that the files do not have, or the other way round"
                    .to_owned(),
            };
            return format!("{row}, which transaction {xid} has deleted: {there}");
        }
        let later = match (later, self.is_gone) {
            (Some(later), true) => format!(": {later} has deleted it later"),
            (Some(later), false) => format!(": {later} has changed it later"),
            (None, _) => String::new(),
        };
        format!("{row} is not as the {operation} of transaction {xid} has left it{later}")
    }

    /// `public.orders id=5`, for people.
    pub fn row(&self, tables: &[Former]) -> String {
        const MOST: usize = 60;
        let former = &tables[self.table];
        let Some(row) = self.after.as_ref().or(self.before.as_ref()) else {
            return former.shown();
        };
        let places = former.key.clone().unwrap_or_else(|| vec![0]);
        let columns = places.iter().filter_map(|nth| {
            let column = former.table.columns.get(*nth)?;
            let value = match row.get(*nth)? {
                Value::Null => "NULL".to_owned(),
                Value::Text(text) => {
                    let text = line(&readable(text));
                    let short: String = text.chars().take(MOST).collect();
                    let more = if short.len() < text.len() { "..." } else { "" };
                    format!("{short}{more}")
                }
            };
            let name = line(&readable(&column.name));
            Some(format!("{name}={value}"))
        });
        let columns: Vec<String> = columns.collect();
        format!("{} {}", former.shown(), columns.join(" "))
    }
}

/// What is taken back together or not at all, the last one first: a row that has moved between partitions, or was deleted and
/// inserted again under its key. Each is the places of what is undone, the last first.
pub fn units(
    undone: &[Undone],
    moves: &[(Lsn, usize, bool)],
    formers: &[Former],
    now: &Tables,
) -> Vec<Vec<usize>> {
    let mut first: Vec<usize> = (0..undone.len()).collect();
    fn find(first: &mut [usize], mut nth: usize) -> usize {
        while first[nth] != nth {
            first[nth] = first[first[nth]];
            nth = first[nth];
        }
        nth
    }
    let root = |former: &Former| {
        let above = now.above(former.oid);
        above.last().copied().unwrap_or(former.oid)
    };
    let roots: Vec<u32> = formers.iter().map(root).collect();
    let mut left: HashMap<u32, (Lsn, usize)> = HashMap::new();
    let mut keyed: HashMap<(u32, Vec<&Value<'static>>), usize> = HashMap::new();
    for (lsn, nth, is_inserted) in moves {
        let change = &undone[*nth];
        let (former, root) = (&formers[change.table], roots[change.table]);
        if *is_inserted {
            let from = left
                .remove(&root)
                .filter(|(of, from)| of == lsn && formers[undone[*from].table].oid != former.oid);
            if let Some((_, from)) = from {
                let (a, b) = (find(&mut first, from), find(&mut first, *nth));
                first[a] = b;
            }
        } else {
            left.insert(root, (*lsn, *nth));
        }
        let row = if *is_inserted {
            &change.after
        } else {
            &change.before
        };
        if let (Some(row), Some(key)) = (row, &former.key) {
            let values = key.iter().filter_map(|at| row.get(*at)).collect();
            if let Some(other) = keyed.insert((root, values), *nth) {
                let (a, b) = (find(&mut first, other), find(&mut first, *nth));
                first[a] = b;
            }
        }
    }
    let mut units: HashMap<usize, Vec<usize>> = HashMap::new();
    for nth in 0..undone.len() {
        let unit = units.entry(find(&mut first, nth)).or_default();
        unit.push(nth);
    }
    let mut units: Vec<Vec<usize>> = units.into_values().collect();
    for unit in &mut units {
        unit.sort_by_key(|nth| std::cmp::Reverse(undone[*nth].last));
    }
    units.sort_by_key(|unit| std::cmp::Reverse(undone[unit[0]].last));
    units
}
