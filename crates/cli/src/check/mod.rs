//! `pg_incrbackup check --server CONNINFO`: what a database needs to be backed up.
//!
//! The rows are those of `incr_check()`, which also looks at the server's machine (pg_dump, the disk). Where the extension
//! is not in the database, or the role may not call it, the same list is made by queries alone, as a superuser or as a
//! member of pg_monitor.

mod by_queries;

use prerequisites::State;
use serde::Serialize;

use crate::connection::{block_on, Session};
use crate::error::{Outcome, Result};
use crate::output::Output;
use crate::shown::line;

/// SQLSTATE of a function whose extension is to be updated first (object_not_in_prerequisite_state).
const NOT_YET: &str = "55000";

/// One check.
#[derive(Debug, Serialize)]
struct Row {
    check: String,
    /// `ok`, `note`, `warning` (it works, but) or `missing` (it does not work without).
    level: String,
    /// What is there.
    found: String,
    /// What to do about it.
    todo: Option<String>,
    /// Whether that needs a restart of the server.
    needs_restart: bool,
}

impl From<prerequisites::Row> for Row {
    fn from(row: prerequisites::Row) -> Row {
        Row {
            check: row.name.to_owned(),
            level: row.state.name().to_owned(),
            todo: row.todo(),
            found: row.found,
            needs_restart: row.needs_restart,
        }
    }
}

impl Row {
    fn is_missing(&self) -> bool {
        self.level == State::Missing.name()
    }
}

/// All of a database.
#[derive(Debug, Serialize)]
struct Answer {
    server: String,
    database: String,
    is_ready: bool,
    checks: Vec<Row>,
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
    let who = by_queries::who(&session.client).await?;
    let database = who.database.clone();
    let checks = match by_function(&session).await? {
        Some(rows) => rows,
        None => {
            let rows = by_queries::rows(&session.client, who).await?;
            rows.into_iter().map(Row::from).collect()
        }
    };
    Ok(Answer {
        server: session.host.clone(),
        database,
        is_ready: !checks.iter().any(Row::is_missing),
        checks,
    })
}

/// The rows of incr_check(); `None` where it is not, or may not be called.
async fn by_function(session: &Session) -> Result<Option<Vec<Row>>> {
    const SCHEMA: &str = "SELECT quote_ident(n.nspname) FROM pg_extension AS e \
        JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid \
          AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' \
        JOIN pg_proc AS p ON p.oid = d.objid JOIN pg_namespace AS n ON n.oid = p.pronamespace \
        WHERE e.extname = 'pg_incrbackup' AND p.proname = 'incr_check' AND p.pronargs = 0 \
          AND has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE')";
    let found = session.client.query_typed(SCHEMA, &[]).await?;
    let Some(schema) = found.first().map(|row| row.get::<_, String>(0)) else {
        return Ok(None);
    };
    let query =
        format!("SELECT name, state, found, todo, needs_restart FROM {schema}.incr_check()");
    let rows = match session.client.query_typed(&query, &[]).await {
        Err(error) if error.code().is_some_and(|code| code.code() == NOT_YET) => return Ok(None),
        rows => rows?,
    };
    let rows = rows.iter().map(|row| Row {
        check: row.get(0),
        level: row.get(1),
        found: row.get(2),
        todo: row.get(3),
        needs_restart: row.get(4),
    });
    Ok(Some(rows.collect()))
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
        let level = if row.is_missing() {
            "MISSING"
        } else {
            &row.level
        };
        text.push_str(&format!(
            "  {:<8} {:<width$}  {}\n",
            line(level),
            line(&row.check),
            line(&row.found)
        ));
        if let Some(todo) = &row.todo {
            let is_all = todo == "Restart the server.";
            let restart = if row.needs_restart && !is_all {
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
    let missing = answer.checks.iter().filter(|row| row.is_missing()).count();
    text.push_str(&match missing {
        0 => "ready: CREATE EXTENSION pg_incrbackup (if it is not there), then SELECT * FROM incr_setup()\n".to_owned(),
        1 => "not ready: 1 prerequisite is missing\n".to_owned(),
        many => format!("not ready: {many} prerequisites are missing\n"),
    });
    text
}
