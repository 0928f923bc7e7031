//! Classification of an object: temporary, ours, incomplete, or none of these.

use std::ffi::c_char;

use pgrx::prelude::*;

use super::catalog::creation_namespace;
use super::node::bytes;
use super::over_ours::depends_on_ours;
use crate::pg::catalogs::extension;

/// The classification of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is dropped with a session; never recorded.
    Temporary,
    /// It belongs to this extension, or depends on it: a restored database lacks it.
    Ours,
    /// An invalid index that was left behind: no query uses it, and no dump contains it.
    Invalid,
    Permanent,
    /// No such object, or of a kind for which this does not matter here.
    Unknown,
}

/// The classification of a new object in this schema.
///
/// # Safety
/// `schema` is NULL or NUL-terminated.
pub(in crate::pg) unsafe fn creation_place(schema: *const c_char) -> Place {
    // SAFETY: NULL or NUL-terminated.
    match unsafe { bytes(schema) } {
        Some(schema) => schema_place(&schema),
        None => default_creation_place(),
    }
}

/// `pg_temp` and `pg_temp_<n>` are the names of temporary schemas, and of nothing else.
pub fn schema_place(schema: &[u8]) -> Place {
    if schema == b"pg_temp" || schema.starts_with(b"pg_temp_") {
        Place::Temporary
    } else {
        Place::Permanent
    }
}

pub(in crate::pg) fn default_creation_place() -> Place {
    // SAFETY: a look-up of an OID in this session's state and the catalog.
    let is_temporary = |schema| unsafe { pg_sys::isAnyTempNamespace(schema) };
    if creation_namespace().is_some_and(is_temporary) {
        Place::Temporary
    } else {
        Place::Permanent
    }
}

/// The classification of a relation.
pub fn relation_place(relation: pg_sys::Oid) -> Place {
    if relation == pg_sys::InvalidOid {
        return Place::Unknown;
    }
    // SAFETY: look-ups by OID.
    let is_temporary = unsafe { pg_sys::isAnyTempNamespace(pg_sys::get_rel_namespace(relation)) };
    if is_temporary {
        return Place::Temporary;
    }
    if super::index::is_unfinished(relation) {
        return Place::Invalid;
    }
    // Querying pg_depend each time would take as long as writing the row of a statement.
    match super::ddl_history::find() {
        Some(history) if history.is_ours(relation) => Place::Ours,
        Some(_) if depends_on_ours(pg_sys::RelationRelationId, relation) => Place::Ours,
        Some(_) => Place::Permanent,
        None => member_place(pg_sys::RelationRelationId, relation),
    }
}

pub(in crate::pg) fn member_place(class: pg_sys::Oid, object: pg_sys::Oid) -> Place {
    // SAFETY: a catalog look-up.
    let owner = unsafe { pg_sys::getExtensionOfObject(class, object) };
    if owner != pg_sys::InvalidOid && extension::is_ours(owner) {
        Place::Ours
    } else {
        Place::Permanent
    }
}
