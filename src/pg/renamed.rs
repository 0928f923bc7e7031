//! What other sessions renamed between a statement and its transaction's commit.
//!
//! PostgreSQL lets a schema or an enum's label be renamed while a transaction that names it
//! is open. The statement's text has the old name; where it is replayed, the new one stands.

use std::collections::HashMap;

use pgrx::prelude::*;

use super::commit_view::{Before, CommitView};
use super::ddl_node::Sql;
use super::quote;

/// One rename, with names as SQL. Types are qualified by the names of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renamed {
    Schema { old: Sql, new: Sql },
    Label { type_name: Sql, old: Sql, new: Sql },
}

/// One name, and the type (for a label) or schema (for a type) that it belongs to.
type Names = HashMap<pg_sys::Oid, (Sql, pg_sys::Oid)>;

/// All renames that the view shows and the statement's own moment did not: labels, then schemas.
pub fn since(before: &Before, view: &mut CommitView) -> Vec<Renamed> {
    let [schemas, labels] = [NAMESPACES, LABELS].map(|catalog| {
        let old = view.outside(before, || names(&catalog));
        (old, names(&catalog))
    });
    let labels = differences(&labels);
    let types = if labels.is_empty() {
        Names::new()
    } else {
        names(&TYPES)
    };
    let mut renamed = Vec::new();
    for (type_oid, old, new) in labels {
        let Some((type_name, schema)) = types.get(&type_oid) else {
            continue;
        };
        if let Some((schema, _)) = schemas.1.get(schema) {
            renamed.push(Renamed::Label {
                type_name: quote::qualified(schema, type_name),
                old: quote::literal(&old),
                new: quote::literal(&new),
            });
        }
    }
    for (_, old, new) in differences(&schemas) {
        renamed.push(Renamed::Schema {
            old: quote::identifier(&old),
            new: quote::identifier(&new),
        });
    }
    renamed
}

/// Owner, old and new name of what has another name, in the order of OIDs.
fn differences((old, new): &(Names, Names)) -> Vec<(pg_sys::Oid, Sql, Sql)> {
    let mut found: Vec<_> = new
        .iter()
        .filter_map(|(oid, (name, owner))| {
            let (before, _) = old.get(oid).filter(|(before, _)| before != name)?;
            Some((*oid, (*owner, before.clone(), name.clone())))
        })
        .collect();
    found.sort_by_key(|(oid, _)| oid.to_u32());
    found
        .into_iter()
        .map(|(_, difference)| difference)
        .collect()
}

/// A catalog and how a row of it is read: its OID, its name and the OID that it belongs to.
struct Catalog {
    oid: pg_sys::Oid,
    /// None for a row that is of no use.
    read: fn(pg_sys::HeapTuple) -> Option<(pg_sys::Oid, Sql, pg_sys::Oid)>,
}

const NAMESPACES: Catalog = Catalog {
    oid: pg_sys::NamespaceRelationId,
    read: namespace,
};

const TYPES: Catalog = Catalog {
    oid: pg_sys::TypeRelationId,
    read: enum_type,
};

const LABELS: Catalog = Catalog {
    oid: pg_sys::EnumRelationId,
    read: label,
};

fn namespace(row: pg_sys::HeapTuple) -> Option<(pg_sys::Oid, Sql, pg_sys::Oid)> {
    // SAFETY: a row of pg_namespace.
    let form = unsafe { &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_namespace>(row) };
    Some((form.oid, name(&form.nspname), pg_sys::InvalidOid))
}

fn enum_type(row: pg_sys::HeapTuple) -> Option<(pg_sys::Oid, Sql, pg_sys::Oid)> {
    // SAFETY: a row of pg_type.
    let form = unsafe { &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_type>(row) };
    let is_enum = form.typtype as u8 == b'e';
    is_enum.then(|| (form.oid, name(&form.typname), form.typnamespace))
}

fn label(row: pg_sys::HeapTuple) -> Option<(pg_sys::Oid, Sql, pg_sys::Oid)> {
    // SAFETY: a row of pg_enum.
    let form = unsafe { &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_enum>(row) };
    Some((form.oid, name(&form.enumlabel), form.enumtypid))
}

fn name(name: &pg_sys::NameData) -> Sql {
    // SAFETY: NUL-terminated within its 64 bytes.
    unsafe { std::ffi::CStr::from_ptr(name.data.as_ptr()) }
        .to_bytes()
        .to_vec()
}

/// Reads a whole catalog under the snapshot in force, past the caches, which hold what another
/// snapshot saw.
fn names(catalog: &Catalog) -> Names {
    let mut found = Names::new();
    // SAFETY: opened with a lock and closed; a scan without a key; a NULL snapshot is the historic
    // one in force. An error ends the transaction, whose resource owner cleans up.
    unsafe {
        let relation = pg_sys::table_open(catalog.oid, pg_sys::AccessShareLock as i32);
        let none = std::ptr::null_mut();
        let scan =
            pg_sys::systable_beginscan(relation, pg_sys::InvalidOid, false, none, 0, none.cast());
        loop {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            if let Some((oid, name, owner)) = (catalog.read)(row) {
                found.insert(oid, (name, owner));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}
