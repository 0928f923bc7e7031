//! Positions in the WAL, and the type `pg_lsn` for SQL functions.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::prelude::*;

use crate::pg::server;

/// The end of this server's WAL: flushed, or on a standby replayed.
pub fn current() -> u64 {
    if server::is_in_recovery() {
        // SAFETY: reads shared memory.
        unsafe { pg_sys::GetXLogReplayRecPtr(std::ptr::null_mut()) }
    } else {
        server::wal_flush_lsn()
    }
}

/// A `pg_lsn` of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgLsn(pub u64);

impl PgLsn {
    /// NULL for position 0, which no record has.
    pub fn or_null(lsn: u64) -> Option<PgLsn> {
        (lsn != 0).then_some(PgLsn(lsn))
    }
}

impl_sql_translatable!(PgLsn, "pg_lsn");

impl IntoDatum for PgLsn {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::PG_LSNOID
    }
}

// SAFETY: pg_lsn is passed by value, as its 64 bits.
unsafe impl BoxRet for PgLsn {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the datum is a complete value of the declared type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::from(self.0)) }
    }
}
