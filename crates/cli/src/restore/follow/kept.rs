//! What a copy keeps in its database beside the progress of a restore: retention removes the base from the archive, and the
//! sets of globals, while the copy goes on.

use archive::layout::chain::ChainInfo;
use archive::layout::BaseName;
use archive::metadata::Metadata;
use archive::segment::{Lost, What};
use archive::time::{iso, parse_iso};
use archive_query::catalog::{Base, Chain, Globals};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::restore::plan::{Figures, LostHere, Needs, Plan};
use crate::restore::progress::{sql, Progress};
use crate::restore::target::sets::{Kept, LAST_SET};

/// Names of what is kept.
const BEGUN: &str = "followed";
const LOST: &str = "lost";

/// From the beginning.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Begun {
    metadata: Option<Metadata>,
    chain: Option<ChainInfo>,
    /// The set of globals that the base begins with.
    first: Option<Kept>,
}

/// A loss, as text.
#[derive(Debug, Serialize, Deserialize)]
struct KeptLoss {
    lsn: String,
    xid: u64,
    at: Option<String>,
    what: String,
    class: String,
    oid: u32,
    identity: Vec<u8>,
    reason: Vec<u8>,
}

/// Statements that keep what the beginning has.
pub fn at_first(plan: &Plan) -> String {
    let begun = Begun {
        metadata: Some(plan.base.metadata.clone()),
        chain: Some(plan.chain.info.clone()),
        first: plan.first_globals.as_ref().map(Kept::of),
    };
    sql::keep(BEGUN, &begun)
}

/// A statement that keeps what is lost: a later run does not read it again.
pub fn lost_statement(lost: &[LostHere]) -> String {
    let kept: Vec<KeptLoss> = lost.iter().map(KeptLoss::of).collect();
    sql::keep(LOST, &kept)
}

/// What was lost so far.
pub fn lost(progress: &Progress) -> Result<Vec<LostHere>> {
    let kept: Vec<KeptLoss> = progress.kept(LOST)?;
    kept.into_iter()
        .map(|loss| loss.loss().ok_or_else(odd))
        .collect()
}

/// The plan of a copy that has its base: with the sets of globals up to the last one that was applied, and no segments.
pub fn plan(progress: &Progress) -> Result<Plan> {
    let begun: Begun = progress.kept(BEGUN)?;
    let identity = &progress.identity;
    let base = Base {
        name: BaseName::parse(&identity.base).ok_or_else(odd)?,
        metadata: begun.metadata.ok_or_else(odd)?,
        entry: None,
    };
    let chain = Chain {
        number: identity.chain,
        info: begun.chain.ok_or_else(odd)?,
        bases: Vec::new(),
        lost_bases: Vec::new(),
        segments: Vec::new(),
        globals: Vec::new(),
        flags: Vec::new(),
        listed_to: None,
        last_expired: None,
        damaged_lines: Vec::new(),
    };
    let last: Option<Kept> = progress.kept(LAST_SET)?;
    let last = last.and_then(Kept::set);
    let first = begun.first.and_then(Kept::set);
    Ok(bare(
        chain,
        base,
        last.clone().or(first),
        last.into_iter().collect(),
    ))
}

/// A plan of all that comes, without segments.
pub fn bare(chain: Chain, base: Base, first: Option<Globals>, later: Vec<Globals>) -> Plan {
    Plan {
        chain,
        base,
        segments: Vec::new(),
        upto: archive::Lsn(u64::MAX),
        seen: None,
        first_globals: first,
        later_globals: later,
        needs: Needs::default(),
        lost: Vec::new(),
        figures: Figures::default(),
        located: None,
        remark: None,
        warnings: Vec::new(),
        part: None,
    }
}

impl KeptLoss {
    fn of(here: &LostHere) -> KeptLoss {
        KeptLoss {
            lsn: here.lsn.to_string(),
            xid: here.xid,
            at: here.at.map(iso),
            what: here.lost.what.name().to_owned(),
            class: here.lost.class.clone(),
            oid: here.lost.oid,
            identity: here.lost.identity.clone(),
            reason: here.reason.clone(),
        }
    }

    fn loss(self) -> Option<LostHere> {
        Some(LostHere {
            lsn: self.lsn.parse().ok()?,
            xid: self.xid,
            at: self.at.as_deref().and_then(parse_iso),
            lost: Lost {
                what: What::parse(&self.what)?,
                class: self.class,
                oid: self.oid,
                identity: self.identity,
            },
            reason: self.reason,
        })
    }
}

fn odd() -> Error {
    Error::failed(
        "the progress of the copy could not be read",
        "Drop the database, and the same command begins anew.",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_read_as_it_is_kept() {
        let here = LostHere {
            lsn: archive::Lsn(7),
            xid: 9,
            at: None,
            lost: Lost {
                what: What::Schema,
                class: "table".into(),
                oid: 3,
                identity: b"public.\xe4".to_vec(),
            },
            reason: b"why".to_vec(),
        };
        let text = serde_json::to_string(&KeptLoss::of(&here)).unwrap();
        let read: KeptLoss = serde_json::from_str(&text).unwrap();
        let read = read.loss().unwrap();
        assert_eq!(
            (read.lsn, read.xid, read.lost),
            (here.lsn, here.xid, here.lost)
        );
    }
}
