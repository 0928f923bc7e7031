//! Positions in the WAL, and the type `pg_lsn` for SQL functions.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::prelude::*;

/// End of the last WAL record inserted, flushed or not.
pub fn insert_lsn() -> u64 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetXLogInsertRecPtr() }
}

/// End of the WAL that is on disk; on a standby, of what has been replayed.
pub fn flush_lsn() -> u64 {
    // SAFETY: both read shared memory; each is called in the state it is meant for.
    unsafe {
        if super::server::is_in_recovery() {
            pg_sys::GetXLogReplayRecPtr(std::ptr::null_mut())
        } else {
            pg_sys::GetFlushRecPtr(std::ptr::null_mut())
        }
    }
}

/// Flushes the WAL up to `lsn`. Not during recovery.
pub fn flush(lsn: u64) {
    // SAFETY: a position past the end of the WAL is raised as an error.
    unsafe { pg_sys::XLogFlush(lsn) }
}

/// The timeline that new WAL is written to.
pub fn timeline() -> u32 {
    // SAFETY: reads shared memory; outside recovery it is set.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
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
