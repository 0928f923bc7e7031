//! Subscriptions as a restored database may have them: disabled, and without reaching for the
//! publisher, which still serves the original.

use pgrx::prelude::*;

use super::ddl_catalog::options;
use super::ddl_node::{bytes, names, Sql};
use super::ddl_statement::Statement;
use super::quote;

/// Options that make the statement connect, or the subscription run.
const REACHING: [&[u8]; 6] = [
    b"connect",
    b"enabled",
    b"create_slot",
    b"copy_data",
    b"refresh",
    b"failover",
];

/// What a restore runs instead of the statement; none for what only concerns the publisher.
pub fn replay_text(statement: &Statement) -> Option<Sql> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tree is valid while the statement is; each cast follows the node's tag.
    unsafe {
        match statement.node_tag() {
            T_CreateSubscriptionStmt => {
                create(statement.as_a::<pg_sys::CreateSubscriptionStmt>(T_CreateSubscriptionStmt)?)
            }
            T_AlterSubscriptionStmt => {
                alter(statement.as_a::<pg_sys::AlterSubscriptionStmt>(T_AlterSubscriptionStmt)?)
            }
            T_DropSubscriptionStmt => {
                let drop =
                    statement.as_a::<pg_sys::DropSubscriptionStmt>(T_DropSubscriptionStmt)?;
                if !exists(drop.subname) {
                    // IF EXISTS; without it the statement fails.
                    return None;
                }
                let name = quote::identifier(&bytes(drop.subname)?);
                // The slot is the original's.
                Some(
                    [
                        b"ALTER SUBSCRIPTION ",
                        &name[..],
                        b" DISABLE;\nALTER SUBSCRIPTION ",
                        &name,
                        b" SET (slot_name = NONE);\nDROP SUBSCRIPTION ",
                        &name,
                    ]
                    .concat(),
                )
            }
            _ => None,
        }
    }
}

/// # Safety
/// `name` must be NUL-terminated.
unsafe fn exists(name: *mut std::ffi::c_char) -> bool {
    let unused = pg_sys::Datum::from(0);
    // SAFETY: a look-up by database and name.
    unsafe {
        pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::SUBSCRIPTIONNAME as i32,
            pg_sys::MyDatabaseId.into(),
            pg_sys::Datum::from(name),
            unused,
            unused,
        )
    }
}

unsafe fn create(create: &pg_sys::CreateSubscriptionStmt) -> Option<Sql> {
    // SAFETY: see `replay_text`.
    unsafe {
        let mut sql = [
            b"CREATE SUBSCRIPTION ",
            &quote::identifier(&bytes(create.subname)?)[..],
            b" CONNECTION ",
            &quote::literal(&bytes(create.conninfo)?),
            b" PUBLICATION ",
            &publications(create.publication),
            b" WITH (connect = false",
        ]
        .concat();
        push_kept_options(&mut sql, create.options, b", ");
        sql.push(b')');
        Some(sql)
    }
}

unsafe fn alter(alter: &pg_sys::AlterSubscriptionStmt) -> Option<Sql> {
    use pg_sys::AlterSubscriptionType::*;
    // SAFETY: see `replay_text`.
    unsafe {
        let name = quote::identifier(&bytes(alter.subname)?);
        let mut sql = [b"ALTER SUBSCRIPTION ", &name[..]].concat();
        let (verb, has_publications): (&[u8], bool) = match alter.kind {
            ALTER_SUBSCRIPTION_OPTIONS => (b" SET (", false),
            ALTER_SUBSCRIPTION_CONNECTION => (b" CONNECTION ", false),
            ALTER_SUBSCRIPTION_SET_PUBLICATION => (b" SET PUBLICATION ", true),
            ALTER_SUBSCRIPTION_ADD_PUBLICATION => (b" ADD PUBLICATION ", true),
            ALTER_SUBSCRIPTION_DROP_PUBLICATION => (b" DROP PUBLICATION ", true),
            // REFRESH, ENABLE, DISABLE and SKIP concern what the publisher sends.
            _ => return None,
        };
        sql.extend_from_slice(verb);
        if has_publications {
            sql.extend_from_slice(&publications(alter.publication));
            sql.extend_from_slice(b" WITH (refresh = false)");
        } else if alter.kind == ALTER_SUBSCRIPTION_CONNECTION {
            sql.extend_from_slice(&quote::literal(&bytes(alter.conninfo)?));
        } else {
            let before = sql.len();
            push_kept_options(&mut sql, alter.options, b"");
            if sql.len() == before {
                return None;
            }
            sql.push(b')');
        }
        Some(sql)
    }
}

unsafe fn publications(list: *mut pg_sys::List) -> Sql {
    // SAFETY: see `replay_text`.
    let names = unsafe { names(list) };
    let names: Vec<Sql> = names.iter().map(|name| quote::identifier(name)).collect();
    names.join(b", ".as_slice())
}

unsafe fn push_kept_options(sql: &mut Sql, list: *mut pg_sys::List, first: &[u8]) {
    // SAFETY: see `replay_text`.
    let options = unsafe { options(list) };
    let kept = options
        .into_iter()
        .filter(|(name, _)| !REACHING.contains(&name.as_slice()));
    for (place, (name, value)) in kept.enumerate() {
        sql.extend_from_slice(if place == 0 { first } else { b", " });
        sql.extend_from_slice(&name);
        if let Some(value) = value {
            // NONE means something else than 'none' for slot_name and origin alike.
            let value = if value == b"none" {
                value
            } else {
                quote::literal(&value)
            };
            sql.extend_from_slice(&[b" = ", &value[..]].concat());
        }
    }
}
