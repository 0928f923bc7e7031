//! Facts about relations from the rows of pg_class that a transaction touched: which do not belong to
//! objects, and their kinds; and about constraints, from their rows: their owners.

use std::ffi::CStr;

use effects::key::catalog::{CLASS, CONSTRAINT, TYPE};
use effects::Key;
use pgrx::prelude::*;
use rustc_hash::FxHashMap;

/// Relations and constraints by OID.
#[derive(Default)]
pub struct Relations {
    touched: FxHashMap<u32, Relation>,
    looked_up: FxHashMap<u32, u8>,
    constraints: FxHashMap<u32, Option<Key>>,
}

/// The order in which catalogs are read: other rows depend on pg_class and pg_constraint.
pub fn rank(catalog: u32) -> u32 {
    match catalog {
        CLASS => 0,
        CONSTRAINT => 1,
        _ => 2,
    }
}

struct Relation {
    kind: u8,
    is_noise: bool,
}

impl Relations {
    /// Records a row of pg_class.
    pub fn note(&mut self, oid: u32, kind: u8, is_noise: bool) {
        self.touched.insert(oid, Relation { kind, is_noise });
    }

    /// True for a relation that is not an object of the schema: temporary, a TOAST table, the transient heap
    /// of a rewrite. False if this transaction has no row of it.
    pub fn is_noise(&self, oid: u32) -> bool {
        self.touched.get(&oid).is_some_and(|found| found.is_noise)
    }

    /// True for the relation of a composite type (CREATE TYPE … AS).
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

    /// The object with which a constraint is written, by its row; it is recorded.
    pub fn note_constraint(&mut self, oid: u32, table: u32, domain: u32, kind: u8) -> Option<Key> {
        let owner = match (table, domain) {
            (0, domain) if domain != 0 => Some(Key::new(TYPE, domain)),
            (table, _) if self.is_noise(table) => None,
            // NOT NULL is written with the table's column.
            (table, _) if kind == b'n' => Some(Key::new(CLASS, table)),
            _ => Some(Key::new(CONSTRAINT, oid)),
        };
        self.constraints.insert(oid, owner);
        owner
    }

    /// The object with which a constraint is written, given only its OID.
    pub fn owner_of_constraint(&mut self, oid: u32) -> Option<Key> {
        if let Some(owner) = self.constraints.get(&oid) {
            return *owner;
        }
        let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
        // SAFETY: a catalog look-up; what is found is released once, and its columns are passed by value.
        let found = unsafe {
            let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
            (!tuple.is_null()).then(|| {
                let column = |name: &CStr| {
                    let relation = pg_sys::Oid::from(CONSTRAINT);
                    let number = pg_sys::get_attnum(relation, name.as_ptr());
                    let mut is_null = false;
                    let value = pg_sys::SysCacheGetAttr(cache, tuple, number, &mut is_null);
                    value.value() as u32
                };
                let found = (column(c"conrelid"), column(c"contypid"), column(c"contype"));
                pg_sys::ReleaseSysCache(tuple);
                found
            })
        };
        match found {
            Some((table, domain, kind)) => self.note_constraint(oid, table, domain, kind as u8),
            None => Some(Key::new(CONSTRAINT, oid)),
        }
    }
}
