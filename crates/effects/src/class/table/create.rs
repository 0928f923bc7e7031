//! Creating a table. A partition is created as a separate table; [`super::late`] attaches it.

use super::column::Settings;
use super::not_null::{comment_not_null, ensure_inherited_name, invalid_not_null};
use super::{Column, Parent, Table};
use crate::object::Object;
use crate::options::{created, with, with_toast};
use crate::script::{Script, Unhandled};

pub fn create(table: &Table, script: &mut Script) -> Result<(), Unhandled> {
    if table
        .parents
        .iter()
        .flatten()
        .any(|parent| parent.is_pending)
    {
        return Err(table.unhandled("a new partition that is being detached"));
    }
    let inherits: Vec<&Parent> = if table.is_partition() {
        Vec::new()
    } else {
        table.parents().collect()
    };
    let mut items = Vec::new();
    for column in table.columns() {
        items.extend(item(table, column)?);
    }
    let mut sql = format!(
        "CREATE {}{} {}",
        persistence(table)?,
        table.kind(),
        table.target()
    );
    if let Some(of) = &table.of_type {
        sql += &format!(" OF {}", of.name);
    }
    if table.of_type.is_none() || !items.is_empty() {
        sql += &format!(" ({})", items.join(", "));
    }
    if !inherits.is_empty() {
        let list: Vec<String> = inherits.iter().map(|parent| parent.target()).collect();
        sql += &format!(" INHERITS ({})", list.join(", "));
    }
    sql += &tail(table)?;
    script.push("create", sql);
    for column in table.columns() {
        behind(table, column, script)?;
    }
    row_security(None, table, script);
    Ok(())
}

/// The clauses of CREATE after the columns.
fn tail(table: &Table) -> Result<String, Unhandled> {
    let mut sql = String::new();
    if let Some(foreign) = &table.foreign {
        sql += &format!(" SERVER {}", foreign.server);
        sql += &created(foreign.options.as_deref());
    }
    match (&table.partition_key, table.is_partitioned()) {
        (Some(key), true) => sql += &format!(" PARTITION BY {key}"),
        // Incomplete: the key is created by a later command.
        (None, true) => return Err(table.unhandled("a partitioned table without a key")),
        _ => {}
    }
    // A restore uses the server's own access method unless told otherwise.
    if let Some(method) = table.method.as_ref().filter(|method| *method != "heap") {
        sql += &format!(" USING {method}");
    }
    sql += &with(&with_toast(&table.options, &table.toast_options));
    if let Some(tablespace) = &table.tablespace {
        sql += &format!(" TABLESPACE {tablespace}");
    }
    Ok(sql)
}

fn persistence(table: &Table) -> Result<&'static str, Unhandled> {
    match table.persistence.as_str() {
        "p" => Ok(""),
        "u" => Ok("UNLOGGED "),
        other => Err(table.unhandled(format!("persistence {other}"))),
    }
}

/// Whether CREATE creates the column without listing it.
fn is_given(table: &Table, column: &Column) -> bool {
    !table.is_partition() && !column.is_local && column.inherited > 0
}

/// The list in parentheses.
fn item(table: &Table, column: &Column) -> Result<Option<String>, Unhandled> {
    let constraint = column.constraint.as_ref();
    let own_constraint = constraint.filter(|constraint| constraint.is_valid && constraint.is_local);
    if is_given(table, column) {
        // Only what is in addition to the parent's.
        return Ok(own_constraint.map(|constraint| constraint.definition(column)));
    }
    let is_inheriting = !table.is_partition() && column.inherited > 0;
    let mut words = String::new();
    let above = column
        .above
        .iter()
        .flatten()
        .find(|above| above.expression.is_some());
    let is_same_generation = is_inheriting
        && column.is_generated()
        && above.is_some_and(|above| is_same_text(above.expression.as_ref(), column));
    if column.is_generated() {
        if !is_same_generation {
            words += &column.generation(table)?;
        }
    } else if let Some(default) = column.default() {
        words += &format!(" DEFAULT {default}");
    } else if is_inheriting && above.is_some() {
        words += " DEFAULT NULL";
    }
    if !is_inheriting || own_constraint.is_some() || column.constraint.is_none() {
        words += &column.not_null();
    }
    if table.of_type.is_some() {
        let item = format!("{} WITH OPTIONS{words}", column.name);
        return Ok(Some(item).filter(|_| !words.is_empty()));
    }
    let options = created(column.foreign_options.as_deref());
    let collate = column.collate();
    Ok(Some(format!(
        "{} {}{options}{collate}{words}",
        column.name, column.type_
    )))
}

fn is_same_text(expression: Option<&super::Expression>, column: &Column) -> bool {
    expression.map(|e| &e.text) == column.expression.as_ref().map(|e| &e.text)
}

/// Properties of a column that are set after CREATE.
fn behind(table: &Table, column: &Column, script: &mut Script) -> Result<(), Unhandled> {
    let alter = format!("{} ALTER COLUMN {}", table.alter_only(), column.name);
    let above = column
        .above
        .iter()
        .flatten()
        .next()
        .filter(|_| !table.is_partition());
    if is_given(table, column) {
        given(table, column, &alter, script)?;
    }
    let mut settings = Settings::new(column);
    if let Some(above) = above {
        settings.storage = &above.storage;
        settings.compression = &above.compression;
    }
    settings.become_(table, column, script)?;
    invalid_not_null(table, column, script);
    comment_not_null(table, column, None, script);
    Ok(())
}

/// An inherited column with its local properties.
fn given(
    table: &Table,
    column: &Column,
    alter: &str,
    script: &mut Script,
) -> Result<(), Unhandled> {
    let above = || column.above.iter().flatten();
    let inherited = above().find_map(|above| above.expression.as_ref());
    if !is_same_text(inherited, column) {
        match (column.is_generated(), column.default()) {
            (true, _) => {
                let Some(expression) = &column.expression else {
                    return Err(table.unhandled("a generated column without an expression"));
                };
                let sql = format!("{alter} SET EXPRESSION AS ({})", expression.text);
                script.push("alter", sql);
            }
            (false, Some(default)) => {
                script.push("alter", format!("{alter} SET DEFAULT {default}"))
            }
            (false, None) if above().all(|above| above.generated.is_empty()) => {
                script.push("alter", format!("{alter} DROP DEFAULT"));
            }
            (false, None) => {
                return Err(table.unhandled("an inherited column that is not generated"))
            }
        }
    }
    if let Some(constraint) = &column.constraint {
        ensure_inherited_name(table, column, constraint, above())?;
    } else if column.not_null && above().all(|above| !above.not_null) {
        script.push("alter", format!("{alter} SET NOT NULL"));
    }
    Ok(())
}

/// ENABLE, DISABLE, FORCE, NO FORCE.
pub fn row_security(before: Option<&Table>, table: &Table, script: &mut Script) {
    let alter = table.alter_all();
    if before.is_some_and(|before| before.row_security) != table.row_security {
        let word = if table.row_security {
            "ENABLE"
        } else {
            "DISABLE"
        };
        script.push("alter", format!("{alter} {word} ROW LEVEL SECURITY"));
    }
    if before.is_some_and(|before| before.force_row_security) != table.force_row_security {
        let word = if table.force_row_security {
            "FORCE"
        } else {
            "NO FORCE"
        };
        script.push("alter", format!("{alter} {word} ROW LEVEL SECURITY"));
    }
}
