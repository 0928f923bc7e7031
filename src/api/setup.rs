//! incr_setup(), incr_dump() and incr_teardown(): start a base worker, and wait for it.

use archive::counted;
use std::time::{Duration, Instant};

use archive::mounts;
use archive::owner::{self, Owner};
use pgrx::prelude::*;

use super::waiting::{wait, wait_until};
use super::{requests, restore_command};
use crate::backup::{self, Job};
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals, transaction};
use crate::replica_identity::{self, Left};
use crate::status::{self, Phase};
use crate::{place, preflight, settings, workers};

const POLL: Duration = Duration::from_millis(50);
/// So many tables are named one by one.
const MOST_NOTICES: usize = 10;
/// How long setup waits for capture to start before it only reports its state. It may wait for ten seconds itself, for
/// readers of what a failover has lost.
const CAPTURE_START: Duration = Duration::from_secs(30);

/// One row of incr_setup().
pub struct Step {
    pub step: &'static str,
    pub status: &'static str,
    pub detail: String,
}

/// Sets up what is missing and returns a row for every step.
pub fn run(new_chain: bool, take_over: bool) -> Result<Vec<Step>, Failure> {
    ensure_no_xid("incr_setup()")?;
    let database = server::my_database();
    let checked = backup::preflight::check(database)?;
    let name = workers::slot_name(database);
    let was_there = workers::has_slot(database) && !new_chain;
    let had_base = was_there && has_base(database)?;
    let owner_before = owner(database);
    let job = Job::Setup {
        new_chain,
        take_over,
    };
    let started = backup::start(database, job)?;
    let identities = wait(database, started, "incr_setup()")?;
    let slot = slot::facts(&name).ok_or_else(slot_vanished)?;
    let chain = place::latest_chain(database)?.ok_or_else(slot_vanished)?;
    let bases = chain.bases()?;
    let newest = bases.last().map(|base| chain.base().join(base.to_string()));
    let (capture_status, capture_detail) = wait_for_capture(database);
    let done = |was_there: bool| if was_there { "already there" } else { "done" };
    let mut steps = vec![
        Step {
            step: "preflight",
            status: "ok",
            detail: checked.found,
        },
        owner_step(database, owner_before, take_over)?,
        Step {
            step: "replica identities",
            status: match identities {
                0 => "none missing",
                _ => "done",
            },
            detail: format!(
                "{identities} set, pg_incrbackup.replica_identity is {:?}",
                settings::keyless_tables()
            )
            .to_lowercase(),
        },
        Step {
            step: "slot",
            status: done(was_there),
            detail: format!(
                "{name}, plugin {}, chain {} from {}",
                slot.plugin.unwrap_or_default(),
                chain.number,
                chain.info.slot_start_lsn
            ),
        },
        Step {
            step: "base backup",
            status: done(had_base),
            detail: newest.map_or_else(String::new, |path| path.display().to_string()),
        },
        Step {
            step: "capture",
            status: capture_status,
            detail: capture_detail,
        },
    ];
    if checked.is_run_by_patroni {
        steps.extend(for_patroni()?);
    }
    steps.push(Step {
        step: "to restore",
        status: "ready",
        detail: restore_command::of(database)?,
    });
    Ok(steps)
}

/// The line that Patroni's configuration needs, now that the slot is there.
fn for_patroni() -> Result<Option<Step>, Failure> {
    let mut rows = backup::prerequisites::rows()?.into_iter();
    let line = rows
        .find(|row| row.name == prerequisites::PATRONI)
        .and_then(|row| row.todo());
    Ok(line.map(|line| Step {
        step: "for Patroni",
        status: "patronictl edit-config",
        detail: line,
    }))
}

/// Takes a base backup; returns its path.
pub fn dump(wait_for_end: bool) -> Result<String, Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    ensure_no_xid("incr_dump()")?;
    let database = server::my_database();
    requests::ensure_slot(database)?;
    let started = backup::start(database, Job::Base)?;
    let number = started.number;
    if wait_for_end {
        wait(database, started, "incr_dump()")?;
    } else {
        wait_until(database, started, "incr_dump()", |base| {
            !base.path.is_empty()
        })?;
    }
    let entry = status::read(database).filter(|entry| entry.base.number == number);
    Ok(entry.map(|entry| entry.base.path.get()).unwrap_or_default())
}

/// Stops capture, and drops the slot if requested.
pub fn teardown(drop_slot: bool) -> Result<String, Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    let database = server::my_database();
    let name = workers::slot_name(database);
    if !drop_slot {
        requests::ensure_slot(database)?;
    }
    workers::end_others(database);
    if !workers::has_slot(database) {
        return take_back_setup(database);
    }
    if !drop_slot {
        let held = status::update(database, |entry| entry.held = true);
        held.ok_or_else(preflight::no_room)?;
        let stepped = transaction::catch(|| workers::step_aside(database));
        workers::resume(database);
        stepped?;
        return Ok(format!(
            "capture is stopped; slot {name} retains all WAL from now on"
        ));
    }
    // First, because an error rolls it back, and the slot is not dropped.
    let (identities, left) = replica_identity::give_back();
    backup::drop_slot(database, &name)?;
    let ended = place::tear_down(database);
    ended.inspect_err(|_| workers::resume(database))?;
    status::forget(database);
    workers::wake_launcher();
    name_left(left);
    Ok(format!(
        "slot {name} is dropped; the files are kept; the replica identity of {} is reset",
        counted(identities, "table")
    ))
}

/// Of a setup that was cancelled before there was a slot, or failed after it had dropped one, or of a chain that has lost
/// its slot: what it has set already is given back, and nothing is expected any more.
fn take_back_setup(database: pg_sys::Oid) -> Result<String, Failure> {
    let (identities, left) = replica_identity::give_back();
    let is_ended = place::tear_down(database)?;
    if identities == 0 && left.is_empty() && !is_ended {
        requests::ensure_slot(database)?;
    }
    status::forget(database);
    workers::wake_launcher();
    name_left(left);
    Ok(format!(
        "there was no slot; the replica identity of {} is reset",
        counted(identities, "table")
    ))
}

/// Tells which tables keep the replica identity that setup has set.
fn name_left(left: Vec<Left>) {
    let unnamed = left.len().saturating_sub(MOST_NOTICES);
    if unnamed > 0 {
        signals::telling(|| {
            notice!(
                "{unnamed} more tables are locked and keep the replica identity that pg_incrbackup set"
            );
        });
    }
    for table in left.into_iter().take(MOST_NOTICES) {
        signals::telling(|| notice!("{table}"));
    }
}

/// An unreadable owner file is reported by whatever wants to write.
fn owner(database: pg_sys::Oid) -> Option<Owner> {
    let found = place::find(database).ok()??;
    owner::read(found.path()).ok()?
}

/// Which server writes to the archive from now on, and whether other hosts can see its lock.
fn owner_step(
    database: pg_sys::Oid,
    before: Option<Owner>,
    take_over: bool,
) -> Result<Step, Failure> {
    let now = owner(database).ok_or_else(slot_vanished)?;
    let mut detail = now.to_string();
    let mut status = match before {
        Some(before) if take_over && before.identity != now.identity => {
            detail = format!("{detail}; taken over from {before}");
            "taken over"
        }
        Some(_) => "already there",
        None => "done",
    };
    if let Some(why) = settings::directory().and_then(|path| mounts::lock_is_local(&path)) {
        detail = format!(
            "{detail}; {why}: other hosts do not see its locks, so take over only from a server that is stopped"
        );
        status = "warning";
        let code = PgSqlErrorCode::ERRCODE_WARNING;
        Failure::new(code, "locks in the archive are not visible to other hosts")
            .detail(why)
            .hint("Mount it so that they are, or make sure that a server is stopped before another one takes over.")
            .log(PgLogLevel::WARNING);
    }
    Ok(Step {
        step: "owner",
        status,
        detail,
    })
}

fn has_base(database: pg_sys::Oid) -> Result<bool, Failure> {
    match place::latest_chain(database)? {
        Some(chain) => Ok(!chain.bases()?.is_empty()),
        None => Ok(false),
    }
}

/// The worker waits for every transaction with an xid, including this one.
pub fn ensure_no_xid(function: &str) -> Result<(), Failure> {
    if !transaction::has_xid() && !transaction::is_subtransaction() {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION;
    let message = format!("{function} cannot run in a transaction that has performed writes");
    Err(Failure::new(code, message)
        .detail("It would wait for its own transaction to end.")
        .hint("Run it outside a transaction block."))
}

/// Waits for the capture worker to start, and to get past an earlier failure; returns its state as the status
/// and detail of a step.
fn wait_for_capture(database: pg_sys::Oid) -> (&'static str, String) {
    let start = Instant::now();
    loop {
        let entry = status::read(database).unwrap_or_default();
        let is_late = start.elapsed() > CAPTURE_START;
        match entry.phase {
            Phase::Streaming | Phase::CaughtUp if entry.failures == 0 || is_late => {
                return ("running", entry.file.get())
            }
            Phase::WaitingToRetry | Phase::Broken => return ("failed", entry.last_error.get()),
            _ if is_late => {
                return (
                    "not running",
                    "the launcher has not started the capture worker yet".into(),
                )
            }
            _ => server::wait_a_moment(POLL),
        }
    }
}

fn slot_vanished() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        "the slot or its chain was removed in the meantime",
    )
    .hint("Run SELECT * FROM incr_setup() again.")
}
