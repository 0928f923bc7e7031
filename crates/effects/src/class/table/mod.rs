//! Tables, partitioned ones and partitions, and foreign tables, with their columns.
//!
//! A column is identified by its number, since names change. What a parent's statement does to its children
//! (columns added, dropped, renamed or with a new type) is only written with the parent; for a child its
//! additional properties are written. A partition is created as a separate table and attached late, as by
//! pg_dump, so that its indexes and constraints can have their own names.
//!
//! CHECK constraints and keys are separate objects, and so is the identity of a column: its sequence. NOT
//! NULL constraints (18) belong to the columns.

mod alter;
mod column;
mod create;
mod inherit;
mod late;
mod new_column;
mod not_null;
mod parameters;
pub mod read;

use std::collections::BTreeMap;

use crate::acl::Grant;
use crate::common::Common;
use crate::key::{catalog, Key, FIRST_NORMAL_OID};
use crate::object::Object;
use crate::options::Options;
use crate::script::{Script, Unhandled};
use crate::text::qualified;

#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// PostgreSQL's, as server_version_num has it.
    pub version: u32,
    pub number: u32,
    pub namespace: u32,
    pub schema: String,
    pub name: String,
    /// The letter of pg_class.relkind.
    pub kind: String,
    pub persistence: String,
    /// 0 for relations without rows of their own.
    pub file: u32,
    pub method: Option<String>,
    pub method_oid: u32,
    pub tablespace: Option<String>,
    pub tablespace_oid: u32,
    pub of_type: Option<Named>,
    pub foreign: Option<Foreign>,
    pub options: Options,
    pub toast_options: Options,
    /// The letter of pg_class.relreplident.
    pub identity: String,
    pub identity_index: Option<Named>,
    pub cluster_index: Option<Named>,
    pub row_security: bool,
    pub force_row_security: bool,
    pub partition_key: Option<String>,
    pub partition_tree: Option<String>,
    pub bound: Option<Expression>,
    pub parents: Option<Vec<Parent>>,
    pub below: Option<Vec<Below>>,
    /// By the OIDs of its children: columns that are local, possibly in addition to being inherited.
    pub children: BTreeMap<u32, Vec<String>>,
    /// A direct or indirect child is a foreign table.
    pub has_foreign_below: bool,
    /// For columns that are missing in rows of a child table: the value in each of these tables.
    pub missing_below: Option<BTreeMap<String, Missing>>,
    /// CHECK, PRIMARY KEY, UNIQUE, EXCLUDE.
    pub constraints: Option<Vec<u32>>,
    pub indexes: Option<Vec<u32>>,
    pub aliases: Option<Vec<Key>>,
    pub columns: Option<Vec<Column>>,
    /// The numbers of columns that a restore omits ([`crate::left_out`]).
    pub columns_left_out: Vec<i32>,
    pub common: Common,
}

/// Tables, and the values of a column in rows that are older than it.
pub type Missing = Vec<(u32, Option<String>)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub oid: u32,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    pub server: String,
    pub server_oid: u32,
    pub options: Options,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub is_partitioned: bool,
    /// DETACH PARTITION … CONCURRENTLY has not finished.
    pub is_pending: bool,
}

impl Parent {
    pub fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// A direct or indirect child table with rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Below {
    pub oid: u32,
    pub name: String,
    pub file: u32,
}

/// The text differs after renames; the tree does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    pub text: String,
    pub tree: String,
}

/// A NOT NULL constraint (18 and later).
#[derive(Clone, Debug, PartialEq)]
pub struct NotNull {
    pub oid: u32,
    pub name: String,
    pub is_valid: bool,
    pub no_inherit: bool,
    pub is_local: bool,
    pub inherited: i32,
    pub comment: Option<String>,
}

impl NotNull {
    /// As a table constraint, whose syntax differs from a column's.
    fn definition(&self, column: &Column) -> String {
        let inherit = if self.no_inherit { " NO INHERIT" } else { "" };
        let valid = if self.is_valid { "" } else { " NOT VALID" };
        let (name, column) = (&self.name, &column.name);
        format!("CONSTRAINT {name} NOT NULL {column}{inherit}{valid}")
    }

    /// Everything except the OID is the same.
    pub fn is_recreated_as(&self, other: &NotNull) -> bool {
        let renewed = NotNull {
            oid: other.oid,
            ..self.clone()
        };
        renewed == *other
    }
}

/// The column of a direct parent from which one is inherited.
#[derive(Clone, Debug, PartialEq)]
pub struct Above {
    pub table: u32,
    pub number: i32,
    pub not_null: bool,
    pub constraint: Option<NotNull>,
    pub expression: Option<Expression>,
    pub generated: String,
    pub storage: String,
    pub compression: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub number: i32,
    pub name: String,
    pub type_: String,
    /// Type, modifier, collation.
    pub type_id: (u32, i32, u32),
    pub is_domain: bool,
    pub type_storage: String,
    /// If it is not the type's.
    pub collation: Option<String>,
    pub not_null: bool,
    /// Before 18 there are none.
    pub constraint: Option<NotNull>,
    /// The default, or the generation expression.
    pub expression: Option<Expression>,
    /// The letter of pg_attribute.attgenerated, or nothing.
    pub generated: String,
    pub identity: String,
    pub storage: String,
    pub compression: String,
    pub statistics: i32,
    pub options: Options,
    pub foreign_options: Options,
    pub is_local: bool,
    pub inherited: i32,
    /// The value in older rows, as an array of one element.
    pub missing: Option<String>,
    pub acl: Option<Vec<Grant>>,
    pub comment: Option<String>,
    pub labels: Option<Vec<(String, String)>>,
    pub above: Option<Vec<Above>>,
}

impl Table {
    pub fn columns(&self) -> &[Column] {
        self.columns.as_deref().unwrap_or_default()
    }

    fn column(&self, number: i32) -> Option<&Column> {
        self.columns().iter().find(|column| column.number == number)
    }

    /// Those that count: one that is being detached has been left.
    fn parents(&self) -> impl Iterator<Item = &Parent> {
        let all = self.parents.as_deref().unwrap_or_default();
        all.iter().filter(|parent| !parent.is_pending)
    }

    fn has_parent(&self, oid: u32) -> bool {
        self.parents().any(|parent| parent.oid == oid)
    }

    /// A partition of a parent that counts.
    fn is_partition(&self) -> bool {
        self.bound.is_some() && self.parents().next().is_some()
    }

    fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    fn is_foreign(&self) -> bool {
        self.kind == "f"
    }

    /// Whether a child, which remains one, has a column as local that was not local before.
    fn gives_to_children(&self, to: &Table, column: &str) -> bool {
        let has = |columns: &Vec<String>| columns.iter().any(|name| name == column);
        to.children.iter().any(|(child, columns)| {
            let was = self.children.get(child);
            has(columns) && was.is_some_and(|columns| !has(columns))
        })
    }

    /// Created by initdb. A restore may not alter it, and a dump only contains its privileges: the mark of
    /// CLUSTER is not restored.
    fn is_catalog(&self) -> bool {
        self.schema == "pg_catalog" && self.number < FIRST_NORMAL_OID
    }

    /// `ALTER TABLE ONLY t`.
    fn alter_only(&self) -> String {
        format!("ALTER {} ONLY {}", self.kind(), self.target())
    }

    /// The same with all descendants.
    fn alter_all(&self) -> String {
        format!("ALTER {} {}", self.kind(), self.target())
    }

    fn unhandled(&self, what: impl Into<String>) -> Unhandled {
        Unhandled::new(self.class(), what)
    }

    fn class(&self) -> &'static str {
        if self.is_foreign() {
            "foreign table"
        } else {
            "table"
        }
    }
}

impl Object for Table {
    /// Its columns are inherited, but it has no parent yet.
    fn is_half_made(&self) -> bool {
        let mut columns = self.columns().iter();
        self.parents.iter().flatten().next().is_none() && columns.any(|column| column.inherited > 0)
    }

    fn set_rewritten(&mut self, is_rewritten: &dyn Fn(u32) -> bool) {
        let file = |file: u32, oid: u32| match file {
            0 => 0,
            _ if is_rewritten(oid) => 2,
            _ => 1,
        };
        self.file = file(self.file, self.number);
        for below in self.below.iter_mut().flatten() {
            below.file = file(below.file, below.oid);
        }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        if self.is_foreign() {
            "FOREIGN TABLE"
        } else {
            "TABLE"
        }
    }

    fn grant_kind(&self) -> &'static str {
        "TABLE"
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
        create::create(self, script)
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        // Renaming a schema moves its tables along.
        let schema = if self.namespace == to.namespace {
            &to.schema
        } else {
            &self.schema
        };
        crate::renames::move_to(
            self.kind(),
            (schema, &self.name),
            (&to.schema, &to.name),
            "",
            script,
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        alter::alter(self, to, script)
    }

    fn early(&self, after: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        after.map_or(Ok(()), |after| alter::early(self, after, script))
    }

    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        late::late(self, before, script)
    }

    fn late_needs(&self) -> Vec<Key> {
        let relations = self
            .parents()
            .map(|parent| parent.oid)
            .chain(self.indexes.iter().flatten().copied());
        let constraints = self.constraints.iter().flatten();
        relations
            .map(|oid| Key::new(catalog::CLASS, oid))
            .chain(constraints.map(|oid| Key::new(catalog::CONSTRAINT, *oid)))
            .collect()
    }

    fn aliases(&self) -> Vec<Key> {
        self.aliases.clone().unwrap_or_default()
    }

    /// A partition is dropped with its parent; other children are dropped by CASCADE, or not at all.
    fn dropped_with(&self) -> Vec<Key> {
        if !self.is_partition() {
            return Vec::new();
        }
        self.parents()
            .map(|parent| Key::new(catalog::CLASS, parent.oid))
            .collect()
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }

    fn rebuilds_dependents(&self, to: &Self) -> bool {
        self.columns().iter().any(|old| {
            to.column(old.number).is_some_and(|new| {
                alter::is_other_type(old, new) || alter::is_regenerated(old, new)
            })
        })
    }
}
