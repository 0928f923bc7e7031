//! Has the indexes of closed segments made, which incr_history() and incr_report() read, in a worker of
//! its own: neither capture nor whoever asks waits for them.
//!
//! The files alone say what is missing. Where an index cannot be made, whoever asks makes it in memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use archive_query::history::files;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::{process, signals, transaction};
use crate::{place, workers};

/// Capture and the server's own work come first.
const NICENESS: i32 = 10;
/// For one more attempt where the last one did not make fewer of them missing.
const RETRY: Duration = Duration::from_secs(600);

/// The launcher's memory of what it started.
#[derive(Default)]
pub struct Indexing(HashMap<u32, Attempt>);

struct Attempt {
    worker: DynamicBackgroundWorker,
    begun: Instant,
    missing: usize,
}

impl Indexing {
    /// Starts a worker where a closed segment has no index. For the launcher, twice a minute or so.
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
        // Where no worker is free, the next look tries again.
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

/// Connected to no database: it blocks nobody's DROP DATABASE.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_indexer_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    signals::end_on_sigterm();
    workers::connect(None);
    process::end_with_this_process();
    // Where it may not, it works all the same.
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
