//! incr_info(): the moments that can be restored.

use archive::storage::Directory;
use archive::time::iso;
use archive_query::catalog::{Catalog, Chain, Gap, Loss, Stretch};
use archive_query::report::text::decoded;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::history::{committed, look_for_interrupts};
use super::{ensure_same_version, or_raise};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::pg::types::lsn::PgLsn;
use crate::place;

/// Segments that join.
struct Row {
    chain: u32,
    stretch: Stretch,
    ends: String,
    lost: Vec<String>,
}

/// One row for each stretch of the archive in which every moment can be restored, oldest first, and why it ends. Without a
/// base that joins, nothing of it can be: base and from are NULL.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn incr_info() -> TableIterator<
    'static,
    (
        name!(chain, i32),
        name!(from_time, Option<TimestampWithTimeZone>),
        name!(from_lsn, Option<PgLsn>),
        name!(to_time, Option<TimestampWithTimeZone>),
        name!(to_lsn, PgLsn),
        name!(base, Option<ServerText>),
        name!(ends, ServerText),
        name!(lost, Vec<ServerText>),
    ),
> {
    ensure_same_version();
    TableIterator::new(or_raise(rows()).into_iter().map(|row| {
        let stretch = row.stretch;
        (
            row.chain as i32,
            stretch.from.and_then(|(at, _)| committed(at)),
            stretch.from.map(|(_, lsn)| PgLsn(lsn.0)),
            stretch.end_at.and_then(committed),
            PgLsn(stretch.end_lsn.0),
            stretch.base.map(ServerText::from),
            row.ends.into(),
            row.lost.into_iter().map(ServerText::from).collect(),
        )
    }))
}

fn rows() -> Result<Vec<Row>, Failure> {
    let Some(database) = place::find(server::my_database())? else {
        return Ok(Vec::new());
    };
    let storage = Directory::at(database.path());
    let (catalog, damage) = Catalog::read_sound(&storage)?;
    for error in damage {
        Failure::new(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!("{error}: it is passed over"),
        )
        .log(PgLogLevel::WARNING);
    }
    let mut rows = Vec::new();
    for chain in &catalog.chains {
        look_for_interrupts()?;
        let (stretches, gaps) = chain.stretches(&storage)?;
        let losses = chain.losses();
        for (nth, stretch) in stretches.into_iter().enumerate() {
            rows.push(Row {
                chain: chain.number,
                ends: why_it_ends(chain, &stretch, gaps.get(nth)),
                lost: losses
                    .iter()
                    .filter(|loss| is_within(loss, &stretch))
                    .map(what_is_lost)
                    .collect(),
                stretch,
            });
        }
    }
    Ok(rows)
}

fn why_it_ends(chain: &Chain, stretch: &Stretch, gap: Option<&Gap>) -> String {
    let why = match (gap, &chain.info.ended) {
        (Some(gap), _) => format!(
            "segments between {} and {} are missing",
            gap.after, gap.before
        ),
        (None, Some(ended)) => format!("the chain ended at {}: {}", iso(ended.at), ended.reason),
        (None, None) => "the end of the files: capture goes on".to_owned(),
    };
    if stretch.base.is_none() {
        return format!("nothing of it can be restored, because no base joins its segments; {why}");
    }
    why
}

fn is_within(loss: &Loss, stretch: &Stretch) -> bool {
    (stretch.start_lsn..=stretch.end_lsn).contains(&loss.flag.first_lsn)
}

/// The object, when, and why.
fn what_is_lost(loss: &Loss) -> String {
    let flag = &loss.flag;
    let since = flag
        .first_at
        .map_or_else(|| flag.first_lsn.to_string(), iso);
    let until = loss.ended_at.map_or_else(|| "now".to_owned(), iso);
    let object = format!("{} {}", decoded(&flag.class), decoded(&flag.identity));
    format!(
        "{} of {} from {since} to {until}: {}",
        flag.lost,
        object.trim(),
        decoded(&flag.reason)
    )
}
