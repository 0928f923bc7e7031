//! Queries that do not write.
//!
//! pgrx's `Spi::get_one` and `SpiClient::update` count as writes and assign an xid to the transaction: the
//! creation of a slot would wait for it, and in a subtransaction it is one of the 64 that a backend
//! advertises (PGPROC_MAX_CACHED_SUBXIDS).

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

/// Makes the effects of the running command so far visible to look-ups.
pub fn see_own_changes() {
    // SAFETY: inside a transaction, outside of parallel mode.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// Makes pg_stat_activity and its like show what is there now: they keep the contents of the transaction's first access.
pub fn see_current_activity() -> Result<(), pgrx::spi::Error> {
    const FORGET: &str = "SELECT pg_catalog.pg_stat_clear_snapshot()";
    Spi::connect(|client| client.select(FORGET, None, &[]).map(|_| ()))
}

/// The first column of the first row. Needs a transaction.
pub fn one<T: FromDatum + IntoDatum>(
    query: &str,
    arguments: &[DatumWithOid<'_>],
) -> Result<Option<T>, pgrx::spi::Error> {
    Spi::connect(|client| {
        let table = client.select(query, Some(1), arguments)?;
        if table.is_empty() {
            return Ok(None);
        }
        table.first().get_one::<T>()
    })
}
