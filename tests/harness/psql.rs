//! SQL as psql runs it: by a connection of the harness's own, or by psql, the client that restores use, where it
//! takes psql.

use crate::client::{self, Outcome};
use crate::installation::run;
use crate::Cluster;
use std::fmt;
use std::io::Write;
use std::process::{Output, Stdio};

/// An error that the server raised.
#[derive(Debug, Clone)]
pub struct SqlError {
    /// SQLSTATE, such as `42501`; empty where psql itself failed.
    pub sqlstate: String,
    /// The message alone.
    pub message: String,
    /// The hint, or an empty string.
    pub hint: String,
    /// Everything psql writes to standard error.
    pub text: String,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

impl SqlError {
    /// Parses psql's output with `VERBOSITY=verbose`: `ERROR:  42P01: relation … does not exist`.
    pub(crate) fn parse(text: &str) -> Self {
        let labelled = |label: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(label));
            lines
                .next()
                .map(|(_, rest)| rest.trim().to_string())
                .unwrap_or_default()
        };
        let mut errors = ["ERROR:  ", "FATAL:  "].into_iter().map(labelled);
        let error = errors.find(|found| !found.is_empty()).unwrap_or_default();
        let (sqlstate, message) = match error.split_once(": ") {
            Some((code, message)) if code.len() == 5 => (code.to_string(), message.to_string()),
            _ => (String::new(), error),
        };
        Self {
            sqlstate,
            message,
            hint: labelled("HINT:  "),
            text: text.to_string(),
        }
    }
}

impl Cluster {
    /// Runs pgbench on the test's database to its end.
    pub fn pgbench(&self, arguments: &[&str]) {
        let mut command = self.installation().command("pgbench");
        let conninfo = self.conninfo(self.database());
        run(command.args(arguments).arg(conninfo));
    }

    /// Runs statements, each in its own transaction as psql does, in the test's database; returns the rows,
    /// unaligned and without headers. Panics if one fails.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(self.database(), sql)
    }

    /// [`Cluster::sql`] in another database.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.try_sql_in(database, sql)
            .unwrap_or_else(|e| panic!("{e}\nin: {sql}"))
    }

    /// [`Cluster::sql`], which returns the first error instead of panicking.
    pub fn try_sql(&self, sql: &str) -> Result<String, SqlError> {
        self.try_sql_in(self.database(), sql)
    }

    /// The error that these statements must raise.
    pub fn sql_error(&self, sql: &str) -> SqlError {
        match self.try_sql(sql) {
            Ok(rows) => panic!("no error from: {sql}\nbut these rows: {rows}"),
            Err(error) => error,
        }
    }

    /// Whether a query returns exactly `t`; false also while the server is not available.
    pub fn is_true(&self, query: &str) -> bool {
        self.try_sql(query).is_ok_and(|rows| rows == "t")
    }

    /// [`Cluster::try_sql`] in another database.
    pub fn try_sql_in(&self, database: &str, sql: &str) -> Result<String, SqlError> {
        match client::run(&self.socket(), "postgres", database, sql) {
            Outcome::Rows(rows) => Ok(without_end(&rows)),
            Outcome::Failed(said) => Err(SqlError::parse(&said)),
            Outcome::LeftToPsql => self.try_psql_in(database, sql),
        }
    }

    /// [`Cluster::try_sql_in`] by psql in any case.
    pub fn try_psql_in(&self, database: &str, sql: &str) -> Result<String, SqlError> {
        let output = self.psql_bytes(database, sql.as_bytes());
        if output.status.success() {
            Ok(without_end(&output.stdout))
        } else {
            Err(SqlError::parse(&String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// The script is passed to psql's standard input unchanged, for encodings other than UTF-8.
    pub fn psql_bytes(&self, database: &str, script: &[u8]) -> Output {
        let mut command = self.psql_command(database);
        command.args(["-v", "ON_ERROR_STOP=1"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql can be run");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let script = script.to_vec();
        // A separate thread: psql may print more than a pipe holds before it has read everything.
        let writer = std::thread::spawn(move || stdin.write_all(&script).is_ok());
        let output = child.wait_with_output().expect("psql can be waited for");
        writer.join().expect("the writing thread does not panic");
        output
    }

    pub(crate) fn psql_command(&self, database: &str) -> std::process::Command {
        let mut command = self.installation().command("psql");
        command.args(["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose"]);
        command.args(["-d", &self.conninfo(database)]);
        command
    }
}

fn without_end(rows: &[u8]) -> String {
    let rows = String::from_utf8_lossy(rows);
    rows.strip_suffix('\n').unwrap_or(&rows).to_string()
}
