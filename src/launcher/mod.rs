//! The launcher: one background worker per cluster that keeps a capture worker running for every slot of
//! ours.
//!
//! It is not connected to any database, so it blocks none. It checks the slots when it is woken and every ten
//! seconds, starts missing workers (also those that write changed globals, and that compress and archive
//! closed files; and those that set up databases), and waits longer after each failure of the same worker.

mod dropped;
mod former_primary;
mod guard;
mod succession;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime,
    DynamicBackgroundWorker, SignalWakeFlags,
};
use pgrx::prelude::*;

use self::dropped::Dropped;
use self::guard::Guard;
use self::succession::Succession;
use crate::automatic_setup::AutomaticSetup;
use crate::backup::{Due, NewestBases};
use crate::drill::{CleanUp, LastDrills};
use crate::indexing::Indexing;
use crate::pg::catalogs::databases;
use crate::pg::server::{self, signals, title, wake};
use crate::status::{self, Phase};
use crate::workers::{self, has_slot, shutdown};
use crate::{automatic_setup, backup, drill, lost_extension, offsite, preflight, settings};

const LOOK_INTERVAL: Duration = Duration::from_secs(10);
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the board keeps a base worker's result of a database that is not backed up.
const ENDED_BASE_STAYS: Duration = Duration::from_secs(60);

/// Registers the launcher and the commit callback. Only while the library is preloaded. In pg_upgrade's
/// server nothing may write.
pub fn init() {
    if !server::is_binary_upgrade() {
        register();
        former_primary::register();
    }
    wake::register_commit_callback(status::latch_of);
}

/// Registers the launcher with the postmaster.
fn register() {
    BackgroundWorkerBuilder::new("pg_incrbackup launcher")
        .set_type("pg_incrbackup launcher")
        .set_function("pg_incrbackup_launcher_main")
        .set_library("pg_incrbackup")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_launcher_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    workers::connect(None);
    status::set_launcher_pid(std::process::id() as i32);
    status::publish_launcher_latch(server::my_latch());
    let mut launcher = Launcher::default();
    while !shutdown::is_requested() {
        let sleep = launcher.look();
        shutdown::sleep(sleep);
        if BackgroundWorker::sighup_received() {
            server::reload_settings();
        }
    }
    status::publish_launcher_latch(0);
    // A worker that returns is never restarted, and SIGTERM is not only sent at shutdown.
    server::exit_to_be_restarted();
}

#[derive(Default)]
struct Launcher {
    workers: HashMap<u32, DynamicBackgroundWorker>,
    /// Workers that write the globals of a database.
    globals: HashMap<u32, DynamicBackgroundWorker>,
    /// Databases for which the board has no entry; logged once.
    without_room: HashSet<u32>,
    known: Known,
    last_schedule: Option<Instant>,
    last_tidy: Option<Instant>,
    guard: Guard,
    succession: Succession,
    dropped: Dropped,
    automatic_setup: AutomaticSetup,
}

/// What the files have told before, so that they are not asked while nothing changes.
#[derive(Default)]
struct Known {
    /// Where these files are.
    directory: Option<PathBuf>,
    indexing: Indexing,
    bases: NewestBases,
    drills: LastDrills,
    clean_up: CleanUp,
}

impl Launcher {
    /// Starts workers that should run and do not; returns the time until the next one is due.
    fn look(&mut self) -> Duration {
        self.dropped.check_flag();
        let rows = BackgroundWorker::transaction(databases::rows);
        let databases: Vec<pg_sys::Oid> = rows.iter().map(|row| row.oid).collect();
        let backed_up: Vec<pg_sys::Oid> = databases
            .iter()
            .copied()
            .filter(|oid| has_slot(*oid))
            .collect();
        self.guard.look(&backed_up, &databases);
        self.reap(&backed_up);
        let served = self.with_room(&backed_up);
        let directory = settings::directory();
        if directory.is_none() {
            return LOOK_INTERVAL;
        }
        if directory != self.known.directory {
            self.known = Known {
                directory,
                ..Known::default()
            };
        }
        self.dropped.end_chains();
        self.automatic_setup.look(&rows);
        let mut sleep = LOOK_INTERVAL.min(self.guard.longest_sleep());
        sleep = sleep.min(self.succession.look(&served));
        if self
            .last_tidy
            .is_none_or(|last| last.elapsed() >= LOOK_INTERVAL)
        {
            self.last_tidy = Some(Instant::now());
            self.known.clean_up.start_where_needed();
        }
        for database in &served {
            if !self.workers.contains_key(&database.to_u32()) {
                sleep = sleep.min(self.start_if_due(*database));
            }
            sleep = sleep.min(self.look_at_globals(*database));
            sleep = sleep.min(offsite::start_if_due(*database));
            sleep = sleep.min(lost_extension::start_if_due(*database));
            sleep = sleep.min(backup::heal_if_due(*database));
        }
        if self
            .last_schedule
            .is_none_or(|last| last.elapsed() >= SCHEDULE_INTERVAL)
        {
            self.last_schedule = Some(Instant::now());
            backup::start_due(&served, &mut self.known.bases);
            for database in &served {
                backup::expiry::start_if_due(*database);
                drill::start_if_due(*database, &mut self.known.drills);
                self.known.indexing.start_if_due(*database);
            }
        }
        sleep
    }

    /// Databases that have an entry on the board, or get one. Nothing is started for the others, because its
    /// result could not be recorded. They are logged once.
    fn with_room(&mut self, backed_up: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
        let mut served = Vec::new();
        let now = archive::time::now().timestamp_micros();
        for database in backed_up {
            if status::update(*database, |entry| entry.note_reading(now)).is_some() {
                self.without_room.remove(&database.to_u32());
                served.push(*database);
            } else if self.without_room.insert(database.to_u32()) {
                let which = "This database is not captured.";
                let failure = preflight::no_room().detail(which);
                failure.log_of(*database, PgLogLevel::WARNING);
            }
        }
        served
    }

    /// Has changed globals of a database written; returns the time until the next check is due.
    fn look_at_globals(&mut self, database: pg_sys::Oid) -> Duration {
        let number = database.to_u32();
        let is_stopped = |worker: &DynamicBackgroundWorker| {
            matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped))
        };
        if self.globals.get(&number).is_some_and(|w| !is_stopped(w)) {
            return LOOK_INTERVAL;
        }
        self.globals.remove(&number);
        match backup::start_globals_if_due(database) {
            Due::Nothing => LOOK_INTERVAL,
            Due::In(delay) => delay,
            Due::Started(worker) => {
                self.globals.insert(number, worker);
                LOOK_INTERVAL
            }
        }
    }

    /// Forgets workers that have exited. If one reported no error, it is set here.
    fn reap(&mut self, backed_up: &[pg_sys::Oid]) {
        self.workers.retain(|database, worker| {
            if !matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped)) {
                return true;
            }
            let database = pg_sys::Oid::from(*database);
            let failures = status::read(database).map_or(0, |entry| entry.failures);
            let delay = workers::backoff(failures);
            status::publish_latch(database, 0);
            status::update_existing(database, |entry| {
                entry.restarts += 1;
                entry.pid = 0;
                if matches!(
                    entry.phase,
                    Phase::Starting | Phase::Streaming | Phase::CaughtUp
                ) {
                    // It was terminated while it connected.
                    if entry.aside_for != 0 {
                        entry.phase = Phase::SteppedAside;
                        return;
                    }
                    entry.phase = Phase::WaitingToRetry;
                    const MESSAGE: &str =
                        "the capture worker exited unexpectedly; see the server log";
                    let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
                    entry.record_failure(code, MESSAGE, delay);
                }
            });
            false
        });
        for entry in status::read_all() {
            let database = pg_sys::Oid::from(entry.database);
            // A refused setup is reported to the backend that waits for it.
            let since = archive::time::calendar().timestamp_micros() - entry.base.finished_at;
            let has_just_ended = (0..ENDED_BASE_STAYS.as_micros() as i64).contains(&since);
            let is_busy = entry.base.is_running()
                || has_just_ended
                || entry.drill.is_running()
                || entry.offsite.pid != 0
                || automatic_setup::is_under_way(&entry)
                || server::is_process_alive(entry.aside_for)
                || entry.pid != 0;
            if !backed_up.contains(&database) && !is_busy && entry.broken.is_empty() {
                status::forget(database);
            }
        }
    }

    /// Starts the worker of a database unless it must wait; returns for how long.
    fn start_if_due(&mut self, database: pg_sys::Oid) -> Duration {
        if self.guard.is_ending(database) {
            return LOOK_INTERVAL;
        }
        let entry = status::read(database).unwrap_or_default();
        if entry.aside_for != 0 {
            if server::is_backend_alive(entry.aside_for) {
                return Duration::from_secs(1);
            }
            // It ended without a word. (Somebody else may need the database meanwhile.)
            let ended = entry.aside_for;
            status::update_existing(database, |entry| {
                if entry.aside_for == ended {
                    entry.aside_for = 0;
                }
            });
        }
        if entry.phase == Phase::Broken || entry.held {
            return LOOK_INTERVAL;
        }
        // There is nothing to read yet: setup wakes us.
        if entry.base.is_creating_slot() {
            return LOOK_INTERVAL;
        }
        // A worker started by an earlier launcher.
        if server::is_process_alive(entry.pid) {
            return LOOK_INTERVAL;
        }
        let now = archive::time::now().timestamp_micros();
        if entry.phase == Phase::WaitingToRetry && entry.retry_at > now {
            return Duration::from_micros((entry.retry_at - now) as u64);
        }
        let worker = workers::of_kind("capture", database).load_dynamic();
        match worker {
            Ok(worker) => {
                self.workers.insert(database.to_u32(), worker);
            }
            Err(_) => note_no_worker_left(database),
        }
        LOOK_INTERVAL
    }
}

/// max_worker_processes is exhausted: logs that once, retries at the next pass.
fn note_no_worker_left(database: pg_sys::Oid) {
    const MESSAGE: &str = "out of background worker slots: increase max_worker_processes";
    let is_new = status::update(database, |entry| {
        let is_new = entry.last_error.get() != MESSAGE;
        entry.last_error.set(MESSAGE);
        entry.last_error_at = archive::time::now().timestamp_micros();
        is_new
    });
    if is_new == Some(true) {
        let database = title::shown(database);
        signals::telling(|| {
            warning!(
                "pg_incrbackup: {database}: {MESSAGE}; nothing is lost, the slot retains the WAL"
            );
        });
    }
}
