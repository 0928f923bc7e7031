//! The base worker's entry of the status board.

use std::path::Path;

use archive::time;

use super::dump::Progress;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status::{self, BasePhase, BaseStatus};
use crate::workers;

/// Claims the base worker's entry for `pid`, the process that is about to start one: there are never two at
/// once. The number distinguishes this base from others; `None` if a base is in progress or the board is
/// full.
pub fn claim(database: pgrx::pg_sys::Oid, pid: i32, is_setup: bool) -> Option<u64> {
    let current = status::read(database).unwrap_or_default().base;
    let is_stale = current.pid != 0 && !current.is_running();
    status::update(database, |entry| {
        if entry.base.pid != 0 && !(is_stale && entry.base.pid == current.pid) {
            return None;
        }
        entry.base = BaseStatus {
            pid,
            is_claimed: true,
            is_setup,
            phase: BasePhase::Starting,
            number: entry.base.number + 1,
            failures: entry.base.failures,
            started_at: time::now().timestamp_micros(),
            ..BaseStatus::default()
        };
        Some(entry.base.number)
    })
    .flatten()
}

/// Releases a claim if no worker could be started.
pub fn release(database: pgrx::pg_sys::Oid, number: u64) {
    status::update_existing(database, |entry| {
        if entry.base.number == number {
            entry.base.pid = 0;
            entry.base.is_claimed = false;
            entry.base.phase = BasePhase::Idle;
        }
    });
}

/// The worker takes over the claim, before it connects. False where it must not: a command requires exclusive use of
/// the database, and this job has failed.
pub fn begin(database: pgrx::pg_sys::Oid) -> bool {
    let may_connect = workers::may_connect(database, |entry, me| {
        entry.base.pid = me;
        entry.base.is_claimed = false;
    });
    if !may_connect {
        status::update_existing(database, |entry| {
            let base = &mut entry.base;
            base.pid = 0;
            base.is_claimed = false;
            base.phase = BasePhase::Failed;
            base.finished_at = time::calendar().timestamp_micros();
            base.error
                .set("another command requires exclusive use of the database");
            base.hint.set("Try again when it has finished.");
            base.error_code = pgrx::PgSqlErrorCode::ERRCODE_OBJECT_IN_USE as i32;
        });
    }
    may_connect
}

pub fn enter(phase: BasePhase) {
    update(|base| base.phase = phase);
}

pub fn wait_for(what: &str) {
    update(|base| base.waiting_for.set(what));
}

pub fn identities_set(count: usize) {
    update(|base| base.identities = count as u32);
}

/// How many tables there are to dump.
pub fn tables(count: u32) {
    update(|base| base.tables = count);
}

pub fn dumping_to(path: &Path) {
    update(|base| {
        base.phase = BasePhase::Dumping;
        (base.bytes, base.tables_done) = (0, 0);
        base.path.set(&path.display().to_string());
    });
}

pub fn note(progress: Progress) {
    match progress {
        Progress::DefinitionsRead | Progress::Bytes(0) => {}
        Progress::Table => update(|base| base.tables_done += 1),
        Progress::Bytes(count) => update(|base| base.bytes += count as u64),
    }
}

/// The job has ended.
pub fn end(outcome: &Result<(), Failure>) {
    crate::offsite::want(server::my_database());
    // A setup that failed after it had dropped the slot.
    workers::resume(server::my_database());
    update(|base| {
        base.finished_at = time::calendar().timestamp_micros();
        base.waiting_for.set("");
        match outcome {
            Ok(()) => {
                base.phase = BasePhase::Done;
                base.failures = 0;
            }
            Err(failure) => {
                base.failures = base.failures.saturating_add(1);
                base.phase = BasePhase::Failed;
                base.error.set(&failure.in_full());
                base.hint.set(failure.hint.as_deref().unwrap_or_default());
                base.error_code = failure.code as i32;
            }
        }
        base.pid = 0;
    });
}

/// The process exits: if no result was reported, it was stopped.
pub fn leave() {
    update(|base| {
        if base.pid == std::process::id() as i32 {
            base.pid = 0;
            base.phase = BasePhase::Failed;
            base.failures = base.failures.saturating_add(1);
            base.finished_at = time::calendar().timestamp_micros();
            base.error.set("the base backup worker was stopped");
            base.error_code = pgrx::PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as i32;
        }
    });
}

fn update(change: impl FnOnce(&mut BaseStatus)) {
    status::update_existing(workers::served_database(), |entry| change(&mut entry.base));
}
