//! incr_metrics(): the figures of health and status as numbers, of every database of the cluster, for
//! monitoring.
//!
//! An unknown figure (of a worker that never ran, of a drill that never took place) is missing, never 0.

use std::time::Duration;

use archive::base;
use archive::drills::{Drill, Outcome};
use archive::layout::names::METADATA_JSON;
use archive::metadata::Metadata;
use archive::time;
use pgrx::prelude::*;

use super::{cluster, Row};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status::{self, DatabaseStatus, Phase};
use crate::{drill, place, settings};

/// One database.
pub struct Metrics {
    /// As incr_cluster_health() has it.
    pub health: Row,
    /// The board's entry; `None` if its capture was not started since the server's start.
    pub status: Option<DatabaseStatus>,
    /// `None` if nothing is to be captured: on a standby, after incr_teardown(), and where the database is excluded.
    pub is_capturing: Option<bool>,
    pub base: Option<BaseFigures>,
    /// Number of consecutive failures of bases.
    pub base_failures: Option<u32>,
    pub drill: Option<Drill>,
    /// Number of consecutive failures of archive_command; `None` if it is not set.
    pub archive_failures: Option<u32>,
}

/// The newest base backup.
pub struct BaseFigures {
    pub age_micros: i64,
    pub duration: Duration,
}

/// One for each existing database that has a slot or an archive directory. Needs a transaction.
pub fn report() -> Result<Vec<Metrics>, Failure> {
    let rows = cluster::known()?.into_iter();
    let existing = rows.filter(|row| server::database_name(row.database_oid).is_some());
    Ok(existing.map(of).collect())
}

fn of(health: Row) -> Metrics {
    let database = health.database_oid;
    // Without a slot, and without one to miss, bases and drills are not expected.
    let is_without_slot = health.wal_status.is_none() && !health.is_chain_broken;
    let status = status::read(database).filter(|entry| entry.started_at != 0);
    let is_capturing = status.is_some_and(|entry| is_capturing(&entry));
    // A standby may have a slot that is kept in step.
    let is_to_capture = !server::is_in_recovery() && (!is_without_slot || is_to_capture(database));
    Metrics {
        is_capturing: is_to_capture.then_some(is_capturing),
        base: newest_base(database).filter(|_| !is_without_slot),
        base_failures: status.map(|entry| entry.base.failures),
        drill: last_drill(database).filter(|_| !is_without_slot),
        archive_failures: health
            .archive_lag
            .and(status)
            .map(|entry| entry.offsite.failures),
        status,
        health,
    }
}

/// Of a database without a slot whose chain is not broken. Where a setup fails, or the slot was lost, something
/// is to be captured and is not.
fn is_to_capture(database: pg_sys::Oid) -> bool {
    let name = server::database_name(database).unwrap_or_default();
    if settings::databases().excludes(&name) {
        return false;
    }
    let chain = place::latest_chain(database).ok().flatten();
    let end = chain.and_then(|chain| chain.info.ended);
    end.is_none_or(|end| !place::is_torn_down(&end))
}

fn is_capturing(entry: &DatabaseStatus) -> bool {
    let is_at_work = matches!(
        entry.phase,
        Phase::Starting | Phase::Streaming | Phase::CaughtUp
    );
    is_at_work && entry.pid != 0 && server::is_process_alive(entry.pid)
}

/// A base whose metadata cannot be read does not count: the age is that of the previous one.
fn newest_base(database: pg_sys::Oid) -> Option<BaseFigures> {
    let chain = place::latest_chain(database).ok().flatten()?;
    let bases = chain.bases().ok()?.into_iter().rev();
    let mut metadata = bases
        .filter_map(|name| Metadata::read(&base::path_of(&chain, name).join(METADATA_JSON)).ok());
    let newest = metadata.next()?;
    let age = time::calendar() - newest.taken_at;
    Some(BaseFigures {
        age_micros: age.num_microseconds().unwrap_or(i64::MAX).max(0),
        duration: Duration::from_millis(newest.duration_ms),
    })
}

/// The last drill that passed, failed or timed out.
fn last_drill(database: pg_sys::Oid) -> Option<Drill> {
    settings::directory()?;
    let records = drill::records(database).ok()?.into_iter().rev();
    let mut told = records.filter(|drill| drill.outcome != Outcome::Interrupted);
    told.next()
}
