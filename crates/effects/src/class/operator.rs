//! Operators.
//!
//! A commutator or negator that is named before it exists is a shell operator: without a function, created by
//! naming it, with no properties but its owner and comment, and completed by a CREATE under the same OID. The
//! links are mutual: CREATE and ALTER set the other's, DROP removes it.

use serde::Deserialize;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};
use crate::text::qualified;

/// The OID of a permanent operator, or NULL. The link to a temporary one is removed with it.
macro_rules! lasting {
    ($oid:expr) => {
        concat!(
            "(SELECT lo.oid FROM pg_catalog.pg_operator lo JOIN pg_catalog.pg_namespace ln ON ln.oid = lo.oprnamespace \
             WHERE lo.oid = ", $oid, " AND ln.nspname !~ '^pg_temp_')"
        )
    };
}

/// Names of functions and operators for the statements, OIDs to detect changes.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT op.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, op.oprname AS name, \
     CASE op.oprleft WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(op.oprleft, NULL) END AS left, \
     CASE op.oprright WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(op.oprright, NULL) END AS right, ",
    crate::function_name!("op.oprcode"),
    " AS function, ",
    crate::function_name!("op.oprrest"),
    " AS restrict, ",
    crate::function_name!("op.oprjoin"),
    " AS join, ",
    crate::operator_name!(lasting!("op.oprcom")),
    " AS commutator, ",
    crate::operator_name!(lasting!("op.oprnegate")),
    " AS negator, op.oprcanmerge AS merges, op.oprcanhash AS hashes, \
     pg_catalog.json_build_array(op.oprrest::pg_catalog.oid::pg_catalog.int8, op.oprjoin::pg_catalog.oid::pg_catalog.int8, \
     coalesce(",
    lasting!("op.oprcom"),
    "::pg_catalog.int8, 0), coalesce(",
    lasting!("op.oprnegate"),
    "::pg_catalog.int8, 0)) AS oids, \
     op.oprcode::pg_catalog.oid::pg_catalog.int8 AS function_oid, \
     pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version, ",
    crate::common_columns!("2617", "op.oid", "op.oprowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(op) - '{oid,oprname,oprnamespace,oprowner,oprcanmerge,oprcanhash,oprcom,oprnegate,oprcode,\
     oprrest,oprjoin,oprkind,oprleft,oprright,oprresult}'::pg_catalog.text[] AS rest, \
     pg_catalog.json_build_array(op.oprname, op.oprkind, op.oprleft, op.oprright) AS identity \
     FROM pg_catalog.pg_operator op JOIN pg_catalog.pg_namespace n ON n.oid = op.oprnamespace \
     WHERE op.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Operator {
    pub schema: String,
    pub name: String,
    /// Types, or NONE.
    pub left: String,
    pub right: String,
    /// Functions and operators, schema-qualified; a shell has no function.
    pub function: Option<String>,
    pub restrict: Option<String>,
    pub join: Option<String>,
    pub commutator: Option<String>,
    pub negator: Option<String>,
    pub merges: bool,
    pub hashes: bool,
    /// Of restrict, join, commutator and negator.
    pub oids: [u32; 4],
    pub function_oid: u32,
    /// Assigned by the server.
    pub version: u32,
    pub common: Common,
    pub rest: serde_json::Value,
    /// What no command changes.
    pub identity: serde_json::Value,
}

const CLASS: &str = "operator";

impl Operator {
    fn is_shell(&self) -> bool {
        self.function_oid == 0
    }

    /// From 17 on, ALTER can link operators and set MERGES and HASHES.
    fn can_be_linked(&self) -> bool {
        self.version >= 170_000
    }
}

fn link(name: &Option<String>) -> Option<String> {
    name.as_ref().map(|name| format!("OPERATOR({name})"))
}

impl Object for Operator {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "OPERATOR"
    }

    fn target(&self) -> String {
        let name = qualified(&self.schema, &self.name);
        format!("{name} ({}, {})", self.left, self.right)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("operator {}", self.target()))
    }

    /// A shell is created by naming it.
    fn made_with(&self) -> Option<Key> {
        let other = self.oids[2..].iter().find(|oid| **oid != 0);
        let other = other.filter(|_| self.is_shell());
        other.map(|oid| Key::new(catalog::OPERATOR, *oid))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest(CLASS, &self.rest)?;
        let Some(function) = &self.function else {
            return Err(Unhandled::new(
                CLASS,
                "a shell operator that no operator references",
            ));
        };
        let argument =
            |word: &str, name: &str| (name != "NONE").then(|| format!("{word} = {name}"));
        let named = |word: &str, name: Option<String>| name.map(|name| format!("{word} = {name}"));
        let parts = [
            Some(format!("FUNCTION = {function}")),
            argument("LEFTARG", &self.left),
            argument("RIGHTARG", &self.right),
            named("COMMUTATOR", link(&self.commutator)),
            named("NEGATOR", link(&self.negator)),
            self.merges.then(|| "MERGES".to_owned()),
            self.hashes.then(|| "HASHES".to_owned()),
            named("RESTRICT", self.restrict.clone()),
            named("JOIN", self.join.clone()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let name = qualified(&self.schema, &self.name);
        script.push(
            "create",
            format!("CREATE OPERATOR {name} ({})", parts.join(", ")),
        );
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        if self.schema != to.schema {
            let sql = format!("ALTER OPERATOR {} SET SCHEMA {}", self.target(), to.schema);
            script.push("rename", sql);
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest(CLASS, &self.rest, &to.rest)?;
        same_identity(
            CLASS,
            &self.identity,
            &to.identity,
            "its name or types have changed",
        )?;
        if self.is_shell() && !to.is_shell() {
            to.create(script)?;
            // The role that completes a shell becomes its owner.
            if let Some(owner) = to
                .common
                .owner
                .as_ref()
                .filter(|_| self.common.owner == to.common.owner)
            {
                let sql = format!("ALTER OPERATOR {} OWNER TO {owner}", to.target());
                script.push_with_roles("owner", sql, &[owner]);
            }
            return Ok(());
        }
        if self.function_oid != to.function_oid {
            return Err(Unhandled::new(CLASS, "another function"));
        }
        let mut parts = Vec::new();
        let estimators = [("RESTRICT", &to.restrict), ("JOIN", &to.join)];
        for (n, (word, function)) in estimators.into_iter().enumerate() {
            if self.oids[n] != to.oids[n] {
                parts.push(format!(
                    "{word} = {}",
                    function.as_deref().unwrap_or("NONE")
                ));
            }
        }
        for (word, before, after) in [
            ("MERGES", self.merges, to.merges),
            ("HASHES", self.hashes, to.hashes),
        ] {
            if before == after {
                continue;
            }
            if before || !to.can_be_linked() {
                return Err(Unhandled::new(CLASS, word));
            }
            parts.push(word.to_owned());
        }
        if !parts.is_empty() {
            let sql = format!("ALTER OPERATOR {} SET ({})", to.target(), parts.join(", "));
            script.push("alter", sql);
        }
        Ok(())
    }

    /// A link that an operator did not have. Before 17 only CREATE of the other one sets it, and from then on
    /// this may have set it, too; a removed link was removed with the other one.
    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        let Some(before) = before.filter(|before| !before.is_shell()) else {
            return Ok(());
        };
        if !self.can_be_linked() {
            return Ok(());
        }
        let links = [("COMMUTATOR", &self.commutator), ("NEGATOR", &self.negator)];
        for (n, (word, name)) in links.into_iter().enumerate() {
            let is_new = before.oids[2 + n] != self.oids[2 + n];
            if let Some(name) = link(name).filter(|_| is_new) {
                let sql = format!("ALTER OPERATOR {} SET ({word} = {name})", self.target());
                script.push("alter", sql);
            }
        }
        Ok(())
    }

    fn late_needs(&self) -> Vec<Key> {
        let key = |oid: &u32| Key::new(catalog::OPERATOR, *oid);
        self.oids[2..]
            .iter()
            .filter(|oid| **oid != 0)
            .map(key)
            .collect()
    }
}
