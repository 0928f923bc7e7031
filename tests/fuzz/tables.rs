//! Statements that make tables, drop them, and make partitions.

use super::making::Making;

pub fn create(making: &mut Making) -> Option<Vec<String>> {
    let name = making.new_in_schema("t");
    let body = body(making, None);
    let unlogged = if making.dice.percent(8) {
        "UNLOGGED "
    } else {
        ""
    };
    let options = making.dice.word(&["", "", "", " WITH (fillfactor = 70)"]);
    Some(vec![format!(
        "CREATE {unlogged}TABLE {name} ({body}){options}"
    )])
}

pub fn create_temporary(making: &mut Making) -> Option<Vec<String>> {
    let name = making.new_name("tmp");
    let body = body(making, None);
    Some(vec![
        format!("CREATE TEMP TABLE {name} ({body})"),
        format!("INSERT INTO {name} DEFAULT VALUES"),
    ])
}

pub fn create_like(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| r.kind == 'r' && !r.is_temporary())?;
    if !making.may_copy() {
        return None;
    }
    let (old, new) = (making.name_of(&table), making.new_in_schema("like"));
    let what = making
        .dice
        .word(&["ALL", "DEFAULTS", "CONSTRAINTS", "INDEXES", "IDENTITY"]);
    Some(vec![format!(
        "CREATE TABLE {new} (LIKE {old} INCLUDING {what})"
    )])
}

pub fn create_as(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| r.is_table() && !r.columns.is_empty())?;
    let (old, new) = (making.name_of(&table), making.new_in_schema("made"));
    let more = making.dice.word(&[
        "",
        ", random() AS luck",
        ", clock_timestamp() AS at",
        ", gen_random_uuid() AS id_made",
        ", row_number() OVER () AS nr",
    ]);
    let none = making.dice.word(&["", "", "", " WITH NO DATA"]);
    let query = format!("FROM {old} x LIMIT 40");
    Some(vec![match making.dice.below(3) {
        0 => format!("SELECT x.*{more} INTO {new} {query}"),
        1 => format!("CREATE TABLE {new} AS SELECT x.*{more} {query}{none}"),
        _ => format!("CREATE UNLOGGED TABLE {new} AS SELECT x.*{more} {query}"),
    }])
}

pub fn create_child(making: &mut Making) -> Option<Vec<String>> {
    if !making.may_inherit() {
        return None;
    }
    let parent = making
        .relation(|r| r.kind == 'r' && r.persistence == 'p' && !r.is_partition && !r.is_typed)?;
    let old = making.name_of(&parent);
    let new = making.new_in_schema("child");
    let extra = making.new_name("c");
    let ty = making.column_type();
    Some(vec![format!(
        "CREATE TABLE {new} ({extra} {ty}) INHERITS ({old})"
    )])
}

/// A partitioned table and its first partitions.
pub fn create_partitioned(making: &mut Making) -> Option<Vec<String>> {
    let name = making.new_in_schema("p");
    let (key, ty) = (
        making.new_name("key"),
        making.dice.word(&["integer", "integer", "bigint"]),
    );
    let body = body(making, Some((&key, ty)));
    let strategy = making.dice.word(&["RANGE", "LIST", "HASH"]);
    let mut made = vec![format!(
        "CREATE TABLE {name} ({body}) PARTITION BY {strategy} ({key})"
    )];
    if strategy == "HASH" {
        for remainder in 0..3 {
            let part = making.new_in_schema("part");
            made.push(format!(
                "CREATE TABLE {part} PARTITION OF {name} FOR VALUES WITH (MODULUS 3, REMAINDER {remainder})"
            ));
        }
        return Some(made);
    }
    for nth in 0..making.dice.below(3) + 1 {
        let part = making.new_in_schema("part");
        let bound = bound(strategy, nth);
        made.push(format!("CREATE TABLE {part} PARTITION OF {name} {bound}"));
    }
    if making.dice.percent(40) {
        let part = making.new_in_schema("part");
        made.push(format!("CREATE TABLE {part} PARTITION OF {name} DEFAULT"));
    }
    Some(made)
}

/// `FOR VALUES …` of the nth partition of a table that is not partitioned by hash.
pub fn bound(strategy: &str, nth: usize) -> String {
    if strategy == "RANGE" {
        format!("FOR VALUES FROM ({}) TO ({})", nth * 100, nth * 100 + 100)
    } else {
        format!("FOR VALUES IN ({}, {})", nth * 10, nth * 10 + 1)
    }
}

pub fn drop(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|_| true)?;
    // Few are dropped: there must be something to work on.
    if making.catalog.relations.len() < 12 {
        return None;
    }
    let name = making.name_of(&table);
    let cascade = making.dice.word(&[" CASCADE", " CASCADE", ""]);
    Some(vec![format!("DROP TABLE {name}{cascade}")])
}

/// Columns and constraints of a new table. A partition key is part of every key.
fn body(making: &mut Making, partition_key: Option<(&str, &str)>) -> String {
    let mut items = Vec::new();
    let partition = partition_key
        .map(|(name, _)| format!(", {name}"))
        .unwrap_or_default();
    if let Some((name, ty)) = partition_key {
        items.push(format!("{name} {ty} NOT NULL DEFAULT 1"));
    }
    items.extend(key_columns(making, &partition, partition_key.is_some()));
    for _ in 0..making.dice.below(5) + 1 {
        let (name, ty) = (making.new_name("c"), making.column_type());
        let rest = column_rest(making, &ty, partition_key.is_some());
        items.push(format!("{name} {ty}{rest}"));
    }
    if making.dice.percent(30) {
        items.extend(generated_columns(making));
    }
    items.join(", ")
}

fn key_columns(making: &mut Making, partition: &str, is_partitioned: bool) -> Vec<String> {
    let id = making.new_name("id");
    let key = format!("PRIMARY KEY ({id}{partition})");
    let has_identity = !is_partitioned || making.may_identify_partitions();
    match making.dice.below(9) {
        0 => vec![format!("{id} serial"), key],
        1 if has_identity => vec![format!("{id} integer GENERATED ALWAYS AS IDENTITY"), key],
        2 if has_identity => vec![format!("{id} bigint GENERATED BY DEFAULT AS IDENTITY"), key],
        3 => vec![format!("{id} uuid DEFAULT gen_random_uuid()"), key],
        4 => vec![
            format!("{id} text NOT NULL DEFAULT md5(random()::text)"),
            key,
        ],
        5 => {
            let other = making.new_name("id");
            vec![
                format!(
                    "{id} integer DEFAULT (random() * 1000000)::integer, {other} text DEFAULT ''"
                ),
                format!("PRIMARY KEY ({other}, {id}{partition})"),
            ]
        }
        6 => vec![
            format!("{id} bigserial NOT NULL"),
            format!("UNIQUE ({id}{partition})"),
        ],
        _ => Vec::new(),
    }
}

fn column_rest(making: &mut Making, ty: &str, is_partitioned: bool) -> String {
    match making.dice.below(14) {
        0 => format!(" DEFAULT {}", making.typed_value(ty)),
        1 => format!(" NOT NULL DEFAULT {}", making.typed_value(ty)),
        2 if ty == "text" => " DEFAULT md5(random()::text)".into(),
        2 if ty.starts_with("timestamp") => " DEFAULT now()".into(),
        3 if ty == "integer" && !is_partitioned => " UNIQUE".into(),
        4 if ty == "text" => " CHECK (length(VALUE_) < 10000000)".replace("VALUE_", "'x'"),
        5 if ty == "text" => " COLLATE \"C\"".into(),
        6 if ty == "text" => " COMPRESSION pglz".into(),
        7 => foreign_key(making, ty).unwrap_or_default(),
        _ => String::new(),
    }
}

fn foreign_key(making: &mut Making, ty: &str) -> Option<String> {
    let target = making.relation(|r| {
        let key = r.constraints.iter().find(|c| c.kind == 'p');
        let is_one = key.is_some_and(|k| k.columns.len() == 1);
        let fits = |c: &&super::catalog::Column| {
            key.is_some_and(|k| k.columns.contains(&c.name)) && c.ty == ty
        };
        r.is_table() && r.persistence == 'p' && is_one && r.columns.iter().any(|c| fits(&c))
    })?;
    let name = making.name_of(&target);
    let action = making.dice.word(&[
        "",
        " ON DELETE CASCADE",
        " ON DELETE SET NULL ON UPDATE CASCADE",
        " DEFERRABLE INITIALLY DEFERRED",
    ]);
    Some(format!(" REFERENCES {name}{action}"))
}

fn generated_columns(making: &mut Making) -> Vec<String> {
    let (base, made) = (making.new_name("g"), making.new_name("g"));
    let virtual_too = making.version >= 18 && making.dice.percent(50);
    let stored = if virtual_too { "VIRTUAL" } else { "STORED" };
    match making.dice.below(2) {
        0 => vec![
            format!("{base} smallint"),
            format!("{made} integer GENERATED ALWAYS AS ({base} * 2 + 1) {stored}"),
        ],
        _ => vec![
            format!("{made} text GENERATED ALWAYS AS (upper({base}) || 'x') {stored}"),
            format!("{base} text"),
        ],
    }
}
