//! Times and spans between Rust and SQL.

use std::time::Duration;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const EPOCH_DIFFERENCE: i64 = 946_684_800_000_000;

/// A time given in microseconds since the Unix epoch; NULL for 0.
pub fn from_unix_micros(micros: i64) -> Option<TimestampWithTimeZone> {
    (micros != 0)
        .then(|| TimestampWithTimeZone::try_from(micros - EPOCH_DIFFERENCE).ok())
        .flatten()
}

/// A `TimestampTz` as microseconds since the Unix epoch.
pub fn to_unix_micros(timestamp: i64) -> i64 {
    timestamp.saturating_add(EPOCH_DIFFERENCE)
}

/// An interval of this many microseconds, in hours and below.
pub fn interval(micros: i64) -> Interval {
    Interval::from_micros(micros)
}

/// An interval as a limit. Raises 22023 unless it is positive.
pub fn duration(interval: &Interval) -> Result<Duration, Failure> {
    let micros = i128::from(interval.months()) * 30 * 86_400_000_000
        + i128::from(interval.days()) * 86_400_000_000
        + i128::from(interval.micros());
    match u64::try_from(micros) {
        Ok(micros) if micros > 0 => Ok(Duration::from_micros(micros)),
        _ => Err(Failure::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "timeout must be greater than zero",
        )),
    }
}
