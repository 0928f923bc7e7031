//! Which statements change what `pg_dumpall --globals-only` shows, or what a database itself is.

use pgrx::prelude::*;

use super::statement::Statement;

/// True for statements about roles, tablespaces, databases and privileges on parameters. Cheap for
/// all others. DROP OWNED and REASSIGN OWNED reach shared objects too.
pub fn changes_cluster(statement: &Statement) -> bool {
    use pg_sys::NodeTag::*;
    macro_rules! object {
        ($type:ident, $tag:ident, $field:ident) => {
            statement
                .as_a::<pg_sys::$type>($tag)
                .is_some_and(|node| is_shared(node.$field))
        };
    }
    match statement.node_tag() {
        T_CreateRoleStmt
        | T_AlterRoleStmt
        | T_AlterRoleSetStmt
        | T_DropRoleStmt
        | T_GrantRoleStmt
        | T_CreateTableSpaceStmt
        | T_DropTableSpaceStmt
        | T_AlterTableSpaceOptionsStmt
        | T_AlterDatabaseStmt
        | T_AlterDatabaseSetStmt
        | T_DropOwnedStmt
        | T_ReassignOwnedStmt => true,
        T_RenameStmt => object!(RenameStmt, T_RenameStmt, renameType),
        T_AlterOwnerStmt => object!(AlterOwnerStmt, T_AlterOwnerStmt, objectType),
        T_CommentStmt => object!(CommentStmt, T_CommentStmt, objtype),
        T_SecLabelStmt => object!(SecLabelStmt, T_SecLabelStmt, objtype),
        T_GrantStmt => object!(GrantStmt, T_GrantStmt, objtype),
        _ => false,
    }
}

fn is_shared(object: pg_sys::ObjectType::Type) -> bool {
    use pg_sys::ObjectType::*;
    matches!(
        object,
        OBJECT_ROLE | OBJECT_TABLESPACE | OBJECT_DATABASE | OBJECT_PARAMETER_ACL
    )
}
