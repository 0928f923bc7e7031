//! The outcome of a setup that nobody waits for: on the board, and once in the log.

use std::time::Duration;

use archive::time;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::status::{self, SetupStatus};
use crate::workers;

/// After the first failure; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// An attempt begins. It counts as failed until it succeeds: one that is killed is not repeated at once either.
pub fn begin_attempt(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.setup.failures = entry.setup.failures.saturating_add(1);
        put_off(&mut entry.setup);
    });
}

/// The second part of an attempt begins, by the base worker.
pub fn continue_attempt(database: pg_sys::Oid) {
    status::update_existing(database, |entry| {
        entry.setup.is_prepared = false;
        put_off(&mut entry.setup);
    });
}

fn put_off(setup: &mut SetupStatus) {
    let times = setup.failures.saturating_sub(1);
    let delay = workers::doubled(FIRST_RETRY, times, LONGEST_RETRY);
    setup.not_before = time::now().timestamp_micros() + delay.as_micros() as i64;
}

/// Records why an attempt to set up the backup of `database` failed, and logs it unless it is the same as before. Outside
/// a transaction.
pub fn note_failure(database: pg_sys::Oid, failure: &Failure) {
    let why = failure.in_full();
    let hint = failure.hint.clone().unwrap_or_default();
    let is_new = status::update(database, |entry| {
        let setup = &mut entry.setup;
        let before = setup.error.get();
        // Also of a look that began no attempt.
        setup.failures = setup.failures.max(1);
        put_off(setup);
        setup.is_prepared = false;
        setup.error.set(&why);
        setup.hint.set(&hint);
        before != setup.error.get()
    });
    if is_new != Some(true) {
        return;
    }
    let name = pgrx::bgworkers::BackgroundWorker::transaction(|| server::database_name(database));
    let name = ServerText(name.unwrap_or_default()).to_utf8();
    let message = format!("pg_incrbackup: could not set up the backup of database \"{name}\"");
    let hint = if hint.is_empty() {
        "It is retried.".to_owned()
    } else {
        format!("{hint} It is retried.")
    };
    Failure::new(failure.code, message)
        .detail(why)
        .hint(hint)
        .log(PgLogLevel::WARNING);
}

/// The backup of `database` is set up.
pub fn note_success(database: pg_sys::Oid) {
    status::update_existing(database, |entry| entry.setup = SetupStatus::default());
}
