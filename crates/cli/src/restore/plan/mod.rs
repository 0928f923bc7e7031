//! What a restore will do: chosen and checked before anything is made.
//!
//! A moment determines a chain, a base and the segments that lead from it to the moment. Two rules carry it: a base
//! names the snapshot that it was dumped under, and a transaction that this snapshot sees is in the dump; every other
//! one, in commit order, is applied.

mod ahead;
mod base;
mod chain;
mod choice;
mod damage;
mod ddl;
mod globals;
pub mod local_time;
pub mod locate;
pub mod moment;
pub mod outline;
mod pass;
mod segment;
pub mod tail;

use std::sync::Arc;

use archive::snapshot::Snapshot;
use archive::time::Time;
use archive::Lsn;
use archive_query::catalog::{Base, Chain, Globals, Segment};

use super::part::Wanted;
use crate::error::{Error, Result};
pub use choice::{choose, said, Wish};
pub use moment::{printable, Moment};
use outline::Outline;
pub use segment::{gone, LostHere, Needs};

/// What will be done.
pub struct Plan {
    pub chain: Chain,
    pub base: Base,
    /// From the first that may have a transaction which the base does not see; none for a base alone.
    pub segments: Vec<Planned>,
    /// Transactions up to this commit LSN are applied.
    pub upto: Lsn,
    /// Of these, only what this sees.
    pub seen: Option<Seen>,
    /// The set of globals at the base, and all later ones up to the moment.
    pub first_globals: Option<Globals>,
    pub later_globals: Vec<Globals>,
    pub needs: Needs,
    /// What is lost before the moment, each object once.
    pub lost: Vec<LostHere>,
    pub figures: Figures,
    /// Which transaction the moment is given by.
    pub located: Option<String>,
    /// Why it ends where it ends, if that is worth a word.
    pub remark: Option<String>,
    /// What was passed over.
    pub warnings: Vec<String>,
    /// Only a part of the database is wanted.
    pub part: Option<Wanted>,
}

/// What a snapshot of the source sees: transactions become visible in another order than they commit in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub snapshot: Snapshot,
    /// Nothing that it sees is behind it.
    pub lsn: Lsn,
}

impl Seen {
    /// From the texts of both.
    pub fn parse(snapshot: &str, lsn: &str) -> Result<Seen> {
        let parsed = snapshot.parse().ok().zip(lsn.parse().ok());
        let (snapshot, lsn) = parsed.ok_or_else(|| {
            Error::failed(format!("invalid snapshot \"{snapshot}\" at {lsn}"), "")
        })?;
        Ok(Seen { snapshot, lsn })
    }

    /// Whether it sees all that a base has.
    pub fn has(&self, base: &Snapshot) -> bool {
        base.xmax <= self.snapshot.xmax && !self.snapshot.xip.iter().any(|xid| base.sees(*xid))
    }
}

/// A segment, as far as it was checked.
#[derive(Clone)]
pub struct Planned {
    pub segment: Segment,
    /// Bytes of its uncompressed text; an open one may go on behind them.
    pub complete: u64,
    /// It has nothing of the part, and is not read.
    pub outline: Option<Outline>,
    /// It was read up to there already.
    pub from: Option<Arc<tail::Behind>>,
}

/// How much it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    /// Of the base, as stored.
    pub base_bytes: u64,
    /// Of the segments, uncompressed.
    pub segment_bytes: u64,
    /// In the segments; some may be in the base.
    pub transactions: u64,
    pub statements: u64,
    /// The last commit that is applied, or when the base was taken.
    pub until: Option<Time>,
}

impl Plan {
    /// From this commit LSN on, statements may not fit what is there.
    pub fn lost_from(&self) -> Option<Lsn> {
        self.lost.iter().map(|lost| lost.lsn).min()
    }

    /// Whether a transaction is to be applied.
    pub fn applies(&self, xid: u64, commit_lsn: Lsn) -> bool {
        let is_seen = self
            .seen
            .as_ref()
            .is_none_or(|seen| seen.snapshot.sees(xid));
        commit_lsn <= self.upto && is_seen && !self.base.metadata.snapshot.sees(xid)
    }

    /// Whether sequence positions read at this LSN are to be applied.
    pub fn applies_sequences(&self, lsn: Lsn) -> bool {
        lsn > self.base.metadata.lsn && lsn <= self.upto
    }
}
