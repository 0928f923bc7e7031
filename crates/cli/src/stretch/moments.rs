//! Moments of the command line, and their places in a chain.

use archive::layout::Stored;
use archive::segment::{Event, Scanner};
use archive::storage::{self, Storage};
use archive::time::{self, Time};
use archive::Lsn;
use archive_query::catalog::{Catalog, Chain, Segment};
use archive_query::history::index;
use chrono::TimeDelta;

use super::{Since, Upto};
use crate::error::{Error, Result};
use crate::restore::plan::{gone, printable, Moment, Wish};
use crate::restore::plan::{local_time, locate};

/// A segment without an index whose first and last commits are later than a time by this much has no commit before it:
/// servers' clocks are not set back that far within a segment.
const CLOCK_STEP: TimeDelta = TimeDelta::hours(1);

/// A moment, and the chain if it is given by a transaction.
#[derive(Debug, Clone)]
pub struct Located {
    pub moment: Moment,
    pub chain: Option<u32>,
}

impl Since {
    pub fn moment(&self) -> Result<Option<Moment>> {
        of_options(
            self.since_time.as_deref(),
            self.since_lsn.as_deref(),
            self.since_xid,
            self.since_mark.as_deref(),
        )
    }
}

impl Upto {
    pub fn moment(&self) -> Result<Option<Moment>> {
        of_options(
            self.until_time.as_deref(),
            self.until_lsn.as_deref(),
            self.until_xid,
            self.until_mark.as_deref(),
        )
    }
}

fn of_options(
    time: Option<&str>,
    lsn: Option<&str>,
    xid: Option<u64>,
    mark: Option<&str>,
) -> Result<Option<Moment>> {
    if let Some(text) = time {
        return time_in(text).map(|time| Some(Moment::Time(time)));
    }
    if let Some(text) = lsn {
        return lsn_in(text).map(|lsn| Some(Moment::Lsn(lsn)));
    }
    let mark = mark.map(|name| Moment::Mark(name.to_owned()));
    Ok(xid.map(Moment::Xid).or(mark))
}

fn lsn_in(text: &str) -> Result<Lsn> {
    let hint = "An LSN is two hexadecimal numbers with a slash, as in 16/B374D848.";
    text.parse()
        .map_err(|_| Error::wrong_use(format!("\"{}\" is not an LSN", printable(text)), hint))
}

/// A moment in one word: a time, an LSN, `xid:N`, `mark:NAME`, or `now`.
pub fn parse(text: &str) -> Result<Moment> {
    if text == "now" {
        return Ok(Moment::Newest);
    }
    if let Some(name) = text.strip_prefix("mark:") {
        return Ok(Moment::Mark(name.to_owned()));
    }
    if let Some(xid) = text.strip_prefix("xid:") {
        let message = format!("\"{}\" is not a transaction id", printable(xid));
        let xid = xid.parse().map_err(|_| Error::wrong_use(message, ""))?;
        return Ok(Moment::Xid(xid));
    }
    if let Ok(lsn) = text.parse() {
        return Ok(Moment::Lsn(lsn));
    }
    let Some(time) = local_time::read(text, time::now()) else {
        let message = format!("\"{}\" is not a moment", printable(text));
        let hint = format!(
            "A moment is an LSN, xid:N, mark:NAME, now, or a time: {}",
            local_time::FORMS
        );
        return Err(Error::wrong_use(message, hint));
    };
    Ok(Moment::Time(time))
}

fn time_in(text: &str) -> Result<Time> {
    let message = || format!("\"{}\" is not a time", printable(text));
    local_time::read(text, time::now())
        .ok_or_else(|| Error::wrong_use(message(), local_time::FORMS))
}

/// Finds the transaction that a moment is given by.
pub fn located(
    storage: &dyn Storage,
    catalog: &Catalog,
    moment: &Moment,
    chain: Option<u32>,
) -> Result<Located> {
    let wish = Wish {
        moment: moment.clone(),
        chain,
        base: None,
        allow_earlier: false,
        seen: None,
        is_part: false,
    };
    let (found, _) = locate::located(storage, catalog, &wish)?;
    Ok(Located {
        moment: found.moment,
        chain: found.chain,
    })
}

/// The newest chain that has a transaction.
pub fn chain_with(storage: &dyn Storage, catalog: &Catalog, xid: u64) -> Result<Chain> {
    let located = located(storage, catalog, &Moment::Xid(xid), None)?;
    chain_of(storage, catalog, located.chain, None)
}

/// The chain of this number, or the newest that has a moment: had begun then.
pub fn chain_of(
    storage: &dyn Storage,
    catalog: &Catalog,
    number: Option<u32>,
    moment: Option<&Located>,
) -> Result<Chain> {
    if let Some(number) = number {
        return catalog.chain(number).cloned().ok_or_else(|| {
            let message = format!("there is no chain-{number} in {}", storage.place(""));
            Error::no_such_moment(message, "pg_incrbackup info shows those there are.")
        });
    }
    let chains = catalog.chains.iter();
    let found = match moment.map(|located| &located.moment) {
        Some(Moment::Lsn(lsn)) => {
            let has = |chain: &&Chain| chain.info.slot_start_lsn <= *lsn && reaches(chain, *lsn);
            let having: Vec<&Chain> = chains.clone().filter(has).collect();
            if let [one, two, ..] = having[..] {
                let message = format!(
                    "both chain-{} and chain-{} hold {lsn}",
                    one.number, two.number
                );
                return Err(Error::wrong_use(message, "Choose one with --chain N."));
            }
            let begun = |chain: &&Chain| chain.info.slot_start_lsn <= *lsn;
            having.first().copied().or(chains.rev().find(begun))
        }
        Some(Moment::Time(time)) => chains.rev().find(|chain| chain.info.started_at <= *time),
        _ => catalog.chains.last(),
    };
    let found = found.or(catalog.chains.first()).cloned();
    found.ok_or_else(|| {
        Error::no_such_moment(format!("there is no chain in {}", storage.place("")), "")
    })
}

/// One that has not ended may have any later LSN.
fn reaches(chain: &Chain, lsn: Lsn) -> bool {
    let ended = chain.info.ended.as_ref().map(|end| end.last_lsn);
    ended.is_none_or(|end| chain.listed_to.max(Some(end)) >= Some(lsn))
}

/// Up to which commit LSN the commits of the chain are before the moment.
pub fn lsn_of(storage: &dyn Storage, chain: &Chain, located: &Located) -> Result<Lsn> {
    match &located.moment {
        Moment::Lsn(lsn) => Ok(*lsn),
        Moment::Time(time) => last_not_after(storage, chain, *time),
        _ => Ok(Lsn(u64::MAX)),
    }
}

/// The last commit, in their order, whose time is not after this one; 0 if there is none.
fn last_not_after(storage: &dyn Storage, chain: &Chain, time: Time) -> Result<Lsn> {
    for segment in chain.segments.iter().rev() {
        if is_later(storage, chain, segment, time) {
            continue;
        }
        if let Some(lsn) = last_in(storage, chain, segment, time)? {
            return Ok(lsn);
        }
    }
    Ok(Lsn(0))
}

/// Whether all commits of a segment are after a time, without reading it.
fn is_later(storage: &dyn Storage, chain: &Chain, segment: &Segment, time: Time) -> bool {
    let Some(entry) = &segment.entry else {
        return false;
    };
    if entry.transactions == 0 {
        return true;
    }
    let ends = (entry.first_commit_at, entry.last_commit_at);
    let (Some(first), Some(last)) = ends else {
        return false;
    };
    let earliest = first.min(last);
    if earliest <= time {
        return false;
    }
    if let Some(index) = index::of_listed(storage, chain, segment) {
        return index.earliest.is_some_and(|earliest| earliest > time);
    }
    earliest - CLOCK_STEP > time
}

fn last_in(
    storage: &dyn Storage,
    chain: &Chain,
    segment: &Segment,
    time: Time,
) -> Result<Option<Lsn>> {
    let file = chain.file(&segment.file());
    let Some(input) = chain.open(storage, segment)? else {
        return Err(gone(storage, &file));
    };
    let mut scanner = Scanner::new(input);
    let (mut open, mut last) = (None, None);
    while let Some(event) = scanner
        .next_event()
        .map_err(storage::failed("read", storage, &file))?
    {
        match event {
            Event::Transaction {
                commit_lsn,
                commit_time,
                ..
            } => open = Some((commit_lsn, commit_time)),
            Event::End { .. } => {
                let commit = open.take();
                let commit = commit.filter(|(_, at)| at.is_some_and(|at| at <= time));
                last = commit.map(|(lsn, _)| lsn).or(last);
            }
            Event::Torn {
                at, why, is_cut, ..
            } if !(is_cut && segment.stored == Stored::Partial) => {
                let place = storage.place(&file);
                return Err(Error::damaged(format!(
                    "{place} is damaged at byte {at}: {why}"
                )));
            }
            _ => {}
        }
    }
    Ok(last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_one_word() {
        assert_eq!(parse("now").unwrap(), Moment::Newest);
        assert_eq!(parse("0/15E0F88").unwrap(), Moment::Lsn(Lsn(0x15E_0F88)));
        assert_eq!(parse("xid:748").unwrap(), Moment::Xid(748));
        assert_eq!(parse("mark:a b").unwrap(), Moment::Mark("a b".to_owned()));
        assert!(matches!(parse("14:29").unwrap(), Moment::Time(_)));
        assert!(matches!(
            parse("2026-11-21 14:29").unwrap(),
            Moment::Time(_)
        ));
        for bad in ["xid:", "xid:a", "0/", "yes", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
