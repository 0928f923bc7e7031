//! Times without a server: the usual forms, UTC unless they name an offset.

use archive::time::{self, Time};
use archive::time_text::{is_ago, is_time_of_day};
use chrono::{Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

/// What is read.
pub const FORMS: &str = "2026-11-21 14:29:00, with or without Z or an offset such as +02; 14:29, the last time it has passed; \
                         '10 minutes ago'; @1763710000; now.";

/// The time that a text means at this moment; `None` for another form.
pub fn read(text: &str, now: Time) -> Option<Time> {
    let text = text.trim();
    if let Some(time) = time::parse_iso(text) {
        return Some(time);
    }
    if text.eq_ignore_ascii_case("now") {
        return Some(now);
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return since_1970(seconds.trim());
    }
    if is_ago(text) {
        return ago(text, now);
    }
    if is_time_of_day(text) {
        let (clock, offset) = without_offset(text)?;
        let clock = of_day(clock)?;
        // Of the days around this one, since the offset may be of another.
        let days = (0..3).filter_map(|back| {
            let day = now.date_naive().checked_add_days(Days::new(1))?;
            let day = day.checked_sub_days(Days::new(back))?;
            day.and_time(clock).checked_sub_signed(offset)
        });
        return days.map(|at| at.and_utc()).find(|at| *at <= now);
    }
    if let Some(date) = of_date(text) {
        return Some(date.and_utc());
    }
    let (local, offset) = without_offset(text)?;
    let local = date_and_time(local)?;
    Some(local.checked_sub_signed(offset)?.and_utc())
}

fn since_1970(text: &str) -> Option<Time> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}")[..6].parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Time::from_timestamp_micros(seconds.checked_mul(1_000_000)?.checked_add(sign * micros)?)
}

/// `1 day 2 hours ago`, `10m ago`.
fn ago(text: &str, now: Time) -> Option<Time> {
    let lower = text.to_ascii_lowercase();
    let mut rest = lower.strip_suffix("ago")?.trim();
    let (mut span, mut months) = (TimeDelta::zero(), 0u32);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.trim_start();
        let of_months = |each: i64| u32::try_from(number.checked_mul(each)?).ok();
        let more = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => TimeDelta::try_seconds(number)?,
            "m" | "min" | "mins" | "minute" | "minutes" => TimeDelta::try_minutes(number)?,
            "h" | "hr" | "hrs" | "hour" | "hours" => TimeDelta::try_hours(number)?,
            "d" | "day" | "days" => TimeDelta::try_days(number)?,
            "w" | "week" | "weeks" => TimeDelta::try_weeks(number)?,
            "mon" | "mons" | "month" | "months" => {
                months = months.checked_add(of_months(1)?)?;
                TimeDelta::zero()
            }
            "y" | "year" | "years" => {
                months = months.checked_add(of_months(12)?)?;
                TimeDelta::zero()
            }
            _ => return None,
        };
        span = span.checked_add(&more)?;
    }
    now.checked_sub_months(Months::new(months))?
        .checked_sub_signed(span)
}

/// The text before `Z`, `UTC` or an offset, and how far that is before UTC.
fn without_offset(text: &str) -> Option<(&str, TimeDelta)> {
    for utc in ["UTC", "utc", "GMT", "Z", "z"] {
        if let Some(before) = text.strip_suffix(utc) {
            return Some((before.trim_end(), TimeDelta::zero()));
        }
    }
    // A minus in front of the time is one of the date.
    let colon = text.find(':')?.max(1);
    let Some(sign) = text[colon..].find(['+', '-']).map(|at| at + colon) else {
        return Some((text, TimeDelta::zero()));
    };
    let (before, offset) = text.split_at(sign);
    let digits: String = offset[1..].chars().filter(char::is_ascii_digit).collect();
    let is_plain = offset[1..].chars().all(|c| c.is_ascii_digit() || c == ':');
    let (hours, minutes): (i64, i64) = match digits.len() {
        1 | 2 if is_plain => (digits.parse().ok()?, 0),
        4 if is_plain => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    if hours > 15 || minutes > 59 {
        return None;
    }
    let length = TimeDelta::try_minutes(hours * 60 + minutes)?;
    let length = if offset.starts_with('-') {
        -length
    } else {
        length
    };
    Some((before.trim_end(), length))
}

fn of_day(text: &str) -> Option<NaiveTime> {
    let lower = text.to_ascii_lowercase();
    [
        "%H:%M:%S%.f",
        "%H:%M",
        "%I:%M:%S%.f %p",
        "%I:%M %p",
        "%I:%M%p",
    ]
    .iter()
    .find_map(|form| NaiveTime::parse_from_str(&lower, form).ok())
}

fn date_and_time(text: &str) -> Option<NaiveDateTime> {
    let forms = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ];
    forms
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

/// A date alone is its beginning.
fn of_date(text: &str) -> Option<NaiveDateTime> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    date.and_hms_opt(0, 0, 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let now = time::parse_iso("2026-11-21T14:30:00.000000Z").unwrap();
        for (text, iso) in [
            ("2026-11-20 14:29", "2026-11-20T14:29:00.000000Z"),
            ("2026-11-20 14:29:05.5", "2026-11-20T14:29:05.500000Z"),
            ("2026-11-20T14:29:05+02", "2026-11-20T12:29:05.000000Z"),
            ("2026-11-20 14:29:05 -05:30", "2026-11-20T19:59:05.000000Z"),
            ("2026-11-20 14:29:05Z", "2026-11-20T14:29:05.000000Z"),
            ("2026-11-20 14:29 UTC", "2026-11-20T14:29:00.000000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000000Z"),
            ("2026-11-21T14:29:00.000000Z", "2026-11-21T14:29:00.000000Z"),
            ("14:29", "2026-11-21T14:29:00.000000Z"),
            ("14:31", "2026-11-20T14:31:00.000000Z"),
            ("2:29 pm", "2026-11-21T14:29:00.000000Z"),
            ("16:29+02", "2026-11-21T14:29:00.000000Z"),
            ("16:31+02", "2026-11-20T14:31:00.000000Z"),
            ("10 minutes ago", "2026-11-21T14:20:00.000000Z"),
            ("1 day 2 hours ago", "2026-11-20T12:30:00.000000Z"),
            ("1 month ago", "2026-10-21T14:30:00.000000Z"),
            ("@1763710000", "2025-11-21T07:26:40.000000Z"),
            ("@1763710000.25", "2025-11-21T07:26:40.250000Z"),
            ("now", "2026-11-21T14:30:00.000000Z"),
        ] {
            assert_eq!(
                read(text, now).map(time::iso).as_deref(),
                Some(iso),
                "{text}"
            );
        }
        for text in [
            "",
            "tomorrow",
            "14",
            "14:29 Europe/Berlin",
            "5 fortnights ago",
            "ago",
            "2026-13-01",
            "@x",
            "1 hour",
        ] {
            assert_eq!(read(text, now), None, "{text}");
        }
    }
}
