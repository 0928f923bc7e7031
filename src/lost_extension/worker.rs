//! The process that re-creates a lost extension: one pass over one database.

use archive::escape::percent_decode;
use pgrx::prelude::*;

use super::{found_again, make_in, update};
use crate::pg::catalogs::extension;
use crate::pg::ddl;
use crate::pg::failure::Failure;
use crate::pg::server::{signals, title, transaction};
use crate::{status, workers};

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_extension_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    // It is due again when the command is over.
    if !workers::may_connect(database, |entry, me| entry.extension.pid = me) {
        return update(database, |extension| extension.is_due = true);
    }
    signals::at_exit(|| update(workers::served_database(), |extension| extension.pid = 0));
    signals::end_on_sigterm();
    workers::connect(Some(database));
    match transaction::run(|| make_where_possible(database)) {
        Ok(true) => update(database, found_again),
        Ok(false) => update(database, |extension| {
            extension.is_lost = true;
            extension.error.set("");
        }),
        Err(failure) => note_failure(database, failure),
    }
    update(database, |extension| extension.pid = 0);
    workers::wake_launcher();
}

/// True if the extension exists afterwards; false if its schema does not.
fn make_where_possible(database: pg_sys::Oid) -> Result<bool, Failure> {
    if extension::own_oid().is_some() {
        return Ok(true);
    }
    let noted = status::read(database).unwrap_or_default().extension.schema;
    let schema = percent_decode(noted.get().as_bytes()).unwrap_or_default();
    if schema.is_empty() || !ddl::schema::exists(&schema) {
        return Ok(false);
    }
    make_in(&schema);
    title::log(
        "re-created the extension, which was dropped with its schema; a base backup follows",
    );
    Ok(true)
}

/// Records the reason on the board, and logs it unless it is the same as before.
fn note_failure(database: pg_sys::Oid, failure: Failure) {
    let message = failure.in_full();
    let is_new = status::update(database, |entry| {
        let before = entry.extension.error.get();
        entry.extension.is_lost = true;
        entry.extension.error.set(&message);
        before != entry.extension.error.get()
    });
    if is_new == Some(true) {
        const HINT: &str =
            "This is retried; running CREATE EXTENSION pg_incrbackup has the same effect.";
        failure.hint(HINT).log(PgLogLevel::WARNING);
    }
}
