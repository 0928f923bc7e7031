//! Triggers of tables and views; of internal triggers of constraints, only the states.

use serde::Deserialize;

use super::rule::{enable, state_word};
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::give_name;
use crate::script::{no_rest, same_rest, Script, Unhandled};
use crate::text::{do_block, literal};

/// `shape` is the contents of CREATE TRIGGER, as OIDs and trees.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(t.tgname) AS name, t.tgrelid::pg_catalog.int8 AS relation, \
     pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname)) AS \"on\", \
     t.tgconstrrelid::pg_catalog.int8 AS referenced, t.tgconstraint::pg_catalog.int8 AS \"constraint\", \
     t.tgparentid::pg_catalog.int8 AS parent, p.tgenabled::pg_catalog.text AS parent_enabled, \
     t.tgisinternal AS is_internal, CASE WHEN t.tgisinternal THEN ", means!(), " END AS means, t.tgenabled::pg_catalog.text AS enabled, \
     CASE WHEN NOT t.tgisinternal THEN pg_catalog.pg_get_triggerdef(t.oid) END AS definition, \
     pg_catalog.to_jsonb(t) OPERATOR(pg_catalog.-) '{oid,tgrelid,tgparentid,tgname,tgenabled,tgisinternal,\
     tgconstraint}'::pg_catalog.text[] AS shape, ",
    crate::common_columns!("2620", "t.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", ", crate::rest!("t", "oid,tgrelid,tgparentid,tgname,tgfoid,tgtype,tgenabled,tgisinternal,tgconstrrelid,\
     tgconstrindid,tgconstraint,tgdeferrable,tginitdeferred,tgnargs,tgattr,tgargs,tgqual,tgoldtable,tgnewtable"), " AS rest \
     FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_trigger p ON p.oid = t.tgparentid \
     WHERE t.oid = ANY ($1) AND c.relpersistence <> 't' AND c.relrewrite = 0) r"
);

/// How internal triggers, whose names contain an OID, are distinguished. Partitions of the table that a
/// foreign key references have triggers of its parts, whose names are chosen by PostgreSQL.
macro_rules! means {
    () => {
        concat!(
            "(WITH RECURSIVE up (oid, parent, relation, name) AS (\
             SELECT k.oid, k.conparentid, k.conrelid, k.conname FROM pg_catalog.pg_constraint k WHERE k.oid = t.tgconstraint \
             UNION ALL SELECT k.oid, k.conparentid, k.conrelid, k.conname FROM up \
             JOIN pg_catalog.pg_constraint k ON k.oid = up.parent AND k.conrelid = up.relation) \
             SELECT pg_catalog.json_build_object('table', pg_catalog.concat(pg_catalog.quote_ident(un.nspname), '.', \
             pg_catalog.quote_ident(uc.relname)), 'constraint', up.name, 'function', ",
            crate::function_signature!("t.tgfoid"),
            ") FROM up JOIN pg_catalog.pg_class uc ON uc.oid = up.relation JOIN pg_catalog.pg_namespace un ON un.oid = uc.relnamespace \
             WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.oid = up.parent AND k.conrelid = up.relation))"
        )
    };
}
use means;

/// A constraint, and the function that it calls.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Means {
    /// The constraint's, qualified.
    pub table: String,
    /// Not quoted.
    pub constraint: String,
    pub function: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Trigger {
    pub name: String,
    /// The OID of its relation.
    pub relation: u32,
    /// The same, qualified.
    pub on: String,
    /// The table in the FROM clause of a constraint trigger, 0 without one.
    pub referenced: u32,
    /// 0 except for constraint triggers.
    pub constraint: u32,
    /// The trigger of the partitioned table from which it was cloned, 0 if it is not a clone.
    pub parent: u32,
    pub parent_enabled: Option<String>,
    /// Part of a constraint.
    pub is_internal: bool,
    pub means: Option<Means>,
    /// The letter of pg_trigger.tgenabled.
    pub enabled: String,
    pub definition: Option<String>,
    pub shape: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Trigger {
    /// Created, renamed, replaced and dropped with another object.
    fn is_implied(&self) -> bool {
        self.is_internal || self.parent != 0
    }

    /// Whether CREATE OR REPLACE TRIGGER on a partitioned table has replaced it by a clone.
    fn is_taken_over_by(&self, to: &Self) -> bool {
        !self.is_internal && self.parent == 0 && to.parent != 0
    }

    /// Finds the trigger by its function, since its name differs at restore.
    fn enable_internal(&self, script: &mut Script) -> Result<(), Unhandled> {
        let Some(means) = &self.means else {
            return Err(Unhandled::new(
                "trigger",
                "an internal trigger without a constraint",
            ));
        };
        let (on, word) = (literal(&self.on), state_word("trigger", &self.enabled)?);
        let (table, constraint) = (literal(&means.table), literal(&means.constraint));
        let function = literal(&means.function);
        let body = format!(
            "DECLARE found pg_catalog.name; BEGIN SELECT t.tgname INTO STRICT found FROM pg_catalog.pg_trigger t \
             WHERE t.tgrelid = {on}::pg_catalog.regclass AND t.tgisinternal AND t.tgfoid = {function}::pg_catalog.regprocedure \
             AND t.tgconstraint IN (WITH RECURSIVE part (oid) AS (SELECT k.oid FROM pg_catalog.pg_constraint k \
             WHERE k.conrelid = {table}::pg_catalog.regclass AND k.conname = {constraint} \
             UNION ALL SELECT k.oid FROM part JOIN pg_catalog.pg_constraint k ON k.conparentid = part.oid \
             AND k.conrelid = {table}::pg_catalog.regclass) SELECT part.oid FROM part); \
             EXECUTE pg_catalog.format('ALTER TABLE ONLY %s {word} TRIGGER %I', {on}, found); END"
        );
        script.push("alter", do_block(&body));
        Ok(())
    }

    fn definition(&self) -> Result<&str, Unhandled> {
        let definition = self.definition.as_deref().map(str::trim);
        definition.ok_or_else(|| Unhandled::new("trigger", "has no definition"))
    }
}

impl Object for Trigger {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "TRIGGER"
    }

    fn target(&self) -> String {
        format!("{} ON {}", self.name, self.on)
    }

    /// The name of an internal trigger contains OIDs.
    fn occupies(&self) -> Option<String> {
        (!self.is_internal).then(|| format!("trigger {} {}", self.relation, self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("trigger", &self.rest)?;
        if !self.is_implied() {
            script.push("create", self.definition()?);
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        if !to.is_implied() {
            give_name(self, &self.name, &to.name, script);
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("trigger", &self.rest, &to.rest)?;
        if to.is_internal {
            // ALTER CONSTRAINT and ATTACH PARTITION change these.
            return Ok(());
        }
        if self.is_taken_over_by(to) {
            return Ok(());
        }
        if (self.relation, self.parent) != (to.relation, to.parent) {
            return Err(Unhandled::new(
                "trigger",
                "its relation or parent has changed",
            ));
        }
        if self.shape == to.shape || to.is_implied() {
            return Ok(());
        }
        let definition = to.definition()?.strip_prefix("CREATE TRIGGER ");
        match definition.filter(|_| self.constraint == 0) {
            Some(definition) => {
                let sql = format!("CREATE OR REPLACE TRIGGER {definition}");
                script.push("replace", sql);
                Ok(())
            }
            None => Err(Unhandled::new(
                "trigger",
                "its constraint trigger has changed",
            )),
        }
    }

    fn early(&self, after: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        if after.is_some_and(|after| self.is_taken_over_by(after)) {
            self.remove(script);
        }
        Ok(())
    }

    fn remove(&self, script: &mut Script) {
        if !self.is_implied() {
            script.push("drop", format!("DROP TRIGGER {}", self.target()));
        }
    }

    /// The state: after CREATE and CREATE OR REPLACE of it, or of the trigger of which it is a clone, which
    /// leave it enabled; a clone created by ATTACH PARTITION has the current state of its parent.
    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        let was = match before {
            _ if self.is_internal => before.map_or("O", |before| before.enabled.as_str()),
            Some(before) if before.shape == self.shape && !before.is_taken_over_by(self) => {
                &before.enabled
            }
            None if self
                .parent_enabled
                .as_deref()
                .is_some_and(|parent| parent != "O") =>
            {
                ""
            }
            _ => "O",
        };
        if self.is_internal && was != self.enabled {
            return self.enable_internal(script);
        }
        enable("TRIGGER", &self.on, &self.name, was, &self.enabled, script)
    }

    fn late_needs(&self) -> Vec<Key> {
        self.made_with()
            .into_iter()
            .chain([Key::new(catalog::CLASS, self.relation)])
            .collect()
    }

    /// ATTACH PARTITION creates a clone.
    fn needs_whole(&self) -> Option<Key> {
        (self.parent != 0).then_some(Key::new(catalog::CLASS, self.relation))
    }

    fn aliases(&self) -> Vec<Key> {
        if self.is_internal || self.constraint == 0 {
            return Vec::new();
        }
        vec![Key::new(catalog::CONSTRAINT, self.constraint)]
    }

    fn dropped_with(&self) -> Vec<Key> {
        // One of a foreign key is dropped with it, also when its table is dropped.
        let constraint = if self.is_internal { self.constraint } else { 0 };
        let others = [
            (catalog::CONSTRAINT, constraint),
            (catalog::CLASS, self.relation),
            (catalog::CLASS, self.referenced),
            (catalog::TRIGGER, self.parent),
        ];
        let others = others.into_iter().filter(|(_, oid)| *oid != 0);
        others.map(Key::from).collect()
    }

    fn made_with(&self) -> Option<Key> {
        match (self.is_internal, self.parent) {
            (true, _) if self.constraint != 0 => {
                Some(Key::new(catalog::CONSTRAINT, self.constraint))
            }
            (false, parent) if parent != 0 => Some(Key::new(catalog::TRIGGER, parent)),
            _ => None,
        }
    }
}
