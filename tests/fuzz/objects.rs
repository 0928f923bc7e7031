//! Everything that is not a table: types, views, sequences, schemas, rights, comments.

use super::catalog::{Relation, Type};
use super::making::Making;

pub fn create_type(making: &mut Making) -> Option<Vec<String>> {
    let (schema, name) = (making.own_schema(), making.new_name("ty"));
    let name = making.say(&schema, &name);
    Some(vec![match making.dice.below(4) {
        0 => {
            let ty = making.column_type();
            let attribute = making.new_name("att");
            format!("CREATE TYPE {name} AS (a integer, {attribute} {ty}, \"B b\" text)")
        }
        1 => {
            let check = making.dice.word(&["", " CHECK (length(VALUE) < 1000000)"]);
            format!("CREATE DOMAIN {name} AS text{check}")
        }
        2 => format!("CREATE DOMAIN {name} AS integer DEFAULT 7"),
        _ => format!(r"CREATE TYPE {name} AS ENUM ('one', 'it''s two', E'back\\slash')"),
    }])
}

pub fn change_type(making: &mut Making) -> Option<Vec<String>> {
    let ty = making.dice.of(&making.catalog.types)?.clone();
    match ty.kind {
        'e' => Some(change_enum(making, &ty)),
        'c' => change_composite(making, &ty),
        _ => {
            let name = &ty.name;
            let value = making.typed_value(&ty.base);
            let constraint = making.new_name("con");
            Some(vec![match making.dice.below(3) {
                0 => format!("ALTER DOMAIN {name} ADD CONSTRAINT {constraint} CHECK (VALUE IS NULL OR VALUE::text <> 'never')"),
                1 => format!("ALTER DOMAIN {name} DROP DEFAULT"),
                _ => format!("ALTER DOMAIN {name} SET DEFAULT {value}"),
            }])
        }
    }
}

fn change_enum(making: &mut Making, ty: &Type) -> Vec<String> {
    let name = &ty.name;
    let new = format!("label {}", making.mark);
    let old = making.dice.of(&ty.labels).cloned().unwrap_or_default();
    vec![match making.dice.below(4) {
        0 => format!("ALTER TYPE {name} RENAME VALUE {old} TO '{new}'"),
        1 => format!("ALTER TYPE {name} ADD VALUE '{new}' BEFORE {old}"),
        2 => format!("ALTER TYPE {name} ADD VALUE IF NOT EXISTS {old}"),
        _ => format!("ALTER TYPE {name} ADD VALUE '{new}'"),
    }]
}

fn change_composite(making: &mut Making, ty: &Type) -> Option<Vec<String>> {
    let name = &ty.name;
    let new = making.new_name("att");
    let one = making.dice.of(&ty.attributes)?.name.clone();
    Some(vec![match making.dice.below(4) {
        0 => format!("ALTER TYPE {name} RENAME ATTRIBUTE {one} TO {new} CASCADE"),
        1 if ty.attributes.len() > 1 => format!("ALTER TYPE {name} DROP ATTRIBUTE {one} CASCADE"),
        _ => format!("ALTER TYPE {name} ADD ATTRIBUTE {new} integer CASCADE"),
    }])
}

pub fn rename_or_drop_type(making: &mut Making) -> Option<Vec<String>> {
    let ty = making.dice.of(&making.catalog.types)?.clone();
    let (what, name) = (if ty.kind == 'd' { "DOMAIN" } else { "TYPE" }, &ty.name);
    if making.dice.percent(25) && making.catalog.types.len() > 3 {
        return Some(vec![format!("DROP {what} {name} CASCADE")]);
    }
    let new = making.new_name("ty");
    let schema = making.own_schema();
    Some(vec![match making.dice.below(3) {
        0 => format!("ALTER {what} {name} SET SCHEMA {schema}"),
        1 => format!("ALTER {what} {name} OWNER TO fuzz_a"),
        _ => format!("ALTER {what} {name} RENAME TO {new}"),
    }])
}

/// A typed table: its columns are a composite type's.
pub fn create_typed_table(making: &mut Making) -> Option<Vec<String>> {
    let composites = making.catalog.types.iter().filter(|ty| ty.kind == 'c');
    let composites: Vec<_> = composites.collect();
    let ty = making.dice.of(&composites)?.name.clone();
    let name = making.new_in_schema("typed");
    Some(vec![format!("CREATE TABLE {name} OF {ty}")])
}

pub fn create_view(making: &mut Making) -> Option<Vec<String>> {
    let table = making.relation(|r| matches!(r.kind, 'r' | 'p' | 'v') && !r.columns.is_empty())?;
    let (old, new) = (making.name_of(&table), making.new_in_schema("v"));
    let column = making.dice.of(&table.columns)?.name.clone();
    Some(vec![match making.dice.below(4) {
        0 => format!("CREATE VIEW {new} AS SELECT * FROM {old}"),
        1 => format!("CREATE VIEW {new} (one, how_many) AS SELECT {column}::text, count(*) FROM {old} GROUP BY 1"),
        2 => format!("CREATE OR REPLACE VIEW {new} WITH (security_barrier) AS SELECT {column}, 'it''s' AS said FROM {old}"),
        _ => format!("CREATE TEMP VIEW {} AS SELECT {column} FROM {old}", making.new_name("tv")),
    }])
}

/// Of the session's own permanent rows only: it is computed again when it is replayed.
pub fn create_materialized_view(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.persistence == 'p' && !r.has_children && r.kind == 'r')?;
    let (old, new) = (making.name_of(&table), making.new_in_schema("mv"));
    let none = making.dice.word(&["", "", " WITH NO DATA"]);
    Some(vec![match making.dice.below(2) {
        0 => format!("CREATE MATERIALIZED VIEW {new} AS SELECT * FROM ONLY {old}{none}"),
        _ => format!(
            "CREATE MATERIALIZED VIEW {new} AS SELECT count(*) AS how_many FROM ONLY {old}{none}"
        ),
    }])
}

pub fn refresh(making: &mut Making) -> Option<Vec<String>> {
    let view = making.relation(|r| r.kind == 'm' && !r.is_shared() && !r.reads_unlogged)?;
    let name = making.name_of(&view);
    let none = making.dice.word(&["", "", "", " WITH NO DATA"]);
    Some(vec![format!("REFRESH MATERIALIZED VIEW {name}{none}")])
}

pub fn change_view(making: &mut Making) -> Option<Vec<String>> {
    let view = making.relation(|r| matches!(r.kind, 'v' | 'm') && !r.is_shared())?;
    let what = if view.kind == 'v' {
        "VIEW"
    } else {
        "MATERIALIZED VIEW"
    };
    let (name, new) = (making.name_of(&view), making.new_name("v"));
    let schema = making.own_schema();
    Some(vec![match making.dice.below(4) {
        0 => format!("DROP {what} {name} CASCADE"),
        1 if !view.is_temporary() => format!("ALTER {what} {name} SET SCHEMA {schema}"),
        // A materialized view is computed with its owner's rights: pg_dump's restore would fail.
        2 if view.kind == 'v' => format!("ALTER VIEW {name} OWNER TO fuzz_b"),
        _ => format!("ALTER {what} {name} RENAME TO {new}"),
    }])
}

pub fn create_sequence(making: &mut Making) -> Option<Vec<String>> {
    let name = making.new_in_schema("seq");
    let options = making.dice.word(&[
        "",
        " INCREMENT 7 START 100",
        " AS smallint CYCLE",
        " INCREMENT -1 MINVALUE -50 START -1 CYCLE",
        " CACHE 10",
    ]);
    let kind = making.dice.word(&["", "", "", "TEMP "]);
    if kind.is_empty() {
        return Some(vec![format!("CREATE SEQUENCE {name}{options}")]);
    }
    let name = making.new_name("tseq");
    Some(vec![format!("CREATE TEMP SEQUENCE {name}{options}")])
}

pub fn use_sequence(making: &mut Making) -> Option<Vec<String>> {
    let sequence = making.relation(|r| r.kind == 'S')?;
    let name = sequence.qualified().replace('\'', "''");
    let name = if name.contains('\\') {
        format!("E'{}'", name.replace('\\', "\\\\"))
    } else {
        format!("'{name}'")
    };
    let n = making.dice.below(40) + 1;
    Some(vec![match making.dice.below(4) {
        0 => format!(
            "SELECT setval({name}, {n}, {})",
            making.dice.word(&["true", "false"])
        ),
        1 => format!("SELECT count(nextval({name})) FROM generate_series(1, {n})"),
        _ => format!("SELECT nextval({name})"),
    }])
}

pub fn change_sequence(making: &mut Making) -> Option<Vec<String>> {
    let sequence = making.relation(|r| r.kind == 'S' && !r.is_shared() && !r.is_temporary())?;
    let (name, new) = (making.name_of(&sequence), making.new_name("seq"));
    let schema = making.own_schema();
    Some(vec![match making.dice.below(7) {
        0 => format!("ALTER SEQUENCE {name} RENAME TO {new}"),
        1 => format!("ALTER SEQUENCE {name} RESTART"),
        2 => format!("ALTER SEQUENCE {name} INCREMENT 3"),
        3 if !sequence.is_owned => format!("DROP SEQUENCE {name} CASCADE"),
        4 if !sequence.is_owned => format!("ALTER SEQUENCE {name} SET SCHEMA {schema}"),
        5 => format!("ALTER SEQUENCE {name} RESTART WITH 30"),
        _ => format!("ALTER SEQUENCE {name} CACHE 5"),
    }])
}

pub fn create_schema(making: &mut Making) -> Option<Vec<String>> {
    if making.catalog.schemas.len() > 3 {
        return None;
    }
    // It begins as the first one does: that is how the catalog's query knows the session's own.
    let first = making.catalog.schemas.first()?.clone();
    let name = format!("{first}_{}", making.mark);
    let grant = format!("GRANT ALL ON SCHEMA {name} TO fuzz_a, fuzz_b");
    Some(match making.dice.below(2) {
        0 => vec![format!("CREATE SCHEMA {name}"), grant],
        _ => vec![
            format!("CREATE SCHEMA {name} CREATE TABLE inside (a serial PRIMARY KEY, b text) CREATE VIEW seen AS SELECT a FROM inside"),
            grant,
        ],
    })
}

pub fn change_schema(making: &mut Making) -> Option<Vec<String>> {
    let later: Vec<_> = making.catalog.schemas.iter().skip(1).cloned().collect();
    let schema = making.dice.of(&later)?.clone();
    let first = making.catalog.schemas.first()?.clone();
    Some(vec![match making.dice.below(3) {
        0 => format!("DROP SCHEMA {schema} CASCADE"),
        _ => format!("ALTER SCHEMA {schema} RENAME TO {first}_r{}", making.mark),
    }])
}

/// A comment, on a relation or a column.
pub fn comment(making: &mut Making) -> Option<Vec<String>> {
    let relation = making.relation(|r| !r.is_shared())?;
    let name = making.name_of(&relation);
    let text = making
        .dice
        .word(&["'it''s'", r"E'two\nlines \\ '", "NULL", "'-- ;'", "$$a$b$$"]);
    if relation.is_table() && making.dice.percent(40) {
        let column = &making.dice.of(&relation.columns)?.name;
        return Some(vec![format!("COMMENT ON COLUMN {name}.{column} IS {text}")]);
    }
    Some(vec![format!(
        "COMMENT ON {} {name} IS {text}",
        word(&relation)
    )])
}

fn word(relation: &Relation) -> &'static str {
    match relation.kind {
        'v' => "VIEW",
        'm' => "MATERIALIZED VIEW",
        'S' => "SEQUENCE",
        _ => "TABLE",
    }
}

pub fn grant(making: &mut Making) -> Option<Vec<String>> {
    let relation = making.relation(|r| !r.is_shared() && !r.is_temporary())?;
    let name = making.name_of(&relation);
    let role = making.dice.word(&["fuzz_a", "fuzz_b", "PUBLIC"]);
    if relation.kind == 'S' {
        return Some(vec![format!("GRANT USAGE ON SEQUENCE {name} TO {role}")]);
    }
    let schema = making.own_schema();
    Some(vec![match making.dice.below(6) {
        0 => {
            let column = &making.dice.of(&relation.columns)?.name;
            format!("GRANT SELECT ({column}), UPDATE ({column}) ON {name} TO {role}")
        }
        1 => format!("REVOKE ALL ON {name} FROM {role}"),
        2 if making.may_be_flagged() => {
            format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
        }
        3 if making.may_be_flagged() => {
            format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}")
        }
        _ => format!("GRANT SELECT, INSERT, UPDATE ON {name} TO {role}"),
    }])
}

/// Another role makes something of its own and gives it back.
pub fn as_another_role(making: &mut Making) -> Option<Vec<String>> {
    let role = making.dice.word(&["fuzz_a", "fuzz_b"]);
    let schema = making.own_schema();
    let name = format!("{schema}.{}", making.new_name("by_role"));
    Some(vec![
        format!("SET ROLE {role}"),
        format!("CREATE TABLE {name} (a int PRIMARY KEY, who text DEFAULT current_user)"),
        format!("INSERT INTO {name} SELECT generate_series(1, 3)"),
        format!("ALTER TABLE {name} ADD at timestamptz DEFAULT now()"),
        "RESET ROLE".into(),
    ])
}
