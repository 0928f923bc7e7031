//! Indexes, including partitioned ones and their partitions. The index of a constraint is created, renamed
//! and dropped with the constraint; its other properties are written here. CLUSTER ON and REPLICA IDENTITY
//! belong to the table.
//!
//! CREATE, DROP and REINDEX CONCURRENTLY are several transactions, in which an index exists but is invalid:
//! such an index is treated as not existing. REINDEX CONCURRENTLY leaves another OID under the same name
//! ([`Object::is_remade_as`]). A partitioned index that lacks partitions exists.

pub mod read;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::options::{changes, Setting};
use crate::renames::give_name;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{literal, qualified};

#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub index: u32,
    pub schema: String,
    pub name: String,
    pub table: u32,
    pub table_name: String,
    /// Quoted.
    pub table_owner: String,
    pub is_of_partition: bool,
    pub definition: String,
    /// It contains a user's function with constant arguments, which ATTACH PARTITION calls, but not as the
    /// table's owner.
    pub calls_constants: bool,
    /// The last part of the definition of a partial one.
    pub predicate: Option<String>,
    /// `None` for the database's.
    pub tablespace: Option<String>,
    /// `name=value` each.
    pub options: Option<Vec<String>>,
    /// Numbers of columns, and their statistics targets if these are not the default.
    pub statistics: Option<Vec<(i32, i32)>>,
    /// Numbers of columns, and the letters of their storage if it differs from the table's column.
    pub storage: Option<Vec<(i32, String)>>,
    pub constraint: Option<Owner>,
    pub parent: Option<Parent>,
    /// What no ALTER can change except ADD CONSTRAINT … USING INDEX.
    pub structure: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
}

/// The constraint that the index implements.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    pub constraint: u32,
    pub name: String,
    /// The letter of pg_constraint.contype.
    pub kind: String,
    pub is_deferrable: bool,
    pub is_deferred: bool,
}

/// The partitioned index of which it is a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    pub index: u32,
    /// Schema-qualified.
    pub name: String,
    pub owner: String,
}

impl Owner {
    fn key(&self) -> Key {
        Key::new(catalog::CONSTRAINT, self.constraint)
    }
}

/// Storage parameters from the catalog's text.
pub fn settings(options: Option<&[String]>) -> Vec<Setting> {
    let one = |option: &String| {
        let (name, value) = option.split_once('=').unwrap_or((option, "true"));
        (crate::text::quoted(name), Some(value.to_owned()))
    };
    options.unwrap_or_default().iter().map(one).collect()
}

/// The clauses that change storage parameters: SET and RESET.
fn changed_options(before: Option<&[String]>, after: Option<&[String]>) -> Vec<String> {
    changes(&settings(before), &settings(after))
}

impl Index {
    fn constraint_oid(&self) -> Option<u32> {
        self.constraint.as_ref().map(|owner| owner.constraint)
    }

    fn parent_oid(&self) -> Option<u32> {
        self.parent.as_ref().map(|parent| parent.index)
    }

    fn set_tablespace(&self, script: &mut Script) {
        let tablespace = self.tablespace.as_deref().unwrap_or("pg_default");
        script.push(
            "alter",
            format!("ALTER INDEX {} SET TABLESPACE {tablespace}", self.target()),
        );
    }

    fn set_statistics(&self, before: Option<&Index>, script: &mut Script) {
        let targets =
            |index: Option<&Index>| index.and_then(|i| i.statistics.clone()).unwrap_or_default();
        let (was, is) = (targets(before), targets(Some(self)));
        let gone = was
            .iter()
            .filter(|(number, _)| !is.iter().any(|(other, _)| other == number))
            .map(|(number, _)| (*number, -1));
        let set = is.iter().filter(|target| !was.contains(target)).copied();
        for (number, target) in gone.chain(set) {
            script.push(
                "alter",
                format!(
                    "ALTER INDEX {} ALTER COLUMN {number} SET STATISTICS {target}",
                    self.target()
                ),
            );
        }
    }

    /// No ALTER gives an index other storage than its table's: a superuser has updated the catalog.
    fn set_storage(&self, before: &Index, script: &mut Script) {
        let was = before.storage.as_deref().unwrap_or_default();
        let is = self.storage.iter().flatten();
        for (number, storage) in is.filter(|column| !was.contains(column)) {
            let sql = format!(
                "UPDATE pg_catalog.pg_attribute SET attstorage = {} WHERE attrelid = {}::pg_catalog.regclass \
                 AND attnum = {number}",
                literal(storage),
                literal(&self.target())
            );
            script.push("alter", sql);
        }
    }

    /// The definition with the tablespace, which pg_get_indexdef omits. It precedes WHERE.
    fn with_tablespace(&self) -> Option<String> {
        let Some(tablespace) = &self.tablespace else {
            return Some(self.definition.clone());
        };
        let predicate = self.predicate.as_deref().unwrap_or_default();
        let head = self.definition.strip_suffix(predicate)?;
        Some(format!("{head} TABLESPACE {tablespace}{predicate}"))
    }
}

impl Object for Index {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "INDEX"
    }

    fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn tablespace(&self) -> Option<&str> {
        self.tablespace.as_deref()
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("r {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("index", &read::plain(), &self.rest)?;
        match self.with_tablespace() {
            Some(definition) => script.push("create", definition),
            None => {
                script.push("create", &self.definition);
                self.set_tablespace(script);
            }
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        match (&self.constraint, &to.constraint) {
            // Both have the constraint's new name by then.
            (Some(old), Some(new)) if old.constraint == new.constraint => {}
            (None, None) => give_name(self, &self.name, &to.name, script),
            // This also names the index.
            (None, Some(owner)) if owner.kind != "x" => {
                let kind = if owner.kind == "p" {
                    "PRIMARY KEY"
                } else {
                    "UNIQUE"
                };
                script.push(
                    "create",
                    format!(
                        "ALTER TABLE {} ADD CONSTRAINT {} {kind} USING INDEX {}{}",
                        self.table_name,
                        owner.name,
                        self.name,
                        deferral(owner.is_deferrable, owner.is_deferred)
                    ),
                );
            }
            _ => return Err(Unhandled::new("index", "its constraint has changed")),
        }
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("index", &self.rest, &to.rest)?;
        if self.index == to.index {
            let (mut was, mut is) = (self.structure.clone(), to.structure.clone());
            if self.constraint.is_none() && to.constraint.is_some() {
                for structure in [&mut was, &mut is] {
                    if let Some(columns) = structure.as_object_mut() {
                        columns.remove("indisprimary");
                        columns.remove("indimmediate");
                    }
                }
            }
            same_rest("index", &was, &is)?;
            to.set_storage(self, script);
        }
        for clause in changed_options(self.options.as_deref(), to.options.as_deref()) {
            script.push("alter", format!("ALTER INDEX {} {clause}", to.target()));
        }
        if self.tablespace != to.tablespace {
            to.set_tablespace(script);
        }
        to.set_statistics(Some(self), script);
        Ok(())
    }

    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        if before.is_none() {
            self.set_statistics(None, script);
            // The others have it from their constraint.
            if self.tablespace.is_some() && self.constraint.as_ref().is_some_and(|c| c.kind == "x")
            {
                self.set_tablespace(script);
            }
        }
        // ATTACH PARTITION of its table has done it, and this has no effect then, or it is not exact.
        if let Some(parent) = &self.parent {
            if before.and_then(Index::parent_oid) != Some(parent.index) {
                // CREATE INDEX has called it as the owner of each table.
                if self.calls_constants && parent.owner != self.table_owner {
                    let what = "a function with constant arguments, and two owners";
                    return Err(Unhandled::new("index", what));
                }
                script.push(
                    "attach",
                    format!(
                        "ALTER INDEX {} ATTACH PARTITION {}",
                        parent.name,
                        self.target()
                    ),
                );
                if let Some(attach) = script.statements.last_mut() {
                    attach.grantor = self.calls_constants.then(|| parent.owner.clone());
                }
            }
        }
        Ok(())
    }

    fn late_needs(&self) -> Vec<Key> {
        let table = self
            .parent
            .as_ref()
            .map(|_| Key::new(catalog::CLASS, self.table));
        table.into_iter().collect()
    }

    fn completes(&self) -> Option<Key> {
        self.parent_oid().map(|oid| Key::new(catalog::CLASS, oid))
    }

    fn dropped_with(&self) -> Vec<Key> {
        let mut keys = vec![Key::new(catalog::CLASS, self.table)];
        keys.extend(self.constraint.as_ref().map(Owner::key));
        keys.extend(
            self.parent
                .as_ref()
                .map(|parent| Key::new(catalog::CLASS, parent.index)),
        );
        keys
    }

    fn rebuilt_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::CLASS, self.table)]
    }

    fn is_remade_as(&self, to: &Self) -> bool {
        self.definition == to.definition
            && self.table == to.table
            && self.constraint_oid() == to.constraint_oid()
            && self.parent.is_some() == to.parent.is_some()
    }

    fn makes_by_change(&self, to: &Self) -> Option<Key> {
        to.constraint
            .as_ref()
            .filter(|_| self.constraint.is_none())
            .map(Owner::key)
    }

    fn wanted_by_attach_of(&self) -> Option<Key> {
        // The constraint itself is required.
        (self.is_of_partition && self.constraint.is_none())
            .then(|| Key::new(catalog::CLASS, self.table))
    }

    fn made_with(&self) -> Option<Key> {
        self.constraint.as_ref().map(Owner::key)
    }
}

/// The clauses for the time of checking a constraint.
pub fn deferral(is_deferrable: bool, is_deferred: bool) -> &'static str {
    match (is_deferrable, is_deferred) {
        (_, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, false) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_others() {
        let list = |options: &[&str]| options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>();
        let (a, b) = (
            list(&["fillfactor=70", "fastupdate=on"]),
            list(&["fillfactor=80"]),
        );
        assert_eq!(
            changed_options(Some(&a), Some(&b)),
            ["RESET (\"fastupdate\")", "SET (\"fillfactor\"='80')"]
        );
        assert!(changed_options(Some(&a), Some(&a)).is_empty());
        assert_eq!(changed_options(Some(&b), None), ["RESET (\"fillfactor\")"]);
    }
}
