//! The reader that uses the SQL functions of logical decoding (`reader = poll`).
//!
//! The order is peek, write, fsync, and only then consume: `pg_logical_slot_get_changes` advances the slot,
//! so it runs last and never past what is on disk. This works with any output plugin on any server. Every
//! peek decodes again from the start, so during a long transaction every peek reads all WAL since its
//! beginning: `stream` does not have that cost.
//!
//! From 17 on these functions wait for the standbys of `synchronized_standby_slots` if the slot is a failover slot, and a
//! worker cannot be told to exit meanwhile. So they are only asked for WAL that the standbys have.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use archive::lsn::Lsn;
use archive::time::Time;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::catalog_check::CatalogCheck;
use super::error::{CaptureError, Result};
use super::foreign::{self, Translator};
use super::journal::Journal;
use super::round::Round;
use super::sequence_sync::SequenceSync;
use super::standby_wait::StandbyWait;
use super::stream::{self, POSITION_INTERVAL};
use crate::pg::decoding::standbys::Standbys;
use crate::pg::server::{self, query};
use crate::settings::{self, Confirm};
use crate::status::DatabaseStatus;
use crate::workers::shutdown;

/// A peek stops at the first commit after this many rows.
const ROWS_PER_PEEK: i32 = 100_000;
/// Rows held in memory at once.
const ROWS_PER_FETCH: i64 = 100;
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

pub struct PollReader {
    database: pg_sys::Oid,
    slot: String,
    options: Vec<String>,
    translator: Option<Translator>,
    journal: Journal,
    sequences: SequenceSync,
    look: CatalogCheck,
    /// Everything flushed up to here has been peeked and written.
    read: Lsn,
    /// A time before which that was flushed.
    read_since: Time,
    confirmed: Lsn,
    last_position: Instant,
    /// A record of our own up to which the slot is to be moved.
    mark: Option<Lsn>,
    standby_wait: StandbyWait,
}

impl PollReader {
    pub fn start(
        database: pg_sys::Oid,
        slot: &str,
        plugin_name: &str,
        mut journal: Journal,
    ) -> Result<Self> {
        if settings::confirm() == Confirm::Archived {
            // A peek returns from the start what was not consumed.
            return Err(CaptureError::off(
                "pg_incrbackup.confirm = archived needs pg_incrbackup.reader = stream",
            ));
        }
        let (options, translator) = foreign::plugin_options(plugin_name)?;
        let confirmed = confirmed_lsn(slot)?;
        stream::ensure_no_gap(confirmed.0, journal.last_lsn())?;
        journal.expect_again_from(confirmed.0);
        Ok(Self {
            database,
            slot: slot.to_owned(),
            options: options
                .into_iter()
                .flat_map(|(k, v)| [k.to_owned(), v])
                .collect(),
            translator,
            journal,
            sequences: SequenceSync::default(),
            look: CatalogCheck::default(),
            read: confirmed,
            read_since: archive::time::now(),
            confirmed,
            last_position: Instant::now(),
            mark: None,
            standby_wait: StandbyWait::new(database),
        })
    }

    /// Reads until the worker is told to exit.
    pub fn run(&mut self) -> Result<()> {
        self.sequences
            .write_all(&mut self.journal, self.confirmed)?;
        self.journal.sync()?;
        let started_with = settings::at_start();
        let mut round = None;
        while !shutdown::is_requested() {
            let current = round.take().unwrap_or_else(|| Round::begin(self.database));
            // Nobody holds the slot between two rounds: it may have been altered.
            let sleep = if Standbys::of(&self.slot).have(current.upto) {
                self.standby_wait.is_over();
                self.read_all(&current)?
            } else {
                self.report();
                let upto = current.upto;
                round = Some(current);
                self.standby_wait.goes_on(upto)
            };
            if shutdown::is_requested() {
                break;
            }
            shutdown::sleep(sleep);
            stream::reload_if_asked(&started_with);
        }
        Err(CaptureError::Shutdown)
    }

    /// Reads what the round is about; returns how long to sleep.
    fn read_all(&mut self, round: &Round) -> Result<Duration> {
        let mut has_read = false;
        while self.read < Lsn(round.upto) {
            let last = self.peek(round.upto)?;
            if let Some(last) = last {
                has_read = true;
                self.journal.sync()?;
                self.journal.ensure_whole()?;
                self.journal.publish_durable(self.read.0)?;
                self.consume(last)?;
            } else {
                self.read = Lsn(round.upto);
                self.journal.publish_durable(self.read.0)?;
            }
            self.report();
            if shutdown::is_requested() {
                return Ok(Duration::ZERO);
            }
        }
        self.read_since = round.at;
        self.finish_round(round)?;
        // Under load there is more already, and nobody who wakes the worker later.
        Ok(if has_read && server::wal_flush_lsn() > self.read.0 {
            Duration::ZERO
        } else {
            self.sleep()
        })
    }

    /// Writes the result of a peek at what is flushed up to `upto`; returns the position of its last row, which is a COMMIT.
    fn peek(&mut self, upto: u64) -> Result<Option<Lsn>> {
        let slot = self.slot.clone();
        let options = self.options.clone();
        let (journal, translator) = (&mut self.journal, &mut self.translator);
        BackgroundWorker::transaction(AssertUnwindSafe(|| {
            Spi::connect(|client| {
                let arguments = [
                    DatumWithOid::from(slot),
                    DatumWithOid::from(Lsn(upto).to_string()),
                    DatumWithOid::from(ROWS_PER_PEEK),
                    DatumWithOid::from(options),
                ];
                let mut cursor = client.open_cursor(PEEK, &arguments);
                let mut last = None;
                loop {
                    let rows = cursor.fetch(ROWS_PER_FETCH)?;
                    if rows.is_empty() {
                        return Ok(last);
                    }
                    for row in rows {
                        let lsn = Lsn(row.get::<i64>(1)?.unwrap_or_default() as u64);
                        let xid = row.get::<i64>(2)?.unwrap_or_default() as u32;
                        let data = row.get::<&[u8]>(3)?.unwrap_or_default();
                        match translator {
                            None => journal.accept(data)?,
                            Some(translator) => translator.accept(lsn, xid, data, journal)?,
                        }
                        last = Some(lsn);
                    }
                }
            })
        }))
    }

    /// Advances the slot to `upto`, which is on disk.
    fn consume(&mut self, upto: Lsn) -> Result<()> {
        let (slot, options) = (self.slot.clone(), self.options.clone());
        BackgroundWorker::transaction(AssertUnwindSafe(|| {
            let arguments = [
                DatumWithOid::from(slot),
                DatumWithOid::from(upto.to_string()),
                DatumWithOid::from(options),
            ];
            query::one::<i64>(CONSUME, &arguments)
        }))?;
        self.confirmed = upto;
        Ok(())
    }

    /// Answers the requests that existed before everything flushed was read.
    fn finish_round(&mut self, round: &Round) -> Result<()> {
        self.move_idle_slot()?;
        if round.is_asked() {
            self.answer(&round.asked)?;
        }
        self.journal.ensure_owned()?;
        self.journal.rotate_if_old()?;
        self.look.if_due(self.database);
        self.report();
        self.journal.caught_up();
        Ok(())
    }

    /// A position must be the end of a WAL record, or consuming up to it would silently consume one more
    /// record. A logical message of our own creates such a record if other activity has advanced the WAL; a later round
    /// reads it.
    fn move_idle_slot(&mut self) -> Result<()> {
        if let Some(mark) = self.mark.take_if(|mark| *mark <= self.read) {
            if mark > self.journal.last_lsn() {
                self.sequences.write_all(&mut self.journal, mark)?;
                self.journal.position(mark, self.read_since)?;
                self.journal.sync()?;
                self.consume(mark)?;
            }
        }
        let is_due = self.last_position.elapsed() >= POSITION_INTERVAL;
        if is_due && self.mark.is_none() && self.read > self.confirmed {
            self.mark = Some(Lsn(server::emit_position_mark()));
        }
        if is_due {
            self.last_position = Instant::now();
        }
        Ok(())
    }

    fn answer(&mut self, asked: &DatabaseStatus) -> Result<()> {
        if asked.flush_wanted > asked.flush_done {
            self.sequences.write_exact(&mut self.journal, self.read)?;
            self.journal
                .position(self.read.max(self.journal.last_lsn()), self.read_since)?;
            self.journal.sync()?;
        }
        let mut rotated = None;
        if asked.rotate_wanted > asked.rotate_done {
            rotated = Some(self.journal.rotate_on_request()?);
        }
        self.report();
        self.journal.answered(asked, rotated);
        Ok(())
    }

    fn sleep(&self) -> Duration {
        if server::wal_insert_lsn() > self.read.0 {
            Duration::from_millis(200)
        } else {
            LONGEST_SLEEP
        }
    }

    fn report(&self) {
        self.journal.report(self.read.0, self.confirmed.0);
    }
}

const PEEK: &str =
    "SELECT (lsn - '0/0')::pg_catalog.int8, xid::pg_catalog.text::pg_catalog.int8, data \
    FROM pg_catalog.pg_logical_slot_peek_binary_changes($1, $2::pg_catalog.pg_lsn, $3, VARIADIC $4)";

const CONSUME: &str = "SELECT pg_catalog.count(*) \
    FROM pg_catalog.pg_logical_slot_get_binary_changes($1, $2::pg_catalog.pg_lsn, NULL, VARIADIC $3)";

const CONFIRMED: &str = "SELECT (confirmed_flush_lsn - '0/0')::pg_catalog.int8 \
    FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";

fn confirmed_lsn(slot: &str) -> Result<Lsn> {
    let lsn = BackgroundWorker::transaction(|| {
        query::one::<i64>(CONFIRMED, &[DatumWithOid::from(slot)])
    })?;
    Ok(Lsn(lsn.unwrap_or_default() as u64))
}
