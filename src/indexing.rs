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
use crate::{place, status, workers};

/// Lower priority than capture and the server's own work.
const NICENESS: i32 = 10;
/// An index may be deleted at any time: it is missed within this time.
const LONGEST: Duration = Duration::from_secs(3600);
/// Minimum time between attempts if the last one did not reduce the number of missing indexes.
const RETRY: Duration = Duration::from_secs(600);

/// The launcher's memory of what it found and started.
#[derive(Default)]
pub struct Indexing {
    attempts: HashMap<u32, Attempt>,
    /// Where no index was missing, and under which [`state`].
    complete: HashMap<u32, ((u64, bool), Instant)>,
}

struct Attempt {
    worker: DynamicBackgroundWorker,
    begun: Instant,
    missing: usize,
}

impl Indexing {
    /// Starts a worker if a closed segment has no index. For the launcher, about twice a minute; the files are only
    /// looked at if a segment was closed since no index was missing.
    pub fn start_if_due(&mut self, database: pg_sys::Oid) {
        let number = database.to_u32();
        // Before the look: what is closed meanwhile makes it another one.
        let state = state(database);
        let last = self.complete.get(&number);
        if last.is_some_and(|(then, at)| *then == state && at.elapsed() < LONGEST) {
            return;
        }
        let missing = match place::find(database) {
            Ok(Some(found)) => files::without_index(&found).ok(),
            _ => None,
        };
        if missing == Some(0) {
            self.complete.insert(number, (state, Instant::now()));
        }
        let missing = missing.unwrap_or(0);
        if missing == 0 {
            self.attempts.remove(&number);
            return;
        }
        if let Some(last) = self.attempts.get(&number) {
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
            self.attempts.insert(number, attempt);
        }
    }
}

/// Another one where a segment may have been closed: by capture, or by whoever ended its chain.
fn state(database: pg_sys::Oid) -> (u64, bool) {
    let entry = status::read(database).unwrap_or_default();
    (entry.offsite.wanted, entry.broken.is_empty())
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
