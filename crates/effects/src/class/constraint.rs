//! Constraints of tables: CHECK, PRIMARY KEY, UNIQUE, EXCLUDE, FOREIGN KEY. NOT NULL belongs to the table,
//! constraints of domains to the domain, and a constraint trigger is a trigger.
//!
//! Constraints that a partition or a child inherits are written with the parent's, or its ATTACH; only a new
//! partition, which is created separately and attached later, gets its own. Foreign keys of partitions are
//! always created by their parents.

pub mod read;

use crate::class::index::{deferral, settings};
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::options::with;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{do_block, literal, unquoted};

#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    pub name: String,
    /// The letter of pg_constraint.contype.
    pub kind: String,
    pub table: u32,
    /// Schema-qualified.
    pub table_name: String,
    pub is_partitioned: bool,
    pub is_of_partition: bool,
    /// The partitioned table, schema-qualified.
    pub partition_of: Option<String>,
    /// The referenced table of a foreign key.
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
    /// For a key or foreign key of a partition.
    pub parent: Option<Parent>,
    /// For an inherited CHECK: those with the same name of the parents.
    pub parent_checks: Option<Vec<u32>>,
    pub index: Option<Means>,
    /// What no ALTER can change.
    pub structure: serde_json::Value,
    pub common: Common,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    pub constraint: u32,
    pub name: String,
    /// Schema-qualified.
    pub table: String,
}

/// Its index, as far as the constraint's definition determines it.
#[derive(Clone, Debug, PartialEq)]
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

    /// A CHECK that only its parents define.
    fn is_inherited_check(&self) -> bool {
        self.kind == "c" && !self.is_local && self.parent_checks.is_some()
    }

    /// The definition with storage parameters and tablespace of its index, which pg_get_constraintdef omits
    /// for keys. They precede DEFERRABLE. An EXCLUDE includes the parameters, and gets the tablespace later.
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
        // A CHECK is inherited by children, a foreign key by partitions; keys are created on each partition.
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

    /// Whether a constraint inherited from parents that remain is now local.
    fn becomes_own(&self, to: &Self) -> bool {
        let is_kept = self.parent_tables == to.parent_tables;
        self.kind == "c" && !self.is_local && to.is_local && is_kept
    }

    /// Whether ADD CONSTRAINT was executed for it again.
    fn is_said_again(&self, to: &Self) -> bool {
        self.becomes_own(to) && self.inherited == to.inherited
    }

    /// Its local and inherited state.
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
            // Written early.
            (false, true) => Ok(()),
            // A partition's own one becomes inherited when its parent gets the same.
            (true, false) if to.inherited > self.inherited => Ok(()),
            (true, false) => Err(Unhandled::new("constraint", "belongs only to its parent")),
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

    fn tablespace(&self) -> Option<&str> {
        self.index.as_ref()?.tablespace.as_deref()
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("constraint {} {}", self.table, self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        match &self.parent {
            Some(_) if self.kind == "f" => {
                if self.common.comment.is_some() {
                    let what = "a foreign key of a partition with its own comment";
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

    /// A parent has dropped its own only (ALTER TABLE ONLY): if a child's is local as well, it is written
    /// with the child's drop. A partition cannot have a local one in addition; there it is written for the
    /// parent.
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
            // A partition's is altered with its parent's.
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
            // It may be enforced now although its parents' is not.
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
            // No effect if the parent's has done it.
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

    /// A foreign key of a partition has its parent's name if that is free, and another one otherwise.
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
        // A partition that keeps it may have written it already ([`Object::early`]).
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
