//! Rules, except those of views.

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::give_name;
use crate::script::{Script, Unhandled};

/// `tree` shows whether its action has changed, independent of renamed objects.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT w.oid, \
     pg_catalog.quote_ident(w.rulename) AS name, w.ev_class::pg_catalog.int8 AS relation, \
     pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname)) AS \"on\", \
     pg_catalog.pg_get_ruledef(w.oid) AS definition, w.ev_enabled::pg_catalog.text AS enabled, \
     pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(' ', w.ev_type, w.is_instead, \
     w.ev_qual::pg_catalog.text, w.ev_action::pg_catalog.text), pg_catalog.getdatabaseencoding())), 'hex') AS tree, ",
    crate::common_columns!("2618", "w.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", ", crate::rest!("w", "oid,rulename,ev_class,ev_type,ev_enabled,is_instead,ev_qual,ev_action"), " AS rest \
     FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE w.oid = ANY ($1) AND w.rulename <> '_RETURN' AND c.relpersistence <> 't' AND c.relrewrite = 0) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Rule {
    pub name: String,
    /// The OID of its relation.
    pub relation: u32,
    /// The same, qualified.
    pub on: String,
    pub definition: Option<String>,
    /// The letter of pg_rewrite.ev_enabled.
    pub enabled: String,
    pub tree: String,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Rule {
    fn definition(&self) -> Result<&str, Unhandled> {
        self.definition
            .as_deref()
            .map(|text| text.trim().trim_end_matches(';'))
            .and_then(|text| text.strip_prefix("CREATE RULE "))
            .ok_or_else(|| Unhandled::new("rule", "has no definition"))
    }

    fn ensure_plain(&self) -> Result<(), Unhandled> {
        let plain = serde_json::Value::Object(serde_json::Map::new());
        crate::script::same_rest("rule", &plain, &self.rest)
    }
}

impl Object for Rule {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "RULE"
    }

    fn target(&self) -> String {
        format!("{} ON {}", self.name, self.on)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("rule {} {}", self.relation, self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        self.ensure_plain()?;
        script.push("create", format!("CREATE RULE {}", self.definition()?));
        enable("RULE", &self.on, &self.name, "O", &self.enabled, script)
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        give_name(self, &self.name, &to.name, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        to.ensure_plain()?;
        if self.relation != to.relation {
            return Err(Unhandled::new("rule", "its relation has changed"));
        }
        if self.tree != to.tree {
            let sql = format!("CREATE OR REPLACE RULE {}", to.definition()?);
            script.push("replace", sql);
        }
        // CREATE OR REPLACE does not change the state.
        enable("RULE", &to.on, &to.name, &self.enabled, &to.enabled, script)
    }

    fn dropped_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::CLASS, self.relation)]
    }
}

/// The statement that sets the state of a rule or a trigger of `relation`, `None` if it is unchanged. Without
/// ONLY, the triggers of partitions would be set as well.
pub fn enable(
    kind: &'static str,
    relation: &str,
    name: &str,
    before: &str,
    after: &str,
    script: &mut Script,
) -> Result<(), Unhandled> {
    if before == after {
        return Ok(());
    }
    let word = state_word(&kind.to_ascii_lowercase(), after)?;
    script.push(
        "alter",
        format!("ALTER TABLE ONLY {relation} {word} {kind} {name}"),
    );
    Ok(())
}

/// When it fires, by the letter in the catalog.
pub fn state_word(class: &str, state: &str) -> Result<&'static str, Unhandled> {
    match state {
        "O" => Ok("ENABLE"),
        "D" => Ok("DISABLE"),
        "R" => Ok("ENABLE REPLICA"),
        "A" => Ok("ENABLE ALWAYS"),
        _ => Err(Unhandled::new(class, format!("state {state}"))),
    }
}
