//! The table replica_identity_set: the tables whose replica identity we have set, and which they had before.
//!
//! It is read as of now and written by heap functions, like ddl_history. Under REPEATABLE READ a query would
//! not see rows that other sessions have added since the transaction's snapshot, and could not write beside
//! them. A process that changes an entry holds an exclusive lock on its table.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use pgrx::prelude::*;

use super::scan::{scan_key, Key};
use crate::pg::ddl::ddl_history::{self, Value};
use crate::pg::decoding::relation::with_relation;

/// The table, and its index by relation.
pub struct Notes {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    /// False where the extension is of a version before 0.4.0, whose table has no column `former`.
    has_former: bool,
}

const RELATION: i16 = 1;
const FORMER: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");

impl Notes {
    /// `None` if the extension is not installed, or the index was dropped.
    pub fn find() -> Option<Notes> {
        let table = ddl_history::find()?.identities()?;
        let (index, columns) = with_relation(table, |relation| {
            // SAFETY: the relation is open; the list is a copy in the current memory context.
            unsafe {
                let list = pg_sys::RelationGetIndexList(relation.as_ptr());
                let index = (!list.is_null()).then(|| (*(*list).elements).oid_value);
                (index, (*relation.tuple_descriptor()).natts)
            }
        })?;
        Some(Notes {
            table,
            index: index?,
            has_former: columns as usize >= FORMER.get(),
        })
    }

    /// `relreplident` as it was before we set it; `None` if we have not. In notes of versions before 0.4.0 it is always DEFAULT.
    pub fn former(&self, relation: pg_sys::Oid) -> Option<u8> {
        let mut former = None;
        self.each(Some(relation), |_, noted, _| {
            former = Some(noted.former);
            ControlFlow::Break(())
        });
        former
    }

    /// All of them.
    pub fn all(&self) -> Vec<Noted> {
        let mut all = Vec::new();
        self.each(None, |_, noted, _| {
            all.push(noted);
            ControlFlow::Continue(())
        });
        all
    }

    /// Notes a table which had this `relreplident`. What is noted already stays.
    pub fn add(&self, relation: pg_sys::Oid, former: u8) {
        if self.former(relation).is_some() {
            return;
        }
        let mut row = vec![Value::Number(relation.to_u32().into()), Value::Now];
        if self.has_former {
            row.push(Value::Char(former));
        }
        ddl_history::write(self.table, &row, |table, tuple| {
            // SAFETY: a tuple formed for this relation.
            unsafe { pg_sys::CatalogTupleInsert(table, tuple) }
        });
    }

    pub fn remove(&self, relation: pg_sys::Oid) {
        let mut is_removed = false;
        self.each(Some(relation), |table, _, tuple| {
            let mut failure = pg_sys::TM_FailureData::default();
            // SAFETY: the place of a row that a snapshot has just seen. Where another transaction that dropped
            // the table has removed it meanwhile, there is nothing to do.
            unsafe {
                let command = pg_sys::GetCurrentCommandId(true);
                let none = std::ptr::null_mut();
                let place = &raw mut (*tuple).t_self;
                pg_sys::heap_delete(table, place, command, none, true, &mut failure, false);
            }
            is_removed = true;
            ControlFlow::Break(())
        });
        if is_removed {
            crate::pg::server::query::see_own_changes();
        }
    }

    /// Calls `look` with the entry of a relation, or with all of them by their OIDs.
    fn each(
        &self,
        relation: Option<pg_sys::Oid>,
        mut look: impl FnMut(pg_sys::Relation, Noted, pg_sys::HeapTuple) -> ControlFlow<()>,
    ) {
        let mut keys: Vec<_> = relation
            .map(|relation| scan_key(&(RELATION, Key::OidIs(relation.to_u32()))))
            .into_iter()
            .collect();
        let lock = pg_sys::RowExclusiveLock as i32;
        // SAFETY: both are opened with a lock and closed; an error ends the (sub)transaction, which closes
        // them too. The row stays in place until the scan goes on.
        unsafe {
            let table = pg_sys::table_open(self.table, lock);
            let index = pg_sys::index_open(self.index, lock);
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let (count, keys) = (keys.len() as i32, keys.as_mut_ptr());
            let scan = pg_sys::systable_beginscan_ordered(table, index, snapshot, count, keys);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            loop {
                let tuple = pg_sys::systable_getnext_ordered(scan, forward);
                if tuple.is_null() {
                    break;
                }
                let noted = self.noted(tuple, (*table).rd_att);
                if look(table, noted, tuple).is_break() {
                    break;
                }
            }
            pg_sys::systable_endscan_ordered(scan);
            pg_sys::UnregisterSnapshot(snapshot);
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            pg_sys::table_close(table, pg_sys::NoLock as i32);
        }
    }

    /// # Safety
    /// A row of the table, and its descriptor.
    unsafe fn noted(&self, tuple: pg_sys::HeapTuple, columns: pg_sys::TupleDesc) -> Noted {
        const FIRST: NonZeroUsize = NonZeroUsize::new(RELATION as usize).expect("not zero");
        // SAFETY: by the caller's promise; both columns are NOT NULL, and passed by value.
        let value = |column| unsafe { pgrx::heap_getattr_raw(tuple, column, columns) };
        let relation = value(FIRST).map_or(0, |value| value.value() as u32);
        let former = self.has_former.then(|| value(FORMER)).flatten();
        Noted {
            relation: relation.into(),
            former: former.map_or(pg_sys::REPLICA_IDENTITY_DEFAULT, |value| {
                value.value() as u8
            }),
        }
    }
}

/// An entry.
pub struct Noted {
    pub relation: pg_sys::Oid,
    /// `relreplident` as it was before we set it.
    pub former: u8,
}
