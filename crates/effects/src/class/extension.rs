//! Extensions: comment and DROP. The effects of a script belong to the script: CREATE EXTENSION and ALTER
//! EXTENSION … UPDATE are replayed as text, as are schema, owner (REASSIGN OWNED) and configuration tables.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{same_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT e.oid, \
     pg_catalog.quote_ident(e.extname) AS name, ",
    crate::common_columns!(
        "3079",
        "e.oid",
        "NULL::pg_catalog.oid",
        "NULL::pg_catalog.aclitem[]",
        "NULL"
    ),
    ", pg_catalog.to_jsonb(e) - '{oid,extname}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_extension e WHERE e.oid = ANY ($1)) r"
);

/// This project's own: a restore omits it.
pub const OWN: &str = "pg_incrbackup";

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Extension {
    pub name: String,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Extension {
    pub fn is_own(&self) -> bool {
        self.name == OWN
    }
}

impl Object for Extension {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "EXTENSION"
    }

    fn target(&self) -> String {
        self.name.clone()
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("extension {}", self.name))
    }

    fn create(&self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new("extension", "it is new"))
    }

    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new("extension", "it was renamed"))
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("extension", &self.rest, &to.rest)
    }
}
