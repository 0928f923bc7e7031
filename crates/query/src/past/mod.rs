//! The rows of tables as they were at a moment, from the files alone.
//!
//! A base has the rows of its snapshot; every transaction that this does not see changes them, in the order of commits. So the
//! engine reads the rows of the wanted tables from the base, and applies the lines of the segments to them, as a server would:
//! a row is found by what stands in WHERE, schema changes come with their effects. What only a server can compute is an error
//! that says where ([`Error::NotFollowed`]); what does not fit is one too ([`Error::Contradiction`]). A row is never wrong.
//!
//! ```no_run
//! # fn main() -> archive_query::past::Result<()> {
//! # let storage: std::sync::Arc<dyn archive::storage::Storage> = todo!();
//! # let span: archive_query::past::Span = todo!();
//! # let (a, b) = (archive::Lsn(1), archive::Lsn(2));
//! use archive_query::past::{Nobody, Options, Past};
//! let mut past = Past::open(storage, span, [16401].into(), Options::default())?;
//! past.advance_to(a, &mut Nobody)?; // the rows as of a
//! past.rows(16401, &mut |values| Ok(()))?; // each of them
//! past.mark()?;
//! past.advance_to(b, &mut Nobody)?; // or an observer, which is told of each change
//! past.changes(&mut |change| Ok(()))?; // what became of rows between a and b
//! # Ok(()) }
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`base`] | tables and rows of a base |
//! | [`shape`] | columns, and how schema changes alter them |
//! | `types`, `retyped` | types whose values change their texts, and what is done then |
//! | `row`, `store`, `live` | rows as bytes, in memory and on disk, and found by their values |
//! | `segments`, `apply` | the lines of the segments, and what they do to rows |
//! | [`watch`] | who is told of each change |
//! | [`quoting`] | names as PostgreSQL quotes them |

mod apply;
pub mod base;
mod changes;
mod error;
mod live;
pub mod quoting;
mod retyped;
mod row;
mod segments;
pub mod shape;
mod store;
mod types;
pub mod watch;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use archive::snapshot::Snapshot;
use archive::storage::Storage;
use archive::Lsn;

use crate::catalog::{Base, Chain, Segment};
use crate::history::lines::Transaction;
use crate::history::Value;
use base::text::Reading;
use base::{Copied, Found};
pub use changes::Net;
pub use error::{Error, Result};
use live::Live;
use segments::Open;
pub use shape::tables::{Table, Tables};
pub use shape::{Column, Shape};
use store::Store;
use types::Types;
pub use watch::{Change, Kind, Nobody, Observer, Place};

/// The files that lead to a moment, as far as they were checked: a restore's plan without what only a restore needs.
#[derive(Clone)]
pub struct Span {
    pub chain: Chain,
    pub base: Base,
    /// In their order, from the first that may have a transaction which the base does not see.
    pub segments: Vec<Piece>,
    /// The moment: later commits are not in the span.
    pub upto: Lsn,
}

/// A segment of a span.
#[derive(Clone)]
pub struct Piece {
    pub segment: Segment,
    /// So many bytes of its text are read.
    pub complete: u64,
    /// It has nothing of the wanted tables and no schema change, and is not read.
    pub is_passed_over: bool,
}

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of memory for rows; what exceeds it is in a temporary file.
    pub memory: usize,
    /// From this commit LSN on changes are lost: a statement that does not fit is counted ([`Past::misfits`]), and no error.
    pub lost_from: Option<Lsn>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memory: 64 << 20,
            lost_from: None,
        }
    }
}

/// The rows of the wanted tables at a place of the files, which only moves forward.
pub struct Past {
    storage: Arc<dyn Storage>,
    span: Span,
    options: Options,
    wanted: BTreeSet<u32>,
    tables: Tables,
    types: Types,
    live: Vec<Live>,
    store: Store,
    /// Names as written, and the place of their table among the live ones, since the last schema change.
    known: HashMap<Vec<u8>, Option<usize>>,
    open: Option<Open>,
    /// The next segment of the span.
    next: usize,
    misfits: u64,
    /// The last transaction that was read, whether it was applied or is in the base.
    last: Option<Transaction>,
    /// False from where on only columns are followed.
    has_rows: bool,
    /// Columns whose type has become another since then: OID of the table, number of the column.
    retyped: BTreeSet<(u32, u32)>,
}

impl Past {
    /// Reads the base: the rows are those of its snapshot. `wanted` has the OIDs of the tables, which may come later; partitions
    /// of all times are to be among them, and all of a tree that is partitioned by hash of an enum.
    pub fn open(
        storage: Arc<dyn Storage>,
        span: Span,
        wanted: BTreeSet<u32>,
        options: Options,
    ) -> Result<Past> {
        let mut past = Past {
            store: Store::new(options.memory),
            storage: Arc::clone(&storage),
            span,
            options,
            wanted,
            tables: Tables::new(),
            types: Types::default(),
            live: Vec::new(),
            known: HashMap::new(),
            open: None,
            next: 0,
            misfits: 0,
            last: None,
            has_rows: true,
            retyped: BTreeSet::new(),
        };
        for type_ in &past.span.base.metadata.source.types {
            past.types
                .add(type_.name.as_bytes(), type_.definition.as_bytes());
        }
        past.read_base()?;
        Ok(past)
    }

    fn read_base(&mut self) -> Result<()> {
        let (chain, base) = (self.span.chain.clone(), self.span.base.clone());
        let storage = Arc::clone(&self.storage);
        let wanted = self.wanted.clone();
        let reader = base::Reader {
            storage: &*storage,
            chain: &chain,
            base: &base,
        };
        let mut rows: Option<Loading> = None;
        let tables = reader.read(&wanted, &mut |tables, found| match found {
            Found::Copy(copied) => {
                rows = Some(self.loading(tables, copied)?);
                Ok(())
            }
            Found::Row(line, number) => match &rows {
                Some(loading) => self.load(loading, line, number),
                None => Ok(()),
            },
        })?;
        self.tables = tables;
        self.add_live();
        Ok(())
    }

    /// Wanted tables that have no rows yet are empty ones.
    fn add_live(&mut self) {
        for oid in &self.wanted {
            let is_there = self.live.iter().any(|live| live.oid == *oid);
            if let Some(table) = self.tables.all.get(oid).filter(|_| !is_there) {
                let space = self.live.len() as u32;
                let (name, shape) = (table.name.clone(), table.shape.clone());
                self.live.push(Live::new(*oid, space, name, shape));
            }
        }
    }

    /// The table of a COPY statement of the base, and where the values of its rows go.
    fn loading(&mut self, tables: &mut Tables, copied: &Copied) -> Result<Loading> {
        let not_followed = |why: String| Error::NotFollowed {
            place: copied.place.clone(),
            why,
        };
        let oid = tables.named(&copied.table).unwrap_or(copied.oid);
        let Some(table) = tables.all.get(&oid) else {
            return Err(not_followed(format!("table {oid} has no definition")));
        };
        let shown = shown(&quoting::written_table(&table.name));
        if let Some(why) = &table.unknown {
            return Err(not_followed(format!("{shown}: {why}")));
        }
        let live = match self.live.iter().position(|live| live.oid == oid) {
            Some(live) => live,
            None => {
                let space = self.live.len() as u32;
                let (name, shape) = (table.name.clone(), table.shape.clone());
                self.live.push(Live::new(oid, space, name, shape));
                self.live.len() - 1
            }
        };
        let mut columns = Vec::new();
        for column in table.shape.stored() {
            let at = copied.columns.iter().position(|name| *name == column.name);
            let Some(at) = at else {
                let name = shown_name(&column.name);
                return Err(not_followed(format!(
                    "the rows of {shown} lack column {name}"
                )));
            };
            columns.push((at, Reading::of(&column.type_)));
        }
        if columns.len() != copied.columns.len() {
            return Err(not_followed(format!(
                "the rows of {shown} have other columns than its definition"
            )));
        }
        Ok(Loading {
            live,
            columns,
            place: copied.place.clone(),
        })
    }

    fn load(&mut self, loading: &Loading, line: &[u8], number: u64) -> Result<()> {
        let fields: Vec<&[u8]> = match loading.columns.len() {
            // A row without columns is an empty line.
            0 => Vec::new(),
            _ => line.split(|byte| *byte == b'\t').collect(),
        };
        let place = || {
            let name = shown(&quoting::written_table(&self.live[loading.live].name));
            format!("{}: row {number} of {name}", loading.place)
        };
        if fields.len() != loading.columns.len() {
            let why = "it has another number of values than columns".to_owned();
            return Err(Error::Contradiction {
                place: place(),
                why,
            });
        }
        let mut values = Vec::with_capacity(fields.len());
        for (at, reading) in &loading.columns {
            values.push(match base::field(fields[*at]) {
                None => Value::Null,
                Some(text) => match reading.text(text) {
                    Ok(text) => Value::Text(text),
                    Err(why) => {
                        return Err(Error::NotFollowed {
                            place: place(),
                            why: why.to_owned(),
                        })
                    }
                },
            });
        }
        self.live[loading.live].insert(&mut self.store, &values)?;
        Ok(())
    }

    /// All tables at this place, whether wanted or not: names, columns, parents.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The last transaction at this place, as far as the files were read: also one that the base has.
    pub fn last(&self) -> Option<&Transaction> {
        self.last.as_ref()
    }

    /// What was lost may be why so many statements found no row, or more than one.
    pub fn misfits(&self) -> u64 {
        self.misfits
    }

    /// Whether rows are in a temporary file.
    pub fn is_on_disk(&self) -> bool {
        self.store.is_on_disk()
    }

    /// How many rows a table has at this place, without those of its partitions.
    pub fn count(&self, oid: u32) -> u64 {
        let live = self.live.iter().find(|live| live.oid == oid);
        live.map_or(0, Live::count)
    }

    /// Every row of a table at this place, with those of its partitions, as values of [`Shape::stored`] of the table. In each
    /// table they come in the order in which they were inserted.
    pub fn rows(&self, oid: u32, take: &mut dyn FnMut(&[Value<'_>]) -> watch::Told) -> Result<()> {
        let Some(table) = self.tables.all.get(&oid) else {
            return Err(Error::NotThere(format!(
                "there is no table {oid} at this moment"
            )));
        };
        let name = shown(&quoting::written_table(&table.name));
        if let Some(why) = &table.unknown {
            return Err(Error::NotThere(format!(
                "the columns of {name} are not known: {why}"
            )));
        }
        self.ensure_own(oid, &name)?;
        let mut oids = vec![oid];
        oids.extend(self.tables.below(oid, true));
        for oid in oids {
            let table_of = self.tables.all.get(&oid);
            if let Some(unlogged) = table_of.filter(|it| it.is_unlogged && !it.is_partitioned) {
                let name = shown(&quoting::written_table(&unlogged.name));
                let why = "is unlogged at this moment: its rows are not in the archive";
                return Err(Error::NotThere(format!("{name} {why}")));
            }
            if table_of.is_some_and(|it| it.is_foreign) {
                continue;
            }
            let Some(live) = self.live.iter().find(|live| live.oid == oid) else {
                return Err(Error::NotThere(format!("table {oid} was not asked for")));
            };
            self.rows_of(live, &table.shape, take)?;
        }
        Ok(())
    }

    /// The rows of one table, with the columns of another one of its tree.
    fn rows_of(
        &self,
        live: &Live,
        shape: &Shape,
        take: &mut dyn FnMut(&[Value<'_>]) -> watch::Told,
    ) -> Result<()> {
        let order: Vec<Option<usize>> = shape
            .stored()
            .map(|column| live.shape.stored().position(|it| it.name == column.name))
            .collect();
        if live.count() > 0 && order.iter().any(Option::is_none) {
            let name = shown(&quoting::written_table(&live.name));
            let why = "has other columns than the table of which it is a partition";
            return Err(Error::NotThere(format!("{name} {why}")));
        }
        let is_same = order.iter().enumerate().all(|(at, from)| *from == Some(at));
        let (mut from, mut row) = (0, Vec::new());
        while let Some(number) = live.next_row(&self.store, from, &mut row)? {
            from = number + 1;
            let values = live.read(&row);
            if is_same {
                take(&values)?;
            } else {
                let arranged: Vec<Value<'_>> = order
                    .iter()
                    .flatten()
                    .map(|at| row::borrowed(&values[*at]))
                    .collect();
                take(&arranged)?;
            }
        }
        Ok(())
    }

    /// A partition by hash of an enum has no rows of its own in the files: they name the root.
    fn ensure_own(&self, oid: u32, name: &str) -> Result<()> {
        let above = self.tables.above(oid);
        match above.iter().find(|oid| self.count(**oid) > 0) {
            None => Ok(()),
            Some(root) => {
                let root = self
                    .tables
                    .all
                    .get(root)
                    .map(|it| quoting::written_table(&it.name));
                let root = shown(&root.unwrap_or_default());
                Err(Error::NotThere(format!(
                    "which rows of {root} were in {name} is not in the files: it is partitioned by hash of an enum. All of \
                     {root} can be had."
                )))
            }
        }
    }

    /// From here on, what becomes of rows is noted: [`Self::changes`].
    pub fn mark(&mut self) -> Result<()> {
        for live in &mut self.live {
            live.mark(&mut self.store)?;
        }
        Ok(())
    }

    fn snapshot(&self) -> &Snapshot {
        &self.span.base.metadata.snapshot
    }
}

/// Rows of the base that are being read.
struct Loading {
    live: usize,
    /// Of each stored column, in order: where its value is, and how its text is read.
    columns: Vec<(usize, Reading)>,
    place: String,
}

/// Text of an archive in a message.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace(|c: char| c.is_control(), "?")
}

fn shown_name(name: &[u8]) -> String {
    shown(&quoting::written(name))
}

/// The beginning of a statement, for a message.
fn beginning(statement: &[u8]) -> String {
    const MOST: usize = 120;
    let text = shown(&statement[..statement.len().min(MOST)]);
    let more = if statement.len() > MOST { "…" } else { "" };
    format!("{text}{more}")
}

/// The same pairs, with names that are borrowed.
type Pairs<'v> = [(Cow<'v, [u8]>, Value<'v>)];
