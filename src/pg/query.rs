//! Queries that write nothing.
//!
//! pgrx's `Spi::get_one` and `SpiClient::update` count as writes and give the transaction an id: a slot
//! being made would wait for it, and in a subtransaction it is one of the 64 that a backend shows
//! (PGPROC_MAX_CACHED_SUBXIDS).

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiTupleTable};

use super::ddl_catalog::with_bytes;

thread_local! {
    /// Never freed: when the process ends, PostgreSQL's memory goes before ours.
    static KEPT: RefCell<HashMap<&'static str, &'static OwnedPreparedStatement>> = RefCell::default();
}

/// Runs a query of [`with_bytes`] by a plan that is kept for the next time: planning a look at the
/// catalogs takes several times as long as the look.
pub fn select_kept<'conn>(
    client: &SpiClient<'conn>,
    query: &'static str,
    arguments: &[DatumWithOid<'_>],
) -> spi::Result<SpiTupleTable<'conn>> {
    let known = KEPT.with_borrow(|kept| kept.get(query).copied());
    let statement = match known {
        Some(statement) => statement,
        None => {
            let types: Vec<PgOid> = arguments.iter().map(|a| a.oid().into()).collect();
            let prepared = client.prepare(with_bytes(query).as_str(), &types)?;
            let kept: &'static OwnedPreparedStatement = Box::leak(Box::new(prepared.keep()));
            KEPT.with_borrow_mut(|all| all.insert(query, kept));
            kept
        }
    };
    client.select(statement, None, arguments)
}

/// Lets look-ups find what the running command has made so far.
pub fn see_own_changes() {
    // SAFETY: inside a transaction, outside of parallel mode.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// [`Spi::connect`] for queries that see what the running command has made so far.
pub fn connect_now<R>(look: impl FnOnce(&SpiClient<'_>) -> R) -> R {
    see_own_changes();
    // SAFETY: inside a transaction; an error ends the (sub)transaction, and the snapshot with it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
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
