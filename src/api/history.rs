//! incr_history(): the history of a row, from the files.

use archive::time::Time;
use archive_query::history::{self, Found, Row, Session, Typed};
use chrono::DateTime;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::{ensure_same_version, or_raise};
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals, transaction};
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::pg::types::sql_types::{RegClass, StoredJsonb, Xid8};
use crate::pg::types::timestamp;
use crate::row_history::{question, GivenKey};
use crate::{place, preflight};

/// Columns of the result.
type Columns = (
    Option<TimestampWithTimeZone>,
    Option<Xid8>,
    Option<PgLsn>,
    ServerText,
    Option<ServerText>,
    Option<ServerText>,
    Option<i64>,
    Option<ServerText>,
    Option<ServerText>,
    Option<ServerText>,
    Option<ServerText>,
);

/// Only this many notes are raised as notices; the rows contain all of them.
const MOST_WARNINGS: usize = 5;

/// The history of a row: every INSERT, UPDATE and DELETE of it in the files, in commit order, and the
/// TRUNCATEs and DDL of its table. The key is a JSON object of the replica identity's columns.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_history(
    relation: Option<RegClass>,
    key: Option<StoredJsonb>,
    since: default!(Option<TimestampWithTimeZone>, "NULL"),
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(committed, Option<TimestampWithTimeZone>),
        name!(xid, Option<Xid8>),
        name!(lsn, Option<PgLsn>),
        name!(operation, ServerText),
        name!(statement, Option<ServerText>),
        name!(file, Option<ServerText>),
        name!(line, Option<i64>),
        name!(note, Option<ServerText>),
        name!(role, Option<ServerText>),
        name!(application_name, Option<ServerText>),
        name!(client, Option<ServerText>),
    ),
> {
    ensure_same_version();
    TableIterator::new(rows(relation, key.map(GivenKey::Jsonb), since, until))
}

/// The same with the text of a JSON object, or of the value of a single-column key.
#[pg_extern(volatile, parallel_unsafe, name = "incr_history")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_history_text(
    relation: Option<RegClass>,
    key: Option<ServerText>,
    since: default!(Option<TimestampWithTimeZone>, "NULL"),
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(committed, Option<TimestampWithTimeZone>),
        name!(xid, Option<Xid8>),
        name!(lsn, Option<PgLsn>),
        name!(operation, ServerText),
        name!(statement, Option<ServerText>),
        name!(file, Option<ServerText>),
        name!(line, Option<i64>),
        name!(note, Option<ServerText>),
        name!(role, Option<ServerText>),
        name!(application_name, Option<ServerText>),
        name!(client, Option<ServerText>),
    ),
> {
    ensure_same_version();
    TableIterator::new(rows(
        relation,
        key.map(|key| GivenKey::Text(key.0)),
        since,
        until,
    ))
}

fn rows(
    relation: Option<RegClass>,
    key: Option<GivenKey>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
) -> impl Iterator<Item = Columns> {
    // As with any strict function, the result for a NULL argument is empty.
    let asked = relation.zip(key);
    let mut found = asked.and_then(|(table, key)| or_raise(search(table, key, since, until)));
    if let Some(found) = &found {
        tell(found.first_commit(), &found.problems());
    }
    std::iter::from_fn(move || {
        or_raise(look_for_interrupts());
        let row = found.as_mut()?.next_row();
        or_raise(row.map_err(Failure::from)).map(columns)
    })
}

/// How far the files reach back, and what is missing.
pub(super) fn tell(first_commit: Option<Time>, problems: &[String]) {
    if let Some(first) = first_commit {
        let first = archive_query::report::text::moment(first);
        signals::telling(|| {
            notice!(
                "the segments reach back to {first} UTC; earlier changes are in base backups only"
            );
        });
    }
    for problem in problems.iter().take(MOST_WARNINGS) {
        let code = PgSqlErrorCode::ERRCODE_WARNING;
        Failure::new(code, format!("the history may be incomplete: {problem}"))
            .log(PgLogLevel::WARNING);
    }
}

fn search(
    relation: RegClass,
    key: GivenKey,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
) -> Result<Option<Found>, Failure> {
    preflight::ensure_preloaded()?;
    let (since, until) = (since.and_then(time), until.and_then(time));
    let question = question(relation.0, key, since, until)?;
    let Some(database) = place::find(server::my_database())? else {
        return Ok(None);
    };
    history::search(&database, &question, &mut look_for_interrupts).map(Some)
}

/// Returned as a value, so that files are closed before the error is raised.
pub(super) fn look_for_interrupts() -> Result<(), Failure> {
    transaction::catch(|| {
        pgrx::check_for_interrupts!();
    })
}

/// `None` if there is no commit time nearby.
pub(super) fn time(time: TimestampWithTimeZone) -> Option<Time> {
    match i64::from(time) {
        i64::MAX => Some(Time::MAX_UTC),
        i64::MIN => Some(Time::MIN_UTC),
        since_2000 => DateTime::from_timestamp_micros(timestamp::to_unix_micros(since_2000)),
    }
}

fn columns(row: Row) -> Columns {
    let [role, application_name, client] = session(row.who);
    (
        row.commit_time.and_then(committed),
        row.xid.map(Xid8),
        row.lsn.map(|lsn| PgLsn(lsn.0)),
        row.operation.into(),
        row.statement.map(ServerText),
        row.file.map(ServerText::from),
        row.line.map(|line| line as i64),
        row.typed
            .map(typed)
            .or_else(|| row.note.map(ServerText::from)),
        role,
        application_name,
        client,
    )
}

pub(super) fn committed(time: Time) -> Option<TimestampWithTimeZone> {
    timestamp::from_unix_micros(time.timestamp_micros())
}

/// Role, application name and client; what the session did not have is NULL.
pub(super) fn session(who: Option<Session>) -> [Option<ServerText>; 3] {
    let Some(who) = who else {
        return [None, None, None];
    };
    let text = |bytes: Vec<u8>| (!bytes.is_empty()).then_some(ServerText(bytes));
    [text(who.role), text(who.application), text(who.client)]
}

/// For an effect: the statement as the user typed it.
pub(super) fn typed(typed: Typed) -> ServerText {
    let text = match typed.cut {
        0 => ServerText(typed.text),
        _ => ServerText::clipped(typed.text),
    };
    let dots: &[u8] = if typed.cut > 0 { b"..." } else { b"" };
    ServerText([&typed.role, &b" typed: "[..], &text.0, dots].concat())
}
