//! A database cannot be dropped, renamed, moved or copied while a worker is connected to it, so the utility
//! hook makes the workers step aside for the duration of such a command.
//!
//! A worker may be registered and not started yet when it is to step aside. So each puts its process id on the board
//! before it connects, and checks in the same update whether a session needs the database: either the session finds it
//! there and terminates it, or it does not connect.
//!
//! Nothing is lost in the meantime: the slot retains the WAL.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::prelude::*;

use super::{end_others, has_slot, terminate_and_wait, wake_launcher};
use crate::pg::server;
use crate::settings;
use crate::status::{self, DatabaseStatus};

/// The database of this worker, also before it has connected.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// The database whose worker this process is, from [`may_connect`] on.
pub fn served_database() -> pg_sys::Oid {
    pg_sys::Oid::from(SERVED.load(Ordering::Relaxed))
}

/// This process is a worker of `database`, which it may not be connected to.
pub fn serve(database: pg_sys::Oid) {
    SERVED.store(database.to_u32(), Ordering::Relaxed);
}

/// To be called by a worker before it connects to `database`; `announce` puts the process id, which it is given, on the
/// board. False, and nothing is announced, if the worker must not connect.
pub fn may_connect(database: pg_sys::Oid, announce: impl FnOnce(&mut DatabaseStatus, i32)) -> bool {
    serve(database);
    let me = std::process::id() as i32;
    let needed_by = status::read(database).map_or(0, |entry| entry.aside_for);
    // Its transaction, or its work, ended in an error.
    let is_stale = !server::is_process_alive(needed_by);
    let is_free = status::update(database, |entry| {
        if is_stale && entry.aside_for == needed_by {
            entry.aside_for = 0;
        }
        let is_free = entry.aside_for == 0;
        if is_free {
            announce(entry, me);
        }
        is_free
    });
    is_free == Some(true)
}

/// Terminates the workers that are connected to `database`, and keeps them away until [`resume`], or until this backend
/// exits. Returns when they have exited; raises an error if capture does not.
pub fn step_aside(database: pg_sys::Oid) {
    let me = std::process::id() as i32;
    let note = |entry: &mut DatabaseStatus| {
        entry.aside_for = me;
        entry.pid
    };
    // Shortly after a start it has no entry yet, nor has one that is about to be set up.
    let capture = if has_slot(database) || settings::databases().selects_any() {
        status::update(database, note)
    } else {
        status::update_existing(database, note)
    };
    end_others(database);
    if !terminate_and_wait(capture.unwrap_or(0)) {
        resume(database);
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "could not stop a pg_incrbackup worker of this database",
            "Try again; SELECT * FROM incr_status() shows what it is doing."
        );
    }
}

/// The command has ended, successfully or not: the workers may run again. Another session may need the database now.
pub fn resume(database: pg_sys::Oid) {
    let me = std::process::id() as i32;
    status::update_existing(database, |entry| {
        if entry.aside_for == me {
            entry.aside_for = 0;
        }
    });
    wake_launcher();
}
