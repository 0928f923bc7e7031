//! What a reader sets out to read, and for whom: everything that is flushed at a moment.

use archive::time::{self, Time};
use pgrx::prelude::*;

use crate::pg::server;
use crate::status::{self, DatabaseStatus};

/// One round of a reader. Where WAL waits for a standby, it takes several looks.
pub struct Round {
    /// Everything committed by then is in the files once the round is over.
    pub at: Time,
    /// The board's entry: requests that the round answers.
    pub asked: DatabaseStatus,
    /// The round is over when everything up to here is read.
    pub upto: u64,
}

impl Round {
    /// Begins one. In this order: everything that a request covers, or that was committed by then, is flushed.
    pub fn begin(database: pg_sys::Oid) -> Round {
        Round {
            at: time::now(),
            asked: status::read(database).unwrap_or_default(),
            upto: server::wal_flush_lsn(),
        }
    }

    /// True if somebody waits for its end.
    pub fn is_asked(&self) -> bool {
        let asked = &self.asked;
        asked.flush_wanted > asked.flush_done || asked.rotate_wanted > asked.rotate_done
    }
}
