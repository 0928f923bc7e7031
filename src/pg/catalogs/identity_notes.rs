//! The table replica_identity_set: the tables whose replica identity we have set.
//!
//! It is read as of now and written by heap functions, like ddl_history. Under REPEATABLE READ a query would
//! not see rows that other sessions have added since the transaction's snapshot, and could not write beside
//! them. A process that changes an entry holds an exclusive lock on its table.

use pgrx::prelude::*;

use super::scan::{scan_key, Key};
use crate::pg::ddl::ddl_history::{self, Value};
use crate::pg::decoding::relation::with_relation;

/// The table, and its index by relation.
pub struct Notes {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
}

const RELATION: i16 = 1;

impl Notes {
    /// `None` if the extension is not installed, or the index was dropped.
    pub fn find() -> Option<Notes> {
        let table = ddl_history::find()?.identities()?;
        let index = with_relation(table, |relation| {
            // SAFETY: the relation is open; the list is a copy in the current memory context.
            unsafe {
                let list = pg_sys::RelationGetIndexList(relation.as_ptr());
                (!list.is_null()).then(|| (*(*list).elements).oid_value)
            }
        });
        Some(Notes {
            table,
            index: index.flatten()?,
        })
    }

    pub fn has(&self, relation: pg_sys::Oid) -> bool {
        self.at(relation, |_, _| ()).is_some()
    }

    pub fn add(&self, relation: pg_sys::Oid) {
        if self.has(relation) {
            return;
        }
        let row = [Value::Number(relation.to_u32().into()), Value::Now];
        ddl_history::write(self.table, &row, |table, tuple| {
            // SAFETY: a tuple formed for this relation.
            unsafe { pg_sys::CatalogTupleInsert(table, tuple) }
        });
    }

    pub fn remove(&self, relation: pg_sys::Oid) {
        let removed = self.at(relation, |table, tuple| {
            let mut failure = pg_sys::TM_FailureData::default();
            // SAFETY: the place of a row that a snapshot has just seen. Where another transaction that dropped
            // the table has removed it meanwhile, there is nothing to do.
            unsafe {
                let command = pg_sys::GetCurrentCommandId(true);
                let none = std::ptr::null_mut();
                let place = &raw mut (*tuple).t_self;
                pg_sys::heap_delete(table, place, command, none, true, &mut failure, false);
            }
        });
        if removed.is_some() {
            crate::pg::server::query::see_own_changes();
        }
    }

    /// Calls `look` with the entry, if there is one.
    fn at<R>(
        &self,
        relation: pg_sys::Oid,
        look: impl FnOnce(pg_sys::Relation, pg_sys::HeapTuple) -> R,
    ) -> Option<R> {
        let mut key = scan_key(&(RELATION, Key::OidIs(relation.to_u32())));
        let lock = pg_sys::RowExclusiveLock as i32;
        // SAFETY: both are opened with a lock and closed; an error ends the (sub)transaction, which closes
        // them too. The row stays in place until the scan goes on.
        unsafe {
            let table = pg_sys::table_open(self.table, lock);
            let index = pg_sys::index_open(self.index, lock);
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let scan = pg_sys::systable_beginscan_ordered(table, index, snapshot, 1, &mut key);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let tuple = pg_sys::systable_getnext_ordered(scan, forward);
            let found = (!tuple.is_null()).then(|| look(table, tuple));
            pg_sys::systable_endscan_ordered(scan);
            pg_sys::UnregisterSnapshot(snapshot);
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            pg_sys::table_close(table, pg_sys::NoLock as i32);
            found
        }
    }
}
