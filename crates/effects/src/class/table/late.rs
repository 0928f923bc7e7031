//! What waits for other objects: the parent, indexes; and the columns' privileges, which a REVOKE on the
//! table would remove.

use super::{Column, Table};
use crate::acl::{Acl, Grant};
use crate::object::Object;
use crate::script::{Script, Unhandled};

pub fn late(table: &Table, before: Option<&Table>, script: &mut Script) -> Result<(), Unhandled> {
    if !table.is_catalog() {
        attach(table, before, script)?;
        replica_identity(table, before, script)?;
        cluster(table, before, script);
    }
    for column in table.columns() {
        privileges(table, before, column, script);
    }
    Ok(())
}

fn attach(table: &Table, before: Option<&Table>, script: &mut Script) -> Result<(), Unhandled> {
    if table.is_partition() {
        let Some((bound, parent)) = table.bound.as_ref().zip(table.parents().next()) else {
            return Ok(());
        };
        if !before.is_some_and(|before| is_attached(before, table)) {
            script.push(
                "attach",
                format!(
                    "ALTER TABLE ONLY {} ATTACH PARTITION {} {}",
                    parent.target(),
                    table.target(),
                    bound.text
                ),
            );
        }
        return Ok(());
    }
    // For a new one it is part of CREATE.
    let Some(before) = before else { return Ok(()) };
    let new = |oid: u32| !before.has_parent(oid) || before.is_partition();
    for parent in table.parents().filter(|parent| new(parent.oid)) {
        let sql = format!("{} INHERIT {}", table.alter_all(), parent.target());
        script.push("attach", sql);
    }
    Ok(())
}

/// Whether `before` is a partition of the same parent with the same bound.
pub fn is_attached(before: &Table, after: &Table) -> bool {
    let parent = |table: &Table| table.parents().next().map(|parent| parent.oid);
    let bound = |table: &Table| table.bound.as_ref().map(|bound| bound.tree.clone());
    before.is_partition()
        && after.is_partition()
        && parent(before) == parent(after)
        && bound(before) == bound(after)
}

fn replica_identity(
    table: &Table,
    before: Option<&Table>,
    script: &mut Script,
) -> Result<(), Unhandled> {
    let index = |table: &Table| table.identity_index.as_ref().map(|index| index.oid);
    let was = before.map(|before| (before.identity.as_str(), index(before)));
    let is = (table.identity.as_str(), index(table));
    if was.unwrap_or(("d", None)) == is || (table.is_foreign() && before.is_none()) {
        return Ok(());
    }
    let words = match (is, &table.identity_index) {
        (("d", _), _) => "DEFAULT".to_owned(),
        (("n", _), _) => "NOTHING".to_owned(),
        (("f", _), _) => "FULL".to_owned(),
        (("i", _), Some(index)) => format!("USING INDEX {}", index.name),
        // Its index has been dropped: that is written there.
        (("i", _), None) if was.is_some_and(|was| was.0 == "i") => return Ok(()),
        (("i", _), None) => return Err(table.unhandled("a replica identity without its index")),
        _ => return Err(table.unhandled("replica identity")),
    };
    script.push(
        "alter",
        format!("{} REPLICA IDENTITY {words}", table.alter_only()),
    );
    Ok(())
}

fn cluster(table: &Table, before: Option<&Table>, script: &mut Script) {
    let index = |table: &Table| table.cluster_index.as_ref().map(|index| index.oid);
    let was = before.and_then(index);
    match &table.cluster_index {
        Some(new) if was != Some(new.oid) => {
            let sql = format!("{} CLUSTER ON {}", table.alter_all(), new.name);
            script.push("alter", sql);
        }
        None if was
            .is_some_and(|was| table.indexes.iter().flatten().any(|index| *index == was)) =>
        {
            script.push(
                "alter",
                format!("{} SET WITHOUT CLUSTER", table.alter_all()),
            );
        }
        _ => {}
    }
}

/// A new owner has the old one's entries, and a REVOKE on the table also applies to its columns: if any of
/// the table's privileges has changed, the column's are granted again.
fn privileges(table: &Table, before: Option<&Table>, column: &Column, script: &mut Script) {
    let old = before.and_then(|before| Some((before, before.column(column.number)?)));
    let none: &[Grant] = &[];
    let new = column.acl.as_deref().unwrap_or(none);
    let on = format!("TABLE {}", table.target());
    let Some((before, old)) = old else {
        return Acl(none).become_of_column(Acl(new), &column.name, &on, script);
    };
    let was = old.acl.as_deref().unwrap_or(none);
    let is_tables_same =
        before.common.owner == table.common.owner && before.common.acl().0 == table.common.acl().0;
    if is_tables_same {
        return Acl(was).become_of_column(Acl(new), &column.name, &on, script);
    }
    if was.is_empty() {
        return Acl(none).become_of_column(Acl(new), &column.name, &on, script);
    }
    let owner = |table: &Table| table.common.owner.clone().unwrap_or_default();
    let moved = Acl(was).with_owner(&owner(before), &owner(table));
    let mut grantees: Vec<&str> = moved.iter().map(|grant| grant.grantee.as_str()).collect();
    grantees.sort_unstable();
    grantees.dedup();
    for role in grantees {
        let sql = format!("REVOKE ALL ({}) ON {on} FROM {role} CASCADE", column.name);
        let roles: Vec<&str> = Some(role)
            .into_iter()
            .filter(|role| *role != "PUBLIC")
            .collect();
        script.push_with_roles("revoke", sql, &roles);
    }
    Acl(none).become_of_column(Acl(new), &column.name, &on, script);
}
