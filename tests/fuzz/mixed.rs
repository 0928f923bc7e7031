//! Rows and definitions in one statement or close together: rows through views, cursors and
//! EXPLAIN, several changes of a table at once, tables that are filled as they are made.

use super::catalog::{Column, Relation};
use super::fitting::{column_value, condition};
use super::making::Making;
use super::rows::insert_into;

/// Rows of one table go to another, in one statement.
pub fn move_with_cte(making: &mut Making) -> Option<Vec<String>> {
    let from = making.table()?;
    let to = making.relation(|r| r.is_table() && r.columns.iter().any(|c| c.ty == "text"))?;
    let column = to
        .columns
        .iter()
        .find(|c| c.ty == "text" && c.is_settable())?;
    let (source, target) = (making.name_of(&from), making.name_of(&to));
    let which = condition(making, &from);
    let change = making.dice.word(&["DELETE FROM", "UPDATE"]);
    let set = match change {
        "UPDATE" => {
            let column = from.columns.iter().find(|c| is_plain(c))?;
            format!(
                " SET {} = {}",
                column.name,
                column_value(making, &from, column)
            )
        }
        _ => String::new(),
    };
    Some(vec![format!(
        "WITH gone AS ({change} {source} x{set} WHERE {which} RETURNING x::text AS row) \
         INSERT INTO {target} ({}) SELECT left(row, 50) || random() FROM gone",
        column.name
    )])
}

fn is_plain(column: &Column) -> bool {
    column.is_settable()
        && !column.in_key
        && !column.in_partition_key
        && column.references.is_none()
}

/// Rows through a view that PostgreSQL can write through.
pub fn through_view(making: &mut Making) -> Option<Vec<String>> {
    let view = making.relation(|r| r.kind == 'v' && !r.is_shared())?;
    let name = making.name_of(&view);
    let column = making.dice.of(&view.columns)?.clone();
    let value = making.value(&column.ty, false);
    Some(vec![match making.dice.below(3) {
        0 => format!("INSERT INTO {name} ({}) VALUES ({value})", column.name),
        1 => format!("UPDATE {name} SET {} = {value}", column.name),
        _ => format!("DELETE FROM {name} WHERE {} IS NULL", column.name),
    }])
}

/// One row after the other, by its place.
pub fn with_cursor(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| r.kind == 'r' && !r.has_children)?;
    let name = making.name_of(&table);
    let column = table.columns.iter().find(|c| is_plain(c))?;
    let value = column_value(making, &table, column);
    let change = match making.dice.below(2) {
        0 => format!("UPDATE {name} SET {} = {value}", column.name),
        _ => format!("DELETE FROM {name}"),
    };
    Some(vec![format!(
        "DO $cursor$ DECLARE c CURSOR FOR SELECT * FROM {name} FOR UPDATE; r record; BEGIN
           OPEN c; FETCH c INTO r; FETCH c INTO r;
           IF FOUND THEN {change} WHERE CURRENT OF c; END IF; CLOSE c;
         END $cursor$"
    )])
}

pub fn explained(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let (name, new) = (making.name_of(&table), making.new_in_schema("explained"));
    let insert = insert_into(making, &table, 2);
    Some(vec![match making.dice.below(3) {
        0 => format!("EXPLAIN (ANALYZE, COSTS off) {insert}"),
        1 => format!("EXPLAIN {insert}"),
        _ => {
            format!("EXPLAIN ANALYZE CREATE TABLE {new} AS SELECT x.*, random() AS r FROM {name} x")
        }
    }])
}

pub fn prepared(making: &mut Making) -> Option<Vec<String>> {
    let table = making.table()?;
    let (name, new) = (making.name_of(&table), making.new_in_schema("executed"));
    let plan = format!("plan_{}", making.mark);
    let insert = insert_into(making, &table, 1);
    Some(match making.dice.below(2) {
        0 => vec![
            format!("PREPARE {plan} AS {insert}"),
            format!("EXECUTE {plan}"),
            format!("DEALLOCATE {plan}"),
        ],
        _ => vec![
            format!("PREPARE {plan} (int) AS SELECT x.*, random() + $1 AS nr FROM {name} x"),
            format!("CREATE TABLE {new} AS EXECUTE {plan} (7)"),
            format!("DEALLOCATE {plan}"),
        ],
    })
}

/// A table made and filled in one transaction, by a COPY that freezes its rows.
pub fn frozen_copy(making: &mut Making) -> Option<Vec<String>> {
    let name = making.new_in_schema("frozen");
    let rows: String = (0..making.dice.below(60))
        .map(|n| format!("{n}\ttext {n}\n"))
        .collect();
    Some(vec![format!(
        "DO $do$ BEGIN
           CREATE TABLE {name} (a int, b text);
           COPY {name} FROM PROGRAM $sh$cat <<'END'\n{rows}END\n$sh$ WITH (FREEZE);
           ALTER TABLE {name} ADD c uuid DEFAULT gen_random_uuid();
         END $do$"
    )])
}

/// Several changes in one ALTER TABLE.
pub fn alter_at_once(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| !r.is_partition && !r.is_typed && r.columns.len() < 14)?;
    let name = making.name_of(&table);
    let (one, two) = (making.new_name("m"), making.new_name("m"));
    let ty = making.column_type();
    let value = making.typed_value(&ty);
    let free: Vec<&Column> = table
        .columns
        .iter()
        .filter(|c| !c.is_inherited && is_plain(c))
        .collect();
    let mut changes = vec![
        format!("ADD {one} {ty} DEFAULT {value}"),
        format!("ADD {two} text DEFAULT clock_timestamp()::text || random()"),
    ];
    if let Some(column) = making.dice.of(&free) {
        changes.push(match making.dice.below(3) {
            0 => format!("DROP {} CASCADE", column.name),
            1 => format!("ALTER {} DROP DEFAULT", column.name),
            _ => format!(
                "ALTER {0} DROP DEFAULT, ALTER {0} TYPE text USING {0}::text || 'x'",
                column.name
            ),
        });
    }
    if making.dice.percent(30) {
        changes.push("SET (fillfactor = 60)".into());
    }
    Some(vec![format!("ALTER TABLE {name} {}", changes.join(", "))])
}

/// What only newer versions have.
pub fn newer(making: &mut Making) -> Option<Vec<String>> {
    if making.version < 18 {
        return None;
    }
    let table = making
        .own_table(|r| r.kind == 'r' && !r.is_partition && !r.is_temporary() && !r.is_typed)?;
    let name = making.name_of(&table);
    let new = making.new_name("con");
    let free: Vec<&Column> = table
        .columns
        .iter()
        .filter(|c| !c.is_inherited && is_plain(c))
        .collect();
    let column = (*making.dice.of(&free)?).clone();
    let c = &column.name;
    let value = column_value(making, &table, &column);
    let generated = table
        .columns
        .iter()
        .find(|c| c.generated == "s" && c.ty == "integer");
    Some(vec![match (making.dice.below(5), generated) {
        (0, _) => {
            format!("ALTER TABLE {name} ADD CONSTRAINT {new} NOT NULL {c} NOT VALID")
        }
        (1, _) => format!(
            "ALTER TABLE {name} ADD CONSTRAINT {new} CHECK ({c}::text <> 'never') NOT ENFORCED"
        ),
        (2, Some(g)) => format!(
            "ALTER TABLE {name} ALTER COLUMN {} SET EXPRESSION AS (42)",
            g.name
        ),
        (3, _) => format!("UPDATE {name} SET {c} = {value} RETURNING old.{c}, new.{c}"),
        _ => format!("DELETE FROM {name} WHERE {c} IS NULL RETURNING old.*"),
    }])
}

/// Rights and owners of many objects at once.
pub fn change_owners(making: &mut Making) -> Option<Vec<String>> {
    if !making.may_be_flagged() {
        return None;
    }
    Some(vec![making
        .dice
        .word(&[
            "REASSIGN OWNED BY fuzz_a TO fuzz_b",
            "REASSIGN OWNED BY fuzz_b TO postgres",
        ])
        .to_string()])
}

/// Small objects that hang on a table.
pub fn create_attachment(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.persistence == 'p' && r.columns.len() > 1)?;
    let (table_name, new) = (making.name_of(&table), making.new_name("on"));
    let simple: Vec<&Column> = table
        .columns
        .iter()
        .filter(|c| has_order(c))
        .take(2)
        .collect();
    let columns: Vec<_> = simple.iter().map(|c| c.name.as_str()).collect();
    let statistics = making.new_in_schema("stats");
    Some(vec![match making.dice.below(4) {
        0 if columns.len() == 2 => format!(
            "CREATE STATISTICS {statistics} ON {} FROM {table_name}",
            columns.join(", ")
        ),
        1 => format!("CREATE POLICY {new} ON {table_name} FOR SELECT TO fuzz_a USING (true)"),
        2 => {
            format!("CREATE PUBLICATION {new} FOR TABLE {table_name}")
        }
        _ => format!(
            "COMMENT ON TABLE {table_name} IS 'with {}'",
            new.replace('\'', "''").replace('\\', "")
        ),
    }])
}

fn has_order(column: &Column) -> bool {
    matches!(
        column.ty.as_str(),
        "integer" | "bigint" | "text" | "date" | "boolean"
    ) && column.generated.is_empty()
}

/// Sorted on disk by an index of the table.
pub fn cluster(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r: &Relation| {
        r.kind == 'r' && !r.is_temporary() && r.constraints.iter().any(|c| c.kind == 'p')
    })?;
    let key = table
        .constraints
        .iter()
        .find(|c| c.kind == 'p')?
        .name
        .clone();
    let name = making.name_of(&table);
    Some(vec![match making.dice.below(3) {
        0 => format!("ALTER TABLE {name} CLUSTER ON {key}"),
        1 => format!("ALTER TABLE {name} SET WITHOUT CLUSTER"),
        _ => format!("CLUSTER {name} USING {key}"),
    }])
}

/// A base backup while the other sessions go on, or another file.
pub fn incr_dump(making: &mut Making) -> Option<Vec<String>> {
    making.may_dump().then(|| vec!["SELECT incr_dump()".into()])
}

pub fn incr_rotate(_: &mut Making) -> Option<Vec<String>> {
    Some(vec!["SELECT incr_rotate()".into()])
}
