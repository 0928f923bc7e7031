//! A commit wakes the capture worker of its database.
//!
//! PostgreSQL wakes walsenders when WAL is flushed, but no background worker. Every process of a
//! server that preloads this library therefore has a commit callback that sets the worker's latch. Where the client is to
//! wait for the worker, see `commit_wait`.

use std::cell::Cell;
use std::sync::OnceLock;

use pgrx::prelude::*;

use crate::pg::server::{self, commit_wait};

thread_local! {
    /// XactLastCommitEnd at the last check: only a commit record changes it.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Gives the latch of the worker of a database, or 0.
type LatchOf = fn(pg_sys::Oid) -> usize;

static LATCH_OF: OnceLock<LatchOf> = OnceLock::new();

/// Registers the callback; in the postmaster, so that every process inherits it. `latch_of` must not raise: it is
/// called when the commit is done.
pub fn register_commit_callback(latch_of: LatchOf) {
    LATCH_OF.get_or_init(|| latch_of);
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(on_transaction_end), std::ptr::null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {}
        pg_sys::XactEvent::XACT_EVENT_ABORT => return commit_wait::aborted(),
        _ => return,
    }
    // SAFETY: a plain global of this process.
    let end = unsafe { pg_sys::XactLastCommitEnd };
    let is_new = SEEN.replace(end) != end;
    // First, so that the worker knows who waits.
    commit_wait::committed(if is_new { end } else { 0 });
    if is_new {
        let latch = LATCH_OF.get().map_or(0, |of| of(server::my_database()));
        server::set_latch(latch);
    }
}

/// End of the last commit record that this process wrote.
pub fn last_commit_end() -> u64 {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::XactLastCommitEnd }
}

/// Time of the commit that has just happened, in microseconds since the Unix epoch, as in the commit record.
/// Only from a callback at the end of a transaction.
pub fn commit_time() -> i64 {
    // SAFETY: reads this process's transaction state.
    crate::pg::types::timestamp::to_unix_micros(unsafe {
        pg_sys::GetCurrentTransactionStopTimestamp()
    })
}
