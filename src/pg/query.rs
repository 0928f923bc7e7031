//! Queries for one value that write nothing.
//!
//! pgrx's `Spi::get_one` counts as a write and gives the transaction an id, which a slot being made
//! would wait for.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

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
