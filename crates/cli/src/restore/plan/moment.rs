//! The moment that is wanted.

use archive::time::{self, Time};
use archive::Lsn;
use tokio_postgres::types::Type;

use super::ddl::Ddl;
use super::local_time;
use crate::args::Until;
use crate::connection::Session;
use crate::error::{Error, Result};

/// A point in the series of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The last one that the archive has.
    Newest,
    /// After the last transaction, in the order of commits, whose commit time is not after it.
    Time(Time),
    /// After the transaction whose commit record ends there.
    Lsn(Lsn),
    /// After this transaction (64-bit).
    Xid(u64),
    /// After the newest transaction with a mark of this name.
    Mark(String),
    /// After the one that committed before this transaction.
    BeforeXid(u64),
    /// After the one that committed before the newest transaction with this change.
    BeforeDdl(Ddl),
}

impl Moment {
    /// True for a moment that is given by a transaction, which one chain has.
    pub fn is_of_transaction(&self) -> bool {
        matches!(
            self,
            Moment::Xid(_) | Moment::Mark(_) | Moment::BeforeXid(_) | Moment::BeforeDdl(_)
        )
    }

    /// As the command line has it. A time is read by the server that the restore goes to, so that every form which
    /// PostgreSQL knows is one; without a server, the usual ones ([`super::local_time`]).
    pub async fn of(until: &Until, server: Option<&Session>) -> Result<Moment> {
        if let Some(text) = &until.until_lsn {
            let hint = "An LSN is two hexadecimal numbers with a slash, as in 16/B374D848.";
            let lsn = text.parse().map_err(|_| {
                Error::wrong_use(format!("\"{}\" is not an LSN", printable(text)), hint)
            })?;
            return Ok(Moment::Lsn(lsn));
        }
        match (until.until_xid, until.before_xid) {
            (Some(xid), _) => return Ok(Moment::Xid(xid)),
            (_, Some(xid)) => return Ok(Moment::BeforeXid(xid)),
            (None, None) => {}
        }
        if let Some(name) = &until.until_mark {
            return Ok(Moment::Mark(name.clone()));
        }
        if let Some(text) = &until.before_ddl {
            return Ddl::parse(text).map(Moment::BeforeDdl);
        }
        let Some(text) = &until.until_time else {
            return Ok(Moment::Newest);
        };
        match (time::parse_iso(text), server) {
            (Some(time), _) => Ok(Moment::Time(time)),
            (None, Some(server)) => parse_time(text, server).await.map(Moment::Time),
            (None, None) => match local_time::read(text, time::now()) {
                Some(time) => Ok(Moment::Time(time)),
                None => {
                    let message = format!(
                        "without a server the time \"{}\" cannot be read",
                        printable(text)
                    );
                    Err(Error::wrong_use(message, local_time::FORMS))
                }
            },
        }
    }
}

/// A time of day alone is that of the last day on which it has passed; `10 minutes ago` and `@1763710000` too.
async fn parse_time(text: &str, server: &Session) -> Result<Time> {
    let read = if text.strip_prefix('@').is_some() {
        "pg_catalog.to_timestamp(CAST(pg_catalog.substr($1, 2) AS float8))"
    } else if is_ago(text) {
        "pg_catalog.now() + CAST($1 AS interval)"
    } else if is_time_of_day(text) {
        "(SELECT max(t) FROM (SELECT CAST(to_char(day, 'YYYY-MM-DD ') || $1 AS timestamptz) \
         FROM generate_series(current_date - 2, current_date + 1, interval '1 day') AS day) AS days (t) \
         WHERE t <= now())"
    } else {
        "CAST($1 AS timestamptz)"
    };
    let query = format!(
        "SELECT to_char(({read}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS time"
    );
    let rows = server
        .client
        .query_typed(&query, &[(&text, Type::TEXT)])
        .await
        .map_err(|error| {
            let message = format!("the server cannot read the time \"{}\"", printable(text));
            Error::wrong_use(format!("{message}: {}", Error::from(error)), "")
        })?;
    let read: Option<&str> = rows[0].get(0);
    read.and_then(time::parse_iso).ok_or_else(|| {
        let message = format!(
            "the time \"{}\" is not in the years 1 to 9999",
            printable(text)
        );
        Error::wrong_use(message, "")
    })
}

/// `10 minutes ago`; not a time zone whose name ends so (America/Santiago).
pub(super) fn is_ago(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some(before) = lower.strip_suffix("ago") else {
        return false;
    };
    !before.ends_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
}

/// `14:29`, `14:29:05.5`, `2:29 pm`, each also with a zone.
pub(super) fn is_time_of_day(text: &str) -> bool {
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

/// A user's text in a message.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
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
