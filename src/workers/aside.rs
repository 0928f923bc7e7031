//! A database cannot be dropped, renamed, moved or copied while a worker is connected to it, so the
//! utility hook asks the workers to step aside for the time of such a command.
//!
//! A worker may be registered and not started yet when it is asked. So each puts its process id on the board before it
//! connects, and looks in the same update whether somebody needs the database: either who asks finds it there, and
//! ends it, or it finds that it was asked, and does not connect.
//!
//! Nothing is lost meanwhile: the slot keeps the WAL.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::prelude::*;

use super::{end_others, terminate_and_wait, wake_launcher};
use crate::status::{self, DatabaseStatus};

/// The database that this worker serves, also while it is not connected yet.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// The database whose worker this process is, from [`may_connect`] on.
pub fn served_database() -> pg_sys::Oid {
    pg_sys::Oid::from(SERVED.load(Ordering::Relaxed))
}

/// To be called by a worker before it connects to `database`; `announce` puts the process id, which it is given, on the
/// board. False, and nothing was announced, where the worker must not connect.
pub fn may_connect(database: pg_sys::Oid, announce: impl FnOnce(&mut DatabaseStatus, i32)) -> bool {
    SERVED.store(database.to_u32(), Ordering::Relaxed);
    let me = std::process::id() as i32;
    let is_free = status::update(database, |entry| {
        let is_free = entry.aside_for == 0;
        if is_free {
            announce(entry, me);
        }
        is_free
    });
    is_free == Some(true)
}

/// Ends the workers that are connected to `database`, and keeps them away until [`resume`], or until this backend ends.
/// Returns when they are gone; raises when capture does not end.
pub fn step_aside(database: pg_sys::Oid) {
    let me = std::process::id() as i32;
    let capture = status::update_existing(database, |entry| {
        entry.aside_for = me;
        entry.pid
    });
    end_others(database);
    if !terminate_and_wait(capture.unwrap_or(0)) {
        resume(database);
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "a pg_incrbackup worker of this database does not end",
            "Try again; SELECT * FROM incr_status() shows what it does."
        );
    }
}

/// The command is over, for good or not: the workers may run again. Somebody else may need the database by now.
pub fn resume(database: pg_sys::Oid) {
    let me = std::process::id() as i32;
    status::update_existing(database, |entry| {
        if entry.aside_for == me {
            entry.aside_for = 0;
        }
    });
    wake_launcher();
}
