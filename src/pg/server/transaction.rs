//! Transactions of our own workers, and the state of the caller's.
//!
//! A worker runs its queries in short transactions; an error inside one becomes a value, with the transaction
//! rolled back, so that the worker can report it to the user.

use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// Isolation level of a transaction started here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
}

/// Runs `body` and returns its error as a value. The caller rolls back.
pub fn catch<R>(body: impl FnOnce() -> R) -> Result<R, Failure> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|caught| Err(Failure::from(caught)))
        .catch_rust_panic(|caught| Err(Failure::from(caught)))
        .execute()
}

/// Runs `body` in a transaction: committed when it returns, rolled back when it raises or returns an error.
/// Only for workers, outside any transaction.
///
/// A rollback also releases session-level locks (PostgreSQL's ProcReleaseLocks), including the fence.
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

/// Like [`run`], for what needs no snapshot: statements such as CREATE INDEX CONCURRENTLY wait for every older one of the
/// database, and `body` may be waiting for them.
pub fn run_without_snapshot<R>(body: impl FnOnce() -> R) -> Result<R, Failure> {
    // SAFETY: outside a transaction, as StartTransactionCommand wants it.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
    catch(body)
        .inspect(|_| commit())
        .inspect_err(|_| rollback())
}

/// Runs queries within the current transaction, and gives back the locks that they took: who waits for one of those locks
/// would wait for as long as the transaction is open. Needs a snapshot that outlives them.
pub fn without_keeping_locks<R, E: From<Failure>>(
    body: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    // SAFETY: inside a transaction; the context and owner are the caller's, and outlive the subtransaction.
    let (context, owner) = unsafe {
        let kept = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = kept.0;
        kept
    };
    let outcome = catch(body);
    // SAFETY: ends the subtransaction begun above: only the end of one that is rolled back releases locks.
    unsafe {
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
    }
    outcome?
}

/// Begins a transaction with an active snapshot, as needed by queries.
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

/// 25006 if this transaction is read-only (PreventCommandIfReadOnly, utility.c); `what` would write.
pub fn ensure_may_write(what: &str) -> Result<(), Failure> {
    // SAFETY: a variable of the backend.
    if unsafe { !pg_sys::XactReadOnly } {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION;
    let message = format!("cannot execute {what} in a read-only transaction");
    Err(Failure::new(code, message))
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

/// Rolls back any open transaction, and releases every lock of this process.
pub fn rollback() {
    // SAFETY: does nothing outside a transaction.
    unsafe { pg_sys::AbortOutOfAnyTransaction() }
}

/// True if the current transaction has an xid: the creation of a slot would wait for it.
pub fn has_xid() -> bool {
    // SAFETY: plain facts of this backend.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// True inside a savepoint or a PL/pgSQL block with EXCEPTION.
pub fn is_subtransaction() -> bool {
    // SAFETY: a plain fact of this backend.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() > 1 }
}
