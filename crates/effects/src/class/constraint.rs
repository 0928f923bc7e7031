//! Constraints of tables: CHECK, PRIMARY KEY, UNIQUE, EXCLUDE, FOREIGN KEY. NOT NULL is the table's, what
//! domains have is the domain's, and a constraint trigger is a trigger.
//!
//! What a partition or a child has from its parent is said by the parent's, or by its ATTACH; only a new
//! partition, which is made alone and attached later, is given its own. Partitions' foreign keys are always
//! made by their parents.

use serde::Deserialize;

use crate::class::index::{deferral, settings};
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::options::with;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{do_block, literal, unquoted};

/// Constraints of domains (contypid) are left out: they are read with their domain. So are the entries that
/// a foreign key has besides its own for each partition of the table that it refers to. `structure` is what
/// no ALTER changes.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT k.oid, \
     pg_catalog.quote_ident(k.conname) AS name, k.contype::pg_catalog.text AS kind, k.conrelid::pg_catalog.int8 AS table, \
     pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.relname) AS table_name, \
     t.relkind = 'p' AS is_partitioned, t.relispartition AS is_of_partition, \
     NULLIF(k.confrelid, 0)::pg_catalog.int8 AS refers_to, \
     CASE WHEN k.contype = 'f' THEN k.conindid::pg_catalog.int8 END AS refers_by, \
     pg_catalog.pg_get_constraintdef(k.oid) AS definition, \
     k.condeferrable AS is_deferrable, k.condeferred AS is_deferred, k.convalidated AS is_validated, \
     COALESCE((pg_catalog.to_jsonb(k) -> 'conenforced')::pg_catalog.bool, true) AS is_enforced, \
     k.conislocal AS is_local, k.coninhcount AS inherited, \
     COALESCE((SELECT pg_catalog.json_agg(h.inhparent::pg_catalog.int8 ORDER BY h.inhparent) \
        FROM pg_catalog.pg_inherits h WHERE h.inhrelid = k.conrelid), '[]') AS parent_tables, \
     (SELECT pg_catalog.json_build_object('constraint', p.oid::pg_catalog.int8, 'name', pg_catalog.quote_ident(p.conname), \
        'table', pg_catalog.concat(pg_catalog.quote_ident(pn.nspname), '.', pg_catalog.quote_ident(pc.relname))) \
        FROM pg_catalog.pg_constraint p JOIN pg_catalog.pg_class pc ON pc.oid = p.conrelid \
        JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace WHERE p.oid = k.conparentid) AS parent, \
     CASE WHEN k.contype = 'c' AND k.coninhcount > 0 THEN \
        (SELECT pg_catalog.json_agg(p.oid::pg_catalog.int8 ORDER BY p.oid) FROM pg_catalog.pg_inherits h \
         JOIN pg_catalog.pg_constraint p ON p.conrelid = h.inhparent AND p.conname = k.conname AND p.contype = 'c' \
         AND p.contypid = 0 WHERE h.inhrelid = k.conrelid) END AS parent_checks, \
     CASE WHEN t.relispartition THEN (SELECT pg_catalog.concat(pg_catalog.quote_ident(hn.nspname), '.', pg_catalog.quote_ident(hc.relname)) \
        FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class hc ON hc.oid = h.inhparent \
        JOIN pg_catalog.pg_namespace hn ON hn.oid = hc.relnamespace WHERE h.inhrelid = k.conrelid LIMIT 1) END AS partition_of, \
     CASE WHEN k.contype IN ('p', 'u', 'x') THEN (SELECT pg_catalog.json_build_object('options', x.reloptions, \
        'index', x.oid::pg_catalog.int8, \
        'tablespace', (SELECT pg_catalog.quote_ident(s.spcname) FROM pg_catalog.pg_tablespace s WHERE s.oid = x.reltablespace)) \
        FROM pg_catalog.pg_class x WHERE x.oid = k.conindid) END AS index, ",
    crate::common_columns!(
        "2606", "k.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog._aclitem", "NULL",
        crate::needs_of_parts!(
            "SELECT 2606::pg_catalog.oid, k.oid UNION ALL (WITH RECURSIVE part (oid) AS (\
             SELECT x.oid FROM pg_catalog.pg_constraint x WHERE x.conparentid = k.oid AND x.conrelid = k.conrelid AND k.contype = 'f' \
             UNION ALL SELECT x.oid FROM part JOIN pg_catalog.pg_constraint x ON x.conparentid = part.oid) \
             SELECT 2606, part.oid FROM part)"
        )
    ),
    ", pg_catalog.to_jsonb(k) - '{oid,conname,connamespace,contype,conrelid,conindid,conparentid,condeferrable,condeferred,\
     convalidated,conenforced,conislocal,coninhcount}'::pg_catalog.text[] AS structure \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class t ON t.oid = k.conrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
     WHERE k.oid = ANY ($1) AND k.contypid = 0 AND k.contype IN ('c', 'p', 'u', 'x', 'f') AND t.relpersistence <> 't' \
     AND NOT (k.contype = 'f' AND EXISTS (SELECT FROM pg_catalog.pg_constraint p \
        WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid))) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Constraint {
    pub name: String,
    /// The letter of pg_constraint.contype.
    pub kind: String,
    pub table: u32,
    /// With its schema.
    pub table_name: String,
    pub is_partitioned: bool,
    pub is_of_partition: bool,
    /// The partitioned table, with its schema.
    pub partition_of: Option<String>,
    /// The other table of a foreign key.
    pub refers_to: Option<u32>,
    /// The index of its key.
    pub refers_by: Option<u32>,
    pub definition: String,
    pub is_deferrable: bool,
    pub is_deferred: bool,
    pub is_validated: bool,
    pub is_enforced: bool,
    pub is_local: bool,
    pub inherited: i32,
    pub parent_tables: Vec<u32>,
    /// Of a partition's key or foreign key.
    pub parent: Option<Parent>,
    /// Of an inherited CHECK: those of the same name of the parents.
    pub parent_checks: Option<Vec<u32>>,
    pub index: Option<Means>,
    pub structure: serde_json::Value,
    pub common: Common,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Parent {
    pub constraint: u32,
    pub name: String,
    /// With its schema.
    pub table: String,
}

/// Its index, as far as the constraint's definition makes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Means {
    pub index: u32,
    pub options: Option<Vec<String>>,
    pub tablespace: Option<String>,
}

impl Constraint {
    fn table_key(&self) -> Key {
        Key::new(catalog::CLASS, self.table)
    }

    fn has_index(&self) -> bool {
        matches!(self.kind.as_str(), "p" | "u" | "x")
    }

    /// A CHECK that only its parents have said.
    fn is_inherited_check(&self) -> bool {
        self.kind == "c" && !self.is_local && self.parent_checks.is_some()
    }

    /// The definition with storage parameters and tablespace of its index, which pg_get_constraintdef leaves
    /// out of a key's. They stand before the words for deferring. An EXCLUDE has the parameters, and gets the
    /// tablespace later.
    fn whole_definition(&self) -> String {
        let (Some(index), "p" | "u") = (&self.index, self.kind.as_str()) else {
            return self.definition.clone();
        };
        let deferral = deferral(self.is_deferrable, self.is_deferred);
        let head = self
            .definition
            .strip_suffix(deferral)
            .unwrap_or(&self.definition);
        let mut whole = head.to_owned();
        whole.push_str(&with(&settings(index.options.as_deref())));
        if let Some(tablespace) = &index.tablespace {
            whole.push_str(&format!(" USING INDEX TABLESPACE {tablespace}"));
        }
        whole.push_str(deferral);
        whole
    }

    fn add(&self, script: &mut Script) {
        // A CHECK goes to the children, a foreign key to the partitions; keys are made on each partition.
        let only = match self.kind.as_str() {
            "c" => "",
            "f" if self.is_partitioned => "",
            _ => "ONLY ",
        };
        script.push(
            "create",
            format!(
                "ALTER TABLE {only}{} ADD CONSTRAINT {} {}",
                self.table_name,
                self.name,
                self.whole_definition()
            ),
        );
    }

    fn alter_constraint(&self, what: &str, script: &mut Script) {
        script.push(
            "alter",
            format!(
                "ALTER TABLE {} ALTER CONSTRAINT {} {what}",
                self.table_name, self.name
            ),
        );
    }

    /// Whether what it had from its parents, which stay them, is its own now.
    fn becomes_own(&self, to: &Self) -> bool {
        let is_kept = self.parent_tables == to.parent_tables;
        self.kind == "c" && !self.is_local && to.is_local && is_kept
    }

    /// Whether ADD CONSTRAINT was said of it again.
    fn is_said_again(&self, to: &Self) -> bool {
        self.becomes_own(to) && self.inherited == to.inherited
    }

    /// What it has of its own and from its parents.
    fn alter_inheritance(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        // Attaching, detaching, INHERIT and NO INHERIT do the rest.
        if self.parent_tables != to.parent_tables || self.kind != "c" {
            return Ok(());
        }
        match (self.is_local, to.is_local) {
            (false, true) if self.is_said_again(to) => {
                to.add(script);
                Ok(())
            }
            // Said early.
            (false, true) => Ok(()),
            // A partition's own becomes its parent's where that one is given the same.
            (true, false) if to.inherited > self.inherited => Ok(()),
            (true, false) => Err(Unhandled::new("constraint", "is its parent's alone")),
            _ => Ok(()),
        }
    }
}

impl Object for Constraint {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "CONSTRAINT"
    }

    fn target(&self) -> String {
        format!("{} ON {}", self.name, self.table_name)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("constraint {} {}", self.table, self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        match &self.parent {
            Some(_) if self.kind == "f" => {
                if self.common.comment.is_some() {
                    let what = "a partition's foreign key with a comment of its own";
                    return Err(Unhandled::new("constraint", what));
                }
            }
            _ => self.add(script),
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        // An inherited CHECK is renamed with its parent's.
        let is_parents = self.kind == "c" && self.inherited > 0 && to.inherited > 0;
        if self.name != to.name && !is_parents {
            script.push(
                "rename",
                format!(
                    "ALTER TABLE {} RENAME CONSTRAINT {} TO {}",
                    self.table_name, self.name, to.name
                ),
            );
        }
        Ok(())
    }

    /// A parent has dropped its own alone (ALTER TABLE ONLY): what is a child's own as well stays where it goes.
    /// A partition can have none of its own besides; there it is said of the parent.
    fn early(&self, after: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        let is_left = |to: &Self| self.becomes_own(to) && to.inherited < self.inherited;
        match &self.partition_of {
            _ if !after.is_some_and(is_left) => {}
            Some(parent) => {
                let (alter, name) = (format!("ALTER TABLE ONLY {parent}"), &self.name);
                script.push("alter", format!("{alter} DROP CONSTRAINT IF EXISTS {name}"));
            }
            None => self.add(script),
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("constraint", &self.structure, &to.structure)?;
        self.alter_inheritance(to, script)?;
        if (self.is_deferrable, self.is_deferred) != (to.is_deferrable, to.is_deferred) {
            if self.kind != "f" {
                return Err(Unhandled::new("constraint", "condeferrable, condeferred"));
            }
            // A partition's is changed with its parent's.
            if to.parent.is_none() {
                to.alter_constraint(
                    match (to.is_deferrable, to.is_deferred) {
                        (_, true) => "DEFERRABLE INITIALLY DEFERRED",
                        (true, false) => "DEFERRABLE INITIALLY IMMEDIATE",
                        (false, false) => "NOT DEFERRABLE",
                    },
                    script,
                );
            }
        }
        if self.is_said_again(to) {
            // It may be enforced now, and its parents' not.
            return Ok(());
        }
        if self.is_enforced != to.is_enforced {
            if self.kind != "f" {
                return Err(Unhandled::new("constraint", "conenforced"));
            }
            if to.parent.is_none() {
                let word = if to.is_enforced {
                    "ENFORCED"
                } else {
                    "NOT ENFORCED"
                };
                to.alter_constraint(word, script);
            }
        } else if self.is_validated != to.is_validated {
            if !to.is_validated {
                return Err(Unhandled::new("constraint", "convalidated"));
            }
            // Harmless where the parent's has done it.
            script.push(
                "alter",
                format!(
                    "ALTER TABLE {} VALIDATE CONSTRAINT {}",
                    to.table_name, to.name
                ),
            );
        }
        Ok(())
    }

    /// A partition's foreign key has its parent's name where that is free, and another where it is not.
    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        let parent = self
            .parent
            .as_ref()
            .filter(|_| self.kind == "f" && before.is_none());
        let Some(parent) = parent.filter(|parent| parent.name != self.name) else {
            return Ok(());
        };
        let (table, name) = (literal(&self.table_name), literal(&unquoted(&self.name)));
        let (above, named) = (literal(&parent.table), literal(&unquoted(&parent.name)));
        let body = format!(
            "DECLARE found pg_catalog.name; BEGIN SELECT k.conname INTO STRICT found FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid WHERE k.conrelid = {table}::pg_catalog.regclass \
             AND k.contype = 'f' AND p.conrelid = {above}::pg_catalog.regclass AND p.conname = {named}; \
             IF found <> {name} THEN EXECUTE pg_catalog.format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', \
             {table}, found, {name}); END IF; END"
        );
        script.push("rename", do_block(&body));
        Ok(())
    }

    fn late_needs(&self) -> Vec<Key> {
        let parent = self.parent.as_ref().filter(|_| self.kind == "f");
        let keys = parent.map(|parent| {
            [
                self.table_key(),
                Key::new(catalog::CONSTRAINT, parent.constraint),
            ]
        });
        keys.into_iter().flatten().collect()
    }

    fn remove(&self, script: &mut Script) {
        // A partition that keeps it may have said so ([`Object::early`]).
        let is_said = self.kind == "c" && self.is_partitioned;
        let exists = if is_said { "IF EXISTS " } else { "" };
        let (table, name) = (&self.table_name, &self.name);
        let sql = format!("ALTER TABLE {table} DROP CONSTRAINT {exists}{name}");
        script.push("drop", sql);
    }

    fn dropped_with(&self) -> Vec<Key> {
        let mut keys = vec![self.table_key()];
        keys.extend(
            self.parent
                .as_ref()
                .map(|parent| Key::new(catalog::CONSTRAINT, parent.constraint)),
        );
        if self.is_inherited_check() {
            let parents = self.parent_checks.iter().flatten();
            keys.extend(parents.map(|oid| Key::new(catalog::CONSTRAINT, *oid)));
        }
        keys
    }

    fn rebuilt_with(&self) -> Vec<Key> {
        let other = self.refers_to.map(|oid| Key::new(catalog::CLASS, oid));
        std::iter::once(self.table_key()).chain(other).collect()
    }

    fn completes(&self) -> Option<Key> {
        self.parent
            .as_ref()
            .filter(|_| self.has_index())
            .map(|parent| Key::new(catalog::CONSTRAINT, parent.constraint))
    }

    fn needs_whole(&self) -> Option<Key> {
        self.refers_by.map(|oid| Key::new(catalog::CLASS, oid))
    }

    fn made_with(&self) -> Option<Key> {
        if !self.is_inherited_check() {
            return None;
        }
        let parent = self.parent_checks.as_ref()?.first()?;
        Some(Key::new(catalog::CONSTRAINT, *parent))
    }

    fn wanted_by_attach_of(&self) -> Option<Key> {
        (self.is_of_partition && (self.has_index() || self.kind == "c")).then(|| self.table_key())
    }
}
