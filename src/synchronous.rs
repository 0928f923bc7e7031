//! `pg_incrbackup.synchronous`: a client's COMMIT returns when the transaction is in the files, fsynced.
//!
//! As with a synchronous standby, the transaction has committed before the wait, and nothing undoes that: whatever ends
//! the wait early is a WARNING. Unlike there, others see its rows meanwhile: its locks are released, so that the capture
//! worker, base backups and other sessions' DDL never wait for somebody who waits for the worker.

use std::time::{Duration, Instant};

use archive::Lsn;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::server::commit_wait::{self, Callbacks, Interruption};
use crate::settings::{self, OnTimeout};
use crate::status::{self, Covers, Phase};
use crate::workers;

/// How often a commit that waits looks whether anybody is going to write it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

const COMMITTED: &str =
    "The transaction has already committed, but might not be in the files of the backup.";

/// Only while the library is preloaded.
pub fn init() {
    commit_wait::register(Callbacks {
        begin,
        wait,
        end: status::end_wait,
    });
}

/// A commit waits if its database is backed up, and the files are not yet as far.
fn begin(lsn: u64) -> bool {
    let database = server::my_database();
    let is_wanted = settings::synchronous()
        && (status::latch_of(database) != 0 || workers::has_slot(database))
        && status::covers(database, lsn) != Covers::Yes;
    if !is_wanted || status::begin_wait(database, lsn) {
        return is_wanted;
    }
    status::note_degraded(database);
    warning(
        "the transaction is not in the backup's files: too many sessions wait for them".to_owned(),
    )
    .log(PgLogLevel::WARNING);
    false
}

fn wait(lsn: u64) {
    let database = server::my_database();
    // Of a transaction with synchronous_commit = off; the worker reads only what is flushed.
    if server::wal_flush_lsn() < lsn {
        commit_wait::flush(lsn);
        workers::wake_capture(database);
    }
    let title = commit_wait::show_title();
    let is_durable = Wait::new(database, lsn).until_durable();
    title.restore();
    status::end_wait();
    if !is_durable {
        status::note_degraded(database);
    }
}

/// Why nobody is going to write a commit.
struct Obstacle {
    reason: String,
    hint: &'static str,
    /// It does not come back: waiting is in vain.
    is_final: bool,
}

struct Wait {
    database: pg_sys::Oid,
    lsn: u64,
    begun: Instant,
    next_look: Instant,
    has_warned: bool,
}

impl Wait {
    fn new(database: pg_sys::Oid, lsn: u64) -> Wait {
        let begun = Instant::now();
        let is_running = status::latch_of(database) != 0;
        Wait {
            database,
            lsn,
            begun,
            next_look: begun
                + if is_running {
                    LOOK_INTERVAL
                } else {
                    Duration::ZERO
                },
            has_warned: false,
        }
    }

    /// False if the commit returns although it is not in the files.
    fn until_durable(&mut self) -> bool {
        loop {
            commit_wait::reset_latch();
            commit_wait::absorb_barriers();
            match status::covers(self.database, self.lsn) {
                Covers::Yes => return true,
                Covers::NotYet => {}
                Covers::Never => {
                    self.warn_of(&Obstacle {
                        reason: "another chain has begun since".to_owned(),
                        hint: "It will be in the base backup with which the new chain begins.",
                        is_final: true,
                    });
                    return false;
                }
            }
            if self.is_interrupted() || self.is_in_vain() || self.has_timed_out() {
                return false;
            }
            if !commit_wait::sleep(self.sleep()) {
                commit_wait::send_no_more();
                return false;
            }
        }
    }

    /// As SyncRepWaitForLSN().
    fn is_interrupted(&self) -> bool {
        let (code, message) = match commit_wait::interruption() {
            None => return false,
            Some(Interruption::Termination) => (
                PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
                "canceling the wait for the backup's files and terminating connection due to administrator command",
            ),
            Some(Interruption::Cancel) => (
                PgSqlErrorCode::ERRCODE_WARNING,
                "canceling the wait for the backup's files due to user request",
            ),
        };
        let is_terminated = code == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN;
        Failure::new(code, message)
            .detail(COMMITTED)
            .log(PgLogLevel::WARNING);
        if is_terminated {
            commit_wait::send_no_more();
        }
        true
    }

    /// Where nobody writes until somebody acts, waiting would only add the timeout to every commit of the application:
    /// with `warn` each returns at once.
    fn is_in_vain(&mut self) -> bool {
        if self.next_look > Instant::now() {
            return false;
        }
        self.next_look = Instant::now() + LOOK_INTERVAL;
        let Some(obstacle) = obstacle(self.database) else {
            return false;
        };
        if !self.has_warned || obstacle.is_final {
            self.warn_of(&obstacle);
        }
        obstacle.is_final || settings::synchronous_on_timeout() == OnTimeout::Warn
    }

    fn has_timed_out(&mut self) -> bool {
        let Some(timeout) = settings::synchronous_timeout() else {
            return false;
        };
        if self.has_warned || self.begun.elapsed() < timeout {
            return false;
        }
        self.has_warned = true;
        let is_over = settings::synchronous_on_timeout() == OnTimeout::Warn;
        let message = format!(
            "the transaction is not in the backup's files after {} ms{}",
            timeout.as_millis(),
            if is_over { "" } else { ", still waiting" }
        );
        warning(message)
            .hint("SELECT * FROM incr_slot_health() says what capture is doing. See pg_incrbackup.synchronous_timeout.")
            .log(PgLogLevel::WARNING);
        is_over
    }

    fn warn_of(&mut self, obstacle: &Obstacle) {
        self.has_warned = true;
        let Obstacle { reason, hint, .. } = obstacle;
        let message = format!("the transaction is not in the backup's files: {reason}");
        let end = Lsn(self.lsn);
        let detail = format!("The transaction has already committed, at {end}.");
        let failure = Failure::new(PgSqlErrorCode::ERRCODE_WARNING, message);
        failure.detail(detail).hint(*hint).log(PgLogLevel::WARNING);
    }

    fn sleep(&self) -> Duration {
        let look = self.next_look.saturating_duration_since(Instant::now());
        let timeout = settings::synchronous_timeout().filter(|_| !self.has_warned);
        let left = timeout.map(|timeout| timeout.saturating_sub(self.begun.elapsed()));
        left.map_or(look, |left| left.min(look))
    }
}

fn warning(message: String) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_WARNING, message).detail(COMMITTED)
}

/// What keeps this database from being captured, until somebody acts. A worker that runs, is about to be started, or
/// makes its first retry is no obstacle.
fn obstacle(database: pg_sys::Oid) -> Option<Obstacle> {
    let has_slot = workers::has_slot(database);
    let stopped = |reason: String, hint| {
        Some(Obstacle {
            reason,
            hint,
            is_final: false,
        })
    };
    if !has_slot {
        return Some(Obstacle {
            reason: "the database is not backed up any more".to_owned(),
            hint: "SELECT * FROM incr_setup() starts a new chain with a base backup.",
            is_final: true,
        });
    }
    let Some(entry) = status::read(database) else {
        let reason = "pg_incrbackup.max_databases has been reached".to_owned();
        let hint = "Increase it and restart the server.";
        return (!status::has_room(database))
            .then_some(())
            .and_then(|()| stopped(reason, hint));
    };
    if entry.held {
        let reason = "capture was stopped by incr_teardown(drop_slot => false)".to_owned();
        return stopped(reason, "SELECT * FROM incr_setup() starts it again.");
    }
    if entry.phase == Phase::Broken || !entry.broken.is_empty() {
        let reason = format!("the chain is broken: {}", entry.broken.get());
        return stopped(
            reason,
            "SELECT * FROM incr_setup(new_chain => true) starts a new chain with a new base backup.",
        );
    }
    if settings::directory().is_none() {
        let reason = "pg_incrbackup.directory is not set: capture is off".to_owned();
        return stopped(reason, "Set it in postgresql.conf.");
    }
    if entry.failures > 1 {
        let times = entry.failures;
        let error = entry.last_error.get();
        let reason = format!("capture has failed {times} times in a row: {error}");
        return stopped(
            reason,
            "Nothing is lost: the slot retains the WAL. The worker is restarted automatically once the cause is removed.",
        );
    }
    let wait = entry.waits_for_standby();
    let is_long = |waited: &i64| *waited >= status::LONG_STANDBY_WAIT.as_micros() as i64;
    if let Some((waited, awaited)) = wait.filter(|(waited, _)| is_long(waited)) {
        let seconds = waited / 1_000_000;
        let reason = format!("capture has waited for {seconds} s for {awaited}");
        return stopped(
            reason,
            "Start the standby, or take its slot from synchronized_standby_slots.",
        );
    }
    None
}
