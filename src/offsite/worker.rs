//! The archiver's process: one pass over a database's closed files.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use archive::archiving::{self, Archiver, Item, Lag, Reach};
use archive::compression::{self, Compression, Outcome};
use archive::layout::SegmentName;
use archive::time;
use pgrx::prelude::*;

use super::{command, update};
use crate::pg::failure::Failure;
use crate::pg::server::{process, signals, transaction};
use crate::place::{self, Owned};
use crate::settings::{self, Confirm, Offsite};
use crate::status::{self, OffsitePhase};
use crate::workers;

/// Lower priority than capture and the server's own work.
const NICENESS: i32 = 10;

static DATABASE: AtomicU32 = AtomicU32::new(0);

fn database() -> pg_sys::Oid {
    pg_sys::Oid::from(DATABASE.load(Ordering::Relaxed))
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_archiver_main(argument: pg_sys::Datum) {
    DATABASE.store(argument.value() as u32, Ordering::Relaxed);
    signals::end_on_sigterm();
    workers::connect(None);
    signals::at_exit(|| update(database(), |offsite| offsite.pid = 0));
    process::end_with_this_process();
    // If this is not permitted, it works nevertheless.
    let _ = rustix::process::nice(NICENESS);
    let settings = settings::offsite();
    let before = status::update(database(), |entry| {
        let offsite = &mut entry.offsite;
        let is_asked = offsite.wanted != offsite.done || offsite.failures > 0;
        // The launcher may have started this before other settings were loaded, or not have recorded them
        // yet.
        if is_asked || offsite.settings != settings.number() {
            offsite.idle_state = 0;
        }
        offsite.pid = std::process::id() as i32;
        offsite.looked_at = time::now().timestamp_micros();
        offsite.settings = settings.number();
        (offsite.wanted, offsite.idle_state)
    });
    let (wanted, idle_state) = before.unwrap_or_default();
    let outcome = transaction::catch(|| run(&settings, idle_state)).and_then(|result| result);
    transaction::rollback();
    match outcome {
        Ok(idle_state) => update(database(), |offsite| {
            offsite.done = wanted;
            offsite.idle_state = idle_state;
            offsite.failures = 0;
            offsite.not_before = 0;
            offsite.error.set("");
        }),
        Err(failure) => note_failure(failure),
    }
    update(database(), |offsite| {
        offsite.phase = OffsitePhase::Idle;
        offsite.pid = 0;
    });
    // A file may have been closed, or a setting changed, while it was working.
    crate::workers::wake_launcher();
}

/// Returns the state of the archive in which there is nothing to do: its state before this pass, if nothing
/// is left. In `idle_state` there is nothing to do.
fn run(settings: &Offsite, idle_state: u64) -> Result<u64, Failure> {
    let Some(found) = place::own(database())? else {
        return Ok(0);
    };
    let state = archiving::state(&found)?.unwrap_or_default();
    if state != 0 && state == idle_state {
        return Ok(state);
    }
    let is_done = do_all(settings, &found)?;
    // If this pass has changed anything the state differs now, and only the next pass finds nothing to do.
    Ok(if is_done { state } else { 0 })
}

/// Returns whether the next pass has nothing to retry.
fn do_all(settings: &Offsite, found: &Owned) -> Result<bool, Failure> {
    let (mut how, mut failed) = (settings.compression, HashSet::new());
    loop {
        update(database(), |offsite| {
            offsite.phase = OffsitePhase::Compressing
        });
        let outcome = compression::compress(found, how, &mut || found.look_for_interrupts())?;
        note_compression(&outcome);
        let before = failed.len();
        failed.extend(
            outcome
                .failed
                .iter()
                .map(|(chain, name, _)| (*chain, *name)),
        );
        if outcome
            .failed
            .iter()
            .any(|(_, _, error)| error.is_no_space())
        {
            // There is no space for the others either: they are archived uncompressed.
            how = Compression::None;
        }
        let is_done = outcome.failed.is_empty() && outcome.in_use == 0;
        let Some(command) = &settings.command else {
            return Ok(is_done);
        };
        let is_stuck = outcome.compressed.is_empty() && failed.len() == before;
        let waits = archive(found, command, how, &failed)?;
        if !waits || is_stuck {
            return Ok(is_done && !waits);
        }
    }
}

/// Archives files until none is left, or the next one is to be compressed first, for which it returns true.
fn archive(
    found: &Owned,
    command: &[u8],
    how: Compression,
    failed: &HashSet<(u32, SegmentName)>,
) -> Result<bool, Failure> {
    update(database(), |offsite| {
        offsite.phase = OffsitePhase::Archiving
    });
    let mut archiver = Archiver::open(found)?;
    loop {
        let cuts = cuts();
        let look = archiver.look(how, failed)?;
        note_lag(look.lag);
        note_reach(look.reach, cuts);
        let Some(next) = &look.next else {
            return match look.missing.first() {
                Some(file) => Err(missing(file)),
                None => Ok(look.must_compress),
            };
        };
        let mut lag = look.lag;
        for item in std::iter::once(next).chain(&look.following) {
            found.look_for_interrupts();
            archiver.prepare(item)?;
            command::run(command, item)?;
            archiver.note(item)?;
            note_taken(item);
            note_reach(item.reach, cuts);
            lag.files -= 1;
            lag.bytes -= item.bytes;
            // Only a new pass determines that nothing is left.
            note_lag(Lag {
                files: lag.files.max(1),
                ..lag
            });
        }
    }
}

fn cuts() -> u32 {
    status::read(database()).map_or(0, |entry| entry.offsite.cuts)
}

/// Capture may confirm so far, if it waits for that; not if it has cut the chain since there were so many `cuts`.
fn note_reach(reach: Option<Reach>, cuts: u32) {
    let Some(reach) = reach else {
        return;
    };
    let is_new = status::update_existing(database(), |entry| {
        let offsite = &mut entry.offsite;
        if offsite.cuts != cuts {
            return false;
        }
        let before = (offsite.reach_chain, offsite.reach);
        (offsite.reach_chain, offsite.reach) = (reach.chain, reach.lsn.0);
        before != (reach.chain, reach.lsn.0)
    });
    if is_new == Some(true) && settings::confirm() == Confirm::Archived {
        workers::wake_capture(database());
    }
}

fn note_taken(item: &Item) {
    update(database(), |offsite| {
        offsite.archived += 1;
        offsite.archived_at = time::now().timestamp_micros();
        offsite.file.set(&item.name);
        // It succeeds again, whatever follows.
        offsite.failures = 0;
        offsite.error.set("");
    });
}

fn missing(file: &str) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_FILE;
    Failure::new(
        code,
        format!("cannot archive \"{file}\": it is in the manifest, but does not exist"),
    )
    .hint("SELECT * FROM incr_verify() lists what is missing from the archive.")
}

fn note_lag(lag: Lag) {
    let oldest = lag.oldest.map_or(0, |at| at.timestamp_micros());
    update(database(), |offsite| {
        offsite.files = lag.files;
        offsite.bytes = lag.bytes;
        offsite.oldest_at = oldest;
    });
}

fn note_compression(outcome: &Outcome) {
    let error = outcome
        .failed
        .first()
        .map(|(_, _, error)| error.to_string());
    let error = error.unwrap_or_default();
    let is_new = status::update(database(), |entry| {
        let is_new = entry.offsite.compression_error.is_empty();
        entry.offsite.compression_error.set(&error);
        is_new
    });
    if is_new == Some(true) && !error.is_empty() {
        let what = "pg_incrbackup: a closed segment could not be compressed";
        Failure::new(PgSqlErrorCode::ERRCODE_IO_ERROR, what)
            .detail(error)
            .hint("It stays uncompressed, and compression is retried until it succeeds.")
            .log(PgLogLevel::WARNING);
    }
}

/// Records on the board why an attempt failed, and logs it unless the previous one failed in the same way.
fn note_failure(failure: Failure) {
    let message = failure.in_full();
    let is_new = status::update(database(), |entry| {
        let before = entry.offsite.error.get();
        entry.offsite.error.set(&message);
        entry.offsite.error_at = time::now().timestamp_micros();
        super::note_attempt(&mut entry.offsite);
        before != entry.offsite.error.get()
    });
    if is_new == Some(true) {
        const HINT: &str =
            "This is retried until it succeeds; incr_slot_health() shows what is waiting.";
        let failure = match failure.hint {
            None => failure.hint(HINT),
            Some(_) => failure,
        };
        failure.log(PgLogLevel::WARNING);
    }
}
