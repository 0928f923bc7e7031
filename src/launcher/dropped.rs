//! Chains of databases that were dropped: their slots were dropped with them, so they end.
//!
//! The session that drops a database only sets a flag on the board, because nothing may fail at the end of a transaction.
//! The files show which database it was: a directory of this server whose database does not exist. So nothing is lost
//! with the board: the launcher also checks when it starts.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::workers::doubled;
use crate::{place, settings, status};

/// Delay after a failed check, doubled each time, and maximum time between two checks: a directory may not have been
/// mounted.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Dropped {
    last: Option<Instant>,
    failures: u32,
    /// The error of the last check, which is logged once.
    logged: String,
}

impl Dropped {
    /// Makes a check due if databases were dropped.
    pub fn check_flag(&mut self) {
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
        // This does not create a directory: the archive may not be mounted yet.
        if !settings::directory().is_some_and(|path| path.is_dir()) {
            self.failures = self.failures.saturating_add(1);
            return;
        }
        let Err(failure) = place::end_chains_of_dropped() else {
            self.failures = 0;
            self.logged.clear();
            return;
        };
        self.failures = self.failures.saturating_add(1);
        if self.logged != failure.in_full() {
            self.logged = failure.in_full();
            let message = "pg_incrbackup: could not end the chain of a dropped database";
            Failure::new(failure.code, message)
                .detail(failure.in_full())
                .hint("Nothing is lost. It is retried.")
                .log(PgLogLevel::WARNING);
        }
    }
}
