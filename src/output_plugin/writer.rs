//! Writes one transaction: what must precede a line, and where a run of rows ends.
//!
//! It keeps the order: a held-back DDL statement is written before the next change, an open COPY block is
//! ended before anything else, BEGIN comes with the first line.

mod ddl;
mod effects;
mod inserts;
mod unwritable;

use archive::segment::{ClusterFact, DdlBlock, Lost, What, Who};
use pgrx::prelude::*;

use self::effects::HeldEffects;
use self::inserts::Run;
use super::ddl_history::Statement;
use super::frame;
use super::options::Options;
use super::relations::TableSql;
use super::row_sql::{self, Line, Update};
use crate::passing::raise_if_passing;
use crate::pg::decoding::callbacks::{Change, RowTarget, Transaction};
use crate::pg::decoding::invalidation;
use crate::pg::decoding::moved_sequences;
use crate::pg::decoding::row_guard::guarded;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;
use crate::pg::text::quote;
use crate::settings::{self, KeylessTables};

/// State of the transaction being decoded.
#[derive(Default)]
pub struct State {
    pub begun: bool,
    /// Who made it, where that was recorded.
    pub who: Option<Who>,
    /// A DDL statement that is held back until its row is complete.
    held: Option<Statement>,
    /// Its effects on the catalogs.
    held_effects: HeldEffects,
    /// A statement was written as text.
    has_text: bool,
    /// The last reported loss of a schema change.
    missing: Option<::effects::Unhandled>,
    /// The CREATE EXTENSION whose script's rows are left out.
    pub bracket: Option<i64>,
    /// The table into which rows are being inserted, how many in a row, and whether as COPY.
    run: Option<Run>,
    /// The roles and tablespaces that this transaction needs and that have been listed.
    facts: Vec<ClusterFact>,
    /// Tables for which left-out columns have been reported.
    flagged: Vec<pg_sys::Oid>,
    /// A row of the open COPY block was repaired; reported when the block ends.
    owes_repair: bool,
    /// Tables whose rewritten rows have started.
    rewritten: Vec<pg_sys::Oid>,
    /// Those tables themselves, not their transient heaps.
    refilled: Vec<pg_sys::Oid>,
    /// Tables that an effect has truncated for the rows that follow.
    emptied: Vec<pg_sys::Oid>,
}

/// The plugin during one callback.
pub struct Writer<'a> {
    options: Options,
    line: &'a mut Line,
    pub state: &'a mut State,
    transaction: Transaction,
    target: &'a mut dyn RowTarget,
}

impl<'a> Writer<'a> {
    pub fn new(
        options: Options,
        line: &'a mut Line,
        state: &'a mut State,
        transaction: Transaction,
        target: &'a mut dyn RowTarget,
    ) -> Self {
        Self {
            options,
            line,
            state,
            transaction,
            target,
        }
    }

    pub fn row_change(&mut self, table: &mut TableSql, relation: pg_sys::Oid, change: &Change<'_>) {
        self.release_held();
        if table.is_rewrite && table.is_via_root {
            return self.flag_rewrite(table, relation);
        }
        if table.is_rewrite {
            self.begin_rewrite(table, relation);
        }
        self.flag_columns(table, relation);
        if let Change::Insert { new } | Change::Update { new, .. } = change {
            self.roles_in(table, new);
        }
        if let Err(failure) = self.write_change(table, relation, change) {
            self.write_the_rest(table, relation, change, &failure);
        }
    }

    /// Fails if the row could not be written as text; nothing of it is written then.
    fn write_change(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        change: &Change<'_>,
    ) -> Result<(), Failure> {
        match change {
            Change::Insert { new } => return self.insert(table, relation, new),
            Change::Update { old, new } => {
                if !row_sql::can_find(table, *old, true) {
                    self.lose_row(table, relation, "UPDATE");
                    return Ok(());
                }
                self.start_line(b'S');
                let line = &mut *self.line;
                let made = guarded(|| row_sql::push_update(line, table, *old, new))?;
                if let Some(old) = old.filter(|_| self.options.old_values) {
                    self.show_old_values(table, old, new, &made);
                }
                match made {
                    _ if self.line.is_too_long => self.flag_long_row(table, relation, change),
                    Update::Written => self.send_line(),
                    Update::Empty => {}
                    Update::AlwaysIdentity(columns) => self.update_identity(table, &columns),
                }
            }
            Change::Delete { old: Some(old) } if row_sql::can_find(table, Some(old), false) => {
                self.start_line(b'S');
                let line = &mut *self.line;
                guarded(|| row_sql::push_delete(line, table, old))?;
                if self.line.is_too_long {
                    self.flag_long_row(table, relation, change);
                } else {
                    self.send_line();
                }
            }
            Change::Delete { .. } => self.lose_row(table, relation, "DELETE"),
        }
        Ok(())
    }

    /// A comment is no reason to lose the change: where it cannot be written, there is none.
    fn show_old_values(&mut self, table: &TableSql, old: &Row, new: &Row, made: &Update) {
        if *made == Update::Empty || self.line.is_too_long {
            return;
        }
        let line = &mut *self.line;
        let end = line.sql.len();
        let shown = guarded(|| row_sql::push_old_values(line, table, old, new));
        if let Err(failure) = &shown {
            raise_if_passing(failure);
            // Caches of output functions may be in an inconsistent state.
            invalidation::note_everything();
        }
        let is_valid =
            |sql: &[u8]| !self.options.is_utf8 || std::str::from_utf8(&sql[end - 1..]).is_ok();
        if !matches!(shown, Ok(true)) || !is_valid(&self.line.sql) {
            self.line.cut_old_values(end);
        }
    }

    /// A partition's rewritten rows cannot replace its old ones if a restore may have put those into another
    /// partition.
    fn flag_rewrite(&mut self, table: &TableSql, relation: pg_sys::Oid) {
        if !self.state.flagged.contains(&relation) {
            self.state.flagged.push(relation);
            self.flag_ddl(&format!(
                "{} is a partition by hash of an enum: its rewritten rows are assigned to partitions again at \
                 restore",
                String::from_utf8_lossy(&table.target)
            ));
        }
    }

    /// Reports once per transaction which columns of a table are left out.
    fn flag_columns(&mut self, table: &TableSql, relation: pg_sys::Oid) {
        let Some(column) = table.columns_without_input().next() else {
            return;
        };
        if !self.state.flagged.contains(&relation) {
            self.state.flagged.push(relation);
            self.flag(&format!(
                "column {} of {} has a type without usable input function: left out",
                String::from_utf8_lossy(column),
                String::from_utf8_lossy(&table.target)
            ));
        }
    }

    /// Writes what is still held back, then the end of a transaction that wrote anything.
    pub fn commit(&mut self) {
        self.release_held();
        self.end_run();
        if !self.state.begun {
            return;
        }
        if self.options.framing {
            for setval in moved_sequences::take_resolved() {
                self.tagged(b'V', &setval);
            }
            self.target.row(b"C");
        } else if self.options.include_transaction {
            self.target.row(b"COMMIT;");
        }
    }

    /// A row of the transient heap that a rewrite of this table fills.
    pub fn refill(&mut self, table: pg_sys::Oid) {
        if self.state.refilled.last() != Some(&table) {
            self.state.refilled.push(table);
        }
    }

    /// The first row of a rewritten table: the old rows are deleted, unless an effect has truncated it.
    fn begin_rewrite(&mut self, table: &TableSql, relation: pg_sys::Oid) {
        if self.state.rewritten.contains(&relation) {
            return;
        }
        self.state.rewritten.push(relation);
        let emptied = &mut self.state.emptied;
        let last = self.state.refilled.last();
        if let Some(place) = emptied.iter().position(|table| Some(table) == last) {
            emptied.swap_remove(place);
            return;
        }
        let table = &*table.target;
        if !self.options.framing {
            return self.statement(&[b"DELETE FROM ONLY ", table, b";"].concat());
        }
        // A DELETE is refused on a published table without a suitable replica identity, a TRUNCATE on one
        // that a foreign key references.
        let body = [
            b"BEGIN TRUNCATE ONLY ",
            table,
            b"; EXCEPTION WHEN feature_not_supported THEN DELETE FROM ONLY ",
            table,
            b"; END",
        ];
        let text = [b"DO ", &quote::dollar_quoted(&body.concat())[..]].concat();
        self.line.clear();
        frame::push_ddl(&mut self.line.sql, "REWRITE", b"", &DdlBlock::alone(&text));
        self.send_line();
    }

    fn update_identity(&mut self, table: &TableSql, columns: &[Vec<u8>]) {
        let update = std::mem::take(&mut self.line.sql);
        self.statement(&row_sql::identity_switch(table, columns, "BY DEFAULT"));
        self.line.sql = update;
        self.send_line();
        self.statement(&row_sql::identity_switch(table, columns, "ALWAYS"));
    }

    fn roles_in(&mut self, table: &TableSql, row: &Row) {
        if table.description.names_roles {
            let columns = table.description.columns.iter();
            for role in columns.flat_map(|column| column.roles_in(row)) {
                self.needed_role(&role);
            }
        }
    }

    /// A role that the next lines name: a restore creates it if it is missing.
    pub fn needed_role(&mut self, role: &[u8]) {
        self.release_held();
        if self.options.framing {
            self.needed_role_fact(role.to_vec());
        }
    }

    fn needed_role_fact(&mut self, name: Vec<u8>) {
        let superuser = false;
        self.fact(ClusterFact::Role { name, superuser });
    }

    /// Once per transaction.
    fn fact(&mut self, fact: ClusterFact) {
        if !self.state.facts.contains(&fact) {
            self.line.clear();
            frame::push_fact(&mut self.line.sql, &fact);
            self.send_line();
            self.state.facts.push(fact);
        }
    }

    /// True if a DDL statement of this transaction is executed again at restore, with all its effects.
    pub fn replays_statements(&self) -> bool {
        self.state.held.is_some() || self.state.has_text
    }

    /// A change that cannot be captured must not be lost silently.
    pub fn flag(&mut self, text: &str) {
        self.flag_as(b'F', text);
    }

    /// The same for a statement: these are counted separately.
    pub fn flag_ddl(&mut self, text: &str) {
        self.flag_as(b'f', text);
    }

    fn flag_as(&mut self, tag: u8, text: &str) {
        let text = text.replace(['\n', '\r'], " ");
        if self.options.framing {
            self.start_line(tag);
            self.line.sql.extend_from_slice(text.as_bytes());
            self.send_line();
        } else {
            self.statement(format!("-- {text}").as_bytes());
        }
    }

    /// What no restore has before the next base.
    pub fn lose(&mut self, lost: &Lost, reason: &str) {
        if !self.options.framing {
            return self.flag(reason);
        }
        let reason = reason.replace(['\n', '\r'], " ");
        self.line.clear();
        frame::push_lost(&mut self.line.sql, lost, reason.as_bytes());
        self.send_line();
    }

    pub fn lose_rows(&mut self, relation: pg_sys::Oid, name: &[u8], reason: &str) {
        let lost = Lost {
            what: What::Rows,
            class: "table".to_owned(),
            oid: relation.to_u32(),
            identity: name.to_vec(),
        };
        self.lose(&lost, reason);
    }

    /// A change whose row cannot be identified: from here on a restore has different rows. Users who have
    /// chosen to accept that do not get a base for each of them.
    fn lose_row(&mut self, table: &TableSql, relation: pg_sys::Oid, what: &str) {
        let name = String::from_utf8_lossy(&table.target).into_owned();
        let reason = format!("{what} on {name} could not be written: no replica identity");
        match settings::keyless_tables() {
            KeylessTables::Warn => self.flag(&reason),
            _ => self.lose_rows(relation, &table.target, &reason),
        }
    }

    /// Writes a complete statement, after the one that is held back.
    pub fn statement(&mut self, sql: &[u8]) {
        self.release_held();
        self.send_statement(sql);
    }

    fn send_statement(&mut self, sql: &[u8]) {
        self.start_line(b'S');
        self.line.sql.extend_from_slice(sql);
        self.send_line();
    }

    fn start_line(&mut self, tag: u8) {
        self.line.clear();
        if self.options.framing {
            self.line.sql.push(tag);
        }
    }

    /// Sends the current line, after what must precede it.
    fn send_line(&mut self) {
        let line = std::mem::take(&mut self.line.sql);
        self.end_run();
        self.line.sql = line;
        self.ensure_begun();
        self.state.owes_repair = self.repair();
        self.target.row(&self.line.sql);
        if self.state.owes_repair {
            self.end_run();
        }
    }

    fn tagged(&mut self, tag: u8, payload: &[u8]) {
        self.start_line(tag);
        self.line.sql.extend_from_slice(payload);
        self.target.row(&self.line.sql);
    }

    fn ensure_begun(&mut self) {
        if std::mem::replace(&mut self.state.begun, true) {
            return;
        }
        if self.options.framing {
            let Transaction {
                xid,
                commit_lsn,
                commit_time,
            } = self.transaction;
            let mut row = Vec::new();
            let who = self.state.who.as_ref();
            frame::push_begin(&mut row, xid, commit_lsn, Some(commit_time), who);
            self.target.row(&row);
        } else if self.options.include_transaction {
            self.target.row(b"BEGIN;");
        }
    }
}
