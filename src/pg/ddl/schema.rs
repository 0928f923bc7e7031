//! Statements that create a schema, and those that may drop a schema or an extension.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::node::{bytes, Sql};
use super::statement::Statement;
use crate::pg::catalogs::extension;
use crate::pg::server::session::set_at_level;

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

/// True for DROP SCHEMA … CASCADE of this extension's schema and for DROP OWNED BY its owner, or that of its schema, if the
/// current role may run it: the extension goes along. DROP OWNED drops nothing of a role that only is a member of its owner, or
/// a superuser.
pub fn drops_with_extension(statement: &Statement) -> bool {
    use pg_sys::NodeTag::{T_DropOwnedStmt, T_DropStmt};
    let Some(extension) = extension::own_oid() else {
        return false;
    };
    let Some(schema) = super::catalog::extension_schema(extension) else {
        return false;
    };
    // SAFETY: nodes of a valid tree, and catalog look-ups; missing is allowed.
    unsafe {
        if let Some(drop) = statement.as_a::<pg_sys::DropStmt>(T_DropStmt) {
            let is_schema = drop.removeType == pg_sys::ObjectType::OBJECT_SCHEMA;
            return is_schema
                && drop.behavior == pg_sys::DropBehavior::DROP_CASCADE
                && super::node::names(drop.objects)
                    .contains(&bytes(pg_sys::get_namespace_name(schema)).unwrap_or_default())
                && owns_schema(schema, pg_sys::GetUserId());
        }
        let Some(drop) = statement.as_a::<pg_sys::DropOwnedStmt>(T_DropOwnedStmt) else {
            return false;
        };
        let owners = [extension::owner(extension), owner(schema)];
        super::node::items::<pg_sys::RoleSpec>(drop.roles)
            .into_iter()
            .map(|role| pg_sys::get_rolespec_oid(role, true))
            .any(|role| {
                owners.contains(&Some(role)) && pg_sys::has_privs_of_role(pg_sys::GetUserId(), role)
            })
    }
}

fn owner(schema: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up by OID; the row is read before it is released.
    unsafe {
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(schema),
        );
        if row.is_null() {
            return None;
        }
        let owner = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_namespace>(row)).nspowner;
        pg_sys::ReleaseSysCache(row);
        Some(owner)
    }
}

/// # Safety
/// Needs a transaction.
unsafe fn owns_schema(schema: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by OID.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_namespace_ownercheck(schema, role);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::NamespaceRelationId, schema, role);
    }
}

/// True where the schema exists. Needs a transaction.
pub fn exists(schema: &[u8]) -> bool {
    let name = super::node::c_string(schema);
    // SAFETY: a catalog look-up; missing is allowed.
    unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) != pg_sys::InvalidOid }
}

/// The search_path with which sessions of this database begin, and the schema in which CREATE EXTENSION would create its
/// objects in one of ours: the first of the path that exists and is neither pg_catalog nor temporary. The owner of the
/// database chooses the path, so no SQL runs while it is set. Needs a transaction.
pub fn of_new_sessions() -> (Sql, Option<Sql>) {
    // SAFETY: guc.c copies the string, which stays as it is until the configuration is read again; a list of OIDs is
    // answered. After an error the abort of the transaction takes the setting back.
    unsafe {
        let path = pg_sys::GetConfigOptionResetString(c"search_path".as_ptr());
        let shown = bytes(path).unwrap_or_default();
        let nest_level = pg_sys::NewGUCNestLevel();
        let value = CStr::from_ptr(path);
        set_at_level(c"search_path", value, pg_sys::GucContext::PGC_USERSET);
        let schemas = pg_sys::fetch_search_path(false);
        pg_sys::AtEOXact_GUC(true, nest_level);
        let count = schemas
            .as_ref()
            .map_or(0, |schemas| schemas.length as usize);
        let first = (0..count)
            .map(|place| (*(*schemas).elements.add(place)).oid_value)
            .find(|oid| {
                *oid != pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE)
                    && !pg_sys::isAnyTempNamespace(*oid)
            });
        let name = first.and_then(|oid| bytes(pg_sys::get_namespace_name(oid)));
        (shown, name)
    }
}
