//! Work that may fail without aborting the user's transaction.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// Runs `work` in a subtransaction, which is rolled back on error. Otherwise its locks are kept. Errors
/// requested by the user or the server (cancel, lock timeout, deadlock) are re-raised: continuing would
/// ignore them.
pub fn attempt<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    // SAFETY: called inside a transaction, outside of parallel mode (the hook makes sure of both);
    // the context and owner are those of the caller and outlive the subtransaction.
    let (context, owner) = unsafe {
        let kept = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = kept.0;
        kept
    };
    let restore = move || {
        // SAFETY: as above; AbortSubTransaction leaves both as the subtransaction had them.
        unsafe {
            pg_sys::CurrentMemoryContext = context;
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    PgTryBuilder::new(AssertUnwindSafe(|| {
        let result = work();
        // SAFETY: ends the subtransaction begun above.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        restore();
        Ok(result)
    }))
    .catch_others(move |error| {
        // SAFETY: ends the subtransaction begun above, which the error left open: whoever catches
        // what is raised on expects his own on top.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
        restore();
        if is_asked_for(&error) {
            error.rethrow();
        }
        Err(Failure::from(error))
    })
    .execute()
}

fn report(error: &CaughtError) -> &pgrx::pg_sys::panic::ErrorReportWithLevel {
    match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    }
}

fn is_asked_for(error: &CaughtError) -> bool {
    matches!(
        report(error).sql_error_code(),
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED
            | PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
            | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
            | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
    )
}
