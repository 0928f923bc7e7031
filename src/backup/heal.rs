//! A base as soon as something is lost: what comes after it is exact again. And one where capture goes on in a new
//! format: no restore to a later moment needs the former one.
//!
//! Where flags come in a row, bases do not: each keeps ten times its duration from the one before, so that
//! they take at most a tenth of the time. One that fails is tried again as scheduled ones are.

use std::time::Duration;

use archive::flags::{self, Attempt};
use archive::segment::former;
use archive::time::{self, Time};
use pgrx::prelude::*;

use super::job::{start, Job};
use super::schedule::Failed;
use super::setup;
use crate::pg::failure::Failure;
use crate::{place, status, workers};

/// How often it is looked whether one can be begun.
const LOOK: Duration = Duration::from_secs(10);
/// While nothing is to be healed: whoever has something says so.
const NEVER: Duration = Duration::from_secs(3600);
/// A base is begun so many times its duration after the last one ended.
const DISTANCE: u64 = 10;

/// The chain may have a stretch, or a format, that a base is to end.
pub fn want_healing(database: pg_sys::Oid) {
    status::update(database, |entry| entry.wants_healing = true);
    workers::wake_launcher();
}

/// Starts a base where one is due that ends a stretch, for the launcher; returns for how long nothing will be.
pub fn heal_if_due(database: pg_sys::Oid) -> Duration {
    let entry = status::read(database).unwrap_or_default();
    if !entry.wants_healing {
        return NEVER;
    }
    // One that is being made may have begun too early. Without the extension none can be made: it brings
    // its own when it comes back.
    let is_away = entry.held || entry.aside_for != 0 || !entry.broken.is_empty();
    if entry.base.pid != 0 || is_away || entry.extension.is_lost {
        return LOOK;
    }
    // Before the look: what comes after it wants one again.
    status::update(database, |entry| entry.wants_healing = false);
    let wait = next(database).unwrap_or_else(|failure| {
        failure.log(PgLogLevel::LOG);
        Some(LOOK)
    });
    let Some(wait) = wait else {
        return NEVER;
    };
    status::update(database, |entry| entry.wants_healing = true);
    let failed = Failed {
        times: entry.base.failures,
        since_micros: time::calendar().timestamp_micros() - entry.base.finished_at,
    };
    if failed.must_wait() {
        return LOOK;
    }
    if wait.is_zero() {
        if let Err(failure) = start(database, Job::Heal) {
            failure.log(PgLogLevel::LOG);
        }
        return LOOK;
    }
    wait
}

/// How long a base must wait; `None` where none is wanted.
fn next(database: pg_sys::Oid) -> Result<Option<Duration>, Failure> {
    let chain = place::latest_chain(database)?;
    // The first base of a chain is setup's.
    let chain = chain.filter(|chain| chain.info.ended.is_none());
    let Some(chain) = chain else {
        return Ok(None);
    };
    let Some(newest) = chain.bases()?.pop() else {
        return Ok(None);
    };
    if flags::open(&chain)?.is_empty() && !former::holds(&chain, newest)? {
        return Ok(None);
    }
    let last = flags::last_attempt(&chain)?;
    Ok(Some(last.map_or(Duration::ZERO, |last| {
        distance(last, time::calendar())
    })))
}

/// What is left of the time that bases keep from one another. Below zero, the clock was set back: what it
/// said then tells nothing.
fn distance(last: Attempt, now: Time) -> Duration {
    let distance = Duration::from_millis(last.took_ms.saturating_mul(DISTANCE));
    match (now - last.finished_at).to_std() {
        Ok(since) => distance.saturating_sub(since),
        Err(_) => Duration::ZERO,
    }
}

/// Before the base: a table whose changes had no old row gets an identity where it may have one.
pub fn set_identities() {
    if let Err(failure) = setup::try_identities() {
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
