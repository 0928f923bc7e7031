//! The extension that a relation belongs to, and whether a dump includes its rows.

use std::num::NonZeroUsize;

use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use crate::pg::decoding::relation;

/// Attribute numbers of pg_extension (catalog/pg_extension.h).
const ANUM_OID: i16 = 1;
const ANUM_EXTOWNER: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
const ANUM_EXTVERSION: NonZeroUsize = NonZeroUsize::new(6).expect("not zero");
const ANUM_EXTCONFIG: NonZeroUsize = NonZeroUsize::new(7).expect("not zero");

/// OID of this extension in the current database, if it is installed.
pub fn own_oid() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up; missing is allowed.
    let oid = unsafe { pg_sys::get_extension_oid(c"pg_incrbackup".as_ptr(), true) };
    Some(oid).filter(|oid| *oid != pg_sys::InvalidOid)
}

/// Locks this extension as DROP EXTENSION is about to (get_object_address of objectaddress.c), before anything that it
/// concerns. False if the current role may not drop it, or if it is gone meanwhile.
pub fn lock_to_drop() -> bool {
    // SAFETY: the role that runs the statement.
    let role = unsafe { pg_sys::GetUserId() };
    own_oid().is_some_and(|oid| is_owner(oid, role)) && lock()
}

/// The same for a statement that takes it along, whoever owns it.
pub fn lock() -> bool {
    let Some(extension) = own_oid() else {
        return false;
    };
    // SAFETY: a lock of an object by OID, until the end of the transaction.
    unsafe {
        let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, extension, 0, lock);
    }
    own_oid() == Some(extension)
}

/// The role that owns it, as DROP OWNED sees it: no superuser and no member counts.
pub fn owner(extension: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let read = |value: pg_sys::Datum| Some(pg_sys::Oid::from(value.value() as u32));
    attribute(extension, ANUM_EXTOWNER, read)
}

/// True if the role owns the extension, is a member of its owner, or a superuser.
fn is_owner(extension: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_extension_ownercheck(extension, role);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::ExtensionRelationId, extension, role);
    }
}

pub fn is_ours(extension: pg_sys::Oid) -> bool {
    own_oid() == Some(extension)
}

/// Version of this extension's objects in the current database, if it is installed.
pub fn own_version() -> Option<String> {
    // SAFETY: extversion is a text; it is copied.
    let read = |value| unsafe { String::from_datum(value, false) };
    attribute(own_oid()?, ANUM_EXTVERSION, read)
}

/// True if pg_dump dumps the rows of this member of an extension: it is listed in `extconfig`
/// (pg_extension_config_dump). The rows of other members are created by CREATE EXTENSION.
pub fn dumps_rows_of(extension: pg_sys::Oid, table: pg_sys::Oid) -> bool {
    configuration_tables(extension).contains(&table)
}

fn configuration_tables(extension: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: extconfig is an oid[]; the array is copied.
    let read = |value| unsafe { Vec::<pg_sys::Oid>::from_datum(value, false) };
    attribute(extension, ANUM_EXTCONFIG, read).unwrap_or_default()
}

/// One attribute of an extension's row in pg_extension, by the current (or historic) catalog
/// snapshot; `None` for NULL and where there is no such extension. `read` copies what it needs.
pub fn attribute<R>(
    extension: pg_sys::Oid,
    number: NonZeroUsize,
    read: impl FnOnce(pg_sys::Datum) -> Option<R>,
) -> Option<R> {
    relation::with_relation(pg_sys::ExtensionRelationId, |catalog| {
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: a plain catalog scan by OID; the value is read before the scan ends.
        unsafe {
            pg_sys::ScanKeyInit(
                &mut key,
                ANUM_OID,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::F_OIDEQ.into(),
                extension.into_datum().unwrap_or(pg_sys::Datum::null()),
            );
            let index = pg_sys::ExtensionOidIndexId.into();
            let snapshot = std::ptr::null_mut();
            let scan =
                pg_sys::systable_beginscan(catalog.as_ptr(), index, true, snapshot, 1, &mut key);
            let tuple = pg_sys::systable_getnext(scan);
            let value = if tuple.is_null() {
                None
            } else {
                pgrx::heap_getattr_raw(tuple, number, catalog.tuple_descriptor())
            };
            let result = value.and_then(read);
            pg_sys::systable_endscan(scan);
            result
        }
    })
    .flatten()
}
