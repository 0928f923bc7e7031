//! The statements that are running now, outermost first: event triggers find theirs on top.
//!
//! An error jumps over the code that would take a statement off, so frames also go when the
//! (sub)transaction that they began in ends.

use std::cell::{Cell, RefCell};

use super::history::{Object, Record, WrittenRow};
use super::plan::{Need, Plan};
use crate::pg::ddl::catalog::nest_level;
use crate::pg::ddl::history::HistoryTable;
use crate::pg::ddl::node::Sql;
use crate::pg::failure::Failure;
use crate::replica_identity::Touched;

/// What is known of a running statement, and what is to be done after it.
#[derive(Default)]
pub struct RunningStatement {
    pub(super) number: u64,
    pub(super) level: i32,
    /// It runs an extension's script: its row is written again at its end.
    pub runs_script: bool,
    /// Its row; none where it is not recorded (yet).
    pub row: Option<WrittenRow>,
    /// Why it could not be recorded.
    pub failure: Option<Failure>,
    /// IF EXISTS or IF NOT EXISTS: without an effect, the failure is none.
    pub may_do_nothing: bool,
    /// Written after success: it commits half way.
    pub later: Option<Later>,
    /// Nothing needs to be found out of it, see [`super::subject::Subject::is_known`].
    pub is_known: bool,
    /// See [`super::words`].
    pub is_plain: bool,
    pub touched: Touched,
    /// Objects reported before there was a row to put them in.
    pub objects: Vec<Object>,
    /// Those of them that are over this extension's own.
    pub over_ours: Vec<Object>,
    /// It may take the place of an object that was there.
    pub replaces: bool,
    /// What the statement is about, for what no event trigger sees, or is asked of.
    pub subjects: Vec<Object>,
    /// An event trigger has seen it do something that does not go with the session.
    pub has_effect: bool,
    /// It made an object that goes with the session.
    pub made_temporary: bool,
    pub is_commit_prepared: bool,
    /// It changed the schema of a database whose changes are captured without our extension.
    pub is_lost: bool,
    /// The catalogs do not tell all that it does.
    pub is_beyond_catalogs: bool,
    /// The schema that it makes, where the extension comes back to, and how it is recorded then.
    pub returns: Option<(Sql, Plan)>,
    /// The extension's schema, where the extension may go with what it drops.
    pub may_lose: Option<Sql>,
}

/// A row that is written only after the statement.
pub struct Later {
    pub history: HistoryTable,
    pub record: Record,
    pub needs: Vec<Need>,
}

thread_local! {
    static FRAMES: RefCell<Vec<RunningStatement>> = const { RefCell::new(Vec::new()) };
    static LAST_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Puts a statement on top; answers its number.
pub fn push(mut frame: RunningStatement) -> u64 {
    let number = LAST_NUMBER.get() + 1;
    LAST_NUMBER.set(number);
    frame.number = number;
    frame.level = nest_level();
    FRAMES.with_borrow_mut(|frames| frames.push(frame));
    number
}

/// Takes a statement off, and what an error left above it.
pub fn pop(number: u64) -> Option<RunningStatement> {
    FRAMES.with_borrow_mut(|frames| {
        let place = frames.iter().position(|frame| frame.number == number)?;
        frames.truncate(place + 1);
        frames.pop()
    })
}

/// Works on the innermost statement, taken out for the time so that `work` may call PostgreSQL.
pub fn with_top(work: impl FnOnce(&mut RunningStatement)) {
    let Some(mut frame) = FRAMES.with_borrow_mut(Vec::pop) else {
        return;
    };
    work(&mut frame);
    FRAMES.with_borrow_mut(|frames| frames.push(frame));
}

/// True where nobody knows that the catalogs tell all that the innermost statement does.
pub fn is_top_beyond_catalogs() -> bool {
    FRAMES.with_borrow(|frames| frames.last().is_none_or(|frame| frame.is_beyond_catalogs))
}

/// True when nothing needs to be found out about the innermost statement.
pub fn is_top_known() -> bool {
    FRAMES.with_borrow(|frames| frames.last().is_some_and(|frame| frame.is_known))
}

/// True when the innermost statement is recorded without a guard.
pub fn is_top_plain() -> bool {
    FRAMES.with_borrow(|frames| frames.last().is_some_and(|frame| frame.is_plain))
}

/// Drops what a transaction's end leaves behind. A statement that commits by itself goes on after
/// its commits.
pub fn transaction_ended(committed: bool) {
    let goes_on = |frame: &RunningStatement| committed && frame.later.is_some();
    FRAMES.with_borrow_mut(|frames| frames.retain(goes_on));
}

/// Drops the statements that ran inside the subtransaction at `level`, which is rolled back.
pub fn subtransaction_aborted(level: i32) {
    FRAMES.with_borrow_mut(|frames| frames.retain(|frame| frame.level < level));
}
