//! Removes files that retention does not keep: in the base worker after each base, in a worker of its own
//! once a day, and in `incr_expire()`.
//!
//! The state is in the files alone, so nothing is lost with the status board. It waits for a restore or a
//! check that reads the archive.

use std::time::{Duration, Instant};

use archive::expiry::{self, Row};
use archive::time;
use pgrx::prelude::*;

use crate::figures::pretty_bytes;
use crate::pg::ddl;
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals, title};
use crate::status::{self, ExpiryStatus};
use crate::{place, settings, workers};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// While the archive is being read, and the maximum after failures.
const RETRY: Duration = Duration::from_secs(600);
/// The compression of a file, too, keeps others out of the archive, but only for a moment.
const BRIEF: Duration = Duration::from_secs(2);
/// Somebody's turn to remove is not waited for longer than this.
const LONGEST_TURN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// After the first failure, doubled after each further one: a disk may be available again soon, and health
/// should report that.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The files of this database that would be removed now, or have been.
pub fn rows(database: pg_sys::Oid, dry_run: bool) -> Result<Vec<Row>, Failure> {
    let (rules, now) = (settings::retention(), time::calendar());
    if dry_run {
        return match place::find(database)? {
            Some(found) => Ok(expiry::look(&found, &rules, now)?),
            None => Ok(Vec::new()),
        };
    }
    let Some(owned) = place::own(database)? else {
        return Ok(Vec::new());
    };
    let asked = Instant::now();
    let mut begun = None;
    let rows = loop {
        // After a while the archive itself says who is in the way.
        if let Some(_remover) = Remover::begin(database, asked.elapsed() > LONGEST_TURN) {
            let begun: &Instant = begun.get_or_insert_with(Instant::now);
            match expiry::expire(&owned, &rules, now, &mut || owned.look_for_interrupts()) {
                Err(archive::Error::InUse { .. }) if begun.elapsed() < BRIEF => {}
                result => break result?,
            }
        }
        server::wait_a_moment(POLL);
    };
    note_gone(&rows);
    update(database, |expiry| {
        expiry.done_at = now.timestamp_micros();
        expiry.is_wanted = false;
        expiry.not_before = 0;
        expiry.failures = 0;
        expiry.error.set("");
    });
    Ok(rows)
}

/// One process removes at a time: without this, what a base makes superfluous would wait for the next turn because
/// the daily worker had just begun.
struct Remover(pg_sys::Oid);

impl Remover {
    /// `None` while another process removes, unless that is no reason.
    fn begin(database: pg_sys::Oid, is_forced: bool) -> Option<Remover> {
        let own = std::process::id() as i32;
        let is_taken = status::is_there().then(|| {
            status::update_existing(database, |entry| {
                // A process that ended with FATAL has left its id.
                let other = entry.expiry.pid;
                let is_taken = other != 0 && other != own && server::is_backend_alive(other);
                if !is_taken || is_forced {
                    entry.expiry.pid = own;
                }
                is_taken && !is_forced
            })
        });
        let is_free = is_taken.flatten() != Some(true);
        is_free.then(|| Remover(database))
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        let own = std::process::id() as i32;
        update(self.0, |expiry| {
            if expiry.pid == own {
                expiry.pid = 0;
            }
        });
    }
}

/// Removes expired files. Nobody waits for the result, so a failure is logged and reported by health.
pub fn run(database: pg_sys::Oid) {
    let Err(failure) = rows(database, false) else {
        return;
    };
    let is_in_use = failure.code == PgSqlErrorCode::ERRCODE_OBJECT_IN_USE;
    update(database, |expiry| {
        expiry.is_wanted = true;
        let mut wait = RETRY;
        if !is_in_use {
            wait = workers::doubled(FIRST_RETRY, expiry.failures, RETRY);
            expiry.failures = expiry.failures.saturating_add(1);
            expiry.error.set(&failure.in_full());
        }
        expiry.not_before = time::now().timestamp_micros() + wait.as_micros() as i64;
    });
    failure.log(if is_in_use {
        PgLogLevel::LOG
    } else {
        PgLogLevel::WARNING
    });
}

/// Removes rows of ddl_history that are older than keep_incremental: the files contain the same information,
/// or did before they expired. In a transaction of this database.
pub fn prune_ddl_history() {
    let Some(kept) = settings::retention().keep_incremental else {
        return;
    };
    let before = time::calendar() - kept;
    let removed = ddl::ddl_history::prune(before.timestamp_micros());
    if removed > 0 {
        title::log(&format!(
            "removed {removed} rows of ddl_history that are older than keep_incremental"
        ));
    }
}

/// Starts a worker if a day has passed since the last one. For the launcher.
pub fn start_if_due(database: pg_sys::Oid) {
    let entry = status::read(database).unwrap_or_default();
    let is_running = |pid: i32| pid != 0 && server::is_backend_alive(pid);
    if is_running(entry.expiry.pid) || entry.base.is_running() {
        return;
    }
    let since = time::calendar().timestamp_micros() - entry.expiry.done_at;
    let is_done = !entry.expiry.is_wanted && (0..DAY.as_micros() as i64).contains(&since);
    if is_done || entry.expiry.not_before > time::now().timestamp_micros() {
        return;
    }
    let worker = workers::of_kind("expiry", database).load_dynamic();
    // If no worker slot is free, the next pass retries; a worker that exits without a result is not restarted
    // immediately.
    if worker.is_ok() {
        update(database, |expiry| {
            expiry.not_before = time::now().timestamp_micros() + RETRY.as_micros() as i64;
        });
    }
}

/// Not connected to any database, so it does not block DROP DATABASE.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_expiry_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    signals::end_on_sigterm();
    workers::connect(None);
    run(database);
}

fn note_gone(rows: &[Row]) {
    let gone = rows.iter().filter(|row| row.expires);
    let (count, bytes) = gone.fold((0, 0), |(count, bytes), row| (count + 1, bytes + row.bytes));
    if count > 0 {
        title::log(&format!(
            "removed {count} expired files and base backups ({})",
            pretty_bytes(bytes)
        ));
    }
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut ExpiryStatus)) {
    if status::is_there() {
        status::update_existing(database, |entry| change(&mut entry.expiry));
    }
}
