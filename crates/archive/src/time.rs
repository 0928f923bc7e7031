//! Points in time in the archive: always UTC.
//!
//! Comments and JSON contain ISO 8601 with microseconds, PostgreSQL's resolution; file names a compact form
//! in whole seconds. Both are formatted and parsed only here.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound, Utc};

/// A point in time with PostgreSQL's resolution of one microsecond.
pub type Time = DateTime<Utc>;

const ISO: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// Now, truncated to microseconds so that it is preserved by writing and reading.
pub fn now() -> Time {
    Utc::now().trunc_subsecs(6)
}

/// Now, for schedules, retention, and the times of bases. A test can move it by years without waiting.
pub fn calendar() -> Time {
    now() + crate::failpoint::clock_shift()
}

/// `2026-11-21T03:40:00.123456Z`
pub fn iso(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Parses the output of [`iso`]; `None` for any other text.
pub fn parse_iso(text: &str) -> Option<Time> {
    // A segment has one per transaction, and almost all are of this length: a quarter of the time of a pass.
    if let Ok(text) = text.as_bytes().try_into() {
        return parse_usual(text);
    }
    NaiveDateTime::parse_from_str(text, ISO)
        .ok()
        .map(|naive| naive.and_utc())
}

/// The output of [`iso`] for years of four digits.
fn parse_usual(text: &[u8; 27]) -> Option<Time> {
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0, |number: u32, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let ends = [(19, b'.'), (26, b'Z')];
    if !signs
        .iter()
        .chain(&ends)
        .all(|(at, sign)| text[*at] == *sign)
    {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(0, 4)?).ok()?,
        number(5, 7)?,
        number(8, 10)?,
    )?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let micros = number(20, 26)?;
    Some(
        date.and_hms_micro_opt(hour, minute, second, micros)?
            .and_utc(),
    )
}

/// `20261120T020000Z`, the form of file names.
pub fn utc_stamp(time: Time) -> String {
    time.format(STAMP).to_string()
}

/// Parses the output of [`utc_stamp`]; `None` for any other text.
pub fn parse_utc_stamp(text: &str) -> Option<Time> {
    let parsed = NaiveDateTime::parse_from_str(text, STAMP).ok()?.and_utc();
    (utc_stamp(parsed) == text).then_some(parsed)
}

/// A [`Time`] in JSON: `#[serde(with = "time::json")]`.
pub mod json {
    use serde::{de, Deserialize, Deserializer, Serializer};

    use super::{iso, parse_iso, Time};

    /// Writes the text of [`iso`].
    pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&iso(*time))
    }

    /// Reads the text of [`iso`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_iso(&text).ok_or_else(|| de::Error::custom(format!("invalid time \"{text}\"")))
    }
}

/// A [`Time`] or null in JSON: `#[serde(with = "time::json_option")]`.
pub mod json_option {
    use serde::{de, Deserialize, Deserializer, Serializer};

    use super::{iso, parse_iso, Time};

    /// Writes the text of [`iso`], or null.
    pub fn serialize<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&iso(*time)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the text of [`iso`], or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Time>, D::Error> {
        let Some(text) = Option::<String>::deserialize(de)? else {
            return Ok(None);
        };
        parse_iso(&text)
            .map(Some)
            .ok_or_else(|| de::Error::custom(format!("invalid time \"{text}\"")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_go_there_and_back() {
        let time = parse_iso("2026-11-21T03:40:00.123456Z").unwrap();
        assert_eq!(iso(time), "2026-11-21T03:40:00.123456Z");
        assert_eq!(utc_stamp(time), "20261121T034000Z");
        assert_eq!(
            iso(parse_utc_stamp("20261121T034000Z").unwrap()),
            "2026-11-21T03:40:00.000000Z"
        );
        let right_now = now();
        assert_eq!(parse_iso(&iso(right_now)), Some(right_now));
        for odd in [
            "+12026-02-28T23:59:59.999999Z",
            "2024-02-29T00:00:00.000001Z",
        ] {
            assert_eq!(iso(parse_iso(odd).unwrap()), odd);
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-13-21T03:40:00.000000Z",
            "2026-02-29T03:40:00.000000Z",
            "2026-11-21T24:00:00.000000Z",
            "2026-11-21T03:40:00.00000 Z",
            "2026-11-21 03:40:00.000000Z",
            "+026-11-21T03:40:00.000000Z",
            "2026-11-21T03:40:00.1+01",
        ] {
            assert_eq!(parse_iso(text), None, "{text:?}");
        }
        for text in ["", "20261121T034000", "20261121T0340Z", "2026-1121T034000Z"] {
            assert_eq!(parse_utc_stamp(text), None, "{text:?}");
        }
    }
}
