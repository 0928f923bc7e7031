//! The workers that serve one database each, as PostgreSQL is asked for them.

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::prelude::*;

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
