//! Statements that change rows.

use super::catalog::{Column, Relation};
use super::fitting::{bound_value, column_value, condition};
use super::making::Making;

/// Columns and a row of values for an INSERT.
struct NewRow {
    columns: Vec<String>,
    overriding: bool,
}

pub fn insert(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let rows = if making.dice.percent(80) {
        making.dice.below(4) + 1
    } else {
        making.dice.below(60) + 30
    };
    let sql = insert_into(making, &table, rows);
    let returning = if making.dice.percent(10) {
        " RETURNING 1"
    } else {
        ""
    };
    Some(vec![sql + returning])
}

/// Enough rows for a COPY block, made by the server.
pub fn insert_many(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let row = new_row(making, &table);
    let count = making.dice.between(20, 200);
    let name = making.name_of(&table);
    let start = making.dice.below(100_000) * 10;
    let values: Vec<_> = row
        .columns
        .iter()
        .filter_map(|name| table.columns.iter().find(|c| &c.name == name))
        .map(|column| match column.ty.as_str() {
            "integer" | "bigint" if is_free(&table, column) => {
                format!("{start} + i")
            }
            "text" if !column.in_partition_key => format!("'many ' || {start} + i"),
            _ => column_value(making, &table, column),
        })
        .collect();
    Some(vec![format!(
        "INSERT INTO {name} ({}){} SELECT {} FROM generate_series(1, {count}) i ON CONFLICT DO NOTHING",
        row.columns.join(", "),
        overriding(&row),
        values.join(", ")
    )])
    .filter(|_| !row.columns.is_empty())
}

pub fn upsert(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| r.is_table() && r.key().is_some())?;
    let key = table.key()?.columns.join(", ");
    let rows = making.dice.below(4) + 1;
    let insert = insert_into(making, &table, rows);
    let set = plain_columns(&table)
        .into_iter()
        .find(|c| !c.in_key && !c.in_partition_key && c.references.is_none());
    let action = match set {
        Some(column) if making.dice.percent(60) && rows == 1 => {
            format!("({key}) DO UPDATE SET {0} = EXCLUDED.{0}", column.name)
        }
        _ => "DO NOTHING".into(),
    };
    Some(vec![format!("{insert} ON CONFLICT {action}")])
}

pub fn update(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let name = making.name_of(&table);
    let set = assignments(making, &table)?;
    let which = condition(making, &table);
    let only = if making.dice.percent(10) && table.kind == 'r' {
        "ONLY "
    } else {
        ""
    };
    Some(vec![format!("UPDATE {only}{name} SET {set} WHERE {which}")])
}

/// Moves rows between partitions.
pub fn move_rows(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| r.kind == 'p' && r.has_children)?;
    let key = table.partition_key()?.clone();
    let name = making.name_of(&table);
    let to = column_value(making, &table, &key);
    let which = condition(making, &table);
    Some(vec![format!(
        "UPDATE {name} SET {} = {to} WHERE {which}",
        key.name
    )])
}

pub fn delete(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let name = making.name_of(&table);
    let which = condition(making, &table);
    Some(vec![format!("DELETE FROM {name} WHERE {which}")])
}

pub fn merge(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| {
        r.is_table() && r.key().is_some_and(|k| k.columns.len() == 1) && !r.has_children
    })?;
    let key_name = table.key()?.columns.first()?.clone();
    let key = table.columns.iter().find(|c| c.name == key_name)?.clone();
    let name = making.name_of(&table);
    let row = new_row(making, &table);
    let wanted = column_value(making, &table, &key);
    let matched = match assignments(making, &table) {
        Some(set) if making.dice.percent(70) => format!("UPDATE SET {set}"),
        _ => "DELETE".into(),
    };
    let values = row.columns.iter().map(|column| {
        let column = table.columns.iter().find(|c| &c.name == column);
        column.map_or("DEFAULT".into(), |c| {
            if c.name == key_name {
                "s.k".into()
            } else {
                column_value(making, &table, c)
            }
        })
    });
    let values = values.collect::<Vec<_>>().join(", ");
    Some(vec![format!(
        "MERGE INTO {name} t USING (SELECT ({wanted})::{} AS k) s ON t.{key_name} = s.k \
         WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT ({}){} VALUES ({values})",
        key.ty,
        row.columns.join(", "),
        overriding(&row),
    )])
}

/// Rows as text. From a program: of a COPY FROM STDIN that fails, psql runs the rows as statements.
pub fn copy(making: &mut Making) -> Option<Vec<String>> {
    let simple = ["integer", "bigint", "text", "boolean", "uuid"];
    let table = making.relation(|r| {
        let needed = |c: &&Column| c.is_settable() && (c.not_null && !c.has_default);
        r.is_table() && !r.columns.is_empty() && {
            let mut needed = r.columns.iter().filter(needed);
            needed.all(|c| simple.contains(&c.ty.as_str()) && c.references.is_none())
        }
    })?;
    let settable = table.columns.iter().filter(|c| c.is_settable());
    let columns: Vec<&Column> = settable
        .filter(|c| simple.contains(&c.ty.as_str()) && c.references.is_none())
        .collect();
    let names: Vec<_> = columns.iter().map(|c| c.name.as_str()).collect();
    let mut rows = String::new();
    for _ in 0..making.dice.below(50) + 1 {
        let values: Vec<_> = columns.iter().map(|c| copied(making, &table, c)).collect();
        rows.push_str(&values.join("\t"));
        rows.push('\n');
    }
    let name = making.name_of(&table);
    (!names.is_empty()).then(|| {
        vec![format!(
            "COPY {name} ({}) FROM PROGRAM $sh$cat <<'END'\n{rows}END\n$sh$",
            names.join(", ")
        )]
    })
}

fn copied(making: &mut Making, table: &Relation, column: &Column) -> String {
    if !column.not_null && making.dice.percent(10) {
        return "\\N".into();
    }
    if let Some(value) = bound_value(making, table, column) {
        return value.trim_matches('\'').to_string();
    }
    let n = making.dice.below(1_000_000);
    match column.ty.as_str() {
        "text" => {
            ["a\\tb\\\\c\\nd ", "", "it's "][making.dice.below(3)].to_string() + &n.to_string()
        }
        "boolean" => "t".into(),
        "uuid" => format!("00000000-0000-0000-0000-{n:012}"),
        _ => n.to_string(),
    }
}

pub fn truncate(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let mut names = vec![making.name_of(&table)];
    if making.dice.percent(25) {
        if let Some(other) = making
            .table()
            .filter(|t| t.qualified() != table.qualified())
        {
            names.push(making.name_of(&other));
        }
    }
    let restart = making.dice.word(&["", " RESTART IDENTITY"]);
    let cascade = making.dice.word(&[" CASCADE", " CASCADE", ""]);
    Some(vec![format!(
        "TRUNCATE {}{restart}{cascade}",
        names.join(", ")
    )])
}

/// Many rows again, with nothing but one small column changed: long values stay out of line.
pub fn update_all(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let name = making.name_of(&table);
    let is_plain =
        |c: &&Column| c.is_settable() && !c.in_key && !c.in_partition_key && c.references.is_none();
    let column = table
        .columns
        .iter()
        .find(|c| is_plain(c) && c.ty == "integer")?;
    Some(vec![format!(
        "UPDATE {name} SET {0} = coalesce({0}, 0) % 1000 + 1",
        column.name
    )])
}

/// An INSERT of so many rows.
pub fn insert_into(making: &mut Making, table: &Relation, rows: usize) -> String {
    let name = making.name_of(table);
    let row = new_row(making, table);
    if row.columns.is_empty() {
        return format!("INSERT INTO {name} DEFAULT VALUES");
    }
    let mut values = Vec::new();
    for _ in 0..rows {
        let one = row.columns.iter().map(|column| {
            let column = table.columns.iter().find(|c| &c.name == column);
            column.map_or("DEFAULT".into(), |c| column_value(making, table, c))
        });
        values.push(format!("({})", one.collect::<Vec<_>>().join(", ")));
    }
    format!(
        "INSERT INTO {name} ({}){} VALUES {}",
        row.columns.join(", "),
        overriding(&row),
        values.join(", ")
    )
}

fn overriding(row: &NewRow) -> &'static str {
    if row.overriding {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    }
}

/// Some columns with a default are left to it.
fn new_row(making: &mut Making, table: &Relation) -> NewRow {
    let overriding = making.dice.percent(15);
    let mut columns = Vec::new();
    for column in &table.columns {
        let has_own = column.has_default || !column.identity.is_empty();
        let is_open = column.is_settable() || overriding && column.generated.is_empty();
        if is_open && !(has_own && making.dice.percent(75)) {
            columns.push(column.name.clone());
        }
    }
    NewRow {
        columns,
        overriding: overriding && table.columns.iter().any(|c| !c.identity.is_empty()),
    }
}

fn plain_columns(table: &Relation) -> Vec<&Column> {
    table.columns.iter().filter(|c| c.is_settable()).collect()
}

fn assignments(making: &mut Making, table: &Relation) -> Option<String> {
    let mut columns: Vec<Column> = plain_columns(table).into_iter().cloned().collect();
    let mut set = Vec::new();
    for _ in 0..making.dice.below(3) + 1 {
        if columns.is_empty() {
            break;
        }
        let column = columns.remove(making.dice.below(columns.len()));
        // One value for many rows breaks a key.
        if column.in_key && making.dice.percent(80) {
            continue;
        }
        let value = column_value(making, table, &column);
        set.push(format!("{} = {value}", column.name));
    }
    (!set.is_empty()).then(|| set.join(", "))
}

/// Whether any number will do.
fn is_free(table: &Relation, column: &Column) -> bool {
    !column.in_partition_key && !table.is_partition && column.references.is_none()
}
