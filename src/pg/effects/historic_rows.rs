//! Catalog rows under the historic snapshot: searched by an index, or fetched by known TIDs.
//!
//! A look-up reads a few catalogs repeatedly. Relations that it has opened stay open until its subtransaction
//! is rolled back, which closes them.

use std::ops::ControlFlow;

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::catalog::{fetch, place};
use super::changed_rows::{Place, Places};
use crate::pg::catalogs::scan::{scan_key, Key};
use crate::pg::compat;
use crate::pg::decoding::value::Row;

const LOCK: i32 = pg_sys::AccessShareLock as i32;

/// The relations opened by one look-up.
#[derive(Default)]
pub struct HistoricRows {
    open: FxHashMap<u32, pg_sys::Relation>,
    /// By the index and the number of its keys.
    scans: FxHashMap<(u32, usize), pg_sys::SysScanDesc>,
    row: Row,
}

impl HistoricRows {
    fn open(&mut self, oid: u32) -> pg_sys::Relation {
        *self.open.entry(oid).or_insert_with(|| {
            // SAFETY: a catalog or an index of one. It is closed with the subtransaction, see above.
            unsafe { pg_sys::relation_open(oid.into(), LOCK) }
        })
    }

    /// True if a catalog's file has no blocks.
    pub fn is_empty(&mut self, catalog: u32) -> bool {
        let relation = self.open(catalog);
        // SAFETY: it is open.
        let blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        };
        blocks == 0
    }

    /// Calls `each` with the rows that match `keys`, in the index's order; the columns are the first ones of
    /// the index, by their numbers in the catalog.
    pub fn search(
        &mut self,
        catalog: u32,
        index: u32,
        keys: &[(i16, Key)],
        mut each: impl FnMut(Place, &Row) -> ControlFlow<()>,
    ) {
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(scan_key).collect();
        let (relation, index_relation) = (self.open(catalog), self.open(index));
        let first = scan_keys.as_mut_ptr();
        let count = scan_keys.len() as i32;
        // SAFETY: both are open. A scan is given keys of the index's own columns when it starts anew. A row is used
        // up before the next one is fetched; its snapshot is the one that is in force for the whole look.
        unsafe {
            let scan = match self.scans.get(&(index, keys.len())) {
                Some(scan) => {
                    for (number, key) in (1..).zip(&mut scan_keys) {
                        key.sk_attno = number;
                    }
                    pg_sys::index_rescan((**scan).iscan, first, count, std::ptr::null_mut(), 0);
                    *scan
                }
                None => {
                    let snapshot = std::ptr::null_mut();
                    let scan = pg_sys::systable_beginscan_ordered(
                        relation,
                        index_relation,
                        snapshot,
                        count,
                        first,
                    );
                    self.scans.insert((index, keys.len()), scan);
                    scan
                }
            };
            loop {
                let direction = pg_sys::ScanDirection::ForwardScanDirection;
                let tuple = pg_sys::systable_getnext_ordered(scan, direction);
                if tuple.is_null() {
                    break;
                }
                self.row.deform(tuple, (*relation).rd_att);
                if each(place(tuple), &self.row).is_break() {
                    break;
                }
            }
        }
    }

    /// The file of a catalog, for the duration of the look-up.
    pub fn file(&mut self, catalog: u32) -> u32 {
        let relation = self.open(catalog);
        // SAFETY: it is open.
        unsafe { compat::storage(relation) }.file_number.to_u32()
    }

    /// Calls `each` with the rows with these TIDs; false if they no longer exist.
    pub fn fetch(
        &mut self,
        catalog: u32,
        places: &Places,
        mut each: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> bool {
        if places.at.is_empty() {
            return true;
        }
        if self.file(catalog) != places.file {
            return false;
        }
        let relation = self.open(catalog);
        for place in &places.at {
            // SAFETY: it is open; the block was there when the place was read, and the file is not cut off below a row
            // that a slot may still need.
            let found = unsafe {
                fetch(relation, *place, |tuple| {
                    self.row.deform(tuple, (*relation).rd_att);
                    each(&self.row)
                })
            };
            match found {
                None => return false,
                Some(found) if found.is_break() => break,
                Some(_) => {}
            }
        }
        true
    }
}
