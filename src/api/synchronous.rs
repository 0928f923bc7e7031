//! incr_synchronous(): commits that wait for the files.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::ensure_same_version;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::pg::types::timestamp;
use crate::status;

/// One row for each database whose capture was started since the server's start: how many commits wait for the files
/// (`pg_incrbackup.synchronous`) and since when the first of them does; how many returned before they were durable, and when
/// the last of them did.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_synchronous() -> TableIterator<
    'static,
    (
        name!(database, ServerText),
        name!(waiting, i64),
        name!(waiting_since, Option<TimestampWithTimeZone>),
        name!(degraded, i64),
        name!(degraded_at, Option<TimestampWithTimeZone>),
    ),
> {
    ensure_same_version();
    let entries = status::read_all().into_iter();
    let captured = entries.filter(|entry| entry.started_at != 0);
    TableIterator::new(captured.filter_map(|entry| {
        let database = pg_sys::Oid::from(entry.database);
        let name = server::database_name(database)?;
        let commits = status::synchronous(database);
        Some((
            ServerText(name),
            commits.waiting as i64,
            timestamp::from_unix_micros(commits.waiting_since),
            commits.degraded as i64,
            timestamp::from_unix_micros(commits.degraded_at),
        ))
    }))
}
