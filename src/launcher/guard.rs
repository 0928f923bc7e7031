//! The launcher's monitoring of the slots: chains that end without a capture worker, slots that endanger the
//! server's disk, and the new chain that may follow.
//!
//! A slot is only considered dropped if this launcher has seen it before. A copy of the server that is
//! started with the same settings has no slots, and must not end the chains of the original.
//!
//! Nothing here waits: a worker that must exit first is terminated, and the next look continues. Other databases have
//! their workers in the meantime.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::backup::{self, Job};
use crate::figures::pretty_bytes;
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server::{self, title, transaction};
use crate::place;
use crate::settings::{self, Confirm, LagAction, OnChainBreak};
use crate::status::{self, Phase};
use crate::workers::{doubled, has_slot, slot_name};

/// A new chain that could not be started is retried after 10, 20, … seconds, at most an hour.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

const GONE: &str = "the slot has been dropped";

/// What is remembered of a slot between two passes.
struct Seen {
    /// The slot's positions and the worker's read position.
    at: (u64, u64, u64),
    since: Instant,
}

/// A new chain that is to be started.
struct Rebase {
    attempts: u32,
    next: Instant,
}

#[derive(Default)]
pub struct Guard {
    seen: HashMap<u32, Seen>,
    rebases: HashMap<u32, Rebase>,
    /// Capture workers that were terminated, by database: the next step follows when the worker has exited.
    ending: HashMap<u32, i32>,
    /// Those of the previous pass.
    ended_before: HashMap<u32, i32>,
}

/// While a worker is exiting. The launcher is only notified about workers that it started itself.
const LOOK_AT_ENDING: Duration = Duration::from_secs(1);

impl Guard {
    /// Checks the slots of the databases that are backed up, and those that were seen before. `databases` are
    /// all that exist.
    pub fn look(&mut self, backed_up: &[pg_sys::Oid], databases: &[pg_sys::Oid]) {
        self.ended_before = std::mem::take(&mut self.ending);
        for database in backed_up {
            self.look_at(*database);
        }
        let gone: Vec<u32> = self.seen.keys().copied().collect();
        for number in gone {
            let database = pg_sys::Oid::from(number);
            if backed_up.contains(&database) || !is_without_slot(database) {
                continue;
            }
            // incr_teardown() and DROP DATABASE remove the entry.
            let is_missed = databases.contains(&database) && status::read(database).is_some();
            if !is_missed || self.break_chain(database, GONE) {
                self.seen.remove(&number);
            }
        }
        if settings::on_chain_break() == OnChainBreak::Rebase {
            self.rebase();
        } else {
            self.rebases.clear();
        }
    }

    /// True while no capture worker may be started for a database.
    pub fn is_ending(&self, database: pg_sys::Oid) -> bool {
        self.ending.contains_key(&database.to_u32())
    }

    fn look_at(&mut self, database: pg_sys::Oid) {
        let name = slot_name(database);
        let was_busy = is_busy(database);
        let Some(position) = slot::position(&name) else {
            return;
        };
        let entry = status::read(database).unwrap_or_default();
        // What is read and not confirmed holds the WAL all the same: until the next copy, where copies are made at all.
        let (read, held_from) = match settings::confirm() {
            Confirm::Fsync => (entry.read_lsn, position.restart_lsn),
            Confirm::Archived if entry.offsite.is_behind(settings::lag_action_delay()) => {
                (0, position.restart_lsn)
            }
            Confirm::Archived => (entry.read_lsn, position.restart_lsn.max(entry.read_lsn)),
        };
        let at = (position.restart_lsn, position.confirmed_lsn, read);
        let now = Instant::now();
        let seen = self
            .seen
            .entry(database.to_u32())
            .or_insert(Seen { at, since: now });
        if seen.at != at {
            *seen = Seen { at, since: now };
        }
        // A setup drops the slot and creates another: the position may be of either.
        if was_busy || is_busy(database) {
            return;
        }
        if position.is_invalidated {
            let why = position.why_invalidated;
            self.break_chain(
                database,
                &format!("the server has invalidated the slot: {why}"),
            );
            return;
        }
        let held = server::wal_insert_lsn().saturating_sub(held_from);
        // A position that the worker confirms while it exits is not progress.
        let was_ending = self.ended_before.contains_key(&database.to_u32());
        let stands_still = was_ending || seen.since.elapsed() >= settings::lag_action_delay();
        if settings::lag_action() == LagAction::DropSlot
            && held >= settings::lag_emergency()
            && stands_still
        {
            self.drop_slot(database, &name, held);
        }
    }

    /// Terminates the capture worker of a database; true if it has exited.
    fn terminate_capture(&mut self, database: pg_sys::Oid) -> bool {
        let number = database.to_u32();
        let on_board = status::read(database).map_or(0, |entry| entry.pid);
        // The process, not its entry on the board: it holds the slot until it exits.
        let mut pids = self
            .ended_before
            .get(&number)
            .into_iter()
            .chain([&on_board]);
        let is_alive = |pid: &&i32| server::is_process_alive(**pid);
        let Some(pid) = pids.find(is_alive) else {
            return true;
        };
        server::terminate(*pid);
        self.ending.insert(number, *pid);
        false
    }

    /// Ends the chain, in its files and on the board, and logs it. False if the capture worker must exit first: it may
    /// still write, and everything that it has made durable belongs to the chain.
    fn break_chain(&mut self, database: pg_sys::Oid, reason: &str) -> bool {
        let entry = status::read(database).unwrap_or_default();
        if entry.phase == Phase::Broken && !entry.broken.is_empty() {
            return true;
        }
        // Without an entry on the board only the files record it.
        let chain = || place::latest_chain(database).ok().flatten();
        if !status::has_room(database) && chain().is_some_and(|chain| chain.info.ended.is_some()) {
            return true;
        }
        if !self.terminate_capture(database) {
            return false;
        }
        note_break(database, reason);
        true
    }

    /// The server takes precedence: its disk fills up because of a backup that makes no progress.
    fn drop_slot(&mut self, database: pg_sys::Oid, name: &str, held: u64) {
        if !self.terminate_capture(database) {
            return;
        }
        let dropped = transaction::run(|| {
            slot::drop(name);
            Ok::<_, Failure>(())
        });
        match dropped {
            Ok(()) => note_break(
                database,
                &format!(
                    "pg_incrbackup.lag_action dropped the slot, which held {} of WAL while capture made no progress",
                    pretty_bytes(held)
                ),
            ),
            Err(failure) => failure.log_of(database, PgLogLevel::WARNING),
        }
    }

    /// Starts a new chain if one is broken. Failures are retried at increasing intervals.
    fn rebase(&mut self) {
        for entry in status::read_all() {
            if !entry.broken.is_empty() && !entry.held {
                self.rebases.entry(entry.database).or_insert(Rebase {
                    attempts: 0,
                    next: Instant::now(),
                });
            }
        }
        self.rebases.retain(|database, rebase| {
            let database = pg_sys::Oid::from(*database);
            let Some(entry) = status::read(database) else {
                return false;
            };
            if is_busy(database) || rebase.next > Instant::now() {
                return true;
            }
            if has_slot(database) && entry.broken.is_empty() {
                return false;
            }
            rebase.next = Instant::now() + doubled(FIRST_RETRY, rebase.attempts, LONGEST_RETRY);
            rebase.attempts += 1;
            // Each attempt that fails says so itself.
            if rebase.attempts == 1 {
                title::log_of(
                    database,
                    "starting a new chain because of pg_incrbackup.on_chain_break",
                );
            }
            if let Err(failure) = backup::start(
                database,
                Job::Setup {
                    new_chain: true,
                    take_over: false,
                },
            ) {
                failure.log_of(database, PgLogLevel::LOG);
            }
            true
        });
    }

    /// The time until the next action here.
    pub fn longest_sleep(&self) -> Duration {
        let due = self.rebases.values().map(|rebase| rebase.next);
        let wait = |at: Instant| at.saturating_duration_since(Instant::now());
        let rebase = due.map(wait).min().unwrap_or(LONGEST_RETRY);
        let longest = if self.ending.is_empty() {
            LONGEST_RETRY
        } else {
            LOOK_AT_ENDING
        };
        rebase.max(Duration::from_secs(1)).min(longest)
    }
}

/// True if the slot was dropped for good. A setup drops the slot and creates another, and may have started or
/// ended in the meantime.
fn is_without_slot(database: pg_sys::Oid) -> bool {
    !is_busy(database) && !has_slot(database) && !is_busy(database)
}

/// A setup, a base, or a command on the database is running: checked again later.
fn is_busy(database: pg_sys::Oid) -> bool {
    let entry = status::read(database).unwrap_or_default();
    let is_alive = |pid: i32| pid != 0 && server::is_process_alive(pid);
    is_alive(entry.base.pid) || is_alive(entry.aside_for)
}

/// Ends the chain, in its files and on the board, and logs it.
fn note_break(database: pg_sys::Oid, reason: &str) {
    // The files first: a reader of health then finds its end there.
    if let Err(failure) = place::end_chain(database, reason) {
        failure.log_of(database, PgLogLevel::WARNING);
    }
    status::note(database, |entry| {
        entry.phase = Phase::Broken;
        entry.broken.set(reason);
    });
    ereport!(
        PgLogLevel::WARNING,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("pg_incrbackup: {}: the chain is broken: {reason}", title::shown(database)),
        "The files up to this point remain valid. SELECT * FROM incr_setup(new_chain => true) starts a new \
         chain with a new base backup."
    );
}
