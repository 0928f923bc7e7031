//! 64-bit transaction ids, which never wrap around.

use pgrx::prelude::*;

/// The next transaction id to be assigned.
pub fn next() -> u64 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::ReadNextFullTransactionId() }.value
}

/// The 64-bit form of a transaction id from the WAL: it belongs to the epoch of the next id, or to the
/// previous one if it is numerically above that.
pub fn full(xid: pg_sys::TransactionId) -> u64 {
    let next = next();
    let low: u32 = xid.into_inner();
    let candidate = (next & !0xFFFF_FFFF) | u64::from(low);
    if candidate > next {
        candidate.saturating_sub(1 << 32)
    } else {
        candidate
    }
}
