//! Transactions of our own workers, and questions about the caller's.
//!
//! A worker's job runs its queries in short transactions; an error inside one becomes a value, with
//! the transaction rolled back, so that the worker can report it where the user looks.

use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// Isolation of a transaction begun here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
}

/// Runs `body` and gives what it raises as a value. The caller rolls back what it did.
pub fn catch<R>(body: impl FnOnce() -> R) -> Result<R, Failure> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|caught| Err(Failure::from(caught)))
        .catch_rust_panic(|caught| Err(Failure::from(caught)))
        .execute()
}

/// Runs `body` in a transaction of its own: committed when it returns, rolled back when it raises
/// or returns an error. Only for workers, outside any transaction.
///
/// A rollback releases session-level locks too (PostgreSQL's ProcReleaseLocks), the fence with them.
pub fn run<R, E: From<Failure>>(body: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
    begin(Isolation::ReadCommitted);
    match catch(body) {
        Ok(Ok(value)) => {
            commit();
            Ok(value)
        }
        Ok(Err(error)) => {
            rollback();
            Err(error)
        }
        Err(failure) => {
            rollback();
            Err(failure.into())
        }
    }
}

/// Begins a transaction with an active snapshot, as a query needs it.
pub fn begin(isolation: Isolation) {
    // SAFETY: the order of bgworker code in PostgreSQL (worker_spi.c); the isolation level is set
    // before the first snapshot, as SET TRANSACTION would.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        if isolation == Isolation::RepeatableRead {
            pg_sys::XactIsoLevel = pg_sys::XACT_REPEATABLE_READ as i32;
            pg_sys::XactReadOnly = true;
        }
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Ends what [`begin`] began.
pub fn commit() {
    // SAFETY: the snapshot pushed by `begin` is popped before the commit; a transaction without one
    // (an exporting one) has none to pop.
    unsafe {
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::CommitTransactionCommand();
    }
}

/// Rolls back whatever transaction is open, and releases every lock of this process.
pub fn rollback() {
    // SAFETY: does nothing outside a transaction.
    unsafe { pg_sys::AbortOutOfAnyTransaction() }
}

/// True when the current transaction has a transaction id: a slot being made would wait for it.
pub fn has_xid() -> bool {
    // SAFETY: plain facts of this backend.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// True inside a savepoint or a PL/pgSQL block with EXCEPTION.
pub fn is_subtransaction() -> bool {
    // SAFETY: a plain fact of this backend.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() > 1 }
}
