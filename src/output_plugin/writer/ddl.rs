//! Statements between the rows: held back until their row is complete, then written.

use archive::segment::Mark;

use super::super::ddl_history::{Statement, FLAG, LEFT_OUT, LOST};
use super::super::frame;
use super::Writer;
use crate::pg::decoding::invalidation;

impl Writer<'_> {
    pub fn insert_statement(&mut self, statement: Statement) {
        if !statement.replay || statement.is_decoded_from_wal() {
            return;
        }
        self.release_held();
        if let FLAG | LEFT_OUT | LOST = statement.command.as_str() {
            // Recorded by a session for a plugin that is no longer the slot's.
            return;
        }
        if let Some(mark) = statement.mark() {
            return self.mark(&mark);
        }
        if statement.brackets_rows() {
            self.state.bracket = Some(statement.id);
        }
        self.state.held = Some(statement);
    }

    /// Nothing is lost by it: the object is useless without the extension, or its session.
    pub(super) fn leave_out_object(&mut self, note: &[u8]) {
        if self.options.framing {
            self.start_line(b'L');
            self.line.sql.extend_from_slice(note);
            self.send_line();
        }
    }

    /// Without frames there is no comment that could carry it.
    fn mark(&mut self, mark: &Mark) {
        if self.options.framing {
            self.line.clear();
            frame::push_mark(&mut self.line.sql, mark);
            self.send_line();
        }
    }

    /// The row of a statement was completed after it ran.
    pub fn amend(&mut self, statement: Statement) {
        let is_end = self.state.bracket == Some(statement.id);
        if is_end {
            self.state.bracket = None;
            // The members and configuration tables of an extension determine which rows are written; there is
            // no invalidation for a change of these.
            invalidation::note_everything();
        }
        let held = self.state.held.as_ref();
        if held.is_some_and(|held| held.id == statement.id) {
            self.state.held = Some(statement);
        }
        // What follows belongs to another statement: the one whose function created the extension, for
        // example.
        if is_end {
            self.release_held();
        }
    }

    /// Writes a statement as text.
    pub(super) fn write_text(&mut self, statement: &Statement) {
        if !self.options.framing {
            if statement.fact().is_none() {
                self.send_statement(&statement.block().parts().write(""));
            }
            return;
        }
        self.end_run();
        for fact in statement.role_facts() {
            self.fact(fact);
        }
        self.line.clear();
        statement.push_frame(&mut self.line.sql);
        self.send_line();
    }
}
