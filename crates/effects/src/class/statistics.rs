//! Statistics objects (CREATE STATISTICS).

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::give_name;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::qualified;

/// `rest` is what no ALTER can change; `target` is null or -1 for the default.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT s.oid, \
     n.oid::pg_catalog.int8 AS namespace, pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(s.stxname) AS name, \
     s.stxrelid::pg_catalog.int8 AS table, pg_catalog.pg_get_statisticsobjdef(s.oid) AS definition, \
     pg_catalog.to_jsonb(s) -> 'stxstattarget' AS target, ",
    crate::common_columns!("3381", "s.oid", "s.stxowner", "NULL::pg_catalog._aclitem", "NULL"),
    ", pg_catalog.to_jsonb(s) - '{oid,stxname,stxnamespace,stxowner,stxstattarget}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace \
     JOIN pg_catalog.pg_class t ON t.oid = s.stxrelid \
     WHERE s.oid = ANY ($1) AND t.relpersistence <> 't') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Statistics {
    pub namespace: u32,
    pub schema: String,
    pub name: String,
    pub table: u32,
    pub definition: String,
    pub target: Option<i32>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Statistics {
    fn set_target(&self, script: &mut Script) {
        script.push(
            "alter",
            format!(
                "ALTER STATISTICS {} SET STATISTICS {}",
                self.target(),
                self.target.unwrap_or(-1)
            ),
        );
    }

    fn has_default_target(&self) -> bool {
        self.target.unwrap_or(-1) == -1
    }
}

impl Object for Statistics {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "STATISTICS"
    }

    fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("statistics {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        script.push("create", &self.definition);
        if !self.has_default_target() {
            self.set_target(script);
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        give_name(self, &self.name, &to.name, script);
        if self.namespace != to.namespace {
            script.push(
                "rename",
                format!(
                    "ALTER STATISTICS {} SET SCHEMA {}",
                    qualified(&self.schema, &to.name),
                    to.schema
                ),
            );
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("statistics object", &self.rest, &to.rest)?;
        if self.target.unwrap_or(-1) != to.target.unwrap_or(-1) {
            to.set_target(script);
        }
        Ok(())
    }

    fn dropped_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::CLASS, self.table)]
    }
}
