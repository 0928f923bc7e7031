//! Capture: from the slot to fsynced segments.
//!
//! The launcher starts one worker for each slot named `pg_incrbackup_<database oid>`: the slot is
//! the durable registry of what is backed up. A worker opens its chain, reads the slot with one of
//! two readers (`stream`, `poll`), and writes through a journal; what is fsynced, and only that, is
//! confirmed to the slot.

mod catalog_check;
mod error;
mod foreign;
mod foreign_sql;
mod journal;
mod losses;
mod poll;
mod round;
mod sequence_sync;
mod standby_wait;
mod stream;
mod worker;
