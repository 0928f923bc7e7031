//! Reading indexes.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::json;

use super::{Index, Owner, Parent};
use crate::acl::Grant;
use crate::catalog_row;
use crate::class::Model;
use crate::common::read::{
    common_of, owner, qualified_relation, relation, schema, tablespace, Depend, Inherits, Words,
};
use crate::key::{catalog, Key};
use crate::tuples::{row, rows, Definition, Tuples};

catalog_row! {
    IndexClass, "pg_class" 1259, 2662 ("oid") but &["oid", "reltype", "relowner", "relam", "relfilenode", "relpages",
        "reltuples", "relallvisible", "relallfrozen", "relhasindex", "relnatts", "relhassubclass", "relrewrite",
        "relfrozenxid", "relminmxid"];
    relname: String, relnamespace: u32, relkind: String, relpersistence: String, reltablespace: u32,
    reloptions: Option<Vec<String>>, relispartition: bool, relacl: Option<Vec<Grant>>, relchecks: i32,
    reloftype: u32, relhasrules: bool, relisshared: bool, relpartbound: Option<String>, relreplident: String,
    reltoastrelid: u32, relhastriggers: bool, relispopulated: bool, relrowsecurity: bool,
    relforcerowsecurity: bool,
}

catalog_row! {
    IndexRow, "pg_index" 2610, 2679 ("indexrelid") but &["indexrelid", "indisclustered", "indcheckxmin", "indisready",
        "indisreplident"];
    indrelid: u32, indisvalid: bool, indislive: bool, indnatts: i32, indnkeyatts: i32, indisunique: bool,
    indnullsnotdistinct: bool, indisprimary: bool, indisexclusion: bool, indimmediate: bool, indkey: String,
    indcollation: String, indclass: String, indoption: String, indexprs: Option<String>,
    indpred: Option<String>,
}

catalog_row! {
    Attribute, "pg_attribute" 1249, 2659 ("attrelid" then "attnum");
    attnum: i32, attstattarget: Option<i32>, attstorage: String, attlen: i32,
}

catalog_row! {
    ConstraintOfIndex, "pg_constraint" 2606, 2667 ("oid");
    oid: u32, conname: String, contype: String, condeferrable: bool, condeferred: bool,
}

/// A valid index, or a partitioned one, of a table that is not temporary.
pub fn index(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Model>, String> {
    let Some(class) = row::<IndexClass>(tuples, &[oid])? else {
        return Ok(None);
    };
    let Some(index) = row::<IndexRow>(tuples, &[oid])? else {
        return Ok(None);
    };
    let is_whole = match class.relkind.as_str() {
        "I" => true,
        "i" => index.indisvalid && index.indislive,
        _ => false,
    };
    if !is_whole || class.relpersistence == "t" {
        return Ok(None);
    }
    let Some(table) = relation(tuples, index.indrelid)?.filter(|table| table.relkind != "t") else {
        return Ok(None);
    };
    let Some(schema) = schema(tuples, class.relnamespace)? else {
        return Ok(None);
    };
    let key = Key::new(catalog::CLASS, oid);
    let depends: Vec<Depend> = rows(tuples, &[key.class, key.oid])?;
    let definition = tuples
        .definition(Definition::Index, oid)?
        .unwrap_or_default();
    let calls = depends
        .iter()
        .any(|depend| depend.refclassid == catalog::PROC);
    let predicate = match &index.indpred {
        Some(tree) => tuples.expression(tree, index.indrelid)?,
        None => None,
    };
    let words = Words::of(tuples, key)?;
    let attributes: Vec<Attribute> = rows(tuples, &[oid])?;
    Ok(Some(Model::Index(Box::new(Index {
        index: oid,
        schema,
        name: tuples.quoted(&class.relname),
        table: index.indrelid,
        is_of_partition: table.relispartition,
        table_name: qualified_relation(tuples, &table)?,
        table_owner: owner(tuples, &table)?,
        calls_constants: calls && has_call_of_constants(&definition),
        definition,
        predicate: predicate.map(|text| format!(" WHERE {text}")),
        tablespace: tablespace(tuples, class.reltablespace)?,
        statistics: statistics(&attributes),
        storage: storage(tuples, &index, &attributes)?,
        constraint: constraint(tuples, &depends)?,
        parent: if class.relispartition {
            parent(tuples, oid)?
        } else {
            None
        },
        common: common_of(tuples, &depends, None, &words, &[])?,
        structure: json!({
            "indnatts": index.indnatts,
            "indnkeyatts": index.indnkeyatts,
            "indisunique": index.indisunique,
            "indnullsnotdistinct": index.indnullsnotdistinct,
            "indisprimary": index.indisprimary,
            "indisexclusion": index.indisexclusion,
            "indimmediate": index.indimmediate,
            "indkey": index.indkey,
            "indcollation": index.indcollation,
            "indclass": index.indclass,
            "indoption": index.indoption,
            "indexprs": index.indexprs,
            "indpred": index.indpred,
        }),
        rest: json!({
            "relacl": class.relacl.is_some(),
            "relchecks": class.relchecks,
            "reloftype": class.reloftype,
            "relhasrules": class.relhasrules,
            "relisshared": class.relisshared,
            "relpartbound": class.relpartbound,
            "relreplident": class.relreplident,
            "reltoastrelid": class.reltoastrelid,
            "relhastriggers": class.relhastriggers,
            "relispopulated": class.relispopulated,
            "relrowsecurity": class.relrowsecurity,
            "relforcerowsecurity": class.relforcerowsecurity,
        }),
        options: class.reloptions,
    }))))
}

/// What `rest` contains for every index created by a statement.
pub fn plain() -> serde_json::Value {
    json!({
        "relacl": false, "relchecks": 0, "reloftype": 0, "relhasrules": false, "relisshared": false,
        "relpartbound": null, "relreplident": "n", "reltoastrelid": 0, "relhastriggers": false,
        "relispopulated": true, "relrowsecurity": false, "relforcerowsecurity": false,
    })
}

/// Whether a definition calls a function with constant arguments only.
fn has_call_of_constants(definition: &str) -> bool {
    static CALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"[a-z0-9_"]\((([-+0-9.]+|'[^']*'(::[a-z0-9_. ]+)?)(, )?)*\)"#).ok()
    });
    CALL.as_ref().is_none_or(|call| call.is_match(definition))
}

fn statistics(attributes: &[Attribute]) -> Option<Vec<(i32, i32)>> {
    let target = |attribute: &Attribute| Some((attribute.attnum, attribute.attstattarget?));
    let set: Vec<_> = attributes
        .iter()
        .filter_map(target)
        .filter(|(number, target)| *number > 0 && *target != -1)
        .collect();
    (!set.is_empty()).then_some(set)
}

/// If it differs from the table's column; ALTER TABLE … SET STORAGE applies to both.
fn storage(
    tuples: &mut dyn Tuples,
    index: &IndexRow,
    attributes: &[Attribute],
) -> Result<Option<Vec<(i32, String)>>, String> {
    // Types of fixed length have one kind of storage.
    if attributes.iter().all(|attribute| attribute.attlen > 0) {
        return Ok(None);
    }
    let columns: Vec<Attribute> = rows(tuples, &[index.indrelid])?;
    let keys: Vec<i32> = index
        .indkey
        .split_whitespace()
        .flat_map(str::parse)
        .collect();
    let above = |number: i32| {
        let key = keys.get(usize::try_from(number - 1).ok()?)?;
        columns
            .iter()
            .find(|column| column.attnum == *key && *key > 0)
    };
    let is_own = |attribute: &&Attribute| {
        above(attribute.attnum).is_none_or(|column| column.attstorage != attribute.attstorage)
    };
    let own: Vec<_> = attributes
        .iter()
        .filter(is_own)
        .map(|attribute| (attribute.attnum, attribute.attstorage.clone()))
        .collect();
    Ok((!own.is_empty()).then_some(own))
}

/// The constraint that owns the index.
fn constraint(tuples: &mut dyn Tuples, depends: &[Depend]) -> Result<Option<Owner>, String> {
    let is_owner = |depend: &&Depend| {
        depend.refclassid == catalog::CONSTRAINT && depend.deptype == "i" && depend.objsubid == 0
    };
    for depend in depends.iter().filter(is_owner) {
        let Some(found) = row::<ConstraintOfIndex>(tuples, &[depend.refobjid])? else {
            continue;
        };
        if matches!(found.contype.as_str(), "p" | "u" | "x") {
            return Ok(Some(Owner {
                constraint: found.oid,
                name: tuples.quoted(&found.conname),
                kind: found.contype,
                is_deferrable: found.condeferrable,
                is_deferred: found.condeferred,
            }));
        }
    }
    Ok(None)
}

fn parent(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Parent>, String> {
    let Some(Inherits { inhparent, .. }) = row(tuples, &[oid])? else {
        return Ok(None);
    };
    let Some(parent) = relation(tuples, inhparent)? else {
        return Ok(None);
    };
    Ok(Some(Parent {
        index: inhparent,
        name: qualified_relation(tuples, &parent)?,
        owner: owner(tuples, &parent)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::has_call_of_constants;

    #[test]
    fn a_call_of_constants_is_seen() {
        for with in [
            "CREATE INDEX i ON public.t USING btree (public.f())",
            "CREATE INDEX i ON public.t USING btree (public.f(1, 'a'::text))",
            "CREATE INDEX i ON public.t USING btree (a) WHERE (b > public.\"F\"(-1.5))",
        ] {
            assert!(has_call_of_constants(with), "{with}");
        }
        for without in [
            "CREATE INDEX i ON public.t USING btree (a)",
            "CREATE INDEX i ON public.t USING btree (public.f(a))",
            "CREATE INDEX i ON public.t USING btree (public.f(1, a))",
        ] {
            assert!(!has_call_of_constants(without), "{without}");
        }
    }
}
