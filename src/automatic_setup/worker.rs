//! The process that prepares a database for its setup: the checks of incr_setup(), and the extension.

use pgrx::prelude::*;

use super::update;
use crate::pg::catalogs::extension;
use crate::pg::ddl;
use crate::pg::failure::Failure;
use crate::pg::server::{signals, title, transaction};
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
        Ok(()) => update(database, |setup| {
            setup.is_prepared = true;
            setup.not_before = 0;
        }),
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
    title::log(&format!(
        "created the extension in schema \"{}\", because pg_incrbackup.databases selects the database",
        ServerText(schema).to_utf8()
    ));
    Ok(())
}

/// The schema in which CREATE EXTENSION would create it, in a session of this database that sets nothing. As bytes of
/// the database's encoding.
fn schema() -> Result<Vec<u8>, Failure> {
    let (path, first) = ddl::schema::of_new_sessions();
    first.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME;
        Failure::new(
            code,
            "there is no schema for the extension in this database",
        )
        .detail(format!(
            "Its search_path is {}.",
            ServerText(path).to_utf8()
        ))
        .hint(
            "Create one of them, or run CREATE EXTENSION pg_incrbackup SCHEMA … in that database.",
        )
    })
}
