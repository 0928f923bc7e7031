//! Parts of tables and domains that depend on what a restore lacks: defaults, columns, constraints.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::LeftOut;
use crate::class::domain::Domain;
use crate::class::table::Table;
use crate::class::Model;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::states::{Source, States};

/// The dependency of a part of a table or domain.
#[derive(Deserialize)]
struct Part {
    /// Number of the column; 0 for the whole. For a domain: the OID of the constraint.
    number: u32,
    is_default: bool,
    need: Key,
    /// The dependency is a temporary collation or type, or a domain, an array or a range of one. Rows are
    /// written without such columns (`is_of_session` of the output plugin's relations).
    is_of_session: bool,
}

macro_rules! parts {
    ($parts:literal, $columns:literal) => {
        concat!(
            "SELECT p.whole, pg_catalog.json_build_object('number', ", $columns,
            ", 'need', pg_catalog.json_build_array(x.refclassid::pg_catalog.int8, x.refobjid::pg_catalog.int8), \
             'is_of_session', CASE x.refclassid WHEN 1247 THEN EXISTS (WITH RECURSIVE under (id) AS (SELECT x.refobjid UNION \
                SELECT next.id FROM under JOIN pg_catalog.pg_type t ON t.oid = under.id CROSS JOIN LATERAL ( \
                  SELECT t.typbasetype WHERE t.typtype = 'd' \
                  UNION ALL SELECT e.oid FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid \
                  UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
                ) AS next (id)) SELECT FROM under JOIN pg_catalog.pg_type t ON t.oid = under.id \
                JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname LIKE 'pg\\_temp\\_%') \
              WHEN 3456 THEN EXISTS (SELECT FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n \
                ON n.oid = l.collnamespace WHERE l.oid = x.refobjid AND n.nspname LIKE 'pg\\_temp\\_%') \
              ELSE false END\
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

/// Removes the parts of these tables and domains that depend on one of `lacking`; reports them. A generated
/// column is removed, or kept as an ordinary one if `keeps_generated` returns true.
pub(super) fn leave_out<S: Source>(
    states: &mut States,
    whole: &[Key],
    lacking: &HashSet<Key>,
    keeps_generated: bool,
    source: &mut S,
) -> Result<Vec<LeftOut>, S::Error> {
    let mut left_out = Vec::new();
    for (class, query) in [(catalog::CLASS, OF_TABLES), (catalog::TYPE, OF_DOMAINS)] {
        let keys = whole.iter().filter(|key| key.class == class);
        let oids: Vec<u32> = keys.map(|key| key.oid).collect();
        if oids.is_empty() {
            continue;
        }
        let mut parts: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for (oid, json) in source.read(query, &oids)? {
            let part: Option<Part> = serde_json::from_str(&json).ok();
            let part = part.filter(|part| lacking.contains(&part.need));
            parts.entry(oid).or_default().extend(part);
        }
        for (oid, parts) in parts {
            match states.models.get_mut(&Key::new(class, oid)) {
                Some(Model::Table(table) | Model::ForeignTable(table)) => {
                    left_out.extend(parts_of_table(table, &parts, keeps_generated));
                }
                Some(Model::Domain(domain)) => left_out.extend(parts_of_domain(domain, &parts)),
                _ => {}
            }
        }
    }
    Ok(left_out)
}

/// It no longer has the dependencies of these parts.
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

fn parts_of_table(table: &mut Table, parts: &[Part], keeps_generated: bool) -> Vec<LeftOut> {
    let mut told = Vec::new();
    let target = table.target();
    let mut columns = table.columns.take().unwrap_or_default();
    let is_left_out: Vec<bool> = parts
        .iter()
        .map(|part| {
            let place = columns
                .iter()
                .position(|column| column.number as u32 == part.number);
            // Two parts can concern one column.
            let Some(place) = place else {
                return part.number != 0;
            };
            let column = &mut columns[place];
            let name = format!("{target}.{}", column.name);
            let is_generated = !column.generated.is_empty();
            if part.is_default && (!is_generated || keeps_generated) {
                column.generated.clear();
                told.extend(column.expression.take().map(|expression| LeftOut {
                    object: format!("default value for {name}"),
                    definition: expression.text,
                }));
            } else if part.is_of_session || is_generated {
                let column = columns.remove(place);
                table.columns_left_out.push(column.number);
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
    let is_default = |part: &Part| part.number == 0 && part.need.class == catalog::PROC;
    if parts.iter().any(is_default) {
        told.extend(domain.default_value.take().map(|default| LeftOut {
            object: format!("default value for domain {target}"),
            definition: default,
        }));
        domain.default_tree = None;
    }
    let mut constraints = domain.constraints.take().unwrap_or_default();
    constraints.retain(|constraint| {
        let is_over = parts.iter().any(|part| part.number == constraint.oid);
        if is_over {
            told.push(LeftOut {
                object: format!("domain constraint {} on {target}", constraint.name),
                definition: constraint.definition.clone(),
            });
        }
        !is_over
    });
    domain.constraints = (!constraints.is_empty()).then_some(constraints);
    let is_left_out = |part: &Part| part.number != 0 || is_default(part);
    let is_left_out: Vec<bool> = parts.iter().map(is_left_out).collect();
    forget_needs(&mut domain.common.needs, parts, &is_left_out);
    told
}
