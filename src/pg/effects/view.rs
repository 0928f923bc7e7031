//! The catalogs before a transaction, and at the command that its decoding has come to.
//!
//! Caches follow the snapshot of the moment at which a change was made. Where others' commits make the view
//! of this commit another one, they forget what others changed on the way in and on the way out.

use pgrx::prelude::*;

use crate::pg::decoding::commit_view::CommitView;

/// The command counter that decoding has come to: what the transaction's commands below it did is seen.
/// Called in a callback. Only changes of catalogs move it.
pub fn current_command() -> u32 {
    // SAFETY: a historic snapshot is in force in every callback; it is what this answers.
    unsafe { (*pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid)).curcid }
}

/// Runs `look` under the catalogs as of this commit without the transaction's own changes. Called in the
/// begin callback, with the view that CommitView::of gave.
pub fn before_transaction<R>(view: Option<&mut CommitView>, look: impl FnOnce() -> R) -> R {
    // There no change has been handed out, so the counter stands at the first command.
    debug_assert_eq!(current_command(), pg_sys::FirstCommandId);
    at_this_command(view, look)
}

/// Runs `look` under the catalogs as of this commit, with what the transaction's commands below
/// [`current_command`] did. The view may be entered already. An error needs nothing: decoding ends, and
/// reorderbuffer.c takes any historic snapshot down.
pub fn at_this_command<R>(view: Option<&mut CommitView>, look: impl FnOnce() -> R) -> R {
    // Without a view nothing but this transaction has changed catalogs since its first change; its own
    // changes have reached the caches already (ReorderBufferExecuteInvalidations).
    let Some(view) = view else { return look() };
    let before = view.enter();
    view.forget_what_others_changed();
    let found = look();
    before.leave();
    view.forget_what_others_changed();
    found
}
