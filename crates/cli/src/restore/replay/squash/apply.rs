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

use bytes::Bytes;
use futures_util::SinkExt;

use archive_query::history::literal::Value;
use archive_query::history::statement::Statement;

use super::definition::{Column, Key};
use super::net::{Columns, Net, Place, Row};
use super::table::push_field;
use crate::connection::Session;
use crate::error::{Error, Result};

const SAVEPOINT: &str = "SAVEPOINT pg_incrbackup_squash";
const RELEASE: &str = "RELEASE SAVEPOINT pg_incrbackup_squash; DROP TABLE pg_temp.incr_squash";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pg_incrbackup_squash";

/// Bytes of a COPY that are sent at once.
const PIECE: usize = 256 << 10;

/// Lines of a file are fewer than this.
const LINES: u64 = 1 << 40;

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
enum Kind {
    Out,
    InPlace,
    Partly,
    /// It is out, and a new one.
    Whole,
    New,
}

/// Rows by what becomes of them, and the columns that they set.
#[derive(Default)]
struct Sorted {
    rows: Vec<(Kind, Row)>,
    out: u64,
    in_place: u64,
    partly: u64,
    new: u64,
    /// Those that any row sets in the temporary table.
    used: Columns,
    /// Not all of those are set by all.
    is_masked: bool,
    inserted: Vec<usize>,
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
        let written = |(number, column): (usize, &Column)| (!column.is_generated).then_some(number);
        let written: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(written)
            .collect();
        let written = Columns::of(written);
        let mut common: Option<Columns> = None;
        for row in net.into_rows() {
            let mut sets = Columns::default();
            row.layers
                .iter()
                .for_each(|layer| sets.add_all(&layer.sets));
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
            if kind == Kind::New && sorted.inserted.is_empty() {
                sorted.inserted.clone_from(&row.layers[0].sets.order);
            }
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
        if sorted.inserted.is_empty() {
            sorted.inserted.clone_from(&written.order);
        }
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
            sorted
                .inserted
                .iter()
                .for_each(|number| sorted.used.add(*number));
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
        for (kind, statement, count) in [
            ("d", self.delete(), sorted.out),
            ("p", self.take_out(), sorted.partly),
            ("u", self.update(&used, sorted.is_masked), sorted.in_place),
        ] {
            if count == 0 {
                continue;
            }
            if kind == "p" {
                self.session.statement(&self.create_old()).await?;
            }
            if self.session.statement(&statement).await? != count {
                client.batch_execute(UNDO).await?;
                return Ok(Some(self.missed(kind).await?));
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

    fn create(&self, used: &[usize]) -> Vec<u8> {
        let mut text = b"CREATE TEMPORARY TABLE incr_squash USING heap AS \
            SELECT 0::bigint AS n, ''::text AS kind, ''::text AS m"
            .to_vec();
        let keys = self.key.columns.iter().map(|part| part.column);
        let keys = keys.enumerate().map(|(nth, number)| (number, "k", nth));
        let used = used.iter().map(|number| (*number, "c", *number));
        for (number, letter, name) in keys.chain(used) {
            let column = &self.columns[number];
            text.extend_from_slice(b", (");
            text.extend_from_slice(&column.quoted);
            text.push(b')');
            if let Some((below, _)) = &column.domain {
                text.extend_from_slice(b"::");
                text.extend_from_slice(below);
            }
            text.extend_from_slice(format!(" AS {letter}{name}").as_bytes());
        }
        [&text[..], b" FROM ONLY ", self.name, b" WITH NO DATA"].concat()
    }

    /// Columns that are written, by their numbers.
    fn written(&self) -> impl Iterator<Item = (usize, &Column)> {
        let columns = self.columns.iter().enumerate();
        columns.filter(|(_, column)| !column.is_generated)
    }

    fn create_old(&self) -> Vec<u8> {
        let mut text =
            b"CREATE TEMPORARY TABLE incr_squash_old USING heap AS SELECT 0::bigint AS n".to_vec();
        for (number, column) in self.written() {
            text.extend_from_slice(b", ");
            text.extend_from_slice(&column.quoted);
            text.extend_from_slice(format!(" AS c{number}").as_bytes());
        }
        [&text[..], b" FROM ONLY ", self.name, b" WITH NO DATA"].concat()
    }

    /// A row of the target is that of a change.
    fn is_it(&self) -> Vec<u8> {
        let part = |(nth, part): (usize, &super::definition::KeyColumn)| {
            let column = &self.columns[part.column].quoted;
            let key = format!(" s.k{nth}");
            [b"t.", &column[..], b" ", &part.operator, key.as_bytes()].concat()
        };
        let parts = self.key.columns.iter().enumerate().map(part);
        parts.collect::<Vec<_>>().join(&b" AND "[..])
    }

    fn delete(&self) -> Vec<u8> {
        [
            b"DELETE FROM ONLY ",
            self.name,
            b" AS t USING pg_temp.incr_squash AS s WHERE s.kind = 'd' AND ",
            &self.is_it(),
        ]
        .concat()
    }

    fn take_out(&self) -> Vec<u8> {
        let columns: Vec<&[u8]> = self
            .written()
            .map(|(_, column)| &column.quoted[..])
            .collect();
        [
            b"WITH gone AS (DELETE FROM ONLY ",
            self.name,
            b" AS t USING pg_temp.incr_squash AS s WHERE s.kind = 'p' AND ",
            &self.is_it(),
            b" RETURNING s.n, t.",
            &columns.join(&b", t."[..]),
            b") INSERT INTO pg_temp.incr_squash_old SELECT * FROM gone",
        ]
        .concat()
    }

    /// The value of a column: what was set, else that of `old`, a column of what was there.
    fn value(&self, used: &[usize], is_masked: bool, number: usize, old: &[u8]) -> Vec<u8> {
        let Some(nth) = used.iter().position(|used| *used == number) else {
            return old.to_vec();
        };
        let set = format!("s.c{number}").into_bytes();
        let set = match &self.columns[number].domain {
            Some((_, domain)) => [&set[..], b"::", domain].concat(),
            None => set,
        };
        if !is_masked {
            return set;
        }
        let is_set = format!("CASE pg_catalog.substr(s.m, {}, 1) WHEN '1' THEN ", nth + 1);
        [is_set.as_bytes(), &set, b" ELSE ", old, b" END"].concat()
    }

    fn update(&self, used: &[usize], is_masked: bool) -> Vec<u8> {
        let is_key = |number: &usize| {
            let mut parts = self.key.columns.iter();
            parts.any(|part| part.column == *number)
        };
        let assign = |number: usize| {
            let column = &self.columns[number].quoted;
            let old = [b"t.", &column[..]].concat();
            let value = self.value(used, is_masked, number, &old);
            [&column[..], b" = ", &value].concat()
        };
        let set = used
            .iter()
            .copied()
            .filter(|number| !is_key(number) && !self.columns[*number].is_identity_always);
        let mut set: Vec<Vec<u8>> = set.map(assign).collect();
        if set.is_empty() {
            // It is there.
            let column = &self.columns[self.key.columns[0].column].quoted;
            set.push([&column[..], b" = t.", column].concat());
        }
        [
            b"UPDATE ONLY ",
            self.name,
            b" AS t SET ",
            &set.join(&b", "[..]),
            b" FROM pg_temp.incr_squash AS s WHERE s.kind = 'u' AND ",
            &self.is_it(),
        ]
        .concat()
    }

    /// `(column, …)`
    fn list(&self, numbers: &[usize]) -> Vec<u8> {
        let names = numbers
            .iter()
            .map(|number| &self.columns[*number].quoted[..]);
        let names: Vec<&[u8]> = names.collect();
        [b"(", &names.join(&b", "[..])[..], b")"].concat()
    }

    fn put_back(&self, used: &[usize], is_masked: bool) -> Vec<u8> {
        let numbers: Vec<usize> = self.written().map(|(number, _)| number).collect();
        let values = numbers.iter().map(|number| {
            let old = format!("o.c{number}");
            self.value(used, is_masked, *number, old.as_bytes())
        });
        let values: Vec<Vec<u8>> = values.collect();
        [
            b"INSERT INTO ",
            self.name,
            b" ",
            &self.list(&numbers),
            b" OVERRIDING SYSTEM VALUE SELECT ",
            &values.join(&b", "[..]),
            b" FROM pg_temp.incr_squash AS s JOIN pg_temp.incr_squash_old AS o ON o.n = s.n",
        ]
        .concat()
    }

    fn insert_new(&self, inserted: &[usize]) -> Vec<u8> {
        let values = inserted.iter().map(|number| format!("s.c{number}"));
        let values: Vec<String> = values.collect();
        [
            b"INSERT INTO ",
            self.name,
            b" ",
            &self.list(inserted),
            b" OVERRIDING SYSTEM VALUE SELECT ",
            values.join(", ").as_bytes(),
            b" FROM pg_temp.incr_squash AS s WHERE s.kind = 'b'",
        ]
        .concat()
    }

    async fn missed(&self, kind: &str) -> Result<Option<Place>> {
        let query = [
            b"CREATE TEMPORARY TABLE incr_squash_missed USING heap AS SELECT s.n FROM pg_temp.incr_squash AS s WHERE s.kind = '",
            kind.as_bytes(),
            b"' AND NOT EXISTS (SELECT FROM ONLY ",
            self.name,
            b" AS t WHERE ",
            &self.is_it(),
            b") ORDER BY n LIMIT 1",
        ];
        self.session.statement(&query.concat()).await?;
        let query = "SELECT n FROM pg_temp.incr_squash_missed";
        let rows = self.session.client.query_typed(query, &[]).await?;
        let number = rows.first().map(|row| row.get::<_, i64>(0).cast_unsigned());
        Ok(number.map(place_of))
    }

    async fn copy_changes(&self, sorted: &Sorted, used: &[usize], copies: bool) -> Result<()> {
        let head = "COPY pg_temp.incr_squash FROM stdin";
        let mut sink = Box::pin(self.session.client.copy_in(head).await?);
        let mut out = Vec::with_capacity(PIECE + PIECE / 4);
        let no_keys = b"\t\\N".repeat(self.key.columns.len());
        for (kind, row) in &sorted.rows {
            let values = self.values(row);
            let letters: &[u8] = match kind {
                Kind::Out => b"d",
                Kind::InPlace => b"u",
                Kind::Partly => b"p",
                Kind::Whole if copies => b"d",
                Kind::Whole => b"db",
                Kind::New if copies => b"",
                Kind::New => b"b",
            };
            for letter in letters {
                out.extend_from_slice(number_of(row.place).to_string().as_bytes());
                out.extend_from_slice(&[b'\t', *letter, b'\t']);
                if sorted.is_masked {
                    out.extend(
                        used.iter()
                            .map(|number| b'0' + u8::from(values[*number].is_some())),
                    );
                }
                match (&row.origin, letter) {
                    (Some(origin), b'd' | b'u' | b'p') => {
                        out.push(b'\t');
                        out.extend_from_slice(origin);
                    }
                    _ => out.extend_from_slice(&no_keys),
                }
                for number in used {
                    out.push(b'\t');
                    let value = values[*number].as_ref().filter(|_| *letter != b'd');
                    push_field(&mut out, value);
                }
                out.push(b'\n');
            }
            if out.len() >= PIECE {
                let piece = std::mem::replace(&mut out, Vec::with_capacity(PIECE + PIECE / 4));
                sink.send(Bytes::from(piece)).await?;
            }
        }
        sink.send(Bytes::from(out)).await?;
        sink.as_mut().finish().await?;
        Ok(())
    }

    /// New rows, into the table itself.
    async fn copy_new(&self, sorted: &Sorted) -> Result<()> {
        let inserted = &sorted.inserted;
        let head = [
            b"COPY ",
            self.name,
            b" ",
            &self.list(inserted),
            b" FROM stdin",
        ]
        .concat();
        // It was asked before whether it is.
        let head = String::from_utf8_lossy(&head);
        let mut sink = Box::pin(self.session.client.copy_in(&*head).await?);
        let mut out = Vec::with_capacity(PIECE + PIECE / 4);
        let is_new = |kind: Kind| matches!(kind, Kind::New | Kind::Whole);
        for (_, row) in sorted.rows.iter().filter(|(kind, _)| is_new(*kind)) {
            let values = self.values(row);
            for (nth, number) in inserted.iter().enumerate() {
                if nth > 0 {
                    out.push(b'\t');
                }
                push_field(&mut out, values[*number].as_ref());
            }
            out.push(b'\n');
            if out.len() >= PIECE {
                let piece = std::mem::replace(&mut out, Vec::with_capacity(PIECE + PIECE / 4));
                sink.send(Bytes::from(piece)).await?;
            }
        }
        sink.send(Bytes::from(out)).await?;
        let count = sink.as_mut().finish().await?;
        ensure_count(count, sorted.new)
    }

    /// The values that a row's lines set.
    fn values<'r>(&self, row: &'r Row) -> Vec<Option<Value<'r>>> {
        let mut values: Vec<Option<Value<'r>>> = vec![None; self.columns.len()];
        for layer in &row.layers {
            // It was parsed when it was collected.
            let Some(statement) = Statement::parse(&layer.text) else {
                continue;
            };
            for (number, (_, value)) in layer.sets.order.iter().zip(statement.new) {
                values[*number] = Some(value);
            }
        }
        values
    }
}

fn ensure_count(count: u64, expected: u64) -> Result<()> {
    if count == expected {
        return Ok(());
    }
    let message = format!("{count} of {expected} rows were put in");
    Err(Error::failed(message, ""))
}

/// A number for the place of a row's first line: no two rows have the same.
fn number_of(place: Place) -> u64 {
    u64::from(place.file) * LINES + place.line
}

fn place_of(number: u64) -> Place {
    Place {
        file: u32::try_from(number / LINES).unwrap_or(u32::MAX),
        line: number % LINES,
    }
}
