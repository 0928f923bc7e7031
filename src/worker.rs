//! The workers that serve one database each, as PostgreSQL is asked for them.

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::guc;

/// A worker of this kind (capture, base, globals, expiry, archiver, drill, indexer) for a database: its main function is
/// `pg_incrbackup_<kind>_main`. Nobody but who starts it starts it again, and is told of its end.
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

/// 53400 where a worker that somebody waits for could not be started.
pub fn none_is_free() -> Failure {
    let most = guc::value(c"max_worker_processes").unwrap_or_default();
    Failure::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format!("no background worker is free (max_worker_processes = {most})"),
    )
    .hint(
        "Raise max_worker_processes in postgresql.conf and restart the server, or try again later.",
    )
}
