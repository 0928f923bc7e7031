//! Domains, with their constraints.

use serde::Deserialize;
use serde_json::json;

use crate::common::{comment_on, Common};
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames::{self, named_in_schema};
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{quoted, unquoted};

/// Expressions are compared by their stored trees (`…_tree`): their text also changes with the names of
/// referenced objects. What CREATE DOMAIN copies from the base type is omitted from `rest` if it is the same.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.typname) AS name, \
     t.typarray::pg_catalog.int8 AS array_type, \
     pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base, \
     pg_catalog.json_build_array(t.typbasetype::pg_catalog.int8, t.typtypmod, t.typcollation::pg_catalog.int8) AS base_ids, \
     CASE WHEN t.typcollation <> b.typcollation THEN ", crate::collation_name!("t.typcollation"), " END AS collation, \
     coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), pg_catalog.quote_literal(t.typdefault)) AS default_value, \
     pg_catalog.hashtextextended(coalesce(t.typdefaultbin::pg_catalog.text, t.typdefault) COLLATE \"C\", 0) AS default_tree, \
     b.typdefault IS NOT NULL AS base_has_default, \
     t.typdefaultbin IS NULL AND t.typdefault = b.typdefault COLLATE \"C\" AS has_default_of_base, \
     t.typnotnull AS is_not_null, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', c.oid::pg_catalog.int8, \
        'name', pg_catalog.quote_ident(c.conname), 'kind', c.contype, 'is_validated', c.convalidated, \
        'definition', pg_catalog.pg_get_constraintdef(c.oid), \
        'tree', pg_catalog.hashtextextended(c.conbin::pg_catalog.text COLLATE \"C\", 0), \
        'comment', (SELECT x.description FROM pg_catalog.pg_description x WHERE x.objoid = c.oid AND x.classoid = 2606 AND x.objsubid = 0), \
        'rest', pg_catalog.to_jsonb(c) - '{oid,conname,connamespace,contypid,contype,convalidated,conbin}'::pg_catalog.text[]) \
        ORDER BY c.conname) FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid) AS constraints, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'",
        crate::needs_of_parts!("SELECT 1247::pg_catalog.oid, t.oid UNION ALL \
            SELECT 2606::pg_catalog.oid, c.oid FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid")),
    ", pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray,typbasetype,typtypmod,typcollation,\
     typdefault,typdefaultbin,typnotnull,typndims}'::pg_catalog.text[] - ARRAY (SELECT f.name FROM pg_catalog.unnest(\
     '{typlen,typbyval,typcategory,typdelim,typoutput,typsend,typanalyze,typalign,typstorage}'::pg_catalog.text[]) AS f (name) \
     WHERE pg_catalog.to_jsonb(t) -> f.name = pg_catalog.to_jsonb(b) -> f.name) AS rest \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Domain {
    pub schema: String,
    pub name: String,
    pub array_type: u32,
    /// As by format_type.
    pub base: String,
    /// The base type, its modifier and the collation.
    pub base_ids: (u32, i32, u32),
    /// If it is not that of the base type.
    pub collation: Option<String>,
    pub default_value: Option<String>,
    pub default_tree: Option<i64>,
    /// A new domain has the default of its base type, even after DEFAULT NULL.
    pub base_has_default: bool,
    /// That of a base type, which is a string and not an expression.
    pub has_default_of_base: Option<bool>,
    pub is_not_null: bool,
    pub constraints: Option<Vec<Constraint>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Constraint {
    pub oid: u32,
    pub name: String,
    /// The letter of pg_constraint.contype.
    pub kind: String,
    pub is_validated: bool,
    /// As by pg_get_constraintdef, including NOT VALID.
    pub definition: String,
    pub tree: Option<i64>,
    pub comment: Option<String>,
    pub rest: serde_json::Value,
}

impl Constraint {
    fn ensure_plain(&self) -> Result<(), Unhandled> {
        let usual = [("conislocal", json!(true)), ("conenforced", json!(true))];
        ensure_plain("domain", &self.rest, &usual)
    }
}

impl Domain {
    fn constraints(&self) -> &[Constraint] {
        self.constraints.as_deref().unwrap_or_default()
    }

    fn constraint(&self, oid: u32) -> Option<&Constraint> {
        self.constraints().iter().find(|other| other.oid == oid)
    }

    /// NOT NULL before version 17, where it is not a constraint.
    fn is_plainly_not_null(&self) -> bool {
        self.is_not_null && self.constraints().iter().all(|other| other.kind != "n")
    }

    fn change(&self, script: &mut Script, what: &str) {
        script.push("alter", format!("ALTER DOMAIN {} {what}", self.target()));
    }

    fn add_constraint(&self, constraint: &Constraint, script: &mut Script) {
        let Constraint {
            name, definition, ..
        } = constraint;
        self.change(script, &format!("ADD CONSTRAINT {name} {definition}"));
    }

    fn comment(&self, constraint: &Constraint, script: &mut Script) {
        let what = format!("CONSTRAINT {} ON DOMAIN {}", constraint.name, self.target());
        script.push("comment", comment_on(&what, constraint.comment.as_deref()));
    }

    /// Those that exist before and after, with the new state; what ALTER cannot change is the same.
    fn kept<'a>(
        &'a self,
        to: &'a Self,
    ) -> Result<Vec<(&'a Constraint, &'a Constraint)>, Unhandled> {
        let mut kept = Vec::new();
        for old in self.constraints() {
            let Some(new) = to.constraint(old.oid) else {
                continue;
            };
            same_rest("domain", &old.rest, &new.rest)?;
            let is_unvalidated = old.is_validated && !new.is_validated;
            if old.kind != new.kind || old.tree != new.tree || is_unvalidated {
                return Err(Unhandled::new(
                    "domain",
                    "a constraint was changed in place",
                ));
            }
            kept.push((old, new));
        }
        Ok(kept)
    }

    fn alter_constraints(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        let kept = self.kept(to)?;
        for old in self
            .constraints()
            .iter()
            .filter(|old| to.constraint(old.oid).is_none())
        {
            to.change(script, &format!("DROP CONSTRAINT {}", old.name));
        }
        let pairs = kept
            .iter()
            .map(|(old, new)| (old.name.clone(), new.name.clone()));
        let between = |name: &str| quoted(&format!("{}~", unquoted(name)));
        for (old, new) in renames::in_order(pairs.collect(), between) {
            to.change(script, &format!("RENAME CONSTRAINT {old} TO {new}"));
        }
        for new in to
            .constraints()
            .iter()
            .filter(|new| self.constraint(new.oid).is_none())
        {
            new.ensure_plain()?;
            to.add_constraint(new, script);
            if new.comment.is_some() {
                to.comment(new, script);
            }
        }
        for (old, new) in kept {
            if old.is_validated != new.is_validated {
                to.change(script, &format!("VALIDATE CONSTRAINT {}", new.name));
            }
            if old.comment != new.comment {
                to.comment(new, script);
            }
        }
        Ok(())
    }
}

impl Object for Domain {
    named_in_schema!("DOMAIN", "r");

    fn grant_kind(&self) -> &'static str {
        "TYPE"
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let usual = [
            ("typtype", json!("d")),
            ("typisdefined", json!(true)),
            ("typinput", json!("domain_in")),
            ("typreceive", json!("domain_recv")),
        ];
        ensure_plain("domain", &self.rest, &usual)?;
        let mut sql = format!("CREATE DOMAIN {} AS {}", self.target(), self.base);
        if let Some(collation) = &self.collation {
            sql.push_str(&format!(" COLLATE {collation}"));
        }
        let is_inherited = self.has_default_of_base == Some(true);
        if let Some(value) = self.default_value.as_ref().filter(|_| !is_inherited) {
            sql.push_str(&format!(" DEFAULT {value}"));
        }
        if self.is_plainly_not_null() {
            sql.push_str(" NOT NULL");
        }
        for constraint in self.constraints() {
            constraint.ensure_plain()?;
            if constraint.is_validated {
                let Constraint {
                    name, definition, ..
                } = constraint;
                sql.push_str(&format!(" CONSTRAINT {name} {definition}"));
            }
        }
        script.push("create", sql);
        if self.default_value.is_none() && self.base_has_default {
            self.change(script, "DROP DEFAULT");
        }
        // CREATE DOMAIN does not accept NOT VALID.
        for constraint in self
            .constraints()
            .iter()
            .filter(|other| !other.is_validated)
        {
            self.add_constraint(constraint, script);
        }
        for constraint in self
            .constraints()
            .iter()
            .filter(|other| other.comment.is_some())
        {
            self.comment(constraint, script);
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("domain", &self.rest, &to.rest)?;
        if self.base_ids != to.base_ids {
            return Err(Unhandled::new(
                "domain",
                "its base type or collation has changed",
            ));
        }
        if self.default_tree != to.default_tree {
            match &to.default_value {
                Some(value) => to.change(script, &format!("SET DEFAULT {value}")),
                None => to.change(script, "DROP DEFAULT"),
            }
        }
        match (self.is_plainly_not_null(), to.is_plainly_not_null()) {
            (false, true) => to.change(script, "SET NOT NULL"),
            (true, false) => to.change(script, "DROP NOT NULL"),
            _ => {}
        }
        self.alter_constraints(to, script)
    }

    fn aliases(&self) -> Vec<Key> {
        vec![Key::new(catalog::TYPE, self.array_type)]
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn constraint(oid: u32, name: &str, tree: i64) -> serde_json::Value {
        json!({"oid": oid, "name": name, "kind": "c", "is_validated": true, "definition": "CHECK (x)",
               "tree": tree, "rest": {}})
    }

    fn altered(
        from: Vec<serde_json::Value>,
        to: Vec<serde_json::Value>,
    ) -> Result<Vec<String>, Unhandled> {
        let domain = |constraints: Vec<serde_json::Value>| -> Domain {
            serde_json::from_value(json!({
                "schema": "s", "name": "d", "array_type": 1, "base": "integer", "base_ids": [23, -1, 0],
                "base_has_default": false, "is_not_null": false, "constraints": constraints,
                "common": {}, "rest": {}
            }))
            .unwrap()
        };
        let mut script = Script::default();
        domain(from).alter(&domain(to), &mut script)?;
        let tail = |sql: &str| sql.replace("ALTER DOMAIN s.d ", "");
        Ok(script.statements.iter().map(|s| tail(&s.sql)).collect())
    }

    #[test]
    fn one_constraint_takes_the_name_of_one_that_is_dropped() {
        let from = vec![constraint(1, "a", 1), constraint(2, "b", 2)];
        let to = vec![constraint(2, "a", 2), constraint(3, "b", 1)];
        let sql = [
            "DROP CONSTRAINT a",
            "RENAME CONSTRAINT b TO a",
            "ADD CONSTRAINT b CHECK (x)",
        ];
        assert_eq!(altered(from, to).unwrap(), sql);
    }

    #[test]
    fn an_expression_that_changed_in_place_is_not_understood() {
        assert!(altered(vec![constraint(1, "a", 1)], vec![constraint(1, "a", 2)]).is_err());
    }
}
