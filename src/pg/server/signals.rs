//! Signals and exit of our own workers.

use pgrx::prelude::*;

extern "C-unwind" {
    // tcop/tcopprot.h; declared here so that its plain C address can be handed to C.
    fn die(signal: std::ffi::c_int);
}

/// Makes SIGTERM terminate this worker at the next check for interrupts, in whatever PostgreSQL function it
/// is waiting; exit callbacks clean up.
pub fn end_on_sigterm() {
    // SAFETY: the handler is PostgreSQL's own.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(die));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// An interruption point: a query can be cancelled, and a worker or a session be terminated, here; then this
/// does not return.
pub fn look_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Runs what reports something that is no error. errfinish() ends with an interruption point, which PostgreSQL leaves by a
/// longjmp, and pgrx calls it without a guard: a query that is cancelled right there would leave Rust's frames unseen,
/// and neither a destructor nor [`transaction::catch`](super::transaction::catch) would notice. The next
/// interruption point takes care of it.
pub fn telling(report: impl FnOnce()) {
    // SAFETY: the process's own counter, as HOLD_INTERRUPTS and RESUME_INTERRUPTS (miscadmin.h) use it. An error in between resets it.
    unsafe {
        pg_sys::InterruptHoldoffCount += 1;
        report();
        pg_sys::InterruptHoldoffCount -= 1;
    }
}

/// What this process does when it exits, except in a crash.
static AT_EXIT: std::sync::OnceLock<fn()> = std::sync::OnceLock::new();

/// Calls `callback` when this process exits, while shared memory is still attached. Once per process.
pub fn at_exit(callback: fn()) {
    if AT_EXIT.set(callback).is_ok() {
        // SAFETY: the callback follows ipc.h and stays loaded as long as the library.
        unsafe { pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::null()) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: std::ffi::c_int, _argument: pg_sys::Datum) {
    if let Some(callback) = AT_EXIT.get() {
        callback();
    }
}
