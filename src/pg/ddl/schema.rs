//! Statements that create a schema, and those that may drop a schema or an extension.

use pgrx::prelude::*;

use super::node::{bytes, Sql};
use super::statement::Statement;

/// The schema that CREATE SCHEMA creates, or the new name of a renamed one.
pub fn made_schema(statement: &Statement) -> Option<Sql> {
    use pg_sys::NodeTag::{T_CreateSchemaStmt, T_RenameStmt};
    // SAFETY: names of a valid tree.
    unsafe {
        if let Some(create) = statement.as_a::<pg_sys::CreateSchemaStmt>(T_CreateSchemaStmt) {
            return bytes(create.schemaname);
        }
        let rename = statement.as_a::<pg_sys::RenameStmt>(T_RenameStmt)?;
        (rename.renameType == pg_sys::ObjectType::OBJECT_SCHEMA)
            .then(|| bytes(rename.newname))
            .flatten()
    }
}

/// True for a statement that may drop an extension: DROP of anything but a part of a table, DROP OWNED.
pub fn may_drop_extension(statement: &Statement) -> bool {
    use pg_sys::ObjectType::{OBJECT_EXTENSION, OBJECT_LANGUAGE, OBJECT_SCHEMA};
    let drop = statement.as_a::<pg_sys::DropStmt>(pg_sys::NodeTag::T_DropStmt);
    statement.node_tag() == pg_sys::NodeTag::T_DropOwnedStmt
        || drop.is_some_and(|drop| {
            [OBJECT_EXTENSION, OBJECT_LANGUAGE, OBJECT_SCHEMA].contains(&drop.removeType)
        })
}

/// True where the schema exists. Needs a transaction.
pub fn exists(schema: &[u8]) -> bool {
    let name = super::node::c_string(schema);
    // SAFETY: a catalog look-up; missing is allowed.
    unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) != pg_sys::InvalidOid }
}
