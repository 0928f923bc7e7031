//! incr_read(): reads the archive over a connection, for clients without shell access to the server.

use archive::reading::{self, Name};
use pgrx::prelude::*;

use super::{ensure_same_version, or_raise};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::ServerText;
use crate::place;

/// Maximum result of one call: a bytea, and its text form, must stay below 1 GB.
const MOST: i32 = 256 * 1024 * 1024;

/// At most `length` bytes of a file of this database's archive from `offset` on, none at its end. The file's
/// name is as listed by `incr_read('', 0, …)`, which returns a line with size and name of each file.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn incr_read(file: ServerText, offset: i64, length: i32) -> Vec<u8> {
    ensure_same_version();
    or_raise(read(&file.to_utf8(), offset, length))
}

fn read(file: &str, offset: i64, length: i32) -> Result<Vec<u8>, Failure> {
    let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    let Ok(offset) = u64::try_from(offset) else {
        return Err(
            Failure::new(code, "offset must not be negative").hint("A file begins at offset 0.")
        );
    };
    if !(0..=MOST).contains(&length) {
        let message = format!("length must be between 0 and {MOST}");
        return Err(Failure::new(code, message).hint("Read a large file in parts."));
    }
    let length = length as usize;
    let database = place::find(server::my_database())?;
    if file.is_empty() {
        let list = database.as_ref().map(reading::list).transpose()?;
        let list = list.unwrap_or_default().into_bytes();
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(list.len());
        let end = start.saturating_add(length).min(list.len());
        return Ok(list[start..end].to_vec());
    }
    let name = Name::parse(file).ok_or_else(|| {
        Failure::new(code, format!("invalid archive file name \"{file}\""))
            .hint("SELECT convert_from(incr_read('', 0, 1000000), 'UTF8') lists the valid names.")
    })?;
    let part = match &database {
        Some(database) => reading::read(database, &name, offset, length)?,
        None => None,
    };
    part.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_UNDEFINED_FILE;
        Failure::new(
            code,
            format!("file \"{file}\" does not exist in the archive"),
        )
        .hint("It may have been closed, compressed or removed by retention: list the names again.")
    })
}
