//! incr_setup(), incr_dump() and incr_teardown(): start a base worker, report what it waits for, and
//! terminate it if the query is cancelled.

use std::time::{Duration, Instant};

use archive::mounts;
use archive::owner::{self, Owner};
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use super::{requests, restore_command};
use crate::backup::{self, Job, Started};
use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, transaction};
use crate::status::{self, BasePhase, Phase};
use crate::{place, preflight, replica_identity, settings, workers};

const POLL: Duration = Duration::from_millis(50);
/// A wait is reported after this long, and again at this interval.
const FIRST_NOTICE: Duration = Duration::from_secs(1);
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);
/// So many tables are named one by one.
const MOST_NOTICES: usize = 10;
/// How long setup waits for capture to start before it only reports its state.
const CAPTURE_START: Duration = Duration::from_secs(15);

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
    Ok(vec![
        Step {
            step: "preflight",
            status: "ok",
            detail: checked,
        },
        owner_step(database, owner_before, take_over)?,
        Step {
            step: "replica identities",
            status: done(identities == 0),
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
        Step {
            step: "to restore",
            status: "ready",
            detail: restore_command::of(database)?,
        },
    ])
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
    requests::ensure_slot(database)?;
    workers::end_others(database);
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
    let ended = place::end_chain(database, backup::TORN_DOWN);
    ended.inspect_err(|_| workers::resume(database))?;
    status::forget(database);
    workers::wake_launcher();
    let unnamed = left.len().saturating_sub(MOST_NOTICES);
    if unnamed > 0 {
        notice!(
            "{unnamed} more tables are locked and keep the replica identity that pg_incrbackup set"
        );
    }
    for table in left.into_iter().take(MOST_NOTICES) {
        notice!("{table} is locked and keeps the replica identity that pg_incrbackup set: run ALTER TABLE \
        {table} REPLICA IDENTITY DEFAULT later");
    }
    Ok(format!(
        "slot {name} is dropped; the files are kept; the replica identity of {identities} tables is reset"
    ))
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

/// Waits for the end of a job; returns how many replica identities it set.
fn wait(database: pg_sys::Oid, started: Started, function: &str) -> Result<u32, Failure> {
    wait_until(database, started, function, |_| false)
}

/// Waits until the job has ended or `is_enough`. If the caller gets an error, the job is terminated too.
fn wait_until(
    database: pg_sys::Oid,
    started: Started,
    function: &str,
    is_enough: impl Fn(&status::BaseStatus) -> bool,
) -> Result<u32, Failure> {
    let number = started.number;
    let waited = transaction::catch(|| watch(database, number, function, &started, is_enough));
    waited.and_then(|outcome| outcome).inspect_err(|_| {
        // This does not wait for it to exit: an ephemeral slot is dropped with the process.
        started.worker.terminate();
    })
}

fn watch(
    database: pg_sys::Oid,
    number: u64,
    function: &str,
    started: &Started,
    is_enough: impl Fn(&status::BaseStatus) -> bool,
) -> Result<u32, Failure> {
    let (start, mut last_notice) = (Instant::now(), None::<Instant>);
    loop {
        let base = status::read(database)
            .map(|entry| entry.base)
            .unwrap_or_default();
        if base.number != number {
            return Err(worker_lost());
        }
        match base.phase {
            BasePhase::Done => return Ok(base.identities),
            BasePhase::Failed => return Err(failure_of(&base)),
            _ if is_enough(&base) => return Ok(base.identities),
            _ => {}
        }
        if matches!(
            started.worker.pid(),
            Err(pgrx::bgworkers::BackgroundWorkerStatus::Stopped)
        ) {
            let base = status::read(database)
                .map(|entry| entry.base)
                .unwrap_or_default();
            if !matches!(base.phase, BasePhase::Done | BasePhase::Failed) {
                return Err(worker_lost());
            }
            continue;
        }
        let is_due = last_notice.map_or(start.elapsed() > FIRST_NOTICE, |last| {
            last.elapsed() > NOTICE_INTERVAL
        });
        if is_due {
            explain_wait(&base, function)?;
            last_notice = Some(Instant::now());
        }
        server::wait_a_moment(POLL);
    }
}

/// Tells the user what the worker waits for, if anything. Fails if that is this very session.
fn explain_wait(base: &status::BaseStatus, function: &str) -> Result<(), Failure> {
    const BLOCKERS: &str =
        "SELECT pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids($1))";
    let is_mine = query::one::<bool>(BLOCKERS, &[base.pid.into()])?.unwrap_or(false);
    if is_mine || has_locked(base.locked_table)? {
        let code = PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION;
        let message = format!("{function} would wait for a lock that its own transaction holds");
        return Err(Failure::new(code, message).hint("Run it outside a transaction block."));
    }
    let what = base.waiting_for.get();
    if base.phase == BasePhase::ReplicaIdentities {
        if !what.is_empty() {
            notice!("{function} waits for {what}");
        }
        return Ok(());
    }
    let transactions = open_transactions(base.pid).unwrap_or_report();
    match base.phase {
        BasePhase::CreatingSlot | BasePhase::Fencing if !transactions.is_empty() => {
            let transactions = transactions.join("\n");
            status::update_existing(server::my_database(), |entry| {
                entry
                    .base
                    .waiting_for
                    .set(&format!("open transactions:\n{transactions}"));
            });
            notice!("{function} waits for open transactions:\n{transactions}");
        }
        BasePhase::Fencing | BasePhase::WaitingForTurn if !what.is_empty() => {
            notice!("{function} waits for {what}");
        }
        _ => {}
    }
    Ok(())
}

/// Whether this session has locked a table. The worker waits for it only from time to time.
fn has_locked(table: u32) -> Result<bool, Failure> {
    const HELD: &str =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND granted \
        AND pid = pg_catalog.pg_backend_pid() AND relation = $1 AND database = $2)";
    if table == 0 {
        return Ok(false);
    }
    let arguments = [
        pg_sys::Oid::from(table).into(),
        server::my_database().into(),
    ];
    Ok(query::one::<bool>(HELD, &arguments)?.unwrap_or(false))
}

/// Every transaction of the cluster that has an xid, including prepared ones, as text.
fn open_transactions(worker: i32) -> Result<Vec<String>, pgrx::spi::Error> {
    const QUERY: &str = "SELECT pg_catalog.convert_to(pg_catalog.format( \
          '  pid %s, transaction %s, open for %s, user %s, database %s: %s', pid, backend_xid, \
          pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - xact_start), usename, \
          datname, pg_catalog.substr(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 1, 60)), \
          'UTF8') AS line \
        FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
          AND pid NOT IN (pg_catalog.pg_backend_pid(), $1) \
        UNION ALL SELECT pg_catalog.convert_to(pg_catalog.format('  prepared transaction %L, \
          transaction %s, since %s, user %s, database %s: COMMIT PREPARED or ROLLBACK PREPARED ends it', \
          gid, transaction, prepared, owner, database), 'UTF8') FROM pg_catalog.pg_prepared_xacts \
        ORDER BY 1";
    Spi::connect(|client| {
        // Without this, pg_stat_activity keeps the contents of the transaction's first access.
        client.select("SELECT pg_catalog.pg_stat_clear_snapshot()", None, &[])?;
        let rows = client.select(QUERY, None, &[worker.into()])?;
        rows.map(|row| {
            Ok(String::from_utf8_lossy(&row.get::<Vec<u8>>(1)?.unwrap_or_default()).into_owned())
        })
        .collect()
    })
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

fn failure_of(base: &status::BaseStatus) -> Failure {
    let failure = Failure::new(PgSqlErrorCode::from(base.error_code), base.error.get());
    match base.hint.get() {
        hint if hint.is_empty() => failure,
        hint => failure.hint(hint),
    }
}

fn worker_lost() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        "the base backup worker exited unexpectedly",
    )
    .hint("See the server log for details.")
}

fn slot_vanished() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        "the slot or its chain was removed in the meantime",
    )
    .hint("Run SELECT * FROM incr_setup() again.")
}
