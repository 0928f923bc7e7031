//! Foreign-data wrappers.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::options::{altered, created, Setting};
use crate::renames::named;
use crate::script::{no_rest, same_rest, Script, Unhandled};

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT f.oid, \
     pg_catalog.quote_ident(f.fdwname) AS name, ",
    crate::function_name!("f.fdwhandler"),
    " AS handler, ",
    crate::function_name!("f.fdwvalidator"),
    " AS validator, ",
    crate::options!("f.fdwoptions"),
    " AS options, ARRAY[f.fdwhandler::pg_catalog.int8, f.fdwvalidator::pg_catalog.int8] AS oids, ",
    crate::common_columns!("2328", "f.oid", "f.fdwowner", "f.fdwacl", "'F'"),
    ", pg_catalog.to_jsonb(f) - '{oid,fdwname,fdwowner,fdwhandler,fdwvalidator,fdwacl,fdwoptions}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_foreign_data_wrapper f WHERE f.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ForeignDataWrapper {
    pub name: String,
    /// Functions, schema-qualified.
    pub handler: Option<String>,
    pub validator: Option<String>,
    /// OIDs of these: a renamed function is the same one.
    pub oids: [u32; 2],
    pub options: Option<Vec<Setting>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Object for ForeignDataWrapper {
    named!("FOREIGN DATA WRAPPER", "foreign data wrapper");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("foreign-data wrapper", &self.rest)?;
        let function = |word: &str, name: &Option<String>| {
            name.as_ref()
                .map_or_else(String::new, |name| format!(" {word} {name}"))
        };
        script.push(
            "create",
            format!(
                "CREATE FOREIGN DATA WRAPPER {}{}{}{}",
                self.name,
                function("HANDLER", &self.handler),
                function("VALIDATOR", &self.validator),
                created(self.options.as_deref())
            ),
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("foreign-data wrapper", &self.rest, &to.rest)?;
        let function = |word: &str, n: usize, name: &Option<String>| match name {
            _ if self.oids[n] == to.oids[n] => String::new(),
            Some(name) => format!(" {word} {name}"),
            None => format!(" NO {word}"),
        };
        let changes = format!(
            "{}{}{}",
            function("HANDLER", 0, &to.handler),
            function("VALIDATOR", 1, &to.validator),
            altered(self.options.as_deref(), to.options.as_deref())
        );
        if !changes.is_empty() {
            let sql = format!("ALTER FOREIGN DATA WRAPPER {}{changes}", to.name);
            script.push("alter", sql);
        }
        Ok(())
    }
}
