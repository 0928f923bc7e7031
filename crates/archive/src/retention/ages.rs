//! The ages of bases, even if the clock was wrong.
//!
//! Bases are ordered by chains and LSNs, which do not depend on a clock; the time of each is what the clock
//! showed. If the two disagree, a base counts as younger rather than older, so that a clock that was wrong
//! for a while causes nothing to be removed too early.

use super::Chain;
use crate::layout::BaseName;
use crate::time::Time;

/// A complete base, and its time for the computation of ages.
#[derive(Debug, Clone, Copy)]
pub struct Aged {
    pub chain: u32,
    pub name: BaseName,
    pub taken_at: Time,
}

/// All complete bases, oldest first. None is older than a previous one. One with a time in the future was
/// taken before the next base without, or now.
pub fn ages(chains: &[Chain], now: Time) -> Vec<Aged> {
    let mut aged = Vec::new();
    for chain in chains {
        let whole = chain.bases.iter().filter(|base| base.flaw.is_none());
        aged.extend(whole.map(|base| Aged {
            chain: chain.number,
            name: base.name,
            taken_at: base.name.taken_at,
        }));
    }
    let mut latest = Time::MIN_UTC;
    for base in &mut aged {
        if base.taken_at <= now {
            latest = latest.max(base.taken_at);
            base.taken_at = latest;
        }
    }
    let mut next = now;
    for base in aged.iter_mut().rev() {
        base.taken_at = base.taken_at.min(next);
        next = base.taken_at;
    }
    aged
}
