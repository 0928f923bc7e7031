//! What hangs on what is temporary, and goes with it when the session ends: a default over a function in
//! pg_temp, a column of a type that is there. PostgreSQL drops such parts of tables and domains by itself, and
//! no other database can have them meanwhile. They are taken out of the states that are compared, and told.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use crate::class::domain::Domain;
use crate::class::table::Table;
use crate::class::Model;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::states::{Source, States};

/// An object, or a part of one, that a restore does without.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Kind and name.
    pub object: String,
    pub definition: String,
}

/// What a part of a table or domain needs.
#[derive(Deserialize)]
pub struct Part {
    /// Of the column; 0 for the whole. Of a domain: the OID of the constraint.
    number: u32,
    is_default: bool,
    need: Key,
    /// The need is a type of the session, or a domain over one. Rows are written without such columns.
    is_of_session: bool,
}

macro_rules! parts {
    ($parts:literal, $columns:literal) => {
        concat!(
            "SELECT p.whole, pg_catalog.json_build_object('number', ", $columns,
            ", 'need', pg_catalog.json_build_array(x.refclassid::pg_catalog.int8, x.refobjid::pg_catalog.int8), \
             'is_of_session', x.refclassid = 1247 AND EXISTS (SELECT FROM pg_catalog.pg_type t \
                LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype JOIN pg_catalog.pg_namespace n \
                ON n.oid IN (t.typnamespace, b.typnamespace) WHERE t.oid = x.refobjid AND n.nspname LIKE 'pg\\_temp\\_%')\
             )::pg_catalog.text FROM (", $parts, ") p JOIN pg_catalog.pg_depend x \
             ON x.classid = p.class AND x.objid = p.oid AND x.objsubid = p.sub \
             WHERE x.deptype IN ('n', 'a', 'i') AND x.refobjid >= 16384"
        )
    };
}

const OF_TABLES: &str = parts!(
    "SELECT c.oid AS whole, 0 AS number, false AS is_default, 1259 AS class, c.oid, 0 AS sub \
       FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1) \
     UNION ALL SELECT a.attrelid, a.attnum, false, 1259, a.attrelid, a.attnum FROM pg_catalog.pg_attribute a \
       WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped \
     UNION ALL SELECT d.adrelid, d.adnum, true, 2604, d.oid, 0 FROM pg_catalog.pg_attrdef d WHERE d.adrelid = ANY ($1)",
    "p.number, 'is_default', p.is_default"
);

const OF_DOMAINS: &str = parts!(
    "SELECT t.oid AS whole, 0::pg_catalog.int8 AS number, 1247 AS class, t.oid, 0 AS sub \
       FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1) \
     UNION ALL SELECT k.contypid, k.oid::pg_catalog.int8, 2606, k.oid, 0 FROM pg_catalog.pg_constraint k WHERE k.contypid = ANY ($1)",
    "p.number, 'is_default', false"
);

/// Takes them out of `states`, and tells of them. Also told, though left where they are, are objects that go as
/// a whole.
pub fn leave_out<S: Source>(
    states: &mut States,
    temporary: &HashSet<Key>,
    source: &mut S,
) -> Result<Vec<LeftOut>, S::Error> {
    let mut left_out = Vec::new();
    if temporary.is_empty() {
        return Ok(left_out);
    }
    let (mut tables, mut domains) = (Vec::new(), Vec::new());
    for (key, model) in &states.models {
        if !model
            .common()
            .needs()
            .iter()
            .any(|need| temporary.contains(need))
        {
            continue;
        }
        match model {
            Model::Table(_) | Model::ForeignTable(_) => tables.push(key.oid),
            Model::Domain(_) => domains.push(key.oid),
            other => left_out.push(LeftOut {
                object: format!("{} {}", other.class(), other.target()),
                definition: String::new(),
            }),
        }
    }
    for (class, oids, query) in [
        (catalog::CLASS, tables, OF_TABLES),
        (catalog::TYPE, domains, OF_DOMAINS),
    ] {
        let mut parts: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for (oid, json) in source.read(query, &oids)? {
            let part: Option<Part> = serde_json::from_str(&json).ok();
            let part = part.filter(|part| temporary.contains(&part.need));
            parts.entry(oid).or_default().extend(part);
        }
        for (oid, parts) in parts {
            match states.models.get_mut(&Key::new(class, oid)) {
                Some(Model::Table(table) | Model::ForeignTable(table)) => {
                    left_out.extend(parts_of_table(table, &parts));
                }
                Some(Model::Domain(domain)) => left_out.extend(parts_of_domain(domain, &parts)),
                _ => {}
            }
        }
    }
    Ok(left_out)
}

/// What it needs for these parts alone, it needs no more.
fn forget_needs(needs: &mut Option<Vec<Key>>, parts: &[Part], is_left_out: &[bool]) {
    let is_needed_yet = |key: &Key| {
        let mut of_key = parts
            .iter()
            .zip(is_left_out)
            .filter(|(part, _)| part.need == *key);
        let mut is_known = false;
        let is_needed = of_key.any(|(_, is_left_out)| {
            is_known = true;
            !is_left_out
        });
        is_needed || !is_known
    };
    needs
        .iter_mut()
        .for_each(|needs| needs.retain(is_needed_yet));
}

fn parts_of_table(table: &mut Table, parts: &[Part]) -> Vec<LeftOut> {
    let mut told = Vec::new();
    let target = table.target();
    let mut columns = table.columns.take().unwrap_or_default();
    let is_left_out: Vec<bool> = parts
        .iter()
        .map(|part| {
            let place = columns
                .iter()
                .position(|column| column.number as u32 == part.number);
            // Two parts can be about one column.
            let Some(place) = place else {
                return part.number != 0;
            };
            let column = &mut columns[place];
            let name = format!("{target}.{}", column.name);
            let is_generated = !column.generated.is_empty();
            if part.is_default && !is_generated {
                told.extend(column.expression.take().map(|expression| LeftOut {
                    object: format!("default {name}"),
                    definition: expression.text,
                }));
            } else if part.is_of_session || is_generated {
                let column = columns.remove(place);
                told.push(LeftOut {
                    object: format!("column {name}"),
                    definition: column.type_,
                });
            } else {
                return false;
            }
            true
        })
        .collect();
    table.columns = Some(columns);
    forget_needs(&mut table.common.needs, parts, &is_left_out);
    told
}

fn parts_of_domain(domain: &mut Domain, parts: &[Part]) -> Vec<LeftOut> {
    let mut told = Vec::new();
    let target = domain.target();
    let mut constraints = domain.constraints.take().unwrap_or_default();
    constraints.retain(|constraint| {
        let is_over = parts.iter().any(|part| part.number == constraint.oid);
        if is_over {
            told.push(LeftOut {
                object: format!("constraint {} of domain {target}", constraint.name),
                definition: constraint.definition.clone(),
            });
        }
        !is_over
    });
    domain.constraints = (!constraints.is_empty()).then_some(constraints);
    let is_left_out: Vec<bool> = parts.iter().map(|part| part.number != 0).collect();
    forget_needs(&mut domain.common.needs, parts, &is_left_out);
    told
}
