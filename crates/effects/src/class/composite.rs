//! Composite types: the relation and its row type are one object, with the relation's key. Owner, privileges,
//! comment and labels are those of the row type.

use serde::Deserialize;
use serde_json::json;

use crate::common::{comment_on, labels, Common};
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames::{self, named_in_schema};
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{quoted, unquoted};

/// `rest` is of the relation, `type_rest` of its row type. Newer minor releases (15.20) store a version of
/// each column among its options (`pg_attver`), which only matters to the server.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.relname) AS name, \
     t.oid::pg_catalog.int8 AS row_type, t.typarray::pg_catalog.int8 AS array_type, \
     EXISTS (SELECT FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_class o ON o.oid = x.objid AND o.reloftype = t.oid \
        WHERE x.refclassid = 1247 AND x.refobjid = t.oid AND x.classid = 1259) AS has_tables, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('number', a.attnum, \
        'name', pg_catalog.quote_ident(a.attname), 'type', pg_catalog.format_type(a.atttypid, a.atttypmod), \
        'type_ids', pg_catalog.json_build_array(a.atttypid::pg_catalog.int8, a.atttypmod, a.attcollation::pg_catalog.int8), \
        'collation', CASE WHEN a.attcollation <> b.typcollation THEN ", crate::collation_name!("a.attcollation"), " END, \
        'comment', (SELECT x.description FROM pg_catalog.pg_description x \
            WHERE x.objoid = c.oid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
        'labels', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.provider, x.label) ORDER BY x.provider) \
            FROM pg_catalog.pg_seclabel x WHERE x.objoid = c.oid AND x.classoid = 1259 AND x.objsubid = a.attnum), \
        'rest', pg_catalog.to_jsonb(a) - '{attrelid,attname,attnum,atttypid,atttypmod,attcollation,attndims,attcacheoff,\
            attlen,attbyval,attalign}'::pg_catalog.text[] - CASE WHEN a.attstorage = b.typstorage THEN 'attstorage' ELSE '' END \
            - CASE WHEN EXISTS (SELECT FROM pg_catalog.unnest(a.attoptions) AS o (option) WHERE o.option !~ '^pg_attver=') THEN '' ELSE 'attoptions' END) \
        ORDER BY a.attnum) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type b ON b.oid = a.atttypid \
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'",
        crate::needs_of_parts!("VALUES (1247::pg_catalog.oid, t.oid), (1259::pg_catalog.oid, c.oid)")),
    ", pg_catalog.to_jsonb(c) - '{oid,relname,relnamespace,reltype,relowner,relfilenode,relpages,reltuples,\
     relallvisible,relallfrozen,relfrozenxid,relminmxid,relnatts}'::pg_catalog.text[] AS rest, \
     pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray,typrelid}'::pg_catalog.text[] AS type_rest \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_type t ON t.oid = c.reltype \
     WHERE c.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Composite {
    pub schema: String,
    pub name: String,
    pub row_type: u32,
    pub array_type: u32,
    /// Typed tables (CREATE TABLE … OF): their columns only change with CASCADE.
    pub has_tables: bool,
    pub attributes: Option<Vec<Attribute>>,
    pub common: Common,
    pub rest: serde_json::Value,
    pub type_rest: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Attribute {
    pub number: i16,
    pub name: String,
    /// As by format_type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// The type, its modifier and the collation.
    pub type_ids: (u32, i32, u32),
    /// If it is not the type's default.
    pub collation: Option<String>,
    pub comment: Option<String>,
    pub labels: Option<Vec<(String, String)>>,
    pub rest: serde_json::Value,
}

impl Attribute {
    fn definition(&self) -> String {
        match &self.collation {
            Some(collation) => format!("{} COLLATE {collation}", self.data_type),
            None => self.data_type.clone(),
        }
    }

    fn ensure_plain(&self) -> Result<(), Unhandled> {
        let usual = [("attstattarget", json!(-1)), ("attislocal", json!(true))];
        // Version 17 has NULL instead of -1.
        let rest = match self.rest.get("attstattarget") {
            Some(serde_json::Value::Null) => &usual[1..],
            _ => &usual[..],
        };
        ensure_plain("composite type", &self.rest, rest)
    }
}

impl Composite {
    fn attributes(&self) -> &[Attribute] {
        self.attributes.as_deref().unwrap_or_default()
    }

    fn attribute(&self, number: i16) -> Option<&Attribute> {
        self.attributes()
            .iter()
            .find(|other| other.number == number)
    }

    fn change(&self, script: &mut Script, what: &str) {
        script.push("alter", format!("ALTER TYPE {} {what}", self.target()));
    }

    /// Comment and labels of an attribute.
    fn describe(&self, old: Option<&Attribute>, new: &Attribute, script: &mut Script) {
        let what = format!("COLUMN {}.{}", self.target(), new.name);
        let old_comment = old.and_then(|old| old.comment.as_deref());
        if old_comment != new.comment.as_deref() {
            script.push("comment", comment_on(&what, new.comment.as_deref()));
        }
        let old_labels = old.and_then(|old| old.labels.as_deref());
        labels(old_labels, new.labels.as_deref(), &what, script);
    }

    fn alter_attributes(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        // Tables of the type have the same columns.
        let cascade = if self.has_tables || to.has_tables {
            " CASCADE"
        } else {
            ""
        };
        let gone = |old: &&Attribute| to.attribute(old.number).is_none();
        for old in self.attributes().iter().filter(gone) {
            to.change(script, &format!("DROP ATTRIBUTE {}{cascade}", old.name));
        }
        let pair = |old: &Attribute| {
            let new = to.attribute(old.number)?;
            Some((old.name.clone(), new.name.clone()))
        };
        let pairs = self.attributes().iter().filter_map(pair).collect();
        let between = |name: &str| quoted(&format!("{}~", unquoted(name)));
        for (old, new) in renames::in_order(pairs, between) {
            to.change(script, &format!("RENAME ATTRIBUTE {old} TO {new}{cascade}"));
        }
        for new in to.attributes() {
            let Attribute { name, .. } = new;
            match self.attribute(new.number) {
                Some(old) => {
                    same_rest("composite type", &old.rest, &new.rest)?;
                    if old.type_ids != new.type_ids {
                        let definition = new.definition();
                        to.change(
                            script,
                            &format!("ALTER ATTRIBUTE {name} TYPE {definition}{cascade}"),
                        );
                    }
                }
                None => {
                    new.ensure_plain()?;
                    let definition = new.definition();
                    to.change(
                        script,
                        &format!("ADD ATTRIBUTE {name} {definition}{cascade}"),
                    );
                }
            }
        }
        Ok(())
    }
}

impl Object for Composite {
    named_in_schema!("TYPE", "r");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let usual = [
            ("relkind", json!("c")),
            ("relpersistence", json!("p")),
            ("relreplident", json!("n")),
            ("relispopulated", json!(true)),
        ];
        ensure_plain("composite type", &self.rest, &usual)?;
        let usual = [
            ("typlen", json!(-1)),
            ("typtype", json!("c")),
            ("typcategory", json!("C")),
            ("typisdefined", json!(true)),
            ("typdelim", json!(",")),
            ("typinput", json!("record_in")),
            ("typoutput", json!("record_out")),
            ("typreceive", json!("record_recv")),
            ("typsend", json!("record_send")),
            ("typalign", json!("d")),
            ("typstorage", json!("x")),
            ("typtypmod", json!(-1)),
        ];
        ensure_plain("composite type", &self.type_rest, &usual)?;
        let mut columns = Vec::new();
        for attribute in self.attributes() {
            attribute.ensure_plain()?;
            columns.push(format!("{} {}", attribute.name, attribute.definition()));
        }
        let columns = columns.join(", ");
        script.push(
            "create",
            format!("CREATE TYPE {} AS ({columns})", self.target()),
        );
        for attribute in self.attributes() {
            self.describe(None, attribute, script);
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("composite type", &self.rest, &to.rest)?;
        same_rest("composite type", &self.type_rest, &to.type_rest)?;
        self.alter_attributes(to, script)?;
        for new in to.attributes() {
            to.describe(self.attribute(new.number), new, script);
        }
        Ok(())
    }

    fn aliases(&self) -> Vec<Key> {
        [self.row_type, self.array_type]
            .map(|oid| Key::new(catalog::TYPE, oid))
            .to_vec()
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
