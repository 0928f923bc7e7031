//! Recording of who made a transaction (`pg_incrbackup.record_who`), right before it commits.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::decoding::who;
use crate::pg::server;
use crate::{settings, status, workers};

/// A look at the slots takes a lock that commits of other sessions take as well: not at each of them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this process's database has a slot of ours, and when that was looked up.
    static HAS_SLOT: Cell<Option<(Instant, bool)>> = const { Cell::new(None) };
}

/// Called before a commit and before a PREPARE TRANSACTION. A transaction of a worker of ours is nobody's; where no slot of ours
/// reads the message, it would only be in the way of those of others.
pub fn record() {
    let is_wanted = settings::record_who()
        && who::has_written()
        && u32::from(server::my_database()) != 0
        && u32::from(workers::served_database()) == 0
        && is_backed_up(server::my_database());
    if !is_wanted {
        return;
    }
    if let Some(session) = who::this_session() {
        who::emit(&session);
    }
}

/// While it is captured, the capture worker's latch says so, which is read without a lock.
fn is_backed_up(database: pg_sys::Oid) -> bool {
    if status::latch_of(database) != 0 {
        return true;
    }
    let known = HAS_SLOT.get();
    if let Some((_, has_slot)) = known.filter(|(looked, _)| looked.elapsed() < LOOK_AGAIN) {
        return has_slot;
    }
    let has_slot = workers::has_slot(database);
    HAS_SLOT.set(Some((Instant::now(), has_slot)));
    has_slot
}
