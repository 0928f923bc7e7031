//! A look at the catalogs, under the historic snapshot, that leaves nothing behind.
//!
//! Functions that give an object's definition take locks on tables and keep them to the end of the
//! transaction (pg_get_expr, pg_get_viewdef: ruleutils.c), and may raise. So a look is a subtransaction that
//! is always rolled back. It is the bootstrap superuser's, as a capture worker is: what is written does not
//! depend on who asks.
//!
//! A look holds some of these locks while it waits for others, and sessions want them in an order of their
//! own. No session may be ended as a deadlock's victim for it: the look finds out first, or gives up before
//! `deadlock_timeout` is over, and is tried again.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::lock_holders;
use crate::pg::failure::Failure;
use crate::pg::server::session::set_at_level;
use crate::pg::server::wait_a_moment;

/// How long a lock is waited for at a time, in milliseconds; half of `deadlock_timeout` where that is less.
const LOCK_TIMEOUT: i32 = 500;
/// After how many milliseconds of waiting it is checked for a deadlock.
const DEADLOCK_TIMEOUT: i32 = 10;
/// Between two tries all locks are given back, for whoever waits for them.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it is tried again. Then it is a failure of the decoding, which says who is in the way and starts anew.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `look` in a subtransaction that is rolled back, again where somebody held a lock that it wants, for as long as
/// `patience` says. What it raises comes back as a value.
///
/// Called in a callback of the output plugin, under settings that make texts canonical (`search_path`
/// empty). `is_passing` of row_guard tells whether trying again can help, [`is_about_locks`] whether the reason
/// is a lock.
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

/// A lock was not to be had, or would never have been.
pub fn is_about_locks(failure: &Failure) -> bool {
    use PgSqlErrorCode::{ERRCODE_LOCK_NOT_AVAILABLE, ERRCODE_T_R_DEADLOCK_DETECTED};
    matches!(
        failure.code,
        ERRCODE_LOCK_NOT_AVAILABLE | ERRCODE_T_R_DEADLOCK_DETECTED
    )
}

/// PostgreSQL does not say which lock it was.
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

/// Settings by their variables: guc.c would take longer than many a look, and is told nothing that it would
/// have to give back.
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

    /// Puts them in force; returns those that were.
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

/// User and snapshot, which end with the subtransaction.
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
