//! `pg_incrbackup check --server CONNINFO`: what a database needs to be backed up.
//!
//! By queries alone, with or without the extension, as a superuser or as a member of pg_monitor. It says what
//! `incr_setup()` would say of the same server, but all of it at once. What only the server's machine shows (pg_dump, the
//! disk) stays with `incr_setup()`.

mod database;
mod server;
mod settings;

use serde::Serialize;

use crate::connection::{block_on, Session};
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::quote::identifier;
use crate::shown::line;
use settings::Settings;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but.
    Warning,
    /// It does not work without.
    Missing,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Row {
    pub check: &'static str,
    pub level: Level,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub todo: Option<String>,
    /// Whether that needs a restart of the server.
    pub needs_restart: bool,
}

/// All of a database.
#[derive(Debug, Serialize)]
struct Answer {
    server: String,
    database: String,
    is_ready: bool,
    checks: Vec<Row>,
}

impl Row {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Row {
        Row {
            check,
            level: Level::Ok,
            found: found.into(),
            todo: None,
            needs_restart: false,
        }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Row {
        Row {
            level: Level::Warning,
            todo: Some(todo.into()),
            ..Row::ok(check, found)
        }
    }

    pub fn missing(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Row {
        Row {
            level: Level::Missing,
            ..Row::warning(check, found, todo)
        }
    }

    /// What was written in `todo` takes effect with the server's next start.
    pub fn after_restart(self) -> Row {
        Row {
            needs_restart: true,
            ..self
        }
    }
}

/// Checks the database of a connection string; status 1 if something is missing.
pub fn run(conninfo: &str, output: &Output) -> Result<Outcome> {
    let answer = block_on(answer(conninfo))?;
    output.answer(&answer, text);
    let outcome = if answer.is_ready {
        Outcome::Done
    } else {
        Outcome::Failed
    };
    Ok(outcome)
}

async fn answer(conninfo: &str) -> Result<Answer> {
    let session = Session::open(conninfo, None).await?;
    let settings = Settings::read(&session.client).await?;
    let mut checks = vec![server::version(session.version)];
    checks.extend(server::of_settings(&settings));
    checks.extend(database::of_database(&session, &settings).await?);
    Ok(Answer {
        server: session.host.clone(),
        database: settings.database.clone(),
        is_ready: checks.iter().all(|row| row.level != Level::Missing),
        checks,
    })
}

/// A list of names in SQL.
fn names(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| identifier(name)).collect();
    quoted.join(", ")
}

fn text(answer: &Answer) -> String {
    let mut text = format!(
        "database {} of {}\n",
        line(&answer.database),
        line(&answer.server)
    );
    let width = answer
        .checks
        .iter()
        .map(|row| row.check.len())
        .max()
        .unwrap_or(0);
    for row in &answer.checks {
        let level = match row.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Missing => "MISSING",
        };
        text.push_str(&format!(
            "  {level:<8} {:<width$}  {}\n",
            row.check,
            line(&row.found)
        ));
        if let Some(todo) = &row.todo {
            let restart = if row.needs_restart {
                "  (then restart the server)"
            } else {
                ""
            };
            text.push_str(&format!(
                "  {:<8} {:<width$}  → {}{restart}\n",
                "",
                "",
                line(todo)
            ));
        }
    }
    let missing = answer
        .checks
        .iter()
        .filter(|row| row.level == Level::Missing)
        .count();
    text.push_str(&match missing {
        0 => "ready: CREATE EXTENSION pg_incrbackup (if it is not there), then SELECT * FROM incr_setup()\n".to_owned(),
        1 => "not ready: 1 prerequisite is missing\n".to_owned(),
        many => format!("not ready: {many} prerequisites are missing\n"),
    });
    text
}
