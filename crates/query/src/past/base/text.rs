//! Texts of values in a base, as segments have them.
//!
//! Segments are written under settings of their own ([`archive::segment`], header); pg_dump sets most of them too
//! (setup_connection of pg_dump.c), but not the time zone, lc_monetary and bytea_output, which are those of the database, and
//! has quote_all_identifiers on. So a value of some types has another text there:
//!
//! - timestamptz, also in ranges and arrays: converted to UTC;
//! - bytea in the escape format: converted to hexadecimal digits;
//! - reg* types: names without quotes that are not necessary;
//! - money of a locale other than C: refused, as is a value of a type of the user's that looks like a timestamp with an offset.

use std::borrow::Cow;

use crate::history::scanner::Words;
use crate::past::shape::definition::plain_type;

/// How the values of a column are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    AsItIs,
    /// A timestamp with an offset, or several.
    Zoned,
    Bytes,
    /// An array of them.
    ManyBytes,
    Names,
    Money,
    /// May contain what has another text.
    Users,
}

impl Reading {
    /// By the type of the column.
    pub fn of(type_: &[u8]) -> Reading {
        let element = type_.strip_suffix(b"[]").unwrap_or(type_);
        let is_zoned = element.starts_with(b"timestamp")
            && element.ends_with(b"with time zone")
            && !element.ends_with(b"without time zone");
        let is_array = element.len() < type_.len();
        if is_zoned || matches!(element, b"tstzrange" | b"tstzmultirange") {
            return Reading::Zoned;
        }
        match element {
            b"bytea" if is_array => Reading::ManyBytes,
            b"bytea" => Reading::Bytes,
            b"money" => Reading::Money,
            _ if element.starts_with(b"reg") && !element.contains(&b'.') => Reading::Names,
            _ if Words::new(element)
                .qualified()
                .is_some_and(|name| name.contains(&b'.')) =>
            {
                Reading::Users
            }
            _ => Reading::AsItIs,
        }
    }

    /// The text as segments have it; `Err` says why that is not known.
    pub fn text<'t>(self, text: Cow<'t, [u8]>) -> Result<Cow<'t, [u8]>, &'static str> {
        match self {
            Reading::AsItIs => Ok(text),
            Reading::Zoned => Ok(in_utc(text)),
            Reading::Bytes if text.starts_with(b"\\x") => Ok(text),
            Reading::Bytes => Ok(Cow::Owned(hexadecimal(&text)?)),
            Reading::ManyBytes if are_hexadecimal(&text) => Ok(text),
            Reading::ManyBytes => Err("an array of bytea is in the escape format"),
            Reading::Names if text.contains(&b'"') => {
                let mut words = Words::new(&text);
                let is_name = words.qualified().is_some() && matches!(words.rest(), b"" | b"[]");
                match is_name.then(|| plain_type(&text)) {
                    Some(name) => Ok(Cow::Owned(name)),
                    None => Err("the name of an object is quoted in the base as a server would not write it"),
                }
            }
            Reading::Names => Ok(text),
            Reading::Money if is_money_of_c(&text) => Ok(text),
            Reading::Money => Err(
                "a value of type money depends on the locale, which the base was not written under",
            ),
            Reading::Users => {
                let other = stamps(&text).find(|stamp| !stamp.is_utc);
                match other {
                    None => Ok(text),
                    Some(_) => Err(
                        "a value of a user-defined type contains a timestamp of a time zone other than UTC, in which the base \
                         was taken",
                    ),
                }
            }
        }
    }
}

/// An array without a value that is not in hexadecimal digits, which are always in quotes.
fn are_hexadecimal(array: &[u8]) -> bool {
    let inside = array
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"));
    inside.is_some_and(|inside| {
        let mut elements = inside.split(|byte| *byte == b',');
        inside.is_empty() || elements.all(|it| it == b"NULL" || it.starts_with(b"\"\\\\x"))
    })
}

/// `$1,234.50`: what cash_out writes under C, and under en_US too.
fn is_money_of_c(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"{").unwrap_or(text);
    let number = text.strip_prefix(b"\"").unwrap_or(text);
    let number = number.strip_prefix(b"-").unwrap_or(number);
    number.starts_with(b"$") || number.is_empty() || number == b"}"
}

/// A timestamp with its offset within a text.
struct Stamp {
    start: usize,
    end: usize,
    is_utc: bool,
}

/// All `YYYY-MM-DD HH:MM:SS[.f]±HH[:MM[:SS]][ BC]` in a text.
fn stamps(text: &[u8]) -> impl Iterator<Item = Stamp> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || loop {
        // The colon behind the hours.
        let colon = from + memchr::memchr(b':', text.get(from..)?)?;
        from = colon + 1;
        if let Some(stamp) = stamp_around(text, colon) {
            from = stamp.end;
            return Some(stamp);
        }
    })
}

fn stamp_around(text: &[u8], colon: usize) -> Option<Stamp> {
    let digits = |from: usize, count: usize| {
        let part = text.get(from..from + count)?;
        part.iter().all(u8::is_ascii_digit).then_some(())
    };
    let is = |at: usize, byte: u8| (text.get(at) == Some(&byte)).then_some(());
    let hours = colon.checked_sub(2)?;
    digits(hours, 2)?;
    is(hours.checked_sub(1)?, b' ')?;
    let day = hours.checked_sub(3)?;
    digits(day, 2)?;
    is(day.checked_sub(1)?, b'-')?;
    let month = day.checked_sub(3)?;
    digits(month, 2)?;
    is(month.checked_sub(1)?, b'-')?;
    let mut start = month - 1;
    while start > 0 && text[start - 1].is_ascii_digit() {
        start -= 1;
    }
    if month - 1 - start < 4 {
        return None;
    }
    digits(colon + 1, 2)?;
    is(colon + 3, b':')?;
    digits(colon + 4, 2)?;
    let mut at = colon + 6;
    if text.get(at) == Some(&b'.') {
        at += 1;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
    }
    let zone = at;
    if !matches!(text.get(zone), Some(b'+' | b'-')) {
        return None;
    }
    digits(zone + 1, 2)?;
    at = zone + 3;
    while text.get(at) == Some(&b':') && digits(at + 1, 2).is_some() {
        at += 3;
    }
    let is_utc = &text[zone..at] == b"+00";
    if text[at..].starts_with(b" BC") {
        at += 3;
    }
    Some(Stamp {
        start,
        end: at,
        is_utc,
    })
}

fn in_utc(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if stamps(&text).all(|stamp| stamp.is_utc) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for stamp in stamps(&text) {
        out.extend_from_slice(&text[from..stamp.start]);
        out.extend(converted(&text[stamp.start..stamp.end]));
        from = stamp.end;
    }
    out.extend_from_slice(&text[from..]);
    Cow::Owned(out)
}

/// A timestamp of the form that [`stamps`] finds.
fn converted(stamp: &[u8]) -> Vec<u8> {
    let (stamp, is_bc) = match stamp.strip_suffix(b" BC") {
        Some(stamp) => (stamp, true),
        None => (stamp, false),
    };
    let number = |part: &[u8]| {
        part.iter()
            .fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let dash = memchr::memchr(b'-', stamp).unwrap_or_default();
    let year = number(&stamp[..dash]);
    let year = if is_bc { 1 - year } else { year };
    let at = |offset: usize| number(&stamp[dash + offset..dash + offset + 2]);
    let seconds = days(year, at(1), at(4)) * 86_400 + at(7) * 3600 + at(10) * 60 + at(13);
    let rest = &stamp[dash + 15..];
    let zone = rest
        .iter()
        .position(|byte| matches!(byte, b'+' | b'-'))
        .unwrap_or_default();
    let (fraction, zone) = rest.split_at(zone);
    let parts = zone[1..].split(|byte| *byte == b':').zip([3600, 60, 1]);
    let offset: i64 = parts.map(|(part, unit)| number(part) * unit).sum();
    let utc = if zone[0] == b'-' {
        seconds + offset
    } else {
        seconds - offset
    };
    let (year, month, day) = date(utc.div_euclid(86_400));
    let of_day = utc.rem_euclid(86_400);
    let (shown, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut out =
        format!("{shown:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}").into_bytes();
    out.extend_from_slice(fraction);
    out.extend_from_slice(format!("+00{era}").as_bytes());
    out
}

/// Days since 1970 of a date in the Gregorian calendar, whose year 0 is 1 BC (H. Hinnant's days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse (civil_from_days).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A bytea in the escape format: `\\` is a backslash, and three octal digits behind one are a byte.
fn hexadecimal(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    const ODD: &str = "a value of type bytea is in neither of its formats";
    let mut out = b"\\x".to_vec();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let byte = match (byte, bytes.as_slice()) {
            (b'\\', [b'\\', ..]) => {
                bytes.next();
                b'\\'
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                bytes = bytes.as_slice()[3..].iter();
                (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
            }
            (b'\\', _) => return Err(ODD),
            (other, _) => *other,
        };
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(type_: &str, text: &str) -> Result<String, &'static str> {
        let reading = Reading::of(type_.as_bytes());
        let text = reading.text(Cow::Borrowed(text.as_bytes()))?;
        Ok(String::from_utf8(text.into_owned()).unwrap())
    }

    #[test]
    fn timestamps_are_converted_to_utc() {
        // By a server: SET timezone; SELECT t, t AT TIME ZONE 'UTC'.
        for (text, utc) in [
            (
                "2026-11-21 04:40:00.123456+01",
                "2026-11-21 03:40:00.123456+00",
            ),
            ("2026-01-01 00:30:00+05:30", "2025-12-31 19:00:00+00"),
            ("1890-01-01 00:00:00-00:01:15", "1890-01-01 00:01:15+00"),
            ("0001-12-31 23:30:00-01 BC", "0001-01-01 00:30:00+00"),
            ("0001-01-01 00:30:00+01", "0001-12-31 23:30:00+00 BC"),
            ("294276-12-31 23:00:00-00:30", "294276-12-31 23:30:00+00"),
            ("2024-02-28 23:30:00-01", "2024-02-29 00:30:00+00"),
            ("2026-11-21 04:40:00+00", "2026-11-21 04:40:00+00"),
            ("infinity", "infinity"),
        ] {
            assert_eq!(read("timestamp with time zone", text).unwrap(), utc);
            assert_eq!(read("timestamp(3) with time zone", text).unwrap(), utc);
        }
        let range = "[\"2026-01-01 00:00:00+01\",\"2026-01-02 00:00:00+01\")";
        let expected = "[\"2025-12-31 23:00:00+00\",\"2026-01-01 23:00:00+00\")";
        assert_eq!(read("tstzrange", range).unwrap(), expected);
        let array = "{\"2026-01-01 00:00:00+01\",NULL}";
        let expected = "{\"2025-12-31 23:00:00+00\",NULL}";
        assert_eq!(read("timestamp with time zone[]", array).unwrap(), expected);
        let without = "2026-01-01 00:00:00";
        assert_eq!(
            read("timestamp without time zone", without).unwrap(),
            without
        );
        assert_eq!(
            read("text", "at 2026-01-01 00:00:00+01").unwrap(),
            "at 2026-01-01 00:00:00+01"
        );
    }

    #[test]
    fn days_and_dates_agree_over_all_of_postgresql() {
        for day in (-2_500_000..107_000_000).step_by(997) {
            let (year, month, at) = date(day);
            assert_eq!(days(year, month, at), day);
        }
        assert_eq!(date(0), (1970, 1, 1));
    }

    #[test]
    fn other_settings_are_translated_or_refused() {
        assert_eq!(read("bytea", "\\x00ff").unwrap(), "\\x00ff");
        assert_eq!(read("bytea", "a\\000\\\\\\377'").unwrap(), "\\x61005cff27");
        assert!(read("bytea", "a\\9").is_err());
        assert_eq!(
            read("regclass", "\"public\".\"T x\"").unwrap(),
            "public.\"T x\""
        );
        assert!(read("regprocedure", "\"public\".\"f\"(\"text\")").is_err());
        assert!(read("regclass[]", "{\"\\\"public\\\".\\\"t\\\"\"}").is_err());
        let bytes = "{\"\\\\x00\",NULL}";
        assert_eq!(read("bytea[]", bytes).unwrap(), bytes);
        assert!(read("bytea[]", "{a,b}").is_err());
        assert_eq!(read("money", "-$1,234.50").unwrap(), "-$1,234.50");
        assert!(read("money", "1.234,50 €").is_err());
        assert_eq!(
            read("public.pair", "(1,\"2026-01-01 00:00:00+00\")").unwrap(),
            "(1,\"2026-01-01 00:00:00+00\")"
        );
        assert!(read("public.pair", "(1,\"2026-01-01 00:00:00+01\")").is_err());
    }
}
