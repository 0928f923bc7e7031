//! Objects of users that depend on this extension's own: a restored database has neither the extension nor
//! these objects, and views on incr_slot_health() are common.
//!
//! Only kinds that are left out as a whole are checked: a table is kept whatever its defaults call.

use pgrx::prelude::*;

use crate::pg::catalogs::{depend, extension};

/// Catalogs whose OIDs pgrx's bindings lack (catalog/pg_rewrite.h, pg_policy.h, pg_cast.h).
const PG_REWRITE: pg_sys::Oid = pg_sys::Oid::from_u32(2618);
const PG_POLICY: pg_sys::Oid = pg_sys::Oid::from_u32(3256);
const PG_CAST: pg_sys::Oid = pg_sys::Oid::from_u32(2605);

/// True for an object that cannot exist without this extension.
pub fn depends_on_ours(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    if !goes_as_a_whole(class, object) {
        return false;
    }
    let Some(ours) = extension::own_oid() else {
        return false;
    };
    let extension = (pg_sys::ExtensionRelationId.to_u32(), ours.to_u32());
    depend::needs((class.to_u32(), object.to_u32()), |need, letter| {
        letter == b'e' && need == extension
    })
}

fn goes_as_a_whole(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    if class == pg_sys::RelationRelationId {
        // SAFETY: a look-up by OID.
        return matches!(
            unsafe { pg_sys::get_rel_relkind(object) } as u8,
            b'v' | b'm'
        );
    }
    [
        pg_sys::ProcedureRelationId,
        PG_REWRITE,
        PG_POLICY,
        pg_sys::TriggerRelationId,
        pg_sys::OperatorRelationId,
        PG_CAST,
    ]
    .contains(&class)
}
