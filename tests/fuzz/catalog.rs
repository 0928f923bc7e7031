//! What a session's statements can be about, read from the source's own catalog.
//!
//! Nothing is kept beside PostgreSQL: a cascade, a rollback or a function's DDL needs no
//! bookkeeping, and most statements that are made from this succeed.

use serde::Deserialize;

/// The query behind [`Catalog`], for the schemas whose names begin with `mine`.
pub fn query(mine: &str) -> String {
    include_str!("catalog.sql").replace(":'mine'", &format!("'{mine}'"))
}

#[derive(Deserialize, Clone, Default)]
pub struct Catalog {
    pub relations: Vec<Relation>,
    pub types: Vec<Type>,
    pub functions: Vec<Function>,
    /// The session's own schemas.
    pub schemas: Vec<String>,
}

/// A table, view, materialized view or sequence. All names here and below are quoted.
#[derive(Deserialize, Clone)]
pub struct Relation {
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`
    pub kind: char,
    /// `pg_class.relpersistence`
    pub persistence: char,
    pub is_partition: bool,
    pub is_typed: bool,
    /// A view whose query reads an unlogged table.
    pub reads_unlogged: bool,
    /// `pg_partitioned_table.partstrat`
    pub strategy: Option<char>,
    /// `FOR VALUES …` of a partition.
    pub bound: Option<String>,
    /// Qualified.
    pub parent: Option<String>,
    pub has_children: bool,
    /// A sequence of a serial or identity column.
    pub is_owned: bool,
    pub columns: Vec<Column>,
    pub constraints: Vec<Constraint>,
    /// Indexes that no constraint owns.
    pub indexes: Vec<Index>,
    pub triggers: Vec<String>,
}

#[derive(Deserialize, Clone)]
pub struct Column {
    pub name: String,
    /// As SQL: `integer`, `numeric(10,2)`, `s1.mood`, `s1.mood[]`.
    pub ty: String,
    /// `pg_attribute.attgenerated`: empty, `s` or `v`.
    pub generated: String,
    /// `pg_attribute.attidentity`: empty, `a` or `d`.
    pub identity: String,
    pub not_null: bool,
    pub has_default: bool,
    pub is_inherited: bool,
    /// Of a primary key or UNIQUE constraint.
    pub in_key: bool,
    pub in_partition_key: bool,
    /// Table and column that a foreign key of this column alone references.
    pub references: Option<(String, String)>,
}

#[derive(Deserialize, Clone)]
pub struct Constraint {
    pub name: String,
    /// `pg_constraint.contype`
    pub kind: char,
    pub is_local: bool,
    pub is_valid: bool,
    pub columns: Vec<String>,
}

#[derive(Deserialize, Clone)]
pub struct Index {
    pub name: String,
    /// A unique one of plain columns over all rows.
    pub is_unique: bool,
}

#[derive(Deserialize, Clone)]
pub struct Type {
    /// Qualified.
    pub name: String,
    /// `pg_type.typtype`: `e`, `d` or `c`.
    pub kind: char,
    /// An enum's labels as literals.
    pub labels: Vec<String>,
    pub attributes: Vec<Attribute>,
    /// A domain's base type.
    pub base: String,
}

#[derive(Deserialize, Clone)]
pub struct Attribute {
    pub name: String,
    pub ty: String,
}

#[derive(Deserialize, Clone)]
pub struct Function {
    /// Qualified.
    pub name: String,
    pub arguments: String,
    pub result: String,
}

impl Relation {
    /// `schema.name`
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p')
    }

    pub fn is_temporary(&self) -> bool {
        self.persistence == 't'
    }

    pub fn is_shared(&self) -> bool {
        self.schema == "shared"
    }

    /// The columns of the primary key, or of a unique constraint where there is none.
    pub fn key(&self) -> Option<&Constraint> {
        let of = |kind| self.constraints.iter().find(|c| c.kind == kind);
        of('p').or_else(|| of('u'))
    }

    pub fn partition_key(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.in_partition_key)
    }

    pub fn column_of_type(&self, types: &[&str]) -> Option<&Column> {
        self.columns.iter().find(|c| types.contains(&c.ty.as_str()))
    }
}

impl Column {
    /// Whether an INSERT or UPDATE may give it a value.
    pub fn is_settable(&self) -> bool {
        self.generated.is_empty() && self.identity != "a"
    }
}

impl Catalog {
    pub fn find_type(&self, name: &str) -> Option<&Type> {
        self.types.iter().find(|ty| ty.name == name)
    }

    pub fn find_relation(&self, qualified: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| r.qualified() == qualified)
    }

    pub fn partitions_of<'a>(&'a self, parent: &str) -> Vec<&'a Relation> {
        let is_its = |r: &&Relation| r.is_partition && r.parent.as_deref() == Some(parent);
        self.relations.iter().filter(is_its).collect()
    }
}
