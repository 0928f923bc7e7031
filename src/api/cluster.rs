//! incr_cluster_health(): a summary of every database of the cluster.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::{ensure_same_version, or_raise};
use crate::health;
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::pg::types::timestamp;

/// Health of every database of the cluster that has a slot or an archive directory, the worst first. What
/// only a session in the database can see (event triggers, tables without a key) is as its capture worker
/// last saw it, at most half a minute ago; incr_slot_health() in that database checks it directly.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_cluster_health() -> TableIterator<
    'static,
    (
        name!(database, ServerText),
        name!(level, ServerText),
        name!(reasons, Vec<ServerText>),
        name!(slot_name, ServerText),
        name!(active, bool),
        name!(wal_status, Option<ServerText>),
        name!(restart_lag_bytes, Option<i64>),
        name!(confirmed_lag_bytes, Option<i64>),
        name!(age, Option<Interval>),
        name!(durable_lsn, Option<PgLsn>),
        name!(last_commit_at, Option<TimestampWithTimeZone>),
        name!(disk_used_percent, Option<i32>),
        name!(drill_age, Option<Interval>),
    ),
> {
    ensure_same_version();
    let rows = or_raise(health::cluster_report());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.database.into(),
            row.level.name().into(),
            row.reasons.into_iter().map(ServerText::from).collect(),
            row.slot_name.into(),
            row.active,
            row.wal_status.map(ServerText::from),
            row.restart_lag.map(|bytes| bytes as i64),
            row.confirmed_lag.map(|bytes| bytes as i64),
            row.age_micros.map(timestamp::interval),
            PgLsn::or_null(row.durable_lsn),
            timestamp::from_unix_micros(row.last_commit_at),
            row.disk_used_percent,
            row.drill_age_micros.map(timestamp::interval),
        )
    }))
}
