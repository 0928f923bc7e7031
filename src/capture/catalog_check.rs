//! Facts that only a session in the database can see, for sessions in other databases: tables without a
//! replica identity, and whether DDL is recorded. The capture worker is such a session. It checks when it
//! starts, and then at most twice a minute, when it has read everything and the catalogs have changed.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::decoding::invalidation;
use crate::pg::failure::Failure;
use crate::pg::server::{session, transaction};
use crate::settings::{self, KeylessTables};
use crate::status::{self, LookStatus};
use crate::{health, lost_extension};

const INTERVAL: Duration = Duration::from_secs(30);
/// Capture waits in the meantime, and any session may hold a lock on the tables checked here.
const LOCK_TIMEOUT: &std::ffi::CStr = c"100ms";

/// Checked this often in any case: not every change of pg_depend or pg_extension is sent to other sessions.
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct CatalogCheck {
    last: Option<Instant>,
    found: Option<Found>,
}

/// The state in which the last check was made.
struct Found {
    at: Instant,
    /// [`invalidation::received`].
    messages: u64,
    keyless_tables: KeylessTables,
    /// The check was complete.
    is_whole: bool,
    seen: LookStatus,
}

impl CatalogCheck {
    /// Checks, unless it has just been done. Outside a transaction. Capture continues if it fails.
    pub fn if_due(&mut self, database: pg_sys::Oid) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        invalidation::watch();
        session::set(c"lock_timeout", LOCK_TIMEOUT);
        let found = transaction::run(|| self.find(database));
        session::set(c"lock_timeout", c"0");
        match found {
            Ok(found) => {
                status::update_existing(database, |entry| entry.look = found.seen);
                self.found = Some(found);
            }
            Err(failure) => {
                self.found = None;
                failure.log(PgLogLevel::LOG);
            }
        }
    }

    /// The current facts; the previous ones if nothing has changed. In a transaction.
    fn find(&mut self, database: pg_sys::Oid) -> Result<Found, Failure> {
        let (messages, keyless_tables) = (invalidation::received(), settings::keyless_tables());
        let is_lost = status::read(database).is_some_and(|entry| entry.extension.is_lost);
        let looked_at = archive::time::now().timestamp_micros();
        let same = self.found.take().filter(|found| {
            let is_same = (found.messages, found.keyless_tables) == (messages, keyless_tables);
            is_same && found.is_whole && !is_lost && found.at.elapsed() < LONGEST
        });
        if let Some(mut found) = same {
            found.seen.looked_at = looked_at;
            return Ok(found);
        }
        let looked = lost_extension::look(database);
        let is_whole = looked.is_ok();
        if let Err(failure) = looked {
            failure.log(PgLogLevel::LOG);
        }
        Ok(Found {
            at: Instant::now(),
            messages,
            keyless_tables,
            is_whole,
            seen: LookStatus {
                looked_at,
                keyless_tables: health::uncaptured_tables()?.len() as u32,
                is_ddl_logged: health::ddl_log_problem()?.is_none(),
            },
        })
    }
}
