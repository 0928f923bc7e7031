//! Where this database's files are, as the settings say.

use archive::{ArchiveRoot, ChainDir, DatabaseDir};
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server;
use crate::settings;

/// The root of the archive, checked, and made where it is missing.
pub fn root() -> Result<ArchiveRoot, Failure> {
    let directory = settings::directory().ok_or_else(no_directory)?;
    let root = ArchiveRoot::open(&directory, &server::data_directory())?;
    root.ensure_system_identifier(server::system_identifier())?;
    Ok(root)
}

/// The directory of the database `name`, made where it is missing.
pub fn open(database: pg_sys::Oid, name: &str) -> Result<DatabaseDir, Failure> {
    let found = root()?.open_database(server::system_identifier(), database.to_u32(), name)?;
    found.ensure_restore_files()?;
    Ok(found)
}

/// The directory of a database, where there is one already.
pub fn find(database: pg_sys::Oid) -> Result<Option<DatabaseDir>, Failure> {
    Ok(root()?.find_database(server::system_identifier(), database.to_u32())?)
}

/// The newest chain of a database, ended or not.
pub fn latest_chain(database: pg_sys::Oid) -> Result<Option<ChainDir>, Failure> {
    match find(database)? {
        Some(found) => Ok(found.latest_chain()?),
        None => Ok(None),
    }
}

/// Notes that nothing follows in the newest chain of a database; the first reason stays.
pub fn end_chain(database: pg_sys::Oid, reason: &str) -> Result<(), Failure> {
    match latest_chain(database)? {
        Some(mut chain) => Ok(chain.end_here(reason)?),
        None => Ok(()),
    }
}

fn no_directory() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "pg_incrbackup.directory is not set",
    )
    .hint(
        "Add a line like pg_incrbackup.directory = '/var/backups/pg_incrbackup' to \
         postgresql.conf and reload the configuration.",
    )
}
