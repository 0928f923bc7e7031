//! The process that prepares a database for its setup: the checks of incr_setup(), and the extension.

use pgrx::prelude::*;

use super::update;
use crate::pg::catalogs::extension;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, signals, transaction};
use crate::pg::text::ServerText;
use crate::{backup, lost_extension, workers};

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_setup_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    // It is tried again when the command is over.
    if !workers::may_connect(database, |entry, me| entry.setup.pid = me) {
        return;
    }
    signals::at_exit(|| update(workers::served_database(), |setup| setup.pid = 0));
    signals::end_on_sigterm();
    workers::connect(Some(database));
    match transaction::run(|| prepare(database)) {
        Ok(()) => update(database, |setup| setup.is_prepared = true),
        Err(failure) => backup::note_setup_failure(database, &failure),
    }
    update(database, |setup| setup.pid = 0);
    workers::wake_launcher();
}

fn prepare(database: pg_sys::Oid) -> Result<(), Failure> {
    backup::preflight::check(database)?;
    if extension::own_oid().is_some() {
        return Ok(());
    }
    let schema = schema()?;
    lost_extension::create_in(&schema);
    let name = ServerText(server::database_name(database).unwrap_or_default()).to_utf8();
    log!(
        "pg_incrbackup: created the extension in schema \"{}\" of database \"{name}\", which pg_incrbackup.databases selects",
        ServerText(schema).to_utf8()
    );
    Ok(())
}

/// The schema in which CREATE EXTENSION would create it, in a session of this database that sets nothing: the first of
/// search_path that exists. As bytes of the database's encoding.
fn schema() -> Result<Vec<u8>, Failure> {
    const DEFAULT: &str = "SELECT pg_catalog.set_config('search_path', reset_val, true) \
        FROM pg_catalog.pg_settings WHERE name = 'search_path'";
    const NEUTRAL: &str =
        "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)";
    const FIRST: &str = "SELECT pg_catalog.convert_to(schema::text, pg_catalog.getdatabaseencoding()) \
        FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path (schema, place) \
        WHERE schema OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.name ORDER BY place LIMIT 1";
    let path = query::one::<String>(DEFAULT, &[])?.unwrap_or_default();
    let first = query::one::<Vec<u8>>(FIRST, &[])?;
    query::one::<String>(NEUTRAL, &[])?;
    first.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME;
        Failure::new(
            code,
            "there is no schema for the extension in this database",
        )
        .detail(format!("Its search_path is {path}."))
        .hint(
            "Create one of them, or run CREATE EXTENSION pg_incrbackup SCHEMA … in that database.",
        )
    })
}
