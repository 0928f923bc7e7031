//! The drill worker: a background worker that runs one drill, and one that removes the leftovers of a drill
//! that crashed.
//!
//! A drill that cannot run is distinguished from one that found a problem: only the latter means that the
//! backup does not restore.

use archive::counted;
use std::time::Instant;

use archive::drills::{self, Begun, Drill, Outcome};
use archive::lock::Lock;
use archive::{time, verify, DatabaseDir};
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use super::clean_up::{CLEAN_UP_RETRY, FIRST_CLEAN_UP_RETRY};
use super::moment::Moment;
use super::restore::{self, Where};
use super::source_server::SourceServer;
use super::target::Target;
use super::turn::Turn;
use super::{board, client, scratch, target, throwaway};
use crate::backup::dump::Source;
use crate::pg::failure::Failure;
use crate::pg::server::{process, session, signals, title, transaction};
use crate::status::DrillPhase;
use crate::{place, settings, workers};

/// A drill that was started, for the process that waits for it.
pub struct Started {
    pub number: u64,
    pub worker: DynamicBackgroundWorker,
}

/// Starts a drill of `database` that restores to the server of `conninfo`; empty: a throwaway server.
pub fn start(database: pg_sys::Oid, conninfo: &str) -> Result<Started, Failure> {
    let my_pid = std::process::id() as i32;
    let number = board::claim(database, my_pid, conninfo)?;
    let worker = workers::of_kind("drill", database).load_dynamic();
    worker
        .map(|worker| Started { number, worker })
        .map_err(|_| {
            board::release(database, number);
            workers::none_is_free()
        })
}

/// Starts a worker that removes what a drill of `database` left behind.
pub fn start_clean_up(database: pg_sys::Oid) {
    let my_pid = std::process::id() as i32;
    let Ok(number) = board::claim(database, my_pid, "") else {
        return;
    };
    let worker = workers::of_kind("drill", database)
        .set_function("pg_incrbackup_drill_tidy_main")
        .load_dynamic();
    if worker.is_err() {
        board::release(database, number);
    }
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_drill_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    let Some(conninfo) = board::begin(database) else {
        return crate::workers::wake_launcher();
    };
    signals::at_exit(|| board::leave(workers::served_database()));
    signals::end_on_sigterm();
    workers::connect(Some(database));
    process::end_with_this_process();
    session::set_text(c"application_name", super::NAME);
    let outcome = transaction::catch(|| run(database, &conninfo)).and_then(|result| result);
    transaction::rollback();
    if let Err(failure) = &outcome {
        failure.clone().log(PgLogLevel::WARNING);
    }
    board::end(database, outcome);
    crate::workers::wake_launcher();
}

/// Not connected to a database: the drill's own may have been dropped.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_drill_tidy_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    board::begin_cleaning_up(database);
    signals::at_exit(|| board::leave_cleaning_up(workers::served_database()));
    signals::end_on_sigterm();
    workers::connect(None);
    process::end_with_this_process();
    board::enter(database, DrillPhase::Dropping);
    let outcome = transaction::catch(|| tidy(database)).and_then(|result| result);
    transaction::rollback();
    let mut not_before = 0;
    if let Err(failure) = &outcome {
        failure.clone().log(PgLogLevel::WARNING);
        not_before = next_try(database);
    }
    board::record_cleanup(database, outcome, not_before);
}

/// A server that has just been restarted, or clients that are about to exit, may be in the way for a moment:
/// it is retried after as long as it has waited.
fn next_try(database: pg_sys::Oid) -> i64 {
    let now = time::now().timestamp_micros();
    let begun = begun_by(database).ok().flatten();
    let age = begun.map_or(0, |(_, begun)| now - begun.started_at.timestamp_micros());
    let (least, most) = (FIRST_CLEAN_UP_RETRY.as_micros(), CLEAN_UP_RETRY.as_micros());
    now + age.clamp(least as i64, most as i64)
}

/// The drill of this database that is recorded as started, and the database's directory.
fn begun_by(database: pg_sys::Oid) -> Result<Option<(DatabaseDir, Begun)>, Failure> {
    let places = place::all()?.into_iter();
    let mut places = places.filter(|of| of.database_oid == database.to_u32());
    Ok(places.find_map(|of| {
        let begun = drills::begun(&of.directory).ok().flatten()?;
        Some((of.directory, begun))
    }))
}

/// Finishes a drill that crashed: removes what it created and records that it was interrupted.
fn tidy(database: pg_sys::Oid) -> Result<(), Failure> {
    let Some((place, begun)) = begun_by(database)? else {
        return Ok(());
    };
    let place = place::own_directory(database, place)?;
    remove(&place, database, &begun, None)?;
    title::log(&format!(
        "dropped what the drill of {} left behind",
        begun.started_at
    ));
    // It may have written its record already.
    if drills::read(&place)?
        .iter()
        .any(|drill| drill.started_at == begun.started_at)
    {
        return Ok(());
    }
    let mut drill = new_record(begun.started_at, &begun.conninfo);
    drill.outcome = Outcome::Interrupted;
    drill
        .problems
        .push("the drill or its server was stopped".to_string());
    Ok(drills::append(&place, &drill)?)
}

fn new_record(started_at: time::Time, conninfo: &str) -> Drill {
    Drill {
        outcome: Outcome::NotDone,
        started_at,
        duration_ms: 0,
        conninfo: conninfo.to_string(),
        chain: None,
        base: None,
        lsn: None,
        tables: 0,
        rows: 0,
        problems: Vec::new(),
        left_out: Vec::new(),
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
    }
}

/// Runs a drill and records it; returns the start time that identifies the record.
fn run(database: pg_sys::Oid, conninfo: &str) -> Result<i64, Failure> {
    let start = Instant::now();
    let place = place::own(database)?.ok_or_else(nothing_to_restore)?;
    // Parameters are only written to disk once it is certain that they contain no password.
    let mut drill = new_record(time::calendar(), "");
    let made = transaction::catch(|| make(database, &place, conninfo, &mut drill));
    let made = made.and_then(|made| made);
    transaction::rollback();
    match made {
        Ok(()) if drill.problems.is_empty() => drill.outcome = Outcome::Passed,
        Ok(()) => drill.outcome = Outcome::Failed,
        Err(failure) => {
            drill.outcome = match drill.problems.is_empty() {
                true if client::is_overdue() => Outcome::TimedOut,
                true => Outcome::NotDone,
                false => Outcome::Failed,
            };
            drill.problems.push(failure.in_full());
            drill.problems.extend(failure.hint);
        }
    }
    drill.duration_ms = start.elapsed().as_millis() as u64;
    drills::append(&place, &drill)?;
    tell(&drill);
    Ok(drill.started_at.timestamp_micros())
}

fn tell(drill: &Drill) {
    let outcome = drill.outcome.name();
    if drill.outcome == Outcome::Passed {
        let (tables, rows) = (drill.tables, drill.rows);
        let left_out = match drill.left_out.len() {
            0 => String::new(),
            count => format!(", {} left out", counted(count, "object")),
        };
        title::log(&format!(
            "drill passed: {} with {} match the source{left_out}",
            counted(tables, "table"),
            counted(rows, "row")
        ));
        return;
    }
    let code = match drill.outcome {
        Outcome::Failed => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        _ => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    };
    Failure::new(code, format!("pg_incrbackup: drill {outcome}"))
        .detail(drill.problems.join("\n"))
        .log(PgLogLevel::WARNING);
}

/// Its findings are in the record's problems; an error means that the drill could not run.
fn make(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    conninfo: &str,
    drill: &mut Drill,
) -> Result<(), Failure> {
    target::ensure_no_password(conninfo)?;
    drill.conninfo = conninfo.to_string();
    clean_up(place, database)?;
    let other = match conninfo {
        "" => None,
        given => Some(Target::find(given)?),
    };
    // Before anything is held that others wait for.
    let turn = other.as_ref().map(|target| Turn::take(target, database));
    let turn = turn.transpose()?;
    // That others take their time is no finding.
    client::begin_time(settings::drill_timeout());
    // Files needed for this point must not expire before they have been read.
    let _lock = Lock::shared(place, &mut signals::look_for_interrupts)?;
    let chain = place.served_chain()?.ok_or_else(nothing_to_restore)?;
    if chain.info.ended.is_some() || chain.bases()?.is_empty() {
        return Err(nothing_to_restore());
    }
    drill.chain = Some(chain.number);
    match &other {
        Some(target) => {
            scratch::ensure_absent(target, database)?;
            target.ensure_room()?;
        }
        None => target::ensure_room_for_throwaway()?,
    }
    let source = transaction::run(Source::collect)?;
    let source_server = match other {
        Some(_) => None,
        None => Some(transaction::run(|| SourceServer::collect(&chain))?),
    };
    let moment = match Moment::take(database, &chain, &source) {
        Ok(moment) => moment,
        Err(failure) => {
            // Possibly because the segments cannot be read.
            check_files(database, place, drill)?;
            return Err(failure);
        }
    };
    drill.lsn = Some(moment.lsn);
    if !place.has_own_restore_files() {
        drill
            .problems
            .push("restore.sh or README.txt differs from what this version writes".into());
    }
    let place_of_server = match other {
        Some(_) => None,
        None => Some(throwaway::find_place(database)?),
    };
    let begun = Begun {
        started_at: drill.started_at,
        database_oid: database.to_u32(),
        conninfo: drill.conninfo.clone(),
        server: other.as_ref().map(|it| it.system_identifier.clone()),
        throwaway: place_of_server.clone(),
    };
    drills::begin(place, &begun)?;
    let tried = transaction::catch(|| {
        let to = match (other, &place_of_server, &source_server) {
            (Some(target), _, _) => Where::Server(target),
            (None, Some(place), Some(source)) => Where::Throwaway(place, source),
            (None, _, _) => return Ok(()),
        };
        restore::and_compare(database, place, &chain, to, &moment, drill)
    });
    board::enter(database, DrillPhase::Dropping);
    let removed = remove(place, database, &begun, turn);
    if let Err(failure) = tried.and_then(|result| result) {
        if !client::is_overdue() {
            // Possibly it met damage.
            check_files(database, place, drill)?;
        }
        return Err(failure);
    }
    removed?;
    check_files(database, place, drill)
}

/// Removes what a drill created, and its note; on another server when it is this drill's turn.
fn remove(
    place: &DatabaseDir,
    database: pg_sys::Oid,
    begun: &Begun,
    turn: Option<Turn>,
) -> Result<(), Failure> {
    if let Some(made) = &begun.throwaway {
        throwaway::remove(made)?;
        return Ok(drills::end(place)?);
    }
    let target = Target::find(&begun.conninfo)?;
    let held = match turn {
        Some(mut turn) => turn.is_held()?.then_some(turn),
        None => None,
    };
    let _turn = match held {
        Some(turn) => turn,
        None => Turn::take(&target, database)?,
    };
    board::enter(database, DrillPhase::Dropping);
    scratch::remove(&target, place, database, begun)
}

/// Every file of the archive, whether the restore needed it or not.
fn check_files(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    drill: &mut Drill,
) -> Result<(), Failure> {
    board::enter(database, DrillPhase::Verifying);
    let problems = verify::verify(place, &mut signals::look_for_interrupts)?.into_iter();
    let problems = problems.map(|found| format!("{}: {}", found.file, found.problem));
    restore::add(&mut drill.problems, problems.collect());
    Ok(())
}

/// Removes what an earlier drill left behind on its target, or here.
fn clean_up(place: &DatabaseDir, database: pg_sys::Oid) -> Result<(), Failure> {
    if let Some(begun) = drills::begun(place)? {
        remove(place, database, &begun, None)?;
    }
    Ok(())
}

fn nothing_to_restore() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "there is no open chain with a base backup",
    )
    .hint(
        "Run SELECT * FROM incr_setup(), or incr_setup(new_chain => true) if the chain is broken.",
    )
}
