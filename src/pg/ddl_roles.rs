//! The roles that a statement names: its text fails where one of them is missing.

use pgrx::prelude::*;

use super::ddl_node::{bytes, is_a, items, Sql};
use super::ddl_statement::Statement;

/// Names of roles in GRANT, OWNER TO, CREATE POLICY and their like.
pub fn named_roles(statement: &Statement) -> Vec<Sql> {
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    let specifications = unsafe { role_specifications(statement) };
    let mut roles = Vec::new();
    for specification in specifications {
        // SAFETY: as above; only ROLESPEC_CSTRING carries a name.
        let role = unsafe {
            if !is_a(specification.cast(), pg_sys::NodeTag::T_RoleSpec)
                || (*specification).roletype != pg_sys::RoleSpecType::ROLESPEC_CSTRING
            {
                continue;
            }
            bytes((*specification).rolename)
        };
        roles.extend(role.filter(|role| exists(role) && !role.starts_with(b"pg_")));
    }
    roles.sort();
    roles.dedup();
    roles
}

fn exists(role: &[u8]) -> bool {
    let role = super::ddl_node::c_string(role);
    // SAFETY: missing is allowed.
    unsafe { pg_sys::get_role_oid(role.as_ptr(), true) != pg_sys::InvalidOid }
}

unsafe fn role_specifications(statement: &Statement) -> Vec<*mut pg_sys::RoleSpec> {
    use pg_sys::NodeTag::*;
    macro_rules! node {
        ($type:ident, $tag:ident) => {
            match statement.as_a::<pg_sys::$type>($tag) {
                Some(node) => node,
                None => return Vec::new(),
            }
        };
    }
    // SAFETY: see `named_roles`.
    unsafe {
        match statement.node_tag() {
            T_GrantStmt => items(node!(GrantStmt, T_GrantStmt).grantees),
            T_AlterOwnerStmt => vec![node!(AlterOwnerStmt, T_AlterOwnerStmt).newowner],
            T_CreateSchemaStmt => vec![node!(CreateSchemaStmt, T_CreateSchemaStmt).authrole],
            T_CreatePolicyStmt => items(node!(CreatePolicyStmt, T_CreatePolicyStmt).roles),
            T_AlterPolicyStmt => items(node!(AlterPolicyStmt, T_AlterPolicyStmt).roles),
            T_CreateUserMappingStmt => {
                vec![node!(CreateUserMappingStmt, T_CreateUserMappingStmt).user]
            }
            T_ReassignOwnedStmt => {
                let reassign = node!(ReassignOwnedStmt, T_ReassignOwnedStmt);
                let mut roles = items(reassign.roles);
                roles.push(reassign.newrole);
                roles
            }
            T_DropOwnedStmt => items(node!(DropOwnedStmt, T_DropOwnedStmt).roles),
            T_AlterDefaultPrivilegesStmt => {
                let alter = node!(AlterDefaultPrivilegesStmt, T_AlterDefaultPrivilegesStmt);
                let mut roles: Vec<*mut pg_sys::RoleSpec> = items((*alter.action).grantees);
                for option in items::<pg_sys::DefElem>(alter.options) {
                    if is_a((*option).arg, T_List)
                        && bytes((*option).defname).as_deref() == Some(b"roles")
                    {
                        roles.extend(items::<pg_sys::RoleSpec>((*option).arg.cast()));
                    }
                }
                roles
            }
            T_AlterTableStmt => {
                let owners = statement.alter_commands().into_iter();
                owners.map(|command| (*command).newowner).collect()
            }
            _ => Vec::new(),
        }
    }
}
