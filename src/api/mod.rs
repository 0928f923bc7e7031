//! The SQL functions. Each one checks that it can be used here, calls another module, and turns the result
//! into rows. Errors are raised here and nowhere else.

mod as_of;
mod changes;
mod check;
mod cluster;
mod deadlock;
mod drill;
mod history;
mod info;
mod mark;
mod metrics;
mod progress;
mod reading;
mod report;
mod report_sections;
mod requests;
mod restore_command;
mod retention;
mod setup;
mod status;
mod synchronous;
mod waiting;

use archive::manifest::Kind;
use archive::{listing, verify};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use crate::figures::pretty_bytes;
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals};
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::pg::types::timestamp;
use crate::sequences::{self, Positions};
use crate::{health, place, preflight};

extension_sql_file!("../../sql/grants.sql", name = "grants", finalize);

/// The kind of a file in incr_files() and incr_expire().
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Base => "base",
        Kind::Incremental => "incremental",
        Kind::Globals => "globals",
    }
}

/// Returns the value or raises the failure.
fn or_raise<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| failure.raise())
}

/// Called first by every function: its result must be what its declaration says.
fn ensure_same_version() {
    or_raise(preflight::ensure_same_version());
}

/// Sets up the backup of this database: whatever is missing of replica identities, slot, first base and
/// running capture. With `new_chain` it always creates a new slot, chain and base. With `take_over` this
/// server becomes the owner of an archive that another server, which must be stopped, has written.
#[pg_extern(name = "incr_setup", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_setup_or_take_over(
    new_chain: default!(bool, false),
    take_over: default!(bool, false),
) -> TableIterator<
    'static,
    (
        name!(step, ServerText),
        name!(status, ServerText),
        name!(detail, ServerText),
    ),
> {
    ensure_same_version();
    let steps = or_raise(setup::run(new_chain, take_over));
    TableIterator::new(steps.into_iter().map(step_columns))
}

/// The functions as versions before 0.3.0 declare them; called until ALTER EXTENSION UPDATE has been run.
#[pg_extern(sql = false)]
fn incr_setup(
    new_chain: bool,
) -> TableIterator<
    'static,
    (
        name!(step, ServerText),
        name!(status, ServerText),
        name!(detail, ServerText),
    ),
> {
    ensure_same_version();
    let steps = or_raise(setup::run(new_chain, false));
    TableIterator::new(steps.into_iter().map(step_columns))
}

fn step_columns(step: setup::Step) -> (ServerText, ServerText, ServerText) {
    (
        step.step.into(),
        step.status.into(),
        ServerText::from_utf8(&step.detail),
    )
}

/// Health of every slot of this database. Levels: `ok`, `warning`, `critical`, `emergency`.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_slot_health() -> TableIterator<
    'static,
    (
        name!(slot_name, ServerText),
        name!(database, ServerText),
        name!(plugin, Option<ServerText>),
        name!(level, ServerText),
        name!(reasons, Vec<ServerText>),
        name!(active, bool),
        name!(wal_status, Option<ServerText>),
        name!(restart_lag_bytes, Option<i64>),
        name!(replication_lag, Option<ServerText>),
        name!(confirmed_lag_bytes, Option<i64>),
        name!(confirmed_lag, Option<ServerText>),
        name!(safe_wal_size, Option<i64>),
        name!(age, Option<Interval>),
        name!(durable_lsn, Option<PgLsn>),
        name!(last_commit_at, Option<TimestampWithTimeZone>),
        name!(disk_used_percent, Option<i32>),
        name!(archive_lag_files, Option<i64>),
        name!(archive_lag_bytes, Option<i64>),
        name!(archive_lag, Option<Interval>),
        name!(drill_age, Option<Interval>),
    ),
> {
    ensure_same_version();
    let rows = or_raise(health::report());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.slot_name.into(),
            row.database.into(),
            row.plugin.map(ServerText::from),
            row.level.name().into(),
            row.reasons.into_iter().map(ServerText::from).collect(),
            row.active,
            row.wal_status.map(ServerText::from),
            row.restart_lag.map(|bytes| bytes as i64),
            row.restart_lag.map(|bytes| pretty_bytes(bytes).into()),
            row.confirmed_lag.map(|bytes| bytes as i64),
            row.confirmed_lag.map(|bytes| pretty_bytes(bytes).into()),
            row.safe_wal_size,
            row.age_micros.map(timestamp::interval),
            PgLsn::or_null(row.durable_lsn),
            timestamp::from_unix_micros(row.last_commit_at),
            row.disk_used_percent,
            row.archive_lag.map(|lag| lag.files as i64),
            row.archive_lag.map(|lag| lag.bytes as i64),
            row.archive_lag
                .map(|lag| timestamp::interval(lag.age_micros)),
            row.drill_age_micros.map(timestamp::interval),
        )
    }))
}

/// `setval` statements that set every sequence to its exact value.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_seq_sync_sql() -> SetOfIterator<'static, ServerText> {
    ensure_same_version();
    let positions = sequences::positions(Positions::Exact).unwrap_or_report();
    SetOfIterator::new(
        positions
            .into_iter()
            .map(|p| ServerText(sequences::setval_sql(&p))),
    )
}

/// What each worker of this database is doing.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_status() -> TableIterator<
    'static,
    (
        name!(worker, ServerText),
        name!(pid, Option<i32>),
        name!(state, ServerText),
        name!(since, Option<TimestampWithTimeZone>),
        name!(file, Option<ServerText>),
        name!(durable_lsn, Option<PgLsn>),
        name!(transactions, Option<i64>),
        name!(statements, Option<i64>),
        name!(bytes, Option<i64>),
        name!(errors, Option<i64>),
        name!(last_error, Option<ServerText>),
        name!(last_error_at, Option<TimestampWithTimeZone>),
        name!(detail, Option<ServerText>),
        name!(bytes_processed, Option<i64>),
        name!(bytes_total, Option<i64>),
        name!(bytes_per_second, Option<i64>),
        name!(time_left, Option<Interval>),
    ),
> {
    ensure_same_version();
    or_raise(preflight::ensure_preloaded());
    let rows = status::rows(server::my_database());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.worker.into(),
            (row.pid != 0).then_some(row.pid),
            row.state.into(),
            timestamp::from_unix_micros(row.since),
            some_text(row.file),
            PgLsn::or_null(row.durable_lsn),
            row.transactions.map(|count| count as i64),
            row.statements.map(|count| count as i64),
            row.bytes.map(|count| count as i64),
            row.errors.map(|count| count as i64),
            some_text(row.last_error),
            timestamp::from_unix_micros(row.last_error_at),
            some_text(row.detail),
            row.progress.bytes_processed.map(|bytes| bytes as i64),
            row.progress.bytes_total.map(|bytes| bytes as i64),
            row.progress.bytes_per_second.map(|bytes| bytes as i64),
            row.progress.time_left.map(timestamp::interval),
        )
    }))
}

fn some_text(text: String) -> Option<ServerText> {
    (!text.is_empty()).then(|| text.into())
}

/// Waits until everything that was committed before the call is fsynced; returns the LSN up to which it is.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_flush(timeout: default!(Interval, "'1 min'")) -> PgLsn {
    ensure_same_version();
    let limit = or_raise(timestamp::duration(&timeout));
    PgLsn(or_raise(requests::flush(server::my_database(), limit)))
}

/// Closes the open segment, unless it is empty; returns the path of the last closed one.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_rotate() -> Option<ServerText> {
    ensure_same_version();
    some_text(or_raise(requests::rotate(server::my_database())))
}

/// Takes a base backup and returns its path; without `wait` as soon as its path is known.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_dump(wait: default!(bool, true)) -> ServerText {
    ensure_same_version();
    or_raise(setup::dump(wait)).into()
}

/// Every file of this database's archive.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_files() -> TableIterator<
    'static,
    (
        name!(chain, i32),
        name!(kind, ServerText),
        name!(file, ServerText),
        name!(start_lsn, PgLsn),
        name!(end_lsn, PgLsn),
        name!(first_commit_at, Option<TimestampWithTimeZone>),
        name!(last_commit_at, Option<TimestampWithTimeZone>),
        name!(transactions, i64),
        name!(statements, i64),
        name!(bytes, i64),
        name!(sha256, Option<ServerText>),
        name!(archived_at, Option<TimestampWithTimeZone>),
    ),
> {
    ensure_same_version();
    let list = || match place::find(server::my_database())? {
        Some(database) => Ok(listing::files(&database.chains()?)?),
        None => Ok(Vec::new()),
    };
    TableIterator::new(or_raise(list()).into_iter().map(|row| {
        let time = |time: Option<archive::time::Time>| {
            time.and_then(|time| timestamp::from_unix_micros(time.timestamp_micros()))
        };
        (
            row.chain as i32,
            kind_name(row.kind).into(),
            row.file.into(),
            PgLsn(row.start_lsn.0),
            PgLsn(row.end_lsn.0),
            time(row.first_commit_at),
            time(row.last_commit_at),
            row.transactions as i64,
            row.statements as i64,
            row.bytes as i64,
            row.sha256.map(ServerText::from),
            time(row.archived_at),
        )
    }))
}

/// Checks checksums, order and continuity of this database's archive; no row means that there is no problem.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_verify() -> TableIterator<'static, (name!(file, ServerText), name!(problem, ServerText))> {
    ensure_same_version();
    let list = || match place::find(server::my_database())? {
        Some(database) => Ok(verify::verify(
            &database,
            &mut signals::look_for_interrupts,
        )?),
        None => Ok(Vec::new()),
    };
    let rows = or_raise(list());
    TableIterator::new(
        rows.into_iter()
            .map(|row| (row.file.into(), row.problem.into())),
    )
}

/// Stops capture of this database; the files are kept. Without `drop_slot` the slot is kept too and retains
/// all WAL from now on, and capture resumes after incr_setup() or a restart of the server.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_teardown(drop_slot: default!(bool, true)) -> ServerText {
    ensure_same_version();
    or_raise(setup::teardown(drop_slot)).into()
}
