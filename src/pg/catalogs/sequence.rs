//! The state of a sequence, read from its only row without SQL: names in a database with an encoding other
//! than UTF-8 cannot be part of a query of ours.

use pgrx::prelude::*;

/// The result of `SELECT * FROM sequence`, in the order of its columns (FormData_pg_sequence_data of
/// commands/sequence.h).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub last_value: i64,
    /// How many more values are covered by the WAL record of the last fetch.
    pub log_count: i64,
    pub is_called: bool,
}

/// The state of a sequence; `None` if it does not exist. Needs a transaction.
pub fn state(sequence: pg_sys::Oid) -> Option<State> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is locked while it is read. Without an index, systable_beginscan scans
    // the heap of any relation; the one row of a sequence is frozen, so every snapshot sees it, and
    // it is copied before the scan ends. An error in between ends the transaction, which closes all.
    unsafe {
        let relation = pg_sys::try_relation_open(sequence, lock);
        if relation.is_null() {
            return None;
        }
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            none,
            0,
            std::ptr::null_mut(),
        );
        let tuple = pg_sys::systable_getnext(scan);
        let state = (!tuple.is_null()).then(|| *pg_sys::heap_tuple_get_struct::<State>(tuple));
        pg_sys::systable_endscan(scan);
        pg_sys::relation_close(relation, lock);
        state
    }
}
