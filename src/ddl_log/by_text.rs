//! Statements whose effects are not completely visible in the catalogs of this database, whatever plugin
//! decodes: on roles and tablespaces, and those that run an extension's script. With decoder_raw also those
//! on the database itself.

use archive::escape::percent_encode;

use super::ddl_history::Record;
use super::plan::{Need, Plan};
use super::record_mode::RecordMode;
use super::secrets::public_text;
use super::session::{session, Session};
use super::statement_text::{text_of, StatementText};
use super::words::travels_as_effects;
use crate::output_plugin::ddl_history::SUPERUSER;
use crate::pg::ddl::database::databases;
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::proof::{says_derived, Derived};
use crate::pg::ddl::roles::{is_superuser, named_roles};
use crate::pg::ddl::statement::Statement;
use crate::pg::ddl::tablespaces::named_tablespaces;
use crate::pg::server;
use crate::pg::text::quote;

/// True for such a statement, and for one that is not recorded. (The tags COMMENT, GRANT and SECURITY LABEL
/// do not show it.)
pub fn is_by_text(statement: &Statement, mode: RecordMode) -> bool {
    let databases = databases(statement);
    if !databases.is_empty() {
        return !databases.contains(&own_name()) || !travels_as_effects();
    }
    matches!(
        mode,
        RecordMode::Role | RecordMode::Tablespace | RecordMode::Database | RecordMode::Extension
    ) || statement.is_written_without_text()
}

/// Name of the database that this session is in, which is there meanwhile.
fn own_name() -> Sql {
    server::database_name(server::my_database()).unwrap_or_default()
}

/// The plan for it; `None` if nothing of it belongs in the stream.
pub fn plan(statement: &Statement, tag: &'static str, mode: RecordMode) -> Option<Plan> {
    let is_about_this_database = databases(statement).contains(&own_name());
    let is_of_cluster = matches!(mode, RecordMode::Role | RecordMode::Tablespace);
    let names = statement.extensions();
    let is_about_us = names.iter().any(|name| name == b"pg_incrbackup");
    if is_about_us || !is_about_this_database && !is_of_cluster && mode != RecordMode::Extension {
        return None;
    }
    let text = text_of(statement);
    if !text.is_proven {
        pgrx::error!(
            "the recorded text of {tag} does not parse to the statement that was executed"
        );
    }
    let replay_text = match mode {
        _ if is_about_this_database => Some(about_this_database(statement, &text)),
        RecordMode::Role => statement.made_role().or_else(|| renamed(statement)),
        RecordMode::Tablespace => statement.made_tablespace().or_else(|| renamed(statement)),
        _ => Some(text.text.clone()),
    };
    let session = session(replay_text.as_ref().unwrap_or(&text.text));
    let needs = needs(statement, mode, &text, &session);
    Some(Plan {
        record: Record {
            command: tag,
            query: public_text(tag, &text),
            session,
            replay_text,
            is_decoded: false,
        },
        expected: None,
        commits_by_itself: false,
        needs,
    })
}

/// Both names of a renamed role or tablespace, in the output plugin's format.
fn renamed(statement: &Statement) -> Option<Sql> {
    let (name, to) = statement.renamed_in_cluster()?;
    Some(format!("{} {}", percent_encode(&name), percent_encode(&to)).into_bytes())
}

/// A superuser must also be one at restore: it may be given objects that only superusers may own.
fn needed_role_command(role: &[u8]) -> &'static str {
    if is_superuser(role) {
        SUPERUSER
    } else {
        "CREATE ROLE"
    }
}

/// The roles and tablespaces without which its text fails, and the roles that it drops.
pub fn needs(
    statement: &Statement,
    mode: RecordMode,
    text: &StatementText,
    session: &Session,
) -> Vec<Need> {
    let with = |command, names: Vec<Sql>| names.into_iter().map(move |name| (command, name));
    match mode {
        RecordMode::Role => with("DROP ROLE", statement.dropped_roles()).collect(),
        RecordMode::Tablespace => Vec::new(),
        _ => named_roles(statement)
            .into_iter()
            .map(|role| (needed_role_command(&role), role))
            .chain(with(
                "CREATE TABLESPACE",
                named_tablespaces(&text.text, &session.settings),
            ))
            .collect(),
    }
}

/// The statement for the database that it is replayed in, whatever its name.
fn about_this_database(statement: &Statement, text: &StatementText) -> Sql {
    let around = text.around_database().filter(|(before, after)| {
        let name = own_name();
        let own = [&before[..], &quote::identifier(&name), after].concat();
        says_derived(statement, &own, &Derived::Database(&name))
    });
    let Some((before, after)) = around else {
        pgrx::error!("could not find the database name in {}", statement.tag());
    };
    let doubled = |text: &[u8]| -> Sql {
        let percent = |byte: &u8| vec![*byte; if *byte == b'%' { 2 } else { 1 }];
        text.iter().flat_map(percent).collect()
    };
    let format = [&doubled(&before)[..], b"%I", &doubled(&after)].concat();
    let body = [
        b"BEGIN EXECUTE pg_catalog.format(",
        &quote::literal(&format)[..],
        b", pg_catalog.current_database()); END",
    ];
    [b"DO ", &quote::dollar_quoted(&body.concat())[..]].concat()
}
