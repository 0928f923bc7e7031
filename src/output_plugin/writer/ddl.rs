//! Statements between the rows: held back until their last word is known, then written.

use super::super::history::{Statement, FLAG, LEFT_OUT, REACH};
use super::effects::Way;
use super::Writer;
use crate::pg::invalidation;
use crate::pg::reach::Reach;
use crate::pg::since_then::SinceThen;

impl Writer<'_> {
    pub fn insert_statement(&mut self, mut statement: Statement, since: &mut SinceThen<'_>) {
        self.state.is_recorded = true;
        if !statement.replay || statement.is_decoded_from_wal() {
            return;
        }
        self.release_held();
        if statement.command == FLAG {
            let reason = String::from_utf8_lossy(&statement.text).into_owned();
            return self.state.deeds.flag_text(reason);
        }
        if statement.command == LEFT_OUT {
            return self.leave_out_object(&statement.text);
        }
        if statement.brackets_rows() {
            self.state.bracket = Some(statement.id);
        }
        if statement.command == REACH {
            return self.flag_reach(&statement, since);
        }
        if statement.gives_default_privileges() && since.has_other_default_privileges() {
            self.state.deeds.flag_text(format!(
                "{}: at restore it gives the default privileges that another transaction set while \
                 this one was open",
                statement.command
            ));
        }
        statement.renames = since.renames();
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

    /// The next statement is about whatever there is, which may be more where it is replayed.
    fn flag_reach(&mut self, statement: &Statement, since: &mut SinceThen<'_>) {
        let text = String::from_utf8_lossy(&statement.text);
        let noted = text.split_once(": ");
        let Some((command, reach)) = noted.and_then(|(c, r)| Some((c, Reach::parse(r)?))) else {
            return self.flag_ddl(&format!("a statement of unknown reach: {text}"));
        };
        let more = since.newly_reached(&reach);
        if more > 0 {
            self.state.deeds.flag_text(format!(
                "{command}: at restore it reaches {more} more: made or granted by others while its \
                 transaction was open"
            ));
        }
    }

    /// The row of a statement was completed after it ran.
    pub fn amend(&mut self, mut statement: Statement) {
        let is_end = self.state.bracket == Some(statement.id);
        if is_end {
            self.state.bracket = None;
            // What an extension owns, and which of its tables are configuration, decides about
            // rows; no invalidation tells of a change of it.
            invalidation::note_everything();
        }
        let is = |other: &Option<Statement>| other.as_ref().is_some_and(|o| o.id == statement.id);
        if is(&self.state.held) {
            let held = self.state.held.take();
            statement.renames = held.map_or_else(Vec::new, |held| held.renames);
            match statement.replay {
                true => self.state.held = Some(statement),
                false => self.forget_held(),
            }
        } else if is(&self.state.released) && self.state.way == Way::Text {
            self.write_late_part(statement);
        }
        // What comes now is another's: of the statement whose function made the extension, say.
        if is_end {
            self.release_held();
            self.state.way = Way::None;
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
            self.write_text(&late);
            self.state.released = Some(statement);
        } else {
            self.flag_ddl(&format!("{} was completed too late", statement.command));
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
            self.role_fact(fact);
        }
        self.line.clear();
        statement.push_frame(&mut self.line.sql);
        self.send_line();
    }
}
