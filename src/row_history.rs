//! incr_history() and incr_changes(): from a table, and a key, of the current catalogs to a search in the files.
//!
//! The caller can read rows that no longer exist, of tables that no longer exist (a dropped table may have
//! had the same name), so it requires the privilege to read every row of every table.

use archive::time::Time;
use archive_query::history::changes;
use archive_query::history::{Question, Table, TableName, Value, Wanted};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use crate::pg::catalogs::row_key::{self, KeyColumn, KeyTable};
use crate::pg::ddl::catalog::with_bytes;
use crate::pg::decoding::relation::{with_relation, Identity};
use crate::pg::failure::Failure;
use crate::pg::server::{self, query};
use crate::pg::text::ServerText;
use crate::pg::types::sql_types::StoredJsonb;

/// A key as it was given.
pub enum GivenKey {
    Jsonb(StoredJsonb),
    /// A JSON object, or the value of a single-column key; in the database's encoding.
    Text(Vec<u8>),
}

/// A column's name and its value's text; `None` for NULL.
type Given = (Vec<u8>, Option<Vec<u8>>);

/// The search. Fails if the caller lacks the privilege, or if the key does not identify rows.
pub fn question(
    table: pg_sys::Oid,
    key: GivenKey,
    since: Option<Time>,
    until: Option<Time>,
) -> Result<Question, Failure> {
    ensure_may_read_all()?;
    ensure_is_captured(table)?;
    let described = row_key::describe(table).ok_or_else(|| no_table(table))?;
    let given = match key {
        GivenKey::Jsonb(object) => members(object)?,
        GivenKey::Text(text) => from_text(&described, text)?,
    };
    ensure_identifies_rows(&described, &given)?;
    let mut columns = Vec::new();
    let mut values = Vec::new();
    for (column, text) in given {
        values.push(match text {
            None => Value::Null,
            Some(text) => {
                let written = row_key::written_text(table, &column, &text)?;
                Value::Text(written.unwrap_or(text).into())
            }
        });
        columns.push(column);
    }
    let has_all = |is_of_key: fn(&KeyColumn) -> bool| {
        let key = described.columns.iter().filter(|column| is_of_key(column));
        let mut key = key.map(|column| columns.contains(&column.name));
        key.next()
            .is_some_and(|first| first && key.all(|is_given| is_given))
    };
    let is_key = described.identity == Identity::Key
        || has_all(|column| column.is_primary)
        || has_all(|column| column.is_identity);
    let names = names_in_files(table)?;
    let tables = names.into_iter().map(|(name, is_ancestor)| Table {
        name,
        columns: columns.clone(),
        is_ancestor,
    });
    Ok(Question {
        tables: tables.collect(),
        values,
        is_key,
        since,
        until,
        may_write: !server::is_in_recovery(),
    })
}

/// What happened to a table. Fails if the caller lacks the privilege, or if there is no such operation.
pub fn changes_of(
    table: pg_sys::Oid,
    since: Option<Time>,
    until: Option<Time>,
    operation: Option<&str>,
) -> Result<changes::Question, Failure> {
    ensure_may_read_all()?;
    ensure_is_captured(table)?;
    let wanted = match operation {
        None => Wanted::All,
        Some(name) => Wanted::parse(name).ok_or_else(|| {
            let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
            Failure::new(code, format!("unrecognized operation \"{name}\""))
                .hint("Valid operations are insert, update, delete, truncate and ddl.")
        })?,
    };
    let described = row_key::describe(table).ok_or_else(|| no_table(table))?;
    let key = key_columns(&described);
    let columns: Vec<Vec<u8>> = key.iter().map(|column| column.name.clone()).collect();
    let names = names_in_files(table)?;
    let tables = names.into_iter().map(|(name, is_ancestor)| Table {
        name,
        columns: columns.clone(),
        is_ancestor,
    });
    Ok(changes::Question {
        tables: tables.collect(),
        since,
        until,
        wanted,
        may_write: !server::is_in_recovery(),
    })
}

/// The columns that identify rows in the files, or else those of the primary key.
fn key_columns(table: &KeyTable) -> Vec<&KeyColumn> {
    let mut key: Vec<_> = table.columns.iter().filter(|c| c.is_identity).collect();
    if key.is_empty() {
        key.extend(table.columns.iter().filter(|c| c.is_primary));
    }
    key
}

fn ensure_may_read_all() -> Result<(), Failure> {
    let may = query::one::<bool>(
        "SELECT rolsuper OR rolbypassrls
                AND pg_catalog.pg_has_role(oid, 'pg_read_all_data', 'USAGE')
         FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER",
        &[],
    );
    if may?.unwrap_or(false) {
        Ok(())
    } else {
        Err(Failure::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to read the history of tables",
        )
        .detail("The files also contain rows of dropped tables, and no privileges.")
        .hint("Only superusers, and members of pg_read_all_data with BYPASSRLS, may do so."))
    }
}

fn ensure_is_captured(table: pg_sys::Oid) -> Result<(), Failure> {
    let arguments = [DatumWithOid::from(table)];
    let found = query::one::<String>(
        "SELECT relkind::text || relpersistence::text FROM pg_catalog.pg_class WHERE oid = $1",
        &arguments,
    )?;
    let found = found.ok_or_else(|| no_table(table))?;
    match found.as_bytes() {
        [b'r' | b'p', b'p'] => Ok(()),
        [b'r' | b'p', _] => Err(Failure::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            "rows of unlogged and temporary tables are not in the files",
        )),
        _ => Err(Failure::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            "only tables have rows in the files",
        )),
    }
}

fn no_table(table: pg_sys::Oid) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE;
    Failure::new(
        code,
        format!("table with OID {} does not exist", table.to_u32()),
    )
}

/// The members of a JSON object.
fn members(object: StoredJsonb) -> Result<Vec<Given>, Failure> {
    let arguments = [object.argument()];
    let kind = query::one::<String>("SELECT pg_catalog.jsonb_typeof($1)", &arguments)?;
    if kind.as_deref() != Some("object") {
        return Err(bad_key(
            "the key must be a JSON object of column names and values",
        ));
    }
    members_by(
        "bytes(value) FROM pg_catalog.jsonb_each_text($1)",
        &arguments,
    )
}

/// `rest` is the FROM clause of a query that returns the members' texts.
fn members_by(rest: &str, arguments: &[DatumWithOid<'_>]) -> Result<Vec<Given>, Failure> {
    let query = with_bytes(&format!("SELECT bytes(key), {rest}"));
    let read = Spi::connect(|client| -> spi::Result<Vec<Given>> {
        let rows = client.select(query.as_str(), None, arguments)?;
        let member = |row: spi::SpiHeapTupleData<'_>| {
            Ok((
                row.get::<Vec<u8>>(1)?.unwrap_or_default(),
                row.get::<Vec<u8>>(2)?,
            ))
        };
        rows.map(member).collect()
    });
    Ok(read?)
}

fn from_text(table: &KeyTable, text: Vec<u8>) -> Result<Vec<Given>, Failure> {
    let named = key_columns(table);
    let is_object = text.trim_ascii_start().starts_with(b"{");
    match named.as_slice() {
        [column] if !is_object || column.has_braces => Ok(vec![(column.name.clone(), Some(text))]),
        _ if is_object => {
            let arguments = [DatumWithOid::from(ServerText(text))];
            let rest = "bytes(value) FROM pg_catalog.jsonb_each_text($1::pg_catalog.jsonb)";
            members_by(rest, &arguments)
        }
        _ => Err(bad_key("the table has no single-column key")
            .hint("Specify a JSON object of column names and values.")),
    }
}

fn ensure_identifies_rows(table: &KeyTable, given: &[Given]) -> Result<(), Failure> {
    if given.is_empty() {
        return Err(bad_key("the key names no column"));
    }
    for (column, _) in given {
        let found = table.columns.iter().find(|known| known.name == *column);
        let shown = String::from_utf8_lossy(column);
        match found {
            None => {
                let code = PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN;
                return Err(Failure::new(
                    code,
                    format!("column \"{shown}\" does not exist"),
                ));
            }
            Some(known) if !known.is_written => {
                return Err(bad_key(&format!(
                    "column \"{shown}\" is generated and not in the files"
                )));
            }
            Some(_) => {}
        }
    }
    let key: Vec<_> = table.columns.iter().filter(|c| c.is_identity).collect();
    let is_given = |column: &&KeyColumn| given.iter().any(|(name, _)| *name == column.name);
    let is_it = key.len() == given.len() && key.iter().all(is_given);
    if table.identity == Identity::Key && !is_it {
        let names: Vec<_> = key
            .iter()
            .map(|c| String::from_utf8_lossy(&c.name))
            .collect();
        return Err(
            bad_key("these columns are not the table's replica identity").hint(format!(
                "UPDATE and DELETE statements in the files identify rows by: {}. Specify these.",
                names.join(", ")
            )),
        );
    }
    Ok(())
}

fn bad_key(message: &str) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}

/// The names that the files use for the table's rows, and whether each is that of an ancestor: for a partitioned table also
/// those of its partitions, for a partition also those of its ancestors (rows may be written through the root; a command on the
/// root affects all).
fn names_in_files(table: pg_sys::Oid) -> Result<Vec<(TableName, bool)>, Failure> {
    let arguments = [DatumWithOid::from(table)];
    let read = Spi::connect(|client| -> spi::Result<Vec<(pg_sys::Oid, bool)>> {
        let query = "SELECT relid::pg_catalog.oid, false FROM pg_catalog.pg_partition_tree($1)
                     UNION SELECT relid::pg_catalog.oid, true FROM pg_catalog.pg_partition_ancestors($1)";
        let rows = client.select(query, None, &arguments)?;
        let one = |row: spi::SpiHeapTupleData<'_>| {
            let oid = row.get::<pg_sys::Oid>(1)?;
            Ok(oid.zip(row.get::<bool>(2)?))
        };
        let oids = rows.map(one).collect::<spi::Result<Vec<_>>>()?;
        Ok(oids.into_iter().flatten().collect())
    });
    let mut oids = vec![(table, false)];
    oids.extend(read?.into_iter().filter(|(oid, _)| *oid != table));
    let name = |(oid, is_ancestor): &(pg_sys::Oid, bool)| {
        let name = with_relation(*oid, |relation| TableName {
            schema: relation.schema(),
            table: relation.name(),
        });
        name.map(|name| (name, *is_ancestor))
    };
    Ok(oids.iter().filter_map(name).collect())
}
