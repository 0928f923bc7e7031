//! What a worker of ours calls itself: in `ps`, and at the beginning of each of its lines in the server's log.
//!
//! `pg_incrbackup: capture of shop`. A background worker has neither `%d` nor `%a` in log_line_prefix (elog.c takes both
//! from the connection of a client), so the text of a line is the only place for the database. `backend_type` in
//! pg_stat_activity, `%b` in log_line_prefix, remains `pg_incrbackup capture`: what monitoring selects by does not depend
//! on a database's name.

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use pgrx::prelude::*;

use super::{database_name, signals, transaction};
use crate::pg::failure::Failure;

/// What every line of ours begins with where no worker says it.
const PLAIN: &str = "pg_incrbackup";

static TITLE: OnceLock<String> = OnceLock::new();

/// Gives this process, a worker of ours that has connected, its title: from its type (`pg_incrbackup capture`) and the
/// database that it serves, which is its argument. The launcher serves none, and keeps its name. Outside a transaction.
pub fn take() {
    let Some((kind, database)) = entry().filter(|(_, database)| *database != pg_sys::InvalidOid)
    else {
        return;
    };
    let Ok(title) = CString::new(format!("{PLAIN}: {kind} of {}", shown(database))) else {
        return;
    };
    // SAFETY: ps_status.c copies the text; this process is a background worker, whose first title the postmaster's child
    // has set in the same way (StartBackgroundWorker).
    unsafe { pg_sys::init_ps_display(title.as_ptr()) };
    // The first one holds: a worker serves one database.
    TITLE.get_or_init(|| title.to_string_lossy().into_owned());
}

/// `capture` and its argument, of a worker whose type is `pg_incrbackup capture`.
fn entry() -> Option<(String, pg_sys::Oid)> {
    // SAFETY: null, or the entry of this background worker, whose type is NUL-terminated.
    let (kind, argument) = unsafe {
        let entry = pg_sys::MyBgworkerEntry.as_ref()?;
        let kind = CStr::from_ptr(entry.bgw_type.as_ptr());
        (kind.to_string_lossy().into_owned(), entry.bgw_main_arg)
    };
    let kind = kind.strip_prefix("pg_incrbackup ")?.to_owned();
    Some((kind, pg_sys::Oid::from(argument.value() as u32)))
}

/// The name of a database for people, on one line; its OID if it does not exist any more.
pub fn shown(database: pg_sys::Oid) -> String {
    // SAFETY: a plain question about this process.
    let is_in_transaction = unsafe { pg_sys::IsTransactionState() };
    let name = if is_in_transaction {
        database_name(database)
    } else {
        let looked = transaction::run(|| Ok::<_, Failure>(database_name(database)));
        looked.ok().flatten()
    };
    let name = name.map(|name| String::from_utf8_lossy(&name).replace(char::is_control, "?"));
    name.unwrap_or_else(|| format!("database {}", database.to_u32()))
}

/// True in a worker that has its title.
pub fn is_worker() -> bool {
    TITLE.get().is_some()
}

/// With which a line of this process begins: its title in a worker of ours.
pub fn own() -> &'static str {
    TITLE.get().map_or(PLAIN, String::as_str)
}

/// A line in the server's log, with the title of this process.
pub fn log(text: &str) {
    signals::telling(|| log!("{}: {text}", own()));
}

/// A line in the server's log about a database, of a process that serves none.
pub fn log_of(database: pg_sys::Oid, text: &str) {
    signals::telling(|| log!("{PLAIN}: {}: {text}", shown(database)));
}
