//! Invalid indexes, which a failed CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY leaves behind. pg_dump
//! omits them, and so does the stream, until a REINDEX makes them valid.

use pgrx::prelude::*;

/// True for an index with storage that is not valid.
pub fn is_unfinished(relation: pg_sys::Oid) -> bool {
    // SAFETY: look-ups by OID; the row is released.
    unsafe {
        if pg_sys::get_rel_relkind(relation) as u8 != pg_sys::RELKIND_INDEX {
            return false;
        }
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::INDEXRELID as i32,
            pg_sys::Datum::from(relation),
        );
        if row.is_null() {
            return false;
        }
        let is_valid =
            (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(row)).indisvalid;
        pg_sys::ReleaseSysCache(row);
        !is_valid
    }
}
