//! The relations that a statement creates or affects: by name if they do not exist yet, otherwise by OID.

use std::ffi::c_void;

use pgrx::prelude::*;

use super::catalog::creation_schema;
use super::filled::filled_relation;
use super::node::{bytes, c_string, Sql};
use super::statement::Statement;
use super::subject::Target;

pub(in crate::pg) type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

extern "C-unwind" {
    // nodes/nodeFuncs.h; a macro of the same name precedes it from 16 on.
    #[cfg_attr(feature = "pg15", link_name = "raw_expression_tree_walker")]
    #[cfg_attr(not(feature = "pg15"), link_name = "raw_expression_tree_walker_impl")]
    pub(in crate::pg) fn raw_walker(
        node: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
    ) -> bool;
}

/// Schema and name of the table or view that the statement creates, unless it is declared temporary.
pub fn created_relation(statement: &Statement) -> Option<(Sql, Sql)> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe {
        let range = match statement.node_tag() {
            T_CreateStmt => statement.as_a::<pg_sys::CreateStmt>(T_CreateStmt)?.relation,
            T_ViewStmt => statement.as_a::<pg_sys::ViewStmt>(T_ViewStmt)?.view,
            T_CreateTableAsStmt | T_ExplainStmt => filled_relation(statement)?,
            _ => return None,
        };
        if (*range).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP {
            return None;
        }
        let schema = bytes((*range).schemaname).or_else(creation_schema)?;
        Some((schema, bytes((*range).relname)?))
    }
}

/// The relation of this schema and name, if there is one.
pub fn relation_named(schema: &[u8], name: &[u8]) -> Option<pg_sys::Oid> {
    let (schema, name) = (c_string(schema), c_string(name));
    // SAFETY: catalog look-ups; missing is allowed.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (relation != pg_sys::InvalidOid).then_some(relation)
    }
}

/// Schema and name of the index that a CREATE INDEX on this relation creates, if the name is given.
pub fn made_index(statement: &Statement, relation: pg_sys::Oid) -> Option<Sql> {
    let index = statement.as_a::<pg_sys::IndexStmt>(pg_sys::NodeTag::T_IndexStmt)?;
    // SAFETY: NULL or NUL-terminated; look-ups that answer NULL for what does not exist.
    unsafe {
        let name = bytes(index.idxname)?;
        let schema = bytes(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(
            relation,
        )))?;
        Some(crate::pg::text::quote::qualified(&schema, &name))
    }
}

/// The existing relation denoted by a RangeVar.
///
/// # Safety
/// `range` is valid.
pub(in crate::pg) unsafe fn relation_of(range: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // SAFETY: by the caller's promise; no lock, missing allowed.
    let relation = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            range,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

/// The existing tables that the statement alters, or whose index it drops.
pub fn touched_tables(statement: &Statement, targets: &[Target]) -> Vec<pg_sys::Oid> {
    use pg_sys::NodeTag::*;
    if !matches!(statement.node_tag(), T_AlterTableStmt | T_DropStmt) {
        return Vec::new();
    }
    let relations = targets.iter().map(|target| target.relation);
    let relations = relations.filter(|relation| *relation != pg_sys::InvalidOid);
    relations.filter_map(table_of).collect()
}

/// The table itself, or that of an index.
fn table_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-ups; missing is allowed.
    let table = unsafe {
        match pg_sys::get_rel_relkind(relation) as u8 {
            pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => relation,
            pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX => {
                pg_sys::IndexGetRelation(relation, true)
            }
            _ => return None,
        }
    };
    (table != pg_sys::InvalidOid).then_some(table)
}

/// True for relations that ALTER TABLE and event triggers call a table, partitioned or not.
pub fn is_table(relation: pg_sys::Oid) -> bool {
    table_of(relation) == Some(relation)
}

/// True for an ordinary table or materialized view of a user's.
pub fn is_plain_table(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_MATVIEW)
        && relation.to_u32() >= pg_sys::FirstNormalObjectId
}
