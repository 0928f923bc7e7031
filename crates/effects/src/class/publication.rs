//! Publications, with their tables and schemas.

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::named;
use crate::script::{no_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, \
     pg_catalog.quote_ident(p.pubname) AS name, p.puballtables AS all_tables, \
     pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
     CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) AS publish, \
     p.pubviaroot AS via_root, pg_catalog.to_jsonb(p) ->> 'pubgencols' AS generated, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('row', x.oid::pg_catalog.int8, \
        'oid', x.prrelid::pg_catalog.int8, \
        'name', pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname)), \
        'numbers', x.prattrs::pg_catalog.text, \
        'columns', (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(a.attname) ORDER BY k.position) \
            FROM ROWS FROM (pg_catalog.unnest(x.prattrs)) WITH ORDINALITY k (number, position) \
            JOIN pg_catalog.pg_attribute a ON a.attrelid = x.prrelid AND a.attnum = k.number), \
        'where', pg_catalog.pg_get_expr(x.prqual, x.prrelid), 'tree', x.prqual::pg_catalog.text, \
        'rest', ", crate::rest!("x", "oid,prpubid,prrelid,prqual,prattrs"), ") ORDER BY x.prrelid) \
        FROM pg_catalog.pg_publication_rel x JOIN pg_catalog.pg_class c ON c.oid = x.prrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE x.prpubid = p.oid) AS tables, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('row', x.oid::pg_catalog.int8, \
        'oid', x.pnnspid::pg_catalog.int8, 'name', pg_catalog.quote_ident(n.nspname), \
        'rest', ", crate::rest!("x", "oid,pnpubid,pnnspid"), ") ORDER BY x.pnnspid) \
        FROM pg_catalog.pg_publication_namespace x JOIN pg_catalog.pg_namespace n ON n.oid = x.pnnspid \
        WHERE x.pnpubid = p.oid) AS schemas, ",
    crate::common_columns!("6104", "p.oid", "p.pubowner", "NULL::pg_catalog.aclitem[]", "NULL",
        crate::needs_of_parts!("SELECT 6104::pg_catalog.oid, p.oid \
            UNION ALL SELECT 6106, x.oid FROM pg_catalog.pg_publication_rel x WHERE x.prpubid = p.oid \
            UNION ALL SELECT 6237, x.oid FROM pg_catalog.pg_publication_namespace x WHERE x.pnpubid = p.oid")),
    ", ", crate::rest!("p", "oid,pubname,pubowner,puballtables,pubinsert,pubupdate,pubdelete,pubtruncate,\
     pubviaroot,pubgencols"), " AS rest \
     FROM pg_catalog.pg_publication p WHERE p.oid = ANY ($1)) r"
);

/// A table or a schema of a publication.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Part {
    /// The OID of its row.
    pub row: u32,
    pub oid: u32,
    /// Quoted, and qualified for a table.
    pub name: String,
    #[serde(default)]
    pub numbers: Option<String>,
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    #[serde(default)]
    pub tree: Option<String>,
    pub rest: serde_json::Value,
}

impl Part {
    fn is_as(&self, other: &Part) -> bool {
        let what = |part: &Part| (part.oid, part.numbers.clone(), part.tree.clone());
        what(self) == what(other)
    }

    /// The text after ADD TABLE ONLY.
    fn table(&self) -> String {
        let mut words = self.name.clone();
        if let Some(columns) = &self.columns {
            words += &format!(" ({})", columns.join(", "));
        }
        if let Some(filter) = &self.filter {
            words += &format!(" WHERE ({filter})");
        }
        words
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Publication {
    pub name: String,
    pub all_tables: bool,
    /// As in the option with this name.
    pub publish: String,
    pub via_root: bool,
    /// The letter of pg_publication.pubgencols, from 18 on.
    pub generated: Option<String>,
    pub tables: Option<Vec<Part>>,
    pub schemas: Option<Vec<Part>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Publication {
    fn tables(&self) -> &[Part] {
        self.tables.as_deref().unwrap_or_default()
    }

    /// Removes those of its tables for which `is_it` returns true, and returns their names.
    pub fn take_tables(&mut self, is_it: impl Fn(Key) -> bool) -> Vec<String> {
        let is_it = |part: &Part| is_it(Key::new(catalog::CLASS, part.oid));
        let (taken, kept) = self.tables().iter().cloned().partition(is_it);
        let (taken, kept): (Vec<Part>, Vec<Part>) = (taken, kept);
        self.tables = (!kept.is_empty()).then_some(kept);
        taken.into_iter().map(|part| part.name).collect()
    }

    fn schemas(&self) -> &[Part] {
        self.schemas.as_deref().unwrap_or_default()
    }

    /// All options, including those with their default value.
    fn options(&self) -> Result<Vec<String>, Unhandled> {
        let mut options = vec![
            format!("publish = '{}'", self.publish),
            format!("publish_via_partition_root = {}", self.via_root),
        ];
        match self.generated.as_deref() {
            None => {}
            Some("n") => options.push("publish_generated_columns = none".into()),
            Some("s") => options.push("publish_generated_columns = stored".into()),
            Some(other) => return Err(unhandled(&format!("generated columns {other}"))),
        }
        Ok(options)
    }

    fn ensure_plain(&self) -> Result<(), Unhandled> {
        let parts = self.tables().iter().chain(self.schemas());
        for rest in parts.map(|part| &part.rest).chain([&self.rest]) {
            no_rest("publication", rest)?;
        }
        Ok(())
    }

    fn add(&self, tables: &[&Part], schemas: &[&Part], script: &mut Script) {
        let what = format!("ALTER PUBLICATION {} ADD", self.name);
        for schema in schemas {
            script.push("add", format!("{what} TABLES IN SCHEMA {}", schema.name));
        }
        for table in tables {
            script.push("add", format!("{what} TABLE ONLY {}", table.table()));
        }
    }
}

fn unhandled(what: &str) -> Unhandled {
    Unhandled::new("publication", what)
}

/// The members of `these` that `others` lacks, or has with other properties.
fn only_in<'a>(these: &'a [Part], others: &[Part]) -> Vec<&'a Part> {
    let is_new = |part: &&Part| !others.iter().any(|other| other.is_as(part));
    these.iter().filter(is_new).collect()
}

impl Object for Publication {
    named!("PUBLICATION", "publication");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        self.ensure_plain()?;
        let all = if self.all_tables {
            " FOR ALL TABLES"
        } else {
            ""
        };
        let options = self.options()?.join(", ");
        let sql = format!("CREATE PUBLICATION {}{all} WITH ({options})", self.name);
        script.push("create", sql);
        self.add(
            &only_in(self.tables(), &[]),
            &only_in(self.schemas(), &[]),
            script,
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        to.ensure_plain()?;
        if self.all_tables != to.all_tables {
            return Err(unhandled("all tables"));
        }
        let what = format!("ALTER PUBLICATION {}", to.name);
        // A column list and a schema exclude each other: removals come first.
        for table in only_in(self.tables(), to.tables()) {
            // By its current name, if it still exists.
            let same = to.tables().iter().find(|other| other.oid == table.oid);
            let name = &same.unwrap_or(table).name;
            script.push("remove", format!("{what} DROP TABLE ONLY {name}"));
        }
        for schema in only_in(self.schemas(), to.schemas()) {
            let name = &schema.name;
            script.push("remove", format!("{what} DROP TABLES IN SCHEMA {name}"));
        }
        let before = self.options()?;
        let mut changed = to.options()?;
        changed.retain(|option| !before.contains(option));
        if !changed.is_empty() {
            script.push("alter", format!("{what} SET ({})", changed.join(", ")));
        }
        to.add(
            &only_in(to.tables(), self.tables()),
            &only_in(to.schemas(), self.schemas()),
            script,
        );
        Ok(())
    }

    /// The rows of its tables and schemas.
    fn aliases(&self) -> Vec<Key> {
        let tables = self.tables().iter().map(|part| (PUBLICATION_REL, part.row));
        let schemas = self
            .schemas()
            .iter()
            .map(|part| (PUBLICATION_NAMESPACE, part.row));
        tables.chain(schemas).map(Key::from).collect()
    }
}

const PUBLICATION_REL: u32 = 6106;
const PUBLICATION_NAMESPACE: u32 = 6237;
