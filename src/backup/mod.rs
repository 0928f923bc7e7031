//! Base backups: full dumps that join the increments, and the setup that takes the first one.
//!
//! A base worker (`job`) does the work in a separate process; everything else starts one and reads the status
//! board. `base` takes one base using a snapshot (`pg::snapshot`), a dump (`dump`, `contents`, without what
//! `leave_out` lists) and the database's properties; `setup` creates the slot and the chain around the first
//! one, after `identities` has given tables a replica identity; `prerequisites` are what it needs, and `preflight`
//! refuses without. `globals` writes roles, tablespaces and the database's properties whenever they change, in a
//! worker of its own, and dumps them only where `shared_catalogs` differ. `turn` limits how many databases are dumped at
//! the same time. `standbys` holds a base back that a standby lacks. `heal` starts a base if something was lost; `schedule` decides when one is due otherwise, `expiry`
//! removes what retention does not keep.

mod automatic;
mod base;
mod board;
pub mod connection;
pub mod contents;
pub mod dump;
pub mod expiry;
mod globals;
mod heal;
pub mod holders;
mod identities;
mod job;
pub mod leave_out;
pub mod preflight;
pub mod prerequisites;
pub mod properties;
pub mod schedule;
mod scratch_settings;
mod setup;
mod shared_catalogs;
pub mod sizes;
mod standbys;
mod temporary;
mod turn;

use std::collections::HashMap;

use archive::time::{self, Time};
use pgrx::prelude::*;

pub use self::automatic::{
    begin_attempt as begin_setup, continue_attempt as continue_setup,
    note_failure as note_setup_failure, note_success as note_setup_success,
};
pub use self::globals::{start_if_due as start_globals_if_due, Due};
pub use self::heal::{heal_if_due, want_healing};
pub use self::job::{start, Job, Started};
pub use self::scratch_settings::SCRATCH_PREFIX;
pub use self::setup::drop_slot;
pub use self::turn::{free as free_turns, what_is_ahead};

use self::schedule::{Failed, Spread};
use crate::status::Phase;
use crate::{place, settings, status};

/// The launcher's memory of when each database's newest base was taken, as its files said at a look. Those that came
/// since are newer: where none is due after it, none is due. A capture worker that started since (see
/// [`status::DatabaseStatus::started_at`]) may have set bases apart: then they are read again.
#[derive(Default)]
pub struct NewestBases(HashMap<u32, (Time, i64)>);

/// Starts scheduled bases that are due, as many as may run now, first those whose database has waited longest. The time of
/// a database's last one is taken from the files: a server that was down at a scheduled time takes one base when it is running
/// again, and one that failed is retried. For the launcher, about twice a minute; needs neither a database nor a transaction.
pub fn start_due(databases: &[pg_sys::Oid], known: &mut NewestBases) {
    let Some(schedule) = settings::base_schedule() else {
        return;
    };
    let mut due: Vec<(Time, pg_sys::Oid)> = databases
        .iter()
        .filter_map(|database| Some((newest_if_due(*database, &schedule, known)?, *database)))
        .collect();
    due.sort_by_key(|(newest, database)| (*newest, database.to_u32()));
    for (_, database) in due.into_iter().take(turn::free()) {
        if let Err(failure) = start(database, Job::Base) {
            failure.log_of(database, PgLogLevel::LOG);
        }
    }
}

/// When the newest base of `database` was taken, if another one is due.
fn newest_if_due(database: pg_sys::Oid, schedule: &str, known: &mut NewestBases) -> Option<Time> {
    let now = time::calendar();
    let spread = Spread {
        database: database.to_u32(),
        seconds: settings::base_spread(),
    };
    let known = &mut known.0;
    let entry = status::read(database).unwrap_or_default();
    let last = known.get(&database.to_u32());
    let last = last.filter(|(_, started_at)| *started_at == entry.started_at);
    if last.is_some_and(|(last, _)| !schedule::due(schedule, spread, *last, now)) {
        return None;
    }
    if entry.base.is_running() || entry.is_suspended() {
        return None;
    }
    // setup takes the first base of a chain.
    let chain = place::latest_chain(database).ok()??;
    let newest = chain.bases().ok()?.last()?.taken_at;
    // While it starts, it may do so yet.
    if entry.phase != Phase::Starting {
        known.insert(database.to_u32(), (newest, entry.started_at));
    }
    let failed = Failed {
        times: entry.base.failures,
        since_micros: now.timestamp_micros() - entry.base.finished_at,
    };
    let is_due = schedule::due(schedule, spread, newest, now) && !failed.must_wait();
    (is_due && chain.info.ended.is_none()).then_some(newest)
}
