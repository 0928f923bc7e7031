//! Statements about whole databases that PostgreSQL refuses while anybody is connected to them.

use pgrx::prelude::*;

use super::ddl_catalog::{database_oid, may_own_database};
use super::ddl_node::{bytes, is_a, items, Sql};
use super::ddl_statement::Statement;

/// The databases whose own properties `statement` changes; none where it is about other things, or
/// only gives a database another name.
pub fn databases(statement: &Statement) -> Vec<Sql> {
    use pg_sys::NodeTag::*;
    use pg_sys::ObjectType::OBJECT_DATABASE;
    let one = |node: *mut pg_sys::Node| vec![node];
    // SAFETY: the tree is valid while the statement is; databases are named by String nodes.
    unsafe {
        let named = |name| bytes(name).into_iter().collect();
        let nodes = match statement.node_tag() {
            T_AlterDatabaseSetStmt => {
                let alter = statement.as_a::<pg_sys::AlterDatabaseSetStmt>(T_AlterDatabaseSetStmt);
                return alter.map_or_else(Vec::new, |alter| named(alter.dbname));
            }
            T_AlterDatabaseStmt => {
                let alter = statement.as_a::<pg_sys::AlterDatabaseStmt>(T_AlterDatabaseStmt);
                return alter.map_or_else(Vec::new, |alter| named(alter.dbname));
            }
            T_AlterRoleSetStmt => {
                let alter = statement.as_a::<pg_sys::AlterRoleSetStmt>(T_AlterRoleSetStmt);
                return alter.map_or_else(Vec::new, |alter| named(alter.database));
            }
            T_AlterOwnerStmt => statement
                .as_a::<pg_sys::AlterOwnerStmt>(T_AlterOwnerStmt)
                .filter(|alter| alter.objectType == OBJECT_DATABASE)
                .map(|alter| one(alter.object)),
            T_CommentStmt => statement
                .as_a::<pg_sys::CommentStmt>(T_CommentStmt)
                .filter(|comment| comment.objtype == OBJECT_DATABASE)
                .map(|comment| one(comment.object)),
            T_SecLabelStmt => statement
                .as_a::<pg_sys::SecLabelStmt>(T_SecLabelStmt)
                .filter(|label| label.objtype == OBJECT_DATABASE)
                .map(|label| one(label.object)),
            T_GrantStmt => statement
                .as_a::<pg_sys::GrantStmt>(T_GrantStmt)
                .filter(|grant| grant.objtype == OBJECT_DATABASE)
                .map(|grant| items(grant.objects)),
            _ => None,
        };
        let strings = nodes.unwrap_or_default().into_iter();
        let strings = strings.filter(|node| is_a(*node, T_String));
        strings
            .filter_map(|node| bytes((*node.cast::<pg_sys::String>()).sval))
            .collect()
    }
}

/// Name of the database that this session is in.
pub fn database_name() -> Sql {
    // SAFETY: a look-up; the database is there while we are in it.
    unsafe { bytes(pg_sys::get_database_name(pg_sys::MyDatabaseId)) }.unwrap_or_default()
}

/// A database that must have no other connections while a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsEmpty {
    pub database: pg_sys::Oid,
    /// It is gone once the statement is committed.
    pub is_dropped: bool,
}

/// The database that `statement` needs empty, if the current role may run the statement at all:
/// nobody else can make a worker step aside.
pub fn needs_empty(statement: &Statement) -> Option<NeedsEmpty> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; names are NUL-terminated or NULL.
    let (name, is_dropped, is_template) = unsafe {
        match statement.node_tag() {
            T_DropdbStmt => (
                bytes(statement.as_a::<pg_sys::DropdbStmt>(T_DropdbStmt)?.dbname)?,
                true,
                false,
            ),
            T_RenameStmt => {
                let rename = statement.as_a::<pg_sys::RenameStmt>(T_RenameStmt)?;
                if rename.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (bytes(rename.subname)?, false, false)
            }
            T_AlterDatabaseStmt => {
                let alter = statement.as_a::<pg_sys::AlterDatabaseStmt>(T_AlterDatabaseStmt)?;
                option(alter.options, b"tablespace")?;
                (bytes(alter.dbname)?, false, false)
            }
            T_CreatedbStmt => {
                let create = statement.as_a::<pg_sys::CreatedbStmt>(T_CreatedbStmt)?;
                (option(create.options, b"template")?, false, true)
            }
            _ => return None,
        }
    };
    let database = database_oid(&name)?;
    let is_allowed = is_template || may_own_database(database);
    (is_allowed && database != super::server::my_database()).then_some(NeedsEmpty {
        database,
        is_dropped,
    })
}

/// # Safety
/// `list` is NIL or a list of DefElem nodes.
unsafe fn option(list: *mut pg_sys::List, wanted: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: by the caller's promise.
    unsafe {
        let mut options = items::<pg_sys::DefElem>(list).into_iter();
        let found = options.find(|o| bytes((**o).defname).as_deref() == Some(wanted))?;
        if (*found).arg.is_null() {
            return None;
        }
        bytes(pg_sys::defGetString(found))
    }
}
