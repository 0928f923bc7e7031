//! The children of a table.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Attribute;
use crate::catalog_row;
use crate::class::table::{Below, Missing};
use crate::common::read::schema;
use crate::tuples::{row, rows, Tuples};

catalog_row! {
    BelowClass, "pg_class" 1259, 2662 ("oid");
    relname: String, relnamespace: u32, relkind: String, relpersistence: String, relfilenode: u32,
}

catalog_row! {
    InheritsBelow, "pg_inherits" 2611, 2187 ("inhparent");
    inhrelid: u32,
}

/// By the OIDs of direct children: columns that are local, possibly in addition to being inherited.
pub fn children(tuples: &mut dyn Tuples, table: u32) -> Result<BTreeMap<u32, Vec<String>>, String> {
    let mut children = BTreeMap::new();
    for InheritsBelow { inhrelid } in rows(tuples, &[table])? {
        let mut own = Vec::new();
        for a in rows::<Attribute>(tuples, &[inhrelid])? {
            if a.attnum > 0 && a.attislocal && !a.attisdropped {
                own.push(tuples.quoted(&a.attname));
            }
        }
        children.insert(inhrelid, own);
    }
    Ok(children)
}

/// Direct and indirect children of a table.
#[derive(Default)]
pub struct Tree {
    pub tables: Option<Vec<Below>>,
    pub has_foreign: bool,
    /// By column.
    pub missing: Option<BTreeMap<String, Missing>>,
}

impl Tree {
    pub fn below(tuples: &mut dyn Tuples, table: u32) -> Result<Tree, String> {
        let (mut waiting, mut seen) = (vec![table], BTreeSet::new());
        while let Some(parent) = waiting.pop() {
            for child in rows::<InheritsBelow>(tuples, &[parent])? {
                if seen.insert(child.inhrelid) {
                    waiting.push(child.inhrelid);
                }
            }
        }
        let mut tree = Tree::default();
        let mut tables = Vec::new();
        let mut missing: BTreeMap<String, (bool, Missing)> = BTreeMap::new();
        for oid in seen {
            let Some(class) = row::<BelowClass>(tuples, &[oid])? else {
                continue;
            };
            tree.has_foreign |= class.relkind == "f";
            if class.relkind != "r" || class.relpersistence == "t" {
                continue;
            }
            let Some(schema) = schema(tuples, class.relnamespace)? else {
                continue;
            };
            for a in rows::<Attribute>(tuples, &[oid])? {
                if a.attnum <= 0 || a.attisdropped {
                    continue;
                }
                let entry = missing.entry(tuples.quoted(&a.attname)).or_default();
                entry.0 |= a.atthasmissing;
                entry.1.push((oid, a.attmissingval));
            }
            tables.push(Below {
                oid,
                name: format!("{schema}.{}", tuples.quoted(&class.relname)),
                file: class.relfilenode,
            });
        }
        let missing: BTreeMap<_, _> = missing
            .into_iter()
            .filter(|(_, (has_any, _))| *has_any)
            .map(|(name, (_, values))| (name, values))
            .collect();
        tree.missing = (!missing.is_empty()).then_some(missing);
        tree.tables = (!tables.is_empty()).then_some(tables);
        Ok(tree)
    }
}
