//! Partitions whose rows may belong to another partition of the same table at restore.
//!
//! The hash of an enum's value is that of its OID, which a restore does not preserve. pg_dump writes such
//! rows through the root of the partition tree (its option --load-via-partition-root, which it enables
//! automatically for them), and so do we.

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use super::relation::OpenRelation;
use crate::pg::ddl::node::{relation_name, Sql};

extern "C-unwind" {
    // catalog/partition.h; nearest ancestor first.
    fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
}

/// Columns of pg_partitioned_table (catalog/pg_partitioned_table.h).
const ANUM_STRATEGY: i16 = 2;
const ANUM_ATTRIBUTES: i16 = 5;

/// Name of the partitioned table through which the rows of `relation` are to be written; `None` except for
/// partitions by hash of an enum.
pub fn root_to_write_through(relation: OpenRelation) -> Option<Sql> {
    let ancestors = ancestors(relation);
    let is_hashed = ancestors.iter().any(|table| is_hashed_by_enum(*table));
    is_hashed
        .then(|| relation_name(*ancestors.last()?))
        .flatten()
}

/// Name of the root of the partition tree of `relation`.
pub fn root(relation: OpenRelation) -> Option<Sql> {
    relation_name(*ancestors(relation).last()?)
}

/// The ancestors of `relation`, the nearest first.
fn ancestors(relation: OpenRelation) -> Vec<pg_sys::Oid> {
    if !relation.is_partition() {
        return Vec::new();
    }
    let oid = relation.oid();
    // SAFETY: a catalog look-up that answers a list of OIDs; the closure owns nothing.
    unsafe {
        let list = pg_guard_ffi_boundary(|| get_partition_ancestors(oid));
        if list.is_null() {
            return Vec::new();
        }
        let elements = (*list).elements;
        let places = 0..(*list).length as usize;
        places
            .map(|place| (*elements.add(place)).oid_value)
            .collect()
    }
}

fn is_hashed_by_enum(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up by OID; the row is released. Neither column is ever null; the vector is
    // not toasted (it is read from the cache as it is).
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(table));
        if row.is_null() {
            return false;
        }
        let mut is_null = false;
        let strategy = pg_sys::SysCacheGetAttr(cache, row, ANUM_STRATEGY, &mut is_null);
        let attributes = pg_sys::SysCacheGetAttr(cache, row, ANUM_ATTRIBUTES, &mut is_null);
        let vector = attributes.cast_mut_ptr::<pg_sys::int2vector>();
        let numbers = (*vector).values.as_slice((*vector).dim1 as usize).to_vec();
        pg_sys::ReleaseSysCache(row);
        // An expression's column number is 0: what its hash depends on is not checked.
        strategy.value() as u8 == b'h'
            && numbers
                .into_iter()
                .filter(|number| *number > 0)
                .any(|number| holds_enum(pg_sys::get_atttype(table, number)))
    }
}

/// True for an enum, also as an array's element or a domain's base type.
fn holds_enum(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: look-ups by OID.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let element = pg_sys::get_element_type(base);
        pg_sys::get_typtype(base) as u8 == b'e'
            || element != pg_sys::InvalidOid && holds_enum(element)
    }
}
