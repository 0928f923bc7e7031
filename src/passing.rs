//! Failures that say nothing about what is decoded: they pass.

use pgrx::prelude::*;

use crate::pg::decoding::row_guard::is_passing;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::status;

/// Failures in a row after which a lack of memory counts as the row's own: on this server it will not pass.
const OFTEN: u32 = 3;

/// What the server lacks for the moment ends the decoding, which is tried again: the row is not lost for it.
pub fn raise_if_passing(failure: &Failure) {
    let is_often = || {
        let entry = status::read(server::my_database()).unwrap_or_default();
        let is_memory = failure.code == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;
        is_memory && entry.failures >= OFTEN && entry.last_error.get().contains(&failure.in_full())
    };
    if is_passing(failure) && !is_often() {
        failure.clone().raise();
    }
}
