//! Conversions between encodings.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::literal;

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.conname) AS name, \
     pg_catalog.pg_encoding_to_char(c.conforencoding) AS source, pg_catalog.pg_encoding_to_char(c.contoencoding) AS result, \
     c.conproc::pg_catalog.text AS function, c.condefault AS is_default, ",
    crate::common_columns!("2607", "c.oid", "c.conowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.jsonb_set(pg_catalog.to_jsonb(c) - '{oid,conname,connamespace,conowner}'::pg_catalog.text[], \
     '{conproc}', pg_catalog.to_jsonb(c.conproc::pg_catalog.oid)) AS rest \
     FROM pg_catalog.pg_conversion c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
     WHERE c.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conversion {
    pub schema: String,
    pub name: String,
    pub source: String,
    pub result: String,
    pub function: String,
    pub is_default: bool,
    pub common: Common,
    /// With the columns that CREATE sets: none of them can be altered.
    pub rest: serde_json::Value,
}

impl Object for Conversion {
    named_in_schema!("CONVERSION", "conversion");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let default = if self.is_default { "DEFAULT " } else { "" };
        let sql = format!(
            "CREATE {default}CONVERSION {} FOR {} TO {} FROM {}",
            self.target(),
            literal(&self.source),
            literal(&self.result),
            self.function
        );
        script.push("create", sql);
        Ok(())
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("conversion", &self.rest, &to.rest)
    }
}
