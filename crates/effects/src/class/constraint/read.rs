//! Reading constraints.

use serde_json::json;

use super::{Constraint, Means, Parent};
use crate::catalog_row;
use crate::class::Model;
use crate::common::read::{
    common, qualified_relation, relation, relation_name, tablespace, Inherits, Words,
};
use crate::key::{catalog, Key};
use crate::tuples::{row, rows, Definition, Tuples};

catalog_row! {
    ConstraintRow, "pg_constraint" 2606, 2667 ("oid") but &["oid", "connamespace"];
    conname: String, contype: String, condeferrable: bool, condeferred: bool, conenforced: Option<bool>,
    convalidated: bool, conrelid: u32, contypid: u32, conindid: u32, conparentid: u32, confrelid: u32,
    confupdtype: String, confdeltype: String, confmatchtype: String, conislocal: bool, coninhcount: i32,
    connoinherit: bool, conperiod: bool, conkey: Option<String>, confkey: Option<String>,
    conpfeqop: Option<String>, conppeqop: Option<String>, conffeqop: Option<String>,
    confdelsetcols: Option<String>, conexclop: Option<String>, conbin: Option<String>,
}

catalog_row! {
    OfTable, "pg_constraint" 2606, 2665 ("conrelid");
    oid: u32, conname: String, contype: String, contypid: u32,
}

catalog_row! {
    Below, "pg_constraint" 2606, 2579 ("conparentid");
    oid: u32, conrelid: u32,
}

/// Those of domains are excluded: they are read with their domain. So are the additional entries of a foreign
/// key for the partitions of the table that it references.
pub fn constraint(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Model>, String> {
    let Some(found) = row::<ConstraintRow>(tuples, &[oid])? else {
        return Ok(None);
    };
    let kind = found.contype.clone();
    if found.contypid != 0 || !matches!(kind.as_str(), "c" | "p" | "u" | "x" | "f") {
        return Ok(None);
    }
    let Some(table) = relation(tuples, found.conrelid)?.filter(|t| t.relpersistence != "t") else {
        return Ok(None);
    };
    let above = match found.conparentid {
        0 => None,
        parent => row::<ConstraintRow>(tuples, &[parent])?,
    };
    if kind == "f"
        && above
            .as_ref()
            .is_some_and(|above| above.conrelid == found.conrelid)
    {
        return Ok(None);
    }
    let key = Key::new(catalog::CONSTRAINT, oid);
    let words = Words::of(tuples, key)?;
    let mut parent_tables: Vec<u32> = rows::<Inherits>(tuples, &[found.conrelid])?
        .iter()
        .map(|inherits| inherits.inhparent)
        .collect();
    let partition_of = match parent_tables.first().filter(|_| table.relispartition) {
        Some(parent) => relation_name(tuples, *parent)?,
        None => None,
    };
    parent_tables.sort_unstable();
    let parent_checks = if kind == "c" && found.coninhcount > 0 {
        checks_of(tuples, &parent_tables, &found.conname)?
    } else {
        None
    };
    let parts = match kind.as_str() {
        "f" => parts(tuples, oid, found.conrelid)?,
        _ => Vec::new(),
    };
    let index = match kind.as_str() {
        "p" | "u" | "x" => means(tuples, found.conindid)?,
        _ => None,
    };
    Ok(Some(Model::Constraint(Box::new(Constraint {
        name: tuples.quoted(&found.conname),
        table: found.conrelid,
        table_name: qualified_relation(tuples, &table)?,
        is_partitioned: table.relkind == "p",
        is_of_partition: table.relispartition,
        partition_of,
        refers_to: (found.confrelid != 0).then_some(found.confrelid),
        refers_by: (kind == "f").then_some(found.conindid),
        definition: tuples
            .definition(Definition::Constraint, oid)?
            .unwrap_or_default(),
        is_deferrable: found.condeferrable,
        is_deferred: found.condeferred,
        is_validated: found.convalidated,
        is_enforced: found.conenforced.unwrap_or(true),
        is_local: found.conislocal,
        inherited: found.coninhcount,
        parent_tables,
        parent: match above {
            Some(above) => Some(Parent {
                constraint: found.conparentid,
                name: tuples.quoted(&above.conname),
                table: relation_name(tuples, above.conrelid)?.unwrap_or_default(),
            }),
            None => None,
        },
        parent_checks,
        index,
        kind,
        structure: json!({
            "confrelid": found.confrelid,
            "confupdtype": found.confupdtype,
            "confdeltype": found.confdeltype,
            "confmatchtype": found.confmatchtype,
            "connoinherit": found.connoinherit,
            "conperiod": found.conperiod,
            "conkey": found.conkey,
            "confkey": found.confkey,
            "conpfeqop": found.conpfeqop,
            "conppeqop": found.conppeqop,
            "conffeqop": found.conffeqop,
            "confdelsetcols": found.confdelsetcols,
            "conexclop": found.conexclop,
            "conbin": found.conbin,
        }),
        common: common(tuples, key, None, &words, &parts)?,
    }))))
}

/// CHECKs of this name of these tables.
fn checks_of(
    tuples: &mut dyn Tuples,
    tables: &[u32],
    name: &str,
) -> Result<Option<Vec<u32>>, String> {
    let mut checks = Vec::new();
    for table in tables {
        let constraints = rows::<OfTable>(tuples, &[*table])?.into_iter();
        let same = constraints.filter(|k| k.conname == name && k.contype == "c" && k.contypid == 0);
        checks.extend(same.map(|k| k.oid));
    }
    checks.sort_unstable();
    Ok((!checks.is_empty()).then_some(checks))
}

/// The entries of a foreign key for direct and indirect partitions of the table that it references.
fn parts(tuples: &mut dyn Tuples, oid: u32, table: u32) -> Result<Vec<Key>, String> {
    let first = rows::<Below>(tuples, &[oid])?.into_iter();
    let mut waiting: Vec<u32> = first
        .filter(|part| part.conrelid == table)
        .map(|part| part.oid)
        .collect();
    let mut parts = Vec::new();
    while let Some(part) = waiting.pop() {
        parts.push(Key::new(catalog::CONSTRAINT, part));
        waiting.extend(
            rows::<Below>(tuples, &[part])?
                .iter()
                .map(|below| below.oid),
        );
    }
    Ok(parts)
}

fn means(tuples: &mut dyn Tuples, index: u32) -> Result<Option<Means>, String> {
    let Some(found) = relation(tuples, index)? else {
        return Ok(None);
    };
    Ok(Some(Means {
        index,
        tablespace: tablespace(tuples, found.reltablespace)?,
        options: found.reloptions,
    }))
}
