//! The drill worker: a background worker that lives for one drill, and one that drops what a drill left behind
//! that died.
//!
//! A drill that cannot be made is told apart from one that found something: only the second says that the
//! backup does not restore.

use std::time::Instant;

use archive::drills::{self, Begun, Drill, Outcome};
use archive::expiry::Lock;
use archive::{time, verify, ChainDir, DatabaseDir};
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use super::contents::Contents;
use super::moment::Moment;
use super::target::Target;
use super::{board, client, definitions, scratch, target, TIDY_RETRY};
use crate::backup::dump::{self, Source};
use crate::backup::place;
use crate::pg::failure::Failure;
use crate::pg::{process, server, session, signals, transaction};
use crate::status::DrillPhase;
use crate::worker;

/// So many problems of each kind are put on record.
const KEPT_PROBLEMS: usize = 20;

/// A drill that was started, for the process that waits for it.
pub struct Started {
    pub number: u64,
    pub worker: DynamicBackgroundWorker,
}

/// Starts a drill of `database` that restores to the server of `conninfo`; empty: this one.
pub fn start(database: pg_sys::Oid, conninfo: &str) -> Result<Started, Failure> {
    let my_pid = std::process::id() as i32;
    let number = board::claim(database, my_pid, conninfo)?;
    let worker = worker::of_kind("drill", database).load_dynamic();
    worker
        .map(|worker| Started { number, worker })
        .map_err(|_| {
            board::release(database, number);
            worker::none_is_free()
        })
}

/// Starts a worker that drops what a drill of `database` left behind.
pub fn start_tidying(database: pg_sys::Oid) {
    let my_pid = std::process::id() as i32;
    let Ok(number) = board::claim(database, my_pid, "") else {
        return;
    };
    let worker = worker::of_kind("drill", database)
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
    signals::end_on_sigterm();
    let conninfo = board::begin(database);
    worker::connect(Some(database));
    signals::at_exit(|| board::leave(server::my_database()));
    process::end_with_this_process();
    session::set(c"application_name", c"pg_incrbackup drill");
    let outcome = transaction::catch(|| run(database, &conninfo)).and_then(|result| result);
    transaction::rollback();
    if let Err(failure) = &outcome {
        failure.clone().log(PgLogLevel::WARNING);
    }
    board::end(database, outcome);
    crate::capture::wake_launcher();
}

/// Connected to no database: the drill's own may have been dropped.
#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_drill_tidy_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    signals::end_on_sigterm();
    worker::connect(None);
    board::begin(database);
    process::end_with_this_process();
    board::enter(database, DrillPhase::Dropping);
    let outcome = transaction::catch(|| tidy(database)).and_then(|result| result);
    transaction::rollback();
    if let Err(failure) = &outcome {
        failure.clone().log(PgLogLevel::WARNING);
    }
    let not_before = time::now().timestamp_micros() + TIDY_RETRY.as_micros() as i64;
    board::tidied(database, outcome, not_before);
}

/// Finishes a drill that died: drops what it made and puts on record that it was interrupted.
fn tidy(database: pg_sys::Oid) -> Result<(), Failure> {
    let places = place::root()?.databases_of(server::system_identifier())?;
    let mut places = places
        .into_iter()
        .filter(|(oid, _)| *oid == database.to_u32());
    let Some((place, begun)) = places.find_map(|(_, place)| {
        let begun = drills::begun(&place).ok().flatten()?;
        Some((place, begun))
    }) else {
        return Ok(());
    };
    let place = place::own_directory(database, place)?;
    let target = Target::find(&begun.conninfo)?;
    scratch::remove(&target, &place, database)?;
    log!(
        "pg_incrbackup: dropped what the drill of {} left behind",
        begun.started_at
    );
    // It may have come as far as its record.
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
        .push("the drill was stopped, or its server was".to_string());
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
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
    }
}

/// Makes a drill and puts it on record; gives the start by which the record is known.
fn run(database: pg_sys::Oid, conninfo: &str) -> Result<i64, Failure> {
    let start = Instant::now();
    let place = place::own(database)?.ok_or_else(nothing_to_restore)?;
    // Parameters are written down only after it is sure that they hold no password.
    let mut drill = new_record(time::calendar(), "");
    let made = transaction::catch(|| make(database, &place, conninfo, &mut drill));
    let made = made.and_then(|made| made);
    transaction::rollback();
    match made {
        Ok(()) if drill.problems.is_empty() => drill.outcome = Outcome::Passed,
        Ok(()) => drill.outcome = Outcome::Failed,
        Err(failure) => {
            drill.outcome = match drill.problems.is_empty() {
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
        log!("pg_incrbackup: a drill has passed: {tables} tables with {rows} rows are the same");
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

/// What it finds is in the record's problems; an error is that the drill could not be made.
fn make(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    conninfo: &str,
    drill: &mut Drill,
) -> Result<(), Failure> {
    target::ensure_no_password(conninfo)?;
    drill.conninfo = conninfo.to_string();
    // What is restored to the moment found here must not expire before restore.sh reads it.
    let _lock = Lock::shared(place)?;
    let chain = place.served_chain()?.ok_or_else(nothing_to_restore)?;
    if chain.info.ended.is_some() || chain.bases()?.is_empty() {
        return Err(nothing_to_restore());
    }
    drill.chain = Some(chain.number);
    let target = Target::find(&drill.conninfo)?;
    leave_nothing_behind(place, database)?;
    scratch::ensure_absent(&target, database)?;
    target.ensure_room()?;
    let source = transaction::run(Source::collect)?;
    let moment = match Moment::take(database, &chain, &source) {
        Ok(moment) => moment,
        Err(failure) => {
            // Perhaps because the segments can't be read.
            check_files(database, place, drill)?;
            return Err(failure);
        }
    };
    drill.lsn = Some(moment.lsn);
    (drill.tables, drill.rows) = moment.contents.counts();
    // It is run with the rights of the server's user.
    if !place.has_own_restore_files() {
        drill
            .problems
            .push("restore.sh or README.txt is not what this version writes there".into());
        return Ok(());
    }
    drills::begin(
        place,
        &Begun {
            started_at: drill.started_at,
            database_oid: database.to_u32(),
            conninfo: drill.conninfo.clone(),
        },
    )?;
    let tried = transaction::catch(|| {
        restore_and_compare(database, place, &chain, &target, &moment, drill)
    });
    board::enter(database, DrillPhase::Dropping);
    let removed = scratch::remove(&target, place, database);
    tried.and_then(|result| result)?;
    removed?;
    check_files(database, place, drill)
}

/// Every file of the archive, whether the restore needed it or not.
fn check_files(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    drill: &mut Drill,
) -> Result<(), Failure> {
    board::enter(database, DrillPhase::Verifying);
    let problems = verify::verify(place)?.into_iter();
    let problems = problems.map(|found| format!("{}: {}", found.file, found.problem));
    add(drill, problems.collect());
    Ok(())
}

/// Drops what an earlier drill left there where it restored to, or here.
fn leave_nothing_behind(place: &DatabaseDir, database: pg_sys::Oid) -> Result<(), Failure> {
    if let Some(begun) = drills::begun(place)? {
        let target = Target::find(&begun.conninfo)?;
        scratch::remove(&target, place, database)?;
    }
    Ok(())
}

fn restore_and_compare(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    chain: &ChainDir,
    target: &Target,
    moment: &Moment,
    drill: &mut Drill,
) -> Result<(), Failure> {
    board::enter(database, DrillPhase::Restoring);
    let restored = target.database(&scratch::name(database));
    let ran = restore(place, chain, target, &restored, moment)?;
    let said = String::from_utf8_lossy(&ran.output);
    let base = said.lines().find_map(|line| line.strip_prefix("base: "));
    let base = base.and_then(|text| text.split(' ').next()?.rsplit('/').next());
    drill.base = base.map(str::to_string);
    if !ran.is_good {
        target.ensure_not_to_blame(&ran.messages)?;
        drill
            .problems
            .push(format!("restore.sh: {}", ran.last_words(6)));
        return Ok(());
    }
    board::enter(database, DrillPhase::Comparing);
    match Contents::read(&restored, target.version, None) {
        Ok(contents) => add(drill, moment.contents.differences(&contents)),
        Err(failure) => {
            let why = failure.in_full();
            target.ensure_not_to_blame(&why)?;
            add(drill, vec![format!("the rows can't be read: {why}")]);
        }
    }
    if target.words_alike() {
        let definitions = definitions::of_restored(&restored, target.version)?;
        add(drill, moment.definitions.differences(&definitions));
    }
    Ok(())
}

/// Runs the archive's own restore.sh, as a person would.
fn restore(
    place: &DatabaseDir,
    chain: &ChainDir,
    target: &Target,
    restored: &str,
    moment: &Moment,
) -> Result<client::Ran, Failure> {
    let script = place.path().join("restore.sh");
    let arguments = [
        script.display().to_string(),
        format!("--target={restored}"),
        format!("--until-lsn={}", moment.lsn),
        format!("--chain={}", chain.number),
    ];
    let mut environment = client::environment(target.version);
    let psql = dump::program("psql");
    let bin = psql.parent().map(|bin| bin.display().to_string());
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
    environment.push(("PATH", format!("{}:{path}", bin.unwrap_or_default())));
    let made = drills::made_file(place).display().to_string();
    environment.push(("RESTORE_SH_MADE", made));
    let shell = std::path::Path::new("/bin/sh");
    client::run(shell, &arguments, &environment, None, || Ok(()))
}

fn add(drill: &mut Drill, mut found: Vec<String>) {
    let more = found.len().saturating_sub(KEPT_PROBLEMS);
    found.truncate(KEPT_PROBLEMS);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    drill.problems.extend(found);
}

fn nothing_to_restore() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "there is no chain with a base backup that is going on",
    )
    .hint(
        "Run SELECT * FROM incr_setup(); where the chain is broken, incr_setup(new_chain => true).",
    )
}
