//! The cluster's databases, for a process that is not connected to any of them.

use pgrx::prelude::*;

/// OIDs of all databases. Needs a transaction; pg_database is a shared catalog, which can be scanned
/// without a database (as the autovacuum launcher does).
pub fn all() -> Vec<pg_sys::Oid> {
    let mut databases = Vec::new();
    // SAFETY: a plain scan of a shared catalog; each tuple is read before the next is asked for.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
            databases.push((*form).oid);
        }
        end_scan(scan);
        pg_sys::table_close(relation, lock);
    }
    databases
}

/// table_endscan of access/tableam.h, an inline function.
///
/// # Safety
/// `scan` must be a table scan that has begun.
unsafe fn end_scan(scan: pg_sys::TableScanDesc) {
    // SAFETY: promised by the caller; every table access method has scan_end.
    unsafe {
        let methods = (*(*scan).rs_rd).rd_tableam;
        if let Some(scan_end) = (*methods).scan_end {
            scan_end(scan);
        }
    }
}
