//! Decides, before a statement runs, whether and how it is recorded.

use std::cell::OnceCell;

use archive::escape::percent_encode;
use pgrx::pg_sys::NodeTag::{
    T_AlterOwnerStmt, T_AlterTableStmt, T_CommentStmt, T_CreateStmt, T_GrantStmt, T_IndexStmt,
    T_RenameStmt,
};

use super::frames::BoundText;
use super::history::{Object, Record};
use super::plain::travels_as_effects;
use super::secrets::public_text;
use super::session::{session, Session};
use super::stand_ins::{self, Around};
use super::statement_text::{text_of, StatementText};
use super::synthesize;
use super::ways::Way;
use crate::capture;
use crate::output_plugin::history::{FLAG, REACH, SUPERUSER};
use crate::pg::ddl_database::{database_name, databases};
use crate::pg::ddl_filled::filled_table;
use crate::pg::ddl_index::BeforeReindex;
use crate::pg::ddl_named::identity;
use crate::pg::ddl_node::Sql;
use crate::pg::ddl_place::Place;
use crate::pg::ddl_proof::{says_derived, Derived};
use crate::pg::ddl_roles::{is_superuser, named_roles};
use crate::pg::ddl_statement::Statement;
use crate::pg::ddl_subject::{targets, Target};
use crate::pg::ddl_subscription;
use crate::pg::ddl_tablespaces::named_tablespaces;
use crate::pg::ddl_touched::{
    created_relation, is_plain_table, is_table, made_index, reads_temporary, relation_named,
};
use crate::pg::quote;
use crate::pg::reach::Reach;
use crate::pg::{ddl_bound, server};

/// Strings that a time type reads as the present time.
const TIME_WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// When the row of a statement is written.
pub enum Moment {
    Before,
    /// It commits by itself half way: after success, in the next transaction.
    AfterCommit,
    /// Only if the view of this schema and name did not turn out to be a temporary one.
    IfPermanent(Sql, Sql),
    /// After success, if the indexes are not as they were.
    Reindexed(BeforeReindex),
    /// With the columns that the table of this schema and name turned out to have.
    AsMade(Sql, Sql),
}

/// What a statement is about and how it is written: looked up once, for all who ask.
pub struct Subject<'a> {
    statement: &'a Statement,
    pub targets: Vec<Target>,
    /// Where IMPORT FOREIGN SCHEMA puts the tables of which this statement makes one.
    schema: Option<&'a Sql>,
    text: OnceCell<StatementText>,
}

impl<'a> Subject<'a> {
    pub fn of(statement: &'a Statement, schema: Option<&'a Sql>) -> Self {
        Self {
            statement,
            targets: targets(statement),
            schema,
            text: OnceCell::new(),
        }
    }

    pub fn statement(&self) -> &'a Statement {
        self.statement
    }

    pub fn text(&self) -> &StatementText {
        self.text
            .get_or_init(|| text_of(self.statement, self.schema))
    }
}

/// How a statement is recorded.
pub struct Plan {
    pub record: Record,
    /// What an event trigger is going to report first.
    pub expected: Option<Object>,
    pub moment: Moment,
    pub needs: Vec<Need>,
    /// What takes the place of our own while its text runs.
    pub around: Option<Around>,
}

/// What stands before a statement for the sake of its restore: a command about a role or a
/// tablespace and its name, [`FLAG`] and the reason, or [`REACH`].
pub type Need = (&'static str, Sql);

/// The plan for the statement; none where nothing of it belongs in the stream.
pub fn plan(subject: &Subject, tag: &'static str, way: Way) -> Option<Plan> {
    let Subject {
        statement, targets, ..
    } = subject;
    let databases = databases(statement);
    let is_about_this_database = databases.contains(&database_name());
    if !databases.is_empty() && !is_about_this_database
        || way == Way::Database && databases.is_empty()
        || statement.is_written_without_text()
            && !is_about_this_database
            && !matches!(way, Way::Role | Way::Tablespace)
    {
        return None;
    }
    if !targets.is_empty() && targets.iter().all(is_left_out) || statement.attaches_unfinished() {
        return None;
    }
    let is_as_made = statement.likes_temporary();
    if is_as_made && is_made_already(statement) {
        return None;
    }
    let text = subject.text();
    if !text.is_proven && !statement.is_analyzed() {
        pgrx::error!("the parser does not read the text of {tag} as the statement that ran");
    }
    let replay_text = match way {
        _ if is_about_this_database => Some(about_this_database(statement, text)),
        Way::Database => None,
        Way::Role => statement.made_role().or_else(|| renamed(statement)),
        Way::Tablespace => statement.made_tablespace().or_else(|| renamed(statement)),
        Way::Parts => None,
        Way::FilledTable | Way::Explain => Some(filled(statement)?),
        Way::Cluster => Some(cluster_mark(statement, targets)?),
        // RENAME and OWNER TO do not reach the publisher: they replay as they are.
        Way::Subscription if !matches!(statement.node_tag(), T_RenameStmt | T_AlterOwnerStmt) => {
            ddl_subscription::replay_text(statement)
        }
        Way::Reindex => None,
        _ => Some(own_text(statement, tag, text, targets)?),
    };
    let mut session = session(replay_text.as_ref().unwrap_or(&text.text));
    if let Some(schema) = subject.schema {
        session.search_path = quote::identifier(schema);
    }
    let moment = match way {
        Way::Reindex => Moment::Reindexed(BeforeReindex::of(statement)?),
        _ => moment(statement, is_as_made),
    };
    let around = match way {
        Way::Text => {
            let checks = stand_ins::around_checks(statement, text, targets);
            match stand_ins::around(statement, text, &session) {
                Some(around) => Some(around.with(checks)),
                None => checks,
            }
        }
        _ => None,
    };
    let replay_text = match &around {
        Some(around) => replay_text.map(|text| around.of(&text)),
        None => replay_text,
    };
    let query = public_text(tag, text);
    let needs = needs(statement, way, text, &session);
    Some(Plan {
        record: Record {
            command: tag,
            query,
            session,
            replay_text,
            is_decoded: false,
        },
        expected: expected(subject),
        moment,
        needs,
        around,
    })
}

/// What the first object is going to be that is noted of the statement, where it is easily told.
pub fn expected(
    Subject {
        statement, targets, ..
    }: &Subject,
) -> Option<Object> {
    let name = match statement.node_tag() {
        T_CreateStmt => {
            created_relation(statement).map(|(schema, name)| quote::qualified(&schema, &name))
        }
        T_AlterTableStmt => {
            let target = targets.first().filter(|target| is_table(target.relation));
            target.and_then(|target| target.name.clone())
        }
        // Nothing is reported of these, see `hook::complete`.
        T_GrantStmt => subjects(targets).into_iter().next(),
        T_CommentStmt => {
            let target = targets.first().filter(|_| statement.comments_on_table());
            target.and_then(|target| target.name.clone())
        }
        T_IndexStmt => {
            let identity = made_index(statement, targets.first()?.relation)?;
            let object_type = b"index".to_vec();
            return Some(Object {
                object_type,
                identity,
            });
        }
        _ => None,
    };
    name.map(Object::table)
}

/// Both names of a role or a tablespace, as the output plugin reads them.
fn renamed(statement: &Statement) -> Option<Sql> {
    let (name, to) = statement.renamed_in_cluster()?;
    Some(format!("{} {}", percent_encode(&name), percent_encode(&to)).into_bytes())
}

/// A role that is a superuser must be one at restore too: it may be given what only those may own.
fn needed_role_command(role: &[u8]) -> &'static str {
    if is_superuser(role) {
        SUPERUSER
    } else {
        "CREATE ROLE"
    }
}

fn needs(statement: &Statement, way: Way, text: &StatementText, session: &Session) -> Vec<Need> {
    let with = |command, names: Vec<Sql>| names.into_iter().map(move |name| (command, name));
    match way {
        Way::Role => with("DROP ROLE", statement.dropped_roles()).collect(),
        Way::Tablespace => Vec::new(),
        _ => named_roles(statement)
            .into_iter()
            .map(|role| (needed_role_command(&role), role))
            .chain(with(
                "CREATE TABLESPACE",
                named_tablespaces(&text.text, &session.settings),
            ))
            .chain(with(FLAG, reasons_to_flag(statement, text)))
            .chain(with(REACH, reach(statement)))
            .collect(),
    }
}

fn reach(statement: &Statement) -> Vec<Sql> {
    let reach = Reach::of(statement).map(|reach| format!("{}: {reach}", statement.tag()));
    reach.into_iter().map(String::into_bytes).collect()
}

/// Why the text will not come to the same at restore, where nothing is done about it.
fn reasons_to_flag(statement: &Statement, text: &StatementText) -> Vec<Sql> {
    if !keeps_constants(statement, text) {
        return Vec::new();
    }
    let reason = format!(
        "{}: 'now' or a word like it became a constant, and becomes another one at restore",
        statement.tag()
    );
    if !travels_as_effects() {
        pgrx::warning!("pg_incrbackup: {reason}");
    }
    vec![reason.into_bytes()]
}

/// True where a word for the present time became a constant that no text behind the statement's own puts right.
pub fn keeps_constants(statement: &Statement, text: &StatementText) -> bool {
    use pgrx::pg_sys::NodeTag::*;
    matches!(
        statement.node_tag(),
        T_CreateDomainStmt
            | T_AlterDomainStmt
            | T_CreatePolicyStmt
            | T_AlterPolicyStmt
            | T_RuleStmt
            | T_CreateTrigStmt
            | T_IndexStmt
    ) && text.has_constant(&TIME_WORDS)
}

/// True when what the statement is to make is there: it does nothing (IF NOT EXISTS), or fails.
fn is_made_already(statement: &Statement) -> bool {
    created_relation(statement)
        .is_some_and(|(schema, name)| relation_named(&schema, &name).is_some())
}

fn moment(statement: &Statement, is_as_made: bool) -> Moment {
    if statement.commits_by_itself() {
        return Moment::AfterCommit;
    }
    let Some((schema, name)) = created_relation(statement) else {
        return Moment::Before;
    };
    if is_as_made {
        if statement.inherits() {
            pgrx::error!("the table is made LIKE a temporary table, and inherits from others");
        }
        return Moment::AsMade(schema, name);
    }
    if reads_temporary(statement) {
        Moment::IfPermanent(schema, name)
    } else {
        Moment::Before
    }
}

pub fn is_left_out(target: &Target) -> bool {
    matches!(
        target.place,
        Place::Temporary | Place::Ours | Place::Invalid
    )
}

/// CREATE TABLE AS becomes its columns; a materialized view its query as the server read it.
fn filled(statement: &Statement) -> Option<Sql> {
    let table = filled_table(statement).filter(|table| !table.is_temporary)?;
    Some(if table.view_query.is_some() {
        synthesize::create_materialized_view(&table)
    } else {
        synthesize::create_table(&table)
    })
}

/// The statement for the database that it is replayed in, whatever its name.
fn about_this_database(statement: &Statement, text: &StatementText) -> Sql {
    let around = text.around_database().filter(|(before, after)| {
        let name = database_name();
        let own = [&before[..], &quote::identifier(&name), after].concat();
        says_derived(statement, &own, &Derived::Database(&name))
    });
    match around {
        Some((before, after)) => synthesize::about_the_database(&before, &after),
        None => pgrx::error!("{} names a database in an unknown way", statement.tag()),
    }
}

fn cluster_mark(statement: &Statement, targets: &[Target]) -> Option<Sql> {
    let index = statement.clustered_index()?;
    let target = targets
        .first()
        .filter(|target| is_plain_table(target.relation))?;
    let table = target.name.as_ref()?;
    let index = quote::identifier(&index);
    Some([b"ALTER TABLE ", &table[..], b" CLUSTER ON ", &index[..]].concat())
}

/// The statement's own text, without what does not belong in the stream.
fn own_text(
    statement: &Statement,
    tag: &str,
    text: &StatementText,
    targets: &[Target],
) -> Option<Sql> {
    let extensions = statement.extensions();
    if extensions.iter().any(|name| name == b"pg_incrbackup") {
        return other_extensions(statement, &extensions);
    }
    if targets.iter().any(is_left_out) {
        return for_the_others(statement, tag, text, targets);
    }
    if !statement.commits_by_itself() {
        return Some(text.text.clone());
    }
    let plain = text.plain_form();
    if !says_derived(statement, &plain, &Derived::Plain) {
        pgrx::error!("{tag} has no plain form");
    }
    Some(plain)
}

fn other_extensions(statement: &Statement, extensions: &[Sql]) -> Option<Sql> {
    let (missing_ok, cascade) = statement.drop_options()?;
    let others = extensions.iter().filter(|name| *name != b"pg_incrbackup");
    let others: Vec<Sql> = others.map(|name| quote::identifier(name)).collect();
    (!others.is_empty())
        .then(|| synthesize::drop_relations("DROP EXTENSION", &others, missing_ok, cascade))
}

/// A statement about several objects, of which some are temporary or ours. `None` where the others
/// are not there (DROP … IF EXISTS).
fn for_the_others(
    statement: &Statement,
    tag: &str,
    text: &StatementText,
    targets: &[Target],
) -> Option<Sql> {
    let kept = |place: &usize| !is_left_out(&targets[*place]);
    let kept: Vec<usize> = (0..targets.len()).filter(kept).collect();
    if let Some((missing_ok, cascade)) = statement.drop_options() {
        let names: Vec<Sql> = kept
            .iter()
            .filter_map(|at| identity(statement, *at))
            .collect();
        return (!names.is_empty())
            .then(|| synthesize::drop_relations(tag, &names, missing_ok, cascade));
    }
    let left_out = targets.iter().filter(|target| is_left_out(target));
    let locations: Vec<i32> = left_out.map(|target| target.location).collect();
    let (others, derived) = if !locations.contains(&-1) {
        let others = text.without_items(&locations);
        (Some(others), Derived::Objects(&kept))
    } else {
        // Without its place in the text an item cannot be taken out.
        let names: Vec<Sql> = kept
            .iter()
            .filter_map(|at| identity(statement, *at))
            .collect();
        (text.with_objects(&names), Derived::Names(kept.len()))
    };
    let is_right = |others: &Sql| says_derived(statement, others, &derived);
    match others.filter(is_right) {
        Some(others) => Some(others),
        None => pgrx::error!("{tag} names temporary and permanent objects in one statement"),
    }
}

/// True for a database that has a slot of ours, although nobody can record its DDL.
pub fn is_captured_without_history() -> bool {
    capture::has_slot(server::my_database())
}

/// Names of the permanent relations among `targets`.
pub fn subjects(targets: &[Target]) -> Vec<Sql> {
    let kept = targets.iter().filter(|target| !is_left_out(target));
    kept.filter_map(|target| target.name.clone()).collect()
}

/// Where bounds that are to be written from the catalog stand in the text of the statement: the words
/// behind FOR VALUES.
pub fn computed_bound(subject: &Subject) -> Option<BoundText> {
    let bound = ddl_bound::computed_bound(subject.statement)?;
    let text = subject.text();
    let (before, after) = text.around_bound(bound.location)?;
    let table = created_relation(subject.statement).filter(|_| bound.partition.is_none());
    Some(BoundText {
        partition: bound.partition,
        table,
        whole: text.text.clone(),
        before,
        after,
    })
}

/// True where the text tells all that the statement does to its one table, so that nobody has to look
/// afterwards.
pub fn is_known(subject: &Subject) -> bool {
    let target = subject.targets.first();
    target.is_some_and(|target| is_table(target.relation)) && subject.statement.adds_plain_columns()
}

/// True for a definition whose text has a word that PostgreSQL reads as the present time.
pub fn fixes_time(subject: &Subject) -> bool {
    use pgrx::pg_sys::NodeTag::{
        T_AlterTableStmt, T_CreateForeignTableStmt, T_CreateSchemaStmt, T_CreateStmt, T_ViewStmt,
    };
    matches!(
        subject.statement.node_tag(),
        T_AlterTableStmt
            | T_CreateStmt
            | T_CreateForeignTableStmt
            | T_CreateSchemaStmt
            | T_ViewStmt
    ) && subject.text().has_constant(&TIME_WORDS)
}
