//! The journal of one database: frames in, durable segments out.
//!
//! It skips transactions that the files already contain (the slot may go back, the files never repeat),
//! counts what waits for an fsync, rotates at transaction ends, and reports to the status board. It
//! guarantees that [`Journal::sync`] returns only what is on disk.

mod board;
mod flags;

use std::rc::Rc;
use std::time::{Duration, Instant};

use archive::layout::Stored;
use archive::lsn::Lsn;
use archive::segment::{EffectNote, Who, Words};
use archive::time::Time;
use archive::{Appender, ChainDir};
use pgrx::prelude::*;

use super::error::{CaptureError, Result};
use super::losses::Losses;
use crate::offsite;
use crate::output_plugin::frame::{self, Frame};
use crate::pg::types::xid;
use crate::place::Owned;
use crate::settings::{self, Confirm};
use crate::status;
use crate::workers::shutdown;

/// With `fsync_interval` 0, fsync at the latest after this much time or text.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const MOST_UNSYNCED: u64 = 16 * 1024 * 1024;
/// While commits wait for the files, and there is always more to read. What is read within this time shares an fsync.
const LONGEST_AWAITED: Duration = Duration::from_millis(50);

pub struct Journal {
    database: pg_sys::Oid,
    owned: Rc<Owned>,
    appender: Appender,
    /// The current transaction is in the files already.
    skipping: bool,
    commit_time: Option<Time>,
    /// Commit time of the oldest transaction written but not yet fsynced, and of the newest.
    oldest_unsynced: Option<Time>,
    newest_written: Option<Time>,
    unsynced_bytes: u64,
    last_sync: Instant,
    /// Sequence positions that must be in the files before the next commit.
    owed_setvals: Vec<Vec<u8>>,
    /// A transaction wrote sequence positions since the last call of `take_sequences`.
    setvals_passed: bool,
    /// Flags of the current transaction.
    flags: u64,
    losses: Losses,
    chain: ChainDir,
    /// Why the chain ends with the current transaction.
    broken: Option<String>,
    /// The last commit in the files, which the slot will return again.
    expected: Option<Lsn>,
    rows: u32,
}

impl Journal {
    pub fn new(
        database: pg_sys::Oid,
        owned: Rc<Owned>,
        chain: ChainDir,
        appender: Appender,
    ) -> Self {
        // Opening the files may have closed a segment that a crash had left open.
        offsite::want(database);
        Self {
            database,
            owned,
            appender,
            skipping: false,
            commit_time: None,
            oldest_unsynced: None,
            newest_written: None,
            unsynced_bytes: 0,
            last_sync: Instant::now(),
            owed_setvals: Vec::new(),
            setvals_passed: false,
            flags: 0,
            losses: Losses::new(chain.clone()),
            chain,
            broken: None,
            expected: None,
            rows: 0,
        }
    }

    /// A slot that was confirmed up to this LSN returns everything committed later again. The transactions
    /// that the files contain of it must be among them: a server that was reset to an earlier state, and has
    /// written since, has other transactions in their place.
    pub fn expect_again_from(&mut self, confirmed: u64) {
        let last = self.appender.last_commit_lsn();
        self.expected = last.filter(|last| confirmed < last.0);
    }

    /// The server's WAL has a commit that ends at `lsn`, although decoding passed over it.
    pub fn has_come_again(&mut self, lsn: Lsn) {
        self.expected.take_if(|expected| *expected == lsn);
    }

    /// Accepts one frame of the output plugin.
    pub fn accept(&mut self, row: &[u8]) -> Result<()> {
        self.ensure_wanted()?;
        let frame = frame::parse(row)?;
        if let Frame::Begin {
            xid,
            commit_lsn,
            commit_time,
            who,
        } = frame
        {
            return self.begin(xid, commit_lsn, commit_time, who);
        }
        if self.skipping {
            self.skipping = frame != Frame::Commit;
            // It was written, but the previous worker may have exited before it was recorded.
            if let Frame::Lost { lost, reason } = frame {
                self.losses.add(lost, reason);
            }
            return Ok(());
        }
        self.unsynced_bytes += row.len() as u64;
        match frame {
            Frame::Begin { .. } => {}
            Frame::Statement(sql) => self.appender.statement(sql)?,
            Frame::Setval(sql) => self.setval(sql)?,
            Frame::CopyStart(sql) => self.appender.copy_start(sql)?,
            Frame::CopyRow(row) => self.appender.copy_row(row)?,
            Frame::CopyEnd => self.appender.copy_end()?,
            Frame::Ddl {
                command,
                role,
                block,
            } => self.appender.ddl(&command, role, &block)?,
            Frame::Words {
                command,
                role,
                at,
                text,
            } => self.appender.words(&Words {
                command: &command,
                role: &role,
                at,
                text,
            })?,
            Frame::Effect {
                class,
                oid,
                verb,
                identity,
                needs,
                block,
            } => {
                let note = EffectNote {
                    class: &class,
                    oid,
                    verb: &verb,
                    identity,
                    needs: &needs,
                };
                self.appender.effect(&note, &block)?;
            }
            Frame::Fact(fact) => self.appender.fact(&fact)?,
            Frame::Flag(reason) => self.flag(reason, false)?,
            Frame::DdlFlag(reason) => self.flag(reason, true)?,
            Frame::LeftOut(note) => self.appender.left_out(note)?,
            Frame::Mark(mark) => self.appender.mark(&mark)?,
            Frame::Lost { lost, reason } => self.lose(lost, reason)?,
            Frame::Commit => self.commit()?,
        }
        Ok(())
    }

    /// A large transaction is passed in one call of the decoder: check for SIGTERM regularly.
    fn ensure_wanted(&mut self) -> Result<()> {
        self.rows = self.rows.wrapping_add(1);
        if self.rows.is_multiple_of(1024) && shutdown::is_requested() {
            return Err(CaptureError::Shutdown);
        }
        Ok(())
    }

    fn begin(
        &mut self,
        xid: u64,
        commit_lsn: Lsn,
        commit_time: Option<Time>,
        who: Option<Who>,
    ) -> Result<()> {
        if let Some(expected) = self.expected.filter(|expected| *expected <= commit_lsn) {
            self.expected = None;
            if commit_lsn != expected {
                self.break_at(expected);
            }
        }
        // Nothing is written after a different history.
        self.skipping = self.broken.is_some() || commit_lsn <= self.appender.last_lsn();
        self.losses.begin(xid, commit_lsn, commit_time);
        if !self.skipping {
            self.commit_time = commit_time;
            self.appender.begin(xid, commit_lsn, commit_time)?;
            if let Some(who) = who {
                self.appender.made_by(who)?;
            }
        }
        Ok(())
    }

    /// The server has no transaction that committed at `expected`.
    fn break_at(&mut self, expected: Lsn) {
        self.broken = Some(format!(
            "the files contain a transaction that committed at {expected}, the server's WAL does not: \
             the server was reset to an earlier state"
        ));
    }

    fn setval(&mut self, sql: &[u8]) -> Result<()> {
        self.setvals_passed = true;
        self.appender.setval(sql)?;
        Ok(())
    }

    /// True when a transaction wrote sequence positions since the last call.
    pub fn take_setvals_passed(&mut self) -> bool {
        std::mem::take(&mut self.setvals_passed)
    }

    fn commit(&mut self) -> Result<()> {
        for setval in std::mem::take(&mut self.owed_setvals) {
            self.setval(&setval)?;
        }
        self.appender.commit()?;
        self.count_flags();
        self.oldest_unsynced = self.oldest_unsynced.or(self.commit_time);
        self.newest_written = self.commit_time.take().or(self.newest_written);
        if self.is_rotation_due() {
            self.rotate()?;
        }
        Ok(())
    }

    fn is_rotation_due(&self) -> bool {
        let age = archive::time::now() - self.appender.opened_at();
        let is_old = settings::rotate_interval()
            .is_some_and(|longest| age.to_std().is_ok_and(|age| age >= longest));
        is_old || self.appender.bytes_in_segment() >= settings::rotate_size()
    }

    /// Fails once a transaction has broken the chain. What was written before remains valid.
    pub fn ensure_whole(&self) -> Result<()> {
        match &self.broken {
            Some(reason) => Err(CaptureError::Broken(reason.clone())),
            None => Ok(()),
        }
    }

    /// Closes the open segment if it is old enough; between transactions.
    pub fn rotate_if_old(&mut self) -> Result<()> {
        let is_worth_it = match settings::confirm() {
            Confirm::Fsync => !self.appender.is_empty(),
            Confirm::Archived => self.appender.has_moved(),
        };
        if is_worth_it && self.is_rotation_due() {
            self.rotate()?;
        }
        Ok(())
    }

    /// Up to where the copies of archive_command have what the files have; 0 as long as nobody knows whether the files are of
    /// this server's history.
    pub fn archived_lsn(&self) -> Lsn {
        if self.expected.is_some() {
            return Lsn(0);
        }
        let offsite = status::read(self.database).unwrap_or_default().offsite;
        let reach = Some(offsite.reach).filter(|_| offsite.reach_chain == self.chain.number);
        Lsn(reach.unwrap_or_default()).min(self.durable_lsn())
    }

    /// Closes the open segment, unless it is empty. Everything written is durable afterwards.
    pub fn rotate(&mut self) -> Result<Option<String>> {
        self.ensure_owned()?;
        self.losses.note(self.database)?;
        let closed = if settings::confirm() == Confirm::Archived {
            // An idle database's slot must move too, and only what is closed is archived.
            self.appender.rotate_moved(xid::next())?
        } else {
            self.appender.rotate(xid::next())?
        };
        if closed.is_some() {
            self.note_synced();
            offsite::want(self.database);
        }
        Ok(closed.map(|segment| segment.path.to_string_lossy().into_owned()))
    }

    /// [`Journal::rotate`] for who asks; the path of the last closed segment of this chain, empty if there is none.
    pub fn rotate_on_request(&mut self) -> Result<String> {
        if let Some(closed) = self.rotate()? {
            return Ok(closed);
        }
        // One that was closed for its age or size, by a worker before this one, or before the server's start.
        let segments = self.chain.segments()?.into_iter().rev();
        let mut closed = segments.filter(|(_, stored)| *stored != Stored::Partial);
        let last = closed
            .next()
            .map(|(name, stored)| self.chain.segment_path(name, stored));
        Ok(last.map_or_else(String::new, |path| path.to_string_lossy().into_owned()))
    }

    /// Fails if another server has become the owner.
    pub fn ensure_owned(&self) -> Result<()> {
        Ok(self.owned.ensure_held()?)
    }

    /// Makes everything written durable; returns the end of the last transaction or position on disk. What it returns may
    /// be confirmed: this server still was the owner when it was durable.
    pub fn sync(&mut self) -> Result<Lsn> {
        self.ensure_owned()?;
        self.losses.note(self.database)?;
        let durable = self.appender.sync()?;
        self.ensure_owned()?;
        self.note_synced();
        Ok(durable)
    }

    fn note_synced(&mut self) {
        self.unsynced_bytes = 0;
        self.oldest_unsynced = None;
        self.last_sync = Instant::now();
    }

    pub fn has_unsynced(&self) -> bool {
        self.appender.written_lsn() > self.appender.durable_lsn() || self.unsynced_bytes > 0
    }

    /// True if an fsync is due although there is more to read; by time only with `look_at_clock`.
    pub fn must_sync(&self, look_at_clock: bool) -> bool {
        if self.broken.is_some() {
            return true;
        }
        if !self.has_unsynced() {
            return false;
        }
        let (most, longest) = match settings::fsync_interval() {
            Duration::ZERO => (MOST_UNSYNCED, LONGEST_WAIT),
            interval => (u64::MAX, interval),
        };
        if self.unsynced_bytes >= most {
            return true;
        }
        let elapsed = if look_at_clock {
            self.last_sync.elapsed()
        } else {
            Duration::ZERO
        };
        elapsed >= longest || elapsed >= LONGEST_AWAITED && status::is_awaited(self.database)
    }

    /// If everything was read: how long an fsync may still wait. `None`: there is nothing to sync. No commit that waits
    /// keeps to `fsync_interval`.
    pub fn sync_delay(&self) -> Option<Duration> {
        let interval = if status::is_awaited(self.database) {
            Duration::ZERO
        } else {
            settings::fsync_interval()
        };
        self.has_unsynced()
            .then(|| interval.saturating_sub(self.last_sync.elapsed()))
    }

    pub fn has_synced_since(&self, moment: Instant) -> bool {
        self.last_sync >= moment
    }

    /// Writes that everything up to `lsn` was read and contained no changes. `at` is a time before the end of
    /// that reading: everything committed by then is in the files, so a restore to that time is complete.
    pub fn position(&mut self, lsn: Lsn, at: Time) -> Result<()> {
        self.appender.position(lsn, at)?;
        Ok(())
    }

    /// Writes sequence positions as a separate block.
    pub fn sequences(&mut self, lsn: Lsn, setvals: &[Vec<u8>]) -> Result<()> {
        let lsn = lsn.max(self.appender.last_lsn());
        self.appender
            .sequences(lsn, archive::time::now(), setvals)?;
        self.unsynced_bytes += 1;
        Ok(())
    }

    /// These statements are written in the next transaction, before its COMMIT, and replace those of an
    /// earlier call.
    pub fn owe_setvals(&mut self, setvals: Vec<Vec<u8>>) {
        self.owed_setvals = setvals;
    }

    pub fn last_lsn(&self) -> Lsn {
        self.appender.last_lsn()
    }

    pub fn durable_lsn(&self) -> Lsn {
        self.appender.durable_lsn()
    }

    pub fn file(&self) -> String {
        self.appender.current_file().to_string_lossy().into_owned()
    }
}
