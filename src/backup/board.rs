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
        let was_done = entry.base.phase == BasePhase::Done;
        entry.base = BaseStatus {
            done_before: if was_done { entry.base.number } else { 0 },
            identities_before: entry.base.identities,
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

/// For a lock of a table, and for whom; InvalidOid when it is there.
pub fn wait_for_lock_of(table: pgrx::pg_sys::Oid, text: &str) {
    update(|base| {
        base.locked_table = table.to_u32();
        base.waiting_for.set(text);
    });
}

pub fn identities_set(count: usize) {
    update(|base| base.identities = count as u32);
}

/// This setup has made or dropped the slot: if it fails from now on, it is not as if it had been refused.
pub fn slot_is_changed() {
    update(|base| base.has_changed_slot = true);
}

/// How many tables there are to dump, and how large they are.
pub fn tables(count: u32, bytes: u64) {
    update(|base| (base.tables, base.total_bytes) = (count, bytes));
}

pub fn dumping_to(path: &Path) {
    update(|base| {
        base.phase = BasePhase::Dumping;
        base.bytes = 0;
        begin_reading(base);
        base.path.set(&path.display().to_string());
    });
}

/// The rows of all tables are about to be read, from the server or from what pg_dump has written.
fn begin_reading(base: &mut BaseStatus) {
    (base.tables_done, base.begun_bytes, base.current_bytes) = (0, 0, 0);
    base.reading_since = time::now().timestamp_micros();
}

/// What pg_dump has written is about to be converted to the base's format.
pub fn converting() {
    update(|base| {
        base.phase = BasePhase::Converting;
        begin_reading(base);
    });
}

/// So many bytes of text more were written, in which the rows of tables of these sizes begin. Of the last one at most as
/// much is done as there is text since then.
pub fn converted(begun: impl Iterator<Item = u64>, text: usize) {
    let (count, bytes, last) = begun.fold((0, 0, None), |(count, bytes, _), size| {
        (count + 1, bytes + size, Some(size))
    });
    update(|base| {
        base.tables_done += count;
        base.begun_bytes += bytes;
        base.current_bytes = match last {
            Some(size) => size,
            None => base.current_bytes.saturating_sub(text as u64),
        };
    });
}

pub fn note(progress: Progress) {
    match progress {
        Progress::DefinitionsRead | Progress::Bytes(0) => {}
        Progress::Table(bytes) => update(|base| {
            base.tables_done += 1;
            base.begun_bytes += bytes;
        }),
        // No view of PostgreSQL says how many of them have been read.
        Progress::LargeObjects(bytes) => update(|base| {
            base.begun_bytes += bytes;
            base.current_bytes = bytes;
        }),
        Progress::Bytes(count) => update(|base| {
            base.bytes += count as u64;
            base.current_bytes = base.current_bytes.saturating_sub(count as u64);
        }),
    }
}

/// The job has ended.
pub fn end(outcome: &Result<(), Failure>) {
    crate::offsite::want(server::my_database());
    // A setup that failed after it had dropped the slot.
    workers::resume(server::my_database());
    update(|base| {
        base.finished_at = time::calendar().timestamp_micros();
        wait_no_longer(base);
        match outcome {
            Ok(()) => {
                base.phase = BasePhase::Done;
                base.failures = 0;
            }
            Err(failure) => {
                fail(base);
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
            fail(base);
            base.finished_at = time::calendar().timestamp_micros();
            wait_no_longer(base);
            base.error.set("the base backup worker was stopped");
            base.error_code = pgrx::PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as i32;
        }
    });
}

fn fail(base: &mut BaseStatus) {
    base.phase = BasePhase::Failed;
    if !base.is_refused_setup() {
        base.failures = base.failures.saturating_add(1);
    }
}

fn wait_no_longer(base: &mut BaseStatus) {
    base.locked_table = 0;
    base.waiting_for.set("");
}

fn update(change: impl FnOnce(&mut BaseStatus)) {
    status::update_existing(workers::served_database(), |entry| change(&mut entry.base));
}
