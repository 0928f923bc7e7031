//! One capture worker: a background worker that writes one database's changes to its files.
//!
//! It runs until something fails. Then it reports once what failed, what is safe and when it is retried,
//! records that on the status board, and exits, which releases everything; the launcher starts a new one.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use archive::failpoint::pass;
use archive::segment::{SegmentIdentity, Switch};
use archive::{ChainDir, Lsn};
use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::prelude::*;

use super::error::{caught, CaptureError, Result};
use super::journal::Journal;
use super::poll::PollReader;
use super::stream::StreamReader;
use crate::backup::{self};
use crate::offsite;
use crate::pg::decoding::timeline::{self, Shared};
use crate::pg::decoding::{removed_rows, slot};
use crate::pg::server::{self, session, signals, title};
use crate::pg::types::xid;
use crate::place::{self, Owned};
use crate::settings::{self, Reader};
use crate::status::{self, Phase, StandbyStatus};
use crate::workers::shutdown;
use crate::workers::{self, slot_name};

/// Entry point of the process; the argument is the database's OID.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_capture_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    pass("capture: start").ok();
    let may_connect = workers::may_connect(database, |entry, me| {
        entry.pid = me;
        entry.phase = Phase::Starting;
        entry.standby = StandbyStatus::default();
        entry.started_at = archive::time::now().timestamp_micros();
    });
    if !may_connect {
        status::update_existing(database, |entry| entry.phase = Phase::SteppedAside);
        return;
    }
    // It may have to wait for a lock on the database.
    signals::end_on_sigterm();
    workers::connect(Some(database));
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| capture(database)))
        .catch_others(|error| Err(caught(error)))
        .execute();
    status::publish_latch(database, 0);
    if let Err(error) = outcome {
        end(database, &error);
    }
}

fn capture(database: pg_sys::Oid) -> Result<()> {
    // Asked to end, or stopped, since the launcher wanted it.
    let is_held = status::read(database).is_some_and(|entry| entry.held);
    if is_held || shutdown::is_requested() {
        return Err(CaptureError::Shutdown);
    }
    session::fix_output_settings();
    session::set(c"application_name", c"pg_incrbackup capture");
    if let Some(kilobytes) = settings::decoding_work_mem_kb() {
        session::set_text(c"logical_decoding_work_mem", &format!("{kilobytes}kB"));
    }
    let name = slot_name(database);
    let plugin = workers::slot_plugin(database)
        .ok_or_else(|| CaptureError::off(format!("replication slot \"{name}\" does not exist")))?;
    slot::allow_output_plugin(&plugin);
    let (owned, mut chain) = open_chain(database, &name)?;
    let owned = Rc::new(owned);
    let result = capture_to(&owned, &chain, database, &name, &plugin);
    if let Err(CaptureError::Broken(reason)) = &result {
        owned.ensure_held()?;
        chain.end_here(reason)?;
    }
    result
}

fn capture_to(
    owned: &Rc<Owned>,
    chain: &ChainDir,
    database: pg_sys::Oid,
    name: &str,
    plugin: &str,
) -> Result<()> {
    let timeline = chain.last_timeline()?;
    let shared = timeline::shared_with(timeline);
    if shared == Shared::Never {
        return Err(CaptureError::Broken(format!(
            "the files end on timeline {timeline}, which is not in this server's history"
        )));
    }
    if let Some(at) = chain.last_switched_at()? {
        if !timeline::has_switched_at(timeline, at.0) {
            return Err(CaptureError::Broken(format!(
                "the files end on a timeline {timeline} that began at {at}, which is not the one in this server's history"
            )));
        }
    }
    let confirmed = Lsn(slot::position(name).map_or(0, |slot| slot.confirmed_lsn));
    let switch = match shared {
        Shared::LeftAt(left) => Some(Switch {
            timeline,
            at: Lsn(left),
            sets_apart: owned.may_set_apart(timeline)?,
        }),
        _ => None,
    };
    let identity = identity(database, switch)?;
    let opened = chain.open_for_append_while(identity, confirmed, &|| owned.ensure_held());
    if let Err(
        error @ (archive::Error::KeptAside { .. }
        | archive::Error::SetApart { .. }
        | archive::Error::BehindSwitch { .. }),
    ) = &opened
    {
        return Err(CaptureError::Broken(error.to_string()));
    }
    let appender = opened?;
    ensure_same_history(timeline, shared, appender.last_lsn())?;
    if let Some(switch) = switch {
        offsite::note_cut(database);
        title::log(&format!(
            "the chain goes on from timeline {timeline}, which this server left at {}",
            switch.at
        ));
    }
    if let Some(torn) = appender.torn_tail() {
        title::log(&format!(
            "removed {} bytes of an incomplete transaction from the end of {} ({})",
            torn.bytes,
            appender.current_file().display(),
            torn.why
        ));
    }
    // Since its promotion the server protects what its slot needs.
    if let Some(at) = removed_rows::first(name, timeline::began_at()) {
        return Err(CaptureError::Broken(format!(
            "rows of catalogs that the slot needs have been removed at {}, while this server was a standby",
            Lsn(at)
        )));
    }
    // A segment that was open when the server stopped.
    backup::want_healing(database);
    slot::set_failover(name, settings::failover());
    let journal = Journal::new(database, owned.clone(), chain.clone(), appender);
    status::publish_latch(database, server::my_latch());
    match settings::reader() {
        Reader::Stream => StreamReader::start(database, name, plugin, journal)?.run(),
        Reader::Poll => PollReader::start(database, name, plugin, journal)?.run(),
    }
}

/// A server that was reset to an earlier state (a copy of its files) has other transactions at LSNs that the files
/// already contain. After a switch of the timeline, nothing behind it may be left in the files: commits below their end
/// count as repeats.
fn ensure_same_history(timeline: u32, shared: Shared, end: Lsn) -> Result<()> {
    match shared {
        Shared::Current(flushed) if end.0 > flushed => Err(CaptureError::Broken(format!(
            "the files extend to {end}, but the server's WAL ends at {}: the server was reset to an earlier state",
            Lsn(flushed)
        ))),
        Shared::LeftAt(left) if end.0 > left => Err(CaptureError::Broken(
            archive::Error::BehindSwitch {
                timeline,
                at: Lsn(left),
                end,
            }
            .to_string(),
        )),
        _ => Ok(()),
    }
}

/// The database's directory, owned by this server as long as the value exists, and its chain that the slot
/// writes.
fn open_chain(database: pg_sys::Oid, slot: &str) -> Result<(Owned, ChainDir)> {
    let directory = settings::directory()
        .ok_or_else(|| CaptureError::off("pg_incrbackup.directory is not set: capture is off"))?;
    let name = BackgroundWorker::transaction(|| server::database_name(database))
        .map(|name| String::from_utf8_lossy(&name).into_owned())
        .ok_or_else(|| CaptureError::off("the database no longer exists"))?;
    let owned = place::own_as(database, &name)
        .map_err(CaptureError::Off)?
        .ok_or_else(|| {
            // Its file system may not be mounted: nothing is created in its place.
            CaptureError::off(format!(
                "\"{}\" contains no files of this database, although slot {slot} exists",
                directory.display()
            ))
        })?;
    let chain = owned.served_chain()?.ok_or_else(|| {
        CaptureError::off(format!(
            "\"{}\" does not contain the chain of this slot",
            owned.path().display()
        ))
    })?;
    match &chain.info.ended {
        Some(end) => Err(CaptureError::Broken(format!(
            "the chain has ended: {}",
            end.reason
        ))),
        None => Ok((owned, chain)),
    }
}

fn identity(database: pg_sys::Oid, switch: Option<Switch>) -> Result<SegmentIdentity> {
    let name = BackgroundWorker::transaction(|| server::database_name(database));
    Ok(SegmentIdentity {
        timeline: server::timeline(),
        switch,
        database: String::from_utf8_lossy(&name.unwrap_or_default()).into_owned(),
        server_version: server::running_version(),
        encoding: server::database_encoding(),
        next_xid: xid::next(),
    })
}

/// Records on the board why the worker exits, and logs it once.
fn end(database: pg_sys::Oid, error: &CaptureError) {
    if shutdown::is_requested() || matches!(error, CaptureError::Shutdown) {
        status::update_existing(database, |entry| {
            entry.pid = 0;
            entry.phase = if entry.aside_for != 0 {
                Phase::SteppedAside
            } else {
                Phase::Stopped
            };
        });
        return;
    }
    let message = error.to_string();
    let is_broken = matches!(error, CaptureError::Broken(_));
    let known = status::read(database).map_or_else(String::new, |entry| entry.last_error.get());
    // Of a chain that has ended, the next worker reads the reason in the files.
    let is_repeated =
        message == known || is_broken && !known.is_empty() && message.ends_with(&known);
    let failures = status::read(database).map_or(0, |entry| entry.failures);
    let wait = workers::backoff(failures);
    status::update_existing(database, |entry| {
        entry.pid = 0;
        entry.record_failure(error.code(), &message, wait);
        entry.phase = if is_broken {
            Phase::Broken
        } else {
            Phase::WaitingToRetry
        };
        if is_broken {
            entry.broken.set(&message);
        }
    });
    if is_repeated {
        return;
    }
    report(error, wait);
}

fn report(error: &CaptureError, wait: Duration) {
    let hint = if matches!(error, CaptureError::Broken(_)) {
        "The files up to this point remain valid. SELECT * FROM incr_setup(new_chain => true) starts a new \
         chain with a new base backup.".to_owned()
    } else {
        format!(
            "Nothing is lost: the slot retains the WAL. The worker is restarted in {} s, and then at \
             increasing intervals until the cause is removed.",
            wait.as_secs().max(1)
        )
    };
    ereport!(
        PgLogLevel::LOG,
        error.code(),
        format!("{}: capture stopped: {error}", title::own()),
        hint
    );
}
