//! Times as people type them, read without a server: UTC unless they name an offset.

use archive::time::{self, Time};
use chrono::{Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};

use crate::error::{Error, Result};
use crate::restore::plan::printable;

/// What [`parse`] takes, for messages.
const FORMS: &str =
    "Times are UTC unless they name an offset: '2026-11-21 14:29', '2026-11-21T14:29:05.5+01:00', \
     14:29 (the last one that has passed), 'yesterday 14:29', '10 minutes ago', @1763710000, now.";

/// Reads a time; `now` is the moment of the call.
pub fn parse(text: &str, now: Time) -> Result<Time> {
    read(text.trim(), now).ok_or_else(|| {
        let message = format!("\"{}\" is not a time", printable(text));
        Error::wrong_use(message, FORMS)
    })
}

fn read(text: &str, now: Time) -> Option<Time> {
    if let Some(time) = time::parse_iso(text) {
        return Some(time);
    }
    if text.eq_ignore_ascii_case("now") {
        return Some(now);
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().ok()?;
        return Utc
            .timestamp_micros((seconds * 1e6).round() as i64)
            .single();
    }
    let lower = text.to_ascii_lowercase();
    if let Some(span) = lower.strip_suffix("ago") {
        return now.checked_sub_signed(span_of(span)?);
    }
    let (day, rest) = match day_of(&lower, now) {
        Some((day, rest)) => (Some(day), rest),
        None => (None, lower.as_str()),
    };
    if rest.is_empty() {
        return Some(day?.and_time(NaiveTime::MIN).and_utc());
    }
    let (clock, offset) = clock_of(rest)?;
    let at = |day: NaiveDate| in_utc(day.and_time(clock), offset);
    match day {
        Some(day) => at(day),
        None => {
            // In the zone of the offset it may be another day.
            let today = now.date_naive();
            let days =
                (0..3).filter_map(|back| (today + Days::new(1)).checked_sub_days(Days::new(back)));
            days.filter_map(at).find(|time| *time <= now)
        }
    }
}

fn in_utc(local: NaiveDateTime, offset: FixedOffset) -> Option<Time> {
    let local = offset.from_local_datetime(&local).single()?;
    Some(local.with_timezone(&Utc))
}

/// A date at the beginning, and what follows it.
fn day_of(text: &str, now: Time) -> Option<(NaiveDate, &str)> {
    let today = now.date_naive();
    for (word, back) in [("today", 0), ("yesterday", 1)] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((today.checked_sub_days(Days::new(back))?, rest.trim_start()));
        }
    }
    let date = text.get(..10)?;
    let rest = &text[10..];
    let rest = rest.strip_prefix('t').unwrap_or(rest).trim_start();
    Some((NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?, rest))
}

/// `14:29`, `14:29:05.5`, each also with an offset.
fn clock_of(text: &str) -> Option<(NaiveTime, FixedOffset)> {
    let is_of_clock = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.');
    let end = text.find(|c| !is_of_clock(c)).unwrap_or(text.len());
    let (clock, zone) = (&text[..end], text[end..].trim());
    let forms = ["%H:%M:%S%.f", "%H:%M"];
    let clock = forms
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(clock, form).ok())?;
    Some((clock, offset_of(zone)?))
}

fn offset_of(zone: &str) -> Option<FixedOffset> {
    if matches!(zone, "" | "z" | "utc") {
        return FixedOffset::east_opt(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i32>().ok();
    let (hours, minutes) = match digits.len() {
        1 => (number(0, 1)?, 0),
        2 => (number(0, 2)?, 0),
        4 => (number(0, 2)?, number(2, 4)?),
        _ => return None,
    };
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

/// `10 minutes`, `1 day 2 hours`.
fn span_of(text: &str) -> Option<TimeDelta> {
    let mut words = text.split_whitespace().peekable();
    let mut span = TimeDelta::zero();
    words.peek()?;
    while let Some(word) = words.next() {
        let digits = word
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(word.len());
        let count: i64 = word[..digits].parse().ok()?;
        let unit = match &word[digits..] {
            "" => words.next()?,
            unit => unit,
        };
        let seconds = match unit.strip_suffix('s').unwrap_or(unit) {
            "" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            "d" | "day" => 86_400,
            "w" | "week" => 604_800,
            _ => return None,
        };
        span = span.checked_add(&TimeDelta::try_seconds(count.checked_mul(seconds)?)?)?;
    }
    Some(span)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use archive::time::iso;

    #[test]
    fn times_are_read_as_people_type_them() {
        let now = time::parse_iso("2026-11-21T14:00:00.000000Z").unwrap();
        for (text, expected) in [
            ("2026-11-21T03:40:00.123456Z", "2026-11-21T03:40:00.123456Z"),
            ("2026-11-21 03:40", "2026-11-21T03:40:00.000000Z"),
            ("2026-11-21 03:40:01.5+01:00", "2026-11-21T02:40:01.500000Z"),
            ("2026-11-21 03:40:01 -0130", "2026-11-21T05:10:01.000000Z"),
            ("2026-11-21 03:40:01+00", "2026-11-21T03:40:01.000000Z"),
            ("2026-11-21 03:40:01 UTC", "2026-11-21T03:40:01.000000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000000Z"),
            ("13:59", "2026-11-21T13:59:00.000000Z"),
            ("14:01", "2026-11-20T14:01:00.000000Z"),
            ("14:01+01", "2026-11-21T13:01:00.000000Z"),
            ("23:30-11", "2026-11-21T10:30:00.000000Z"),
            ("yesterday 14:29", "2026-11-20T14:29:00.000000Z"),
            ("today", "2026-11-21T00:00:00.000000Z"),
            ("10 minutes ago", "2026-11-21T13:50:00.000000Z"),
            ("1 day 2h ago", "2026-11-20T12:00:00.000000Z"),
            ("@1763710000.5", "2025-11-21T07:26:40.500000Z"),
            ("NOW", "2026-11-21T14:00:00.000000Z"),
        ] {
            assert_eq!(iso(parse(text, now).unwrap()), expected, "{text}");
        }
        for text in [
            "",
            "ago",
            "14",
            "25:00",
            "2026-13-01",
            "10 years ago",
            "@x",
            "14:29 CET",
            "-",
        ] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
