//! Range types. The multirange type is created with its range ([`super::multirange`]), and so are the
//! constructor functions of both, which the class of functions excludes.

use serde::Deserialize;
use serde_json::json;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames::named_in_schema;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::qualified;

/// `constructors` are the functions with an internal dependency on the type or on its multirange.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.typname) AS name, \
     t.typarray::pg_catalog.int8 AS array_type, \
     pg_catalog.format_type(g.rngsubtype, NULL) AS subtype, \
     pg_catalog.concat(pg_catalog.quote_ident(mn.nspname), '.', pg_catalog.quote_ident(m.typname)) AS multirange, \
     pg_catalog.quote_ident(m.typname) AS multirange_name, \
     CASE WHEN NOT o.opcdefault THEN pg_catalog.concat(pg_catalog.quote_ident(onsp.nspname), '.', pg_catalog.quote_ident(o.opcname)) END AS opclass, \
     CASE WHEN g.rngcollation <> s.typcollation THEN ", crate::collation_name!("g.rngcollation"), " END AS collation, \
     nullif(g.rngcanonical::pg_catalog.text, '-') AS canonical, nullif(g.rngsubdiff::pg_catalog.text, '-') AS subtype_diff, \
     pg_catalog.json_build_array(g.rngsubtype, g.rngmultitypid, g.rngcollation, g.rngsubopc, \
        g.rngcanonical::pg_catalog.oid, g.rngsubdiff::pg_catalog.oid) AS ids, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', p.oid::pg_catalog.int8, \
        'name', pg_catalog.concat(pg_catalog.quote_ident(pn.nspname), '.', pg_catalog.quote_ident(p.proname))) ORDER BY p.oid) \
        FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_proc p ON p.oid = x.objid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace \
        WHERE x.refclassid = 1247 AND x.refobjid IN (t.oid, m.oid) AND x.classid = 1255 AND x.deptype = 'i') AS constructors, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'"),
    ", pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray,typalign}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     JOIN pg_catalog.pg_range g ON g.rngtypid = t.oid JOIN pg_catalog.pg_type s ON s.oid = g.rngsubtype \
     JOIN pg_catalog.pg_type m ON m.oid = g.rngmultitypid JOIN pg_catalog.pg_namespace mn ON mn.oid = m.typnamespace \
     JOIN pg_catalog.pg_opclass o ON o.oid = g.rngsubopc JOIN pg_catalog.pg_namespace onsp ON onsp.oid = o.opcnamespace \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Range {
    pub schema: String,
    pub name: String,
    pub array_type: u32,
    pub subtype: String,
    /// Qualified.
    pub multirange: String,
    pub multirange_name: String,
    /// If it is not the default one.
    pub opclass: Option<String>,
    /// If it is not that of the subtype.
    pub collation: Option<String>,
    pub canonical: Option<String>,
    pub subtype_diff: Option<String>,
    /// The OIDs of all these.
    pub ids: serde_json::Value,
    pub constructors: Option<Vec<Constructor>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Constructor {
    pub oid: u32,
    /// Qualified.
    pub name: String,
}

impl Range {
    fn constructors(&self) -> &[Constructor] {
        self.constructors.as_deref().unwrap_or_default()
    }
}

impl Object for Range {
    named_in_schema!("TYPE", "r");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let usual = [
            ("typlen", json!(-1)),
            ("typtype", json!("r")),
            ("typcategory", json!("R")),
            ("typisdefined", json!(true)),
            ("typdelim", json!(",")),
            ("typinput", json!("range_in")),
            ("typoutput", json!("range_out")),
            ("typreceive", json!("range_recv")),
            ("typsend", json!("range_send")),
            ("typanalyze", json!("range_typanalyze")),
            ("typstorage", json!("x")),
            ("typtypmod", json!(-1)),
        ];
        ensure_plain("range", &self.rest, &usual)?;
        // It has the range as argument, which must exist as a shell.
        if self.canonical.is_some() {
            return Err(Unhandled::new("range", "a canonical function"));
        }
        // They were not renamed with the types, while CREATE TYPE gives them the types' names.
        // They are in the range's schema.
        let names = [&self.name, &self.multirange_name].map(|name| qualified(&self.schema, name));
        if self
            .constructors()
            .iter()
            .any(|other| !names.contains(&other.name))
        {
            return Err(Unhandled::new(
                "range",
                "its constructor functions have other names",
            ));
        }
        let mut options = vec![
            format!("subtype = {}", self.subtype),
            format!("multirange_type_name = {}", self.multirange),
        ];
        let others = [
            ("subtype_opclass", &self.opclass),
            ("collation", &self.collation),
            ("subtype_diff", &self.subtype_diff),
        ];
        for (option, value) in others {
            options.extend(value.as_ref().map(|value| format!("{option} = {value}")));
        }
        let (target, options) = (self.target(), options.join(", "));
        script.push(
            "create",
            format!("CREATE TYPE {target} AS RANGE ({options})"),
        );
        Ok(())
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("range", &self.rest, &to.rest)?;
        if self.ids != to.ids {
            return Err(Unhandled::new("range", "pg_range"));
        }
        Ok(())
    }

    fn aliases(&self) -> Vec<Key> {
        let functions = self.constructors().iter();
        functions
            .map(|function| Key::new(catalog::PROC, function.oid))
            .chain([Key::new(catalog::TYPE, self.array_type)])
            .collect()
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
