//! incr_changes(): what happened to a table, from the files.

use archive_query::history::changed_row::Object;
use archive_query::history::{Change, Changes};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::history::{committed, look_for_interrupts, session, tell, time, typed};
use super::{ensure_same_version, or_raise};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::pg::types::sql_types::{JsonbText, RegClass, Xid8};
use crate::row_history::changes_of;
use crate::{place, preflight};

/// Columns of the result.
type Columns = (
    Option<TimestampWithTimeZone>,
    Option<Xid8>,
    Option<PgLsn>,
    ServerText,
    Option<JsonbText>,
    Option<JsonbText>,
    Option<JsonbText>,
    Option<ServerText>,
    Option<ServerText>,
    Option<ServerText>,
    Option<ServerText>,
    Option<ServerText>,
    Option<i64>,
    Option<ServerText>,
);

/// Every change of a table's rows and of its definition in the files, in commit order.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_changes(
    relation: Option<RegClass>,
    since: default!(Option<TimestampWithTimeZone>, "NULL"),
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
    operation: default!(Option<ServerText>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(committed, Option<TimestampWithTimeZone>),
        name!(xid, Option<Xid8>),
        name!(lsn, Option<PgLsn>),
        name!(command, ServerText),
        name!(key, Option<JsonbText>),
        name!(old, Option<JsonbText>),
        name!(new, Option<JsonbText>),
        name!(role, Option<ServerText>),
        name!(application_name, Option<ServerText>),
        name!(client, Option<ServerText>),
        name!(statement, Option<ServerText>),
        name!(file, Option<ServerText>),
        name!(line, Option<i64>),
        name!(note, Option<ServerText>),
    ),
> {
    ensure_same_version();
    // As with any strict function, the result for a NULL table is empty.
    let opened = relation.and_then(|table| or_raise(open(table, since, until, operation)));
    if let Some(changes) = &opened {
        tell(changes.first_commit(), &changes.problems());
    }
    let mut opened = opened;
    TableIterator::new(std::iter::from_fn(move || {
        or_raise(look_for_interrupts());
        let change = opened.as_mut()?.next_change(&mut look_for_interrupts);
        or_raise(change).map(columns)
    }))
}

fn open(
    table: RegClass,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    operation: Option<ServerText>,
) -> Result<Option<Changes>, Failure> {
    preflight::ensure_preloaded()?;
    let (since, until) = (since.and_then(time), until.and_then(time));
    let operation = operation.map(|name| name.to_utf8());
    let question = changes_of(table.0, since, until, operation.as_deref())?;
    let Some(database) = place::find(server::my_database())? else {
        return Ok(None);
    };
    Changes::open(&database, question, &mut look_for_interrupts).map(Some)
}

fn columns(change: Change) -> Columns {
    let [role, application_name, client] = session(change.who);
    let mut is_too_long = false;
    let mut values = |object: Option<Object>| {
        let value = JsonbText::of(object?);
        is_too_long |= value.is_none();
        value
    };
    let (key, old, new) = (values(change.key), values(change.old), values(change.new));
    let note = match (change.typed, change.note) {
        (Some(words), _) => Some(typed(words)),
        (None, None) if is_too_long => {
            Some("its values are too long for jsonb: incr_history() shows them".into())
        }
        (None, note) => note.map(ServerText::from),
    };
    (
        change.commit_time.and_then(committed),
        change.xid.map(Xid8),
        change.lsn.map(|lsn| PgLsn(lsn.0)),
        change.operation.into(),
        key,
        old,
        new,
        role,
        application_name,
        client,
        change.statement.map(ServerText),
        change.file.map(ServerText::from),
        change.line.map(|line| line as i64),
        note,
    )
}
