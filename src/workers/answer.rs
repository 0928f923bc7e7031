//! Requests to a capture worker through the status board, and waiting for the result.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status::{self, DatabaseStatus};

const POLL: Duration = Duration::from_millis(10);
const WAKE_AGAIN: Duration = Duration::from_millis(500);

/// Requests that the files reach `lsn`, which is flushed; returns a function that checks whether they do.
pub fn ask_to_flush(database: pg_sys::Oid, lsn: u64) -> impl Fn(&DatabaseStatus) -> bool {
    let number = status::update(database, |entry| {
        entry.flush_wanted += 1;
        entry.flush_wanted
    });
    let number = number.unwrap_or(0);
    move |entry| entry.flush_done >= number && entry.durable_lsn >= lsn
}

/// Waits until the board shows the result. `ensure_possible` ends the wait with an error if there can be
/// none, `too_late` is the error after `limit`.
pub fn wait_for(
    database: pg_sys::Oid,
    limit: Duration,
    is_answered: impl Fn(&DatabaseStatus) -> bool,
    ensure_possible: impl Fn(&DatabaseStatus) -> Result<(), Failure>,
    too_late: impl Fn(&DatabaseStatus) -> Failure,
) -> Result<DatabaseStatus, Failure> {
    let start = Instant::now();
    super::wake_launcher();
    super::wake_capture(database);
    let mut last_wake = start;
    loop {
        let entry = status::read(database).unwrap_or_default();
        if is_answered(&entry) {
            return Ok(entry);
        }
        ensure_possible(&entry)?;
        if start.elapsed() > limit {
            return Err(too_late(&entry));
        }
        // A worker that was just starting may have missed the first wake-up.
        if last_wake.elapsed() > WAKE_AGAIN {
            super::wake_capture(database);
            last_wake = Instant::now();
        }
        server::wait_a_moment(POLL);
    }
}
