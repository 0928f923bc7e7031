//! Inheritance of tables: what a parent's statement does to its children is written with the parent.

use super::{Above, Column, Table};
use crate::script::{Script, Unhandled};

/// Parents before and after.
pub struct Kept {
    parents: Vec<(u32, bool)>,
    /// Whether columns come from a type (CREATE TABLE … OF), which changes them with CASCADE.
    pub is_typed: bool,
    pub is_newly_attached: bool,
}

impl Kept {
    pub fn new(old: &Table, new: &Table) -> Kept {
        let kept = new.parents().filter(|parent| old.has_parent(parent.oid));
        let typed = |table: &Table| table.of_type.as_ref().map(|of| of.oid);
        Kept {
            parents: kept
                .map(|parent| (parent.oid, parent.is_partitioned))
                .collect(),
            is_typed: typed(old).is_some() && typed(old) == typed(new),
            is_newly_attached: new.is_partition() && !super::late::is_attached(old, new),
        }
    }

    pub fn has(&self, table: u32) -> bool {
        self.parents.iter().any(|(parent, _)| *parent == table)
    }

    pub fn is_partitioned(&self, table: u32) -> bool {
        self.parents.contains(&(table, true))
    }

    /// The parents' columns from which this one is inherited, before and after.
    pub fn above<'a>(&self, old: &'a Column, new: &'a Column) -> Vec<(&'a Above, &'a Above)> {
        let is_same = |a: &Above, b: &Above| (a.table, a.number) == (b.table, b.number);
        let before = old
            .above
            .iter()
            .flatten()
            .filter(|above| self.has(above.table));
        before
            .filter_map(|was| {
                let mut after = new.above.iter().flatten();
                Some((was, after.find(|is| is_same(was, is))?))
            })
            .collect()
    }

    /// Whether the column, which exists in one state only, is added or dropped with a parent's.
    pub fn is_given(&self, column: &Column) -> bool {
        self.is_typed
            || column
                .above
                .iter()
                .flatten()
                .any(|above| self.has(above.table))
    }
}

/// What is removed before columns change.
pub fn leave(old: &Table, new: &Table, script: &mut Script) -> Result<(), Unhandled> {
    let now_named = |oid: u32| {
        new.parents
            .iter()
            .flatten()
            .find(|parent| parent.oid == oid)
    };
    if old.is_partition() {
        if !super::late::is_attached(old, new) {
            for parent in old.parents() {
                let parent = now_named(parent.oid).unwrap_or(parent).target();
                let partition = super::Object::target(new);
                script.push(
                    "detach",
                    format!("ALTER TABLE ONLY {parent} DETACH PARTITION {partition}"),
                );
            }
        }
    } else {
        for parent in old
            .parents()
            .filter(|parent| !new.has_parent(parent.oid) || new.is_partition())
        {
            let parent = now_named(parent.oid).unwrap_or(parent).target();
            script.push("detach", format!("{} NO INHERIT {parent}", new.alter_all()));
        }
    }
    let lost = old.parents().any(|parent| !new.has_parent(parent.oid));
    let names = |table: &Table| -> Vec<(i32, String, (u32, i32, u32))> {
        let columns = table.columns().iter();
        columns
            .map(|column| (column.number, column.name.clone(), column.type_id))
            .collect()
    };
    if lost && names(old) != names(new) {
        return Err(new.unhandled("columns changed together with the removal of a parent"));
    }
    Ok(())
}

/// Fails if a column becomes local, or is no longer local, in a way that no statement here does.
pub fn ensure_local(kept: &Kept, before: &Table, after: &Table) -> Result<(), Unhandled> {
    let is_pending = |table: &Table| {
        table
            .parents
            .iter()
            .flatten()
            .any(|parent| parent.is_pending)
    };
    if is_pending(before) || is_pending(after) {
        return Ok(());
    }
    for new in after.columns() {
        let old = before.column(new.number);
        let (was_local, was_inherited) = match old {
            Some(old) => (old.is_local, old.inherited > 0),
            None => (
                !new.above
                    .iter()
                    .flatten()
                    .any(|above| kept.has(above.table)),
                false,
            ),
        };
        let has_left = was_inherited && new.inherited == 0;
        let has_detached = before.is_partition() && !super::late::is_attached(before, after);
        // One of several parents has dropped its own only, and that is written there.
        let is_left = new.is_local && old.is_some_and(|old| old.inherited > new.inherited);
        let expected =
            (was_local || has_left || is_left || has_detached) && !kept.is_newly_attached;
        if expected != new.is_local {
            return Err(
                after.unhandled(format!("whether column {} is local has changed", new.name))
            );
        }
    }
    Ok(())
}
