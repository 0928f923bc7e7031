//! The event triggers' functions: which objects a statement created, altered, rewrote or dropped.
//!
//! They only report objects; statements themselves are detected by the utility hook, which does not depend on
//! an event trigger being enabled.

use pgrx::prelude::*;

use super::ddl_history::Object;
use super::{hook, running};
use crate::pg::ddl::catalog::is_creating_extension;
use crate::pg::ddl::event_trigger::{self, Command, Dropped};
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::over_ours::depends_on_ours;
use crate::pg::ddl::subtransaction::attempt;
use crate::pg::ddl::temporary::depends_on_temporary;
use crate::status;

/// An object reported by an event trigger.
#[derive(Default)]
pub struct Reported {
    /// `None` for an object that is temporary or belongs to an extension.
    pub object: Option<Object>,
    /// A table that exists.
    pub table: Option<pg_sys::Oid>,
    /// It depends on this extension's own objects, and is left out with them.
    pub over_ours: Option<Object>,
    /// The table that lost a column, a constraint or an index.
    pub named_table: Option<(Sql, Sql)>,
    pub dropped_table: Option<pg_sys::Oid>,
    /// An index that was dropped with another object.
    pub is_lost_index: bool,
    /// It is dropped at the end of the session.
    pub is_temporary: bool,
    /// The statement is still running: a row of ours now would separate its effects on several tables.
    pub is_to_come: bool,
}

/// At the end of a command: what it created or altered.
#[pg_extern(sql = "
CREATE FUNCTION incr_ddl_command_end() RETURNS event_trigger
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_ddl_command_end() FROM PUBLIC;
")]
fn incr_ddl_command_end() {
    report(|| event_trigger::commands().into_iter().map(made).collect());
}

/// Dependent objects are dropped along; our own plugin determines that by itself.
fn made(command: Command) -> Reported {
    let is_read_on = running::is_top_plain();
    let is_temporary =
        command.is_temporary || !is_read_on && depends_on_temporary(command.class, command.object);
    let is_left_out = command.is_in_extension || is_temporary;
    let is_relation = command.class == pg_sys::RelationRelationId;
    let is_over_ours =
        !is_read_on && !is_left_out && depends_on_ours(command.class, command.object);
    let is_left_out = is_left_out || is_over_ours;
    let object = object(command.object_type, command.identity);
    Reported {
        over_ours: object.clone().filter(|_| is_over_ours),
        object: object.filter(|_| !is_left_out),
        table: Some(command.object).filter(|_| is_relation && !is_left_out),
        is_temporary,
        ..Reported::default()
    }
}

/// After a command has dropped something.
#[pg_extern(sql = "
CREATE FUNCTION incr_sql_drop() RETURNS event_trigger
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_sql_drop() FROM PUBLIC;
")]
fn incr_sql_drop() {
    report(|| event_trigger::dropped().into_iter().map(dropped).collect());
}

fn dropped(dropped: Dropped) -> Reported {
    let is_worth_a_row = dropped.is_original_or_normal && !dropped.is_temporary;
    let is = |kind: &[u8]| !dropped.is_temporary && dropped.object_type.as_deref() == Some(kind);
    let is_of_table = is(b"table column") || is(b"table constraint");
    Reported {
        dropped_table: Some(dropped.object).filter(|_| is(b"table")),
        is_lost_index: is(b"index") && dropped.is_normal,
        named_table: dropped.address.filter(|_| is_of_table),
        object: object(dropped.object_type, dropped.identity).filter(|_| is_worth_a_row),
        ..Reported::default()
    }
}

/// Before a command rewrites a table.
#[pg_extern(sql = "
CREATE FUNCTION incr_table_rewrite() RETURNS event_trigger
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
REVOKE ALL ON FUNCTION incr_table_rewrite() FROM PUBLIC;
")]
fn incr_table_rewrite() {
    report(|| {
        event_trigger::rewritten()
            .map(rewritten)
            .into_iter()
            .collect()
    });
}

fn rewritten((table, is_temporary): (Sql, bool)) -> Reported {
    Reported {
        object: Some(Object::table(table)).filter(|_| !is_temporary),
        is_to_come: true,
        ..Reported::default()
    }
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
        "only pg_incrbackup may change table \"ddl_history\"",
        "A restore replays its contents."
    );
}

fn object(object_type: Option<Sql>, identity: Option<Sql>) -> Option<Object> {
    let parts = object_type.zip(identity);
    parts.map(|(object_type, identity)| Object {
        object_type,
        identity,
    })
}

fn report(read: impl FnOnce() -> Vec<Reported>) {
    if is_creating_extension() || running::is_top_known() {
        return;
    }
    if running::is_top_plain() {
        return hook::note(read());
    }
    match attempt(read) {
        Ok(reported) if !status::is_there() => hook::report_unseen(&reported),
        Ok(reported) => hook::note(reported),
        Err(failure) => hook::report(&failure, running::is_top_beyond_catalogs()),
    }
}
