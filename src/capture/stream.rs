//! The reader that decodes in the worker's own process (`reader = stream`).
//!
//! Every record is read once. Between two records the journal is between two transactions, so requests are
//! answered there, and fsynced positions are confirmed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use archive::failpoint::pass;
use archive::lsn::Lsn;
use archive::time::Time;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;

use super::catalog_check::CatalogCheck;
use super::error::{through_server, CaptureError, Result};
use super::foreign;
use super::journal::Journal;
use super::round::Round;
use super::sequence_sync::SequenceSync;
use super::standby_wait::StandbyWait;
use crate::pg::decoding::decoder::{Decoder, Step};
use crate::pg::decoding::{direct, moved_sequences};
use crate::pg::server;
use crate::settings::{self, Confirm};
use crate::status::{self, DatabaseStatus};
use crate::workers::shutdown;

/// Minimum interval of position comments for an idle database.
pub const POSITION_INTERVAL: Duration = Duration::from_secs(10);
/// Longest sleep; a commit, a request or a signal ends it sooner.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// wal_writer_delay's default: until then an asynchronous commit may not be flushed.
const UNFLUSHED_SLEEP: Duration = Duration::from_millis(200);
/// After an fsync, commits are collected for this long: under load they are read and fsynced together, and
/// need not wake the worker. A single commit does not wait.
const GATHERING: Duration = Duration::from_millis(10);
/// Number of records read between two readings of the clock, each of which costs as much as a short record.
const RECORDS_PER_CLOCK: u32 = 32;
/// Number of records read between two checks of signals and the board.
const RECORDS_PER_LOOK: u32 = 1000;

pub struct StreamReader {
    database: pg_sys::Oid,
    decoder: Decoder,
    journal: Rc<RefCell<Journal>>,
    sequences: SequenceSync,
    look: CatalogCheck,
    standby_wait: StandbyWait,
    /// When the last round began that is over; `None` before the first.
    read_since: Option<Time>,
    /// Commits have waited for the last fsync: the next ones may come at any time, and not be kept waiting.
    is_awaited: bool,
    last_position: Instant,
    last_report: Instant,
}

impl StreamReader {
    /// Acquires the slot. If the slot is ahead of the files, something is lost: the chain is broken.
    pub fn start(
        database: pg_sys::Oid,
        slot: &str,
        plugin_name: &str,
        journal: Journal,
    ) -> Result<Self> {
        let (options, mut translator) = foreign::plugin_options(plugin_name)?;
        let journal = Rc::new(RefCell::new(journal));
        let target = journal.clone();
        direct::set_direct_target(Box::new(move |row| {
            let mut journal = target.borrow_mut();
            let result = match &mut translator {
                None => journal.accept(row),
                Some(translator) => translator.accept_message(row, &mut journal),
            };
            result.map_err(through_server)
        }));
        let decoder = Decoder::start(slot, &options);
        ensure_no_gap(decoder.confirmed(), journal.borrow().last_lsn())?;
        journal.borrow_mut().expect_again_from(decoder.confirmed());
        Ok(Self {
            database,
            decoder,
            journal,
            sequences: SequenceSync::default(),
            look: CatalogCheck::default(),
            standby_wait: StandbyWait::new(database),
            read_since: None,
            is_awaited: false,
            last_position: Instant::now(),
            last_report: Instant::now(),
        })
    }

    /// Reads until the worker is told to exit.
    pub fn run(&mut self) -> Result<()> {
        self.sequences.write_all(
            &mut self.journal.borrow_mut(),
            Lsn(self.decoder.confirmed()),
        )?;
        self.journal.borrow_mut().sync()?;
        let started_with = settings::at_start();
        let mut round = None;
        while !shutdown::is_requested() {
            let began = Instant::now();
            let current = round.take().unwrap_or_else(|| Round::begin(self.database));
            let end = self.read_what_is_there()?;
            let sleep;
            (sleep, round) = self.finish_look(current, end)?;
            if shutdown::is_requested() {
                break;
            }
            if self.journal.borrow().has_synced_since(began) && !self.is_awaited {
                std::thread::sleep(GATHERING.saturating_sub(began.elapsed()));
            }
            shutdown::sleep(sleep);
            reload_if_asked(&started_with);
        }
        self.sync_and_confirm()?;
        Err(CaptureError::Shutdown)
    }

    /// Returns where it ended; [`Step::Record`] if the worker is told to exit.
    fn read_what_is_there(&mut self) -> Result<Step> {
        // Asking for a record that is not there yet opens the WAL's file and reads its last page again.
        if server::wal_flush_lsn() <= self.decoder.read_lsn() {
            return Ok(Step::EndOfWal);
        }
        let mut records: u32 = 0;
        loop {
            let step = self.decoder.step();
            if step != Step::Record {
                return Ok(step);
            }
            // Before anything is confirmed.
            ensure_none_passed_over(self.decoder.passed_over(), &mut self.journal.borrow_mut())?;
            records = records.wrapping_add(1);
            let look_at_clock = records.is_multiple_of(RECORDS_PER_CLOCK);
            if self.journal.borrow().must_sync(look_at_clock) {
                self.sync_and_confirm()?;
            }
            if records.is_multiple_of(RECORDS_PER_LOOK) {
                if shutdown::is_requested() {
                    return Ok(Step::Record);
                }
                if self.last_report.elapsed() >= Duration::from_millis(500) {
                    self.report();
                    self.publish_durable()?;
                }
            }
        }
    }

    /// Everything that can be read has been: makes it durable. If that is the end of the round, answers the requests
    /// that existed before it. Returns how long to sleep, and the round if it goes on.
    fn finish_look(&mut self, round: Round, end: Step) -> Result<(Duration, Option<Round>)> {
        pass("capture: all is read").map_err(CaptureError::system("finish reading"))?;
        let is_over = end == Step::EndOfWal || self.decoder.read_lsn() >= round.upto;
        if is_over {
            self.read_since = Some(round.at);
        }
        let is_asked = is_over && round.is_asked();
        if moved_sequences::any() {
            self.sequences
                .write_moved(&mut self.journal.borrow_mut(), self.read_lsn())?;
        }
        self.journal.borrow().ensure_owned()?;
        let delay = self.journal.borrow().sync_delay();
        let is_due = delay.is_some_and(|delay| delay.is_zero()) || is_asked;
        if is_due {
            self.sync_and_confirm()?;
        }
        if is_asked {
            self.answer(&round.asked, round.at)?;
        }
        self.journal.borrow_mut().rotate_if_old()?;
        self.publish_durable()?;
        if settings::confirm() == Confirm::Archived {
            self.confirm_archived()?;
        }
        if self.last_position.elapsed() >= POSITION_INTERVAL {
            self.move_idle_slot()?;
        }
        self.look.if_due(self.database);
        self.report();
        self.journal.borrow().caught_up();
        let sleep = self.sleep(end, delay.filter(|_| !is_due));
        Ok((sleep, Some(round).filter(|_| !is_over)))
    }

    fn sleep(&mut self, end: Step, sync_delay: Option<Duration>) -> Duration {
        let longest = if let Step::Held(lsn) = end {
            self.standby_wait.goes_on(lsn)
        } else {
            self.standby_wait.is_over();
            let is_unflushed = server::wal_insert_lsn() > self.decoder.read_lsn();
            if is_unflushed {
                UNFLUSHED_SLEEP
            } else {
                LONGEST_SLEEP
            }
        };
        sync_delay
            .map_or(longest, |delay| delay.min(longest))
            .max(Duration::from_millis(1))
    }

    fn read_lsn(&self) -> Lsn {
        Lsn(self.decoder.read_lsn())
    }

    /// The durable order: everything written is fsynced first, and only then confirmed. A break is not
    /// confirmed: if the chain's end does not reach the disk, the break is found again.
    fn sync_and_confirm(&mut self) -> Result<()> {
        self.is_awaited = status::is_awaited(self.database);
        let durable = self.journal.borrow_mut().sync()?;
        self.journal.borrow().ensure_whole()?;
        self.publish_durable()?;
        pass("slot: confirm").map_err(CaptureError::system("confirm to the slot"))?;
        match settings::confirm() {
            Confirm::Fsync => self.decoder.confirm(durable.0),
            Confirm::Archived => self.confirm_archived()?,
        }
        pass("slot: confirmed").map_err(CaptureError::system("go on after confirming"))
    }

    /// Confirms what the copies of archive_command have. All of that is in closed segments.
    fn confirm_archived(&mut self) -> Result<()> {
        let archived = self.journal.borrow().archived_lsn();
        if archived.0 > self.decoder.confirmed() {
            self.journal.borrow().ensure_whole()?;
            self.journal.borrow().ensure_owned()?;
            self.decoder.confirm(archived.0);
        }
        Ok(())
    }

    /// Nothing was written for a while: a position comment lets the slot advance nevertheless.
    fn move_idle_slot(&mut self) -> Result<()> {
        self.last_position = Instant::now();
        let (read, Some(at)) = (self.read_lsn(), self.read_since) else {
            return Ok(());
        };
        if read > self.journal.borrow().last_lsn() {
            self.journal.borrow_mut().position(read, at)?;
            self.sync_and_confirm()?;
        }
        Ok(())
    }

    fn answer(&mut self, asked: &DatabaseStatus, at: Time) -> Result<()> {
        if asked.flush_wanted > asked.flush_done {
            self.sequences
                .write_exact(&mut self.journal.borrow_mut(), self.read_lsn())?;
            // A restore to the LSN returned by incr_flush() must see that the files reach it.
            let read = self.read_lsn();
            self.journal.borrow_mut().position(read, at)?;
            self.sync_and_confirm()?;
        }
        let mut rotated = None;
        if asked.rotate_wanted > asked.rotate_done {
            rotated = Some(self.journal.borrow_mut().rotate_on_request()?);
            self.sync_and_confirm()?;
        }
        self.report();
        self.journal.borrow().answered(asked, rotated);
        Ok(())
    }

    fn publish_durable(&self) -> Result<()> {
        let mut journal = self.journal.borrow_mut();
        journal.publish_durable(self.decoder.read_lsn())
    }

    fn report(&mut self) {
        self.last_report = Instant::now();
        self.journal
            .borrow()
            .report(self.decoder.read_lsn(), self.decoder.confirmed());
    }
}

/// There must be nothing left to read between the last commit or position on disk and the slot's confirmed
/// position. CreateDecodingContext would skip it silently.
pub fn ensure_no_gap(confirmed: u64, on_disk: Lsn) -> Result<()> {
    if confirmed > on_disk.0 {
        let confirmed = Lsn(confirmed);
        return Err(CaptureError::Broken(format!(
            "the slot was confirmed up to {confirmed}, but the files end at {on_disk}: the changes in between \
             are lost"
        )));
    }
    Ok(())
}

/// What decoding passed over must be in the files.
fn ensure_none_passed_over(passed_over: u64, journal: &mut Journal) -> Result<()> {
    journal.has_come_again(Lsn(passed_over));
    let on_disk = journal.last_lsn();
    if passed_over <= on_disk.0 {
        return Ok(());
    }
    Err(CaptureError::Broken(format!(
        "the slot was copied to this server without the snapshot that it begins with, so the transactions committed from \
         {on_disk} to {} could not be decoded",
        Lsn(passed_over)
    )))
}

/// SIGHUP reloads the settings. Some are only read when a worker starts: if one of these has changed, the
/// worker exits, and the launcher starts another.
pub fn reload_if_asked(started_with: &settings::AtStart) {
    if BackgroundWorker::sighup_received() {
        server::reload_settings();
        if settings::at_start() != *started_with {
            shutdown::request();
        }
    }
}
