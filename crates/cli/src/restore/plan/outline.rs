//! Segments that a part does not touch: they are passed over.
//!
//! The index of a closed segment ([`archive_query::history::index`]) says which tables it writes to, and whether it has
//! anything else. It is of the content whose checksum the manifest lists, so what it says is as good as a look. Of a
//! segment without schema changes, flags and the like, whose tables are all of no part, only the header is read: that it
//! joins the one before and the one behind, which name each other's checksums. Whether it is still as it was written does
//! not matter for the part; `verify` looks.
//!
//! A segment is passed over while a plan is made, when it is not known yet what the part is: [`ensure_checked`] reads those
//! that turn out to be touched.

use archive::segment::{Event, Header, Scanner};
use archive::storage::{self, Storage};
use archive::Lsn;
use archive_query::catalog::{Chain, Segment};
use archive_query::history::index;

use super::moment::Moment;
use super::segment::{self, Facts, Found, Needs};
use super::{Plan, Planned};
use crate::error::{Error, Result};
use crate::restore::part::filter::Filter;
use crate::restore::part::Wanted;

/// What a segment that was not read has.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Its tables, as written.
    tables: Vec<Vec<u8>>,
    /// The statements with the last positions of sequences.
    pub positions: Vec<Vec<u8>>,
    /// The lowest and the highest LSN of them.
    between: Option<(Lsn, Lsn)>,
}

/// What a pass needs of a segment, without reading more of it than its header. `None`: it must be read.
pub(super) fn of(
    storage: &dyn Storage,
    chain: &Chain,
    segment: &Segment,
    moment: &Moment,
    found: Found,
) -> Result<Option<(Facts, Outline)>> {
    // How far the archive reaches is read, whatever the part is.
    let is_near_the_end = chain.segments.iter().rev().take(2);
    if is_near_the_end
        .into_iter()
        .any(|last| last.name == segment.name)
    {
        return Ok(None);
    }
    let Some(entry) = &segment.entry else {
        return Ok(None);
    };
    let Some(index) = index::of_listed(storage, chain, segment) else {
        return Ok(None);
    };
    // The manifest has both too: an index of less than the segment is of no use.
    if (index.transactions, index.bytes) != (entry.transactions, entry.bytes) {
        return Ok(None);
    }
    let Some(outline) = index.outline else {
        return Ok(None);
    };
    let found = match moment {
        Moment::Time(upto) => {
            let is_before = index.latest.is_none_or(|latest| latest <= *upto);
            if outline.is_timeless || !is_before {
                return Ok(None);
            }
            found.all_before(outline.last_commit)
        }
        _ => found,
    };
    let Some(header) = header(storage, chain, segment)?.filter(|header| header.format >= 2) else {
        return Ok(None);
    };
    let facts = Facts {
        header: Some(header),
        complete: index.complete,
        sha256: entry.sha256.clone(),
        bytes: index.bytes,
        end_lsn: entry.end_lsn,
        is_closed: true,
        transactions: entry.transactions,
        statements: entry.statements,
        latest: index.latest,
        is_timeless: outline.is_timeless,
        found,
        ..Facts::default()
    };
    let outline = Outline {
        tables: index.relations.into_iter().map(|it| it.name.0).collect(),
        positions: outline.positions.into_iter().map(|it| it.0).collect(),
        between: outline.positions_between,
    };
    Ok(Some((facts, outline)))
}

/// `None` if it cannot be parsed: reading the segment says why.
pub fn header(storage: &dyn Storage, chain: &Chain, segment: &Segment) -> Result<Option<Header>> {
    let file = chain.file(&segment.file());
    let Some(input) = chain.open(storage, segment)? else {
        return Err(segment::gone(storage, &file));
    };
    let first = Scanner::new(input).next_event();
    Ok(
        match first.map_err(storage::failed("read", storage, &file))? {
            Some(Event::Header(header)) => Some(*header),
            _ => None,
        },
    )
}

/// Reads and checks the segments that were passed over and have something of the part; keeps those that have nothing.
pub fn ensure_checked(storage: &dyn Storage, plan: &mut Plan, wanted: &Wanted) -> Result<()> {
    let mut filter = Filter::new(wanted);
    let mut segments = std::mem::take(&mut plan.segments);
    let mut changes = plan.needs.changes.iter().peekable();
    for planned in &mut segments {
        let Some(outline) = planned.outline.take() else {
            continue;
        };
        // It has no schema change itself.
        let start = planned.segment.start_lsn();
        while let Some(change) = changes.next_if(|change| change.lsn <= start) {
            if plan.applies(change.xid, change.lsn) {
                filter.takes_effect(&change.effect);
            }
        }
        // All of its positions are applied, or none: otherwise it is read.
        let is_inside = outline.positions.is_empty()
            || outline.between.is_some_and(|(lowest, highest)| {
                lowest > plan.base.metadata.lsn && highest <= plan.upto
            });
        let tables = outline.tables.iter().map(Vec::as_slice);
        if filter.touches(tables) || !is_inside {
            check(storage, plan, planned)?;
        } else {
            planned.outline = Some(outline);
        }
    }
    drop(changes);
    plan.segments = segments;
    Ok(())
}

/// As the pass would have checked it.
fn check(storage: &dyn Storage, plan: &Plan, planned: &mut Planned) -> Result<()> {
    let segment = &planned.segment;
    let file = plan.chain.file(&segment.file());
    let (moment, found, mut needs) = (&Moment::Newest, Found::default(), Needs::default());
    let facts = segment::read(storage, &plan.chain, segment, moment, found, &mut needs)?;
    let place = storage.place(&file);
    facts.ensure_listed(&place, segment)?;
    facts.ensure_whole(storage, &file, segment.stored)?;
    if needs.is_of_rows_alone() {
        planned.complete = facts.complete;
        return Ok(());
    }
    let message = format!("the index of {place} is not of its contents");
    let hint = "Remove it from the chain's directory index: it is built again when it is needed.";
    Err(Error::Damaged {
        message,
        hint: hint.to_owned(),
    })
}
