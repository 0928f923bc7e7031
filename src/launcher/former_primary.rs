//! On a standby that was the primary before (from 17 on): drops its own copies of our slots.
//!
//! A server that becomes a standby without pg_rewind keeps the slots that it had as the primary. The worker with which
//! PostgreSQL keeps slots in step (slotsync.c) refuses a slot of which the standby has one of its own, and synchronizes no
//! other one, either; until somebody drops it, this standby has no slot that could go on after a promotion.
//!
//! What is dropped is worth nothing any more: a failover slot that was not synchronized cannot have been made on a standby, and the
//! server follows a primary at this moment, where the chain goes on or ends. While there is none, the slot stays: this
//! server may be promoted again, and then goes on from it. The launcher runs on primaries only; this worker ends there.

use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags,
};
use pgrx::prelude::*;

use crate::pg::decoding::slot;
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc, title, transaction};
use crate::workers::{self, shutdown, slot_name, slot_plugin};

/// A look reads some words of shared memory.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure, which is logged.
const RETRY: Duration = Duration::from_secs(30);

/// Registers the worker with the postmaster, where slots are synchronized at all.
pub fn register() {
    if server::VERSION_NUM < 170_000 {
        return;
    }
    BackgroundWorkerBuilder::new("pg_incrbackup standby")
        .set_type("pg_incrbackup standby")
        .set_function("pg_incrbackup_standby_main")
        .set_library("pg_incrbackup")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_standby_main(_argument: pg_sys::Datum) {
    // A worker that returns is never started again.
    if !server::is_in_recovery() {
        return;
    }
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    workers::connect(None);
    while server::is_in_recovery() && !shutdown::is_requested() {
        shutdown::sleep(look());
        if BackgroundWorker::sighup_received() {
            server::reload_settings();
        }
    }
    if shutdown::is_requested() {
        server::exit_to_be_restarted();
    }
}

/// Drops what blocks the synchronization; returns the time until the next look.
fn look() -> Duration {
    // Without the setting nothing is blocked.
    let is_synchronizing = guc::value(c"sync_replication_slots").as_deref() == Some("on");
    if !is_synchronizing || !server::is_following() {
        return LOOK;
    }
    for (name, database) in slot::own_failover_slots() {
        if name != slot_name(database) || slot_plugin(database).is_none() {
            continue;
        }
        let dropped = transaction::run(|| {
            slot::drop(&name);
            Ok::<_, Failure>(())
        });
        match dropped {
            Ok(()) => title::log_of(
                database,
                &format!(
                    "dropped the replication slot \"{name}\", which this server has from its time as the primary, so \
                     that the one of the primary that it follows now can be synchronized"
                ),
            ),
            Err(failure) => {
                failure.log_of(database, PgLogLevel::WARNING);
                return RETRY;
            }
        }
    }
    LOOK
}
