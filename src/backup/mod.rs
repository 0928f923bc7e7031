//! Base backups: full dumps that join the stream of increments, and the setup that makes the first.
//!
//! A base worker (`job`) does the work in a process of its own; everybody else starts one and looks
//! at the status board. `base` makes one base out of a snapshot (`pg::snapshot`), a dump (`dump`,
//! `contents`, without what `leave_out` says) and the database's properties; `setup` makes the slot and the chain around the first. `globals` writes
//! what concerns roles, tablespaces and the database itself whenever it changes, in a worker of its own.
//! `heal` begins a base where something was lost; `schedule` says when one is due otherwise, `expiry` has removed what retention no longer keeps.

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
mod properties;
pub mod schedule;
mod scratch_settings;
mod setup;
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

/// How a chain ends that nobody misses.
pub const TORN_DOWN: &str = "incr_teardown() dropped the slot";

/// The launcher's memory of when each database's newest base was taken, as its files said at a look. Those that came
/// since are newer: where none is due after it, none is due.
#[derive(Default)]
pub struct NewestBases(HashMap<u32, Time>);

/// Starts a scheduled base of `database` when one is due, or when the last one failed long enough ago. When
/// one was last made, the files say: a server that was down at its time makes one base when it is back.
/// For the launcher, twice a minute or so; needs neither a database nor a transaction.
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
    if entry.base.pid != 0 || entry.held || !entry.broken.is_empty() {
        return;
    }
    let Ok(Some(chain)) = place::latest_chain(database) else {
        return;
    };
    // The first base of a chain is setup's.
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
        failure.log(PgLogLevel::LOG);
    }
}
