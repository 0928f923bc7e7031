//! Losses in the transactions being written, until they are in the chain's list.
//!
//! The list is written before the transactions are fsynced, and so before they are confirmed to the slot: a
//! crash can leave a flag in the list too early, but never omit one. If a worker exits in between, the next
//! one finds the flag again in a transaction that it skips. The launcher is notified, and starts a base.

use std::collections::HashMap;

use archive::failpoint::pass;
use archive::flags::{self, New};
use archive::lsn::Lsn;
use archive::segment::Lost;
use archive::time::Time;
use archive::ChainDir;
use pgrx::prelude::*;

use super::error::{CaptureError, Result};
use crate::backup;

pub struct Losses {
    chain: ChainDir,
    /// The current transaction.
    xid: u64,
    commit_lsn: Lsn,
    commit_time: Option<Time>,
    /// The first and the last flag of each object that is not in the list yet.
    new: HashMap<Lost, (New, Option<New>)>,
}

impl Losses {
    pub fn new(chain: ChainDir) -> Losses {
        Losses {
            chain,
            xid: 0,
            commit_lsn: Lsn(0),
            commit_time: None,
            new: HashMap::new(),
        }
    }

    pub fn begin(&mut self, xid: u64, commit_lsn: Lsn, commit_time: Option<Time>) {
        (self.xid, self.commit_lsn, self.commit_time) = (xid, commit_lsn, commit_time);
    }

    pub fn add(&mut self, lost: Lost, reason: &[u8]) {
        let new = || New {
            lost: lost.clone(),
            reason: reason.to_vec(),
            xid: self.xid,
            commit_lsn: self.commit_lsn,
            commit_time: self.commit_time,
        };
        match self.new.get_mut(&lost) {
            Some((first, _)) if first.commit_lsn == self.commit_lsn => {}
            Some((_, Some(last))) if last.commit_lsn == self.commit_lsn => {}
            Some((_, last)) => *last = Some(new()),
            None => {
                let new = new();
                self.new.insert(lost, (new, None));
            }
        }
    }

    /// Writes them to the list.
    pub fn note(&mut self, database: pg_sys::Oid) -> Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        pass("flags: note").map_err(CaptureError::system("record what is lost"))?;
        let found = self.new.values();
        let mut news: Vec<New> = found
            .flat_map(|(first, last)| std::iter::once(first).chain(last))
            .cloned()
            .collect();
        news.sort_by_key(|new| new.commit_lsn);
        flags::note(&self.chain, &news)?;
        self.new.clear();
        backup::want_healing(database);
        Ok(())
    }
}
