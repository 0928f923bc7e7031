//! Where the transaction is that a moment is given by.

use archive::layout::Stored;
use archive::segment::{Event, Part, Scanner};
use archive::storage::{self, Storage};
use archive::time::{iso, Time};
use archive::Lsn;
use archive_query::catalog::{Catalog, Chain, Segment};

use super::choice::said;
use super::moment::Moment;
use super::segment::gone;
use super::Wish;
use crate::error::{Error, Result};

/// A transaction of a chain.
#[derive(Debug, Clone, Copy)]
struct Commit {
    xid: u64,
    lsn: Lsn,
    at: Option<Time>,
}

/// The same wish by chain and commit LSN, and a sentence about what was found. A moment of another kind stays as it is.
pub fn located(
    storage: &dyn Storage,
    catalog: &Catalog,
    wish: &Wish,
) -> Result<(Wish, Option<String>)> {
    if !wish.moment.is_of_transaction() {
        return Ok((wish.clone(), None));
    }
    let chains = catalog.chains.iter().rev();
    let mut missing = None;
    for chain in chains.filter(|chain| wish.chain.is_none_or(|number| chain.number == number)) {
        let Some(found) = last_in(storage, chain, &wish.moment, &mut missing)? else {
            continue;
        };
        let wish_moment = &wish.moment;
        let is_before = !matches!(wish_moment, Moment::Xid(_) | Moment::Mark(_));
        let found_wish = Wish {
            // Every commit before it has a lower LSN.
            moment: Moment::Lsn(Lsn(found.lsn.0 - u64::from(is_before))),
            chain: Some(chain.number),
            ..wish.clone()
        };
        let at = found
            .at
            .map_or_else(String::new, |at| format!(" of {}", iso(at)));
        let relation = if is_before { "before" } else { "with" };
        // A transaction is only once; of changes and marks the newest is meant.
        let is_newest = !matches!(wish_moment, Moment::Xid(_) | Moment::BeforeXid(_));
        let doubt = missing.filter(|_| is_newest);
        let doubt = doubt.map_or_else(String::new, |(from, to): (Lsn, Lsn)| {
            format!("; a newer one may be in the segments from {from} to {to}, which are missing")
        });
        let sentence = format!(
            "the moment {relation} transaction {}{at} ({}){doubt}",
            found.xid, found.lsn
        );
        return Ok((found_wish, Some(sentence)));
    }
    let message = format!("{} is not in the segments of any chain", said(&wish.moment));
    let hint = match wish.moment {
        Moment::BeforeDdl(_) => "Retention may have removed its segment (pg_incrbackup info shows what is there); and a \
                change of the schema that a version before 0.4.0 captured is not known by what it did.",
        Moment::Mark(_) => "Names are compared letter by letter; grep -h ' mark name=' in the segments lists them. Retention \
                may have removed its segment, or it was made just now (SELECT incr_flush()).",
        _ => "Retention may have removed its segment (pg_incrbackup info shows what is there).",
    };
    Err(Error::no_such_moment(message, hint))
}

/// The newest transaction of a chain that is meant. `missing`: the newest segments that are not there, of those that come later.
fn last_in(
    storage: &dyn Storage,
    chain: &Chain,
    moment: &Moment,
    missing: &mut Option<(Lsn, Lsn)>,
) -> Result<Option<Commit>> {
    let mut next = chain.listed_to;
    for segment in chain.segments.iter().rev() {
        let end = segment.entry.as_ref().map(|entry| entry.end_lsn);
        if let Some((end, next)) = end.zip(next).filter(|(end, next)| end < next) {
            missing.get_or_insert((end, next));
        }
        next = Some(segment.start_lsn());
        let found = last_of(storage, chain, segment, moment)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn last_of(
    storage: &dyn Storage,
    chain: &Chain,
    segment: &Segment,
    moment: &Moment,
) -> Result<Option<Commit>> {
    let file = chain.file(&segment.file());
    let Some(input) = chain.open(storage, segment)? else {
        return Err(gone(storage, &file));
    };
    let mut scanner = Scanner::new(input);
    let (mut open, mut is_it, mut found) = (None, false, None);
    let mut is_new = false;
    while let Some((part, event)) = scanner
        .next_line()
        .map_err(storage::failed("read", storage, &file))?
    {
        match (event, moment) {
            (
                Some(Event::Transaction {
                    xid,
                    commit_lsn,
                    commit_time,
                    ..
                }),
                _,
            ) => {
                let wanted = match moment {
                    Moment::Xid(wanted) | Moment::BeforeXid(wanted) => Some(*wanted),
                    _ => None,
                };
                (is_it, is_new) = (wanted == Some(xid), false);
                open = Some(Commit {
                    xid,
                    lsn: commit_lsn,
                    at: commit_time,
                });
            }
            (Some(Event::Effect(effect)), Moment::BeforeDdl(ddl)) => {
                is_new |= ddl.is_of_new(&effect);
                is_it |= !is_new && ddl.is(&effect);
            }
            (Some(Event::Mark(mark)), Moment::Mark(name)) => is_it |= mark.name == *name,
            (None, Moment::BeforeDdl(ddl)) if part == Part::Statement => {
                is_it |= ddl.is_truncate_in(scanner.head());
            }
            (Some(Event::End { .. }), _) => {
                if let Some(commit) = open.take().filter(|_| std::mem::take(&mut is_it)) {
                    found = Some(commit);
                }
            }
            (
                Some(Event::Torn {
                    at, why, is_cut, ..
                }),
                _,
            ) if !(is_cut && segment.stored == Stored::Partial) => {
                let place = storage.place(&file);
                let why = format!("{place} is damaged at byte {at}: {why}");
                return Err(Error::damaged(why));
            }
            _ => {}
        }
    }
    Ok(found)
}
