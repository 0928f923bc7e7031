//! The hooks on utility statements, executor start and transaction ends.
//!
//! A statement is executed exactly as without us: PostgreSQL's own code (or the previous hook) is called
//! directly, between two guarded halves, from a function that holds no value with a destructor. Therefore an
//! error goes straight to PostgreSQL's handler and keeps what pgrx's boundary would discard (cursor position,
//! constraint and column names, context). In exchange, the second half is not executed then, so state that is
//! kept across a statement must be discarded when the (sub)transaction ends, see
//! [`Callbacks::transaction_ended`] and [`Callbacks::subtransaction_aborted`].

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use pgrx::prelude::*;

use super::statement::Statement;
use crate::pg::server::commit_wait;

/// Callbacks of the features around statements.
pub struct Callbacks {
    /// Called before a utility statement; returns a number for `after_utility`, 0 if it need not be called.
    pub before_utility: fn(&Statement) -> u64,
    /// Called after a utility statement that succeeded, with the number from before.
    pub after_utility: fn(u64),
    /// Called when the executor starts, with the relations whose rows are updated or deleted.
    pub checks_updates: fn() -> bool,
    pub before_update: fn(pg_sys::Oid),
    /// A transaction is going to be committed or prepared, and may still write. An error rolls it back.
    pub before_commit: fn(),
    /// A transaction has ended (`true`: it was committed or prepared). It must not raise, nor call what may: after a
    /// commit, an error is a PANIC of the server.
    pub transaction_ended: fn(bool),
    /// The subtransaction at this nesting level was rolled back.
    pub subtransaction_aborted: fn(i32),
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();
static mut PREVIOUS_UTILITY: pg_sys::ProcessUtility_hook_type = None;
static mut PREVIOUS_START: pg_sys::ExecutorStart_hook_type = None;

extern "C-unwind" {
    // Declared here because pgrx's own declaration uses its boundary.
    #[link_name = "standard_ProcessUtility"]
    fn raw_standard_process_utility(
        pstmt: *mut pg_sys::PlannedStmt,
        source: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
    #[link_name = "standard_ExecutorStart"]
    fn raw_standard_executor_start(query: *mut pg_sys::QueryDesc, flags: i32);
}

/// Installs the hooks. Only while shared_preload_libraries is processed, once.
pub fn install(callbacks: Callbacks) {
    if CALLBACKS.set(callbacks).is_err() {
        return;
    }
    // SAFETY: single-threaded postmaster; the functions below follow the hooks' signatures.
    unsafe {
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        PREVIOUS_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_event), std::ptr::null_mut());
    }
}

/// Only plain values in this function: an error below jumps over it.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    pstmt: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the arguments are PostgreSQL's own, handed on unchanged.
    let number = unsafe { before_utility(pstmt, source, context) };
    // SAFETY: the tree is valid for the length of the statement.
    let before = commit_wait::enter_statement(unsafe { (*(*pstmt).utilityStmt).type_ });
    // SAFETY: set once before any backend was forked; the call is PostgreSQL's usual one.
    unsafe {
        match PREVIOUS_UTILITY {
            Some(previous) => previous(
                pstmt,
                source,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            ),
            None => raw_standard_process_utility(
                pstmt,
                source,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            ),
        }
    }
    commit_wait::leave_statement(before);
    if number != 0 {
        // SAFETY: as above.
        unsafe { after_utility(number) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn before_utility(
    pstmt: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> u64 {
    let Some(callbacks) = CALLBACKS.get() else {
        return 0;
    };
    // SAFETY: both pointers are valid for the length of the statement, longer than this call.
    let statement = unsafe { Statement::new(pstmt, source, context) };
    (callbacks.before_utility)(&statement)
}

#[pg_guard]
unsafe extern "C-unwind" fn after_utility(number: u64) {
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.after_utility)(number);
    }
}

/// As in `process_utility`: only plain values in this function.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the arguments are PostgreSQL's own, handed on unchanged.
    unsafe {
        before_start(query, flags);
        match PREVIOUS_START {
            Some(previous) => previous_start(previous, query, flags),
            None => raw_standard_executor_start(query, flags),
        }
    }
}

type StartHook = unsafe extern "C-unwind" fn(*mut pg_sys::QueryDesc, i32);

unsafe fn previous_start(hook: StartHook, query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the caller hands on what PostgreSQL gave it.
    unsafe { hook(query, flags) }
}

#[pg_guard]
unsafe extern "C-unwind" fn before_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    let Some(callbacks) = CALLBACKS.get() else {
        return;
    };
    if flags as u32 & pg_sys::EXEC_FLAG_EXPLAIN_ONLY != 0 || !(callbacks.checks_updates)() {
        return;
    }
    // SAFETY: the query was planned by PostgreSQL and outlives this call.
    for relation in unsafe { super::identity::updated_relations((*query).plannedstmt) } {
        (callbacks.before_update)(relation);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let committed = match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => true,
        XACT_EVENT_ABORT => false,
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            if let Some(callbacks) = CALLBACKS.get() {
                (callbacks.before_commit)();
            }
            return;
        }
        _ => return,
    };
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.transaction_ended)(committed);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    _id: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: reads this process's transaction state.
            (callbacks.subtransaction_aborted)(unsafe { pg_sys::GetCurrentTransactionNestLevel() });
        }
    }
}
