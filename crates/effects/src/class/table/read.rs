//! Reading tables.
//!
//! Columns are in the order of their numbers; dropped ones are absent. A changed file alone is not a
//! difference: VACUUM FULL, CLUSTER and TRUNCATE change it, too.

mod below;
mod columns;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use self::below::{children, Tree};
use self::columns::{columns, Attribute};
use super::{Expression, Foreign, Named, NotNull, Parent, Table};
use crate::common::read::{common, relation, schema, settings, tablespace, Inherits, Owned, Words};
use crate::key::{catalog, Key};
use crate::tuples::{row, rows, Definition, Tuples};
use crate::{catalog_row, class::Model};

catalog_row! {
    Class, "pg_class" 1259, 2662 ("oid") but &["oid", "relpages", "reltuples", "relallvisible", "relallfrozen",
        "relhasindex", "relisshared", "relnatts", "relchecks", "relhasrules", "relhastriggers",
        "relispopulated", "relfrozenxid", "relminmxid"];
    relname: String, relnamespace: u32, reltype: u32, reloftype: u32, relowner: u32, relam: u32,
    relfilenode: u32, reltablespace: u32, reltoastrelid: u32, relpersistence: String, relkind: String,
    relhassubclass: bool, relrowsecurity: bool, relforcerowsecurity: bool, relreplident: String,
    relispartition: bool, relrewrite: u32, relacl: Option<Vec<crate::acl::Grant>>,
    reloptions: Option<Vec<String>>, relpartbound: Option<String>,
}

catalog_row! {
    Type, "pg_type" 1247, 2703 ("oid");
    typtype: String, typstorage: String, typcollation: u32, typarray: u32,
}

catalog_row! {
    DefaultValue, "pg_attrdef" 2604, 2656 ("adrelid");
    oid: u32, adnum: i32, adbin: String,
}

catalog_row! {
    Constraint, "pg_constraint" 2606, 2665 ("conrelid");
    oid: u32, conname: String, contype: String, convalidated: bool, connoinherit: bool, conislocal: bool,
    coninhcount: i32, conkey: Option<String>,
}

catalog_row! {
    Index, "pg_index" 2610, 2678 ("indrelid");
    indexrelid: u32, indisreplident: bool, indisclustered: bool,
}

catalog_row! {
    PartitionedTable, "pg_partitioned_table" 3350, 3351 ("partrelid");
    partstrat: String, partattrs: String, partclass: String, partcollation: String,
    partexprs: Option<String>,
}

catalog_row! {
    ForeignTable, "pg_foreign_table" 3118, 3119 ("ftrelid");
    ftserver: u32, ftoptions: Option<Vec<String>>,
}

catalog_row! {
    Server, "pg_foreign_server" 1417, 113 ("oid");
    srvname: String,
}

catalog_row! {
    Method, "pg_am" 2601, 2652 ("oid");
    amname: String,
}

/// An existing table, partitioned table or foreign table that is neither temporary nor the transient heap of
/// a rewrite.
pub fn read(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Table>, String> {
    let Some(class) = row::<Class>(tuples, &[oid])? else {
        return Ok(None);
    };
    let kind = class.relkind.clone();
    let is_table = matches!(kind.as_str(), "r" | "p" | "f");
    if !is_table || class.relpersistence == "t" || class.relrewrite != 0 {
        return Ok(None);
    }
    let Some(schema) = schema(tuples, class.relnamespace)? else {
        return Ok(None);
    };
    let key = Key::new(catalog::CLASS, oid);
    let words = Words::of(tuples, key)?;
    let attributes: Vec<Attribute> = rows(tuples, &[oid])?;
    let found = Parts::of(tuples, oid, &attributes)?;
    let parents = parents(tuples, oid)?;
    let columns = columns(tuples, oid, attributes, &found, &words, &parents)?;
    let defaults: Vec<Key> = found
        .defaults
        .iter()
        .map(|default| Key::new(catalog::ATTRDEF, default.oid))
        .collect();
    let below = if class.relhassubclass {
        Tree::below(tuples, oid)?
    } else {
        Tree::default()
    };
    let toast_options = match class.reltoastrelid {
        0 => None,
        toast => relation(tuples, toast)?.and_then(|toast| toast.reloptions),
    };
    let index = |tuples: &mut dyn Tuples, is_it: fn(&Index) -> bool| match found
        .indexes
        .iter()
        .find(|index| is_it(index))
    {
        Some(index) => named(tuples, index.indexrelid),
        None => Ok(None),
    };
    let owned = Owned {
        owner: class.relowner,
        acl: class.relacl,
        kind: 'r',
    };
    Ok(Some(Table {
        version: tuples.version(),
        number: oid,
        namespace: class.relnamespace,
        schema,
        name: tuples.quoted(&class.relname),
        persistence: class.relpersistence,
        file: class.relfilenode,
        method: match row::<Method>(tuples, &[class.relam])? {
            Some(method) => Some(tuples.quoted(&method.amname)),
            None => None,
        },
        method_oid: class.relam,
        tablespace: tablespace(tuples, class.reltablespace)?,
        tablespace_oid: class.reltablespace,
        of_type: match class.reloftype {
            0 => None,
            oid => Some(Named {
                oid,
                name: tuples.type_name(oid, None)?,
            }),
        },
        foreign: match kind.as_str() {
            "f" => foreign(tuples, oid)?,
            _ => None,
        },
        options: settings(tuples, class.reloptions),
        toast_options: settings(tuples, toast_options),
        identity: class.relreplident,
        identity_index: index(tuples, |index| index.indisreplident)?,
        cluster_index: index(tuples, |index| index.indisclustered)?,
        row_security: class.relrowsecurity,
        force_row_security: class.relforcerowsecurity,
        partition_key: match kind.as_str() {
            "p" => tuples.definition(Definition::PartitionKey, oid)?,
            _ => None,
        },
        partition_tree: match kind.as_str() {
            "p" => partition_tree(tuples, oid)?,
            _ => None,
        },
        bound: match class.relpartbound.filter(|_| class.relispartition) {
            Some(tree) => expression(tuples, oid, &tree)?,
            None => None,
        },
        parents: (!parents.is_empty()).then_some(parents),
        below: below.tables,
        children: if class.relhassubclass && kind != "p" {
            children(tuples, oid)?
        } else {
            BTreeMap::new()
        },
        has_foreign_below: below.has_foreign,
        columns_left_out: Vec::new(),
        missing_below: below.missing,
        constraints: oids(
            found
                .constraints
                .iter()
                .filter(|k| matches!(k.contype.as_str(), "c" | "p" | "u" | "x"))
                .map(|k| k.oid),
        ),
        indexes: oids(found.indexes.iter().map(|index| index.indexrelid)),
        aliases: Some(aliases(
            tuples,
            class.reltype,
            class.reltoastrelid,
            &defaults,
            &found,
        )?),
        columns: (!columns.is_empty()).then_some(columns),
        common: common(tuples, key, Some(owned), &words, &defaults)?,
        kind,
    }))
}

fn oids(oids: impl Iterator<Item = u32>) -> Option<Vec<u32>> {
    let mut oids: Vec<u32> = oids.collect();
    oids.sort_unstable();
    (!oids.is_empty()).then_some(oids)
}

/// Parts of a table that are in other catalogs.
struct Parts {
    defaults: Vec<DefaultValue>,
    constraints: Vec<Constraint>,
    indexes: Vec<Index>,
}

impl Parts {
    fn of(tuples: &mut dyn Tuples, table: u32, columns: &[Attribute]) -> Result<Parts, String> {
        Ok(Parts {
            defaults: if columns.iter().any(|column| column.atthasdef) {
                rows(tuples, &[table])?
            } else {
                Vec::new()
            },
            constraints: rows(tuples, &[table])?,
            indexes: rows(tuples, &[table])?,
        })
    }

    /// A column's default or generation expression.
    fn expression(
        &self,
        tuples: &mut dyn Tuples,
        table: u32,
        column: i32,
    ) -> Result<Option<Expression>, String> {
        match self.defaults.iter().find(|default| default.adnum == column) {
            Some(default) => expression(tuples, table, &default.adbin),
            None => Ok(None),
        }
    }

    /// The NOT NULL constraint (18 and later) of a column.
    fn not_null(&self, tuples: &mut dyn Tuples, column: i32) -> Result<Option<NotNull>, String> {
        let column = format!("{{{column}}}");
        let is_it = |k: &&Constraint| k.contype == "n" && k.conkey.as_deref() == Some(&column);
        let Some(found) = self.constraints.iter().find(is_it) else {
            return Ok(None);
        };
        let words = Words::of(tuples, Key::new(catalog::CONSTRAINT, found.oid))?;
        Ok(Some(NotNull {
            oid: found.oid,
            name: tuples.quoted(&found.conname),
            is_valid: found.convalidated,
            no_inherit: found.connoinherit,
            is_local: found.conislocal,
            inherited: found.coninhcount,
            comment: words.comment(0),
        }))
    }
}

fn expression(
    tuples: &mut dyn Tuples,
    table: u32,
    tree: &str,
) -> Result<Option<Expression>, String> {
    Ok(Some(Expression {
        text: tuples.expression(tree, table)?.unwrap_or_default(),
        tree: digest(tree),
    }))
}

/// A tree is long, and is only compared.
fn digest(tree: &str) -> String {
    let digest = Sha256::digest(tree.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Named>, String> {
    Ok(relation(tuples, oid)?.map(|class| Named {
        oid,
        name: tuples.quoted(&class.relname),
    }))
}

fn foreign(tuples: &mut dyn Tuples, table: u32) -> Result<Option<Foreign>, String> {
    let Some(found) = row::<ForeignTable>(tuples, &[table])? else {
        return Ok(None);
    };
    let Some(server) = row::<Server>(tuples, &[found.ftserver])? else {
        return Ok(None);
    };
    Ok(Some(Foreign {
        server: tuples.quoted(&server.srvname),
        server_oid: found.ftserver,
        options: settings(tuples, found.ftoptions),
    }))
}

fn partition_tree(tuples: &mut dyn Tuples, table: u32) -> Result<Option<String>, String> {
    let found: Option<PartitionedTable> = row(tuples, &[table])?;
    Ok(found.map(|p| {
        let trees = p.partexprs.unwrap_or_default();
        digest(
            &[
                p.partstrat,
                p.partattrs,
                p.partclass,
                p.partcollation,
                trees,
            ]
            .join(" "),
        )
    }))
}

/// The direct parents, in their order.
fn parents(tuples: &mut dyn Tuples, table: u32) -> Result<Vec<Parent>, String> {
    let mut parents = Vec::new();
    for inherits in rows::<Inherits>(tuples, &[table])? {
        let Some(class) = relation(tuples, inherits.inhparent)? else {
            continue;
        };
        let Some(schema) = schema(tuples, class.relnamespace)? else {
            continue;
        };
        parents.push(Parent {
            oid: inherits.inhparent,
            schema,
            name: tuples.quoted(&class.relname),
            is_partitioned: class.relkind == "p",
            is_pending: inherits.inhdetachpending,
        });
    }
    Ok(parents)
}

/// Objects that belong to the table: its row type and the array type of that, its TOAST table, defaults, NOT
/// NULL constraints.
fn aliases(
    tuples: &mut dyn Tuples,
    row_type: u32,
    toast: u32,
    defaults: &[Key],
    found: &Parts,
) -> Result<Vec<Key>, String> {
    let mut aliases = Vec::new();
    if let Some(found) = row::<Type>(tuples, &[row_type])? {
        let types = [row_type, found.typarray];
        aliases.extend(
            types
                .iter()
                .filter(|oid| **oid != 0)
                .map(|oid| Key::new(catalog::TYPE, *oid)),
        );
    }
    if toast != 0 {
        aliases.push(Key::new(catalog::CLASS, toast));
    }
    aliases.extend(defaults);
    let not_null = found.constraints.iter().filter(|k| k.contype == "n");
    aliases.extend(not_null.map(|k| Key::new(catalog::CONSTRAINT, k.oid)));
    aliases.sort_unstable();
    Ok(aliases)
}

/// As a class reads it.
pub fn table(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Model>, String> {
    let found = read(tuples, oid)?;
    Ok(found
        .filter(|table| table.kind != "f")
        .map(|table| Model::Table(Box::new(table))))
}

/// The same of foreign tables.
pub fn foreign_table(tuples: &mut dyn Tuples, oid: u32) -> Result<Option<Model>, String> {
    let found = read(tuples, oid)?;
    Ok(found
        .filter(|table| table.kind == "f")
        .map(|table| Model::ForeignTable(Box::new(table))))
}
