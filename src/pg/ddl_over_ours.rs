//! Objects of the user over this extension's own: a restored database has neither the extension nor what is
//! over it, and everybody makes a view over incr_slot_health().
//!
//! Only kinds that go as a whole are looked at: a table stays whatever its defaults call.

use pgrx::prelude::*;

use super::ddl_identity::OwnPrivileges;
use super::extension;
use super::query::{connect_now, select_kept};

/// Catalogs whose OIDs pgrx's bindings lack (catalog/pg_rewrite.h, pg_policy.h, pg_cast.h).
const PG_REWRITE: pg_sys::Oid = pg_sys::Oid::from_u32(2618);
const PG_POLICY: pg_sys::Oid = pg_sys::Oid::from_u32(3256);
const PG_CAST: pg_sys::Oid = pg_sys::Oid::from_u32(2605);

/// Whether a member of the extension is among what the object needs, at any distance. What a view needs
/// its rule needs (pg_depend has the rule as the view's part).
const NEEDS_OURS: &str = "WITH RECURSIVE needed (classid, objid) AS ( \
       SELECT $1, $2 \
     UNION \
       SELECT n.classid, n.objid FROM needed, LATERAL ( \
           SELECT d.refclassid AS classid, d.refobjid AS objid FROM pg_depend d \
           WHERE d.classid = needed.classid AND d.objid = needed.objid AND d.deptype IN ('n', 'a', 'i') \
         UNION ALL \
           SELECT 'pg_rewrite'::regclass::oid, r.oid FROM pg_rewrite r \
             JOIN pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm') \
           WHERE needed.classid = 'pg_class'::regclass AND r.ev_class = needed.objid) AS n) \
     SELECT EXISTS (SELECT FROM needed JOIN pg_depend d USING (classid, objid) \
       WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = $3)";

/// True for an object that cannot be where this extension is not.
pub fn depends_on_ours(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    let Some(ours) = extension::own_oid().filter(|_| goes_as_a_whole(class, object)) else {
        return false;
    };
    let own = OwnPrivileges::enter();
    let depends = connect_now(|client| {
        let arguments = [class.into(), object.into(), ours.into()];
        let rows = select_kept(client, NEEDS_OURS, &arguments)?;
        rows.first().get_one::<bool>()
    });
    own.leave();
    depends
        .unwrap_or_else(|error| error!("{error}"))
        .unwrap_or(false)
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
