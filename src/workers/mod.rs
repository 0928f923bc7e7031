//! The workers, each of which serves one database: registering, waking, requests, termination and suspension.
//! Their work is defined by the features; the launcher starts them.

mod answer;
mod aside;
mod end;
pub mod shutdown;
mod slot;

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::prelude::*;

pub use self::answer::{ask_to_flush, wait_for};
pub use self::aside::{may_connect, resume, serve, served_database, step_aside};
pub use self::end::{backoff, doubled, end_others, terminate_and_wait};
pub use self::slot::{has_slot, is_our_plugin, slot_name, slot_plugin};
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc, session, title};
use crate::status;

/// A worker of this kind (capture, base, globals, expiry, archiver, drill, indexer, extension, setup) for a
/// database: its main function is `pg_incrbackup_<kind>_main`. It is only restarted by the process that
/// started it, which is notified when it exits.
pub fn of_kind(kind: &str, database: pg_sys::Oid) -> BackgroundWorkerBuilder {
    let name = format!("pg_incrbackup {kind}");
    BackgroundWorkerBuilder::new(&name)
        .set_type(&name)
        .set_function(&format!("pg_incrbackup_{kind}_main"))
        .set_library("pg_incrbackup")
        .enable_spi_access()
        .set_argument(Some(pg_sys::Datum::from(database.to_u32())))
        .set_notify_pid(std::process::id() as i32)
        .set_restart_time(None)
}

/// Connects this process, a worker of ours, to a database, or to none: as the bootstrap superuser, with our
/// own settings.
pub fn connect(database: Option<pg_sys::Oid>) {
    match database {
        Some(database) => BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None),
        None => BackgroundWorker::connect_worker_to_spi(None, None),
    }
    session::be_neutral();
    title::take();
}

/// 53400 if a worker that a backend waits for could not be started.
pub fn none_is_free() -> Failure {
    let most = guc::value(c"max_worker_processes").unwrap_or_default();
    Failure::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format!("out of background worker slots (max_worker_processes = {most})"),
    )
    .hint(
        "Increase max_worker_processes in postgresql.conf and restart the server, or try again later.",
    )
}

/// Makes the launcher check the slots immediately.
pub fn wake_launcher() {
    server::set_latch(status::launcher_latch());
}

/// Makes the capture worker of a database check the board immediately.
pub fn wake_capture(database: pg_sys::Oid) {
    server::set_latch(status::latch_of(database));
}
