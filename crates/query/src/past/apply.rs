//! What the lines of a segment do to rows.

use archive::segment::Effect;

use super::error::{Error, Result};
use super::live::{arranged, Live, Search};
use super::retyped::{text_change, TextChange};
use super::row::borrowed;
use super::shape::alteration::{self, Alteration};
use super::shape::tables::Consequence;
use super::watch::{Change, Kind, Observer, Place};
use super::{beginning, quoting, shown, shown_name, Pairs, Past};
use crate::history::ddl::TableName;
use crate::history::lines::Transaction;
use crate::history::literal::names_of;
use crate::history::statement::{self, Operation, Statement};
use crate::history::Value;

/// An open COPY block of a table that is followed.
pub(super) struct Block {
    live: usize,
    columns: Vec<Vec<u8>>,
}

/// Statements that change no row of a table.
const OTHERS: [&[u8]; 9] = [
    b"SELECT ",
    b"ALTER TABLE ",
    b"ALTER LARGE OBJECT ",
    b"COMMENT ON LARGE OBJECT ",
    b"SECURITY LABEL ",
    b"GRANT ",
    b"REVOKE ",
    b"SET ",
    b"RESET ",
];

/// Where a line is, and what it is: for errors.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub place: Place<'a>,
    pub text: &'a [u8],
}

impl At<'_> {
    fn shown(&self) -> String {
        let Place { file, line } = self.place;
        format!("{file}:{line}: {}", beginning(self.text))
    }

    pub fn not_followed(&self, why: impl Into<String>) -> Error {
        Error::NotFollowed {
            place: self.shown(),
            why: why.into(),
        }
    }
}

impl Past {
    /// The live table of this name, as written.
    fn live_of(&mut self, written: &[u8]) -> Option<usize> {
        if let Some(known) = self.known.get(written) {
            return *known;
        }
        let names: Option<[Vec<u8>; 2]> = names_of(written).try_into().ok();
        let name = names.map(|[schema, table]| TableName { schema, table });
        let is_it = |name: &TableName| {
            let mut live = self.live.iter();
            live.position(|live| !live.is_gone && live.name == *name)
        };
        let found = name.as_ref().and_then(is_it);
        self.known.insert(written.to_vec(), found);
        found
    }

    /// A statement does not fit: an error, unless changes were lost before it.
    fn misfit(&mut self, transaction: &Transaction, at: At<'_>, why: String) -> Result<()> {
        let lost_from = self.options.lost_from;
        if lost_from.is_some_and(|lost| transaction.commit_lsn >= lost) {
            self.misfits += 1;
            return Ok(());
        }
        Err(Error::Contradiction {
            place: at.shown(),
            why,
        })
    }

    /// A statement of one line.
    pub(super) fn statement(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        text: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let at = At { place, text };
        let Some((operation, table)) = statement::head(text) else {
            return self.other(transaction, at, observer);
        };
        let Some(live) = self.live_of(table) else {
            return Ok(());
        };
        let Some(statement) = Statement::parse(text) else {
            return Err(at.not_followed("the statement was not understood"));
        };
        if let Some(why) = self.unknown(live) {
            return Err(at.not_followed(why));
        }
        match operation {
            Operation::Insert => self.insert(transaction, at, live, &statement.new, observer),
            Operation::Update | Operation::Delete => {
                self.change(transaction, at, live, operation, &statement, observer)
            }
        }
    }

    fn unknown(&self, live: usize) -> Option<String> {
        let live = &self.live[live];
        let why = self.tables.all.get(&live.oid)?.unknown.as_ref()?;
        Some(format!(
            "{}: {why}",
            shown(&quoting::written_table(&live.name))
        ))
    }

    fn other(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if at.text.starts_with(b"TRUNCATE ") {
            let Some(tables) = statement::truncated(at.text) else {
                return Err(at.not_followed("the statement was not understood"));
            };
            return self.truncate(transaction, at, &tables, observer);
        }
        if OTHERS.iter().any(|start| at.text.starts_with(start)) {
            return Ok(());
        }
        Err(at.not_followed("the statement was not understood"))
    }

    fn insert(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        nth: usize,
        pairs: &Pairs<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let live = &mut self.live[nth];
        let values = match arranged(&live.shape, pairs) {
            Ok(values) => values,
            Err(column) => {
                let why = format!(
                    "column {} has no value, or is not there",
                    shown_name(&column)
                );
                return Err(at.not_followed(why));
            }
        };
        let row = live.insert(&mut self.store, &values)?;
        if observer.wants_rows() {
            let told = (transaction, at.place, Kind::Inserted);
            tell(observer, told, live, row, (None, Some(&values)))?;
        }
        Ok(())
    }

    /// The live tables among which the row of a statement is: of a partitioned one, whose name stands for all, its partitions
    /// too.
    fn places_of(&self, live: usize) -> Vec<usize> {
        let oid = self.live[live].oid;
        let is_partitioned = self
            .tables
            .all
            .get(&oid)
            .is_some_and(|it| it.is_partitioned);
        let mut places = vec![live];
        if is_partitioned {
            let below = self.tables.below(oid, true);
            let of = |oid: &u32| self.live.iter().position(|live| live.oid == *oid);
            places.extend(below.iter().filter_map(of));
        }
        places
    }

    fn change(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        named: usize,
        operation: Operation,
        statement: &Statement<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut row = Vec::new();
        for nth in self.places_of(named) {
            let found = self.live[nth].find(&mut self.store, &statement.old, &mut row)?;
            let number = match found {
                Search::One(number) => number,
                Search::Nothing => continue,
                Search::Several => {
                    let why = "more than one row has these values".to_owned();
                    return self.misfit(transaction, at, why);
                }
                Search::NoColumn(column) => {
                    let why = format!("there is no column {}", shown_name(&column));
                    return Err(at.not_followed(why));
                }
                Search::Computed => {
                    let why = "its row is only named by a generated column, whose values are not in the files";
                    return Err(at.not_followed(why));
                }
            };
            return match operation {
                Operation::Update => {
                    self.update(transaction, at, (nth, number), &row, statement, observer)
                }
                _ => self.delete(
                    transaction,
                    at.place,
                    (nth, number),
                    &row,
                    Kind::Deleted,
                    observer,
                ),
            };
        }
        let why = "no row has these values".to_owned();
        self.misfit(transaction, at, why)
    }

    fn update(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        (nth, number): (usize, u64),
        row: &[u8],
        statement: &Statement<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let live = &self.live[nth];
        let before = live.read(row);
        let mut after: Vec<Value<'_>> = before.iter().map(borrowed).collect();
        for (name, value) in &statement.new {
            let mut stored = live.shape.stored();
            let Some(place) = stored.position(|column| column.name[..] == name[..]) else {
                let why = format!("there is no column {}", shown_name(name));
                return Err(at.not_followed(why));
            };
            after[place] = borrowed(value);
        }
        live.update(&mut self.store, number, row, &after)?;
        if observer.wants_rows() {
            let told = (transaction, at.place, Kind::Updated);
            tell(observer, told, live, number, (Some(&before), Some(&after)))?;
        }
        Ok(())
    }

    fn delete(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        (nth, number): (usize, u64),
        row: &[u8],
        kind: Kind,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let live = &mut self.live[nth];
        if observer.wants_rows() {
            let told = (transaction, place, kind);
            tell(observer, told, live, number, (Some(&live.read(row)), None))?;
        }
        live.delete(&mut self.store, number, row)
    }

    /// All rows of a live table.
    fn clear(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        nth: usize,
        kind: Kind,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let live = &mut self.live[nth];
        if observer.wants_rows() {
            let (mut from, mut row) = (0, Vec::new());
            while let Some(number) = live.next_row(&self.store, from, &mut row)? {
                from = number + 1;
                let told = (transaction, place, kind);
                tell(observer, told, live, number, (Some(&live.read(&row)), None))?;
            }
        }
        live.clear(&mut self.store)
    }

    fn truncate(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        tables: &[&[u8]],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let named: Vec<usize> = tables
            .iter()
            .filter_map(|table| self.live_of(table))
            .collect();
        for nth in &named {
            let above = self.tables.above(self.live[*nth].oid);
            let is_in_root = |oid: &u32| {
                let mut live = self.live.iter().enumerate();
                let root = live.find(|(_, live)| live.oid == *oid);
                root.is_some_and(|(at, root)| root.count() > 0 && !named.contains(&at))
            };
            if above.iter().any(is_in_root) {
                let why = "which rows were in this partition is not in the files: it is one by hash of an enum";
                return Err(at.not_followed(why));
            }
            for place in self.places_of(*nth) {
                self.clear(transaction, at.place, place, Kind::Truncated, observer)?;
            }
        }
        Ok(())
    }

    /// The first line of a COPY block; `None` if its table is not followed.
    pub(super) fn copied(
        &mut self,
        _transaction: &Transaction,
        place: Place<'_>,
        text: &[u8],
    ) -> Result<Option<Block>> {
        let at = At { place, text };
        let table = statement::copied(text).zip(statement::copy_columns(text));
        let Some((table, columns)) = table else {
            return Err(at.not_followed("the statement was not understood"));
        };
        let Some(live) = self.live_of(table) else {
            return Ok(None);
        };
        match self.unknown(live) {
            Some(why) => Err(at.not_followed(why)),
            None => Ok(Some(Block { live, columns })),
        }
    }

    pub(super) fn copy_row(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        block: &Block,
        text: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let at = At { place, text };
        let values: Vec<Value<'_>> = statement::copy_values(text).collect();
        if values.len() != block.columns.len() {
            let why = "a row of COPY has another number of values than columns".to_owned();
            return self.misfit(transaction, at, why);
        }
        let names = block.columns.iter().map(|name| name.as_slice().into());
        let pairs: Vec<_> = names.zip(values).collect();
        self.insert(transaction, at, block.live, &pairs, observer)
    }

    /// The rows of a table that is rewritten follow.
    pub(super) fn rewrite(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        text: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let read = alteration::read(text).map(|altered| altered.what);
        let Some(Alteration::Empty(name)) = read else {
            return Err(At { place, text }.not_followed("the statement was not understood"));
        };
        let mut live = self.live.iter();
        match live.position(|live| !live.is_gone && live.name == name) {
            Some(nth) => self.clear(transaction, place, nth, Kind::Rewritten, observer),
            None => Ok(()),
        }
    }

    pub(super) fn effect(
        &mut self,
        transaction: &Transaction,
        place: Place<'_>,
        effect: &Effect,
        text: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let at = At { place, text };
        if let Some(retyped) = self.types.follow(text) {
            self.retype(at, &retyped)?;
        }
        if matches!(effect.verb.as_str(), "rename" | "drop") {
            self.ensure_no_names(at, effect.class == "schema")?;
        }
        let is_of_tables = matches!(effect.class.as_str(), "table" | "foreign table" | "schema");
        let consequences = match self.tables.follow(effect, text) {
            Ok(consequences) => consequences,
            Err(why) if self.wanted.contains(&effect.oid) => return Err(at.not_followed(why)),
            Err(_) => Vec::new(),
        };
        if is_of_tables {
            self.known.clear();
        }
        for (oid, consequence) in consequences {
            self.follow(transaction, at, oid, consequence, observer)?;
        }
        if is_of_tables || effect.verb == "rename" {
            self.rename()?;
        }
        Ok(())
    }

    /// Names and columns of live tables are those of all tables.
    fn rename(&mut self) -> Result<()> {
        self.add_live();
        for live in &mut self.live {
            if let Some(table) = self.tables.all.get(&live.oid) {
                live.reshape(&mut self.store, &table.name, &table.shape)?;
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        transaction: &Transaction,
        at: At<'_>,
        oid: u32,
        consequence: Consequence,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(nth) = self.live.iter().position(|live| live.oid == oid) else {
            return Ok(());
        };
        let has_rows = self.live[nth].count() > 0;
        match consequence {
            Consequence::Reshaped => Ok(()),
            Consequence::Moved => self.moved(at, oid),
            Consequence::Emptied => {
                self.clear(transaction, at.place, nth, Kind::Rewritten, observer)
            }
            Consequence::Dropped => {
                self.clear(transaction, at.place, nth, Kind::Dropped, observer)?;
                self.live[nth].is_gone = true;
                Ok(())
            }
            Consequence::Kept { .. } if has_rows => {
                let why = "the values of a column that was generated so far are not in the files";
                Err(at.not_followed(why))
            }
            Consequence::Typed { number, from, to } if has_rows => {
                let Some(change) = text_change(&from, &to) else {
                    let why = format!(
                        "what values of type {} are as {} only a server knows",
                        shown(&from),
                        shown(&to)
                    );
                    return Err(at.not_followed(why));
                };
                match change {
                    TextChange::None => Ok(()),
                    TextChange::By(change) => {
                        self.live[nth].rewrite(&mut self.store, number, &change)
                    }
                }
            }
            Consequence::Kept { .. } | Consequence::Typed { .. } => Ok(()),
        }
    }

    /// A partition by hash of an enum has no rows of its own: they cannot go with it.
    fn moved(&self, at: At<'_>, oid: u32) -> Result<()> {
        // Its parents have gone where it was detached.
        let is_detached = self.tables.above(oid).is_empty();
        let roots = at
            .text
            .windows(18)
            .any(|part| part == b" DETACH PARTITION ");
        if !is_detached || !roots {
            return Ok(());
        }
        let parent = alteration::read(at.text).and_then(|altered| altered.target);
        let parent = parent.and_then(|name| self.tables.named(&name));
        let Some(parent) = parent else {
            return Ok(());
        };
        let mut above = self.tables.above(parent);
        above.push(parent);
        if above.iter().any(|oid| self.count(*oid) > 0) {
            let why = "which rows were in this partition is not in the files: it is one by hash of an enum";
            return Err(at.not_followed(why));
        }
        Ok(())
    }
}

/// Tells of a change of a row: whose and where, the table, the row, and its values before and after.
fn tell(
    observer: &mut dyn Observer,
    (transaction, place, kind): (&Transaction, Place<'_>, Kind),
    live: &Live,
    row: u64,
    (before, after): (Option<&[Value<'_>]>, Option<&[Value<'_>]>),
) -> Result<()> {
    Ok(observer.change(&Change {
        transaction,
        place,
        oid: live.oid,
        row,
        name: &live.name,
        kind,
        shape: &live.shape,
        before,
        after,
    })?)
}
