//! Objects that look permanent and are not: a function over a temporary table's row type goes with
//! the session, without a DROP that anybody sees.

use pgrx::prelude::*;

use super::ddl_identity::OwnPrivileges;
use super::query::{connect_now, select_kept};

/// Whether the session's temporary schema is among what the object needs, at any distance.
const NEEDS_TEMPORARY: &str = "WITH RECURSIVE needed (classid, objid) AS ( \
       SELECT $1, $2 \
     UNION \
       SELECT d.refclassid, d.refobjid FROM needed JOIN pg_depend d USING (classid, objid) \
       WHERE d.deptype IN ('n', 'a', 'i')) \
     SELECT EXISTS (SELECT FROM needed WHERE classid = 'pg_namespace'::regclass AND objid = $3)";

/// True when the session has made a temporary object.
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

/// True when the object will be dropped with the session's temporary objects.
pub fn depends_on_temporary(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    let schema = temporary_schema();
    if schema == pg_sys::InvalidOid {
        return false;
    }
    let own = OwnPrivileges::enter();
    let depends = connect_now(|client| {
        let arguments = [class.into(), object.into(), schema.into()];
        let rows = select_kept(client, NEEDS_TEMPORARY, &arguments)?;
        rows.first().get_one::<bool>()
    });
    own.leave();
    depends
        .unwrap_or_else(|error| error!("{error}"))
        .unwrap_or(false)
}
