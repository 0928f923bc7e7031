//! Functions, procedures and window functions; aggregates are a class of their own.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::qualified;

/// pg_get_functiondef has everything but the owner, the privileges and what an extension did. `result` and
/// `modes` decide whether CREATE OR REPLACE can make one of the other.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(p.proname) AS name, \
     pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments, p.prokind::pg_catalog.text AS kind, \
     pg_catalog.pg_get_functiondef(p.oid) AS definition, \
     pg_catalog.concat_ws(' ', pg_catalog.pg_get_function_result(p.oid), p.proargnames, p.proargmodes, p.pronargdefaults) AS shape, ",
    crate::common_columns!("1255", "p.oid", "p.proowner", "p.proacl", "'f'"),
    ", pg_catalog.to_jsonb(p) - '{oid,proname,pronamespace,proowner,proacl,proargtypes,proallargtypes,proargmodes,\
     proargnames,proargdefaults,prosrc,probin,prosqlbody,proconfig,prolang,procost,prorows,prosupport,prokind,\
     prosecdef,proleakproof,proisstrict,proretset,provolatile,proparallel,pronargs,pronargdefaults,prorettype,\
     provariadic,protrftypes}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     WHERE p.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Function {
    pub schema: String,
    pub name: String,
    /// As pg_get_function_identity_arguments has them.
    pub arguments: String,
    /// The letter of pg_proc.prokind.
    pub kind: String,
    pub definition: String,
    /// Names, modes and result: what CREATE OR REPLACE does not change.
    pub shape: String,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Object for Function {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        match self.kind.as_str() {
            "p" => "PROCEDURE",
            _ => "FUNCTION",
        }
    }

    fn target(&self) -> String {
        format!(
            "{}({})",
            qualified(&self.schema, &self.name),
            self.arguments
        )
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("routine {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let plain = serde_json::Value::Object(serde_json::Map::new());
        same_rest("function", &plain, &self.rest)?;
        script.push("create", self.definition.trim_end());
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        let mut name = self.clone();
        if name.name != to.name {
            script.push(
                "rename",
                format!(
                    "ALTER {} {} RENAME TO {}",
                    self.kind(),
                    name.target(),
                    to.name
                ),
            );
            name.name.clone_from(&to.name);
        }
        if name.schema != to.schema {
            script.push(
                "rename",
                format!(
                    "ALTER {} {} SET SCHEMA {}",
                    self.kind(),
                    name.target(),
                    to.schema
                ),
            );
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("function", &self.rest, &to.rest)?;
        if self.kind != to.kind || self.shape != to.shape {
            return Err(Unhandled::new(
                "function",
                "another result, or other names of arguments",
            ));
        }
        // The definition has the name in it.
        let is_moved = (&self.schema, &self.name) != (&to.schema, &to.name);
        if (self.definition != to.definition && !is_moved) || self.common.needs != to.common.needs {
            script.push("replace", to.definition.trim_end());
        }
        Ok(())
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
