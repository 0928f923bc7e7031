//! Statements about whole databases that PostgreSQL refuses while anybody is connected to them.

use pgrx::prelude::*;

use super::ddl_catalog::{database_oid, may_own_database};
use super::ddl_node::{bytes, items};
use super::ddl_statement::Statement;

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
