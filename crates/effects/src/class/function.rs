//! Functions, procedures and window functions; aggregates are a separate class.

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::qualified;

/// pg_get_functiondef returns everything except the owner, the privileges and extension membership, but it
/// also contains the names of referenced objects: `parts` are the function's own properties. Constructors of
/// ranges are created with these ([`super::range`]).
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(p.proname) AS name, \
     pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments, p.prokind::pg_catalog.text AS kind, \
     ARRAY (SELECT pg_catalog.format_type(u.type, NULL) FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS u (type, number) \
        ORDER BY u.number) AS argument_types, \
     pg_catalog.pg_get_functiondef(p.oid) AS definition, \
     CASE WHEN p.proargmodes IS NULL OR p.proargnames IS NULL THEN p.proargnames ELSE ARRAY (SELECT u.name \
        FROM ROWS FROM (pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)) WITH ORDINALITY AS u (name, mode, number) \
        WHERE u.mode IN ('i', 'b', 'v') ORDER BY u.number) END AS names, p.pronargdefaults AS defaults, \
     pg_catalog.jsonb_build_array(p.prokind, p.prorettype, p.proretset, p.provariadic, p.proargtypes, \
        CASE WHEN p.prorettype = 2249 THEN pg_catalog.jsonb_build_array(p.proallargtypes, p.proargmodes, ARRAY (\
           SELECT u.name FROM ROWS FROM (pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)) WITH ORDINALITY AS u (name, mode, number) \
           WHERE u.mode IN ('o', 'b', 't') ORDER BY u.number)) END) AS shape, \
     pg_catalog.to_jsonb(p) - '{oid,proname,pronamespace,proowner,proacl}'::pg_catalog.text[] || pg_catalog.jsonb_build_object(\
        'proargdefaults', pg_catalog.hashtextextended(p.proargdefaults::pg_catalog.text COLLATE \"C\", 0), \
        'prosqlbody', pg_catalog.hashtextextended(p.prosqlbody::pg_catalog.text COLLATE \"C\", 0), \
        'prosrc', pg_catalog.hashtextextended(p.prosrc COLLATE \"C\", 0), \
        'prosupport', p.prosupport::pg_catalog.oid) AS parts, ",
    crate::common_columns!("1255", "p.oid", "p.proowner", "p.proacl", "'f'"),
    ", pg_catalog.to_jsonb(p) - '{oid,proname,pronamespace,proowner,proacl,proargtypes,proallargtypes,proargmodes,\
     proargnames,proargdefaults,prosrc,probin,prosqlbody,proconfig,prolang,procost,prorows,prosupport,prokind,\
     prosecdef,proleakproof,proisstrict,proretset,provolatile,proparallel,pronargs,pronargdefaults,prorettype,\
     provariadic,protrftypes}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     WHERE p.oid = ANY ($1) AND n.nspname !~ '^pg_temp_' \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = 1255 AND x.objid = p.oid \
        AND x.refclassid = 1247 AND x.deptype = 'i')) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Function {
    pub schema: String,
    pub name: String,
    /// As by pg_get_function_identity_arguments.
    pub arguments: String,
    /// Input arguments only: they are unique among functions of one name.
    pub argument_types: Vec<String>,
    /// The letter of pg_proc.prokind.
    pub kind: String,
    pub definition: String,
    /// The input arguments' names; empty if one has none.
    pub names: Option<Vec<String>>,
    /// The number of arguments with a default.
    pub defaults: u16,
    /// What CREATE OR REPLACE cannot change; includes output arguments, which are the result's columns.
    pub shape: serde_json::Value,
    /// The row without name, schema, owner and privileges; texts and trees as hashes.
    pub parts: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Function {
    /// CREATE OR REPLACE can name an unnamed argument and add defaults, but remove neither.
    fn ensure_replaceable(&self, to: &Self) -> Result<(), Unhandled> {
        let keeps_names = match (&self.names, &to.names) {
            (Some(old), Some(new)) => {
                let mut pairs = old.iter().zip(new);
                old.len() == new.len() && pairs.all(|(old, new)| old.is_empty() || old == new)
            }
            (old, _) => old.is_none(),
        };
        if self.shape == to.shape && keeps_names && self.defaults <= to.defaults {
            return Ok(());
        }
        let what =
            "its result type or arguments have changed, or argument names or defaults were removed";
        Err(Unhandled::new("function", what))
    }

    /// Its dependencies, except its schema.
    fn refers_to(&self) -> impl Iterator<Item = &Key> {
        let needs = self.common.needs().iter();
        needs.filter(|key| key.class != catalog::NAMESPACE)
    }
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
        let types = self.argument_types.join(", ");
        let name = qualified(&self.schema, &self.name);
        Some(format!("routine {name}({types})"))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        ensure_plain("function", &self.rest, &[])?;
        script.push("create", self.definition.trim_end());
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        let (from, to) = ((&*self.schema, &*self.name), (&*to.schema, &*to.name));
        let arguments = format!("({})", self.arguments);
        renames::move_to(self.kind(), from, to, &arguments, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("function", &self.rest, &to.rest)?;
        if self.parts != to.parts || !self.refers_to().eq(to.refers_to()) {
            self.ensure_replaceable(to)?;
            script.push("replace", to.definition.trim_end());
        }
        Ok(())
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn function(names: Option<&[&str]>, defaults: u16, source: i64) -> Function {
        serde_json::from_value(json!({
            "schema": "s", "name": "f", "arguments": "integer", "argument_types": ["integer"], "kind": "f",
            "definition": "CREATE OR REPLACE FUNCTION …\n", "names": names, "defaults": defaults, "shape": [],
            "parts": {"prosrc": source, "proargnames": names}, "common": {}, "rest": {}
        }))
        .unwrap()
    }

    #[test]
    fn a_name_can_be_given_but_not_taken() {
        let plain = function(None, 0, 1);
        let named = function(Some(&["a"]), 1, 2);
        let mut script = Script::default();
        plain.alter(&named, &mut script).unwrap();
        assert_eq!(script.statements.len(), 1);
        assert!(named.alter(&plain, &mut Script::default()).is_err());
        let other = function(Some(&["b"]), 1, 2);
        assert!(named.alter(&other, &mut Script::default()).is_err());
    }

    #[test]
    fn a_text_with_other_names_in_it_is_no_other_function() {
        let mut script = Script::default();
        let mut moved = function(None, 0, 1);
        moved.definition = "CREATE OR REPLACE FUNCTION t.…".to_owned();
        function(None, 0, 1).alter(&moved, &mut script).unwrap();
        assert!(script.statements.is_empty());
    }
}
