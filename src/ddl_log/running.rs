//! The stack of statements that are being executed: event triggers belong to the innermost one.
//!
//! An error skips the code that removes a statement, so entries are also removed when the (sub)transaction in
//! which they were added ends.

use std::cell::{Cell, RefCell};

use super::ddl_history::{Object, Record, WrittenRow};
use super::plan::{Need, Plan};
use crate::pg::ddl::catalog::nest_level;
use crate::pg::ddl::ddl_history::HistoryTable;
use crate::pg::ddl::node::Sql;
use crate::pg::failure::Failure;
use crate::replica_identity::Touched;

/// The state of a running statement, and what remains to be done after it.
#[derive(Default)]
pub struct RunningStatement {
    pub(super) number: u64,
    pub(super) level: i32,
    /// It runs an extension's script: its row is written again at its end.
    pub runs_script: bool,
    /// Its row; `None` if it is not recorded (yet).
    pub row: Option<WrittenRow>,
    /// Why it could not be recorded.
    pub failure: Option<Failure>,
    /// IF EXISTS or IF NOT EXISTS: if it has no effect, the failure to record it does not matter.
    pub may_do_nothing: bool,
    /// Written after success, because it commits internally.
    pub later: Option<Later>,
    /// Nothing needs to be determined about it, see [`super::subject::Subject::is_known`].
    pub is_known: bool,
    /// See [`super::words`].
    pub is_plain: bool,
    pub touched: Touched,
    /// Objects reported before there was a row for them.
    pub objects: Vec<Object>,
    /// Those of them that depend on this extension's own.
    pub over_ours: Vec<Object>,
    /// It may have replaced an existing object.
    pub replaces: bool,
    /// The subject of the statement, for objects that event triggers do not report.
    pub subjects: Vec<Object>,
    /// An event trigger has reported an effect that is not temporary.
    pub has_effect: bool,
    /// It created a temporary object.
    pub made_temporary: bool,
    pub is_commit_prepared: bool,
    /// It changed the schema of a database whose changes are captured without our extension.
    pub is_lost: bool,
    /// The catalogs do not show everything that it does.
    pub is_beyond_catalogs: bool,
    /// The schema that it creates, in which the extension is re-created, and the plan to record it then.
    pub returns: Option<(Sql, Plan)>,
    /// The extension's schema, with which the extension may be dropped.
    pub may_lose: Option<Sql>,
}

/// A row that is written only after the statement.
pub struct Later {
    pub history: HistoryTable,
    pub record: Record,
    pub needs: Vec<Need>,
}

thread_local! {
    static RUNNING: RefCell<Vec<RunningStatement>> = const { RefCell::new(Vec::new()) };
    static LAST_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Pushes a statement; returns its number.
pub fn push(mut statement: RunningStatement) -> u64 {
    let number = LAST_NUMBER.get() + 1;
    LAST_NUMBER.set(number);
    statement.number = number;
    statement.level = nest_level();
    RUNNING.with_borrow_mut(|statements| statements.push(statement));
    number
}

/// Removes a statement, and those above it that an error left behind.
pub fn pop(number: u64) -> Option<RunningStatement> {
    RUNNING.with_borrow_mut(|statements| {
        let place = statements
            .iter()
            .position(|statement| statement.number == number)?;
        statements.truncate(place + 1);
        statements.pop()
    })
}

/// Calls `work` on the innermost statement, which is taken out in the meantime so that `work` may call
/// PostgreSQL.
pub fn with_top(work: impl FnOnce(&mut RunningStatement)) {
    let Some(mut statement) = RUNNING.with_borrow_mut(Vec::pop) else {
        return;
    };
    work(&mut statement);
    RUNNING.with_borrow_mut(|statements| statements.push(statement));
}

/// True unless the catalogs are known to show everything that the innermost statement does.
pub fn is_top_beyond_catalogs() -> bool {
    RUNNING.with_borrow(|statements| {
        statements
            .last()
            .is_none_or(|statement| statement.is_beyond_catalogs)
    })
}

/// True if nothing needs to be determined about the innermost statement.
pub fn is_top_known() -> bool {
    RUNNING.with_borrow(|statements| {
        statements
            .last()
            .is_some_and(|statement| statement.is_known)
    })
}

/// True if the innermost statement is recorded without a subtransaction.
pub fn is_top_plain() -> bool {
    RUNNING.with_borrow(|statements| {
        statements
            .last()
            .is_some_and(|statement| statement.is_plain)
    })
}

/// Removes what the end of a transaction leaves behind. A statement that commits internally continues after
/// its commits.
pub fn transaction_ended(committed: bool) {
    let goes_on = |statement: &RunningStatement| committed && statement.later.is_some();
    RUNNING.with_borrow_mut(|statements| statements.retain(goes_on));
}

/// Drops the statements that ran inside the subtransaction at `level`, which is rolled back.
pub fn subtransaction_aborted(level: i32) {
    RUNNING.with_borrow_mut(|statements| statements.retain(|statement| statement.level < level));
}
