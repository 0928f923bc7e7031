//! A database cannot be dropped, renamed, moved or copied while a worker is connected to it, so the
//! utility hook asks the capture worker to step aside for the time of such a command.
//!
//! Nothing is lost meanwhile: the slot keeps the WAL.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::launcher::has_slot;
use crate::backup::place;
use crate::pg::server;
use crate::{backup, settings, status};

const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Ends the capture worker of `database`, and a base backup in progress, and keeps the worker away
/// until [`come_back`], or until this backend ends. Returns when they are gone; raises when not.
pub fn step_aside(database: pg_sys::Oid) {
    backup::stop(database);
    if !has_slot(database) {
        return;
    }
    let me = std::process::id() as i32;
    let pid = status::update(database, |entry| {
        entry.aside_for = me;
        entry.pid
    });
    // Once more: none is started from here on.
    backup::stop_globals(database);
    if !pid.is_none_or(has_ended) {
        come_back(database);
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "the pg_incrbackup capture worker of this database does not end",
            "Try again; SELECT * FROM incr_status() shows what it does."
        );
    }
}

/// Ends the capture worker of `pid`, if there is one. False when it does not end in time.
pub fn has_ended(pid: i32) -> bool {
    if pid == 0 {
        return true;
    }
    server::terminate(pid);
    let start = Instant::now();
    // The process, not its word on the board: it holds the slot until its very end.
    while server::is_backend_alive(pid) {
        if start.elapsed() > LONGEST_WAIT {
            return false;
        }
        server::wait_a_moment(Duration::from_millis(20));
    }
    true
}

/// The command is over, for good or not: the worker may run again.
pub fn come_back(database: pg_sys::Oid) {
    status::update(database, |entry| entry.aside_for = 0);
    super::wake_launcher();
}

/// The database is gone, and its slot with it: nothing follows in its chain.
pub fn database_dropped(database: pg_sys::Oid) {
    let noted = match settings::directory() {
        Some(_) => place::end_chain(database, "the database was dropped"),
        None => Ok(()),
    };
    if let Err(failure) = noted {
        let error = failure.in_full();
        warning!(
            "pg_incrbackup: could not note the end of the chain of a dropped database: {error}"
        );
    }
    status::forget(database);
    super::wake_launcher();
}
