//! Has the indexes of closed segments made, which incr_history() and incr_report() read, in a worker of
//! its own: neither capture nor whoever asks waits for them.
//!
//! The files alone say what is missing. Where an index cannot be made, whoever asks makes it in memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use archive::history::files;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::{process, signals, transaction};
use crate::{place, status, workers};

/// Capture and the server's own work come first.
const NICENESS: i32 = 10;
/// For one more attempt where the last one did not make fewer of them missing.
const RETRY: Duration = Duration::from_secs(600);

/// The launcher's memory of what it found and started.
#[derive(Default)]
pub struct Indexing {
    attempts: HashMap<u32, Attempt>,
    /// Where no index was missing, and under which [`state`].
    whole: HashMap<u32, (u64, bool)>,
}

struct Attempt {
    worker: DynamicBackgroundWorker,
    begun: Instant,
    missing: usize,
}

impl Indexing {
    /// Starts a worker where a closed segment has no index. For the launcher, twice a minute or so; the files are looked
    /// at where one was closed since none was missing.
    pub fn start_if_due(&mut self, database: pg_sys::Oid) {
        let number = database.to_u32();
        // Before the look: what is closed meanwhile makes it another one.
        let state = state(database);
        if self.whole.get(&number) == Some(&state) {
            return;
        }
        let missing = match place::find(database) {
            Ok(Some(found)) => files::without_index(&found).ok(),
            _ => None,
        };
        if missing == Some(0) {
            self.whole.insert(number, state);
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
        // Where no worker is free, the next look tries again.
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
