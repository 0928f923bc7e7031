//! Statements between the rows: held back until their last word is known, then written.

use super::super::history::{Statement, FLAG};
use super::Writer;
use crate::pg::invalidation;
use crate::pg::renamed::Renamed;

impl Writer<'_> {
    pub fn insert_statement(
        &mut self,
        mut statement: Statement,
        renames: &mut dyn FnMut() -> Vec<Renamed>,
    ) {
        if !statement.replay || statement.is_decoded_from_wal() {
            return;
        }
        self.release_held();
        if statement.command == FLAG {
            return self.flag(&String::from_utf8_lossy(&statement.text));
        }
        if statement.brackets_rows() {
            self.state.bracket = Some(statement.id);
        }
        statement.renames = renames();
        self.state.held = Some(statement);
    }

    /// The row of a statement was completed after it ran.
    pub fn amend(&mut self, mut statement: Statement) {
        if self.state.bracket == Some(statement.id) {
            self.state.bracket = None;
            // What an extension owns, and which of its tables are configuration, decides about
            // rows; no invalidation tells of a change of it.
            invalidation::note_everything();
        }
        let is = |other: &Option<Statement>| other.as_ref().is_some_and(|o| o.id == statement.id);
        if is(&self.state.held) {
            let held = self.state.held.take();
            statement.renames = held.map_or_else(Vec::new, |held| held.renames);
            self.state.held = Some(statement).filter(|statement| statement.replay);
        } else if is(&self.state.released) {
            self.write_late_part(statement);
        }
    }

    /// A row change (an event trigger's, say) came between a statement and what is to be run after
    /// it: the statement is written already, the rest of its text follows here.
    fn write_late_part(&mut self, statement: Statement) {
        let Some(released) = self.state.released.take() else {
            return;
        };
        if statement.text == released.text {
            self.state.released = Some(released);
        } else if let Some(mut late) = statement.without_start(&released.text) {
            late.renames = released.renames;
            self.state.held = Some(late);
            self.release_held();
            self.state.released = Some(statement);
        } else {
            self.flag(&format!("{} was completed too late", statement.command));
        }
    }

    /// Writes the statement that was held back.
    pub(super) fn release_held(&mut self) {
        let Some(statement) = self.state.held.take() else {
            return;
        };
        self.state.released = Some(statement.clone());
        if !self.options.framing {
            if statement.fact().is_none() {
                self.statement(&statement.block());
            }
            return;
        }
        self.end_run();
        for fact in statement.role_facts() {
            self.role_fact(fact);
        }
        self.line.clear();
        statement.push_frame(&mut self.line.sql);
        self.send_line();
    }
}
