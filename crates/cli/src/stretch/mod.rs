//! A stretch of an archive: what was committed between two moments of one chain.
//!
//! A moment lies behind a commit, as in a restore: a stretch has what makes the state at its beginning the state at its end.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`moments`] | moments of the command line, and their places in a chain |
//! | [`reading`] | the transactions of a stretch, one piece after the other |
//! | [`touched`] | the tables that a stretch changes, and its schema changes |
//! | [`rows`] | the rows of tables at its beginning, and on to its end |

pub mod moments;
pub mod reading;
pub mod rows;
pub mod touched;

use std::collections::BTreeSet;

use archive::segment::{Event, Scanner};
use archive::storage::{self, Storage};
use archive::time::iso;
use archive::Lsn;
use archive_query::catalog::{Catalog, Chain, Extent, Segment};
use clap::Args;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::restore::plan::{said, Moment};
use moments::Located;

/// Where it begins (default: with the archive)
#[derive(Debug, Args)]
#[group(id = "since", multiple = false)]
pub struct Since {
    /// What was committed after the last transaction whose commit time is not after T
    ///
    /// UTC unless T names an offset: '2026-11-21 14:29', 14:29 (the last one that has passed), '10 minutes ago', @ and
    /// seconds since 1970.
    #[arg(long, value_name = "T")]
    pub since_time: Option<String>,

    /// What was committed after this commit LSN
    #[arg(long, value_name = "LSN")]
    pub since_lsn: Option<String>,

    /// What was committed after this transaction (64-bit, as in the segments)
    #[arg(long, value_name = "XID")]
    pub since_xid: Option<u64>,

    /// What was committed after the newest transaction with a mark of this name
    #[arg(long, value_name = "NAME")]
    pub since_mark: Option<String>,
}

/// Where it ends (default: with the archive)
#[derive(Debug, Args)]
#[group(id = "upto", multiple = false)]
pub struct Upto {
    /// Up to the last transaction whose commit time is not after T
    #[arg(long, value_name = "T")]
    pub until_time: Option<String>,

    /// Up to this commit LSN, inclusive
    #[arg(long, value_name = "LSN")]
    pub until_lsn: Option<String>,

    /// Up to and including this transaction
    #[arg(long, value_name = "XID")]
    pub until_xid: Option<u64>,

    /// Up to and including the newest transaction with a mark of this name
    #[arg(long, value_name = "NAME")]
    pub until_mark: Option<String>,
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// `None`: from the beginning.
    pub since: Option<Moment>,
    /// `None`: to the end.
    pub until: Option<Moment>,
    pub chain: Option<u32>,
    /// Only these transactions, and not those between them.
    pub xids: BTreeSet<u64>,
}

/// The commits of a chain whose LSNs are above `after`, and not above `upto`.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub chain: Chain,
    pub after: Lsn,
    pub upto: Lsn,
    /// Those that may have something of it, in order; those between them are passed over.
    pub segments: Vec<Segment>,
    /// What a user should know of its ends.
    pub notes: Vec<String>,
}

/// What is there; what cannot be read of it is passed over with a warning.
pub fn catalog(storage: &dyn Storage, output: &Output) -> Result<Catalog> {
    let (catalog, damage) = Catalog::read_sound(storage)?;
    for error in damage {
        output.warning(&format!("{error}: it is passed over"));
    }
    Ok(catalog)
}

impl Stretch {
    /// Finds the chain, the ends, and the segments.
    pub fn find(storage: &dyn Storage, catalog: &Catalog, asked: &Asked) -> Result<Stretch> {
        let mut number = asked.chain;
        let mut located = |moment: &Option<Moment>| -> Result<Option<Located>> {
            let Some(moment) = moment else {
                return Ok(None);
            };
            let located = moments::located(storage, catalog, moment, number)?;
            number = number.or(located.chain);
            Ok(Some(located))
        };
        // One that is given by a transaction says which chain it is.
        let mut since = located(&asked.since)?;
        let until = located(&asked.until)?;
        if since.as_ref().is_some_and(|since| since.chain.is_none()) {
            since = located(&asked.since)?;
        }
        let first = since.as_ref().or(until.as_ref());
        let chain = match (number, asked.xids.first()) {
            (None, Some(xid)) => moments::chain_with(storage, catalog, *xid)?,
            _ => moments::chain_of(storage, catalog, number, first)?,
        };
        let mut stretch = Stretch {
            after: Lsn(0),
            upto: Lsn(u64::MAX),
            segments: Vec::new(),
            notes: Vec::new(),
            chain,
        };
        if let Some(since) = &since {
            stretch.after = moments::lsn_of(storage, &stretch.chain, since)?;
        }
        if let Some(until) = &until {
            stretch.upto = moments::lsn_of(storage, &stretch.chain, until)?;
        }
        if stretch.after > stretch.upto {
            let message = format!(
                "it ends before it begins: {} is after {}",
                asked.since.as_ref().map_or_else(String::new, said),
                asked.until.as_ref().map_or_else(String::new, said),
            );
            return Err(Error::wrong_use(message, ""));
        }
        stretch.note_beginning(asked.since.as_ref());
        stretch.note_end(storage, catalog, asked.until.as_ref())?;
        stretch.choose_segments(&asked.xids);
        Ok(stretch)
    }

    fn choose_segments(&mut self, xids: &BTreeSet<u64>) {
        let all = &self.chain.segments;
        let next_xid = |nth: usize| all.get(nth)?.entry.as_ref()?.next_xid;
        let is_in = |nth: &usize| {
            let segment = &all[*nth];
            let ends_before = segment
                .entry
                .as_ref()
                .is_some_and(|entry| entry.end_lsn <= self.after);
            // A transaction whose id was not given out when the next segment was opened is in a later one.
            let is_too_early = !xids.is_empty()
                && next_xid(nth + 1).is_some_and(|next| xids.iter().all(|xid| *xid >= next));
            !ends_before && segment.start_lsn() < self.upto && !is_too_early
        };
        let chosen = (0..all.len()).filter(is_in);
        self.segments = chosen.map(|nth| all[nth].clone()).collect();
    }

    fn note_beginning(&mut self, since: Option<&Moment>) {
        let Some(first) = self.chain.segments.first() else {
            return;
        };
        let (number, start) = (self.chain.number, first.start_lsn());
        let is_missed = match since {
            None => false,
            Some(Moment::Time(time)) => *time < self.chain.info.started_at || self.after < start,
            Some(_) => self.after < start,
        };
        let began = iso(self.chain.info.started_at);
        match &self.chain.last_expired {
            Some(_) if is_missed => self.notes.push(format!(
                "retention has removed the segments of chain-{number} before {start}: what was committed before is not in it"
            )),
            None if is_missed => self.notes.push(format!(
                "chain-{number} began at {began} ({start}): what was committed before is not in it"
            )),
            _ => {}
        }
    }

    fn note_end(
        &mut self,
        storage: &dyn Storage,
        catalog: &Catalog,
        until: Option<&Moment>,
    ) -> Result<()> {
        let number = self.chain.number;
        let end = end_of(storage, &self.chain)?;
        let is_missed = match (until, &end) {
            (Some(Moment::Time(time)), Some(end)) => end.latest.is_none_or(|latest| latest < *time),
            (Some(Moment::Lsn(lsn)), Some(end)) => end.end_lsn < *lsn,
            _ => false,
        };
        if let Some(end) = end.filter(|_| is_missed) {
            let at = end
                .latest
                .map_or_else(String::new, |at| format!(" {}", iso(at)));
            self.notes.push(format!(
                "the files of chain-{number} end at{at} ({}): what was committed later is not in them",
                end.end_lsn
            ));
        }
        let later = catalog
            .chains
            .iter()
            .rev()
            .find(|later| later.number > number);
        if let Some(later) = later.filter(|_| until.is_none() || is_missed) {
            self.notes.push(format!(
                "chain-{}, which came later, is not looked at: --chain {}",
                later.number, later.number
            ));
        }
        Ok(())
    }
}

/// How far a chain's files reach; `None` without a segment.
fn end_of(storage: &dyn Storage, chain: &Chain) -> Result<Option<Extent>> {
    let mut end: Option<Extent> = None;
    for segment in chain.segments.iter().rev() {
        let Some(extent) = Extent::of(storage, chain, segment)? else {
            continue;
        };
        let end = end.get_or_insert(extent.clone());
        end.latest = end.latest.max(extent.latest);
        if end.latest.is_some() {
            break;
        }
    }
    Ok(end)
}

/// How much of an open segment is complete.
fn complete_of(storage: &dyn Storage, chain: &Chain, segment: &Segment) -> Result<u64> {
    let file = chain.file(&segment.file());
    let Some(input) = chain.open(storage, segment)? else {
        return Err(crate::restore::plan::gone(storage, &file));
    };
    let mut scanner = Scanner::new(input);
    let failed = || storage::failed("read", storage, &file);
    while let Some(event) = scanner.next_event().map_err(failed())? {
        if let Event::Torn {
            at,
            why,
            is_cut: false,
            ..
        } = event
        {
            let place = storage.place(&file);
            return Err(Error::damaged(format!(
                "{place} is damaged at byte {at}: {why}"
            )));
        }
    }
    Ok(scanner.complete_offset())
}
