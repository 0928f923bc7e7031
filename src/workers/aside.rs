//! A database cannot be dropped, renamed, moved or copied while a worker is connected to it, so the utility
//! hook makes the workers step aside for the duration of such a command.
//!
//! Nothing is lost in the meantime: the slot retains the WAL.

use pgrx::prelude::*;

use super::{end_others, has_slot, terminate_and_wait, wake_launcher};
use crate::status;

/// Terminates the capture worker of `database`, and all others that are connected to it, and keeps capture
/// away until [`resume`], or until this backend exits. Returns when they have exited; raises an error
/// otherwise.
pub fn step_aside(database: pg_sys::Oid) {
    end_others(database);
    if !has_slot(database) {
        return;
    }
    let me = std::process::id() as i32;
    let pid = status::update(database, |entry| {
        entry.aside_for = me;
        entry.pid
    });
    // Once more: none is started from now on.
    let globals = status::read(database).map_or(0, |entry| entry.globals.pid);
    let is_globals_gone = terminate_and_wait(globals);
    let is_capture_gone = pid.is_none_or(terminate_and_wait);
    if !is_globals_gone || !is_capture_gone {
        resume(database);
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "could not stop a pg_incrbackup worker of this database",
            "Try again; SELECT * FROM incr_status() shows what it is doing."
        );
    }
}

/// The command has ended, successfully or not: the worker may run again.
pub fn resume(database: pg_sys::Oid) {
    status::update(database, |entry| entry.aside_for = 0);
    wake_launcher();
}
