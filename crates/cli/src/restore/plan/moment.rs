//! The moment that is wanted.

use archive::time::{self, Time};
use archive::time_text;
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
    let query = time_text::query(text);
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

/// A user's text in a message.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
