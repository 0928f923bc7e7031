//! Applies the net effect of a table's changes, as sets: rows that go are taken out, others are changed or take their new
//! values, and new ones are put in.
//!
//! The changes are in a temporary table (`incr_squash`), which takes the text of any value as COPY does. Its `kind` says
//! what becomes of a row:
//!
//! | kind | |
//! | --- | --- |
//! | `d` | it is taken out |
//! | `u` | it is changed where it is: no other row can be in its way, since its key stays, and no other index is unique |
//! | `p` | it is taken out, and put in with what it had of the columns that were not set (`incr_squash_old`) |
//! | `b` | a new one, where COPY into the table itself cannot be sent |
//!
//! All rows of `d` and `p` are out before the first one is put in, so unique values may change places in any way. A row
//! whose columns are all set is one of `d`, and a new one.

use super::copies::place_of;
use super::definition::{Column, Key};
use super::net::{Columns, Net, Place, Row};
use crate::connection::Session;
use crate::error::{Error, Result};

const SAVEPOINT: &str = "SAVEPOINT pg_incrbackup_squash";
const RELEASE: &str = "RELEASE SAVEPOINT pg_incrbackup_squash; DROP TABLE pg_temp.incr_squash";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pg_incrbackup_squash";

/// What is wrong.
#[derive(Debug)]
pub enum Wrong {
    /// The statement for all rows was refused.
    Refused(Error),
    /// A row is not there once.
    Missed,
}

/// The first line of the row of which something is wrong; of some row where the server does not say which.
#[derive(Debug)]
pub struct Failed {
    pub place: Place,
    pub wrong: Wrong,
}

/// A table, and the key by which its rows were followed.
pub struct Into<'a> {
    pub session: &'a Session,
    pub name: &'a [u8],
    pub columns: &'a [Column],
    pub key: &'a Key,
}

/// What becomes of a row that the target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Out,
    InPlace,
    Partly,
    /// It is out, and a new one.
    Whole,
    New,
}

/// Rows by what becomes of them, and the columns that they set.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) rows: Vec<(Kind, Row)>,
    pub(super) out: u64,
    pub(super) in_place: u64,
    pub(super) partly: u64,
    pub(super) new: u64,
    /// Those that any row sets in the temporary table.
    pub(super) used: Columns,
    /// Not all of those are set by all rows that are changed.
    pub(super) is_masked: bool,
    /// Those of new rows, all of which have all.
    pub(super) inserted: Vec<usize>,
}

impl Sorted {
    /// Whether rows of the temporary table are all of one kind.
    fn is_of_one_kind(&self, copies: bool) -> bool {
        let new = if copies { 0 } else { self.new };
        let counts = [self.out, self.partly, self.in_place, new];
        counts.iter().filter(|count| **count > 0).count() == 1
    }

    /// New rows set these in the temporary table, too; those that are changed may not.
    fn use_also(&mut self, columns: &Columns) {
        self.is_masked |= self.in_place + self.partly > 0 && !self.used.covers(columns);
        self.used.add_all(columns);
    }
}

impl Into<'_> {
    /// Within the transaction that is open.
    pub async fn apply(&self, net: Net) -> std::result::Result<(), Failed> {
        let sorted = self.sort(net);
        let Some(place) = sorted.rows.iter().map(|(_, row)| row.place).min() else {
            return Ok(());
        };
        let applied = self.execute(sorted).await;
        let applied = applied.map_err(|error| Failed {
            place,
            wrong: Wrong::Refused(error),
        });
        match applied? {
            None => Ok(()),
            Some(missed) => Err(Failed {
                place: missed.unwrap_or(place),
                wrong: Wrong::Missed,
            }),
        }
    }

    /// Whether COPY into the table can be sent: as a statement only UTF-8 can.
    fn copies(&self, inserted: &[usize]) -> bool {
        let quoted = inserted.iter().map(|number| &self.columns[*number].quoted);
        let mut names = quoted.map(Vec::as_slice).chain([self.name]);
        self.session.is_utf8() || names.all(<[u8]>::is_ascii)
    }

    fn sort(&self, net: Net) -> Sorted {
        let mut sorted = Sorted::default();
        let written = Columns::written(self.columns);
        let mut common: Option<Columns> = None;
        for row in net.into_rows() {
            let mut sets = Columns::default();
            row.layers().for_each(|layer| sets.add_all(&layer.sets));
            let kind = match (&row.origin, &row.key) {
                (_, None) => Kind::Out,
                (None, Some(_)) => Kind::New,
                (Some(origin), Some(key))
                    if self.key.is_only && origin == key && !self.sets_identity(&sets) =>
                {
                    Kind::InPlace
                }
                _ if sets.covers(&written) => Kind::Whole,
                _ => Kind::Partly,
            };
            sorted.out += u64::from(matches!(kind, Kind::Out | Kind::Whole));
            sorted.in_place += u64::from(kind == Kind::InPlace);
            sorted.partly += u64::from(kind == Kind::Partly);
            sorted.new += u64::from(matches!(kind, Kind::New | Kind::Whole));
            if matches!(kind, Kind::InPlace | Kind::Partly) {
                let is_other = common
                    .as_ref()
                    .is_some_and(|common| !common.covers(&sets) || !sets.covers(common));
                sorted.is_masked |= is_other;
                sorted.used.add_all(&sets);
                common.get_or_insert(sets);
            }
            sorted.rows.push((kind, row));
        }
        sorted.inserted = written.order;
        sorted
    }

    fn sets_identity(&self, sets: &Columns) -> bool {
        let mut columns = self.columns.iter().enumerate();
        columns.any(|(number, column)| column.is_identity_always && sets.has(number))
    }

    /// The place of a row that is not there once; `Some(None)` if it is not known which.
    async fn execute(&self, mut sorted: Sorted) -> Result<Option<Option<Place>>> {
        let copies = self.copies(&sorted.inserted);
        if !copies && sorted.new > 0 {
            sorted.use_also(&Columns::of(sorted.inserted.clone()));
        }
        let is_copy_alone = copies && sorted.rows.iter().all(|(kind, _)| *kind == Kind::New);
        if is_copy_alone {
            self.copy_new(&sorted).await?;
            return Ok(None);
        }
        let client = &self.session.client;
        let used: Vec<usize> = (0..self.columns.len())
            .filter(|number| sorted.used.has(*number))
            .collect();
        self.session.statement(&self.create(&used)).await?;
        self.copy_changes(&sorted, &used, copies).await?;
        client.batch_execute(SAVEPOINT).await?;
        let is_alone = sorted.is_of_one_kind(copies);
        let update = self.update(&used, sorted.is_masked, is_alone);
        for (kind, statement, count) in [
            ("d", self.delete(is_alone), sorted.out),
            ("p", self.take_out(is_alone), sorted.partly),
            ("u", update, sorted.in_place),
        ] {
            if count == 0 {
                continue;
            }
            if kind == "p" {
                self.session.statement(&self.create_old()).await?;
            }
            if self.session.statement(&statement).await? != count {
                client.batch_execute(UNDO).await?;
                return Ok(Some(self.find_missed(kind).await?));
            }
        }
        if sorted.partly > 0 {
            let put = self.put_back(&used, sorted.is_masked);
            let count = self.session.statement(&put).await?;
            ensure_count(count, sorted.partly)?;
            client
                .batch_execute("DROP TABLE pg_temp.incr_squash_old")
                .await?;
        }
        if sorted.new > 0 && copies {
            self.copy_new(&sorted).await?;
        } else if sorted.new > 0 {
            let insert = self.insert_new(&sorted.inserted);
            let count = self.session.statement(&insert).await?;
            ensure_count(count, sorted.new)?;
        }
        client.batch_execute(RELEASE).await?;
        Ok(None)
    }

    /// The place of a row that is not there; none if two changes are of the same.
    async fn find_missed(&self, kind: &str) -> Result<Option<Place>> {
        self.session.statement(&self.missed(kind)).await?;
        let query = "SELECT n FROM pg_temp.incr_squash_missed";
        let rows = self.session.client.query_typed(query, &[]).await?;
        let number = rows.first().map(|row| row.get::<_, i64>(0).cast_unsigned());
        Ok(number.map(place_of))
    }
}

pub(super) fn ensure_count(count: u64, expected: u64) -> Result<()> {
    if count == expected {
        return Ok(());
    }
    let message = format!("{count} of {expected} rows were put in");
    Err(Error::failed(message, ""))
}
