//! Waiting for a base worker: what it waits for is reported, and it is terminated if the query is cancelled. It goes on
//! alone if the two would wait for each other.

use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use super::deadlock::{self, Ended, Wanted, Watch};
use crate::backup::holders::{self, Detail};
use crate::backup::{self, Started};
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, signals};
use crate::status::{self, BasePhase};

const POLL: Duration = Duration::from_millis(50);
/// A wait is reported after this long, and again at this interval.
const FIRST_NOTICE: Duration = Duration::from_secs(1);
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// Waits for the end of a job; returns how many replica identities it set.
pub fn wait(database: pg_sys::Oid, started: Started, function: &str) -> Result<u32, Failure> {
    wait_until(database, started, function, |_| false)
}

/// Waits until the job has ended or `is_enough`. If the caller gets an error, the job is terminated too, unless it is that of
/// a cycle.
pub fn wait_until(
    database: pg_sys::Oid,
    started: Started,
    function: &str,
    is_enough: impl Fn(&status::BaseStatus) -> bool,
) -> Result<u32, Failure> {
    let Started { number, worker } = started;
    deadlock::wait_for(worker, |worker| {
        watch(database, number, function, worker, is_enough)
    })
}

fn watch(
    database: pg_sys::Oid,
    number: u64,
    function: &str,
    worker: &DynamicBackgroundWorker,
    is_enough: impl Fn(&status::BaseStatus) -> bool,
) -> Result<u32, Ended> {
    let mut next_look = Instant::now() + FIRST_NOTICE;
    let mut cycle = Watch::begin();
    loop {
        let base = status::read(database)
            .map(|entry| entry.base)
            .unwrap_or_default();
        if base.number != number {
            // The launcher may have begun another at once.
            return if base.done_before == number {
                Ok(base.identities_before)
            } else {
                Err(worker_lost().into())
            };
        }
        match base.phase {
            BasePhase::Done => return Ok(base.identities),
            BasePhase::Failed => return Err(failure_of(&base).into()),
            _ if is_enough(&base) => return Ok(base.identities),
            _ => {}
        }
        if matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped)) {
            let base = status::read(database)
                .map(|entry| entry.base)
                .unwrap_or_default();
            if !matches!(base.phase, BasePhase::Done | BasePhase::Failed) {
                return Err(worker_lost().into());
            }
            continue;
        }
        if Instant::now() > next_look {
            let has_said = explain_wait(&base, function)?;
            next_look = Instant::now()
                + if has_said {
                    NOTICE_INTERVAL
                } else {
                    FIRST_NOTICE
                };
        }
        cycle.look(
            function,
            "base backup",
            base.pid,
            backup::connection::NAME,
            wanted_by(&base),
        )?;
        server::wait_a_moment(POLL);
    }
}

/// What the worker tries to lock again and again.
fn wanted_by(base: &status::BaseStatus) -> Wanted {
    match base.phase {
        BasePhase::ReplicaIdentities if base.locked_table != 0 => {
            Wanted::Table(base.locked_table.into())
        }
        BasePhase::Fencing => Wanted::Fence,
        _ => Wanted::Nothing,
    }
}

/// Tells the user what the worker waits for; false if that is nothing. Fails if that is this very session.
fn explain_wait(base: &status::BaseStatus, function: &str) -> Result<bool, Failure> {
    const BLOCKERS: &str =
        "SELECT pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids($1))";
    let is_mine = query::one::<bool>(BLOCKERS, &[base.pid.into()])?.unwrap_or(false);
    if is_mine || has_locked(base.locked_table)? {
        let code = PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION;
        let message = format!("{function} would wait for a lock that its own transaction holds");
        return Err(Failure::new(code, message).hint("Run it outside a transaction block."));
    }
    let what = base.waiting_for.get();
    let said = match base.phase {
        BasePhase::ReplicaIdentities if base.locked_table != 0 => {
            // By the rights of whoever is told; the board has less of it.
            holders::of_table(base.locked_table.into(), Detail::Rights)?
        }
        BasePhase::CreatingSlot | BasePhase::Fencing => {
            match open_transactions(base.pid).unwrap_or_report() {
                (_, shown) if shown.is_empty() && base.phase == BasePhase::Fencing => what,
                (_, shown) if shown.is_empty() => shown,
                (public, shown) => {
                    status::update_existing(server::my_database(), |entry| {
                        entry
                            .base
                            .waiting_for
                            .set(&format!("open transactions:\n{public}"));
                    });
                    format!("open transactions:\n{shown}")
                }
            }
        }
        BasePhase::WaitingForTurn | BasePhase::Finishing => what,
        _ => String::new(),
    };
    if !said.is_empty() {
        signals::telling(|| notice!("{function} waits for {said}"));
    }
    Ok(!said.is_empty())
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

/// Every transaction of the cluster that has an xid, including prepared ones, a line for each: as everybody may see it, for
/// the board, and with its query where this role sees that.
fn open_transactions(worker: i32) -> Result<(String, String), pgrx::spi::Error> {
    const QUERY: &str = "SELECT pg_catalog.convert_to(pg_catalog.format( \
          '  pid %s, transaction %s, open for %s, user %s, database %s', pid, backend_xid, \
          pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - xact_start), usename, \
          datname), 'UTF8') AS line, pg_catalog.convert_to(': ' || pg_catalog.substr( \
          pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 1, 60), 'UTF8') AS query \
        FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
          AND pid NOT IN (pg_catalog.pg_backend_pid(), $1) \
        UNION ALL SELECT pg_catalog.convert_to(pg_catalog.format('  prepared transaction %L, \
          transaction %s, since %s, user %s, database %s: COMMIT PREPARED or ROLLBACK PREPARED ends it', \
          gid, transaction, prepared, owner, database), 'UTF8'), NULL FROM pg_catalog.pg_prepared_xacts \
        ORDER BY 1";
    query::see_current_activity()?;
    Spi::connect(|client| {
        let rows = client.select(QUERY, None, &[worker.into()])?;
        let (mut public, mut shown) = (Vec::new(), Vec::new());
        for row in rows {
            let text = |column| {
                let text = row.get::<Vec<u8>>(column)?.unwrap_or_default();
                Ok::<_, pgrx::spi::Error>(String::from_utf8_lossy(&text).into_owned())
            };
            let line = text(1)?;
            shown.push(format!("{line}{}", text(2)?));
            public.push(line);
        }
        Ok((public.join("\n"), shown.join("\n")))
    })
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
