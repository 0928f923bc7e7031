//! A time as a person writes it, and the SQL by which a server reads it.

/// An expression of type `timestamptz` over `$1`, the text: a time of day alone is that of the last day on which it has
/// passed; `10 minutes ago` and `@1763710000` too; anything else as `timestamptz` reads it.
pub fn expression(text: &str) -> &'static str {
    if text.starts_with('@') {
        "pg_catalog.to_timestamp(CAST(pg_catalog.substr($1, 2) AS float8))"
    } else if is_ago(text) {
        "pg_catalog.now() + CAST($1 AS interval)"
    } else if is_time_of_day(text) {
        "(SELECT max(t) FROM (SELECT CAST(to_char(day, 'YYYY-MM-DD ') || $1 AS timestamptz) \
         FROM generate_series(current_date - 2, current_date + 1, interval '1 day') AS day) AS days (t) \
         WHERE t <= now())"
    } else {
        "CAST($1 AS timestamptz)"
    }
}

/// The query of that time in ISO 8601, for [`crate::time::parse_iso`]; no row has NULL but for a time that is none. A year
/// before Christ is written so that it is not one after.
pub fn query(text: &str) -> String {
    let read = expression(text);
    format!(
        "SELECT CASE WHEN isfinite(t) AND t < CAST('0001-01-01 00:00:00+00' AS timestamptz) THEN 'BC' ELSE '' END \
         || to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS time FROM (SELECT {read} AS t) AS given"
    )
}

/// `10 minutes ago`; not a time zone whose name ends so (America/Santiago).
pub fn is_ago(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some(before) = lower.strip_suffix("ago") else {
        return false;
    };
    !before.ends_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
}

/// `14:29`, `14:29:05.5`, `2:29 pm`, each also with a zone.
pub fn is_time_of_day(text: &str) -> bool {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    if !(1..=2).contains(&digits) || !text[digits..].starts_with(':') {
        return false;
    }
    let rest = text[digits..].trim_start_matches(|c: char| c.is_ascii_digit() || ":.".contains(c));
    let rest = rest.trim_start();
    let half = ["am", "pm", "AM", "PM"]
        .into_iter()
        .find_map(|half| rest.strip_prefix(half));
    let zone = half.unwrap_or(rest).trim_start();
    let is_offset = zone.strip_prefix(['+', '-']).is_some_and(|offset| {
        offset.len() < 9 && offset.chars().all(|c| c.is_ascii_digit() || c == ':')
    });
    let is_name = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '/';
    is_offset || zone.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_told_from_other_times() {
        for text in [
            "14:29",
            "4:29",
            "14:29:05.123",
            "2:29 pm",
            "14:29+02",
            "14:29 Europe/Berlin",
            "14:29Z",
        ] {
            assert!(is_time_of_day(text), "{text}");
        }
        for text in [
            "2026-11-21 14:29",
            "now",
            "14",
            "14:29 2026-11-21",
            "yesterday 14:29",
            "@1",
            "100:29",
        ] {
            assert!(!is_time_of_day(text), "{text}");
        }
    }

    #[test]
    fn what_is_ago_is_told_from_a_zone() {
        for text in ["10 minutes ago", "1 day 2 hours ago", "10m AGO", "1 ago"] {
            assert!(is_ago(text), "{text}");
        }
        for text in ["14:29 America/Santiago", "14:29", "chicago"] {
            assert!(!is_ago(text), "{text}");
        }
    }
}
