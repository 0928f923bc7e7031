//! Takes a base backup as soon as something is lost, so that everything after it is exact again; and when
//! capture continues in a new format, so that a later restore does not need the old one.
//!
//! Repeated flags do not cause bases at the same rate: each base keeps a distance of ten times its duration
//! from the previous one, so that they take at most a tenth of the time. One that fails is retried like
//! scheduled ones.

use std::time::Duration;

use archive::flags::{self, Attempt};
use archive::manifest::{self, Kind};
use archive::segment::former;
use archive::time::{self, Time};
use archive::ChainDir;
use pgrx::prelude::*;

use super::identities;
use super::job::{start, Job};
use super::schedule::Failed;
use super::turn;
use crate::pg::failure::Failure;
use crate::{place, status, workers};

/// How often to check whether one can be started.
const LOOK: Duration = Duration::from_secs(10);
/// While there is nothing to heal: new losses are reported to us.
const NEVER: Duration = Duration::from_secs(3600);
/// A base is started this many times its duration after the previous one ended.
const DISTANCE: u64 = 10;

/// The chain may have an incomplete range, or a format change, that needs a base.
pub fn want_healing(database: pg_sys::Oid) {
    status::update_existing(database, |entry| entry.wants_healing = true);
    workers::wake_launcher();
}

/// Starts a base if one is due to end an incomplete range, for the launcher; returns the time until the next
/// check.
pub fn heal_if_due(database: pg_sys::Oid) -> Duration {
    let entry = status::read(database).unwrap_or_default();
    if !entry.wants_healing {
        return NEVER;
    }
    // A base that is in progress may have started too early. Without the extension none can be taken:
    // re-creating it starts one.
    let is_due_later = entry.base.is_running() || !turn::may_queue();
    if is_due_later || entry.is_suspended() || entry.extension.is_lost {
        return LOOK;
    }
    // Reset before the check: a loss that is reported later requests a base again.
    status::update_existing(database, |entry| entry.wants_healing = false);
    let wait = next(database).unwrap_or_else(|failure| {
        failure.log_of(database, PgLogLevel::LOG);
        Some(LOOK)
    });
    let Some(wait) = wait else {
        return NEVER;
    };
    status::update_existing(database, |entry| entry.wants_healing = true);
    let failed = Failed {
        times: entry.base.failures,
        since_micros: time::calendar().timestamp_micros() - entry.base.finished_at,
    };
    if failed.must_wait() {
        return LOOK;
    }
    if wait.is_zero() {
        if let Err(failure) = start(database, Job::Heal) {
            failure.log_of(database, PgLogLevel::LOG);
        }
        return LOOK;
    }
    wait
}

/// How long a base must wait; `None` if none is needed.
fn next(database: pg_sys::Oid) -> Result<Option<Duration>, Failure> {
    let chain = place::latest_chain(database)?;
    let chain = chain.filter(|chain| chain.info.ended.is_none());
    let Some(chain) = chain else {
        return Ok(None);
    };
    let is_needed = match chain.bases()?.pop() {
        Some(newest) => !flags::open(&chain)?.is_empty() || former::holds(&chain, newest)?,
        None => had_base(&chain)?,
    };
    if !is_needed {
        return Ok(None);
    }
    let last = flags::last_attempt(&chain)?;
    Ok(Some(last.map_or(Duration::ZERO, |last| {
        distance(last, time::calendar())
    })))
}

/// setup takes the first base of a chain. Where there was one, and none is left, a switch of the timeline has set all
/// apart.
fn had_base(chain: &ChainDir) -> Result<bool, Failure> {
    let manifest = manifest::read(chain)?;
    Ok(manifest.entries.iter().any(|e| e.kind == Kind::Base))
}

/// What is left of the minimum distance between bases. If negative, the clock was set back, and the recorded
/// time means nothing.
fn distance(last: Attempt, now: Time) -> Duration {
    let distance = Duration::from_millis(last.took_ms.saturating_mul(DISTANCE));
    match (now - last.finished_at).to_std() {
        Ok(since) => distance.saturating_sub(since),
        Err(_) => Duration::ZERO,
    }
}

/// Before the base: gives replica identities to tables whose changes had no old row, if allowed.
pub fn set_identities() {
    if let Err(failure) = identities::ensure_where_free() {
        failure.log(PgLogLevel::LOG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_keep_ten_times_their_duration_from_one_another() {
        let at = |seconds: i64| Time::from_timestamp(1_800_000_000 + seconds, 0).expect("a time");
        let last = Attempt {
            finished_at: at(0),
            took_ms: 3000,
        };
        let wait = |seconds: i64| distance(last, at(seconds)).as_secs();
        assert_eq!([wait(0), wait(29), wait(30), wait(9999)], [30, 1, 0, 0]);
        assert_eq!(wait(-1), 0, "the clock was set back");
    }
}
