//! The catalogs before a transaction, and at the current command of its decoding.
//!
//! Caches follow the snapshot as of the time of a change. If other commits make the view as of this commit
//! differ, their entries are invalidated on entering and leaving it.

use pgrx::prelude::*;

use crate::pg::decoding::commit_view::CommitView;

/// The current command counter of decoding: effects of the transaction's commands below it are visible.
/// Called in a callback. Only changes of catalogs advance it.
pub fn current_command() -> u32 {
    // SAFETY: a historic snapshot is in force in every callback; it is what this answers.
    unsafe { (*pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid)).curcid }
}

/// Runs `look` under the catalogs as of this commit without the transaction's own changes. Called in the
/// begin callback, with the result of CommitView::of.
pub fn before_transaction<R>(view: Option<&mut CommitView>, look: impl FnOnce() -> R) -> R {
    // No change has been passed yet there, so the counter is that of the first command.
    debug_assert_eq!(current_command(), pg_sys::FirstCommandId);
    at_this_command(view, look)
}

/// Runs `look` under the catalogs as of this commit, with the effects of the transaction's commands below
/// [`current_command`]. The view may already be in use. After an error nothing needs to be restored: decoding
/// ends, and reorderbuffer.c removes any historic snapshot.
pub fn at_this_command<R>(view: Option<&mut CommitView>, look: impl FnOnce() -> R) -> R {
    // Without a view only this transaction has changed catalogs since its first change; its own changes have
    // reached the caches already (ReorderBufferExecuteInvalidations).
    let Some(view) = view else { return look() };
    let before = view.enter();
    view.forget_what_others_changed();
    let found = look();
    before.leave();
    view.forget_what_others_changed();
    found
}
