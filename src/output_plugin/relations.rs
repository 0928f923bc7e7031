//! The plugin's cache of relations: their names, columns and prepared pieces of SQL.
//!
//! An entry is valid until PostgreSQL invalidates its relation (or any schema, type or operator name): an
//! ALTER TABLE may come between two rows of one transaction.

use std::ops::Range;

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::ddl_history::HistoryColumns;
use crate::pg::catalogs::extension;
use crate::pg::decoding::column_type::Types;
use crate::pg::decoding::invalidation::{self, Invalidated};
use crate::pg::decoding::partition;
use crate::pg::decoding::relation::{with_relation, Column, Description, Identity, OpenRelation};

/// How the plugin handles the rows of a relation.
pub enum Treatment {
    /// They are written.
    Write(Box<TableSql>),
    /// They are ddl_history's: they become DDL.
    History(Box<(HistoryColumns, Description)>),
    /// They are not part of a dump (materialized views, members of extensions, …).
    Skip,
}

/// A table and the pieces of SQL that are the same for each of its rows.
pub struct TableSql {
    pub description: Description,
    /// `schema.table`
    pub target: Box<[u8]>,
    /// Where an UPDATE or DELETE looks, where that is not `target`: with ONLY where the table has children, or the root
    /// of the partition tree.
    only_target: Option<Box<[u8]>>,
    /// Where its identity columns are altered, where that is elsewhere: only the root of a partition tree may be (from
    /// 17 on, partitions have identities).
    identity_target: Option<Box<[u8]>>,
    /// The rows are written through the root of the partition tree.
    pub is_via_root: bool,
    /// UPDATE and DELETE find a row by its key: that of the replica identity, or of a table with FULL one that also
    /// belongs to where the rows are written.
    pub has_key: bool,
    /// `INSERT INTO … VALUES (`, or the whole statement for a table without columns to write.
    pub insert_head: Box<[u8]>,
    /// Where `schema.table (column, …)` stands in it; nowhere where there is no column to copy.
    copied: Range<usize>,
    /// The table that these rows will replace, where this is ALTER TABLE's transient heap.
    pub is_rewrite: bool,
}

pub struct Relations {
    /// Looked up for each row; users cannot choose OIDs, so a fast hash is sufficient.
    entries: FxHashMap<pg_sys::Oid, Treatment>,
    types: Types,
}

impl Relations {
    /// `memory` outlives the value.
    pub fn new(memory: pg_sys::MemoryContext) -> Self {
        Self {
            entries: FxHashMap::default(),
            types: Types::new(memory),
        }
    }

    /// The entry for `relation`, made when there is none.
    pub fn get(&mut self, relation: OpenRelation) -> &mut Treatment {
        self.drop_invalidated();
        let types = &mut self.types;
        self.entries
            .entry(relation.oid())
            .or_insert_with(|| treatment(relation, types))
    }

    fn drop_invalidated(&mut self) {
        match invalidation::take() {
            Invalidated::Nothing => {}
            Invalidated::Relations(oids) => {
                for oid in oids {
                    self.entries.remove(&oid);
                }
            }
            Invalidated::Everything => {
                self.entries.clear();
                self.types.clear();
            }
        }
    }
}

fn treatment(relation: OpenRelation, types: &mut Types) -> Treatment {
    if let Some(target) = relation.rewrites() {
        let rewritten = with_relation(target, |table| {
            (table.kind() == b'r' && !is_foreign_member(table))
                .then(|| table_treatment(table, types, true))
        });
        return rewritten.flatten().unwrap_or(Treatment::Skip);
    }
    if relation.is_system() || relation.kind() != b'r' {
        return Treatment::Skip;
    }
    match relation.extension() {
        Some(owner) if extension::is_ours(owner) => own_table(relation, types),
        Some(owner) if !extension::dumps_rows_of(owner, relation.oid()) => Treatment::Skip,
        _ => table_treatment(relation, types, false),
    }
}

fn is_foreign_member(relation: OpenRelation) -> bool {
    relation
        .extension()
        .is_some_and(|owner| !extension::dumps_rows_of(owner, relation.oid()))
}

fn own_table(relation: OpenRelation, types: &mut Types) -> Treatment {
    if relation.name() != b"ddl_history" {
        return Treatment::Skip;
    }
    let description = relation.describe(types);
    match HistoryColumns::find(&description.columns) {
        Some(columns) => Treatment::History(Box::new((columns, description))),
        None => Treatment::Skip,
    }
}

/// Columns in a row's SQL: a generated one is computed again at replay, and one without usable text form is
/// left out (and flagged).
pub fn written_columns(columns: &[Column]) -> impl Iterator<Item = &Column> {
    columns
        .iter()
        .filter(|column| !column.is_generated && !column.kind.has_no_input)
}

fn table_treatment(relation: OpenRelation, types: &mut Types, is_rewrite: bool) -> Treatment {
    Treatment::Write(Box::new(table_sql(relation, types, is_rewrite)))
}

fn table_sql(relation: OpenRelation, types: &mut Types, is_rewrite: bool) -> TableSql {
    const INSERT: &[u8] = b"INSERT INTO ";
    let description = relation.describe(types);
    let root = partition::root_to_write_through(relation);
    let is_via_root = root.is_some();
    let target = relation.qualified_name().into_boxed_slice();
    let names: Vec<&[u8]> = written_columns(&description.columns)
        .map(|column| &*column.quoted)
        .collect();
    let written = root.as_deref().unwrap_or(&target);
    let list = names.join(b", ".as_slice());
    let overriding = description
        .columns
        .iter()
        .any(|column| column.is_identity_always);
    let mut insert_head = [INSERT, written].concat();
    let copied = if names.is_empty() {
        insert_head.extend_from_slice(b" DEFAULT VALUES;");
        0..0
    } else {
        insert_head.extend_from_slice(&[b" (", list.as_slice(), b")"].concat());
        let copied = INSERT.len()..insert_head.len();
        if overriding {
            insert_head.extend_from_slice(b" OVERRIDING SYSTEM VALUE");
        }
        insert_head.extend_from_slice(b" VALUES (");
        copied
    };
    let only_target = if description.has_children {
        Some([b"ONLY ", written].concat())
    } else {
        root
    };
    let root = overriding.then(|| partition::root(relation)).flatten();
    let has_key = match description.identity {
        Identity::Key => true,
        // The key of a partition may be that of another one's row, too.
        Identity::Full => !is_via_root && description.columns.iter().any(|column| column.is_key),
        Identity::Nothing => false,
    };
    TableSql {
        has_key,
        description,
        target,
        only_target: only_target.map(Vec::into_boxed_slice),
        identity_target: root.map(Vec::into_boxed_slice),
        is_via_root,
        insert_head: insert_head.into_boxed_slice(),
        copied,
        is_rewrite,
    }
}

impl TableSql {
    pub fn only_target(&self) -> &[u8] {
        self.only_target.as_deref().unwrap_or(&self.target)
    }

    pub fn identity_target(&self) -> &[u8] {
        let elsewhere = self.identity_target.as_deref();
        elsewhere.unwrap_or_else(|| self.only_target())
    }

    /// False where there is no column to copy.
    pub fn has_columns(&self) -> bool {
        !self.copied.is_empty()
    }

    /// `COPY … FROM stdin;`, for a table that has columns.
    pub fn copy_head(&self) -> Vec<u8> {
        let copied = &self.insert_head[self.copied.clone()];
        [b"COPY ", copied, b" FROM stdin;"].concat()
    }

    /// The columns whose values cannot be carried.
    pub fn columns_without_input(&self) -> impl Iterator<Item = &[u8]> {
        let columns = self.description.columns.iter();
        columns
            .filter(|column| column.kind.has_no_input && !column.kind.goes_with_session)
            .map(|column| &*column.quoted)
    }

    pub fn identity(&self) -> Identity {
        self.description.identity
    }
}
