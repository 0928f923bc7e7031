//! What others are told of the journal, by the status board.

use archive::time::Time;

use super::{Journal, Result};
use crate::status::{self, DatabaseStatus};

impl Journal {
    /// Tells the board that these requests are done; `rotated` is the last segment that was closed,
    /// if that was asked.
    pub fn answered(&self, asked: &DatabaseStatus, rotated: Option<String>) {
        status::update_existing(self.database, |entry| {
            entry.flush_done = asked.flush_wanted;
            entry.rotate_done = asked.rotate_wanted;
            if let Some(file) = rotated {
                entry.rotated_file.set(&file);
            }
        });
    }

    /// Everything that was flushed is read: earlier failures no longer count once it is durable.
    pub fn caught_up(&self) {
        if !self.has_unsynced() {
            status::update_existing(self.database, |entry| entry.failures = 0);
        }
    }

    /// Tells commits that wait how far the files go. `read` is the end of what was read. Fails if the last commit in the
    /// files was not among that: the slot must return it first, before that the files may be of another history.
    pub fn publish_durable(&mut self, read: u64) -> Result<()> {
        if let Some(expected) = self.expected.take_if(|expected| expected.0 < read) {
            self.break_at(expected);
        }
        self.ensure_whole()?;
        if self.expected.is_some() {
            return Ok(());
        }
        let durable = self.durable_lsn().0;
        let end = if self.has_unsynced() {
            durable
        } else {
            // The slot can return again what is in the files.
            read.max(durable)
        };
        status::publish_durable(self.database, self.chain.info.slot_start_lsn.0, end);
        Ok(())
    }

    /// Updates the board's entry. `read` is the end of what was read, `confirmed` the slot's position.
    pub fn report(&self, read: u64, confirmed: u64) {
        let counters = self.appender.counters();
        let micros = |time: Option<Time>| time.map_or(0, |time| time.timestamp_micros());
        let file = self.file();
        let is_durable = !self.has_unsynced();
        status::update_existing(self.database, |entry| {
            entry.read_lsn = read;
            entry.confirmed_lsn = confirmed;
            entry.durable_lsn = if is_durable {
                read
            } else {
                self.durable_lsn().0
            };
            entry.oldest_pending_at = micros(self.oldest_unsynced);
            if is_durable && self.newest_written.is_some() {
                entry.last_commit_at = micros(self.newest_written);
            }
            entry.phase = if is_durable {
                status::Phase::CaughtUp
            } else {
                status::Phase::Streaming
            };
            entry.transactions = counters.transactions;
            entry.statements = counters.statements;
            entry.bytes = counters.bytes;
            entry.file.set(&file);
        });
    }
}
