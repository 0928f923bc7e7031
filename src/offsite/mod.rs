//! Processing of closed files: compression, and archive_command, which copies them to another machine.
//!
//! An archiver is a background worker that exits after one pass, not connected to a database: it does not
//! block DROP DATABASE, and capture never waits for it. The launcher starts it for a database when a file was
//! closed, when a setting changed, once a minute, and, after a failure, 1, 2, 4, … 60 seconds later. What is
//! compressed and what was archived is determined from the files alone, so nothing is lost with the status
//! board.

mod command;
mod worker;

use std::time::Duration;

use archive::time;
use pgrx::prelude::*;

use crate::pg::server;
use crate::status::{self, OffsiteStatus};
use crate::{settings, workers};

/// Interval of passes without a notification of a closed file: one may have been lost with the server.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long the launcher may sleep if nothing is pending.
const NOTHING_DUE: Duration = Duration::from_secs(10);

/// A file of `database` was closed.
pub fn want(database: pg_sys::Oid) {
    if !status::is_there() {
        return;
    }
    status::update_existing(database, |entry| entry.offsite.wanted += 1);
    if settings::offsite().is_on() {
        crate::workers::wake_launcher();
    }
}

/// Capture has cut off what is behind a switch of the timeline: how far the copies reach is to be found out anew.
pub fn note_cut(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.offsite.cuts += 1;
        (entry.offsite.reach_chain, entry.offsite.reach) = (0, 0);
    });
    want(database);
}

/// Starts an archiver if one is due and none is running; returns the time until the next one. For the
/// launcher.
pub fn start_if_due(database: pg_sys::Oid) -> Duration {
    let settings = settings::offsite();
    let offsite = status::read(database).unwrap_or_default().offsite;
    let is_changed = offsite.settings != settings.number();
    if offsite.pid != 0 && server::is_process_alive(offsite.pid) {
        // A hanging command must not prevent one that would not hang.
        if is_changed && offsite.looked_at != 0 {
            server::terminate(offsite.pid);
        }
        return NOTHING_DUE;
    }
    let now = time::now().timestamp_micros();
    let is_fresh = (0..LOOK_INTERVAL.as_micros() as i64).contains(&(now - offsite.looked_at));
    let has_work = offsite.wanted != offsite.done || offsite.failures > 0;
    let is_due = settings.is_on() && (is_changed || has_work || !is_fresh);
    if !is_due {
        return NOTHING_DUE;
    }
    if offsite.not_before > now && !is_changed {
        return Duration::from_micros((offsite.not_before - now) as u64).min(NOTHING_DUE);
    }
    let worker = workers::of_kind("archiver", database).load_dynamic();
    // It wakes the launcher when it exits. One that exits without a result is restarted after a while, and so
    // is one for which no worker slot was free.
    update(database, |offsite| {
        offsite.not_before = now + NOTHING_DUE.as_micros() as i64;
        if is_changed {
            offsite.idle_state = 0;
        }
        if worker.is_ok() {
            offsite.settings = settings.number();
        }
    });
    NOTHING_DUE
}

/// Delays the next attempt by 1, 2, 4, … 60 seconds.
fn note_attempt(offsite: &mut OffsiteStatus) {
    let delay = workers::backoff(offsite.failures);
    offsite.failures = offsite.failures.saturating_add(1);
    offsite.not_before = time::now().timestamp_micros() + delay.as_micros() as i64;
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut OffsiteStatus)) {
    status::update_existing(database, |entry| change(&mut entry.offsite));
}
