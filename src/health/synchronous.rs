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
    let waiting = commits.waiting;
    if waiting > 0 && age(commits.waiting_since) >= LONG_WAIT.as_secs() as i64 {
        let seconds = age(commits.waiting_since);
        let reason = format!(
            "{waiting} commits wait for the files (pg_incrbackup.synchronous), the first for {seconds} s"
        );
        row.because(Level::Warning, reason);
    }
    let degraded = commits.degraded;
    if degraded > 0 && age(commits.degraded_at) < REPORTED.as_secs() as i64 {
        let seconds = age(commits.degraded_at);
        let reason = format!(
            "{degraded} synchronous commits returned before they were in the files, the last {seconds} s ago"
        );
        row.because(Level::Warning, reason);
    }
}
