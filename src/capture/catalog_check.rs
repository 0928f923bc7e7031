//! Facts that only a session in the database can see, for sessions in other databases: tables without a
//! replica identity, and whether DDL is recorded. The capture worker is such a session. It checks when it
//! starts, and then at most twice a minute, when it has read everything and the catalogs have changed.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::decoding::{decoder, invalidation};
use crate::pg::failure::Failure;
use crate::pg::server::session;
use crate::pg::server::transaction::{self, Isolation};
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
        if self.is_same(database) {
            return;
        }
        session::set(c"lock_timeout", LOCK_TIMEOUT);
        let found = transaction::run(|| find(database));
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

    /// True where nothing has changed since the last look, which is noted. A transaction receives what others tell, and
    /// a look into the catalogs would have decoding forget all that it knows of tables.
    fn is_same(&mut self, database: pg_sys::Oid) -> bool {
        decoder::without_looking(|| {
            transaction::begin(Isolation::ReadCommitted);
            transaction::commit();
        });
        let is_lost = status::read(database).is_some_and(|entry| entry.extension.is_lost);
        let is_same = self.found.as_ref().is_some_and(|found| {
            let under = (found.messages, found.keyless_tables);
            under == (invalidation::received(), settings::keyless_tables())
                && found.is_whole
                && !is_lost
                && found.at.elapsed() < LONGEST
        });
        if is_same {
            let looked_at = archive::time::now().timestamp_micros();
            status::update_existing(database, |entry| entry.look.looked_at = looked_at);
        }
        is_same
    }
}

/// What there is to be seen. In a transaction.
fn find(database: pg_sys::Oid) -> Result<Found, Failure> {
    let (messages, keyless_tables) = (invalidation::received(), settings::keyless_tables());
    let looked_at = archive::time::now().timestamp_micros();
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
