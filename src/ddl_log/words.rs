//! Recording for our own output plugin: the effects of a statement are read from the catalogs, so only the
//! role, the time and the text are recorded.
//!
//! There is no subtransaction. Each subtransaction of a transaction that creates many tables costs a walk
//! over all of them (AtEOSubXact_RelationCache, AtSubCommit_smgr). Therefore nothing here raises an error
//! that the statement would not raise itself: names are looked up in the same way.

use super::ddl_history::Record;
use super::hook::begin;
use super::plan::Plan;
use super::record_mode::RecordMode;
use super::running::RunningStatement;
use super::secrets::public_words;
use super::session::session_for_words;
use super::subject::Subject;
use crate::pg::ddl::ddl_history::HistoryTable;
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::touched::created_relation;
use crate::pg::server;
use crate::{settings, workers};

/// True if our own plugin decodes the effects of statements on the catalogs. A slot keeps the plugin that it
/// was created with.
pub fn travels_as_effects() -> bool {
    let plugin = || workers::slot_plugin(server::my_database()).unwrap_or_else(settings::plugin);
    plugin() == "pg_incrbackup"
}

/// Writes the statement's row, unless all that it names is temporary or ours.
pub fn record(
    history: HistoryTable,
    statement: &Statement,
    tag: &'static str,
    mode: RecordMode,
) -> Option<RunningStatement> {
    // The catalogs show which indexes become valid or move; the text is not needed.
    if mode == RecordMode::Reindex {
        return None;
    }
    let subject = Subject::relations(statement);
    let makes_temporary = mode == RecordMode::FilledTable && created_relation(statement).is_none();
    if makes_temporary || subject.is_left_out() {
        return Some(RunningStatement {
            is_known: true,
            ..RunningStatement::default()
        });
    }
    let plan = plan(&subject, tag);
    let only = plan
        .expected
        .clone()
        .filter(|_| subject.is_about_one_alone());
    let frame = RunningStatement {
        is_plain: true,
        is_known: only.is_some() || subject.is_known() || subject.is_reported_without_object(),
        touched: subject.touched(),
        subjects: match only {
            Some(only) => vec![only],
            None => subject.relations_named(),
        },
        ..RunningStatement::default()
    };
    Some(begin(history, frame, plan))
}

/// The row as a plan.
pub fn plan(subject: &Subject, tag: &'static str) -> Plan {
    let statement = subject.statement;
    Plan {
        record: Record {
            command: tag,
            query: public_words(tag, statement),
            session: session_for_words(),
            replay_text: None,
            is_decoded: true,
        },
        expected: subject.expected(),
        commits_by_itself: statement.commits_by_itself(),
        needs: Vec::new(),
    }
}
