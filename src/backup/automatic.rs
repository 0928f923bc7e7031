//! The outcome of a setup that nobody waits for: on the board, and once in the log.

use std::time::Duration;

use archive::time;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::{status, workers};

/// After the first failure; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// Records why the backup of `database` could not be set up, and logs it unless it is the same as before. Outside a
/// transaction.
pub fn note_failure(database: pg_sys::Oid, failure: &Failure) {
    let why = failure.in_full();
    let hint = failure.hint.clone().unwrap_or_default();
    let now = time::now().timestamp_micros();
    let is_new = status::update(database, |entry| {
        let setup = &mut entry.setup;
        let before = setup.error.get();
        let delay = workers::doubled(FIRST_RETRY, setup.failures, LONGEST_RETRY);
        setup.failures = setup.failures.saturating_add(1);
        setup.not_before = now + delay.as_micros() as i64;
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
    status::update_existing(database, |entry| {
        entry.setup = status::SetupStatus::default()
    });
}
