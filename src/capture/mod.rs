//! Capture: from the slot to fsynced segments.
//!
//! The launcher starts one worker for each slot named `pg_incrbackup_<database oid>`: the slot is
//! the durable registry of what is backed up. A worker opens its chain, reads the slot with one of
//! two readers (`stream`, `poll`), and writes through a journal; what is fsynced, and only that, is
//! confirmed to the slot.

pub mod answer;
mod error;
mod foreign;
mod foreign_sql;
mod guard;
mod journal;
mod launcher;
mod look;
mod losses;
mod poll;
mod sequence_sync;
mod shutdown;
mod step_aside;
mod stream;
mod worker;

use pgrx::prelude::*;

pub use self::launcher::{has_slot, is_our_plugin, slot_name, slot_plugin};
pub use self::step_aside::{come_back, database_dropped, step_aside};

use crate::pg::{server, wake};
use crate::status;

/// Registers the launcher and the commit callback. Only while the library is preloaded. In pg_upgrade's
/// server nothing may write.
pub fn init() {
    if !server::is_binary_upgrade() {
        launcher::register();
    }
    wake::register_commit_callback();
}

/// Makes the launcher look for slots at once.
pub fn wake_launcher() {
    server::set_latch(status::launcher_latch());
}

/// Makes the capture worker of a database look at the board at once.
pub fn wake_worker(database: pg_sys::Oid) {
    server::set_latch(status::latch_of(database));
}
