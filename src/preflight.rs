//! Checks that precede every operation in a database. Each failure names the setting and the line to write.

use pgrx::prelude::*;

use crate::pg::catalogs::extension;
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc};
use crate::{settings, status};

const PREREQUISITE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;

/// 55000 if the library was not preloaded: no workers, no status board, no DDL recording.
pub fn ensure_preloaded() -> Result<(), Failure> {
    if status::is_there() {
        return Ok(());
    }
    let preloaded = guc::value(c"shared_preload_libraries").unwrap_or_default();
    let list = match preloaded.trim() {
        "" => "pg_incrbackup".to_string(),
        others => format!("{others}, pg_incrbackup"),
    };
    Err(Failure::new(PREREQUISITE, "pg_incrbackup is not preloaded").hint(format!(
        "Add the line shared_preload_libraries = '{list}' to postgresql.conf and restart the server."
    )))
}

/// 55000 if the extension's objects in this database have another version than the library: the result of
/// such a function would not match its declaration.
pub fn ensure_same_version() -> Result<(), Failure> {
    const LIBRARY: &str = env!("CARGO_PKG_VERSION");
    let Some(objects) = extension::own_version().filter(|objects| objects != LIBRARY) else {
        return Ok(());
    };
    let message = format!(
        "extension pg_incrbackup has version {objects} in this database, but its library has version {LIBRARY}"
    );
    Err(Failure::new(PREREQUISITE, message)
        .detail("Capture continues.")
        .hint(
            "If the library was updated, restart the server if you have not done so, then run ALTER EXTENSION \
             pg_incrbackup UPDATE in each database that has the extension.",
        ))
}

/// 25006 on a standby: nothing can be decoded or set up there before it is promoted.
pub fn ensure_not_in_recovery() -> Result<(), Failure> {
    if !server::is_in_recovery() {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION;
    Err(Failure::new(
        code,
        "this server is a standby, in recovery: pg_incrbackup writes on the primary only",
    )
    .hint("Connect to the primary, or promote this server first."))
}

/// 53400 if the board has no entry for another database.
pub fn ensure_room(database: pg_sys::Oid) -> Result<(), Failure> {
    if status::has_room(database) {
        Ok(())
    } else {
        Err(no_room())
    }
}

/// The error if the board has none.
pub fn no_room() -> Failure {
    let most = settings::max_databases();
    let message =
        format!("too many databases are backed up: pg_incrbackup.max_databases is {most}");
    Failure::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        message,
    )
    .hint(format!(
        "Add the line pg_incrbackup.max_databases = {} to postgresql.conf and restart the server.",
        (2 * most).min(settings::MOST_DATABASES)
    ))
}
