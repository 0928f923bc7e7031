//! Differences between PostgreSQL 15 and 18 in structures that several modules read. Functions here hide
//! them; nothing else checks the version.

use pgrx::prelude::*;

/// The old (`before`) and new row of a decoded change, as heap tuples; null where there is none.
///
/// # Safety
/// `change` must be the change handed to an output plugin's change callback.
pub unsafe fn change_tuples(
    change: *mut pg_sys::ReorderBufferChange,
) -> (pg_sys::HeapTuple, pg_sys::HeapTuple) {
    // SAFETY: the caller passes an INSERT, UPDATE or DELETE, for which `tp` is the live member.
    let tp = unsafe { (*change).data.tp };
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let tuple = |buffer: *mut pg_sys::ReorderBufferTupleBuf| {
        if buffer.is_null() {
            std::ptr::null_mut()
        } else {
            // SAFETY: a tuple buffer starts its life with an initialized HeapTupleData inside.
            unsafe { &raw mut (*buffer).tuple }
        }
    };
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let tuple = |tuple: pg_sys::HeapTuple| tuple;
    (tuple(tp.oldtuple), tuple(tp.newtuple))
}

/// Attribute `index` (from 0) of a row type.
///
/// # Safety
/// `descriptor` must be valid and `index` below its `natts`.
pub unsafe fn attribute<'a>(
    descriptor: pg_sys::TupleDesc,
    index: usize,
) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return &(*descriptor).attrs.as_slice((*descriptor).natts as usize)[index];
        #[cfg(feature = "pg18")]
        return &*pg_sys::TupleDescAttr(descriptor, index as i32);
    }
}

/// Acquires the slot `name` for this process. Raises an error if it is active elsewhere or invalidated.
pub fn acquire_slot(name: &std::ffi::CStr) {
    // SAFETY: the name is NUL-terminated; errors are raised as PostgreSQL errors.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::ReplicationSlotAcquire(name.as_ptr(), true);
        #[cfg(feature = "pg18")]
        pg_sys::ReplicationSlotAcquire(name.as_ptr(), true, true);
    }
}

/// Database and file number of a relation's storage as in WAL records.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Locator {
    pub tablespace: pg_sys::Oid,
    pub database: pg_sys::Oid,
    pub file_number: pg_sys::Oid,
}

/// The storage of an open relation.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn storage(relation: pg_sys::Relation) -> Locator {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        let (tablespace, database, file_number) = {
            let node = (*relation).rd_node;
            (node.spcNode, node.dbNode, node.relNode)
        };
        #[cfg(not(feature = "pg15"))]
        let (tablespace, database, file_number) = {
            let locator = (*relation).rd_locator;
            (locator.spcOid, locator.dbOid, locator.relNumber)
        };
        Locator {
            tablespace,
            database,
            file_number,
        }
    }
}
