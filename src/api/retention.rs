//! incr_expire() and incr_keep(): what retention keeps, and base backups that are pinned.

use archive::expiry;
use archive::time;
use chrono::{DateTime, Datelike};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::{ensure_same_version, kind_name, or_raise};
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals};
use crate::pg::text::ServerText;
use crate::pg::types::timestamp;
use crate::{backup, place, preflight};

/// What retention keeps of this database's archive and what it removes, and why. With `dry_run` (the default)
/// it only lists this; otherwise expired files are removed.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_expire(
    dry_run: default!(bool, true),
) -> TableIterator<
    'static,
    (
        name!(chain, i32),
        name!(kind, ServerText),
        name!(file, ServerText),
        name!(decision, ServerText),
        name!(reason, ServerText),
        name!(bytes, i64),
    ),
> {
    ensure_same_version();
    if !dry_run {
        or_raise(preflight::ensure_not_in_recovery());
    }
    let rows = or_raise(backup::expiry::rows(server::my_database(), dry_run));
    if !dry_run {
        backup::expiry::prune_ddl_history();
    }
    TableIterator::new(rows.into_iter().map(move |row| {
        let decision = match (row.expires, dry_run) {
            (false, _) => "kept",
            (true, true) => "would expire",
            (true, false) => "expired",
        };
        (
            row.chain as i32,
            kind_name(row.kind).into(),
            row.file.into(),
            decision.into(),
            row.why.into(),
            row.bytes as i64,
        )
    }))
}

/// Keeps a base backup, given by its name or path, until a time, whatever its age; NULL means forever. A time
/// in the past removes the pin. Returns the new state.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_keep(
    base: Option<ServerText>,
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
    note: default!(Option<ServerText>, "NULL"),
) -> ServerText {
    ensure_same_version();
    or_raise(keep(base, until, note)).into()
}

fn keep(
    base: Option<ServerText>,
    until: Option<TimestampWithTimeZone>,
    note: Option<ServerText>,
) -> Result<String, Failure> {
    preflight::ensure_not_in_recovery()?;
    let base = base.map(|text| text.to_utf8()).unwrap_or_default();
    let note = note.map(|text| text.to_utf8()).unwrap_or_default();
    let until = until.map(point_in_time).transpose()?.flatten();
    let found = place::own(server::my_database())?;
    let pinned = match &found {
        Some(database) => expiry::pin(
            database,
            &base,
            until,
            &note,
            time::calendar(),
            &mut signals::look_for_interrupts,
        )?,
        None => None,
    };
    let (chain, name) = pinned.ok_or_else(|| no_such_base(&base))?;
    Ok(match until {
        None => format!("chain-{chain}/base/{name} is kept forever"),
        Some(until) if until > time::calendar() => {
            format!(
                "chain-{chain}/base/{name} is kept until {}",
                time::iso(until)
            )
        }
        Some(_) => format!("chain-{chain}/base/{name} is kept as long as retention says"),
    })
}

/// `None` for infinity. A time in the past is accepted, however long ago.
fn point_in_time(until: TimestampWithTimeZone) -> Result<Option<time::Time>, Failure> {
    let micros = match i64::from(until) {
        i64::MAX => return Ok(None),
        i64::MIN => 0,
        since_2000 => timestamp::to_unix_micros(since_2000).max(0),
    };
    let time = DateTime::from_timestamp_micros(micros);
    let written = time.filter(|time| time.year() <= 9999);
    let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    let too_late = || {
        Failure::new(code, "a base backup cannot be kept beyond the year 9999")
            .hint("Use NULL to keep it forever.")
    };
    written.map(Some).ok_or_else(too_late)
}

fn no_such_base(base: &str) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
    Failure::new(code, format!("base backup \"{base}\" does not exist")).hint(
        "SELECT chain, file FROM incr_files() WHERE kind = 'base' lists them; give the name, or the \
         path that incr_dump() returned.",
    )
}
