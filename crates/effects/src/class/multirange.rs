//! Multirange types: created and dropped with their ranges, and renamed and moved separately.

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{same_rest, Script, Unhandled};

/// From version 17 on owner and privileges are the range's, and cannot be changed.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.typname) AS name, \
     t.typarray::pg_catalog.int8 AS array_type, g.rngtypid::pg_catalog.int8 AS range, \
     pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 170000 AS has_owner, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'"),
    ", pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     JOIN pg_catalog.pg_range g ON g.rngmultitypid = t.oid \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Multirange {
    pub schema: String,
    pub name: String,
    pub array_type: u32,
    /// The range type's OID.
    pub range: u32,
    pub has_owner: bool,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Object for Multirange {
    named_in_schema!("TYPE", "r");

    fn create(&self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new(
            "multirange",
            "a multirange type without its range type",
        ))
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("multirange", &self.rest, &to.rest)
    }

    fn aliases(&self) -> Vec<Key> {
        vec![Key::new(catalog::TYPE, self.array_type)]
    }

    fn made_with(&self) -> Option<Key> {
        Some(Key::new(catalog::TYPE, self.range))
    }

    fn dropped_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::TYPE, self.range)]
    }

    fn has_owner_of_its_own(&self) -> bool {
        self.has_owner
    }

    fn gets_default_privileges(&self) -> bool {
        self.has_owner
    }
}
