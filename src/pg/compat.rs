//! Differences between PostgreSQL 15 and 18 in structures that several modules read. Functions here hide
//! them; nothing else checks the version.

use pgrx::prelude::*;

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
use crate::pg::server::signals;

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

/// Creates an ephemeral logical slot, which this process then holds. Failover slots exist from 17 on.
pub fn create_slot(
    name: &std::ffi::CStr,
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))] failover: bool,
) {
    let ephemeral = pg_sys::ReplicationSlotPersistency::RS_EPHEMERAL;
    // SAFETY: the name is NUL-terminated; two-phase decoding and sync are off.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        pg_sys::ReplicationSlotCreate(name.as_ptr(), true, ephemeral, false);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        pg_sys::ReplicationSlotCreate(name.as_ptr(), true, ephemeral, false, failover, false);
    }
}

/// Sets the failover property of the slot `name`, which it acquires and releases. Raises an error if it does not exist,
/// and on a standby. Does nothing before 17.
pub fn alter_slot(
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))]
    name: &std::ffi::CStr,
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))] failover: bool,
) {
    // SAFETY: the name is NUL-terminated; null stands for "as it is".
    #[cfg(feature = "pg17")]
    unsafe {
        pg_sys::ReplicationSlotAlter(name.as_ptr(), failover);
    }
    // SAFETY: as above.
    #[cfg(feature = "pg18")]
    unsafe {
        pg_sys::ReplicationSlotAlter(name.as_ptr(), &failover, std::ptr::null());
    }
}

/// Whether a slot is a failover slot; `None` before 17, which has none.
pub fn is_failover_slot(
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))]
    data: &pg_sys::ReplicationSlotPersistentData,
) -> Option<bool> {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return None;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return Some(data.failover);
}

/// Whether a slot is kept in step with one of the primary, as only a standby's can be; `None` before 17.
pub fn is_synced_slot(
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))]
    data: &pg_sys::ReplicationSlotPersistentData,
) -> Option<bool> {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return None;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return Some(data.synced != 0);
}

/// Whether the standbys that `synchronized_standby_slots` names have WAL up to `lsn` on disk, as walsenders of failover
/// slots judge it; true if it names none, and before 17.
pub fn standbys_have(
    #[cfg_attr(any(feature = "pg15", feature = "pg16"), expect(unused_variables))] lsn: u64,
) -> bool {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return true;
    // It logs what is wrong with a slot on each call: at a level for developers, because who waits says it himself.
    // SAFETY: reads a setting and the slots in shared memory.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    unsafe {
        let names = pg_sys::synchronized_standby_slots;
        if names.is_null() || *names == 0 {
            return true;
        }
        let mut have = false;
        signals::telling(|| {
            have = pg_sys::StandbySlotsHaveCaughtup(lsn, pg_sys::DEBUG2 as i32);
        });
        have
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
