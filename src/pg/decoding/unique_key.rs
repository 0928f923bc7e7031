//! The key of a table with REPLICA IDENTITY FULL: a unique index by which each of its rows can be found, although its
//! old rows are in the WAL as a whole.
//!
//! It is looked up in the catalogs as of the change, since only an index that was live then says that no other row had
//! the key. A restore does not need the index, only the rows.

use std::ops::ControlFlow;

use pgrx::prelude::*;

use super::value::Row;
use crate::pg::catalogs::scan::{scan, Catalog, Key, Versions};

/// Columns of pg_index (catalog/pg_index.h); all of them have the same place from 15 on.
const ANUM_INDEXRELID: usize = 1;
const ANUM_INDRELID: i16 = 2;
const ANUM_INDNKEYATTS: usize = 4;
const ANUM_INDISUNIQUE: usize = 5;
const ANUM_INDISPRIMARY: usize = 7;
const ANUM_INDISEXCLUSION: usize = 8;
const ANUM_INDIMMEDIATE: usize = 9;
const ANUM_INDISVALID: usize = 11;
const ANUM_INDISLIVE: usize = 14;
const ANUM_INDKEY: usize = 16;
const ANUM_INDCOLLATION: usize = 17;
const ANUM_INDCLASS: usize = 18;
const ANUM_INDPRED: usize = 21;

/// A key column of an index.
pub(super) struct Part {
    /// Its position in the row, from 0.
    pub column: usize,
    opclass: pg_sys::Oid,
    collation: pg_sys::Oid,
}

impl Part {
    /// Two values that the index tells apart are not equal for `=` either: its operator class is one of the type's
    /// default family, and its collation distinguishes no more than that of the column.
    pub fn is_unique_for_equality(&self, type_oid: pg_sys::Oid, collation: pg_sys::Oid) -> bool {
        // SAFETY: catalog look-ups; the type cache entry lives for ever.
        unsafe {
            let base = pg_sys::getBaseType(type_oid);
            let flags = pg_sys::TYPECACHE_BTREE_OPFAMILY as i32;
            let family = (*pg_sys::lookup_type_cache(base, flags)).btree_opf;
            family != pg_sys::InvalidOid
                && family == pg_sys::get_opclass_family(self.opclass)
                && (collation == self.collation
                    || collation == pg_sys::InvalidOid
                    || pg_sys::get_collation_isdeterministic(collation))
        }
    }
}

/// An index whose columns may be the key.
struct Candidate {
    /// The primary key is preferred, then the shortest, then the oldest.
    rank: (bool, usize, u32),
    parts: Vec<Part>,
}

/// The positions (from 0) of the key's columns; empty if there is no key. `fits` says whether an index's column may
/// be one of it.
pub(super) fn columns(table: pg_sys::Oid, fits: impl Fn(&Part) -> bool) -> Vec<usize> {
    let catalog = Catalog {
        table: pg_sys::IndexRelationId.to_u32(),
        index: pg_sys::IndexIndrelidIndexId,
    };
    let mut candidates = Vec::new();
    let of_table = [(ANUM_INDRELID, Key::OidIs(table.to_u32()))];
    scan(catalog, &of_table, Versions::Visible, false, |row| {
        candidates.extend(candidate(row));
        ControlFlow::Continue(())
    });
    candidates.sort_by_key(|candidate| candidate.rank);
    let found = candidates
        .into_iter()
        .find(|candidate| candidate.parts.iter().all(&fits));
    let parts = found.map_or_else(Vec::new, |found| found.parts);
    parts.into_iter().map(|part| part.column).collect()
}

fn candidate(row: &Row) -> Option<Candidate> {
    let is = |column: usize| row.get(column - 1).is_some_and(|value| value.value() != 0);
    let is_unique = is(ANUM_INDISUNIQUE)
        && is(ANUM_INDIMMEDIATE)
        && is(ANUM_INDISVALID)
        && is(ANUM_INDISLIVE)
        && !is(ANUM_INDISEXCLUSION)
        && row.get(ANUM_INDPRED - 1).is_none();
    if !is_unique {
        return None;
    }
    let count = row.get(ANUM_INDNKEYATTS - 1)?.value();
    let (numbers, collations, classes) = (
        row.get(ANUM_INDKEY - 1)?,
        row.get(ANUM_INDCOLLATION - 1)?,
        row.get(ANUM_INDCLASS - 1)?,
    );
    // SAFETY: an int2vector and two oidvectors, which are never toasted, with an element for each key column.
    let (numbers, collations, classes) = unsafe {
        let numbers = numbers.cast_mut_ptr::<pg_sys::int2vector>();
        let collations = collations.cast_mut_ptr::<pg_sys::oidvector>();
        let classes = classes.cast_mut_ptr::<pg_sys::oidvector>();
        (
            (*numbers).values.as_slice(count),
            (*collations).values.as_slice(count),
            (*classes).values.as_slice(count),
        )
    };
    let columns = numbers.iter().zip(collations).zip(classes);
    let parts = columns.map(|((number, collation), opclass)| {
        Some(Part {
            // The number of an expression is 0.
            column: usize::try_from(*number).ok()?.checked_sub(1)?,
            opclass: *opclass,
            collation: *collation,
        })
    });
    let index = row.get(ANUM_INDEXRELID - 1)?.value() as u32;
    Some(Candidate {
        rank: (!is(ANUM_INDISPRIMARY), count, index),
        parts: parts.collect::<Option<_>>()?,
    })
}
