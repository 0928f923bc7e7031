//! Queries that write nothing.
//!
//! pgrx's `Spi::get_one` and `SpiClient::update` count as writes and give the transaction an id: a slot
//! being made would wait for it, and in a subtransaction it is one of the 64 that a backend shows
//! (PGPROC_MAX_CACHED_SUBXIDS).

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// [`Spi::connect`] for queries that see what the running command has made so far.
pub fn connect_now<R>(look: impl FnOnce(&SpiClient<'_>) -> R) -> R {
    // SAFETY: inside a transaction; an error ends the (sub)transaction, and the snapshot with it.
    unsafe {
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let found = Spi::connect(look);
    // SAFETY: the snapshot pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    found
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
