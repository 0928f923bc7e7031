//! The drill worker's entry of the status board.

use archive::time;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::status::{self, DrillPhase, DrillStatus};
use crate::{preflight, workers};

/// Claims the drill worker's entry for `pid`: there are never two at once, and none while a base is in
/// progress. The number distinguishes this drill from others.
pub fn claim(database: pg_sys::Oid, pid: i32, conninfo: &str) -> Result<u64, Failure> {
    let current = status::read(database).unwrap_or_default();
    let stale_drill = current.drill.pid != 0 && !current.drill.is_running();
    let stale_base = current.base.pid != 0 && !current.base.is_running();
    let claimed = status::update(database, |entry| {
        if entry.drill.pid != 0 && !(stale_drill && entry.drill.pid == current.drill.pid) {
            return Err("a drill of this database is already in progress");
        }
        if entry.base.pid != 0 && !(stale_base && entry.base.pid == current.base.pid) {
            return Err("a base backup of this database is in progress");
        }
        let mut drill = DrillStatus {
            pid,
            is_claimed: true,
            phase: DrillPhase::Starting,
            number: entry.drill.number + 1,
            started_at: time::now().timestamp_micros(),
            lsn: 0,
            ..entry.drill
        };
        drill.conninfo.set(conninfo);
        entry.drill = drill;
        Ok(entry.drill.number)
    });
    let claimed = claimed.ok_or_else(preflight::no_room)?;
    claimed.map_err(|why| {
        Failure::new(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, why)
            .hint("SELECT * FROM incr_status() shows its progress.")
    })
}

/// Releases a claim if no worker could be started.
pub fn release(database: pg_sys::Oid, number: u64) {
    update(database, |drill| {
        if drill.number == number {
            drill.pid = 0;
            drill.is_claimed = false;
            drill.phase = DrillPhase::Idle;
        }
    });
}

/// The worker takes over the claim, before it connects; returns where it restores to. `None` if it must not connect: a
/// command needs the database for itself, and this drill has ended.
pub fn begin(database: pg_sys::Oid) -> Option<String> {
    let may_connect = workers::may_connect(database, |entry, me| take_over(&mut entry.drill, me));
    if may_connect {
        let entry = status::read(database).unwrap_or_default();
        return Some(entry.drill.conninfo.get());
    }
    update(database, |drill| {
        drill.recorded = 0;
        drill
            .error
            .set("another command requires exclusive use of the database");
        drill.is_claimed = false;
        finish(drill);
    });
    None
}

/// The same for a worker that connects to no database.
pub fn begin_cleaning_up(database: pg_sys::Oid) {
    workers::serve(database);
    update(database, |drill| {
        take_over(drill, std::process::id() as i32);
    });
}

/// It exits: if it reported no result, it was stopped.
pub fn leave_cleaning_up(database: pg_sys::Oid) {
    update(database, |drill| {
        if drill.pid == std::process::id() as i32 {
            drill.phase = DrillPhase::Idle;
            drill.pid = 0;
        }
    });
}

fn take_over(drill: &mut DrillStatus, me: i32) {
    drill.pid = me;
    drill.is_claimed = false;
}

pub fn enter(database: pg_sys::Oid, phase: DrillPhase) {
    enter_with_total(database, phase, 0);
}

/// The same of a phase in which so many bytes are to be read.
pub fn enter_with_total(database: pg_sys::Oid, phase: DrillPhase, total: u64) {
    update(database, |drill| {
        drill.phase = phase;
        begin_step(drill, "", total);
    });
}

fn begin_step(drill: &mut DrillStatus, step: &str, total: u64) {
    (drill.done_bytes, drill.total_bytes) = (0, total);
    drill.reading_since = time::now().timestamp_micros();
    drill.step.set(step);
}

/// So many bytes more are read.
pub fn advance(database: pg_sys::Oid, bytes: u64) {
    update(database, |drill| drill.done_bytes += bytes);
}

/// The restore has come this far in one of its steps.
pub fn restoring(database: pg_sys::Oid, step: &str, done: u64, total: u64) {
    update(database, |drill| {
        if drill.step.get() != step || done < drill.done_bytes {
            begin_step(drill, step, total);
        }
        (drill.done_bytes, drill.total_bytes) = (done, total);
    });
}

pub fn at(database: pg_sys::Oid, lsn: u64) {
    update(database, |drill| drill.lsn = lsn);
}

/// The drill has ended. `recorded` is the start time that identifies its record.
pub fn end(database: pg_sys::Oid, recorded: Result<i64, Failure>) {
    update(database, |drill| {
        drill.recorded = 0;
        drill.error.set("");
        match recorded {
            Ok(started_at) => drill.recorded = started_at,
            Err(failure) => drill.error.set(&failure.in_full()),
        }
        finish(drill);
    });
}

/// The process exits: if no result was reported, it was stopped.
pub fn leave(database: pg_sys::Oid) {
    update(database, |drill| {
        if drill.pid == std::process::id() as i32 {
            drill.recorded = 0;
            drill.error.set("the drill was stopped");
            finish(drill);
        }
    });
}

fn finish(drill: &mut DrillStatus) {
    drill.ended = drill.number;
    begin_step(drill, "", 0);
    drill.phase = DrillPhase::Idle;
    drill.pid = 0;
}

/// Leftovers were removed, or could not be for this reason and this is retried.
pub fn record_cleanup(database: pg_sys::Oid, outcome: Result<(), Failure>, not_before: i64) {
    update(database, |drill| {
        drill.left_error.set("");
        drill.not_before = 0;
        if let Err(failure) = outcome {
            drill.left_error.set(&failure.in_full());
            drill.not_before = not_before;
        }
        drill.phase = DrillPhase::Idle;
        drill.pid = 0;
    });
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut DrillStatus)) {
    status::update_existing(database, |entry| change(&mut entry.drill));
}
