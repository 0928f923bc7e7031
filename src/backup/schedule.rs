//! When a scheduled base backup is due. Times are UTC, in which no hour occurs twice.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;

use crate::workers;

/// A base this far in the future was taken while the clock was wrong, and is ignored.
const AHEAD: TimeDelta = TimeDelta::days(1);
/// After the first failure; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// True if `schedule` has a time after `last` that is not after `now`. Several missed times cause one base.
pub fn due(schedule: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    if last - now > AHEAD {
        return next(schedule, now).is_some();
    }
    next(schedule, last).is_some_and(|next| next <= now)
}

/// Number of consecutive failures.
pub struct Failed {
    pub times: u32,
    /// Time since the last one; negative if the clock was set back.
    pub since_micros: i64,
}

impl Failed {
    /// True while it is too early for the next one.
    pub fn must_wait(&self) -> bool {
        if self.times == 0 {
            return false;
        }
        let delay = workers::doubled(FIRST_RETRY, self.times - 1, LONGEST_RETRY);
        (0..delay.as_micros() as i64).contains(&self.since_micros)
    }
}

/// The first time of `schedule` after `last`; `None` if there is none or the schedule is invalid.
pub fn next(schedule: &str, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let cron = Cron::from_str(schedule.trim()).ok()?;
    cron.find_next_occurrence(&last, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_base_is_due_once_after_each_moment() {
        let nightly = "0 2 * * *";
        let last = at("2026-11-20T02:00:05Z");
        assert!(!due(nightly, last, at("2026-11-21T01:59:59Z")));
        assert!(due(nightly, last, at("2026-11-21T02:00:00Z")));
        assert!(due(nightly, last, at("2026-11-25T00:00:00Z")));
        assert!(!due(
            nightly,
            at("2026-11-21T02:00:00Z"),
            at("2026-11-21T02:00:30Z")
        ));
    }

    #[test]
    fn a_base_of_a_clock_that_was_ahead_does_not_stop_the_schedule() {
        let now = at("2026-11-21T12:00:00Z");
        assert!(due("0 2 * * *", at("2036-01-01T02:00:00Z"), now));
        // Summer time, or a clock that was corrected by an hour: the next time is reached anyway.
        assert!(!due("0 2 * * *", at("2026-11-21T13:00:00Z"), now));
        assert!(!due("every day", at("2036-01-01T02:00:00Z"), now));
    }

    #[test]
    fn after_each_failure_the_next_waits_longer_up_to_an_hour() {
        let waits = |times, seconds: i64| {
            let since_micros = seconds * 1_000_000;
            Failed {
                times,
                since_micros,
            }
            .must_wait()
        };
        assert!(!waits(0, 0));
        assert!(waits(1, 59) && !waits(1, 60));
        assert!(waits(3, 239) && !waits(3, 240));
        assert!(waits(1_000_000, 3599) && !waits(1_000_000, 3600));
        assert!(!waits(3, -1), "the clock was set back");
    }

    #[test]
    fn a_text_that_is_no_schedule_is_never_due() {
        assert!(!due(
            "every day",
            at("2026-11-20T02:00:05Z"),
            at("2036-11-21T01:59:59Z")
        ));
    }
}
