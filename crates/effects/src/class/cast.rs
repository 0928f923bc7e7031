//! Casts.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{Script, Unhandled};

/// Except that of a range to its multirange, which is created with them.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.format_type(c.castsource, NULL) AS source, pg_catalog.format_type(c.casttarget, NULL) AS result, \
     c.castmethod::pg_catalog.text AS method, c.castcontext::pg_catalog.text AS context, \
     CASE WHEN c.castfunc <> 0 THEN c.castfunc::pg_catalog.regprocedure::pg_catalog.text END AS function, \
     pg_catalog.to_jsonb(c) AS columns, ",
    crate::common_columns!("2605", "c.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    " FROM pg_catalog.pg_cast c WHERE c.oid = ANY ($1) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = 2605 AND x.objid = c.oid AND x.deptype = 'i')) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Cast {
    /// As by format_type.
    pub source: String,
    /// As by format_type.
    pub result: String,
    /// The letter of pg_cast.castmethod.
    pub method: String,
    /// The letter of pg_cast.castcontext.
    pub context: String,
    /// With its arguments.
    pub function: Option<String>,
    /// The complete row: nothing of it can be altered.
    pub columns: serde_json::Value,
    pub common: Common,
}

impl Object for Cast {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "CAST"
    }

    fn target(&self) -> String {
        format!("({} AS {})", self.source, self.result)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("cast {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let how = match (self.method.as_str(), &self.function) {
            ("f", Some(function)) => format!("WITH FUNCTION {function}"),
            ("b", None) => "WITHOUT FUNCTION".to_owned(),
            ("i", None) => "WITH INOUT".to_owned(),
            (other, _) => return Err(Unhandled::new("cast", format!("method {other}"))),
        };
        let when = match self.context.as_str() {
            "a" => " AS ASSIGNMENT",
            "i" => " AS IMPLICIT",
            "e" => "",
            other => return Err(Unhandled::new("cast", format!("context {other}"))),
        };
        script.push(
            "create",
            format!("CREATE CAST {} {how}{when}", self.target()),
        );
        Ok(())
    }

    /// Its name consists of its types.
    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        crate::script::same_rest("cast", &self.columns, &to.columns)
    }
}
