//! incr_as_of(): a table's rows as of a moment.

use std::time::Duration;

use pgrx::prelude::*;

use super::{ensure_same_version, or_raise, requests};
use crate::as_of;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::preflight;

/// How long to wait for a change of the table's columns that the files do not have yet.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// The rows of a table as of a moment, out of the files: `SELECT * FROM incr_as_of(NULL::public.orders, '14:29')`. The
/// result is one for the executor, which takes it from the call.
#[pg_extern(sql = r#"
CREATE FUNCTION "incr_as_of"(
    "relation" anyelement,
    "moment" text
) RETURNS SETOF anyelement
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn incr_as_of(
    _relation: Option<pgrx::AnyElement>,
    moment: Option<ServerText>,
    fcinfo: pg_sys::FunctionCallInfo,
) {
    ensure_same_version();
    or_raise(preflight::ensure_preloaded());
    let flush = || requests::flush(server::my_database(), FLUSH_LIMIT).map(|_| ());
    or_raise(as_of::answer(fcinfo, moment, &flush));
}
