//! What is known about relations by the rows of pg_class that a transaction touched: which are nobody's
//! objects, and of which kind they are.

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

/// Relations by OID. Rows of pg_class are to be read before all others.
#[derive(Default)]
pub struct Relations {
    touched: FxHashMap<u32, Relation>,
    looked_up: FxHashMap<u32, u8>,
}

struct Relation {
    kind: u8,
    is_noise: bool,
}

impl Relations {
    /// Notes a row of pg_class.
    pub fn note(&mut self, oid: u32, kind: u8, is_noise: bool) {
        self.touched.insert(oid, Relation { kind, is_noise });
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
