//! Drills: automatic restore tests.
//!
//! A drill restores the newest chain with its own `restore.sh` into a scratch database, up to a point that is
//! known on both sides, and compares definitions and rows with the source at that point. Then it checks every
//! file of the archive. The result is recorded in the archive.
//!
//! `job` is the worker, `restore` the main part; `moment` determines the point of comparison, under the fence
//! that base backups use; `target` is the target server, and `scratch` the database there. By default that is
//! a `throwaway` server, on which a `restorer` without privileges restores; `unmade` is what such a role
//! cannot create. `contents` and `definitions` are compared; `client` runs the programs. Nothing of the
//! source is changed, and nothing in the archive except the drill's own two files.

mod board;
mod client;
mod contents;
mod definitions;
mod job;
mod moment;
mod restore;
mod restorer;
mod scratch;
mod source_server;
mod target;
mod throwaway;
mod unmade;

use std::time::Duration;

use archive::drills::{self, Drill, Outcome};
use archive::time;
use pgrx::prelude::*;

pub use self::board::release;
pub use self::job::{start, Started};
pub use self::target::ensure_no_password;

use crate::backup::schedule;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::{place, settings, status};

/// Minimum and maximum delay before a failed removal of leftovers is retried.
const FIRST_CLEAN_UP_RETRY: Duration = Duration::from_secs(5);
const CLEAN_UP_RETRY: Duration = Duration::from_secs(600);

/// Every recorded drill of this database, oldest first.
pub fn records(database: pg_sys::Oid) -> Result<Vec<Drill>, Failure> {
    match place::find(database)? {
        Some(found) => Ok(drills::read(&found)?),
        None => Ok(Vec::new()),
    }
}

/// Starts a scheduled drill of `database` if one is due: once after each scheduled time, and again if it
/// could not run. For the launcher.
pub fn start_if_due(database: pg_sys::Oid) {
    let Some(schedule) = settings::drill_schedule() else {
        return;
    };
    let entry = status::read(database).unwrap_or_default();
    let is_alive = |pid: i32| pid != 0 && server::is_process_alive(pid);
    let is_away = entry.held || entry.aside_for != 0 || !entry.broken.is_empty();
    if is_away || is_alive(entry.base.pid) || is_alive(entry.drill.pid) {
        return;
    }
    let Ok(Some(chain)) = place::latest_chain(database) else {
        return;
    };
    let has_base = chain.bases().is_ok_and(|bases| !bases.is_empty());
    if chain.info.ended.is_some() || !has_base {
        return;
    }
    let Ok(records) = records(database) else {
        return;
    };
    let was_made = |drill: &&Drill| {
        use Outcome::{Failed, Passed, TimedOut};
        matches!(drill.outcome, Passed | Failed | TimedOut)
    };
    let last = records.iter().rev().find(was_made);
    let last = last.map_or(chain.info.started_at, |drill| drill.started_at);
    let not_made = records.iter().rev().take_while(|drill| !was_made(drill));
    let ended =
        |drill: &Drill| drill.started_at.timestamp_micros() + drill.duration_ms as i64 * 1000;
    let failed = schedule::Failed {
        times: not_made.count() as u32,
        since_micros: time::calendar().timestamp_micros() - records.last().map_or(0, ended),
    };
    if !schedule::due(&schedule, last, time::calendar()) || failed.must_wait() {
        return;
    }
    if let Err(failure) = start(database, &settings::drill_conninfo()) {
        failure.log(PgLogLevel::LOG);
    }
}

/// Starts workers that remove the leftovers of drills that crashed. For the launcher; also for dropped
/// databases.
pub fn tidy_where_needed() {
    // This does not create a directory: the archive may not be mounted yet.
    if !settings::directory().is_some_and(|path| path.is_dir()) {
        return;
    }
    let Ok(root) = place::root() else {
        return;
    };
    let ours = root.databases_of(server::system_identifier());
    for (oid, found) in ours.unwrap_or_default() {
        let Ok(Some(_)) = drills::begun(&found) else {
            continue;
        };
        let database = pg_sys::Oid::from(oid);
        // It may be running, on the server that owns the archive.
        if place::ensure_ours(database).is_err() {
            continue;
        }
        let drill = status::read(database).unwrap_or_default().drill;
        let is_alive = drill.pid != 0 && server::is_process_alive(drill.pid);
        if !is_alive && drill.not_before <= time::now().timestamp_micros() {
            job::start_tidying(database);
        }
    }
}
