//! The output plugin: formats every decoded change as SQL text.
//!
//! This module decides what is written and in which order; `pg::decoding::plugin` calls it from PostgreSQL's callbacks
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
mod was;
mod writer;

use archive::segment::{Lost, What, Who};

use self::ddl_history::Statement;
use self::options::Options;
use self::relations::{Relations, Treatment};
use self::row_sql::Line;
use self::writer::{State, Writer};
use crate::effects::{Engine, Memory, Stretch};
use crate::passing::raise_if_passing;
use crate::pg::decoding::callbacks::{
    self, Change, OutputPlugin, RowTarget, Transaction, Truncate,
};
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::effects::events::{Touched, Unreadable};
use crate::pg::failure::Failure;

/// A table in a TRUNCATE.
enum Truncated {
    Named(Vec<u8>),
    /// A partition whose rows are assigned to partitions again at restore.
    WithItsRoot,
}

/// One decoding session.
struct Plugin {
    options: Options,
    /// What the transaction does to the schema; none where it does nothing to it.
    engine: Option<Engine>,
    /// What was read last, and is to be written.
    stretch: Option<Stretch>,
    /// From one transaction to the next.
    known: Memory,
    relations: Relations,
    line: Line,
    state: State,
}

/// Installs the plugin for the callbacks.
pub fn init() {
    callbacks::install(|start| {
        let mut options = Options::parse(start.options)?;
        options.is_utf8 = start.is_utf8;
        Ok(Box::new(Plugin {
            options,
            engine: None,
            stretch: None,
            known: Memory::default(),
            relations: Relations::new(start.memory),
            line: Line::default(),
            state: State::default(),
        }))
    });
}

impl Plugin {
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

    /// The name to TRUNCATE; ONLY is an error for a partitioned table, which has no rows itself.
    fn truncated_name(&mut self, table: OpenRelation) -> Option<Truncated> {
        if table.kind() == b'p' {
            return Some(Truncated::Named(table.qualified_name()));
        }
        match self.relations.get(table) {
            Treatment::Write(sql) if sql.is_via_root => Some(Truncated::WithItsRoot),
            Treatment::Write(sql) => Some(Truncated::Named([b"ONLY ", &*sql.target].concat())),
            _ => None,
        }
    }
}

impl OutputPlugin for Plugin {
    fn is_binary(&self) -> bool {
        self.options.is_binary
    }

    fn begin(&mut self, who: Option<Who>) {
        self.state = State::default();
        self.state.who = who;
        self.engine = None;
    }

    fn read_schema_before(&mut self, touched: Result<Touched, Unreadable>) {
        let known = std::mem::take(&mut self.known);
        self.engine = Some(Engine::begin(touched, known));
    }

    fn has_schema_changed(&self, command: u32, is_rewriting: bool) -> bool {
        let engine = self.engine.as_ref();
        engine.is_some_and(|engine| engine.has_moved(command, is_rewriting))
    }

    fn read_schema(&mut self, command: u32, is_rewriting: bool) {
        let engine = self.engine.as_mut();
        self.stretch = engine.map(|engine| engine.stretch(command, is_rewriting));
    }

    /// It stands before what comes next.
    fn schema_changed(&mut self, transaction: Transaction, target: &mut dyn RowTarget) {
        if let Some(stretch) = self.stretch.take() {
            self.writer(transaction, target).schema_changed(stretch);
        }
    }

    /// Writes one row change.
    fn change(
        &mut self,
        transaction: Transaction,
        relation: OpenRelation,
        change: &Change<'_>,
        target: &mut dyn RowTarget,
    ) {
        let treatment = self.relations.get(relation);
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
            Treatment::History(read) => {
                let (columns, description) = &**read;
                match change {
                    Change::Insert { new } => {
                        writer.insert_statement(Statement::read(columns, description, new))
                    }
                    Change::Update { new, .. } => {
                        writer.amend(Statement::read(columns, description, new))
                    }
                    Change::Delete { .. } => {}
                }
            }
        }
    }

    /// Writes a TRUNCATE of those of the tables whose rows are captured. One executed by an extension's
    /// script is executed again by the script, like the script's rows.
    fn truncate(
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
    fn lost_ddl(
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

    /// No text could be made of a change.
    fn change_failed(
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
    fn failed(
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
    fn large_objects(&mut self, transaction: Transaction, target: &mut dyn RowTarget) {
        large_objects::write(&mut self.writer(transaction, target));
    }

    /// Ends the transaction.
    fn commit(&mut self, transaction: Transaction, target: &mut dyn RowTarget) {
        self.writer(transaction, target).commit();
        // The next one may be far away: gives its memory back.
        self.line.clear();
        self.state = State::default();
        if let Some(engine) = self.engine.take() {
            self.known = engine.end();
        }
    }
}
