//! When a scheduled base backup is due. Times are UTC, which has no hour twice.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;

/// True when `schedule` has a moment after `last` that is not after `now`. Several missed moments
/// make one base.
pub fn due(schedule: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    next(schedule, last).is_some_and(|next| next <= now)
}

/// The first moment of `schedule` after `last`; `None` when there is none or the text is no schedule.
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
    fn a_text_that_is_no_schedule_is_never_due() {
        assert!(!due(
            "every day",
            at("2026-11-20T02:00:05Z"),
            at("2036-11-21T01:59:59Z")
        ));
    }
}
