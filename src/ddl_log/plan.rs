//! How a statement is recorded, decided before it runs.

use super::ddl_history::{Object, Record};
use super::record_mode::RecordMode;
use super::subject::Subject;
use super::words::travels_as_effects;
use super::{by_text, decoder_raw, words};
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::statement::Statement;
use crate::pg::server;
use crate::workers;

/// How a statement is recorded.
pub struct Plan {
    pub record: Record,
    /// The object that an event trigger will report first.
    pub expected: Option<Object>,
    /// It commits internally: its row is written after success, in the next transaction.
    pub commits_by_itself: bool,
    pub needs: Vec<Need>,
}

/// Rows that precede a statement for its restore: a command about a role or a tablespace and its name, or
/// [`crate::output_plugin::ddl_history::FLAG`] and the reason.
pub type Need = (&'static str, Sql);

/// The plan for the statement; `None` if nothing of it belongs in the stream.
pub fn plan(statement: &Statement, tag: &'static str, mode: RecordMode) -> Option<Plan> {
    if by_text::is_by_text(statement, mode) {
        by_text::plan(statement, tag, mode)
    } else if travels_as_effects() {
        Some(words::plan(&Subject::relations(statement), tag))
    } else {
        decoder_raw::plan(&Subject::of(statement), tag, mode)
    }
}

/// True for a database that has a slot of ours, although its DDL cannot be recorded.
pub fn is_captured_without_history() -> bool {
    workers::has_slot(server::my_database())
}
