//! ALTER TABLE, and what belongs to a table: constraints, indexes, replica identity.

use super::catalog::{Column, Relation};
use super::making::Making;

/// A table whose columns are its own to change, with one that fits.
fn with_column(
    making: &mut Making,
    fits: impl Fn(&Relation, &Column) -> bool,
) -> Option<(Relation, String, Column)> {
    let is_free =
        |r: &Relation| !r.is_typed && r.columns.iter().any(|c| !c.is_inherited && fits(r, c));
    let table = making.own_table(is_free)?;
    let columns = table.columns.iter();
    let columns: Vec<&Column> = columns
        .filter(|c| !c.is_inherited && fits(&table, c))
        .collect();
    let column = (*making.dice.of(&columns)?).clone();
    let name = making.name_of(&table);
    Some((table, name, column))
}

fn is_usual(_: &Relation, column: &Column) -> bool {
    column.generated.is_empty() && column.identity.is_empty() && !column.in_partition_key
}

pub fn add_column(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| !r.is_partition && !r.is_typed && r.columns.len() < 14)?;
    let name = making.name_of(&table);
    let column = making.new_name("a");
    let ty = making.column_type();
    let rest = match making.dice.below(10) {
        0 => format!("{ty} DEFAULT {}", making.typed_value(&ty)),
        1 => format!("{ty} NOT NULL DEFAULT {}", making.typed_value(&ty)),
        2 => "timestamptz DEFAULT now()".into(),
        3 => "timestamptz NOT NULL DEFAULT clock_timestamp()".into(),
        4 => "uuid DEFAULT gen_random_uuid()".into(),
        5 => "serial".into(),
        6 if table.kind == 'r' && !table.has_children => {
            "bigint GENERATED ALWAYS AS IDENTITY".into()
        }
        7 => "double precision DEFAULT random()".into(),
        _ => ty,
    };
    Some(vec![format!(
        "ALTER TABLE {name} ADD COLUMN {column} {rest}"
    )])
}

pub fn add_generated_column(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, from) = with_column(making, |r, c| {
        !r.is_partition && c.generated.is_empty() && matches!(c.ty.as_str(), "text" | "smallint")
    })?;
    let column = making.new_name("gen");
    let is_virtual = making.version >= 18 && making.dice.percent(40);
    let how = if is_virtual { "VIRTUAL" } else { "STORED" };
    let (ty, expression) = match from.ty.as_str() {
        "text" => ("integer", format!("length({})", from.name)),
        _ => ("bigint", format!("{} + 1", from.name)),
    };
    Some(vec![format!(
        "ALTER TABLE {name} ADD COLUMN {column} {ty} GENERATED ALWAYS AS ({expression}) {how}"
    )])
}

pub fn drop_column(making: &mut Making) -> Option<Vec<String>> {
    let (table, name, column) = with_column(making, |r, c| {
        !r.is_partition && !c.in_partition_key && r.columns.len() > 2
    })?;
    let cascade = if column.in_key || making.dice.percent(60) {
        " CASCADE"
    } else {
        ""
    };
    let _ = table;
    Some(vec![format!(
        "ALTER TABLE {name} DROP COLUMN {}{cascade}",
        column.name
    )])
}

pub fn change_type(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, |r, c| {
        is_usual(r, c) && !r.is_partition && c.references.is_none() && !c.has_default
    })?;
    let (ty, using) = match (column.ty.as_str(), making.dice.below(5)) {
        ("smallint", _) => ("integer".into(), String::new()),
        ("integer", 0) => ("bigint".into(), String::new()),
        ("integer" | "bigint", 1) => ("numeric".into(), format!(" USING {} * 1.5", column.name)),
        ("real", _) => ("double precision".into(), String::new()),
        (_, 2) if !column.not_null => {
            let ty = making.column_type();
            let value = making.typed_value(&ty);
            let using = format!(" USING CASE WHEN {} IS NULL THEN {value} END", column.name);
            (ty, using)
        }
        (_, 3) => (
            "text".into(),
            format!(" USING md5({}::text || random())", column.name),
        ),
        _ => ("text".into(), format!(" USING {}::text", column.name)),
    };
    Some(vec![format!(
        "ALTER TABLE {name} ALTER COLUMN {} TYPE {ty}{using}",
        column.name
    )])
}

pub fn rename_column(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, |_, _| true)?;
    let new = making.new_name("ren");
    Some(vec![format!(
        "ALTER TABLE {name} RENAME COLUMN {} TO {new}",
        column.name
    )])
}

pub fn rename(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|_| true)?;
    let (name, new) = (making.name_of(&table), making.new_name("named"));
    Some(vec![format!("ALTER TABLE {name} RENAME TO {new}")])
}

pub fn set_schema(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| !r.is_temporary())?;
    let name = making.name_of(&table);
    let schemas: Vec<_> = making
        .catalog
        .schemas
        .iter()
        .filter(|s| **s != table.schema)
        .cloned()
        .collect();
    let to = making.dice.of(&schemas)?.clone();
    Some(vec![format!("ALTER TABLE {name} SET SCHEMA {to}")])
}

pub fn change_default(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, is_usual)?;
    let value = making.typed_value(&column.ty);
    let what = match making.dice.below(3) {
        0 => "DROP DEFAULT".into(),
        _ => format!("SET DEFAULT {value}"),
    };
    Some(vec![format!(
        "ALTER TABLE {name} ALTER COLUMN {} {what}",
        column.name
    )])
}

pub fn change_not_null(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, |r, c| is_usual(r, c) && !c.in_key)?;
    let value = making.typed_value(&column.ty);
    let column = column.name;
    Some(match making.dice.below(2) {
        0 => vec![format!(
            "ALTER TABLE {name} ALTER COLUMN {column} DROP NOT NULL"
        )],
        _ => vec![
            format!("UPDATE {name} SET {column} = {value} WHERE {column} IS NULL"),
            format!("ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL"),
        ],
    })
}

pub fn change_identity(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, |r, c| {
        !r.is_partition && (!c.identity.is_empty() || !c.generated.is_empty())
    })?;
    let what = match (column.generated.as_str(), column.identity.as_str()) {
        ("s", _) => "DROP EXPRESSION",
        ("v", _) => return None,
        _ => making.dice.word(&[
            "DROP IDENTITY",
            "SET GENERATED ALWAYS",
            "SET GENERATED BY DEFAULT",
            "RESTART WITH 5000",
        ]),
    };
    Some(vec![format!(
        "ALTER TABLE {name} ALTER COLUMN {} {what}",
        column.name
    )])
}

pub fn change_storage(making: &mut Making) -> Option<Vec<String>> {
    let (_, name, column) = with_column(making, |_, c| {
        matches!(c.ty.as_str(), "text" | "jsonb" | "bytea")
    })?;
    let what = making.dice.word(&[
        "SET STORAGE EXTERNAL",
        "SET STORAGE MAIN",
        "SET STORAGE EXTENDED",
        "SET STATISTICS 50",
        "SET COMPRESSION pglz",
        "SET (n_distinct = 5)",
    ]);
    Some(vec![format!(
        "ALTER TABLE {name} ALTER COLUMN {} {what}",
        column.name
    )])
}

pub fn change_options(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.kind == 'r')?;
    let name = making.name_of(&table);
    let is_related = table.constraints.iter().any(|c| c.kind == 'f');
    let what = match making.dice.below(7) {
        0 => "SET (fillfactor = 80)",
        1 => "RESET (fillfactor)",
        2 => "ENABLE ROW LEVEL SECURITY",
        3 if table.persistence == 'p' && !is_related => "SET UNLOGGED",
        4 | 5 if table.persistence == 'u' => "SET LOGGED",
        6 => "DISABLE TRIGGER USER",
        _ => "OWNER TO fuzz_a",
    };
    Some(vec![format!("ALTER TABLE {name} {what}")])
}

pub fn change_replica_identity(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.kind == 'r' && !r.is_temporary())?;
    let name = making.name_of(&table);
    let unique = table.indexes.iter().find(|i| i.is_unique);
    let what = match (unique, making.dice.below(3)) {
        (Some(index), 0) => format!("USING INDEX {}", index.name),
        (_, 1) if table.constraints.iter().any(|c| c.kind == 'p') => "DEFAULT".into(),
        _ => "FULL".into(),
    };
    Some(vec![format!("ALTER TABLE {name} REPLICA IDENTITY {what}")])
}

pub fn add_constraint(making: &mut Making) -> Option<Vec<String>> {
    let (table, name, column) = with_column(making, |r, c| is_usual(r, c) && !r.is_partition)?;
    let new = making.new_name("con");
    let column = column.name;
    let what = match making.dice.below(4) {
        0 => format!("CHECK ({column} IS NOT NULL) NOT VALID"),
        1 if table.key().is_none() && table.kind == 'r' => {
            let id = making.new_name("pk");
            return Some(vec![
                format!("ALTER TABLE {name} ADD COLUMN {id} serial"),
                format!("ALTER TABLE {name} ADD CONSTRAINT {new} PRIMARY KEY ({id})"),
            ]);
        }
        2 if table.column_of_type(&["integer", "bigint"]).is_some() && table.kind == 'r' => {
            let number = &table.column_of_type(&["integer", "bigint"])?.name;
            format!("EXCLUDE USING btree ({number} WITH =) WHERE ({number} > 1000000000)")
        }
        _ => format!("CHECK ({column} IS NULL OR length({column}::text) >= 0)"),
    };
    Some(vec![format!(
        "ALTER TABLE {name} ADD CONSTRAINT {new} {what}"
    )])
}

pub fn change_constraint(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.constraints.iter().any(|c| c.is_local))?;
    let name = making.name_of(&table);
    let local: Vec<_> = table.constraints.iter().filter(|c| c.is_local).collect();
    let constraint = (*making.dice.of(&local)?).clone();
    let new = making.new_name("con");
    let what = match making.dice.below(3) {
        0 if !constraint.is_valid => format!("VALIDATE CONSTRAINT {}", constraint.name),
        1 if matches!(constraint.kind, 'c' | 'f') || making.dice.percent(30) => {
            format!("DROP CONSTRAINT {} CASCADE", constraint.name)
        }
        _ => format!("RENAME CONSTRAINT {} TO {new}", constraint.name),
    };
    Some(vec![format!("ALTER TABLE {name} {what}")])
}

fn index_on(
    making: &mut Making,
    how: &str,
    fits: impl Fn(&Relation) -> bool,
) -> Option<Vec<String>> {
    let simple = ["integer", "bigint", "text", "uuid", "date", "boolean"];
    let table = making
        .own_table(|r| fits(r) && !r.is_temporary() && r.column_of_type(&simple).is_some())?;
    let name = making.name_of(&table);
    let index = making.new_name("ix");
    let column = table.column_of_type(&simple)?;
    let unique =
        column.in_key && table.kind == 'r' && table.key().is_some_and(|k| k.columns.len() == 1);
    let column = &column.name;
    let (unique, rest) = match making.dice.below(5) {
        0 if unique => ("UNIQUE ", format!("({column})")),
        1 => ("", format!("({column} DESC NULLS LAST)")),
        2 => ("", format!("USING hash ({column})")),
        3 => (
            "",
            format!("(({column} IS NULL)) WHERE {column} IS NOT NULL"),
        ),
        _ => ("", format!("({column})")),
    };
    let given = if making.dice.percent(25) {
        String::new()
    } else {
        format!(" {index}")
    };
    Some(vec![format!(
        "CREATE {unique}INDEX{how}{given} ON {name} {rest}"
    )])
}

pub fn create_index(making: &mut Making) -> Option<Vec<String>> {
    index_on(making, "", |_| true)
}

pub fn create_index_concurrently(making: &mut Making) -> Option<Vec<String>> {
    index_on(making, " CONCURRENTLY", |r| r.kind == 'r')
}

fn drop_index_with(making: &mut Making, how: &str) -> Option<Vec<String>> {
    let table = making.own_table(|r| !r.indexes.is_empty() && (how.is_empty() || r.kind == 'r'))?;
    let index = making.dice.of(&table.indexes)?.name.clone();
    let name = making.say(&table.schema, &index);
    Some(vec![match making.dice.below(3) {
        0 if how.is_empty() => format!("ALTER INDEX {name} RENAME TO {}", making.new_name("ix")),
        _ => format!("DROP INDEX{how} {name}"),
    }])
}

pub fn change_index(making: &mut Making) -> Option<Vec<String>> {
    drop_index_with(making, "")
}

pub fn drop_index_concurrently(making: &mut Making) -> Option<Vec<String>> {
    drop_index_with(making, " CONCURRENTLY")
}

/// What rewrites the files and changes no row.
pub fn rewrite(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.kind == 'r' && !r.is_temporary())?;
    let name = making.name_of(&table);
    let what = making.dice.word(&[
        "VACUUM FULL",
        "VACUUM",
        "REINDEX TABLE",
        "ANALYZE",
        "REINDEX TABLE CONCURRENTLY",
    ]);
    Some(vec![format!("{what} {name}")])
}
