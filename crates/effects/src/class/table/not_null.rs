//! A column's NOT NULL: a flag up to 17, a named constraint from 18 on.

use super::inherit::Kept;
use super::{Above, Column, NotNull, Table};
use crate::common::comment_on;
use crate::object::Object;
use crate::script::{Script, Unhandled};

/// The change of one column.
pub fn alter(
    table: &Table,
    kept: &Kept,
    old: &Column,
    new: &Column,
    script: &mut Script,
) -> Result<(), Unhandled> {
    if old.constraint.is_none() && new.constraint.is_none() {
        flag(table, kept, old, new, script);
        return Ok(());
    }
    let above = kept.above(old, new);
    let drop = |script: &mut Script| {
        let sql = format!(
            "{} ALTER COLUMN {} DROP NOT NULL",
            table.alter_all(),
            new.name
        );
        script.push("alter", sql);
    };
    match (&old.constraint, &new.constraint) {
        (None, Some(constraint)) => add(table, new, constraint, &above, script)?,
        (Some(constraint), None) => {
            let is_said = above
                .iter()
                .any(|(old, new)| old.constraint.is_some() && new.constraint.is_none());
            if !is_said || constraint.is_local {
                drop(script);
            }
        }
        // ALTER COLUMN … TYPE re-creates the same one, also at replay.
        (Some(was), Some(is)) if was.oid != is.oid && !was.is_recreated_as(is) => {
            let lost = |(old, new): &(&Above, &Above)| {
                old.constraint.is_some() && new.constraint.is_none()
            };
            let is_parents = |(old, new): &(&Above, &Above)| {
                let both = old.constraint.as_ref().zip(new.constraint.as_ref());
                both.is_some_and(|(was, is)| was.oid != is.oid)
            };
            if above.iter().any(is_parents) && !is.is_local {
                // The parent's was re-created, and with it this one.
                ensure_inherited_name(table, new, is, above.iter().map(|(_, new)| *new))?;
                comment_not_null(table, new, None, script);
                return Ok(());
            }
            if above.iter().any(|(_, new)| new.constraint.is_some()) {
                return Err(table.unhandled("an inherited NOT NULL constraint was re-created"));
            }
            if was.is_local || !above.iter().any(lost) {
                drop(script);
            }
            add_not_null(table, new, is, script);
        }
        (Some(was), Some(is)) => change(table, kept, new, was, is, &above, script)?,
        (None, None) => {}
    }
    let before = old.constraint.as_ref().filter(|was| {
        let is_same = |is: &NotNull| is.oid == was.oid || was.is_recreated_as(is);
        new.constraint.as_ref().is_some_and(is_same)
    });
    comment_not_null(
        table,
        new,
        before.and_then(|was| was.comment.as_deref()),
        script,
    );
    Ok(())
}

/// A parent, which remains one, has dropped its own only (ALTER TABLE ONLY): if a child's is local as well,
/// it is written with the child's drop. Written early, with the old names.
pub fn keep(table: &Table, kept: &Kept, old: &Column, new: &Column, script: &mut Script) {
    let Some((was, is)) = old.constraint.as_ref().zip(new.constraint.as_ref()) else {
        return;
    };
    let becomes_own = was.oid == is.oid && !was.is_local && is.is_local;
    let mut above = kept.above(old, new).into_iter();
    let is_left = above.any(|(old, new)| old.constraint.is_some() && new.constraint.is_none());
    if becomes_own && is_left {
        add_not_null(table, old, was, script);
    }
}

/// Up to 17. A partitioned parent includes its partitions; others use ONLY.
fn flag(table: &Table, kept: &Kept, old: &Column, new: &Column, script: &mut Script) {
    let above = kept.above(old, new);
    let said = above
        .iter()
        .find(|(was, is)| kept.is_partitioned(is.table) && was.not_null != is.not_null);
    let expected = said.map_or(old.not_null, |(_, is)| is.not_null);
    if expected != new.not_null {
        let alter = if table.is_partitioned() {
            table.alter_all()
        } else {
            table.alter_only()
        };
        let word = if new.not_null { "SET" } else { "DROP" };
        script.push(
            "alter",
            format!("{alter} ALTER COLUMN {} {word} NOT NULL", new.name),
        );
    }
}

/// A constraint that its column did not have.
fn add(
    table: &Table,
    column: &Column,
    constraint: &NotNull,
    above: &[(&Above, &Above)],
    script: &mut Script,
) -> Result<(), Unhandled> {
    let is_passed_on = |above: &Above| above.constraint.as_ref().is_some_and(|c| !c.no_inherit);
    let said = above
        .iter()
        .find(|(old, new)| !is_passed_on(old) && is_passed_on(new));
    match said {
        Some((_, new)) if !constraint.is_local => {
            ensure_inherited_name(table, column, constraint, std::iter::once(*new))?;
        }
        _ => add_not_null(table, column, constraint, script),
    }
    Ok(())
}

/// Fails if an inherited constraint has another name than its parents', unless that name is taken by another
/// column's: then PostgreSQL chooses one, at replay as well.
pub fn ensure_inherited_name<'a>(
    table: &Table,
    column: &Column,
    constraint: &NotNull,
    mut above: impl Iterator<Item = &'a Above>,
) -> Result<(), Unhandled> {
    let is_taken = |name: &str| {
        let mut others = table
            .columns()
            .iter()
            .filter(|other| other.number != column.number);
        others.any(|other| {
            other
                .constraint
                .as_ref()
                .is_some_and(|other| other.name == name)
        })
    };
    let gives_name = |above: &Above| {
        let given = above.constraint.as_ref();
        given.is_some_and(|given| given.name == constraint.name || is_taken(&given.name))
    };
    if constraint.is_local || above.any(gives_name) {
        return Ok(());
    }
    Err(table.unhandled("an inherited NOT NULL constraint with another name"))
}

/// Whether ALTER COLUMN … TYPE has re-created the same constraint.
pub fn is_recreated(old: &Column, new: &Column) -> bool {
    let both = old.constraint.as_ref().zip(new.constraint.as_ref());
    both.is_some_and(|(was, is)| was.oid != is.oid && was.is_recreated_as(is))
}

fn is_named(above: &Above, name: &str) -> bool {
    above
        .constraint
        .as_ref()
        .is_some_and(|other| other.name == name)
}

fn change(
    table: &Table,
    kept: &Kept,
    column: &Column,
    was: &NotNull,
    is: &NotNull,
    above: &[(&Above, &Above)],
    script: &mut Script,
) -> Result<(), Unhandled> {
    if was.name != is.name
        && !above
            .iter()
            .any(|(old, new)| is_named(old, &was.name) && is_named(new, &is.name))
    {
        let (from, to) = (&was.name, &is.name);
        script.push(
            "alter",
            format!("{} RENAME CONSTRAINT {from} TO {to}", table.alter_all()),
        );
    }
    match (was.no_inherit, is.no_inherit) {
        (false, true) => alter_constraint(table, is, "NO INHERIT", script),
        (true, false) => alter_constraint(table, is, "INHERIT", script),
        _ => {}
    }
    match (was.is_valid, is.is_valid) {
        // Repeating it has no effect.
        (false, true) => {
            script.push(
                "alter",
                format!("{} VALIDATE CONSTRAINT {}", table.alter_all(), is.name),
            );
        }
        (true, false) => return Err(table.unhandled("a NOT NULL constraint is no longer valid")),
        _ => {}
    }
    match (was.is_local, is.is_local) {
        (false, true) if is.inherited > 0 => add_not_null(table, column, is, script),
        // ATTACH PARTITION takes it over.
        (true, false) if !kept.is_newly_attached => {
            return Err(table.unhandled("a NOT NULL constraint is no longer local"));
        }
        _ => {}
    }
    Ok(())
}

fn alter_constraint(table: &Table, constraint: &NotNull, words: &str, script: &mut Script) {
    script.push(
        "alter",
        format!(
            "{} ALTER CONSTRAINT {} {words}",
            table.alter_all(),
            constraint.name
        ),
    );
}

/// A NOT NULL constraint (18) that has not been checked.
pub fn invalid_not_null(table: &Table, column: &Column, script: &mut Script) {
    if let Some(constraint) = column
        .constraint
        .as_ref()
        .filter(|c| !c.is_valid && c.is_local)
    {
        add_not_null(table, column, constraint, script);
    }
}

pub fn add_not_null(table: &Table, column: &Column, constraint: &NotNull, script: &mut Script) {
    let definition = constraint.definition(column);
    let sql = format!("{} ADD {definition}", table.alter_all());
    script.push("alter", sql);
}

/// The comment of a NOT NULL constraint, if it has changed from `before`.
pub fn comment_not_null(table: &Table, column: &Column, before: Option<&str>, script: &mut Script) {
    let Some(constraint) = &column.constraint else {
        return;
    };
    if constraint.comment.as_deref() != before {
        let what = format!("CONSTRAINT {} ON {}", constraint.name, table.target());
        script.push("comment", comment_on(&what, constraint.comment.as_deref()));
    }
}
