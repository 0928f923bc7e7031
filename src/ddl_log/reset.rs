//! A database that is reset during capture: the extension cannot be dropped by its own name, may be dropped
//! with its schema, and is re-created with it.

use pgrx::prelude::*;

use super::hook::is_beyond_catalogs;
use super::plan::{self, Plan};
use super::record_mode::RecordMode;
use super::running::{self, RunningStatement};
use super::words::travels_as_effects;
use crate::pg::catalogs::extension;
use crate::pg::ddl;
use crate::pg::ddl::ddl_history::HistoryTable;
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::subtransaction::attempt;
use crate::pg::failure::Failure;
use crate::pg::server::{self, signals};
use crate::{lost_extension, replica_identity, workers};

/// Before DROP EXTENSION of ours: refuses it while the database is backed up, since it would leave a slot that retains
/// the server's WAL, and no function to drop it with. Otherwise tables get back the replica identity that they had:
/// those made after incr_teardown(), or locked then. Afterwards nobody knows any more which ones we have set. They get it back
/// as well where a statement takes the extension along: with its schema, or with what its owner owns.
pub fn before_drop(statement: &Statement) {
    let has_slot = || workers::has_slot(server::my_database());
    if ddl::schema::drops_with_extension(statement) {
        // Locked as by the drop itself; a setup may have made a slot while this waited.
        if !has_slot() && extension::lock() && !has_slot() {
            give_back();
        }
        return;
    }
    let is_drop = statement.node_tag() == pg_sys::NodeTag::T_DropStmt;
    let names_ours = || {
        statement
            .extensions()
            .iter()
            .any(|name| name == b"pg_incrbackup")
    };
    if !is_drop || !names_ours() {
        return;
    }
    refuse_while(has_slot());
    // Who may not drop it gets PostgreSQL's error, and has locked nobody's tables before.
    if !extension::lock_to_drop() {
        return;
    }
    refuse_while(has_slot());
    give_back();
}

fn refuse_while(is_backed_up: bool) {
    if is_backed_up {
        let code = PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST;
        Failure::new(
            code,
            "cannot drop extension pg_incrbackup because this database is backed up",
        )
        .hint("Run SELECT incr_teardown() first; it keeps the files.")
        .raise();
    }
}

fn give_back() {
    let (_, left) = replica_identity::give_back();
    for table in left {
        signals::telling(|| notice!("{table}"));
    }
}

/// A statement in a database whose extension was dropped, while capture continues. It is planned if it
/// creates the schema in which the extension is re-created.
pub fn without_history(statement: &Statement, tag: &'static str, mode: RecordMode) -> u64 {
    if statement
        .extensions()
        .iter()
        .any(|name| name == b"pg_incrbackup")
    {
        lost_extension::note_ddl();
        return 0;
    }
    let returns_to = ddl::schema::made_schema(statement);
    let returns_to = returns_to.filter(|schema| lost_extension::was_in(schema));
    let returns = returns_to.and_then(|schema| {
        let planned = attempt(|| plan::plan(statement, tag, mode)).ok()??;
        Some((schema, planned))
    });
    running::push(RunningStatement {
        is_lost: true,
        is_beyond_catalogs: is_beyond_catalogs(tag),
        returns,
        ..RunningStatement::default()
    })
}

/// Re-creates the extension after the statement that has created its schema. Returns what is needed to record
/// that statement; `None` if there is nothing to create, or if it failed, which a worker will detect.
pub fn make_extension(
    mut frame: RunningStatement,
) -> Option<(HistoryTable, RunningStatement, Plan)> {
    let (schema, plan) = frame.returns.take()?;
    frame.is_lost = false;
    attempt(|| lost_extension::make_in(&schema)).ok()?;
    let history = ddl::ddl_history::find()?;
    Some((history, frame, plan))
}

/// A statement is not recorded. It never fails because of that: the database's owner may reset it. Its
/// effects on the catalogs are decoded nevertheless.
pub fn report_loss(is_beyond_catalogs: bool) {
    const MESSAGE: &str = "could not record DDL for the backup: \
        the extension pg_incrbackup is gone with its schema";
    lost_extension::note_ddl();
    ddl::lost::emit(MESSAGE, !is_beyond_catalogs);
    let detail = if is_beyond_catalogs || !travels_as_effects() {
        "Capture continues; a restore to a point before the next base backup may lack the effects of the statement."
    } else {
        "Capture continues, including the effects of the statement; ddl_history does not list it."
    };
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        MESSAGE,
    )
    .detail(detail)
    .hint("Create the schema again: the extension is then re-created automatically, and a base backup follows.")
    .log(PgLogLevel::WARNING);
}
