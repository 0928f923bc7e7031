//! Temporary failures, which are not caused by the decoded data.

use pgrx::prelude::*;

use crate::pg::decoding::row_guard::is_passing;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status;

/// Number of consecutive failures after which a lack of memory is attributed to the row: it will not succeed
/// on this server.
const OFTEN: u32 = 3;

/// A temporary lack of resources ends the decoding, which is retried: the row is not lost for it.
pub fn raise_if_passing(failure: &Failure) {
    let is_often = || {
        let entry = status::read(server::my_database()).unwrap_or_default();
        let is_memory = failure.code == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;
        is_memory && entry.repeats >= OFTEN && entry.last_error_code == failure.code as i32
    };
    if is_passing(failure) && !is_often() {
        failure.clone().raise();
    }
}
