//! Direct and indirect dependencies of an object, read from pg_depend by its index, as of now.

use std::ops::ControlFlow;

use pgrx::prelude::*;

use super::scan::{scan, Catalog, Key, Versions};

/// The dependent object and what it depends on: classid, objid, objsubid, refclassid, refobjid, refobjsubid,
/// deptype.
const NEEDS: Catalog = Catalog {
    table: 2608,
    index: 2673,
};

/// Rules by their relation: oid, rulename, ev_class.
const RULES: Catalog = Catalog {
    table: 2618,
    index: 2693,
};

/// Of pg_rewrite, by relation.
const EV_CLASS: i16 = 3;

/// A catalog and an object in it.
pub type Object = (u32, u32);

/// True if `object`, directly or through other objects, depends on one for which `is_it` returns true, given
/// that object and pg_depend.deptype. Objects created by initdb do not depend on later ones.
pub fn needs(object: Object, is_it: impl Fn(Object, u8) -> bool) -> bool {
    crate::pg::server::query::see_own_changes();
    let mut seen = vec![object];
    let mut at = 0;
    while let Some(object) = seen.get(at).copied() {
        at += 1;
        let mut found = false;
        let mut add = |need: Object| {
            if need.1 >= pg_sys::FirstNormalObjectId && !seen.contains(&need) {
                seen.push(need);
            }
        };
        let keys = [(1, Key::OidIs(object.0)), (2, Key::OidIs(object.1))];
        scan(NEEDS, &keys, Versions::Visible, false, |row| {
            let oid = |column| row.get(column).map_or(0, |value| value.value() as u32);
            let letter = row.get(6).map_or(0, |value| value.value() as u8);
            let need = (oid(3), oid(4));
            found |= is_it(need, letter);
            if matches!(letter, b'n' | b'a' | b'i') {
                add(need);
            }
            if found {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if found {
            return true;
        }
        // A view's dependencies are those of its rule; in pg_depend the rule is a part of the view.
        if object.0 == pg_sys::RelationRelationId.to_u32() && is_view(object.1) {
            let keys = [(EV_CLASS, Key::OidIs(object.1))];
            scan(RULES, &keys, Versions::Visible, false, |row| {
                let rule = row.get(0).map_or(0, |value| value.value() as u32);
                add((RULES.table, rule));
                ControlFlow::Continue(())
            });
        }
    }
    false
}

fn is_view(relation: u32) -> bool {
    // SAFETY: a look-up by OID; missing is allowed.
    let kind = unsafe { pg_sys::get_rel_relkind(relation.into()) } as u8;
    matches!(kind, pg_sys::RELKIND_VIEW | pg_sys::RELKIND_MATVIEW)
}
