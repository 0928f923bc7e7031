//! Access methods, which cannot be altered.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{no_rest, same_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT a.oid, \
     pg_catalog.quote_ident(a.amname) AS name, a.amtype::pg_catalog.text AS type, ",
    crate::function_name!("a.amhandler"),
    " AS handler, ",
    crate::common_columns!(
        "2601",
        "a.oid",
        "NULL::pg_catalog.oid",
        "NULL::pg_catalog.aclitem[]",
        "NULL"
    ),
    ", pg_catalog.to_jsonb(a) - '{oid,amname,amtype,amhandler}'::pg_catalog.text[] AS rest, \
     a.amhandler::pg_catalog.oid::pg_catalog.int8 AS identity \
     FROM pg_catalog.pg_am a WHERE a.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AccessMethod {
    pub name: String,
    /// The letter of pg_am.amtype.
    pub r#type: String,
    pub handler: Option<String>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// The handler's OID, which no command changes.
    pub identity: serde_json::Value,
}

impl Object for AccessMethod {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "ACCESS METHOD"
    }

    fn target(&self) -> String {
        self.name.clone()
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("access method {}", self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("access method", &self.rest)?;
        let r#type = match self.r#type.as_str() {
            "i" => "INDEX",
            "t" => "TABLE",
            _ => return Err(Unhandled::new("access method", "its type")),
        };
        let Some(handler) = &self.handler else {
            return Err(Unhandled::new(
                "access method",
                "its handler does not exist",
            ));
        };
        let sql = format!(
            "CREATE ACCESS METHOD {} TYPE {type} HANDLER {handler}",
            self.name
        );
        script.push("create", sql);
        Ok(())
    }

    fn rename(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new(
            "access method",
            format!("renamed to {}", to.name),
        ))
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("access method", &self.rest, &to.rest)?;
        if (&self.r#type, &self.identity) != (&to.r#type, &to.identity) {
            return Err(Unhandled::new(
                "access method",
                "its type or handler has changed",
            ));
        }
        Ok(())
    }
}
