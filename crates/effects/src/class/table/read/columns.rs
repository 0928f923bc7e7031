//! A table's columns, in the order of their numbers; dropped ones are absent.

use super::{Parts, Type};
use crate::acl::Grant;
use crate::catalog_row;
use crate::class::table::{Above, Column, Parent};
use crate::common::read::{collation, settings, Words};
use crate::tuples::{row, rows, Tuples};

catalog_row! {
    Attribute, "pg_attribute" 1249, 2659 ("attrelid" then "attnum") but &["attrelid", "attlen", "attndims", "attcacheoff",
        "attbyval", "attalign"];
    attname: String, atttypid: u32, atttypmod: i32, attnum: i32, attstorage: String, attcompression: String,
    attnotnull: bool, atthasdef: bool, atthasmissing: bool, attidentity: String, attgenerated: String,
    attisdropped: bool, attislocal: bool, attinhcount: i32, attcollation: u32, attstattarget: Option<i32>,
    attacl: Option<Vec<Grant>>, attoptions: Option<Vec<String>>,
    attfdwoptions: Option<Vec<String>>, attmissingval: Option<String>,
}

pub fn columns(
    tuples: &mut dyn Tuples,
    table: u32,
    attributes: Vec<Attribute>,
    found: &Parts,
    words: &Words,
    parents: &[Parent],
) -> Result<Vec<Column>, String> {
    let mut above: Vec<(u32, Vec<Attribute>, Parts)> = Vec::new();
    for parent in parents {
        let attributes: Vec<Attribute> = rows(tuples, &[parent.oid])?;
        let found = Parts::of(tuples, parent.oid, &attributes)?;
        above.push((parent.oid, attributes, found));
    }
    let mut columns = Vec::new();
    for a in attributes {
        if a.attnum <= 0 || a.attisdropped {
            continue;
        }
        let Some(type_) = row::<Type>(tuples, &[a.atttypid])? else {
            continue;
        };
        let mut sources = Vec::new();
        for (parent, attributes, found) in above.iter().filter(|_| a.attinhcount > 0) {
            let is_it = |p: &&Attribute| p.attname == a.attname && !p.attisdropped;
            for source in attributes.iter().filter(is_it) {
                sources.push(Above {
                    table: *parent,
                    number: source.attnum,
                    not_null: source.attnotnull,
                    constraint: found.not_null(tuples, source.attnum)?,
                    expression: found.expression(tuples, *parent, source.attnum)?,
                    generated: source.attgenerated.clone(),
                    storage: source.attstorage.clone(),
                    compression: source.attcompression.clone(),
                });
            }
        }
        let own_options = a.attoptions.map(|mut options| {
            // The version of each column that newer minor releases (15.20) store there only matters to the
            // server.
            options.retain(|option| option.split('=').next() != Some("pg_attver"));
            options
        });
        columns.push(Column {
            number: a.attnum,
            type_: tuples.type_name(a.atttypid, Some(a.atttypmod))?,
            type_id: (a.atttypid, a.atttypmod, a.attcollation),
            is_domain: type_.typtype == "d",
            type_storage: type_.typstorage,
            collation: match a.attcollation {
                0 => None,
                oid if oid == type_.typcollation => None,
                oid => collation(tuples, oid)?,
            },
            not_null: a.attnotnull,
            constraint: found.not_null(tuples, a.attnum)?,
            expression: if a.atthasdef {
                found.expression(tuples, table, a.attnum)?
            } else {
                None
            },
            generated: a.attgenerated,
            identity: a.attidentity,
            storage: a.attstorage,
            compression: a.attcompression,
            statistics: a.attstattarget.unwrap_or(-1),
            options: settings(tuples, own_options),
            foreign_options: settings(tuples, a.attfdwoptions),
            is_local: a.attislocal,
            inherited: a.attinhcount,
            missing: a.attmissingval,
            acl: a.attacl,
            comment: words.comment(a.attnum),
            labels: words.labels(a.attnum),
            above: (!sources.is_empty()).then_some(sources),
            name: tuples.quoted(&a.attname),
        });
    }
    Ok(columns)
}
