//! A commit wakes the capture worker of its database.
//!
//! PostgreSQL wakes walsenders when WAL is flushed, but no background worker. Every process of a
//! server that preloads this library therefore has a commit callback that sets the worker's latch.

use std::cell::Cell;

use pgrx::prelude::*;

use crate::pg::server;
use crate::status;

thread_local! {
    /// XactLastCommitEnd at the last check: only a commit record changes it.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Registers the callback; in the postmaster, so that every process inherits it.
pub fn register_commit_callback() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(on_transaction_end), std::ptr::null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    if event != pg_sys::XactEvent::XACT_EVENT_COMMIT {
        return;
    }
    // SAFETY: a plain global of this process.
    let end = unsafe { pg_sys::XactLastCommitEnd };
    if SEEN.replace(end) != end {
        server::set_latch(status::latch_of(server::my_database()));
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
