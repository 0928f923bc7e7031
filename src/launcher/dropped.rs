//! The chains of databases that were dropped: their slots went along, and nothing follows.
//!
//! Whoever drops a database only leaves word on the board, for nothing may fail at the end of a transaction. Which one
//! it was, the files tell: a directory of this server's whose database does not exist. So nothing is lost with the board
//! and the launcher: after a start it looks whatever anybody said.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::workers::doubled;
use crate::{place, settings, status};

/// Between two looks while the last one failed, and the longest time between two looks: a directory may have been away.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Dropped {
    last: Option<Instant>,
    failures: u32,
    /// Why the last look failed, which is told once.
    told: String,
}

impl Dropped {
    /// Makes a look due where databases were dropped. To be called before it is read which there are.
    pub fn take_word(&mut self) {
        if status::take_dropped() {
            self.last = None;
        }
    }

    /// Ends the chains of databases that do not exist, if a check is due.
    pub fn end_chains(&mut self) {
        let pause = match self.failures {
            0 => LONGEST,
            failures => doubled(FIRST_RETRY, failures - 1, LONGEST),
        };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        // Looking makes no directory: it may yet be mounted.
        if !settings::directory().is_some_and(|path| path.is_dir()) {
            self.failures = self.failures.saturating_add(1);
            return;
        }
        let Err(failure) = place::end_chains_of_dropped() else {
            self.failures = 0;
            self.told.clear();
            return;
        };
        self.failures = self.failures.saturating_add(1);
        if self.told != failure.in_full() {
            self.told = failure.in_full();
            let message = "pg_incrbackup: could not end the chain of a dropped database";
            Failure::new(failure.code, message)
                .detail(failure.in_full())
                .hint("Nothing is lost. It is retried.")
                .log(PgLogLevel::WARNING);
        }
    }
}
