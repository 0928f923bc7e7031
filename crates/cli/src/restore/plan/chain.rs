//! Which chain reaches a moment.

use archive::storage::Storage;
use archive::time::Time;
use archive::Lsn;
use archive_query::catalog::{Base, Catalog, Chain, Extent};

use super::moment::Moment;
use super::Wish;
use crate::error::{Error, Result};

/// The end of a chain's files.
struct End {
    lsn: Lsn,
    /// All that was committed up to then is in them.
    at: Option<Time>,
}

/// The newest chain that reaches the moment, else the newest with a base before it; and the newest that was passed over
/// because it has none.
pub(super) fn chain_of<'a>(
    storage: &dyn Storage,
    catalog: &'a Catalog,
    wish: &Wish,
) -> Result<(&'a Chain, Option<u32>)> {
    let chains: Vec<&Chain> = catalog
        .chains
        .iter()
        .rev()
        .filter(|chain| wish.chain.is_none_or(|number| chain.number == number))
        .collect();
    let Some(newest) = chains.first() else {
        let message = match wish.chain {
            Some(number) => format!("there is no chain-{number} in {}", storage.place("")),
            None => format!("there is no chain in {}", storage.place("")),
        };
        let hint = "Retention removes a chain when nothing of it is kept; pg_incrbackup info shows those there are.";
        return Err(Error::no_such_moment(message, hint));
    };
    let (mut nearest, mut newer) = (None, None);
    for chain in &chains {
        if latest_base(chain, wish).is_none() {
            newer = newer.or(nearest.is_none().then_some(chain.number));
            continue;
        }
        nearest = nearest.or(Some(*chain));
        if !reaches(storage, chain, wish)? {
            continue;
        }
        let others = chains.iter().filter(|other| other.number < chain.number);
        if let Moment::Lsn(lsn) = wish.moment {
            for other in others {
                if latest_base(other, wish).is_some() && reaches(storage, other, wish)? {
                    let (one, two) = (chain.number, other.number);
                    let message = format!("both chain-{two} and chain-{one} hold {lsn}");
                    return Err(Error::wrong_use(message, "Choose one with --chain N."));
                }
            }
        }
        return Ok((chain, newer));
    }
    match nearest {
        Some(chain) => Ok((chain, newer)),
        None => Ok((newest, None)),
    }
}

/// The newest base that is not after the moment, as far as its LSN and its time tell.
pub(super) fn latest_base<'a>(chain: &'a Chain, wish: &Wish) -> Option<&'a Base> {
    let serves = |base: &&Base| {
        let is_early_enough = match wish.moment {
            Moment::Lsn(lsn) => base.metadata.lsn <= lsn,
            Moment::Time(time) => base.metadata.taken_at <= time,
            _ => true,
        };
        let seen = wish.seen.as_ref();
        is_early_enough
            && seen.is_none_or(|seen| seen.has(&base.metadata.snapshot))
            && match &wish.base {
                Some(name) => base.name == *name,
                None => chain.is_listed(base),
            }
    };
    chain.bases.iter().rev().find(serves)
}

fn end_of(storage: &dyn Storage, chain: &Chain) -> Result<Option<End>> {
    let mut end: Option<End> = None;
    for segment in chain.segments.iter().rev() {
        let Some(extent) = Extent::of(storage, chain, segment)? else {
            continue;
        };
        let lsn = end.map_or(extent.end_lsn, |end| end.lsn);
        end = Some(End {
            lsn,
            at: extent.latest,
        });
        if extent.latest.is_some() {
            break;
        }
    }
    Ok(end)
}

fn reaches(storage: &dyn Storage, chain: &Chain, wish: &Wish) -> Result<bool> {
    let base = latest_base(chain, wish);
    let taken = base.map(|base| (base.metadata.lsn, base.metadata.taken_at));
    // Its end is only read where it matters: the last segment may be long.
    match wish.moment {
        Moment::Lsn(lsn) => {
            let end = end_of(storage, chain)?.map(|end| end.lsn);
            Ok(end.max(taken.map(|(lsn, _)| lsn)) >= Some(lsn))
        }
        Moment::Time(time) => {
            let end = end_of(storage, chain)?.and_then(|end| end.at);
            Ok(end.max(taken.map(|(_, at)| at)) >= Some(time))
        }
        _ => Ok(true),
    }
}
