//! A look at the catalogs, under the historic snapshot, that leaves nothing behind.
//!
//! Functions that give an object's definition take locks on tables and keep them to the end of the
//! transaction (pg_get_expr, pg_get_viewdef: ruleutils.c), and may raise. So a look is a subtransaction that
//! is always rolled back, and waits for a lock no longer than [`LOCK_TIMEOUT`]. It is the bootstrap
//! superuser's, as a capture worker is: what is written does not depend on who asks.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

use super::super::failure::Failure;
use super::super::session::set_at_level;

/// How long a lock is waited for.
const LOCK_TIMEOUT: &CStr = c"2s";

/// Runs `look` in a subtransaction that is rolled back. What it raises comes back as a value.
///
/// Called in a callback of the output plugin, under settings that make texts canonical (`search_path`
/// empty). `is_passing` of row_guard tells whether trying again can help; a lock that was not to be had is
/// 55P03.
pub fn without_trace<R>(look: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    // SAFETY: plain facts of this process, which is inside a transaction, as every callback is.
    let (owner, context) = unsafe { (pg_sys::CurrentResourceOwner, pg_sys::CurrentMemoryContext) };
    // SAFETY: as above. Rolled back below, whatever happens in between.
    unsafe { pg_sys::BeginInternalSubTransaction(std::ptr::null()) };
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        prepare();
        look()
    }))
    .catch_others(|error| Err(Failure::from(error)))
    .catch_rust_panic(|error| Err(Failure::from(error)))
    .execute();
    // SAFETY: the subtransaction begun above; both were current before it and outlive it.
    unsafe {
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::CurrentResourceOwner = owner;
        pg_sys::MemoryContextSwitchTo(context);
    }
    outcome
}

/// User, settings and snapshot, which end with the subtransaction.
fn prepare() {
    // SAFETY: inside the subtransaction. A historic snapshot is in force, which GetCatalogSnapshot answers;
    // what is pushed is a copy.
    unsafe {
        let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
        pg_sys::SetUserIdAndSecContext(superuser, 0);
        setting(c"lock_timeout", LOCK_TIMEOUT);
        if pg_sys::quote_all_identifiers {
            setting(c"quote_all_identifiers", c"off");
        }
        pg_sys::PushActiveSnapshot(pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid));
    }
}

/// # Safety
/// Inside the subtransaction.
pub unsafe fn setting(name: &CStr, value: &CStr) {
    // SAFETY: promised by the caller: a subtransaction is a nest level of settings.
    unsafe { set_at_level(name, value, pg_sys::GucContext::PGC_SUSET) }
}

pub fn unexpected(message: String) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
}
