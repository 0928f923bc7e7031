//! How old bases are, whatever the clock did meanwhile.
//!
//! Bases come in the order of chains and LSNs, which no clock can change, and the time that each
//! carries is what the clock said. Where the two disagree, a base counts as younger rather than
//! older, so that a clock that was wrong for a while lets nothing go too early.

use super::Chain;
use crate::layout::BaseName;
use crate::time::Time;

/// A base that is whole, and when it was taken as far as ages go.
#[derive(Debug, Clone, Copy)]
pub struct Aged {
    pub chain: u32,
    pub name: BaseName,
    pub taken_at: Time,
}

/// All bases that are whole, oldest first. None is older than one before it. What carries a time that
/// is yet to come was taken before the next base that does not, or now.
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
