//! Every statement of an archive that does not restore, not only the first.
//!
//! restore.sh stops where it should. So it is run with a `psql` in front of the real one that goes
//! on after an error: everything that restore.sh adds to the segments stays as it is.

use harness::{give_to_server_user, Cluster};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The psql that goes on: only where a script is run, because restore.sh also asks questions.
const TOLERANT_PSQL: &str = r#"#!/bin/sh
for argument; do
    [ "$argument" != -f ] ||
        exec "PSQL" "$@" -v ON_ERROR_STOP=0 -v ON_ERROR_ROLLBACK=on -v ECHO=errors
done
exec "PSQL" "$@"
"#;

/// One statement that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// File and line, of a segment or of the base's dump.
    pub place: String,
    pub error: String,
    /// DETAIL, CONTEXT and other lines that belong to the error.
    pub details: String,
    pub statement: String,
}

/// What a tolerant restore met.
pub struct Survey {
    pub failures: Vec<Failure>,
    /// What restore.sh printed of its progress.
    pub said: String,
    /// What restore.sh said if it did not come to its end all the same.
    pub broken_off: Option<String>,
}

impl Survey {
    /// Restores the cluster's archive into a new database, whatever fails.
    pub fn of(cluster: &Cluster, database: &str) -> Self {
        let directory = cluster.root().join("tolerant");
        let bin = cluster.installation().bin();
        fs::create_dir_all(&directory).expect("a directory can be made beside the cluster");
        let script = TOLERANT_PSQL.replace("PSQL", &bin.join("psql").display().to_string());
        let psql = directory.join("psql");
        fs::write(&psql, script).expect("a program can be written beside the cluster");
        fs::set_permissions(&psql, fs::Permissions::from_mode(0o755)).expect("it can be made one");
        give_to_server_user(&directory);

        let mut command = cluster.restore_command(cluster, database);
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", directory.display(), bin.display());
        let output = command.env("PATH", path).output().expect("sh can be run");
        let errors = String::from_utf8_lossy(&output.stderr);
        Self {
            failures: failures(&errors),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            broken_off: (!output.status.success()).then(|| last_lines(&errors, 5)),
        }
    }

    /// The failures by error, in the order in which the errors were first met: causes come before
    /// their consequences.
    pub fn by_error(&self) -> Vec<(&str, Vec<&Failure>)> {
        let mut groups: Vec<(&str, Vec<&Failure>)> = Vec::new();
        for failure in &self.failures {
            match groups.iter_mut().find(|(error, _)| *error == failure.error) {
                Some((_, members)) => members.push(failure),
                None => groups.push((&failure.error, vec![failure])),
            }
        }
        groups
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Reads what psql says with ECHO=errors, places already translated by restore.sh:
/// `FILE:LINE: ERROR:  …`, lines that belong to it, `FILE:LINE: STATEMENT:  …` with its lines.
fn failures(said: &str) -> Vec<Failure> {
    let mut found: Vec<Failure> = Vec::new();
    let mut reading = Reading::Other;
    for line in said.lines() {
        match (located(line), &reading) {
            (Some((place, Message::Error(error))), _) => {
                found.push(Failure {
                    place: place.to_owned(),
                    error: error.to_owned(),
                    details: String::new(),
                    statement: String::new(),
                });
                reading = Reading::Details;
            }
            (Some((_, Message::Statement(text))), Reading::Details) => {
                append(&mut found, |failure| &mut failure.statement, text);
                reading = Reading::Statement;
            }
            (Some(_), _) => reading = Reading::Other,
            (None, Reading::Details) => append(&mut found, |failure| &mut failure.details, line),
            (None, Reading::Statement) => {
                append(&mut found, |failure| &mut failure.statement, line)
            }
            (None, Reading::Other) => {}
        }
    }
    found
}

enum Reading {
    Details,
    Statement,
    Other,
}

enum Message<'a> {
    Error(&'a str),
    Statement(&'a str),
    Other,
}

fn append(found: &mut [Failure], part: impl Fn(&mut Failure) -> &mut String, line: &str) {
    if let Some(last) = found.last_mut() {
        let text = part(last);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

/// Splits a line that begins with a place, `psql:<stdin>:12: ` or `segment.sql:12: `.
fn located(line: &str) -> Option<(&str, Message<'_>)> {
    let (place, rest) = line.split_once(": ")?;
    let (file, number) = place.rsplit_once(':')?;
    if file.contains(' ') || number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let after = |label: &str| rest.strip_prefix(label).map(str::trim_start);
    let errors = ["ERROR:", "FATAL:", "PANIC:", "error:"];
    let message = if let Some(error) = errors.into_iter().find_map(after) {
        Message::Error(error)
    } else if let Some(text) = after("STATEMENT:") {
        Message::Statement(text)
    } else {
        Message::Other
    };
    Some((place, message))
}

/// A text in one line of at most so many characters.
pub fn shortened(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::failures;

    #[test]
    fn an_error_is_read_with_its_details_and_its_statement() {
        let said = "00-1.sql:12: NOTICE:  nothing\n\
            00-1.sql:15: ERROR:  relation \"a\" does not exist\nLINE 1: SELECT\n        ^\n\
            00-1.sql:15: STATEMENT:  SELECT\n  FROM a;\n\
            00-1.sql:16: WARNING:  there is no transaction\n\
            00-1.sql:17: ERROR:  oh\n00-1.sql:17: STATEMENT:  X;\n";
        let found = failures(said);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].place, "00-1.sql:15");
        assert_eq!(found[0].error, "relation \"a\" does not exist");
        assert_eq!(found[0].details, "LINE 1: SELECT\n        ^");
        assert_eq!(found[0].statement, "SELECT\n  FROM a;");
        assert_eq!(found[1].statement, "X;");
    }
}
