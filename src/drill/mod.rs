//! Drills: automatic restore tests.
//!
//! A drill restores the newest chain with the program `pg_incrbackup` into a scratch database, up to a point that is
//! known on both sides, and compares definitions and rows with the source at that point. Then it checks every
//! file of the archive. The result is recorded in the archive.
//!
//! `job` is the worker, `restore` the main part; `moment` determines the point of comparison, under the fence
//! that base backups use; `target` is the target server, where drills take a `turn`, and `scratch` the database there. By default that is
//! a `throwaway` server, on which a `restorer` without privileges restores; `unmade` is what such a role
//! cannot create. `contents` and `definitions` are compared; `program` runs the restore, `client` all programs. Nothing of the
//! source is changed, and nothing in the archive except the drill's own two files.

mod board;
mod clean_up;
mod client;
mod contents;
mod definitions;
mod job;
mod moment;
mod program;
mod restore;
mod restorer;
mod scratch;
mod source_server;
mod target;
mod throwaway;
mod turn;
mod unmade;

use std::collections::HashMap;

use archive::drills::{self, Drill, Outcome};
use archive::time::{self, Time};
use pgrx::prelude::*;

pub use self::board::release;
pub use self::clean_up::CleanUp;
pub use self::job::{start, Started};
pub use self::target::ensure_no_password;

use crate::backup::schedule::{self, Spread};
use crate::pg::failure::Failure;
use crate::{place, settings, status};

/// The application name of the worker and of its programs' sessions.
pub const NAME: &str = "pg_incrbackup drill";

/// Every recorded drill of this database, oldest first.
pub fn records(database: pg_sys::Oid) -> Result<Vec<Drill>, Failure> {
    match place::find(database)? {
        Some(found) => Ok(drills::read(&found)?),
        None => Ok(Vec::new()),
    }
}

/// The launcher's memory of each database's last drill that was made, as the records said at a look, or of its chain's
/// start. A later one is newer: where none is due after it, none is due.
#[derive(Default)]
pub struct LastDrills(HashMap<u32, Time>);

/// Starts a scheduled drill of `database` when one is due: once after each moment of the schedule, and again
/// where it could not be made. For the launcher.
pub fn start_if_due(database: pg_sys::Oid, known: &mut LastDrills) {
    let Some(schedule) = settings::drill_schedule() else {
        return;
    };
    let now = time::calendar();
    let known = &mut known.0;
    let last = known.get(&database.to_u32());
    if last.is_some_and(|last| !schedule::due(&schedule, Spread::NONE, *last, now)) {
        return;
    }
    let entry = status::read(database).unwrap_or_default();
    if entry.is_suspended() || entry.base.is_running() || entry.drill.is_running() {
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
    known.insert(database.to_u32(), last);
    let not_made = records.iter().rev().take_while(|drill| !was_made(drill));
    let ended =
        |drill: &Drill| drill.started_at.timestamp_micros() + drill.duration_ms as i64 * 1000;
    let failed = schedule::Failed {
        times: not_made.count() as u32,
        since_micros: now.timestamp_micros() - records.last().map_or(0, ended),
    };
    if !schedule::due(&schedule, Spread::NONE, last, now) || failed.must_wait() {
        return;
    }
    if let Err(failure) = start(database, &settings::drill_conninfo()) {
        failure.log_of(database, PgLogLevel::LOG);
    }
}
