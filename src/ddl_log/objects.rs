//! The event triggers' functions: which objects a statement made, changed, rewrote or dropped.
//!
//! They only report; that a statement happened is known from the utility hook, which is not fooled
//! by a disabled event trigger.

use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

use super::history::Object;
use super::hook;
use crate::pg::ddl_catalog::is_creating_extension;
use crate::pg::ddl_node::Sql;
use crate::pg::ddl_subtransaction::attempt;
use crate::pg::ddl_temporary::depends_on_temporary;
use crate::pg::query::select_kept;
use crate::status;

/// What an event trigger tells of one object.
pub struct Reported {
    /// None for an object that is temporary or came with an extension.
    pub object: Option<Object>,
    /// A table that exists.
    pub table: Option<pg_sys::Oid>,
    /// The table that lost a column, a constraint or an index.
    pub named_table: Option<(Sql, Sql)>,
    pub is_dropped_table: bool,
    /// It goes with the session.
    pub is_temporary: bool,
}

const COMMANDS: &str = "SELECT bytes(object_type), bytes(object_identity), \
     CASE WHEN classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
          THEN objid END, \
     in_extension, COALESCE(schema_name OPERATOR(pg_catalog.=) 'pg_temp', false), classid, objid \
     FROM pg_catalog.pg_event_trigger_ddl_commands()";

const DROPPED: &str =
    "SELECT bytes(object_type), bytes(object_identity), bytes(address_names[1]), \
     bytes(address_names[2]), is_temporary, original OR normal \
     FROM pg_catalog.pg_event_trigger_dropped_objects()";

const REWRITTEN: &str =
    "SELECT bytes('table'), bytes(pg_catalog.format('%I.%I', n.nspname, c.relname)), \
     c.relpersistence OPERATOR(pg_catalog.=) 't' \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
       ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.pg_event_trigger_table_rewrite_oid()";

/// At the end of a command: what it made or changed.
#[pg_extern(sql = "
CREATE FUNCTION incr_ddl_command_end() RETURNS event_trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_ddl_command_end() FROM PUBLIC;
")]
fn incr_ddl_command_end() {
    report(COMMANDS, |row| {
        let is_temporary = row.get::<bool>(5)?.unwrap_or(false)
            || match (row.get(6)?, row.get(7)?) {
                (Some(class), Some(object)) => depends_on_temporary(class, object),
                _ => false,
            };
        let is_left_out = row.get::<bool>(4)?.unwrap_or(false) || is_temporary;
        let table = row.get::<pg_sys::Oid>(3)?.filter(|_| !is_left_out);
        Ok(Reported {
            object: if is_left_out { None } else { object(row)? },
            table,
            named_table: None,
            is_dropped_table: false,
            is_temporary,
        })
    });
}

/// After a command has dropped something.
#[pg_extern(sql = "
CREATE FUNCTION incr_sql_drop() RETURNS event_trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_sql_drop() FROM PUBLIC;
")]
fn incr_sql_drop() {
    report(DROPPED, |row| {
        let is_temporary = row.get::<bool>(5)?.unwrap_or(false);
        let is_worth_a_row = row.get::<bool>(6)?.unwrap_or(false) && !is_temporary;
        let kind = row.get::<Vec<u8>>(1)?.unwrap_or_default();
        let named_table = match kind.as_slice() {
            b"table column" | b"table constraint" if !is_temporary => {
                row.get::<Vec<u8>>(3)?.zip(row.get::<Vec<u8>>(4)?)
            }
            _ => None,
        };
        Ok(Reported {
            object: if is_worth_a_row { object(row)? } else { None },
            table: None,
            named_table,
            is_dropped_table: kind == b"table" && !is_temporary,
            is_temporary: false,
        })
    });
}

/// Before a command rewrites a table.
#[pg_extern(sql = "
CREATE FUNCTION incr_table_rewrite() RETURNS event_trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_table_rewrite() FROM PUBLIC;
")]
fn incr_table_rewrite() {
    report(REWRITTEN, |row| {
        let is_temporary = row.get::<bool>(3)?.unwrap_or(false);
        let object = if is_temporary { None } else { object(row)? };
        Ok(Reported {
            object,
            table: None,
            named_table: None,
            is_dropped_table: false,
            is_temporary: false,
        })
    });
}

/// Refuses everybody: the extension writes ddl_history without executing statements.
#[pg_extern(sql = "
CREATE FUNCTION incr_refuse_write() RETURNS trigger
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_refuse_write() FROM PUBLIC;
")]
fn incr_refuse_write() {
    ereport!(
        PgLogLevel::ERROR,
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "ddl_history is written by pg_incrbackup only",
        "A restore replays what stands in it."
    );
}

fn object(row: &SpiTupleTable) -> spi::Result<Option<Object>> {
    let (object_type, identity) = (row.get::<Vec<u8>>(1)?, row.get::<Vec<u8>>(2)?);
    Ok(object_type
        .zip(identity)
        .map(|(object_type, identity)| Object {
            object_type,
            identity,
        }))
}

fn report(query: &'static str, read: impl Fn(&SpiTupleTable) -> spi::Result<Reported>) {
    if is_creating_extension() {
        return;
    }
    let reported = attempt(|| {
        let rows = Spi::connect(|client| {
            let mut rows = select_kept(client, query, &[])?;
            let mut reported = Vec::new();
            while rows.next().is_some() {
                reported.push(read(&rows)?);
            }
            Ok::<_, spi::Error>(reported)
        });
        rows.unwrap_or_else(|error| pgrx::error!("{error}"))
    });
    match reported {
        Ok(reported) if !status::is_there() => hook::report_unseen(&reported),
        Ok(reported) => hook::note(reported),
        Err(failure) => hook::report(&failure),
    }
}
