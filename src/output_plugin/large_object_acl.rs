//! The privileges on a large object as REVOKE and GRANT.
//!
//! All are revoked and granted again, so that the previous ones do not matter. GRANT by a superuser counts as
//! the owner's; privileges granted by another role are granted by that role.

use super::large_objects::Roles;
use super::writer::Writer;
use crate::pg::decoding::large_object_state::{Grant, Metadata, Privilege};

const PUBLIC: u32 = 0;

/// Writes statements that set the privileges of `after`. `before` is `None` for a new object.
pub fn write(
    writer: &mut Writer<'_>,
    roles: &mut Roles,
    object: u32,
    before: Option<&Metadata>,
    after: &Metadata,
) {
    let (had, are) = match before {
        Some(before) if before == after => return,
        Some(before) => (grantees(before), grantees(after)),
        None => (roles.default_grantees().to_vec(), grantees(after)),
    };
    let is_default = after.acl.is_none() && had.is_empty();
    if is_default || before.is_some_and(|before| before.acl.is_none() && after.acl.is_none()) {
        return;
    }
    revoke_all(writer, roles, object, [had, are].concat(), after.owner);
    let all_for_owner = Grant {
        grantee: after.owner,
        grantor: after.owner,
        select: Privilege::Yes,
        update: Privilege::Yes,
    };
    let grants = after.acl.clone().unwrap_or_else(|| vec![all_for_owner]);
    for grant in in_order(grants, after.owner) {
        give(writer, roles, object, grant, after.owner);
    }
}

fn grantees(metadata: &Metadata) -> Vec<u32> {
    let items = metadata.acl.iter().flatten();
    items.map(|grant| grant.grantee).collect()
}

fn revoke_all(
    writer: &mut Writer<'_>,
    roles: &mut Roles,
    object: u32,
    mut from: Vec<u32>,
    owner: u32,
) {
    from.extend([PUBLIC, owner]);
    from.sort_unstable();
    from.dedup();
    let names: Vec<Vec<u8>> = from
        .into_iter()
        .filter_map(|role| grantee_name(writer, roles, role))
        .collect();
    let head = format!("REVOKE ALL ON LARGE OBJECT {object} FROM ");
    let names = names.join(b", ".as_slice());
    writer.statement(&[head.as_bytes(), &names, b" CASCADE;"].concat());
}

fn grantee_name(writer: &mut Writer<'_>, roles: &mut Roles, role: u32) -> Option<Vec<u8>> {
    match role {
        PUBLIC => Some(b"PUBLIC".to_vec()),
        role => roles.name(writer, role),
    }
}

/// A role must have a privilege before it can grant it to others.
fn in_order(mut waiting: Vec<Grant>, owner: u32) -> Vec<Grant> {
    let mut ordered: Vec<Grant> = Vec::with_capacity(waiting.len());
    loop {
        let may = |by: u32, privilege: fn(&Grant) -> Privilege, given: &[Grant]| {
            by == owner
                || given.iter().any(|grant| {
                    grant.grantee == by && privilege(grant) == Privilege::WithGrantOption
                })
        };
        let is_ready = |grant: &Grant| {
            (grant.select == Privilege::No || may(grant.grantor, |g| g.select, &ordered))
                && (grant.update == Privilege::No || may(grant.grantor, |g| g.update, &ordered))
        };
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.iter().partition(|grant| is_ready(grant));
        if ready.is_empty() {
            ordered.extend(rest);
            return ordered;
        }
        ordered.extend(ready);
        waiting = rest;
    }
}

fn give(writer: &mut Writer<'_>, roles: &mut Roles, object: u32, grant: Grant, owner: u32) {
    let by_other = grant.grantor != owner;
    let names = grantee_name(writer, roles, grant.grantee).zip(roles.name(writer, grant.grantor));
    let Some((grantee, grantor)) = names else {
        return writer.flag(&format!(
            "large object {object} has privileges of a role that no longer exists"
        ));
    };
    if by_other {
        writer.statement(&[b"SET LOCAL ROLE ", &grantor[..], b";"].concat());
    }
    for (wanted, option) in [
        (Privilege::Yes, ""),
        (Privilege::WithGrantOption, " WITH GRANT OPTION"),
    ] {
        let words: Vec<&str> = [(grant.select, "SELECT"), (grant.update, "UPDATE")]
            .into_iter()
            .filter(|(privilege, _)| *privilege == wanted)
            .map(|(_, word)| word)
            .collect();
        if !words.is_empty() {
            let words = words.join(", ");
            let head = format!("GRANT {words} ON LARGE OBJECT {object} TO ");
            writer.statement(&[head.as_bytes(), &grantee, option.as_bytes(), b";"].concat());
        }
    }
    if by_other {
        writer.statement(b"SET LOCAL ROLE NONE;");
    }
}
