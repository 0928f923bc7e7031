//! Base backups of different databases take turns: at most `pg_incrbackup.base_workers` run at the same time in the
//! cluster.
//!
//! A worker that needs a turn takes its place in the queue on the board, and tells behind whom it waits. Turns are given in
//! the order in which they were asked for. A turn ends with the process that has it, whatever becomes of it.

use std::time::Duration;

use archive::time;
use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::prelude::*;

use super::board;
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals, transaction};
use crate::pg::text::ServerText;
use crate::settings;
use crate::status::{self, BasePhase, BaseStatus};

/// How often a waiting worker looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(500);
/// Number of databases that are listed as those it waits for.
const LISTED: usize = 3;

/// Takes a turn for this worker if one is free and nobody waits for it longer.
pub fn try_take(database: pg_sys::Oid) -> bool {
    ahead_of(database).is_empty()
}

/// Waits for a turn; true if it had to wait. Outside a transaction.
pub fn take(database: pg_sys::Oid) -> Result<bool, Failure> {
    let mut ahead = ahead_of(database);
    if ahead.is_empty() {
        return Ok(false);
    }
    board::enter(BasePhase::WaitingForTurn);
    // More of them may be allowed meanwhile, and the base follows the settings of when it is taken.
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP);
    server::reload_settings();
    let mut shown = Vec::new();
    while !ahead.is_empty() {
        if shown != ahead {
            board::wait_for(&transaction::run(|| in_words(&ahead))?);
            shown = ahead;
        }
        signals::look_for_interrupts();
        if BackgroundWorker::sighup_received() {
            server::reload_settings();
        }
        server::wait_a_moment(LOOK);
        ahead = ahead_of(database);
    }
    board::wait_for("");
    Ok(true)
}

/// This worker needs its turn no longer, or not now, nor waits for one.
pub fn give_back(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.base.has_turn = false;
        entry.base.turn_asked_at = 0;
    });
}

/// True if this worker has its turn.
pub fn has(database: pg_sys::Oid) -> bool {
    status::read(database).is_some_and(|entry| entry.base.has_turn)
}

/// How many more base workers may be started without one that waits.
pub fn free() -> usize {
    settings::base_workers().saturating_sub(wanted().len())
}

/// True while few enough wait that one more may: each of them is a worker process. So a base that is needed now gets its
/// turn in the end, however many scheduled ones follow one another.
pub fn may_queue() -> bool {
    wanted().len() < settings::base_workers().saturating_mul(2)
}

/// Whose bases a new one would wait for, as text; `None` if there is a free turn. Needs a transaction.
pub fn what_is_ahead() -> Result<Option<String>, Failure> {
    let ahead = wanted();
    let must_wait = ahead.len() >= settings::base_workers();
    must_wait.then(|| in_words(&ahead)).transpose()
}

/// The databases whose base workers have a turn, wait for one, or are about to ask for one. A setup that waits for
/// transactions or tables, and a base that waits for its fence without a turn, are in nobody's way.
fn wanted() -> Vec<u32> {
    let wants_one = |base: &BaseStatus| {
        let is_about_to_ask = !base.is_setup && base.phase == BasePhase::Starting;
        base.is_running() && (base.has_turn || base.turn_asked_at != 0 || is_about_to_ask)
    };
    let entries = status::read_all().into_iter();
    let wanting = entries.filter(|entry| wants_one(&entry.base));
    wanting.map(|entry| entry.database).collect()
}

/// The databases whose bases come first; if there are none, the turn is taken.
fn ahead_of(database: pg_sys::Oid) -> Vec<u32> {
    let (most, now) = (
        settings::base_workers(),
        time::now().timestamp_micros().max(1),
    );
    let own = database.to_u32();
    status::update_all(|entries| {
        let Some(place) = entries.iter().position(|entry| entry.database == own) else {
            return Vec::new();
        };
        let asked_at = match entries[place].base.turn_asked_at {
            0 => now,
            before => before,
        };
        let is_ahead = |entry: &&status::DatabaseStatus| {
            let base = &entry.base;
            let waits_longer =
                base.turn_asked_at != 0 && (base.turn_asked_at, entry.database) < (asked_at, own);
            entry.database != own
                && (base.has_turn || waits_longer)
                && server::is_process_alive(base.pid)
        };
        let ahead: Vec<u32> = entries
            .iter()
            .filter(is_ahead)
            .map(|entry| entry.database)
            .collect();
        let base = &mut entries[place].base;
        if ahead.len() < most {
            base.turn_asked_at = 0;
            base.has_turn = true;
            return Vec::new();
        }
        base.turn_asked_at = asked_at;
        ahead
    })
}

/// What is waited for, as text. Needs a transaction.
fn in_words(ahead: &[u32]) -> Result<String, Failure> {
    let name = |oid: &u32| {
        let name = server::database_name(pg_sys::Oid::from(*oid));
        name.map_or_else(|| oid.to_string(), |name| ServerText(name).to_utf8())
    };
    let names: Vec<String> = ahead.iter().take(LISTED).map(name).collect();
    let more = match ahead.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(format!(
        "its turn, behind the base backup of {}{more} (pg_incrbackup.base_workers = {})",
        names.join(", "),
        settings::base_workers()
    ))
}
