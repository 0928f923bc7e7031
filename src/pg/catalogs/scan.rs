//! Rows of a catalog by an index, as of the current point of the transaction being decoded (decoding sets up
//! a historic snapshot), or any version of a row that still exists.

use std::ops::ControlFlow;

use pgrx::prelude::*;

use crate::pg::decoding::value::Row;

/// A catalog with the index to search it by.
#[derive(Clone, Copy)]
pub struct Catalog {
    pub table: u32,
    pub index: u32,
}

/// The condition for a column.
#[derive(Clone, Copy)]
pub enum Key {
    OidIs(u32),
    SmallFrom(i16),
    IntegerIs(i32),
    IntegerFrom(i32),
    IntegerTo(i32),
}

/// The rows that are visible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that the transaction being decoded sees.
    Visible,
    /// All that exist, including dead ones.
    Any,
}

/// Calls `each` with the rows that match all keys (column number from 1, key), in the index's order, or from
/// its end. Inside `each` a snapshot is registered, so TOASTed values can be read.
pub fn scan(
    catalog: Catalog,
    keys: &[(i16, Key)],
    versions: Versions,
    is_backward: bool,
    mut each: impl FnMut(&Row) -> ControlFlow<()>,
) {
    let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(scan_key).collect();
    let direction = if is_backward {
        pg_sys::ScanDirection::BackwardScanDirection
    } else {
        pg_sys::ScanDirection::ForwardScanDirection
    };
    let lock = pg_sys::AccessShareLock as i32;
    let mut row = Row::default();
    // SAFETY: catalogs and indexes that initdb made, closed again below; an error ends the
    // transaction, which closes them too. A row is used up before the next one is fetched.
    unsafe {
        let table = pg_sys::table_open(catalog.table.into(), lock);
        let index = pg_sys::index_open(catalog.index.into(), lock);
        let snapshot = match versions {
            Versions::Visible => std::ptr::null_mut(),
            Versions::Any => &raw mut pg_sys::SnapshotAnyData,
        };
        let count = scan_keys.len() as i32;
        let keys = scan_keys.as_mut_ptr();
        let scan = pg_sys::systable_beginscan_ordered(table, index, snapshot, count, keys);
        loop {
            let tuple = pg_sys::systable_getnext_ordered(scan, direction);
            if tuple.is_null() {
                break;
            }
            row.deform(tuple, (*table).rd_att);
            if each(&row).is_break() {
                break;
            }
        }
        pg_sys::systable_endscan_ordered(scan);
        pg_sys::index_close(index, lock);
        pg_sys::table_close(table, lock);
    }
}

/// As SQL has it: the column is what the key says.
pub(in crate::pg) fn scan_key((column, key): &(i16, Key)) -> pg_sys::ScanKeyData {
    let (strategy, function, value): (u32, u32, pg_sys::Datum) = match *key {
        Key::OidIs(oid) => (
            pg_sys::BTEqualStrategyNumber,
            pg_sys::F_OIDEQ,
            pg_sys::Oid::from(oid).into(),
        ),
        Key::SmallFrom(value) => (
            pg_sys::BTGreaterEqualStrategyNumber,
            pg_sys::F_INT2GE,
            value.into(),
        ),
        Key::IntegerIs(value) => (
            pg_sys::BTEqualStrategyNumber,
            pg_sys::F_INT4EQ,
            value.into(),
        ),
        Key::IntegerFrom(value) => (
            pg_sys::BTGreaterEqualStrategyNumber,
            pg_sys::F_INT4GE,
            value.into(),
        ),
        Key::IntegerTo(value) => (
            pg_sys::BTLessEqualStrategyNumber,
            pg_sys::F_INT4LE,
            value.into(),
        ),
    };
    let mut scan_key = pg_sys::ScanKeyData::default();
    // SAFETY: fills what it is given; the functions are built in.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut scan_key,
            *column,
            strategy as u16,
            function.into(),
            value,
        )
    };
    scan_key
}
