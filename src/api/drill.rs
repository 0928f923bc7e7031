//! incr_drill(): starts a drill worker, waits for it, and terminates it if the query is cancelled. It goes on alone if the
//! two would wait for each other.

use std::time::Duration;

use archive::drills::Drill;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::deadlock::{self, Ended, Wanted, Watch};
use super::{ensure_same_version, or_raise, requests, setup, some_text};
use crate::drill::{self, Started};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::pg::types::timestamp;
use crate::status::{self, DrillPhase};
use crate::{preflight, settings};

const POLL: Duration = Duration::from_millis(50);

/// Restores the newest chain into a scratch database of the server in `conninfo` (NULL: that in
/// pg_incrbackup.drill_conninfo; if that is empty, a throwaway server), compares it with the source as of the
/// same LSN, and drops it. Returns the result; without `wait` it returns immediately and the drill continues.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_drill(
    conninfo: default!(Option<ServerText>, "NULL"),
    wait: default!(bool, true),
) -> TableIterator<
    'static,
    (
        name!(result, ServerText),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(duration, Option<Interval>),
        name!(chain, Option<i32>),
        name!(base, Option<ServerText>),
        name!(lsn, Option<PgLsn>),
        name!(tables, Option<i64>),
        name!(rows, Option<i64>),
        name!(restored_to, ServerText),
        name!(problems, Vec<ServerText>),
        name!(left_out, Vec<ServerText>),
    ),
> {
    ensure_same_version();
    if conninfo.is_some() && !server::is_superuser() {
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        let message = "only superusers may choose the server that a drill restores to";
        Failure::new(code, message)
            .hint("Omit conninfo to use pg_incrbackup.drill_conninfo.")
            .raise();
    }
    let conninfo = conninfo.map_or_else(settings::drill_conninfo, |text| text.to_utf8());
    let record = or_raise(make(&conninfo, wait));
    let restored_to = match conninfo.as_str() {
        "" => "a throwaway server".to_string(),
        _ => conninfo,
    };
    TableIterator::once(match record {
        None => (
            "running".into(),
            timestamp::from_unix_micros(archive::time::calendar().timestamp_micros()),
            None,
            None,
            None,
            None,
            None,
            None,
            restored_to.into(),
            Vec::new(),
            Vec::new(),
        ),
        Some(drill) => (
            drill.outcome.name().into(),
            timestamp::from_unix_micros(drill.started_at.timestamp_micros()),
            Some(timestamp::interval(drill.duration_ms as i64 * 1000)),
            drill.chain.map(|chain| chain as i32),
            some_text(drill.base.unwrap_or_default()),
            drill.lsn.map(|lsn| PgLsn(lsn.0)),
            Some(drill.tables as i64),
            Some(drill.rows as i64),
            restored_to.into(),
            drill.problems.into_iter().map(ServerText::from).collect(),
            drill.left_out.into_iter().map(ServerText::from).collect(),
        ),
    })
}

/// Starts a drill; returns its record if it is waited for.
fn make(conninfo: &str, wait: bool) -> Result<Option<Drill>, Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    setup::ensure_no_xid("incr_drill()")?;
    let database = server::my_database();
    requests::ensure_slot(database)?;
    drill::ensure_no_password(conninfo)?;
    let started = drill::start(database, conninfo)?;
    if !wait {
        return Ok(None);
    }
    let Started { number, worker } = started;
    let recorded = deadlock::wait_for(worker, |worker| watch(database, number, worker))?;
    let records = drill::records(database)?.into_iter();
    let mut mine = records.filter(|drill| drill.started_at.timestamp_micros() == recorded);
    mine.next_back().map(Some).ok_or_else(worker_lost)
}

/// Waits until the drill has finished; returns its start time, which identifies its record.
fn watch(
    database: pg_sys::Oid,
    number: u64,
    worker: &DynamicBackgroundWorker,
) -> Result<i64, Ended> {
    let mut cycle = Watch::begin();
    loop {
        // Checked first: what the worker reports before it exits is read afterwards.
        let is_gone = matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped));
        let now = status::read(database).unwrap_or_default().drill;
        if now.ended == number {
            if now.error.is_empty() {
                return Ok(now.recorded);
            }
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(Failure::new(code, now.error.get()).into());
        }
        if is_gone || now.number != number {
            drill::release(database, number);
            return Err(worker_lost().into());
        }
        let wanted = match now.phase {
            DrillPhase::Moment => Wanted::Fence,
            _ => Wanted::Nothing,
        };
        cycle.look("incr_drill()", "drill", now.pid, drill::NAME, wanted)?;
        server::wait_a_moment(POLL);
    }
}

fn worker_lost() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        "the drill worker exited unexpectedly",
    )
    .hint("See the server log for details.")
}
