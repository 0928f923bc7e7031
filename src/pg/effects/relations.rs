//! What is known about relations by the rows of pg_class that a transaction touched: which are nobody's
//! objects, and of which kind they are. And by those of pg_constraint: with what a constraint is said.

use effects::key::catalog::CONSTRAINT;
use effects::Key;
use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::owner::owner_of_constraint;

/// Relations by OID. Rows of pg_class are to be read before all others, those of pg_constraint next.
#[derive(Default)]
pub struct Relations {
    constraints: FxHashMap<u32, Option<Key>>,
    touched: FxHashMap<u32, Relation>,
    looked_up: FxHashMap<u32, u8>,
}

/// Columns of pg_constraint (catalog/pg_constraint.h): contype, conrelid, contypid.
const KIND: i16 = 4;
const TABLE: i16 = if cfg!(feature = "pg18") { 9 } else { 8 };
const DOMAIN: i16 = TABLE + 1;

struct Relation {
    kind: u8,
    is_noise: bool,
}

impl Relations {
    /// Notes a row of pg_class.
    pub fn note(&mut self, oid: u32, kind: u8, is_noise: bool) {
        self.touched.insert(oid, Relation { kind, is_noise });
    }

    /// Notes a row of pg_constraint.
    pub fn note_constraint(&mut self, oid: u32, owner: Option<Key>) {
        self.constraints.insert(oid, owner);
    }

    /// The object with which a constraint is said, where that is one of the schema's.
    pub fn owner_of_constraint(&mut self, oid: u32) -> Option<Key> {
        *self.constraints.entry(oid).or_insert_with(|| {
            let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
            // SAFETY: a look-up by OID; columns that are never NULL are read before the row is released.
            unsafe {
                let row = pg_sys::SearchSysCache1(cache, pg_sys::Oid::from(oid).into());
                if row.is_null() {
                    return Some(Key::new(CONSTRAINT, oid));
                }
                let column = |number| {
                    let mut is_null = false;
                    pg_sys::SysCacheGetAttr(cache, row, number, &mut is_null).value() as u32
                };
                let (table, domain, kind) = (column(TABLE), column(DOMAIN), column(KIND) as u8);
                pg_sys::ReleaseSysCache(row);
                Some(owner_of_constraint(oid, table, domain, kind))
            }
        })
    }

    /// True for a relation that is no object of the schema: temporary, a TOAST table, a copy that a rewrite
    /// makes. Without a row of it in this transaction the answer is false.
    pub fn is_noise(&self, oid: u32) -> bool {
        self.touched.get(&oid).is_some_and(|found| found.is_noise)
    }

    /// True for a type's own relation (CREATE TYPE … AS).
    pub fn is_composite(&mut self, oid: u32) -> bool {
        if let Some(found) = self.touched.get(&oid) {
            return found.kind == pg_sys::RELKIND_COMPOSITE_TYPE;
        }
        let kind = self.looked_up.entry(oid).or_insert_with(|| {
            // SAFETY: a catalog look-up; 0 where there is no such relation.
            unsafe { pg_sys::get_rel_relkind(oid.into()) as u8 }
        });
        *kind == pg_sys::RELKIND_COMPOSITE_TYPE
    }
}
