//! The output plugin: formats every decoded change as SQL text.
//!
//! This module decides what is written and in which order; `pg::plugin` calls it from PostgreSQL's callbacks
//! and passes the rows on. A transaction's BEGIN is delayed until its first change, so empty transactions
//! write nothing. With `framing` (capture workers) rows are frames; otherwise they are plain statements in
//! decoder_raw's dialect (`pg_recvlogical`).

pub mod ddl_history;
pub mod frame;
mod large_object_acl;
mod large_objects;
mod literal;
pub mod options;
mod relations;
mod row_sql;
mod writer;

use archive::segment::{Lost, What};
use chrono::{DateTime, Utc};
use pgrx::prelude::*;

use self::ddl_history::Statement;
use self::options::Options;
use self::relations::{Relations, Treatment};
use self::row_sql::Line;
use self::writer::{State, Writer};
use crate::effects::Stretch;
use crate::passing::raise_if_passing;
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;

/// The destination of rows: `pg_recvlogical`, a SQL function's result, or the segment writer.
pub trait RowTarget {
    fn row(&mut self, row: &[u8]);
}

/// The transaction being decoded.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    /// 64-bit.
    pub xid: u64,
    /// End of the commit record.
    pub commit_lsn: u64,
    pub commit_time: DateTime<Utc>,
}

/// A row change.
pub enum Change<'a> {
    Insert { new: &'a Row },
    Update { old: Option<&'a Row>, new: &'a Row },
    Delete { old: Option<&'a Row> },
}

impl<'a> Change<'a> {
    pub fn verb(&self) -> &'static str {
        match self {
            Change::Insert { .. } => "INSERT",
            Change::Update { .. } => "UPDATE",
            Change::Delete { .. } => "DELETE",
        }
    }

    /// The old row, or the part of it that is in the WAL, and the new one.
    pub fn rows(&self) -> (Option<&'a Row>, Option<&'a Row>) {
        match *self {
            Change::Insert { new } => (None, Some(new)),
            Change::Update { old, new } => (old, Some(new)),
            Change::Delete { old } => (old, None),
        }
    }
}

/// A TRUNCATE as in its WAL record: every table that it truncated, including those of CASCADE.
pub struct Truncate {
    pub cascade: bool,
}

/// A table in a TRUNCATE.
enum Truncated {
    Named(Vec<u8>),
    /// A partition whose rows are assigned to partitions again at restore.
    WithItsRoot,
}

/// One decoding session.
pub struct Plugin {
    options: Options,
    relations: Relations,
    line: Line,
    memory: pg_sys::MemoryContext,
    state: State,
}

impl Plugin {
    /// `memory` is for caches of output functions, and exists as long as the session.
    pub fn new(options: Options, memory: pg_sys::MemoryContext) -> Self {
        let (relations, line) = (Relations::default(), Line::default());
        Self {
            options,
            relations,
            line,
            memory,
            state: State::default(),
        }
    }

    fn writer<'a>(
        &'a mut self,
        transaction: Transaction,
        target: &'a mut dyn RowTarget,
    ) -> Writer<'a> {
        Writer::new(
            self.options,
            &mut self.line,
            &mut self.state,
            transaction,
            target,
        )
    }

    pub fn begin(&mut self) {
        self.state = State::default();
    }

    /// Accepts the schema changes of a range of commands, which precede what follows.
    pub fn schema_changed(
        &mut self,
        transaction: Transaction,
        stretch: Stretch,
        target: &mut dyn RowTarget,
    ) {
        self.writer(transaction, target).schema_changed(stretch);
    }

    /// Writes one row change.
    pub fn change(
        &mut self,
        transaction: Transaction,
        relation: OpenRelation,
        change: &Change<'_>,
        target: &mut dyn RowTarget,
    ) {
        let treatment = self.relations.get(relation, self.memory);
        let (line, state) = (&mut self.line, &mut self.state);
        let mut writer = Writer::new(self.options, line, state, transaction, target);
        match treatment {
            Treatment::Skip => {}
            Treatment::Write(_) if writer.state.bracket.is_some() => {}
            Treatment::Write(table) => {
                if let Some(table) = relation.rewrites() {
                    writer.refill(table);
                }
                writer.row_change(table, relation.oid(), change);
            }
            Treatment::History(columns, description) => match change {
                Change::Insert { new } => {
                    writer.insert_statement(Statement::read(columns, description, new))
                }
                Change::Update { new, .. } => {
                    writer.amend(Statement::read(columns, description, new))
                }
                Change::Delete { .. } => {}
            },
        }
    }

    /// Writes a TRUNCATE of those of the tables whose rows are captured. One executed by an extension's
    /// script is executed again by the script, like the script's rows.
    pub fn truncate(
        &mut self,
        transaction: Transaction,
        tables: &[OpenRelation],
        truncate: &Truncate,
        target: &mut dyn RowTarget,
    ) {
        if self.state.bracket.is_some() {
            return;
        }
        let mut list = Vec::new();
        let mut alone = None;
        for table in tables {
            match self.truncated_name(*table) {
                Some(Truncated::Named(name)) => list.push(name),
                Some(Truncated::WithItsRoot) => alone = Some(table.qualified_name()),
                None => {}
            }
        }
        // Its root is in the list if the statement named it.
        if let Some(name) = alone.filter(|_| tables.iter().all(|table| table.kind() != b'p')) {
            let name = String::from_utf8_lossy(&name);
            self.writer(transaction, target).flag_ddl(&format!(
                "TRUNCATE of {name} alone, a partition by hash of an enum: a restore may have its rows in \
                 another partition, and keeps them"
            ));
        }
        if list.is_empty() {
            return;
        }
        let mut writer = self.writer(transaction, target);
        let cascade: &[u8] = if truncate.cascade { b" CASCADE;" } else { b";" };
        writer.statement(
            &[
                b"TRUNCATE ",
                list.join(b", ".as_slice()).as_slice(),
                cascade,
            ]
            .concat(),
        );
    }

    /// Writes that DDL of this transaction is lost: what follows may not apply to a restored database.
    /// Effects that the catalogs show (`is_told`) are written nevertheless.
    pub fn lost_ddl(
        &mut self,
        transaction: Transaction,
        reason: &[u8],
        is_told: bool,
        target: &mut dyn RowTarget,
    ) {
        if !is_told {
            let reason = String::from_utf8_lossy(reason);
            let lost = Lost::anything(What::Schema);
            self.writer(transaction, target).lose(&lost, &reason);
        }
    }

    /// The name for TRUNCATE; ONLY is an error for a partitioned table, which has no rows itself.
    fn truncated_name(&mut self, table: OpenRelation) -> Option<Truncated> {
        if table.kind() == b'p' {
            return Some(Truncated::Named(table.qualified_name()));
        }
        match self.relations.get(table, self.memory) {
            Treatment::Write(sql) if sql.is_via_root => Some(Truncated::WithItsRoot),
            Treatment::Write(sql) => {
                Some(Truncated::Named([b"ONLY ", sql.target.as_slice()].concat()))
            }
            _ => None,
        }
    }

    /// A change could not be written as text.
    pub fn change_failed(
        &mut self,
        transaction: Transaction,
        relation: OpenRelation,
        change: &Change<'_>,
        failure: &Failure,
        target: &mut dyn RowTarget,
    ) {
        raise_if_passing(failure);
        let name = relation.qualified_name();
        let what = format!("{} on {}", change.verb(), String::from_utf8_lossy(&name));
        let reason = format!("{what} is left out: {}", failure.in_full());
        self.writer(transaction, target)
            .lose_rows(relation.oid(), &name, &reason);
    }

    /// The same for something other than a row.
    pub fn failed(
        &mut self,
        transaction: Transaction,
        what: &str,
        failure: &Failure,
        target: &mut dyn RowTarget,
    ) {
        raise_if_passing(failure);
        let reason = failure.in_full();
        let mut writer = self.writer(transaction, target);
        writer.flag(&format!("{what} is left out: {reason}"));
    }

    /// Writes the transaction's large objects, at the end, because only then their final state is known.
    pub fn large_objects(&mut self, transaction: Transaction, target: &mut dyn RowTarget) {
        large_objects::write(&mut self.writer(transaction, target));
    }

    /// Ends the transaction.
    pub fn commit(&mut self, transaction: Transaction, target: &mut dyn RowTarget) {
        self.writer(transaction, target).commit();
        self.state = State::default();
    }
}
