//! The moment that is wanted, as the session's server reads it.

use archive::{time_text, Lsn};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::query;
use crate::pg::text::ServerText;

/// The program's option. 22007 if it is neither an LSN nor a time.
pub fn option(text: &ServerText) -> Result<String, Failure> {
    let text = text.to_utf8().trim().to_owned();
    if let Some(lsn) = lsn(&text) {
        return Ok(format!("--until-lsn={lsn}"));
    }
    let argument = [DatumWithOid::from(ServerText::from_utf8(&text))];
    let time = query::one::<String>(&time_text::query(&text), &argument)?;
    let time = time.filter(|time| archive::time::parse_iso(time).is_some());
    time.map(|time| format!("--until-time={time}"))
        .ok_or_else(|| {
            let code = PgSqlErrorCode::ERRCODE_INVALID_DATETIME_FORMAT;
            Failure::new(
                code,
                format!("the time \"{text}\" is not in the years 1 to 9999"),
            )
            .hint("A moment is a time, as in '14:29' or '10 minutes ago', or an LSN, as in '16/B374D848'.")
        })
}

/// Two hexadecimal numbers with a slash; no time has this form.
fn lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let is_number = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    (is_number(high) && is_number(low))
        .then(|| text.parse().ok())
        .flatten()
}
