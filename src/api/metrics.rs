//! incr_metrics(): figures for monitoring.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::{ensure_same_version, or_raise};
use crate::pg::text::ServerText;
use crate::pg::types::timestamp;
use crate::{health, status};

/// The figures of every database of the cluster that has a slot or an archive directory, as numbers: bytes,
/// seconds, and counts since the server's start (of what is written: since the worker's). NULL if there is no
/// value.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_metrics() -> TableIterator<
    'static,
    (
        name!(database, ServerText),
        name!(slot_name, ServerText),
        name!(level, ServerText),
        name!(chain_broken, bool),
        name!(capturing, Option<bool>),
        name!(active, bool),
        name!(wal_status, Option<ServerText>),
        name!(restart_lag_bytes, Option<i64>),
        name!(confirmed_lag_bytes, Option<i64>),
        name!(safe_wal_size, Option<i64>),
        name!(behind_seconds, Option<f64>),
        name!(last_commit_at, Option<TimestampWithTimeZone>),
        name!(transactions, Option<i64>),
        name!(statements, Option<i64>),
        name!(bytes, Option<i64>),
        name!(restarts, Option<i64>),
        name!(errors, Option<i64>),
        name!(not_carried, Option<i64>),
        name!(ddl_not_carried, Option<i64>),
        name!(ddl_logged, Option<bool>),
        name!(tables_without_identity, Option<i64>),
        name!(base_age_seconds, Option<f64>),
        name!(base_seconds, Option<f64>),
        name!(base_failures, Option<i64>),
        name!(drill_result, Option<ServerText>),
        name!(drill_age_seconds, Option<f64>),
        name!(drill_seconds, Option<f64>),
        name!(archive_lag_files, Option<i64>),
        name!(archive_lag_bytes, Option<i64>),
        name!(archive_lag_seconds, Option<f64>),
        name!(archive_failures, Option<i64>),
        name!(disk_used_percent, Option<i32>),
    ),
> {
    ensure_same_version();
    let rows = or_raise(health::metrics());
    TableIterator::new(rows.into_iter().map(|metrics| {
        let health = &metrics.health;
        let entry = &metrics.status;
        let look = entry
            .map(|entry| entry.look)
            .filter(|look| look.looked_at != 0);
        let count = |figure: fn(&status::DatabaseStatus) -> u64| {
            entry.as_ref().map(|entry| figure(entry) as i64)
        };
        (
            health.database.as_str().into(),
            health.slot_name.as_str().into(),
            health.level.name().into(),
            health.is_chain_broken,
            metrics.is_capturing,
            health.active,
            health.wal_status.as_deref().map(ServerText::from_utf8),
            health.restart_lag.map(|bytes| bytes as i64),
            health.confirmed_lag.map(|bytes| bytes as i64),
            health.safe_wal_size,
            health.age_micros.map(seconds),
            timestamp::from_unix_micros(health.last_commit_at),
            count(|entry| entry.transactions),
            count(|entry| entry.statements),
            count(|entry| entry.bytes),
            count(|entry| entry.restarts.into()),
            count(|entry| entry.errors),
            count(|entry| entry.flags + entry.losses),
            count(|entry| entry.ddl_flags),
            look.map(|look| look.is_ddl_logged),
            look.map(|look| look.keyless_tables.into()),
            metrics.base.as_ref().map(|base| seconds(base.age_micros)),
            metrics
                .base
                .as_ref()
                .map(|base| base.duration.as_secs_f64()),
            metrics.base_failures.map(i64::from),
            metrics
                .drill
                .as_ref()
                .map(|drill| drill.outcome.name().into()),
            health.drill_age_micros.map(seconds),
            metrics
                .drill
                .as_ref()
                .map(|drill| drill.duration_ms as f64 / 1000.0),
            health.archive_lag.map(|lag| lag.files as i64),
            health.archive_lag.map(|lag| lag.bytes as i64),
            health.archive_lag.map(|lag| seconds(lag.age_micros)),
            metrics.archive_failures.map(i64::from),
            health.disk_used_percent,
        )
    }))
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}
