//! A look-up in the catalogs, under the historic snapshot, that leaves nothing behind.
//!
//! Functions that return an object's definition lock tables until the end of the transaction (pg_get_expr,
//! pg_get_viewdef: ruleutils.c), and may raise errors. Therefore a look-up is a subtransaction that is always
//! rolled back. It runs as the bootstrap superuser, like a capture worker, so the output does not depend on
//! the user.
//!
//! A look-up holds some of these locks while it waits for others, and sessions acquire them in a different
//! order. No session may be terminated as a deadlock victim because of it: the look-up detects the deadlock
//! first, or gives up before `deadlock_timeout`, and is retried.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::lock_holders;
use crate::pg::failure::Failure;
use crate::pg::server::session::set_at_level;
use crate::pg::server::wait_a_moment;

/// How long to wait for a lock at a time, in milliseconds; at most half of `deadlock_timeout`.
const LOCK_TIMEOUT: i32 = 500;
/// After how many milliseconds of waiting to check for a deadlock.
const DEADLOCK_TIMEOUT: i32 = 10;
/// Between two attempts all locks are released for other sessions.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to retry. After that the decoding fails with a message that names the blocking processes, and
/// starts again.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `look` in a subtransaction that is rolled back, repeatedly if it could not acquire a lock, as long as
/// `patience` allows. Its errors are returned as values.
///
/// Called in a callback of the output plugin, under settings that make texts canonical (empty `search_path`).
/// `is_passing` of row_guard returns whether retrying can help, [`is_about_locks`] whether the reason is a
/// lock.
pub fn without_trace<R>(
    patience: Duration,
    mut look: impl FnMut() -> Result<R, Failure>,
) -> Result<R, Failure> {
    let mut failed = None;
    loop {
        match once(&mut look) {
            Err(failure) if !is_about_locks(&failure) => return Err(failure),
            Err(_) if failed.get_or_insert_with(Instant::now).elapsed() < patience => {
                wait_a_moment(PAUSE);
            }
            Err(failure) => return Err(locked(&failure, patience)),
            Ok(found) => return Ok(found),
        }
    }
}

/// A lock could not be acquired, or never would have been.
pub fn is_about_locks(failure: &Failure) -> bool {
    use PgSqlErrorCode::{ERRCODE_LOCK_NOT_AVAILABLE, ERRCODE_T_R_DEADLOCK_DETECTED};
    matches!(
        failure.code,
        ERRCODE_LOCK_NOT_AVAILABLE | ERRCODE_T_R_DEADLOCK_DETECTED
    )
}

/// PostgreSQL does not report which lock it was.
fn locked(failure: &Failure, patience: Duration) -> Failure {
    let message = format!(
        "could not acquire a lock to read a definition within {} s",
        patience.as_secs()
    );
    let holders = lock_holders::in_words();
    let message = if holders.is_empty() {
        format!("{message}: {}", failure.in_full())
    } else {
        format!("{message}; {holders}")
    };
    Failure::new(failure.code, message).hint("Capture continues when that transaction has ended.")
}

fn once<R>(look: &mut impl FnMut() -> Result<R, Failure>) -> Result<R, Failure> {
    // SAFETY: plain facts of this process, which is inside a transaction, as every callback is.
    let (owner, context) = unsafe { (pg_sys::CurrentResourceOwner, pg_sys::CurrentMemoryContext) };
    // SAFETY: as above. Rolled back below, whatever happens in between.
    unsafe { pg_sys::BeginInternalSubTransaction(std::ptr::null()) };
    let settings = Settings::of_a_look().exchange();
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        prepare();
        look()
    }))
    .catch_others(|error| Err(Failure::from(error)))
    .catch_rust_panic(|error| Err(Failure::from(error)))
    .execute();
    settings.exchange();
    // SAFETY: the subtransaction begun above; both were current before it and outlive it.
    unsafe {
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::CurrentResourceOwner = owner;
        pg_sys::MemoryContextSwitchTo(context);
    }
    outcome
}

/// Settings changed through their variables: guc.c would take longer than many look-ups, and has nothing to
/// restore.
struct Settings {
    lock_timeout: i32,
    deadlock_timeout: i32,
    log_lock_waits: bool,
    quote_all_identifiers: bool,
}

impl Settings {
    fn of_a_look() -> Settings {
        // SAFETY: a plain fact of this process, which nobody changes meanwhile.
        let of_sessions = unsafe { pg_sys::DeadlockTimeout };
        let lock_timeout = LOCK_TIMEOUT.min(of_sessions / 2).max(1);
        Settings {
            lock_timeout,
            deadlock_timeout: DEADLOCK_TIMEOUT.min(lock_timeout),
            log_lock_waits: false,
            quote_all_identifiers: false,
        }
    }

    /// Sets them; returns the previous ones.
    fn exchange(self) -> Settings {
        use std::ptr::replace;
        // SAFETY: variables of this process, read where a lock is waited for or a name is quoted; nobody else has
        // a reference to them.
        unsafe {
            Settings {
                lock_timeout: replace(&raw mut pg_sys::LockTimeout, self.lock_timeout),
                deadlock_timeout: replace(&raw mut pg_sys::DeadlockTimeout, self.deadlock_timeout),
                log_lock_waits: replace(&raw mut pg_sys::log_lock_waits, self.log_lock_waits),
                quote_all_identifiers: replace(
                    &raw mut pg_sys::quote_all_identifiers,
                    self.quote_all_identifiers,
                ),
            }
        }
    }
}

/// User and snapshot, for the duration of the subtransaction.
fn prepare() {
    // SAFETY: inside the subtransaction, which pops it. A historic snapshot is in force, which GetCatalogSnapshot
    // answers.
    unsafe {
        let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
        pg_sys::SetUserIdAndSecContext(superuser, 0);
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
