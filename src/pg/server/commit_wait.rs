//! A client's COMMIT can wait for something else, as it waits for a synchronous standby (syncrep.c).
//!
//! The wait is in the last phase in which the transaction's resources are released. For others it is over by then, and
//! its locks are released: whoever needs them does not wait for what the client waits for. (At XACT_EVENT_COMMIT all are
//! still held.) A statement that commits by itself, such as VACUUM or CREATE INDEX CONCURRENTLY, holds locks of its
//! session across its commits; its client hears only of the last one, so only that one waits, for all of them.
//!
//! The transaction has committed, so an error is a PANIC: nothing here raises one. Interrupts are held, and are looked at
//! one by one.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use pgrx::prelude::*;

use super::shared::Area;

/// What a feature does about commits of clients. Neither may raise.
pub struct Callbacks {
    /// A client has committed up to this LSN; true if that is to be waited for. The capture worker is woken afterwards.
    pub begin: fn(u64) -> bool,
    /// Waits, after `begin` has returned true.
    pub wait: fn(u64),
    /// Instead of `wait`, or after an error in it.
    pub end: fn(),
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

thread_local! {
    /// End of the last commit that the client does not know of yet; 0 for none.
    static OWED: Cell<u64> = const { Cell::new(0) };
    /// End of the record of a COMMIT PREPARED that runs in this transaction; 0 for none.
    static PREPARED: Cell<u64> = const { Cell::new(0) };
    /// `begin` has returned true.
    static IS_WAITED_FOR: Cell<bool> = const { Cell::new(false) };
    /// A utility statement is running: a commit is one of its own, not its client's.
    static IS_IN_STATEMENT: Cell<bool> = const { Cell::new(false) };
}

/// Registers the callbacks; in the postmaster, so that every process inherits them.
pub fn register(callbacks: Callbacks) {
    if CALLBACKS.set(callbacks).is_ok() {
        // SAFETY: the callback lives as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterResourceReleaseCallback(Some(on_release), std::ptr::null_mut());
        }
    }
}

/// A transaction has committed; `end` is that of its commit record, 0 if it wrote none.
pub(super) fn committed(end: u64) {
    let Some(callbacks) = CALLBACKS.get() else {
        return;
    };
    // Without an xid it has changed nothing, though what it read may have been pruned.
    // SAFETY: reads this process's transaction state.
    let has_xid = unsafe { pg_sys::GetTopTransactionIdIfAny() } != pg_sys::InvalidTransactionId;
    let own = if has_xid { end } else { 0 };
    let owed = OWED.get().max(PREPARED.take()).max(own);
    if owed != 0 && IS_IN_STATEMENT.get() {
        return OWED.set(owed);
    }
    let is_waited_for = owed != 0 && is_client() && (callbacks.begin)(owed);
    IS_WAITED_FOR.set(is_waited_for);
    OWED.set(if is_waited_for { owed } else { 0 });
}

/// A transaction was rolled back.
pub(super) fn aborted() {
    if IS_WAITED_FOR.replace(false) {
        if let Some(callbacks) = CALLBACKS.get() {
            (callbacks.end)();
        }
    }
    OWED.set(0);
    PREPARED.set(0);
    IS_IN_STATEMENT.set(false);
}

/// COMMIT PREPARED has succeeded, in a transaction that is still open. Its record is the last one of this process, or
/// before that.
pub fn prepared_was_committed() {
    // SAFETY: a plain global of this process.
    PREPARED.set(unsafe { pg_sys::XactLastRecEnd });
}

/// A utility statement begins; returns what [`leave_statement`] is to be told. CALL and DO commit as their client wants.
/// No statement commits inside a subtransaction.
pub fn enter_statement(tag: pg_sys::NodeTag) -> bool {
    let before = IS_IN_STATEMENT.get();
    // SAFETY: reads this process's transaction state.
    if unsafe { pg_sys::GetCurrentTransactionNestLevel() } == 1 {
        let runs_code = matches!(tag, pg_sys::NodeTag::T_CallStmt | pg_sys::NodeTag::T_DoStmt);
        IS_IN_STATEMENT.set(!runs_code);
    }
    before
}

/// It has ended. After an error this is not called: the transaction is rolled back, or it was a subtransaction.
pub fn leave_statement(before: bool) {
    IS_IN_STATEMENT.set(before);
}

/// True in a process that serves a client's statements.
fn is_client() -> bool {
    // SAFETY: plain globals of this process.
    unsafe {
        pg_sys::IsUnderPostmaster
            && pg_sys::MyBackendType == pg_sys::BackendType::B_BACKEND
            && !pg_sys::am_walsender
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    is_commit: bool,
    is_top_level: bool,
    _argument: *mut std::ffi::c_void,
) {
    let is_last = phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS;
    // It is called for each owner of resources; the locks are released before the first.
    if is_last && is_commit && is_top_level && IS_WAITED_FOR.get() {
        if let Some(callbacks) = CALLBACKS.get() {
            (callbacks.wait)(OWED.take());
        }
        IS_WAITED_FOR.set(false);
    }
}

/// Flushes the WAL up to here, of a transaction with synchronous_commit = off.
pub fn flush(lsn: u64) {
    // SAFETY: the record was inserted by this process.
    unsafe { pg_sys::XLogFlush(lsn) }
}

/// Why a wait ends before its time.
pub enum Interruption {
    /// The session ends when the commit is cleaned up. Its client is sent nothing more after [`send_no_more`].
    Termination,
    /// A query cancel, which is forgotten with this, unless a CALL or DO has committed: that is cancelled at its next look.
    /// (statement_timeout ends before COMMIT; in CALL and DO it is one.)
    Cancel,
}

/// What has arrived meanwhile.
pub fn interruption() -> Option<Interruption> {
    // SAFETY: this process's own variables, which its signal handlers set.
    unsafe {
        if pg_sys::ProcDiePending != 0 {
            return Some(Interruption::Termination);
        }
        if pg_sys::QueryCancelPending != 0 {
            // A client's COMMIT takes effect after its portal has run.
            if pg_sys::ActivePortal.is_null() {
                pg_sys::QueryCancelPending = 0;
            }
            return Some(Interruption::Cancel);
        }
    }
    None
}

/// The client must not take the commit for acknowledged.
pub fn send_no_more() {
    // SAFETY: this process's own variable.
    unsafe { pg_sys::whereToSendOutput = pg_sys::CommandDest::DestNone }
}

/// Before each look at what is waited for: what comes after it ends the [`sleep`].
pub fn reset_latch() {
    // SAFETY: this process's own latch.
    unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) }
}

/// Does what the whole cluster waits for before a database or tablespace is dropped or moved (WaitForProcSignalBarrier): it
/// closes the files of relations. That raises no error, and is done although interrupts are held.
pub fn absorb_barriers() {
    // SAFETY: this process's own variable; the function may be called wherever interrupts can be processed.
    unsafe {
        if pg_sys::ProcSignalBarrierPending != 0 {
            pg_sys::ProcessProcSignalBarrier();
        }
    }
}

/// Sleeps until the latch is set, at most `longest`. False if the postmaster is gone: then this session ends too.
pub fn sleep(longest: Duration) -> bool {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_POSTMASTER_DEATH;
    let milliseconds = longest.as_millis().max(1) as std::ffi::c_long;
    // SAFETY: this process's own latch and variables.
    unsafe {
        let woken = pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            milliseconds,
            EVENT.0.load(Ordering::Relaxed),
        );
        let is_postmaster_gone = woken as u32 & pg_sys::WL_POSTMASTER_DEATH != 0;
        if is_postmaster_gone {
            pg_sys::ProcDiePending = 1;
        }
        !is_postmaster_gone
    }
}

/// The wait as pg_stat_activity shows it.
pub static EVENT: WaitEvent = WaitEvent(AtomicU32::new(pg_sys::PG_WAIT_EXTENSION));

/// A number of wait_event: with a name of its own from 17 on, otherwise that of all extensions.
pub struct WaitEvent(AtomicU32);

impl Area for WaitEvent {
    fn request(&self) {}

    unsafe fn start_up(&self) {
        // Here, because it could raise an error later.
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        // SAFETY: by the caller's promise the server's shared memory is there, and nobody else is.
        self.0.store(
            unsafe { pg_sys::WaitEventExtensionNew(c"PgIncrbackupSync".as_ptr()) },
            Ordering::Relaxed,
        );
    }
}

/// The title of this process in ps, while it waits.
pub struct Title(CString);

/// Adds the wait to the title; [`Title::restore`] takes it away.
pub fn show_title() -> Title {
    let mut length = 0;
    // SAFETY: PostgreSQL's own text, of so many bytes; the new one is copied.
    unsafe {
        let start = pg_sys::get_ps_display(&raw mut length).cast::<u8>();
        let before = std::slice::from_raw_parts(start, usize::try_from(length).unwrap_or(0));
        let title = Title(CString::new(before).unwrap_or_default());
        let waiting = [before, b" waiting for pg_incrbackup"].concat();
        let waiting = CString::new(waiting).unwrap_or_default();
        pg_sys::set_ps_display(waiting.as_ptr());
        title
    }
}

impl Title {
    pub fn restore(&self) {
        // SAFETY: NUL-terminated, and copied.
        unsafe { pg_sys::set_ps_display(self.0.as_ptr()) }
    }
}
