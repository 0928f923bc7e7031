//! Recording of a utility statement: its row is written before it runs, and completed after.
//!
//! The row is a plain insert in the user's own transaction. If a text is to be replayed ([`guarded`]),
//! reading what is needed may fail without affecting the user's statement: it happens in a separate
//! subtransaction, and `pg_incrbackup.on_log_error` determines the result of a failure.

use std::cell::RefCell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ddl_history::{Object, Record, WrittenRow, COLUMNS};
use super::plan::{self, Need, Plan};
use super::record_mode::{record_mode_of, RecordMode};
use super::running::{self, Later, RunningStatement};
use super::session::{session, session_for_words};
use super::subject::Subject;
use super::words::{self, travels_as_effects};
use super::{by_text, cluster, decoder_raw, objects, reset, who};
use crate::effects::{has_effects_beyond_catalogs, is_visible_in_catalogs};
use crate::pg::ddl;
use crate::pg::ddl::database::{needs_empty, NeedsEmpty};
use crate::pg::ddl::ddl_history::HistoryTable;
use crate::pg::ddl::hook::{install, Callbacks};
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::subtransaction::attempt;
use crate::pg::failure::Failure;
use crate::pg::server::{self, commit_wait};
use crate::settings::{self, OnLogError};
use crate::{lost_extension, replica_identity, status, workers};

thread_local! {
    /// The databases whose workers have stepped aside for statements of this transaction, and the
    /// subtransaction level of each.
    static ASIDE: RefCell<Vec<(i32, NeedsEmpty)>> = const { RefCell::new(Vec::new()) };
}

pub fn init() {
    ddl::ddl_history::watch();
    replica_identity::record_by(record_own);
    install(Callbacks {
        before_utility,
        after_utility,
        checks_updates: replica_identity::checks_updates,
        before_update: replica_identity::ensure_captured,
        before_commit: who::record,
        transaction_ended,
        subtransaction_aborted,
    });
}

fn before_utility(statement: &Statement) -> u64 {
    cluster::before(statement);
    if statement.node_tag() == pg_sys::NodeTag::T_TransactionStmt {
        return if statement.is_commit_prepared() {
            running::push(RunningStatement {
                is_commit_prepared: true,
                ..RunningStatement::default()
            })
        } else {
            0
        };
    }
    let tag = statement.tag();
    let mode = record_mode_of(tag);
    if matches!(mode, RecordMode::Nothing | RecordMode::Database) {
        step_aside_for(statement);
    }
    if mode == RecordMode::Nothing || lost_extension::is_being_made() {
        return 0;
    }
    if statement.is_part_of_another() || !ddl::catalog::can_record() {
        return 0;
    }
    if mode == RecordMode::Explain && ddl::touched::created_relation(statement).is_none() {
        return 0;
    }
    let Some(history) = ddl::ddl_history::find() else {
        return if plan::is_captured_without_history() {
            reset::without_history(statement, tag, mode)
        } else {
            0
        };
    };
    reset::before_drop(statement);
    let may_lose = ddl::schema::may_drop_extension(statement).then(|| history.schema_name());
    let may_lose = may_lose.flatten();
    let frame = if !history.has_columns(COLUMNS) {
        RunningStatement {
            failure: Some(Failure::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "table \"ddl_history\" does not have the expected columns",
            )),
            may_do_nothing: statement.may_do_nothing(),
            ..RunningStatement::default()
        }
    } else if travels_as_effects() && !by_text::is_by_text(statement, mode) {
        match words::record(history, statement, tag, mode) {
            Some(frame) => frame,
            None => return 0,
        }
    } else {
        guarded(history, statement, tag, mode)
    };
    running::push(RunningStatement {
        may_lose,
        is_beyond_catalogs: is_beyond_catalogs(tag),
        ..frame
    })
}

/// Plans a statement whose text is replayed, where an error has no effect on it.
fn guarded(
    history: HistoryTable,
    statement: &Statement,
    tag: &'static str,
    mode: RecordMode,
) -> RunningStatement {
    let planned = attempt(|| {
        if by_text::is_by_text(statement, mode) {
            return (
                RunningStatement::default(),
                by_text::plan(statement, tag, mode),
            );
        }
        let subject = Subject::of(statement);
        (facts(&subject), decoder_raw::plan(&subject, tag, mode))
    });
    match planned {
        Ok((_, None)) => RunningStatement {
            is_known: true,
            ..RunningStatement::default()
        },
        Ok((frame, Some(plan))) => RunningStatement {
            runs_script: mode == RecordMode::Extension,
            ..begin(history, frame, plan)
        },
        Err(failure) => RunningStatement {
            failure: Some(failure),
            may_do_nothing: statement.may_do_nothing(),
            ..RunningStatement::default()
        },
    }
}

/// Facts needed after the statement, when its parse tree is no longer reliable.
fn facts(subject: &Subject) -> RunningStatement {
    RunningStatement {
        touched: subject.touched(),
        subjects: subject.relations_named(),
        is_known: subject.is_known(),
        replaces: subject.statement.replaces(),
        ..RunningStatement::default()
    }
}

/// Acquires the lock that a base backup's fence waits for, and writes the row if it is time.
pub(super) fn begin(
    history: HistoryTable,
    mut frame: RunningStatement,
    plan: Plan,
) -> RunningStatement {
    if plan.commits_by_itself {
        history.lock_for_session();
        frame.later = Some(Later {
            history,
            record: plan.record,
            needs: plan.needs,
        });
    } else {
        record_needs(history, &plan.record, &plan.needs);
        frame.row = Some(WrittenRow::insert(history, plan.record, plan.expected));
    }
    frame
}

/// A row for each role and tablespace that the text names: a restore creates missing ones.
fn record_needs(history: HistoryTable, record: &Record, needs: &[Need]) {
    for (command, name) in needs {
        let needed = Record::note(command, record.query.clone(), name.clone());
        WrittenRow::insert(history, needed, None);
    }
}

fn after_utility(number: u64) {
    let Some(mut frame) = running::pop(number) else {
        return;
    };
    if frame.is_commit_prepared {
        commit_wait::prepared_was_committed();
        cluster::prepared_was_committed();
        return server::set_latch(status::latch_of(server::my_database()));
    }
    if frame.is_lost {
        let is_beyond_catalogs = frame.is_beyond_catalogs;
        return match reset::make_extension(frame) {
            Some((history, frame, plan)) => finish(begin(history, frame, plan)),
            None => reset::report_loss(is_beyond_catalogs),
        };
    }
    if let Some(schema) = frame.may_lose.take() {
        if ddl::ddl_history::find().is_none() && workers::has_slot(server::my_database()) {
            lost_extension::note_loss(&schema);
        }
    }
    if let Some(failure) = frame.failure.take() {
        if !frame.may_do_nothing || frame.has_effect {
            report(&failure, frame.is_beyond_catalogs);
        }
        return;
    }
    if let Some(later) = frame.later.take() {
        record_needs(later.history, &later.record, &later.needs);
        frame.row = Some(WrittenRow::insert(later.history, later.record, None));
        later.history.unlock_for_session();
    }
    finish(frame);
}

/// Completes the statement's row, and gives a replica identity to tables that it touched and that lack one.
fn finish(mut frame: RunningStatement) {
    let Some(mut row) = frame.row.take() else {
        return;
    };
    complete(&mut row, &mut frame);
    if frame.is_known {
        return;
    }
    // If the table of a dropped index is unknown, all are checked: a failure does no harm.
    if frame.is_plain && !frame.touched.has_lost_index {
        if frame.touched.may_concern_identities() {
            replica_identity::due_after(&frame.touched).carry_out();
        }
        return;
    }
    match attempt(|| replica_identity::due_after(&frame.touched)) {
        Ok(due) => {
            due.carry_out();
        }
        Err(failure) => report(&failure, frame.is_beyond_catalogs),
    }
}

fn complete(row: &mut WrittenRow, frame: &mut RunningStatement) {
    let mut objects = std::mem::take(&mut frame.objects);
    if !frame.over_ours.is_empty() && objects.is_empty() && !row.is_completed() {
        return decoder_raw::leave_out(row, frame);
    }
    if objects.is_empty() && !row.is_completed() {
        objects = std::mem::take(&mut frame.subjects);
    }
    // All objects that it created are temporary: it is not recorded.
    if frame.made_temporary && objects.is_empty() && !row.is_completed() {
        return row.cancel();
    }
    objects
        .into_iter()
        .for_each(|object| row.add_object(object));
    if !row.is_completed() {
        row.expect_nothing();
    }
    if frame.runs_script && !row.is_completed() {
        row.complete();
    }
    row.flush();
}

/// Records a statement that we run ourselves, before it runs.
fn record_own(command: &'static str, text: &[u8], table: Sql) {
    if let Some(history) = ddl::ddl_history::find() {
        let is_decoded = travels_as_effects();
        let record = Record {
            command,
            query: text.to_vec(),
            session: if is_decoded {
                session_for_words()
            } else {
                session(text)
            },
            replay_text: (!is_decoded).then(|| text.to_vec()),
            is_decoded,
        };
        WrittenRow::insert(history, record, Some(Object::table(table)));
    }
}

/// True if the catalogs do not show everything that a command does.
pub(super) fn is_beyond_catalogs(tag: &str) -> bool {
    has_effects_beyond_catalogs(tag) || !is_visible_in_catalogs(tag)
}

/// Handles a statement that could not be recorded.
pub(super) fn report(failure: &Failure, is_beyond_catalogs: bool) {
    let message = format!("could not record DDL for the backup: {}", failure.message);
    let report = ErrorReport::new(failure.code, message.clone(), "ddl_log");
    if settings::on_log_error() == OnLogError::Error {
        return report
            .set_detail("pg_incrbackup.on_log_error is \"error\", so the statement fails.")
            .report(PgLogLevel::ERROR);
    }
    // In the WAL of this very transaction: rolled back with it, and preserved in a crash.
    let travels_as_effects = travels_as_effects();
    let is_lost = is_beyond_catalogs || !travels_as_effects;
    if travels_as_effects {
        ddl::lost::emit(&message, !is_beyond_catalogs)
    } else {
        decoder_raw::record_loss(&message)
    }
    report
        .set_detail(if is_lost {
            "Capture continues; a base backup follows. A restore to an earlier point may \
        lack the effects of the statement."
        } else {
            "Capture continues, including the effects of the \
        statement; ddl_history does not list it."
        })
        .report(PgLogLevel::WARNING);
}

/// Called by event triggers in a session without our hook, on a server whose shared_preload_libraries lacks
/// us for a while.
pub(super) fn report_unseen(reported: &[objects::Reported]) {
    let counts = |object: &objects::Reported| {
        object.object.is_some() || object.table.is_some() || object.dropped_table.is_some()
    };
    if !reported.iter().any(counts) || !plan::is_captured_without_history() {
        return;
    }
    // There is no tag: effects of REFRESH are assumed to be unknown.
    let is_beyond_catalogs = |object: &objects::Reported| {
        let kind = object
            .object
            .as_ref()
            .map(|object| object.object_type.as_slice());
        matches!(
            kind,
            Some(b"extension" | b"subscription" | b"materialized view")
        )
    };
    report(
        &Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pg_incrbackup is not in shared_preload_libraries",
        ),
        reported.iter().any(is_beyond_catalogs),
    );
}

fn step_aside_for(statement: &Statement) {
    let Some(need) = needs_empty(statement) else {
        return;
    };
    let database = need.database;
    ASIDE.with_borrow_mut(|aside| aside.push((ddl::catalog::nest_level(), need)));
    workers::step_aside(database);
}

/// What it calls leaves notes in memory, and no more: after a commit there is no error that PostgreSQL could take, it
/// would end the server. What follows from the notes is the launcher's to do.
fn transaction_ended(committed: bool) {
    running::transaction_ended(committed);
    cluster::transaction_ended(committed);
    lost_extension::transaction_ended(committed);
    for (_, need) in ASIDE.take() {
        if committed && need.is_dropped {
            status::note_dropped(need.database);
            workers::wake_launcher();
        } else {
            workers::resume(need.database);
        }
    }
}

/// Effects of a statement that is rolled back need no further action.
fn subtransaction_aborted(level: i32) {
    running::subtransaction_aborted(level);
    lost_extension::subtransaction_aborted();
    ASIDE.with_borrow_mut(|aside| {
        aside.retain(|(began, need)| {
            let is_over = *began >= level;
            if is_over {
                workers::resume(need.database);
            }
            !is_over
        });
    });
}

/// Records an object that an event trigger reported for the innermost statement.
pub(super) fn note(reported: Vec<objects::Reported>) {
    running::with_top(|frame| {
        for object in reported {
            frame.touched.tables.extend(object.table);
            frame.touched.named.extend(object.named_table);
            frame.touched.dropped.extend(object.dropped_table);
            frame.touched.has_lost_index |= object.is_lost_index;
            frame.made_temporary |= object.is_temporary;
            frame.has_effect |= !object.is_temporary;
            frame.over_ours.extend(object.over_ours);
            let is_to_come = object.is_to_come;
            match (frame.row.as_mut(), object.object) {
                (Some(row), Some(object)) if !is_to_come => {
                    let waiting = frame.objects.drain(..);
                    waiting.for_each(|object| row.add_object(object));
                    row.add_object(object);
                }
                (_, Some(object)) => frame.objects.push(object),
                (_, None) => {}
            }
        }
    });
}
