//! A look at the catalogs, under the historic snapshot, that leaves nothing behind.
//!
//! Functions that give an object's definition take locks on tables and keep them to the end of the
//! transaction (pg_get_expr, pg_get_viewdef: ruleutils.c), and may raise. So a look is a subtransaction that
//! is always rolled back. It is the bootstrap superuser's, as a capture worker is: what is written does not
//! depend on who asks.
//!
//! A look holds some of these locks while it waits for others, and sessions want them in an order of their
//! own. No session may be ended as a deadlock's victim for it: the look finds out first, or gives up before the
//! session's own `deadlock_timeout` (1 s by default) is over, and is tried again.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::super::failure::Failure;
use super::super::server::wait_a_moment;
use super::super::session::set_at_level;
use super::lock_holders;

/// Milliseconds that a lock is waited for at a time, and after which it is looked whether that can ever end.
const LOCK_TIMEOUT: i32 = 500;
const DEADLOCK_TIMEOUT: i32 = 10;
/// Between two tries all locks are given back, for whoever waits for them.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it is tried again. Then it is a failure of the decoding, which says who is in the way and starts anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `look` in a subtransaction that is rolled back, again where somebody held a lock that it wants. What it
/// raises comes back as a value.
///
/// Called in a callback of the output plugin, under settings that make texts canonical (`search_path`
/// empty). `is_passing` of row_guard tells whether trying again can help; a lock that was not to be had is
/// 55P03 or 40P01.
pub fn without_trace<R>(mut look: impl FnMut() -> Result<R, Failure>) -> Result<R, Failure> {
    let began = Instant::now();
    loop {
        match once(&mut look) {
            Err(failure) if is_about_locks(&failure) && began.elapsed() < PATIENCE => {
                wait_a_moment(PAUSE);
            }
            Err(failure) if is_about_locks(&failure) => return Err(with_holders(failure)),
            outcome => return outcome,
        }
    }
}

fn is_about_locks(failure: &Failure) -> bool {
    use PgSqlErrorCode::{ERRCODE_LOCK_NOT_AVAILABLE, ERRCODE_T_R_DEADLOCK_DETECTED};
    matches!(
        failure.code,
        ERRCODE_LOCK_NOT_AVAILABLE | ERRCODE_T_R_DEADLOCK_DETECTED
    )
}

/// PostgreSQL does not say which lock it was.
fn with_holders(failure: Failure) -> Failure {
    let holders = lock_holders::in_words();
    if holders.is_empty() {
        return failure;
    }
    let message = format!("a lock to read a definition was not to be had; {holders}");
    Failure {
        hint: Some("It is read once that transaction has ended.".to_owned()),
        ..Failure::new(failure.code, message)
    }
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
    // SAFETY: the subtransaction begun above; both were current before it and outlive it.
    unsafe {
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::CurrentResourceOwner = owner;
        pg_sys::MemoryContextSwitchTo(context);
    }
    settings.exchange();
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
        Settings {
            lock_timeout: LOCK_TIMEOUT,
            deadlock_timeout: DEADLOCK_TIMEOUT,
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
    // SAFETY: inside the subtransaction. A historic snapshot is in force, which GetCatalogSnapshot answers;
    // what is pushed is a copy.
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
