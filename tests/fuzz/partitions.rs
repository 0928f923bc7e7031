//! Partitions come and go; so do children of plain inheritance.

use super::catalog::Relation;
use super::making::Making;
use super::tables::bound;

/// A number of a partition that is not there yet.
fn free_bound(making: &mut Making, parent: &Relation) -> Option<String> {
    let strategy = match parent.strategy? {
        'r' => "RANGE",
        'l' => "LIST",
        _ => return None,
    };
    let partitions = making.catalog.partitions_of(&parent.qualified());
    let taken: Vec<String> = partitions.iter().filter_map(|p| p.bound.clone()).collect();
    // PostgreSQL writes a bigint's bounds in quotes.
    let plain = |bound: &str| bound.replace('\'', "");
    let free = (0..12)
        .map(|nth| bound(strategy, nth))
        .find(|new| !taken.iter().any(|old| plain(old) == *new));
    free
}

pub fn add(making: &mut Making) -> Option<Vec<String>> {
    let parent = making.own_table(|r| matches!(r.strategy, Some('r' | 'l')))?;
    let bound = free_bound(making, &parent)?;
    let (name, part) = (making.name_of(&parent), making.new_in_schema("part"));
    Some(vec![format!(
        "CREATE TABLE {part} PARTITION OF {name} {bound}"
    )])
}

/// A partition that is partitioned itself.
pub fn add_partitioned(making: &mut Making) -> Option<Vec<String>> {
    let parent = making.own_table(|r| matches!(r.strategy, Some('r' | 'l')))?;
    let bound = free_bound(making, &parent)?;
    let key = parent.partition_key()?.name.clone();
    let (name, middle, leaf) = (
        making.name_of(&parent),
        making.new_in_schema("mid"),
        making.new_in_schema("leaf"),
    );
    Some(vec![
        format!("CREATE TABLE {middle} PARTITION OF {name} {bound} PARTITION BY HASH ({key})"),
        format!(
            "CREATE TABLE {leaf} PARTITION OF {middle} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        ),
    ])
}

/// A table made like the parent becomes its partition, with a row in it.
pub fn attach(making: &mut Making) -> Option<Vec<String>> {
    let parent = making.own_table(|r| matches!(r.strategy, Some('r' | 'l')))?;
    let bound = free_bound(making, &parent)?;
    let (name, new) = (making.name_of(&parent), making.new_in_schema("att"));
    if !making.may_copy() {
        return None;
    }
    let including = making.dice.word(&["ALL", "DEFAULTS", "GENERATED"]);
    Some(vec![
        format!("CREATE TABLE {new} (LIKE {name} INCLUDING {including} INCLUDING GENERATED)"),
        format!("ALTER TABLE {name} ATTACH PARTITION {new} {bound}"),
    ])
}

pub fn detach(making: &mut Making) -> Option<Vec<String>> {
    detach_with(making, "")
}

pub fn detach_concurrently(making: &mut Making) -> Option<Vec<String>> {
    detach_with(making, " CONCURRENTLY")
}

fn detach_with(making: &mut Making, how: &str) -> Option<Vec<String>> {
    if !making.may_copy() {
        return None;
    }
    let part = making.own_table(|r| r.is_partition)?;
    let parent = making
        .catalog
        .find_relation(part.parent.as_deref()?)?
        .clone();
    let has_default = |r: &&Relation| r.bound.as_deref() == Some("DEFAULT");
    let partitions = making.catalog.partitions_of(&parent.qualified());
    if !how.is_empty() && partitions.iter().any(has_default) {
        return None;
    }
    let (name, part) = (making.name_of(&parent), making.name_of(&part));
    Some(vec![format!(
        "ALTER TABLE {name} DETACH PARTITION {part}{how}"
    )])
}

pub fn leave_parent(making: &mut Making) -> Option<Vec<String>> {
    let child = making.own_table(|r| r.parent.is_some() && !r.is_partition)?;
    let (name, parent) = (making.name_of(&child), child.parent.clone()?);
    let mut made = vec![format!("ALTER TABLE {name} NO INHERIT {parent}")];
    if making.dice.percent(50) {
        made.push(format!("ALTER TABLE {name} INHERIT {parent}"));
    }
    Some(made)
}
