//! Values that fit a column, and conditions that find rows.

use super::catalog::{Column, Relation};
use super::making::Making;

/// A value that fits the column: its partitions, its foreign key, its type.
pub fn column_value(making: &mut Making, table: &Relation, column: &Column) -> String {
    if let Some((target, key)) = &column.references {
        let nth = making.dice.below(5);
        return format!("(SELECT {key} FROM {target} ORDER BY {key} OFFSET {nth} LIMIT 1)");
    }
    if let Some(value) = bound_value(making, table, column) {
        return value;
    }
    if column.in_key && matches!(column.ty.as_str(), "integer" | "bigint") {
        return making.dice.between(1, 1_000_000).to_string();
    }
    making.value(&column.ty, !column.not_null)
}

/// A value that the bounds of partitions allow; none where they say nothing about the column.
pub fn bound_value(making: &mut Making, table: &Relation, column: &Column) -> Option<String> {
    let own = own_bound_value(making, table, column);
    if own.is_some() || !column.in_partition_key {
        return own;
    }
    partition_value(making, table)
}

/// A key for which there is a partition, read from the bounds.
fn partition_value(making: &mut Making, table: &Relation) -> Option<String> {
    let partitions = making.catalog.partitions_of(&table.qualified());
    let bounds: Vec<&str> = partitions
        .iter()
        .filter_map(|p| p.bound.as_deref())
        .collect();
    let bound = making.dice.of(&bounds)?;
    value_within(making, table.strategy?, bound)
}

/// A key that a partition itself takes, by its own bounds or those of the partition it is in.
fn own_bound_value(making: &mut Making, table: &Relation, column: &Column) -> Option<String> {
    let parent = making.catalog.find_relation(table.parent.as_deref()?)?;
    let bound = table.bound.as_deref()?;
    match parent.strategy? {
        'h' => own_bound_value(making, &parent.clone(), column),
        strategy if parent.partition_key()?.name == column.name => {
            value_within(making, strategy, bound)
        }
        _ => None,
    }
}

fn value_within(making: &mut Making, strategy: char, bound: &str) -> Option<String> {
    let numbers: Vec<i64> = bound
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    match (strategy, numbers.as_slice()) {
        ('r', [from, to]) => Some(making.dice.between(*from, *to - 1).to_string()),
        ('l', [_, ..]) => making.dice.of(&numbers).map(|n| format!("'{n}'")),
        ('h', _) => Some(making.dice.below(100_000).to_string()),
        // The default partition.
        _ => Some(format!("'{}'", making.dice.between(90_000, 99_999))),
    }
}

/// Some rows, found in the same way whatever their order on disk.
pub fn condition(making: &mut Making, table: &Relation) -> String {
    let number = table.column_of_type(&["integer", "bigint"]);
    let text = table.column_of_type(&["text", "uuid"]);
    let n = making.dice.between(2, 6);
    match (number, text) {
        (Some(column), _) if making.dice.percent(70) => {
            let rest = making.dice.between(0, n - 1);
            format!("{} % {n} = {rest}", column.name)
        }
        (_, Some(column)) => {
            let digit = making.dice.word(&["0", "3", "8", "b", "d"]);
            format!("md5({}::text) LIKE '{digit}%'", column.name)
        }
        (Some(column), None) => format!("{} IS NULL", column.name),
        _ if table.kind == 'r' && !table.has_children => {
            let name = table.qualified();
            format!("ctid IN (SELECT ctid FROM {name} ORDER BY ctid LIMIT {n})")
        }
        _ => "true".into(),
    }
}
