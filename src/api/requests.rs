//! Requests to the capture worker through the status board.

use std::time::Duration;

use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status::{self, DatabaseStatus, Phase};
use crate::{preflight, settings, workers};

const ROTATE_LIMIT: Duration = Duration::from_secs(60);

/// Has everything committed so far fsynced; returns an LSN past all of it.
pub fn flush(database: pg_sys::Oid, limit: Duration) -> Result<u64, Failure> {
    ensure_capture(database)?;
    // A record at the end of the WAL: once it is durable, so is everything before it, on an idle server too.
    let lsn = server::emit_position_mark();
    let is_answered = workers::ask_to_flush(database, lsn);
    wait_for_answer(database, limit, "incr_flush()", is_answered)?;
    Ok(lsn)
}

/// Closes the open segment, with everything committed so far in it; returns the path of the last closed one,
/// empty if there is none.
pub fn rotate(database: pg_sys::Oid) -> Result<String, Failure> {
    ensure_capture(database)?;
    // Once this record is flushed, everything before it is, including what synchronous_commit = off has left
    // in memory, and the worker reads what is flushed before it answers.
    server::emit_position_mark();
    let number = status::update(database, |entry| {
        entry.rotate_wanted += 1;
        entry.rotate_wanted
    });
    let number = number.unwrap_or(0);
    let answer = wait_for_answer(database, ROTATE_LIMIT, "incr_rotate()", |entry| {
        entry.rotate_done >= number
    })?;
    Ok(answer.rotated_file.get())
}

/// 42704 if this database has no slot of ours.
pub fn ensure_slot(database: pg_sys::Oid) -> Result<(), Failure> {
    let name = workers::slot_name(database);
    if workers::has_slot(database) {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
    Err(Failure::new(code, "this database is not backed up")
        .detail(format!("Replication slot \"{name}\" does not exist."))
        .hint("Run SELECT * FROM incr_setup()."))
}

/// 55000 if no worker could answer a request.
fn ensure_capture(database: pg_sys::Oid) -> Result<(), Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    ensure_slot(database)?;
    preflight::ensure_room(database)?;
    ensure_running(&status::read(database).unwrap_or_default())
}

/// A worker that is starting, or that the launcher is about to start, will answer; one that is waiting to
/// retry, has stepped aside or has broken its chain will not.
fn ensure_running(entry: &DatabaseStatus) -> Result<(), Failure> {
    let (reason, hint) = match entry.phase {
        Phase::Starting | Phase::Streaming | Phase::CaughtUp => return Ok(()),
        // As after every start of the server, and between two workers.
        Phase::Stopped if !entry.held && settings::directory().is_some() => return Ok(()),
        Phase::Stopped | Phase::SteppedAside if entry.held => (
            "it was stopped by incr_teardown(drop_slot => false)".to_string(),
            "SELECT * FROM incr_setup() starts it again.",
        ),
        // That command has ended.
        Phase::SteppedAside if entry.aside_for == 0 => return Ok(()),
        Phase::Stopped => (
            "pg_incrbackup.directory is not set: capture is off".to_string(),
            "Set it in postgresql.conf; nothing is lost as long as the slot retains the WAL.",
        ),
        Phase::WaitingToRetry => (
            entry.last_error.get(),
            "Nothing is lost: the slot retains the WAL. The worker is restarted automatically once the cause \
             is removed.",
        ),
        Phase::SteppedAside => (
            "its worker stepped aside for a command on the database".to_string(),
            "It resumes when that command ends.",
        ),
        Phase::Broken => (
            entry.broken.get(),
            "SELECT * FROM incr_setup(new_chain => true) starts a new chain with a new base backup.",
        ),
    };
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Err(
        Failure::new(code, "capture of this database is not running")
            .detail(reason)
            .hint(hint),
    )
}

fn wait_for_answer(
    database: pg_sys::Oid,
    limit: Duration,
    function: &str,
    is_answered: impl Fn(&DatabaseStatus) -> bool,
) -> Result<DatabaseStatus, Failure> {
    workers::wait_for(database, limit, is_answered, ensure_running, |entry| {
        timed_out(function, limit, entry)
    })
}

fn timed_out(function: &str, limit: Duration, entry: &DatabaseStatus) -> Failure {
    let behind = server::wal_flush_lsn().saturating_sub(entry.durable_lsn);
    let message = format!("{function} did not finish within {} s", limit.as_secs_f64());
    let worker = match (entry.phase, entry.waits_for_standby()) {
        (Phase::Stopped, _) => " No capture worker is running.".to_owned(),
        (_, Some((_, awaited))) => format!(" Capture waits for {awaited}."),
        _ => String::new(),
    };
    Failure::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, message)
        .detail(format!(
            "The files are {behind} bytes of WAL behind the server.{worker}"
        ))
        .hint("Nothing is lost; capture continues. See incr_slot_health().")
}
