//! incr_mark(): names for points of time.

use pgrx::prelude::*;

use super::{ensure_same_version, or_raise, requests};
use crate::ddl_log::mark;
use crate::pg::failure::Failure;
use crate::pg::server::{self, transaction};
use crate::pg::text::ServerText;
use crate::preflight;

/// Gives this transaction a name, to which a restore can be made (`--until-mark`). Of several transactions with a name
/// the newest counts.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_mark(name: Option<ServerText>) {
    ensure_same_version();
    or_raise(write(name));
}

/// It needs a slot, so that it is decoded, but no running worker.
fn write(name: Option<ServerText>) -> Result<(), Failure> {
    preflight::ensure_preloaded()?;
    preflight::ensure_not_in_recovery()?;
    transaction::ensure_may_write("incr_mark()")?;
    requests::ensure_slot(server::my_database())?;
    let name = name.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;
        Failure::new(code, "the name of a mark must not be null")
    })?;
    mark::write(&name)
}
