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

/// Over which time the databases' turns at a scheduled time are spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// OID of the database.
    pub database: u32,
    pub seconds: u32,
}

impl Spread {
    /// Everything at the scheduled time.
    pub const NONE: Spread = Spread {
        database: 0,
        seconds: 0,
    };

    /// The delay of this database behind the scheduled time, always the same if the time to the next one is. OIDs that
    /// follow one another are far apart (Fibonacci hashing; Knuth, The Art of Computer Programming, 6.4).
    fn delay(self, schedule: &str, scheduled: DateTime<Utc>) -> TimeDelta {
        if self.seconds == 0 {
            return TimeDelta::zero();
        }
        let distance = next(schedule, scheduled).map(|next| (next - scheduled).num_seconds());
        let distance = distance.and_then(|seconds| u64::try_from(seconds).ok());
        let room = distance.map_or(u64::from(self.seconds), |distance| {
            distance.min(self.seconds.into())
        });
        let hash = u64::from(self.database.wrapping_mul(2_654_435_769));
        TimeDelta::seconds(((hash * room) >> 32) as i64)
    }
}

/// True if `schedule` has a time after `last` which, with the delay of the database, is not after `now`. Several missed
/// times cause one base.
pub fn due(schedule: &str, spread: Spread, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    if last - now > AHEAD {
        return next(schedule, now).is_some();
    }
    let next = next(schedule, last).filter(|next| *next <= now);
    next.is_some_and(|next| next + spread.delay(schedule, next) <= now)
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

    fn due(schedule: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        super::due(schedule, Spread::NONE, last, now)
    }

    #[test]
    fn each_database_has_its_own_time_within_the_spread() {
        let sundays = "0 2 * * 0";
        let (last, scheduled) = (at("2026-11-15T02:00:05Z"), at("2026-11-22T02:00:00Z"));
        let delay = |database, seconds| {
            let spread = Spread { database, seconds };
            let minutes = (0..=24 * 60).find(|minutes| {
                super::due(
                    sundays,
                    spread,
                    last,
                    scheduled + TimeDelta::minutes(*minutes),
                )
            });
            minutes.expect("it is due within a day")
        };
        let mut delays: Vec<i64> = (16384..16394).map(|oid| delay(oid, 4 * 3600)).collect();
        assert_eq!(
            delays,
            (16384..16394)
                .map(|oid| delay(oid, 4 * 3600))
                .collect::<Vec<_>>()
        );
        delays.sort_unstable();
        assert!(delays.iter().all(|minutes| *minutes <= 240), "{delays:?}");
        assert!(
            delays.windows(2).all(|pair| pair[1] - pair[0] >= 10),
            "{delays:?}"
        );
        assert_eq!(delay(16384, 0), 0);
    }

    #[test]
    fn a_spread_is_shorter_than_the_distance_of_two_times() {
        let spread = |database| Spread {
            database,
            seconds: 24 * 3600,
        };
        let (last, now) = (at("2026-11-22T02:00:00Z"), at("2026-11-22T02:20:00Z"));
        for database in 16384..16484 {
            assert!(super::due("*/10 * * * *", spread(database), last, now));
        }
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
