//! Commits that wait for the files (`pg_incrbackup.synchronous`), and those that did not wait long enough.

use std::time::Duration;

use archive::time;
use pgrx::prelude::*;

use super::{Level, Row};
use crate::status;

/// A commit that returned before it was durable is reported for this long.
const REPORTED: Duration = Duration::from_secs(3600);
/// A commit that waits longer is reported.
const LONG_WAIT: Duration = Duration::from_secs(10);

pub(super) fn judge(row: &mut Row, database: pg_sys::Oid) {
    let commits = status::synchronous(database);
    let age = |since: i64| (time::now().timestamp_micros() - since).max(0) / 1_000_000;
    if commits.waiting > 0 && age(commits.waiting_since) >= LONG_WAIT.as_secs() as i64 {
        let seconds = age(commits.waiting_since);
        let reason = format!(
            "{} for the files (pg_incrbackup.synchronous), the first for {seconds} s",
            commits.waiting_in_words()
        );
        row.because(Level::Warning, reason);
    }
    if commits.degraded > 0 && age(commits.degraded_at) < REPORTED.as_secs() as i64 {
        let seconds = age(commits.degraded_at);
        let reason = format!("{}, the last {seconds} s ago", commits.degraded_in_words());
        row.because(Level::Warning, reason);
    }
}
