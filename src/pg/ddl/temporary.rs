//! Objects that appear permanent but are not: a function that uses a temporary table's row type is dropped
//! with the session, without a visible DROP.

use pgrx::prelude::*;

use crate::pg::catalogs::depend;

/// True if the session has created a temporary object.
pub fn has_temporary_schema() -> bool {
    temporary_schema() != pg_sys::InvalidOid
}

fn temporary_schema() -> pg_sys::Oid {
    let mut schema = pg_sys::InvalidOid;
    let mut toast_schema = pg_sys::InvalidOid;
    // SAFETY: reads two variables of this process.
    unsafe { pg_sys::GetTempNamespaceState(&mut schema, &mut toast_schema) };
    schema
}

/// True if the object will be dropped with the session's temporary objects.
pub fn depends_on_temporary(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    let schema = temporary_schema();
    if schema == pg_sys::InvalidOid {
        return false;
    }
    let schema = (pg_sys::NamespaceRelationId.to_u32(), schema.to_u32());
    depend::needs((class.to_u32(), object.to_u32()), |need, letter| {
        need == schema && matches!(letter, b'n' | b'a' | b'i')
    })
}
