//! Takes changes back in a database, in one transaction.
//!
//! Several statements are sent at once, behind a savepoint; if one of them fails, they are done again one by one, so that only
//! what a constraint refuses is left.

use archive_query::history::literal::name_of;
use futures_util::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::Client;

use super::collect::{Former, Undone};
use super::script::{not_taken_back, SETTINGS};
use crate::connection::{guarded, Session};
use crate::error::{Error, Result};
use crate::shown::line;

/// Statements that are sent at once.
const AT_ONCE: usize = 100;

/// What became of it.
#[derive(Debug, Default)]
pub struct Done {
    /// For each table, by its place: rows that were deleted again, changed back, inserted again.
    pub counts: Vec<[u64; 3]>,
    /// What was left as it is, and why.
    pub conflicts: Vec<String>,
    pub warnings: Vec<String>,
    /// Whether it was kept, not rolled back.
    pub is_kept: bool,
}

/// How it is done.
pub struct How<'a> {
    pub encoding: &'a str,
    pub is_applied: bool,
    pub is_strict: bool,
    pub has_triggers: bool,
}

/// Takes the changes back, the last one first.
pub async fn run(
    conninfo: &str,
    undone: &[Undone],
    tables: &[Former],
    how: &How<'_>,
) -> Result<Done> {
    let mut session = Session::open(conninfo, None).await?;
    session.set_encoding(how.encoding).await?;
    let mut warnings = Vec::new();
    for former in tables {
        ensure_same(&session, former).await?;
        if how.has_triggers && has_triggers(&session, former).await? {
            warnings.push(format!(
                "{} has triggers, which fire; what they wrote when the changes were made is taken back by itself: \
                 --no-triggers does without them",
                former.shown()
            ));
        }
    }
    session.client.batch_execute("BEGIN").await?;
    prepare(&session, how).await?;
    let mut done = Done {
        counts: vec![[0; 3]; tables.len()],
        warnings,
        ..Done::default()
    };
    let steps: Vec<&Undone> = undone.iter().rev().collect();
    for steps in steps.chunks(AT_ONCE) {
        several(&session, steps, tables, &mut done).await?;
    }
    // What is deferred is checked before it counts.
    session
        .client
        .batch_execute("SET CONSTRAINTS ALL IMMEDIATE")
        .await?;
    let is_complete = done.conflicts.is_empty();
    done.is_kept = how.is_applied && (is_complete || !how.is_strict);
    let end = if done.is_kept { "COMMIT" } else { "ROLLBACK" };
    session.client.batch_execute(end).await?;
    Ok(done)
}

/// Settings as a client of this role has them, but for those on which the meaning of values depends.
async fn prepare(session: &Session, how: &How<'_>) -> Result<()> {
    // Functions of triggers rely on it; statements of ours do not.
    const USUAL_PATH: &str = "SELECT pg_catalog.set_config('search_path', coalesce( \
        (SELECT pg_catalog.substr(setting, 13) FROM pg_catalog.pg_db_role_setting AS s, \
           pg_catalog.unnest(s.setconfig) AS setting \
         WHERE setting OPERATOR(pg_catalog.~) '^search_path=' \
           AND s.setrole OPERATOR(pg_catalog.=) ANY (ARRAY[0, (SELECT oid FROM pg_catalog.pg_roles \
             WHERE rolname OPERATOR(pg_catalog.=) CURRENT_USER)]::pg_catalog.oid[]) \
           AND s.setdatabase OPERATOR(pg_catalog.=) ANY (ARRAY[0, (SELECT oid FROM pg_catalog.pg_database \
             WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())]::pg_catalog.oid[]) \
         ORDER BY s.setrole OPERATOR(pg_catalog.<>) 0 DESC, s.setdatabase OPERATOR(pg_catalog.<>) 0 DESC LIMIT 1), \
        (SELECT boot_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path')), true)";
    session.client.batch_execute(SETTINGS).await?;
    session
        .client
        .batch_execute("SET CONSTRAINTS ALL DEFERRED")
        .await?;
    if !how.has_triggers {
        let set = "SET LOCAL session_replication_role = replica";
        session.client.batch_execute(set).await?;
    }
    session.client.execute_typed(USUAL_PATH, &[]).await?;
    Ok(())
}

/// The target has the table, with the same columns.
async fn ensure_same(session: &Session, former: &Former) -> Result<()> {
    const COLUMNS: &str = "SELECT pg_catalog.textsend(a.attname::pg_catalog.text), \
            pg_catalog.textsend(pg_catalog.format_type(a.atttypid, a.atttypmod)), \
            a.attgenerated OPERATOR(pg_catalog.<>) '' \
        FROM pg_catalog.pg_attribute AS a \
        WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped";
    let shown = former.shown();
    let hint =
        "The changes are taken back in the database that they were made in, or in a copy of it.";
    let client: &Client = &session.client;
    let Some(oid) = session.oid_of_relation(&former.table.name).await? else {
        return Err(Error::failed(
            format!("the target has no table {shown}"),
            hint,
        ));
    };
    let rows = client.query_typed(COLUMNS, &[(&oid, Type::OID)]).await?;
    for column in &former.table.columns {
        let name = name_of(&column.name);
        let there = rows.iter().find(|row| row.get::<_, &[u8]>(0) == &*name);
        let name = line(&archive_query::report::text::readable(&column.name));
        let why = match there {
            None => "does not exist",
            Some(row) if row.get::<_, bool>(2) => "is generated",
            Some(row) if row.get::<_, &[u8]>(1) != column.type_ => "has another type",
            Some(_) => continue,
        };
        let message = format!("column {name} of {shown} {why} in the target");
        return Err(Error::failed(message, hint));
    }
    Ok(())
}

/// Whether triggers of users fire on the table.
async fn has_triggers(session: &Session, former: &Former) -> Result<bool> {
    const TRIGGERS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger \
        WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal AND tgenabled IN ('O', 'A'))";
    let Some(oid) = session.oid_of_relation(&former.table.name).await? else {
        return Ok(false);
    };
    let rows = session
        .client
        .query_typed(TRIGGERS, &[(&oid, Type::OID)])
        .await?;
    Ok(rows[0].get(0))
}

/// Several statements at once; one by one, if that fails.
async fn several(
    session: &Session,
    steps: &[&Undone],
    tables: &[Former],
    done: &mut Done,
) -> Result<()> {
    let statements = steps.iter().map(|step| step.statement(tables));
    let statements: Vec<(&&Undone, Vec<u8>)> = steps
        .iter()
        .zip(statements)
        .filter_map(|(step, statement)| Some((step, statement?)))
        .collect();
    let together = guarded(&session.client, async {
        let all = statements.iter().map(|(_, text)| session.statement(text));
        join_all(all)
            .await
            .into_iter()
            .collect::<Result<Vec<u64>>>()
    });
    match together.await {
        Ok(counts) => {
            for ((step, _), count) in statements.iter().zip(counts) {
                done.take(step, tables, count)?;
            }
            Ok(())
        }
        Err(error) if error.is_of_server() => Err(error),
        Err(_) => {
            for (step, text) in &statements {
                match session.attempt(text).await {
                    Ok(count) => done.take(step, tables, count)?,
                    Err(error) => done.refused(step, tables, error)?,
                }
            }
            Ok(())
        }
    }
}

impl Done {
    fn take(&mut self, step: &Undone, tables: &[Former], count: u64) -> Result<()> {
        match count {
            0 => self.conflicts.push(not_taken_back(step, tables)),
            1 => {
                let nth = match step.operation() {
                    "INSERT" => 0,
                    "UPDATE" => 1,
                    _ => 2,
                };
                self.counts[step.table][nth] += 1;
            }
            _ => {
                let message = format!("{} is {count} rows in the target", step.row(tables));
                let hint = "Its key is not unique there. Nothing was taken back.";
                return Err(Error::failed(message, hint));
            }
        }
        Ok(())
    }

    /// What a constraint refuses is a conflict; any other error ends it.
    fn refused(&mut self, step: &Undone, tables: &[Former], error: Error) -> Result<()> {
        let code = match &error {
            Error::Server(error) => error.code().map(|code| code.code().to_owned()),
            _ => None,
        };
        // Class 23, and generated_always: an identity column that only the server sets.
        let is_conflict = code.is_some_and(|code| code.starts_with("23") || code == "428C9");
        if !is_conflict {
            let message = format!("{}: {error}", step.row(tables));
            return Err(error.with_message(message));
        }
        // Without where in our statement it was.
        let error = error.to_string();
        let said: Vec<&str> = error.lines().take(2).map(str::trim).collect();
        let row = step.row(tables);
        self.conflicts.push(format!("{row}: {}", said.join(" ")));
        Ok(())
    }
}
