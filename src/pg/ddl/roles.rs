//! The roles that a statement names: its text fails if one of them is missing.

use pgrx::prelude::*;

use super::node::{bytes, is_a, items, Sql};
use super::statement::Statement;

/// Column number of pg_auth_members.roleid (catalog/pg_auth_members.h); 16 added an OID before it.
const ANUM_ROLE: i16 = if cfg!(feature = "pg15") { 1 } else { 2 };

/// Names of roles in GRANT, OWNER TO, CREATE POLICY and similar clauses.
pub fn named_roles(statement: &Statement) -> Vec<Sql> {
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe { names_in(role_specifications(statement)) }
}

/// The names of those roles that exist and are not predefined.
///
/// # Safety
/// Each is NULL or a node of a valid tree.
pub(in crate::pg) unsafe fn names_in(specifications: Vec<*mut pg_sys::RoleSpec>) -> Vec<Sql> {
    let mut roles = Vec::new();
    for specification in specifications {
        // SAFETY: by the caller's promise; only ROLESPEC_CSTRING carries a name.
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

pub fn is_superuser(role: &[u8]) -> bool {
    let role = super::node::c_string(role);
    // SAFETY: look-ups; missing is allowed.
    unsafe { pg_sys::superuser_arg(pg_sys::get_role_oid(role.as_ptr(), true)) }
}

fn exists(role: &[u8]) -> bool {
    let role = super::node::c_string(role);
    // SAFETY: missing is allowed.
    unsafe { pg_sys::get_role_oid(role.as_ptr(), true) != pg_sys::InvalidOid }
}

/// The roles whose privileges the current role has by direct or indirect membership.
pub fn memberships_of_current_role() -> Vec<Sql> {
    // SAFETY: the list is read while it is held; only names are kept.
    unsafe {
        let mut found: Vec<pg_sys::Oid> = vec![pg_sys::GetUserId()];
        let mut next = 0;
        while let Some(&member) = found.get(next) {
            next += 1;
            for role in roles_of_member(member) {
                if !found.contains(&role) {
                    found.push(role);
                }
            }
        }
        let names = found[1..].iter();
        names
            .filter_map(|role| bytes(pg_sys::GetUserNameFromId(*role, true)))
            .collect()
    }
}

/// # Safety
/// Needs a transaction.
unsafe fn roles_of_member(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: pg_auth_members has no variable-length columns in front; the list is released.
    unsafe {
        let unused = pg_sys::Datum::from(0);
        let list = pg_sys::SearchSysCacheList(
            pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
            1,
            pg_sys::Datum::from(member),
            unused,
            unused,
        );
        let members = (*list).members.as_slice((*list).n_members as usize);
        let roles = members
            .iter()
            .map(|member| {
                let mut is_null = false;
                let role = pg_sys::SysCacheGetAttr(
                    pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
                    &raw mut (**member).tuple,
                    ANUM_ROLE,
                    &mut is_null,
                );
                pg_sys::Oid::from(role.value() as u32)
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        roles
    }
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
