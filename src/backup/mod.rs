//! Base backups: full dumps that join the increments, and the setup that takes the first one.
//!
//! A base worker (`job`) does the work in a separate process; everything else starts one and reads the status
//! board. `base` takes one base using a snapshot (`pg::snapshot`), a dump (`dump`, `contents`, without what
//! `leave_out` lists) and the database's properties; `setup` creates the slot and the chain around the first
//! one. `globals` writes roles, tablespaces and the database's properties whenever they change, in a worker
//! of its own. `heal` starts a base if something was lost; `schedule` decides when one is due otherwise,
//! `expiry` removes what retention does not keep.

mod base;
mod board;
pub mod contents;
pub mod dump;
pub mod expiry;
mod globals;
mod heal;
mod job;
pub mod leave_out;
pub mod preflight;
pub mod properties;
pub mod schedule;
mod scratch_settings;
mod setup;
pub mod sizes;
mod temporary;

use std::collections::HashMap;

use archive::time::{self, Time};
use pgrx::prelude::*;

pub use self::globals::{start_if_due as start_globals_if_due, Due};
pub use self::heal::{heal_if_due, want_healing};
pub use self::job::{start, Job, Started};
pub use self::scratch_settings::SCRATCH_PREFIX;
pub use self::setup::drop_slot;

use self::schedule::Failed;
use crate::{place, settings, status};

/// The end of a chain that was ended on purpose.
pub const TORN_DOWN: &str = "incr_teardown() dropped the slot";

/// The launcher's memory of when each database's newest base was taken, as its files said at a look. Those that came
/// since are newer: where none is due after it, none is due.
#[derive(Default)]
pub struct NewestBases(HashMap<u32, Time>);

/// Starts a scheduled base of `database` if one is due, or if the last one failed long enough ago. The time
/// of the last one is taken from the files: a server that was down at a scheduled time takes one base when it
/// is running again. For the launcher, about twice a minute; needs neither a database nor a transaction.
pub fn start_if_due(database: pg_sys::Oid, known: &mut NewestBases) {
    let Some(schedule) = settings::base_schedule() else {
        return;
    };
    let now = time::calendar();
    let known = &mut known.0;
    let last = known.get(&database.to_u32());
    if last.is_some_and(|last| !schedule::due(&schedule, *last, now)) {
        return;
    }
    let entry = status::read(database).unwrap_or_default();
    if entry.base.is_running() || entry.is_suspended() {
        return;
    }
    let Ok(Some(chain)) = place::latest_chain(database) else {
        return;
    };
    // setup takes the first base of a chain.
    let Some(newest) = chain
        .bases()
        .ok()
        .and_then(|bases| bases.last().map(|b| b.taken_at))
    else {
        return;
    };
    known.insert(database.to_u32(), newest);
    let failed = Failed {
        times: entry.base.failures,
        since_micros: now.timestamp_micros() - entry.base.finished_at,
    };
    let is_due = schedule::due(&schedule, newest, now) && !failed.must_wait();
    if chain.info.ended.is_some() || !is_due {
        return;
    }
    if let Err(failure) = start(database, Job::Base) {
        failure.log_of(database, PgLogLevel::LOG);
    }
}
