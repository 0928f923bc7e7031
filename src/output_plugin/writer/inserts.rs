//! Inserted rows: one statement each, or lines of a COPY block for a long run.

use pgrx::prelude::*;

use super::super::relations::TableSql;
use super::super::row_sql;
use super::Writer;
use crate::pg::decoding::callbacks::Change;
use crate::pg::decoding::row_guard::guarded;
use crate::pg::decoding::value::Row;
use crate::pg::failure::Failure;

/// Rows that are inserted consecutively into one table.
pub(super) struct Run {
    relation: pg_sys::Oid,
    /// As [`TableSql::insert_head`] was.
    head: Box<[u8]>,
    rows: u32,
    is_copy: bool,
}

impl Writer<'_> {
    /// Fails if the row could not be written as text.
    pub(super) fn insert(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        new: &Row,
    ) -> Result<(), Failure> {
        if self.extends_copy(table, relation) {
            self.start_line(b'p');
            let line = &mut *self.line;
            guarded(|| row_sql::push_copy_row(line, table, new))?;
            if self.line.is_too_long {
                self.flag_long_row(table, relation, &Change::Insert { new });
                return Ok(());
            }
            self.state.owes_repair |= self.repair();
            self.target.row(&self.line.sql);
            return Ok(());
        }
        // No block is open here; counting of the run continues.
        self.start_line(b'S');
        let line = &mut *self.line;
        guarded(|| row_sql::push_insert(line, table, new))?;
        if self.line.is_too_long {
            return self.insert_long_row(table, relation, new);
        }
        self.ensure_begun();
        self.state.owes_repair |= self.repair();
        self.target.row(&self.line.sql);
        if self.state.owes_repair {
            self.end_run();
        }
        Ok(())
    }

    /// As a separate COPY block: a field of COPY may be twice as long as a literal.
    fn insert_long_row(
        &mut self,
        table: &mut TableSql,
        relation: pg_sys::Oid,
        new: &Row,
    ) -> Result<(), Failure> {
        self.end_run();
        self.start_line(b'p');
        let is_copied = self.options.framing && table.has_columns();
        let line = &mut *self.line;
        if is_copied {
            guarded(|| row_sql::push_copy_row(line, table, new))?;
        }
        if !is_copied || self.line.is_too_long {
            self.flag_long_row(table, relation, &Change::Insert { new });
            return Ok(());
        }
        self.state.owes_repair = self.repair();
        let row = std::mem::take(&mut self.line.sql);
        self.ensure_begun();
        self.tagged(b'P', &table.copy_head());
        self.target.row(&row);
        self.target.row(b"e");
        self.end_run();
        Ok(())
    }

    /// Replaces byte sequences that are invalid in the database's encoding: C code can create them in a value
    /// (a truncated character, for example), but no server can read them from SQL. True if there were any.
    pub(super) fn repair(&mut self) -> bool {
        if !self.options.is_utf8 || std::str::from_utf8(&self.line.sql).is_ok() {
            return false;
        }
        let repaired = String::from_utf8_lossy(&self.line.sql).into_owned();
        self.line.sql = repaired.into_bytes();
        true
    }

    /// Counts an INSERT and returns whether it is written to a COPY block, which is opened if necessary.
    fn extends_copy(&mut self, table: &TableSql, relation: pg_sys::Oid) -> bool {
        let threshold = self.options.copy_threshold;
        if !self.options.framing || threshold == 0 || !table.has_columns() {
            self.end_run();
            return false;
        }
        let head = &table.insert_head;
        // The head too: an ALTER TABLE between two rows changes the columns.
        match self
            .state
            .run
            .as_mut()
            .filter(|run| run.relation == relation && run.head == *head)
        {
            Some(run) => run.rows = run.rows.saturating_add(1),
            None => {
                self.end_run();
                let head = head.clone();
                self.state.run = Some(Run {
                    relation,
                    head,
                    rows: 1,
                    is_copy: false,
                });
            }
        }
        let due = self.state.run.as_mut().filter(|run| run.rows > threshold);
        let Some(run) = due else { return false };
        if !run.is_copy {
            run.is_copy = true;
            self.ensure_begun();
            self.tagged(b'P', &table.copy_head());
        }
        true
    }

    pub(super) fn end_run(&mut self) {
        if self.state.run.take().is_some_and(|run| run.is_copy) {
            self.target.row(b"e");
        }
        if std::mem::take(&mut self.state.owes_repair) {
            self.flag("a value is not valid in the database's encoding: U+FFFD is written instead");
        }
    }
}
