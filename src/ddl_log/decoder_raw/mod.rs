//! Schema changes with a plugin that only writes rows (decoder_raw): a restore executes the statement's text,
//! in a form that does not depend on settings, under the role, the search path and the settings that it ran
//! under.
//!
//! The text is evaluated again where it is replayed. If the result will differ, it is flagged; what is not
//! supported at all is lost until the next base. docs/plugins.md lists both.

mod filled;
mod left_out;

use super::by_text;
use super::ddl_history::{Record, WrittenRow, COLUMNS};
use super::plan::Plan;
use super::record_mode::RecordMode;
use super::secrets::public_text;
use super::session::session;
use super::statement_text::{text_of, StatementText};
use super::subject::Subject;
use crate::output_plugin::ddl_history::{FLAG, LOST};
use crate::pg::ddl;
use crate::pg::ddl::bound::is_computed;
use crate::pg::ddl::filled::filled_table;
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::proof::{says_derived, Derived};
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::touched::is_plain_table;
use crate::pg::text::quote;

pub use left_out::leave_out;

/// Strings that date/time types parse as the current time.
const TIME_WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// The plan for the statement; `None` if nothing of it belongs in the stream. Raises an error for unsupported
/// statements.
pub fn plan(subject: &Subject, tag: &'static str, mode: RecordMode) -> Option<Plan> {
    let statement = subject.statement;
    if subject.is_left_out() || mode == RecordMode::Reindex || statement.attaches_unfinished() {
        return None;
    }
    if subject.is_left_out_in_part() {
        pgrx::error!("{tag} names temporary and permanent objects in one statement");
    }
    let text = text_of(statement);
    if !text.is_proven && !statement.is_analyzed() {
        pgrx::error!(
            "the recorded text of {tag} does not parse to the statement that was executed"
        );
    }
    let replay_text = match mode {
        RecordMode::FilledTable | RecordMode::Explain => filled(statement)?,
        RecordMode::Cluster => cluster_mark(subject)?,
        RecordMode::Parts | RecordMode::Subscription => {
            pgrx::error!("{tag} is not supported with this output plugin")
        }
        _ => own_text(statement, tag, &text),
    };
    let session = session(&replay_text);
    let mut needs = by_text::needs(statement, mode, &text, &session);
    let reasons = reasons_to_flag(statement, &text);
    needs.extend(reasons.map(|reason| (FLAG, format!("{tag}: {reason}").into_bytes())));
    Some(Plan {
        record: Record {
            command: tag,
            query: public_text(tag, &text),
            session,
            replay_text: Some(replay_text),
            is_decoded: false,
        },
        expected: subject.expected(),
        commits_by_itself: statement.commits_by_itself(),
        needs,
    })
}

/// Why the result of the text will differ at restore.
fn reasons_to_flag(
    statement: &Statement,
    text: &StatementText,
) -> impl Iterator<Item = &'static str> {
    let is_ddl = !matches!(
        statement.node_tag(),
        pgrx::pg_sys::NodeTag::T_CommentStmt | pgrx::pg_sys::NodeTag::T_CreateTableAsStmt
    );
    let constants = (is_ddl && text.has_constant(&TIME_WORDS))
        .then_some("'now' or a similar constant was evaluated, and is evaluated again at restore");
    let defaults = statement
        .adds_computed_columns()
        .then_some("the default of a new column is evaluated again for existing rows at restore");
    let bounds = is_computed(statement)
        .then_some("the bounds of a partition are evaluated again at restore");
    [constants, defaults, bounds].into_iter().flatten()
}

/// CREATE TABLE AS is replaced by its columns; a materialized view by its query as the server parsed it.
fn filled(statement: &Statement) -> Option<Sql> {
    let table = filled_table(statement).filter(|table| !table.is_temporary)?;
    Some(if table.view_query.is_some() {
        filled::create_materialized_view(&table)
    } else {
        filled::create_table(&table)
    })
}

fn cluster_mark(subject: &Subject) -> Option<Sql> {
    let index = subject.statement.clustered_index()?;
    let target = subject
        .first()
        .filter(|target| is_plain_table(target.relation))?;
    let table = target.name.as_ref()?;
    let index = quote::identifier(&index);
    Some([b"ALTER TABLE ", &table[..], b" CLUSTER ON ", &index[..]].concat())
}

/// The statement's text, without CONCURRENTLY, which is not allowed in a transaction.
fn own_text(statement: &Statement, tag: &str, text: &StatementText) -> Sql {
    if !statement.commits_by_itself() {
        return text.text.clone();
    }
    let plain = text.plain_form();
    if !says_derived(statement, &plain, &Derived::Plain) {
        pgrx::error!("could not deparse {tag}");
    }
    plain
}

/// Writes to the stream that a statement could not be recorded. A line end would end the message.
pub fn record_loss(message: &str) {
    let history = ddl::ddl_history::find().filter(|history| history.has_columns(COLUMNS));
    if let Some(history) = history {
        let text = message.replace(['\n', '\r'], " ").into_bytes();
        let query = message.as_bytes().to_vec();
        WrittenRow::insert(history, Record::note(LOST, query, text), None);
    }
}
