//! The commit time of a transaction, for output plugins that do not provide it.

use chrono::{DateTime, Utc};
use pgrx::prelude::*;

use super::plugin::utc;

/// The commit time of `xid`; `None` without `track_commit_timestamp`, or if it is too old.
pub fn of(xid: u32) -> Option<DateTime<Utc>> {
    let mut time: pg_sys::TimestampTz = 0;
    let mut origin: pg_sys::RepOriginId = 0;
    // SAFETY: a plain global; the function fills what it is given and raises nothing once commit
    // timestamps are tracked.
    unsafe {
        if !pg_sys::track_commit_timestamp {
            return None;
        }
        pg_sys::TransactionIdGetCommitTsData(xid.into(), &mut time, &mut origin).then(|| utc(time))
    }
}
