//! The plugin's cache of relations: their names, columns and prepared pieces of SQL.
//!
//! An entry is valid until PostgreSQL invalidates its relation (or any schema, type or operator name): an
//! ALTER TABLE may come between two rows of one transaction.

use pgrx::prelude::*;
use rustc_hash::FxHashMap;

use super::ddl_history::HistoryColumns;
use crate::pg::catalogs::extension;
use crate::pg::decoding::invalidation::{self, Invalidated};
use crate::pg::decoding::partition;
use crate::pg::decoding::relation::{with_relation, Column, Description, Identity, OpenRelation};
use crate::pg::text::quote;

/// How the plugin handles the rows of a relation.
pub enum Treatment {
    /// They are written.
    Write(TableSql),
    /// Rows of ddl_history: they are converted to DDL.
    History(HistoryColumns, Description),
    /// They are not part of a dump (materialized views, members of extensions, …).
    Skip,
}

/// A table and the pieces of SQL that are the same for each of its rows.
pub struct TableSql {
    pub description: Description,
    /// `schema.table`
    pub target: Vec<u8>,
    /// The target of an UPDATE or DELETE: `schema.table`, with ONLY if the table has children, or the root of
    /// the partition tree.
    pub only_target: Vec<u8>,
    /// The table to alter for identity columns: for partitions the root of the partition tree (from 17 on,
    /// partitions have identities).
    pub identity_target: Vec<u8>,
    /// The rows are written through the root of the partition tree.
    pub is_via_root: bool,
    /// `INSERT INTO … VALUES (`, or the complete statement for a table without columns to write.
    pub insert_head: Vec<u8>,
    /// `COPY … FROM stdin;`; `None` if there is no column to copy.
    pub copy_head: Option<Vec<u8>>,
    /// The table whose rows these will replace, if this is ALTER TABLE's transient heap.
    pub is_rewrite: bool,
}

#[derive(Default)]
pub struct Relations {
    /// Looked up for each row; users cannot choose OIDs, so a fast hash is sufficient.
    entries: FxHashMap<pg_sys::Oid, Treatment>,
}

impl Relations {
    /// The entry for `relation`, created if there is none. `memory` outlives the cache.
    pub fn get(&mut self, relation: OpenRelation, memory: pg_sys::MemoryContext) -> &mut Treatment {
        self.drop_invalidated();
        self.entries
            .entry(relation.oid())
            .or_insert_with(|| treatment(relation, memory))
    }

    fn drop_invalidated(&mut self) {
        match invalidation::take() {
            Invalidated::Nothing => {}
            Invalidated::Relations(oids) => {
                for oid in oids {
                    if let Some(entry) = self.entries.remove(&oid) {
                        release(entry);
                    }
                }
            }
            Invalidated::Everything => {
                self.entries
                    .drain()
                    .map(|(_, entry)| entry)
                    .for_each(release);
            }
        }
    }
}

/// Frees the memory that an entry's output functions cached.
fn release(entry: Treatment) {
    match entry {
        Treatment::Write(table) => table.description.memory.release(),
        Treatment::History(_, description) => description.memory.release(),
        Treatment::Skip => {}
    }
}

fn treatment(relation: OpenRelation, memory: pg_sys::MemoryContext) -> Treatment {
    if let Some(target) = relation.rewrites() {
        let rewritten = with_relation(target, |table| {
            (table.kind() == b'r' && !is_foreign_member(table))
                .then(|| Treatment::Write(table_sql(table, memory, true)))
        });
        return rewritten.flatten().unwrap_or(Treatment::Skip);
    }
    if relation.is_system() || relation.kind() != b'r' {
        return Treatment::Skip;
    }
    match relation.extension() {
        Some(owner) if extension::is_ours(owner) => own_table(relation, memory),
        Some(owner) if !extension::dumps_rows_of(owner, relation.oid()) => Treatment::Skip,
        _ => Treatment::Write(table_sql(relation, memory, false)),
    }
}

fn is_foreign_member(relation: OpenRelation) -> bool {
    relation
        .extension()
        .is_some_and(|owner| !extension::dumps_rows_of(owner, relation.oid()))
}

fn own_table(relation: OpenRelation, memory: pg_sys::MemoryContext) -> Treatment {
    if relation.name() != b"ddl_history" {
        return Treatment::Skip;
    }
    let description = relation.describe(memory);
    match HistoryColumns::find(&description.columns) {
        Some(columns) => Treatment::History(columns, description),
        None => Treatment::Skip,
    }
}

/// Columns in a row's SQL: a generated one is computed again at replay, and one without usable text form is
/// left out (and flagged).
pub fn written_columns(columns: &mut [Column]) -> impl Iterator<Item = &mut Column> {
    let is_written = |column: &&mut Column| !column.is_generated && !column.has_no_input;
    columns.iter_mut().filter(is_written)
}

fn table_sql(relation: OpenRelation, memory: pg_sys::MemoryContext, is_rewrite: bool) -> TableSql {
    let mut description = relation.describe(memory);
    let root = partition::root_to_write_through(relation);
    let is_via_root = root.is_some();
    let target = quote::qualified(&description.schema, &description.name);
    let names: Vec<Vec<u8>> = written_columns(&mut description.columns)
        .map(|column| column.quoted.clone())
        .collect();
    let written = root.unwrap_or_else(|| target.clone());
    let list = names.join(b", ".as_slice());
    let overriding = description
        .columns
        .iter()
        .any(|column| column.is_identity_always);
    let insert_head = if names.is_empty() {
        [b"INSERT INTO ", written.as_slice(), b" DEFAULT VALUES;"].concat()
    } else {
        let overriding: &[u8] = if overriding {
            b" OVERRIDING SYSTEM VALUE"
        } else {
            b""
        };
        [
            b"INSERT INTO ",
            written.as_slice(),
            b" (",
            list.as_slice(),
            b")",
            overriding,
            b" VALUES (",
        ]
        .concat()
    };
    let copy_head = (!names.is_empty()).then(|| {
        [
            b"COPY ",
            written.as_slice(),
            b" (",
            list.as_slice(),
            b") FROM stdin;",
        ]
        .concat()
    });
    let only: &[u8] = if description.has_children {
        b"ONLY "
    } else {
        b""
    };
    let only_target = [only, written.as_slice()].concat();
    let root = overriding.then(|| partition::root(relation)).flatten();
    TableSql {
        identity_target: root.unwrap_or_else(|| only_target.clone()),
        description,
        target,
        only_target,
        is_via_root,
        insert_head,
        copy_head,
        is_rewrite,
    }
}

impl TableSql {
    /// The columns whose values cannot be captured.
    pub fn columns_without_input(&self) -> impl Iterator<Item = &[u8]> {
        let columns = self.description.columns.iter();
        columns
            .filter(|column| column.has_no_input && !column.goes_with_session)
            .map(|column| column.quoted.as_slice())
    }

    pub fn identity(&self) -> Identity {
        self.description.identity
    }
}
