//! What retention keeps and removes: decided here, without accessing files. `expiry` executes it.
//!
//! The rules, in order. "Older" and "newer" refer to the order of chains and LSNs; ages to the times of bases
//! (see [`ages`]).
//!
//! 1. The **window** begins at the newest base that is older than `keep_incremental`; if there is none, at the
//!    beginning. Every base and every segment from there on is kept, so every point of the last
//!    `keep_incremental` can be restored. The newest base is in the window whatever its age.
//! 2. Segments are removed from the oldest on: those before the first one that a base of the window needs. The
//!    last closed one of a chain in the window is always kept, because the open one refers to it.
//! 3. Bases before the window are kept without segments, each a single point: those younger than `keep_base`,
//!    the first one of each of the newest `keep_monthly` months that have any (UTC), and pinned ones.
//! 4. A set of globals is removed when a newer one covers every point that can be restored.
//! 5. A chain before the window of which no base is kept is removed as a whole.
//! 6. If archive_command is set, nothing is removed that it has not archived.
//!
//! A damaged base is ignored in these decisions and is not removed: it does not replace another one, and only
//! a person removes it.

mod ages;
mod why;

use std::collections::BTreeSet;

use chrono::{Datelike, SubsecRound, TimeDelta};

use crate::layout::{BaseName, GlobalsName, SegmentName};
use crate::lsn::Lsn;
use crate::pins::Pin;
use crate::time::Time;

use ages::ages;
pub use why::Why;

/// Retention times; `None`: forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub keep_incremental: Option<TimeDelta>,
    pub keep_base: Option<TimeDelta>,
    /// Months.
    pub keep_monthly: u32,
    /// Nothing is removed that archive_command has not archived.
    pub archived_only: bool,
}

/// A chain as input of the rules.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    pub number: u32,
    /// In the order of their LSNs.
    pub bases: Vec<Base>,
    /// The closed ones, in replay order.
    pub segments: Vec<Segment>,
    /// In the order of their LSNs.
    pub globals: Vec<GlobalsName>,
    /// `None` if the archive is not copied.
    pub unarchived: Unarchived,
}

/// What archive_command has not archived yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unarchived {
    pub bases: BTreeSet<BaseName>,
    pub segments: BTreeSet<SegmentName>,
    pub globals: BTreeSet<GlobalsName>,
    /// The chain's description, or its open segment.
    pub rest: bool,
}

impl Unarchived {
    fn is_empty(&self) -> bool {
        *self == Unarchived::default()
    }
}

/// A finished base.
#[derive(Debug, Clone)]
pub struct Base {
    pub name: BaseName,
    /// Of its snapshot.
    pub xmin: u64,
    pub pin: Option<Pin>,
    /// Why it does not count.
    pub flaw: Option<String>,
}

/// A closed segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub name: SegmentName,
    /// `None` if it is unknown; then it is needed if the segments after it are.
    pub next_xid: Option<u64>,
}

/// The decision for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<N> {
    pub name: N,
    pub expires: bool,
    pub why: Why,
}

/// The decision for a chain.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub number: u32,
    /// All of it is removed, including its open segment and its description.
    pub is_whole: bool,
    pub bases: Vec<Decision<BaseName>>,
    pub segments: Vec<Decision<SegmentName>>,
    pub globals: Vec<Decision<GlobalsName>>,
}

/// The beginning of the window.
#[derive(Clone, Copy)]
enum Window {
    /// Nothing is before it.
    Everything(Open),
    At {
        chain: u32,
        base: BaseName,
    },
}

/// Why the window has no beginning.
#[derive(Clone, Copy)]
enum Open {
    NoBase,
    NoOldBase,
}

/// Decides about everything. `chains` are in the order of their numbers.
pub fn plan(chains: &[Chain], rules: &Rules, now: Time) -> Vec<Plan> {
    let ages = ages(chains, now);
    let window = window(&ages, rules, now);
    let monthly = monthly(&ages, rules.keep_monthly);
    let newest = ages.last().map(|aged| (aged.chain, aged.name));
    let of_base = |chain: u32, base: &Base| {
        if let Some(flaw) = &base.flaw {
            return keep(base.name, Why::Flawed(flaw.clone()));
        }
        if newest == Some((chain, base.name)) {
            return keep(base.name, Why::Newest);
        }
        if let Some(why) = window.why_base(chain, base.name) {
            return keep(base.name, why);
        }
        if let Some(pin) = base.pin.as_ref().filter(|pin| pin.is_valid(now)) {
            return keep(base.name, Why::Pinned(pin.clone()));
        }
        let aged = ages
            .iter()
            .find(|aged| (aged.chain, aged.name) == (chain, base.name));
        let taken_at = aged.map_or(base.name.taken_at, |aged| aged.taken_at);
        if !is_older(taken_at, rules.keep_base, now) {
            return keep(base.name, Why::Young);
        }
        if monthly.contains(&(chain, base.name)) {
            keep(base.name, Why::Monthly)
        } else {
            expire(base.name, Why::OldBase)
        }
    };
    let plans = chains.iter().map(|chain| {
        let bases: Vec<_> = chain
            .bases
            .iter()
            .map(|base| of_base(chain.number, base))
            .map(|decision| {
                unless_unarchived(decision, |name| chain.unarchived.bases.contains(name))
            })
            .collect();
        let is_before = window.is_after(chain.number);
        Plan {
            number: chain.number,
            is_whole: is_before
                && chain.unarchived.is_empty()
                && bases.iter().all(|base| base.expires),
            segments: up_to_unarchived(segments(chain, window), &chain.unarchived.segments),
            globals: globals(chain, window, &bases)
                .into_iter()
                .map(|decision| {
                    unless_unarchived(decision, |name| chain.unarchived.globals.contains(name))
                })
                .collect(),
            bases,
        }
    });
    plans.collect()
}

fn unless_unarchived<N>(decision: Decision<N>, is_unarchived: impl Fn(&N) -> bool) -> Decision<N> {
    if decision.expires && is_unarchived(&decision.name) {
        keep(decision.name, Why::NotArchived)
    } else {
        decision
    }
}

/// Segments are removed from the oldest on: one that must be kept keeps the following ones.
fn up_to_unarchived(
    mut decisions: Vec<Decision<SegmentName>>,
    unarchived: &BTreeSet<SegmentName>,
) -> Vec<Decision<SegmentName>> {
    let first = decisions.iter().position(|d| unarchived.contains(&d.name));
    for decision in decisions.iter_mut().skip(first.unwrap_or(usize::MAX)) {
        if decision.expires {
            *decision = keep(decision.name, Why::NotArchived);
        }
    }
    decisions
}

fn keep<N>(name: N, why: Why) -> Decision<N> {
    let expires = false;
    Decision { name, expires, why }
}

fn expire<N>(name: N, why: Why) -> Decision<N> {
    let expires = true;
    Decision { name, expires, why }
}

/// Nothing is older than forever. The times of bases are truncated to seconds: one taken in the second of the
/// limit may be younger.
fn is_older(time: Time, age: Option<TimeDelta>, now: Time) -> bool {
    let limit = age.and_then(|age| now.checked_sub_signed(age));
    limit.is_some_and(|limit| time < limit.trunc_subsecs(0))
}

fn window(ages: &[ages::Aged], rules: &Rules, now: Time) -> Window {
    if ages.is_empty() {
        return Window::Everything(Open::NoBase);
    }
    let mut old = ages.iter();
    let start = old.rfind(|aged| is_older(aged.taken_at, rules.keep_incremental, now));
    match start {
        Some(start) => Window::At {
            chain: start.chain,
            base: start.name,
        },
        None => Window::Everything(Open::NoOldBase),
    }
}

impl Window {
    /// True if it begins in a later chain than this.
    fn is_after(&self, number: u32) -> bool {
        matches!(self, Window::At { chain, .. } if *chain > number)
    }

    /// Why a base is in it; `None` for one before it.
    fn why_base(&self, number: u32, name: BaseName) -> Option<Why> {
        match self {
            Window::Everything(_) => Some(Why::InWindow),
            Window::At { chain, base } if (*chain, *base) == (number, name) => {
                Some(Why::BeginsWindow)
            }
            Window::At { chain, base } => {
                ((number, name.lsn) > (*chain, base.lsn)).then_some(Why::InWindow)
            }
        }
    }
}

/// The first base of each of the newest months that have one.
fn monthly(ages: &[ages::Aged], months: u32) -> BTreeSet<(u32, BaseName)> {
    let month = |aged: &ages::Aged| (aged.taken_at.year(), aged.taken_at.month());
    let all: BTreeSet<_> = ages.iter().map(month).collect();
    let kept = all.into_iter().rev().take(months as usize);
    let first = |wanted| ages.iter().find(|aged| month(aged) == wanted);
    kept.filter_map(first)
        .map(|aged| (aged.chain, aged.name))
        .collect()
}

/// The index of the first segment for a restore from a base, by the same rule as in restore.sh: the last one
/// that was opened before any transaction from the snapshot's xmin on was written, the first one if none is
/// that old.
pub fn first_segment(segments: &[Segment], xmin: u64) -> usize {
    let is_early = |segment: &&Segment| segment.next_xid.is_some_and(|next| next <= xmin);
    let early = segments.iter().take_while(is_early).count();
    early.saturating_sub(1)
}

fn segments(chain: &Chain, window: Window) -> Vec<Decision<SegmentName>> {
    let all = |decide: &dyn Fn(SegmentName) -> Decision<SegmentName>| {
        let names = chain.segments.iter().map(|segment| segment.name);
        names.map(decide).collect::<Vec<_>>()
    };
    let (number, start) = match window {
        Window::Everything(Open::NoBase) => return all(&|name| keep(name, Why::NoBase)),
        Window::Everything(Open::NoOldBase) => return all(&|name| keep(name, Why::InWindow)),
        Window::At { chain, base } => (chain, base),
    };
    if number > chain.number {
        return all(&|name| expire(name, Why::BeforeWindow(start)));
    }
    if number < chain.number {
        return all(&|name| keep(name, Why::InWindow));
    }
    let in_window = chain.bases.iter().filter(|base| base.flaw.is_none());
    let in_window = in_window.filter(|base| base.name.lsn >= start.lsn);
    let first = in_window
        .map(|base| first_segment(&chain.segments, base.xmin))
        .min();
    let first = first.unwrap_or(0);
    let decide = |(place, segment): (usize, &Segment)| {
        if place >= first {
            keep(segment.name, Why::InWindow)
        } else {
            expire(segment.name, Why::BeforeWindow(start))
        }
    };
    chain.segments.iter().enumerate().map(decide).collect()
}

/// For each base that is kept, the newest set that is not after it; in the window, all later ones.
fn globals(
    chain: &Chain,
    window: Window,
    bases: &[Decision<BaseName>],
) -> Vec<Decision<GlobalsName>> {
    let start = match window {
        Window::At { chain: at, .. } if at > chain.number => None,
        Window::At { chain: at, base } if at == chain.number => Some(base.lsn),
        _ => Some(Lsn(0)),
    };
    let mut needed: BTreeSet<GlobalsName> = BTreeSet::new();
    for base in bases.iter().filter(|base| !base.expires) {
        let mut older = chain.globals.iter();
        needed.extend(older.rfind(|set| set.lsn <= base.name.lsn).copied());
    }
    let decide = |set: &GlobalsName| {
        if needed.contains(set) || start.is_some_and(|start| set.lsn > start) {
            keep(*set, Why::GlobalsInUse)
        } else {
            expire(*set, Why::GlobalsReplaced)
        }
    };
    chain.globals.iter().map(decide).collect()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
