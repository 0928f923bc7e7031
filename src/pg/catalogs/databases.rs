//! The cluster's databases, for a process that is not connected to any of them.

use std::ffi::CStr;

use pgrx::prelude::*;

/// A row of pg_database.
#[derive(Clone, Debug)]
pub struct Database {
    pub oid: pg_sys::Oid,
    /// Byte for byte: its encoding is not recorded anywhere.
    pub name: Vec<u8>,
    /// False also for one whose DROP DATABASE was interrupted.
    pub allows_connections: bool,
    /// -1: none.
    pub connection_limit: i32,
}

/// DATCONNLIMIT_INVALID_DB of catalog/pg_database.h.
const INVALID: i32 = -2;

/// OIDs of all databases. Needs a transaction.
pub fn all() -> Vec<pg_sys::Oid> {
    rows().into_iter().map(|database| database.oid).collect()
}

/// All databases. Needs a transaction; pg_database is a shared catalog, which can be scanned without a database (as the
/// autovacuum launcher does).
pub fn rows() -> Vec<Database> {
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
            let form = &*form;
            databases.push(Database {
                oid: form.oid,
                name: CStr::from_ptr(form.datname.data.as_ptr())
                    .to_bytes()
                    .to_vec(),
                allows_connections: form.datallowconn && form.datconnlimit != INVALID,
                connection_limit: form.datconnlimit,
            });
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
