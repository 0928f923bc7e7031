//! Transforms between a type and a language.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.format_type(t.trftype, NULL) AS type, pg_catalog.quote_ident(l.lanname) AS language, ",
    crate::function_signature!("t.trffromsql"),
    " AS from_sql, ",
    crate::function_signature!("t.trftosql"),
    " AS to_sql, ARRAY[t.trffromsql::pg_catalog.oid, t.trftosql::pg_catalog.oid] AS oids, ",
    crate::common_columns!("3576", "t.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(t) - '{oid,trftype,trflang,trffromsql,trftosql}'::pg_catalog.text[] AS rest, \
     ARRAY[t.trftype, t.trflang] AS identity \
     FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang WHERE t.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Transform {
    pub r#type: String,
    pub language: String,
    /// Functions, schema-qualified, with arguments.
    pub from_sql: Option<String>,
    pub to_sql: Option<String>,
    pub oids: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
    /// OIDs of type and language, which no command changes.
    pub identity: serde_json::Value,
}

impl Transform {
    fn definition(&self, verb: &str) -> String {
        let from = self
            .from_sql
            .iter()
            .map(|name| format!("FROM SQL WITH FUNCTION {name}"));
        let to = self
            .to_sql
            .iter()
            .map(|name| format!("TO SQL WITH FUNCTION {name}"));
        let list: Vec<String> = from.chain(to).collect();
        format!("{verb} TRANSFORM {} ({})", self.target(), list.join(", "))
    }
}

impl Object for Transform {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "TRANSFORM"
    }

    fn target(&self) -> String {
        format!("FOR {} LANGUAGE {}", self.r#type, self.language)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("transform {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("transform", &self.rest)?;
        script.push("create", self.definition("CREATE"));
        Ok(())
    }

    /// Its name consists of its type and its language.
    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("transform", &self.rest, &to.rest)?;
        same_identity(
            "transform",
            &self.identity,
            &to.identity,
            "its type or language has changed",
        )?;
        if self.oids != to.oids {
            script.push("replace", to.definition("CREATE OR REPLACE"));
        }
        Ok(())
    }
}
