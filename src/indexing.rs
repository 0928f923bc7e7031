//! Creates the indexes of closed segments, which incr_history() and incr_report() read, in a worker of its
//! own: neither capture nor these functions wait for them.
//!
//! Only the files determine what is missing. If an index cannot be written, the functions create it in
//! memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use archive_query::history::files;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::{process, signals, transaction};
use crate::{place, workers};

/// Lower priority than capture and the server's own work.
const NICENESS: i32 = 10;
/// Minimum time between attempts if the last one did not reduce the number of missing indexes.
const RETRY: Duration = Duration::from_secs(600);

/// What the launcher has started.
#[derive(Default)]
pub struct Indexing(HashMap<u32, Attempt>);

struct Attempt {
    worker: DynamicBackgroundWorker,
    begun: Instant,
    missing: usize,
}

impl Indexing {
    /// Starts a worker if a closed segment has no index. For the launcher, about twice a minute.
    pub fn start_if_due(&mut self, database: pg_sys::Oid) {
        let missing = match place::find(database) {
            Ok(Some(found)) => files::without_index(&found).unwrap_or(0),
            _ => 0,
        };
        if missing == 0 {
            self.0.remove(&database.to_u32());
            return;
        }
        if let Some(last) = self.0.get(&database.to_u32()) {
            let is_running = !matches!(last.worker.pid(), Err(BackgroundWorkerStatus::Stopped));
            let is_in_vain = missing >= last.missing && last.begun.elapsed() < RETRY;
            if is_running || is_in_vain {
                return;
            }
        }
        // If no worker slot is free, the next pass retries.
        if let Ok(worker) = workers::of_kind("indexer", database).load_dynamic() {
            let attempt = Attempt {
                worker,
                begun: Instant::now(),
                missing,
            };
            self.0.insert(database.to_u32(), attempt);
        }
    }
}

/// Not connected to any database, so it does not block DROP DATABASE.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_indexer_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    signals::end_on_sigterm();
    workers::connect(None);
    process::end_with_this_process();
    // If this is not permitted, it works nevertheless.
    let _ = rustix::process::nice(NICENESS);
    let made = transaction::catch(|| make(database)).and_then(|made| made);
    transaction::rollback();
    if let Err(failure) = made {
        failure.log(PgLogLevel::LOG);
    }
}

fn make(database: pg_sys::Oid) -> Result<(), Failure> {
    let Some(found) = place::own(database)? else {
        return Ok(());
    };
    files::make_indexes(&found, &mut || {
        pgrx::check_for_interrupts!();
        Ok(())
    })
}
