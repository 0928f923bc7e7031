//! Statements on whole databases that PostgreSQL refuses while other sessions are connected to them.

use pgrx::prelude::*;

use super::catalog::{database_oid, may_own_database};
use super::node::{bytes, is_a, items, Sql};
use super::statement::Statement;

/// The databases whose own properties `statement` changes; `None` if it concerns other objects, or only
/// renames a database.
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

/// A database that must have no other connections while a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsEmpty {
    pub database: pg_sys::Oid,
    /// It no longer exists once the statement is committed.
    pub is_dropped: bool,
}

/// What a statement does with the database to which nobody may be connected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Drop,
    Rename,
    Move,
    Copy,
}

/// The database to which nobody may be connected when `statement` runs, provided that PostgreSQL permits the
/// current role to run it here: nobody else can make a worker step aside. The checks are those of
/// commands/dbcommands.c.
pub fn needs_empty(statement: &Statement) -> Option<NeedsEmpty> {
    let (name, used) = used_database(statement)?;
    let database = database_oid(&name)?;
    // All except RENAME are refused in a transaction block (PreventInTransactionBlock).
    if used != Use::Rename && statement.is_in_transaction_block() {
        return None;
    }
    // SAFETY: a look-up of the current role.
    let may_create = || unsafe { pg_sys::have_createdb_privilege() };
    let is_allowed = match used {
        Use::Drop | Use::Move => may_own_database(database),
        Use::Rename => may_own_database(database) && may_create(),
        Use::Copy => may_create() && (is_template(database) || may_own_database(database)),
    };
    // All except a copy are refused in the database itself (dbcommands.c); a copy minds only the other sessions in it.
    let is_possible = used == Use::Copy || database != crate::pg::server::my_database();
    (is_allowed && is_possible).then_some(NeedsEmpty {
        database,
        is_dropped: used == Use::Drop,
    })
}

fn used_database(statement: &Statement) -> Option<(Sql, Use)> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; names are NUL-terminated or NULL.
    unsafe {
        Some(match statement.node_tag() {
            T_DropdbStmt => {
                let drop = statement.as_a::<pg_sys::DropdbStmt>(T_DropdbStmt)?;
                (bytes(drop.dbname)?, Use::Drop)
            }
            T_RenameStmt => {
                let rename = statement.as_a::<pg_sys::RenameStmt>(T_RenameStmt)?;
                if rename.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (bytes(rename.subname)?, Use::Rename)
            }
            T_AlterDatabaseStmt => {
                let alter = statement.as_a::<pg_sys::AlterDatabaseStmt>(T_AlterDatabaseStmt)?;
                option(alter.options, b"tablespace")?;
                (bytes(alter.dbname)?, Use::Move)
            }
            T_CreatedbStmt => {
                let create = statement.as_a::<pg_sys::CreatedbStmt>(T_CreatedbStmt)?;
                let template = option(create.options, b"template");
                (template.unwrap_or_else(|| b"template1".to_vec()), Use::Copy)
            }
            _ => return None,
        })
    }
}

/// Whether roles with CREATEDB may copy it.
fn is_template(database: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up; the row is read before it is given back.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::DATABASEOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(database));
        if tuple.is_null() {
            return false;
        }
        let row = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
        let is_template = (*row).datistemplate;
        pg_sys::ReleaseSysCache(tuple);
        is_template
    }
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
