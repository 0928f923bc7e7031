//! Sequence positions outside transactions: at a worker's start, when a sequence moved without a
//! commit, and exactly, at a flush.
//!
//! Names are those of the current catalogs, which may be ahead of what was read, so these lines do nothing if
//! no sequence of that name exists at replay.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use archive::lsn::Lsn;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;

use super::error::Result;
use super::journal::Journal;
use crate::pg::decoding::moved_sequences;
use crate::sequences::{self, Position, Positions};

/// Minimum interval for positions of sequences that change without commits.
const MOVED_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct SequenceSync {
    /// The last position written for each sequence.
    written: HashMap<pg_sys::Oid, Position>,
    last_moved: Option<Instant>,
}

impl SequenceSync {
    /// Writes every sequence's safe position: changes before this worker started are unknown.
    pub fn write_all(&mut self, journal: &mut Journal, lsn: Lsn) -> Result<()> {
        self.write(journal, lsn, Positions::Safe)
    }

    /// Writes every sequence whose position differs from that in the files, exactly. Since a sequence returns
    /// values without WAL up to its safe position, that position is written with the next commit.
    pub fn write_exact(&mut self, journal: &mut Journal, lsn: Lsn) -> Result<()> {
        self.write(journal, lsn, Positions::Exact)?;
        let safe = BackgroundWorker::transaction(|| {
            // The changes recorded for them are obsolete.
            moved_sequences::take_guarded();
            sequences::positions(Positions::Safe)
        })?;
        let ahead = safe
            .iter()
            .filter(|position| self.written.get(&position.oid) != Some(position));
        journal.owe_setvals(ahead.map(sequences::guarded_setval_sql).collect());
        Ok(())
    }

    fn write(&mut self, journal: &mut Journal, lsn: Lsn, which: Positions) -> Result<()> {
        if journal.take_setvals_passed() {
            self.written.clear();
        }
        let positions = BackgroundWorker::transaction(|| sequences::positions(which))?;
        let moved: Vec<Position> = positions
            .into_iter()
            .filter(|position| self.written.get(&position.oid) != Some(position))
            .collect();
        let lines: Vec<Vec<u8>> = moved.iter().map(sequences::guarded_setval_sql).collect();
        journal.sequences(lsn, &lines)?;
        self.written
            .extend(moved.into_iter().map(|position| (position.oid, position)));
        Ok(())
    }

    /// Writes the positions recorded by `moved_sequences` that no transaction contained.
    pub fn write_moved(&mut self, journal: &mut Journal, lsn: Lsn) -> Result<()> {
        if self
            .last_moved
            .is_some_and(|last| last.elapsed() < MOVED_INTERVAL)
        {
            return Ok(());
        }
        self.last_moved = Some(Instant::now());
        let lines = BackgroundWorker::transaction(|| {
            let lines = moved_sequences::take_guarded();
            moved_sequences::forget_unresolved();
            lines
        });
        self.written.clear();
        journal.sequences(lsn, &lines)
    }
}
