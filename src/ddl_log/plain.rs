//! Statements of the usual kinds, where schema changes travel as their effects: what they do is decoded from the
//! catalogs, so only who ran them, when and in which words is noted, and their text for what the decoder does not
//! understand.
//!
//! No subtransaction guards this. A transaction that makes many tables pays for each one with a walk over all
//! of them (AtEOSubXact_RelationCache, AtSubCommit_smgr). So nothing here raises but what the statement is about to
//! raise itself: names are looked up as it looks them up. What needs more than that is planned as before.

use super::frames::Frame;
use super::history::{Record, WrittenRow, COLUMNS};
use super::plan::{self, Subject};
use super::secrets::{may_hold_secrets, public_text};
use super::session::session;
use super::stand_ins;
use super::statement_text::StatementText;
use super::ways::Way;
use crate::capture;
use crate::effects::{does_more_than_catalogs_tell, is_told_by_catalogs};
use crate::pg::ddl_bound::computed_bound;
use crate::pg::ddl_database::databases;
use crate::pg::ddl_history::HistoryTable;
use crate::pg::ddl_index::indexes_partitions;
use crate::pg::ddl_roles::named_roles;
use crate::pg::ddl_statement::Statement;
use crate::pg::ddl_touched::{created_relation, reads_temporary, touched_tables};
use crate::pg::server;
use crate::replica_identity::Touched;
use crate::settings::{self, SchemaChanges};

/// True where our own plugin decodes what statements do to the catalogs. A slot keeps the plugin that it was
/// made with.
pub fn travels_as_effects() -> bool {
    let plugin = || capture::slot_plugin(server::my_database()).unwrap_or_else(settings::plugin);
    settings::schema_changes() == SchemaChanges::Effects && plugin() == "pg_incrbackup"
}

/// The statement's subject, where it is of such a kind.
pub fn subject<'a>(
    history: HistoryTable,
    statement: &'a Statement,
    tag: &str,
    way: Way,
) -> Option<Subject<'a>> {
    let is_plain = way == Way::Text
        && statement.names_relations_only()
        && travels_as_effects()
        && is_told_by_catalogs(tag)
        && !does_more_than_catalogs_tell(tag)
        && !statement.commits_by_itself()
        && !statement.likes_temporary()
        && !reads_temporary(statement)
        && databases(statement).is_empty()
        && history.has_columns(COLUMNS);
    is_plain.then(|| Subject::of(statement, None))
}

/// Writes the statement's row, unless all that it names is temporary, or ours; none for a statement that has more
/// to it.
pub fn record(history: HistoryTable, subject: &Subject, tag: &'static str) -> Option<Frame> {
    let (statement, targets) = (subject.statement(), &subject.targets);
    let is_left_out = |place: bool| {
        let mut targets = targets.iter();
        targets.any(|target| plan::is_left_out(target) == place)
    };
    if is_left_out(true) && !is_left_out(false) || statement.attaches_unfinished() {
        return Some(Frame {
            is_known: true,
            ..Frame::default()
        });
    }
    let text = subject.text();
    let has = |word: &str| text.tokens.iter().any(|token| token.is_keyword(word));
    let session = session(&text.text);
    let may_show = text.is_proven || !may_hold_secrets(tag);
    if is_left_out(true)
        || !may_show
        || has("tablespace")
        || session.has_tablespace()
        || stand_ins::may_be_over_ours(statement, text)
    {
        return None;
    }
    let record = Record {
        command: tag,
        query: public_text(tag, text),
        session,
        replay_text: says_all(subject, text).then(|| text.text.clone()),
        is_decoded: true,
    };
    let row = WrittenRow::insert(history, record, plan::expected(subject));
    Some(Frame {
        way: Some(Way::Text),
        row: Some(row),
        is_plain: true,
        is_known: plan::is_known(subject),
        touched: Touched {
            tables: touched_tables(statement, targets),
            created: created_relation(statement),
            identity_is_set: statement.sets_replica_identity(),
            ..Touched::default()
        },
        subjects: plan::subjects(targets),
        replaces: statement.replaces(),
        ..Frame::default()
    })
}

/// True where a replay of the text alone comes to the same. Of what is not understood the text is replayed then,
/// else a flag tells of it.
fn says_all(subject: &Subject, text: &StatementText) -> bool {
    let statement = subject.statement();
    text.is_proven
        && !plan::fixes_time(subject)
        && !plan::keeps_constants(statement, text)
        && (statement.added_columns().is_empty() || statement.adds_plain_columns())
        && !statement.sets_unlogged()
        && !indexes_partitions(statement)
        && computed_bound(statement).is_none()
        && named_roles(statement).is_empty()
}
