//! Sleeping on this process's latch, and the signals of our own workers.
//!
//! Every wait notices signals: a cancelled query raises, a worker told to stop ends there.

use std::time::Duration;

use pgrx::prelude::*;

extern "C-unwind" {
    // tcop/tcopprot.h and postmaster/interrupt.h; declared here so that their plain C addresses can
    // be handed to C.
    fn die(signal: std::ffi::c_int);
    fn SignalHandlerForConfigReload(signal: std::ffi::c_int);
}

/// Sleeps until the latch is set or `timeout` is over, then handles what signals asked for.
pub fn for_latch(timeout: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: MyLatch is this process's own.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            timeout.as_millis() as _,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check();
}

/// Handles what signals asked for: raises when the query is cancelled, ends the process when it is
/// told to stop, reads the configuration again in a worker.
pub fn check() {
    pg_sys::check_for_interrupts!();
    // SAFETY: plain flags of this process; only background workers look here, backends do it
    // themselves between statements.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 && !pg_sys::MyBgworkerEntry.is_null() {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Installs a worker's signal handlers: SIGTERM ends it at the next check, in the midst of whatever
/// PostgreSQL function it waits in; SIGHUP reads the configuration again.
pub fn install_handlers() {
    // SAFETY: both handlers are PostgreSQL's own.
    unsafe {
        set_handler(pg_sys::SIGTERM as i32, die);
        set_handler(pg_sys::SIGHUP as i32, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// # Safety
/// `handler` must be safe to run as a signal handler.
unsafe fn set_handler(signal: i32, handler: unsafe extern "C-unwind" fn(std::ffi::c_int)) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// True while a process of this server has the id `pid`.
pub fn is_backend(pid: i32) -> bool {
    // SAFETY: looks into the array of processes under its lock.
    pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

/// Process id of this process.
pub fn my_pid() -> i32 {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::MyProcPid }
}

/// Asks a process of this server to end.
pub fn terminate(pid: i32) {
    if is_backend(pid) {
        // SAFETY: a signal to a process of this server, as pg_terminate_backend sends it.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
