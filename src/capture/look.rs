//! What only a session in the database can see, for those who ask from another: tables without a replica
//! identity, and whether DDL is recorded. The capture worker is such a session. It looks when it starts,
//! and then twice a minute, whenever it has read all there is.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::health;
use crate::lost_extension;
use crate::pg::failure::Failure;
use crate::pg::{session, transaction};
use crate::status::{self, LookStatus};

const INTERVAL: Duration = Duration::from_secs(30);
/// Capture stands still meanwhile, and anybody may hold a lock on what is looked at.
const LOCK_TIMEOUT: &std::ffi::CStr = c"100ms";

#[derive(Default)]
pub struct Look {
    last: Option<Instant>,
}

impl Look {
    /// Looks, unless it has just done so. Outside a transaction. Capture goes on where it fails.
    pub fn if_due(&mut self, database: pg_sys::Oid) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        session::set(c"lock_timeout", LOCK_TIMEOUT);
        let seen = transaction::run(|| {
            if let Err(failure) = lost_extension::look(database) {
                failure.log(PgLogLevel::LOG);
            }
            Ok::<_, Failure>(LookStatus {
                looked_at: archive::time::now().timestamp_micros(),
                keyless_tables: health::uncaptured_tables()?.len() as u32,
                is_ddl_logged: health::ddl_log_problem()?.is_none(),
            })
        });
        session::set(c"lock_timeout", c"0");
        match seen {
            Ok(seen) => {
                status::update(database, |entry| entry.look = seen);
            }
            Err(failure) => failure.log(PgLogLevel::LOG),
        }
    }
}
