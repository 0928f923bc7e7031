//! Work on one row that may fail without ending the decoding.
//!
//! An output function can raise an error for a valid value: its text exceeds 1 GB, it is nested too deeply,
//! its type lost a label. A subtransaction for each row would be too expensive, so the work runs under a
//! separate resource owner instead, and what an error leaves behind is released as in AbortSubTransaction
//! (access/transam/xact.c). A row without an error costs two assignments.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::pg::declared;
use crate::pg::failure::Failure;

/// Work on a row, and the formatting of the row within it.
const DEEPEST: usize = 2;

thread_local! {
    /// The first is a child of the resource owner of the decoding transaction, and released with it; the
    /// second is a child of the first.
    static OWNERS: [Cell<pg_sys::ResourceOwner>; DEEPEST] =
        const { [const { Cell::new(std::ptr::null_mut()) }; DEEPEST] };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// A row is being sent: errors there are not caused by a value.
    static IS_SENDING: Cell<bool> = const { Cell::new(false) };
}

/// Another transaction is being decoded: the owners of the previous one were released with it.
pub fn begin_transaction() {
    forget_from(0);
    DEPTH.set(0);
    IS_SENDING.set(false);
}

fn forget_from(depth: usize) {
    OWNERS.with(|owners| {
        owners[depth..]
            .iter()
            .for_each(|owner| owner.set(std::ptr::null_mut()))
    });
}

/// Runs `send`, whose errors end the decoding.
pub fn sending<R>(send: impl FnOnce() -> R) -> R {
    IS_SENDING.set(true);
    let result = send();
    IS_SENDING.set(false);
    result
}

/// Runs `work` and returns its error as a value. The current memory context is reset then, so nothing that is
/// still needed may be in it. An error while a row is sent is re-raised.
pub fn guarded<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    let depth = DEPTH.get();
    // SAFETY: plain facts of this process.
    let (outer, context) = unsafe { (pg_sys::CurrentResourceOwner, pg_sys::CurrentMemoryContext) };
    let owner = owner_at(depth, outer);
    DEPTH.set(depth + 1);
    // SAFETY: the owner lives as long as the transaction that decodes, which outlives the work.
    unsafe { pg_sys::CurrentResourceOwner = owner };
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
        .catch_others(|error| Err(Box::new(error)))
        .catch_rust_panic(|error| Err(Box::new(error)))
        .execute();
    // SAFETY: it was current before.
    unsafe { pg_sys::CurrentResourceOwner = outer };
    DEPTH.set(depth);
    outcome.map_err(|error: Box<CaughtError>| {
        if IS_SENDING.get() {
            error.rethrow();
        }
        forget_from(depth);
        clean_up(owner, outer, context);
        Failure::from(*error)
    })
}

fn owner_at(depth: usize, outer: pg_sys::ResourceOwner) -> pg_sys::ResourceOwner {
    OWNERS.with(|owners| {
        if owners[depth].get().is_null() {
            let name = c"pg_incrbackup row".as_ptr();
            // SAFETY: `outer` is the owner of the transaction that decodes, or the one above.
            owners[depth].set(unsafe { pg_sys::ResourceOwnerCreate(outer, name) });
        }
        owners[depth].get()
    })
}

/// Releases what AbortSubTransaction releases, in its order.
fn clean_up(
    owner: pg_sys::ResourceOwner,
    outer: pg_sys::ResourceOwner,
    context: pg_sys::MemoryContext,
) {
    use pg_sys::ResourceReleasePhase::*;
    // SAFETY: nothing of the failed work goes on; the callbacks of logical decoding hold no lightweight
    // lock, no active snapshot and no SPI connection themselves. The owner is deleted once it is empty.
    unsafe {
        pg_sys::LWLockReleaseAll();
        pg_sys::UnlockBuffers();
        pg_sys::ConditionVariableCancelSleep();
        pg_sys::LockErrorCleanup();
        for phase in [
            RESOURCE_RELEASE_BEFORE_LOCKS,
            RESOURCE_RELEASE_LOCKS,
            RESOURCE_RELEASE_AFTER_LOCKS,
        ] {
            pg_sys::ResourceOwnerRelease(owner, phase, false, false);
        }
        pg_sys::AtEOSubXact_SPI(false, pg_sys::GetCurrentSubTransactionId());
        pg_sys::AtSubAbort_Snapshot(pg_sys::GetCurrentTransactionNestLevel());
        pg_sys::CurrentResourceOwner = outer;
        pg_sys::ResourceOwnerDelete(owner);
        pg_sys::MemoryContextSwitchTo(context);
        declared::reset_memory(context);
    }
}

/// True for an error that is not caused by the row: the server lacks a resource, or a cancel was requested
/// (classes 53, 57, 58 and 40 of errcodes.txt, and a lock that could not be acquired).
pub fn is_passing(failure: &Failure) -> bool {
    // MAKE_SQLSTATE of utils/elog.h: six bits a character, the first one lowest.
    let code = failure.code as i32;
    let class = [code & 0x3F, (code >> 6) & 0x3F];
    matches!(class, [5, 3] | [5, 7] | [5, 8] | [4, 0])
        || failure.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
}
