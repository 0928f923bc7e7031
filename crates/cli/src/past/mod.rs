//! What commands that work on the past need, without a server: a plan for the tables that are wanted, and the engine that
//! knows their rows ([`archive_query::past`]).

use std::sync::Arc;

use archive::segment::What;
use archive::storage::Storage;
use archive::Lsn;
use archive_query::catalog::Catalog;
use archive_query::past::{self, Past, Piece, Span};

use crate::error::{Error, Result};
use crate::restore::part::{self, Wanted};
use crate::restore::plan::{self, Moment, Plan, Wish};

/// The files that lead to a moment, and the tables that are wanted.
pub struct Prepared {
    pub plan: Plan,
    pub wanted: Wanted,
}

/// Chooses and checks, as a restore of these tables does. `find` says which they are, by the plan.
pub fn prepare(
    storage: &dyn Storage,
    wish: &Wish,
    find: &dyn Fn(&Plan) -> Result<Wanted>,
) -> Result<Prepared> {
    let (catalog, damage) = Catalog::read_sound(storage)?;
    let wish = Wish {
        is_part: true,
        ..wish.clone()
    };
    let mut plan = plan::choose(storage, &catalog, &wish, damage)?;
    let wanted = find(&plan)?;
    part::ensure_sound(storage, &plan, &wanted)?;
    plan::outline::ensure_checked(storage, &mut plan, &wanted)?;
    plan.lost.retain(|lost| concerns(&wanted, &lost.lost));
    Ok(Prepared { plan, wanted })
}

/// Whether what is lost may be of the tables.
fn concerns(wanted: &Wanted, lost: &archive::segment::Lost) -> bool {
    // What changes no row of another table.
    const ALONE: [&str; 11] = [
        "table",
        "foreign table",
        "view",
        "materialized view",
        "index",
        "sequence",
        "function",
        "trigger",
        "policy",
        "rule",
        "constraint",
    ];
    let is_of_other = lost.oid != 0 && !wanted.oids.contains(&lost.oid);
    let is_alone = lost.what == What::Rows || ALONE.contains(&lost.class.as_str());
    !(is_of_other && is_alone)
}

/// With all segments of the chain behind the moment, so that names can be followed to the end of the archive.
pub fn with_segments_to_the_end(
    storage: &dyn Storage,
    prepared: &mut Prepared,
    wish: &Wish,
) -> Result<()> {
    let chain = prepared.plan.chain.segments.last();
    let last = prepared.plan.segments.last();
    if chain.map(|it| it.name) == last.map(|it| it.segment.name) {
        return Ok(());
    }
    let wish = Wish {
        moment: Moment::Newest,
        chain: Some(prepared.plan.chain.number),
        base: Some(prepared.plan.base.name),
        ..wish.clone()
    };
    let (catalog, damage) = Catalog::read_sound(storage)?;
    let mut end = plan::choose(storage, &catalog, &wish, damage)?;
    plan::outline::ensure_checked(storage, &mut end, &prepared.wanted)?;
    prepared.plan.segments = end.segments;
    Ok(())
}

impl Prepared {
    /// For the engine.
    pub fn span(&self) -> Span {
        let pieces = self.plan.segments.iter().map(|planned| Piece {
            segment: planned.segment.clone(),
            complete: planned.complete,
            is_passed_over: planned.outline.is_some(),
        });
        Span {
            chain: self.plan.chain.clone(),
            base: self.plan.base.clone(),
            segments: pieces.collect(),
            upto: self.plan.upto,
        }
    }

    /// The engine, with the rows of the base. Changes that are lost before the moment are an error, unless they are
    /// `tolerated`.
    pub fn open(&self, storage: &Arc<dyn Storage>, tolerated: bool) -> Result<Past> {
        let lost_from = self.plan.lost_from();
        if let Some(lost) = self.plan.lost.first().filter(|_| !tolerated) {
            let message = format!(
                "changes are lost before the moment: {}",
                String::from_utf8_lossy(&lost.reason)
            );
            let hint = "--allow-lost goes on all the same, and the exit status is 1; a moment before it, or after the next base, \
                        has everything.";
            return Err(Error::failed(message, hint));
        }
        let options = past::Options {
            memory: memory()?,
            lost_from,
        };
        let wanted = self.wanted.oids.clone();
        Ok(Past::open(
            Arc::clone(storage),
            self.span(),
            wanted,
            options,
        )?)
    }
}

/// Bytes of memory for rows: 64 MB, or what PG_INCRBACKUP_MEMORY says.
fn memory() -> Result<usize> {
    let usual = past::Options::default().memory;
    let Ok(text) = std::env::var("PG_INCRBACKUP_MEMORY") else {
        return Ok(usual);
    };
    text.parse().map_err(|_| {
        let message = format!("PG_INCRBACKUP_MEMORY is \"{text}\", which is no number of bytes");
        Error::wrong_use(message, "")
    })
}

impl From<past::Error> for Error {
    fn from(error: past::Error) -> Error {
        let (message, hint) = (error.to_string(), error.hint());
        match error {
            past::Error::Archive(error) => Error::Archive(error),
            past::Error::Contradiction { .. } => Error::Damaged {
                message,
                hint: hint.to_owned(),
            },
            past::Error::Stopped(error) => match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::failed(error.to_string(), ""),
            },
            _ => Error::failed(message, hint),
        }
    }
}

/// The LSN of a plan's moment; the last one that the files have where it has none of its own.
pub fn lsn_of(plan: &Plan, last: Option<Lsn>) -> Lsn {
    match plan.upto {
        Lsn(u64::MAX) => last.unwrap_or(plan.base.metadata.lsn),
        upto => upto,
    }
}
