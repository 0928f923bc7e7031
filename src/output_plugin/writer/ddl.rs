//! Statements between the rows: held back until their last word is known, then written.

use super::super::history::{Statement, FLAG, LEFT_OUT, LOST};
use super::Writer;
use crate::pg::decoding::invalidation;

impl Writer<'_> {
    pub fn insert_statement(&mut self, statement: Statement) {
        if !statement.replay || statement.is_decoded_from_wal() {
            return;
        }
        self.release_held();
        if let FLAG | LEFT_OUT | LOST = statement.command.as_str() {
            // What a session has recorded for a plugin that is no longer the slot's.
            return;
        }
        if statement.brackets_rows() {
            self.state.bracket = Some(statement.id);
        }
        self.state.held = Some(statement);
    }

    /// Nothing is lost by it: the object is worth nothing where the extension is not, or its session.
    pub(super) fn leave_out_object(&mut self, note: &[u8]) {
        if self.options.framing {
            self.start_line(b'L');
            self.line.sql.extend_from_slice(note);
            self.send_line();
        }
    }

    /// The row of a statement was completed after it ran.
    pub fn amend(&mut self, statement: Statement) {
        let is_end = self.state.bracket == Some(statement.id);
        if is_end {
            self.state.bracket = None;
            // What an extension owns, and which of its tables are configuration, decides about
            // rows; no invalidation tells of a change of it.
            invalidation::note_everything();
        }
        let held = self.state.held.as_ref();
        if held.is_some_and(|held| held.id == statement.id) {
            self.state.held = Some(statement);
        }
        // What comes now is another's: of the statement whose function made the extension, say.
        if is_end {
            self.release_held();
        }
    }

    /// Writes a statement as its text.
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
