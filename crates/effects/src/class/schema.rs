//! Schemas.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named;
use crate::script::{Script, Unhandled};

/// Those of temporary objects and of TOAST tables are not captured.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT n.oid, \
     pg_catalog.quote_ident(n.nspname) AS name, ",
    crate::common_columns!("2615", "n.oid", "n.nspowner", "n.nspacl", "'n'"),
    " FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1) \
     AND n.nspname !~ '^pg_(toast|temp|toast_temp)(_|$)') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Schema {
    /// Quoted.
    pub name: String,
    pub common: Common,
}

impl Object for Schema {
    named!("SCHEMA", "schema");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        script.push("create", format!("CREATE SCHEMA {}", self.name));
        Ok(())
    }

    fn alter(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
