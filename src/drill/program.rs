//! Runs `pg_incrbackup restore`, and reads its answers: a line of JSON each, errors on stderr.

use std::ffi::OsString;
use std::path::Path;

use archive::drills;
use archive::{ChainDir, DatabaseDir};
use pgrx::prelude::*;
use serde::Deserialize;

use super::moment::Moment;
use super::{board, client};
use crate::backup::dump;
use crate::pg::failure::Failure;

/// One answer; the program has others, and more in each.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    plan: Option<Plan>,
    /// Roles (`r` and an OID) and tablespaces (`t`) that it has made so far.
    made: Option<Vec<String>>,
    done: bool,
    failed: Vec<Object>,
    unfilled: Vec<String>,
    not_permitted: Vec<String>,
    not_applied: Vec<String>,
    error: Option<String>,
    outcome: String,
    of_server: bool,
    progress: Option<Step>,
}

/// How far a step of the restore is.
#[derive(Debug, Deserialize)]
struct Step {
    phase: String,
    bytes: u64,
    total: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Plan {
    base: String,
    /// Changes up to the moment that the archive lacks.
    #[serde(default)]
    lost: Vec<String>,
}

/// Something that could not be made.
#[derive(Debug, Deserialize)]
struct Object {
    object: String,
    place: String,
    error: String,
}

/// What came of a restore.
#[derive(Debug, Default)]
pub struct Restored {
    /// The base's name.
    pub base: Option<String>,
    /// The database is there.
    pub is_done: bool,
    /// What is wrong with the archive.
    pub problems: Vec<String>,
    /// What the server did not let the role make, and why.
    pub left_out: Vec<String>,
    /// Materialized views without rows, and why: their query may need what only the source has, another server or the rights
    /// of a superuser, or fail at the source, too.
    pub unfilled: Vec<String>,
}

/// What is restored, and where to.
pub struct Wish<'a> {
    pub place: &'a DatabaseDir,
    pub chain: &'a ChainDir,
    pub moment: &'a Moment,
    /// Connection parameters of the database.
    pub target: String,
    /// What it makes on the server beside the database must be removed afterwards.
    pub notes_made: bool,
    /// Is told how far it is.
    pub database: pg_sys::Oid,
}

impl Wish<'_> {
    /// Restores. An error says nothing about the archive.
    pub fn restore(&self) -> Result<Restored, Failure> {
        let arguments: [OsString; 8] = [
            "--json".into(),
            "restore".into(),
            dump::option("--archive=", self.place.path()),
            dump::option("--target=", &self.target),
            format!("--until-lsn={}", self.moment.lsn).into(),
            format!("--chain={}", self.chain.number).into(),
            // The SQL of what is left out is of no use here.
            "--left-out=/dev/null".into(),
            // All rows are compared with the source's.
            "--no-count".into(),
        ];
        let environment = [
            ("PGAPPNAME", "pg_incrbackup drill".into()),
            ("PGCONNECT_TIMEOUT", "30".into()),
            // Its other settings are its own.
            ("PGOPTIONS", client::SILENT.into()),
        ];
        let program = dump::own_program();
        let mut line = Vec::new();
        let tell = |line: &[u8]| match answer(line).progress {
            Some(step) => {
                let total = step.total.unwrap_or(0);
                board::restoring(self.database, &step.phase, step.bytes, total);
                true
            }
            None => false,
        };
        let ran = client::run_telling(&program, &arguments, &environment, tell, |output| {
            for byte in output {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                if let Some(made) = answer(&line).made.filter(|_| self.notes_made) {
                    drills::note_made(self.place, &made)?;
                }
                line.clear();
            }
            Ok(())
        });
        let ran = ran.map_err(dump::with_place_of_own_program)?;
        outcome(&program, &ran)
    }
}

/// A line that is none has no answer.
fn answer(line: &[u8]) -> Answer {
    serde_json::from_slice(line).unwrap_or_default()
}

fn outcome(program: &Path, ran: &client::Ran) -> Result<Restored, Failure> {
    let mut restored = Restored::default();
    for line in ran.output.split(|byte| *byte == b'\n') {
        let said = answer(line);
        if let Some(plan) = said.plan {
            restored.base = Some(plan.base);
            let lost = plan.lost.iter();
            restored
                .problems
                .extend(lost.map(|lost| of_restore(&format!("lost {lost}"))));
        }
        if said.done {
            restored.is_done = true;
            let failed = said.failed.iter();
            let failed = failed.map(|it| format!("{} ({}): {}", it.object, it.place, it.error));
            let wrong = failed.chain(said.not_applied);
            restored
                .problems
                .extend(wrong.map(|text| of_restore(&text)));
            restored.left_out = said.not_permitted;
            let unfilled = said.unfilled.iter();
            restored.unfilled = unfilled
                .map(|why| on_one_line(&format!("no rows: {why}")))
                .collect();
        }
    }
    if restored.is_done {
        let lists = [&restored.problems, &restored.left_out, &restored.unfilled];
        if !ran.is_good && lists.iter().all(|list| list.is_empty()) {
            let what = format!("it is incomplete: {}", ran.tail(6));
            restored.problems.push(of_restore(&what));
        }
        return Ok(restored);
    }
    let mut errors = ran.messages.lines().map(|line| answer(line.as_bytes()));
    let error = errors.find(|said| said.error.is_some());
    let (Some(error), Some(_)) = (error, ran.code) else {
        // Killed, or it did not even begin to read the archive.
        let code = PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
        let message = format!("\"{}\" did not end as it should", program.display());
        return Err(Failure::new(code, message).detail(ran.tail(6)));
    };
    let message = error.error.unwrap_or_default();
    if error.of_server || error.outcome == "WrongUse" {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        return Err(Failure::new(code, "could not restore").detail(message));
    }
    restored.problems.push(of_restore(&message));
    Ok(restored)
}

fn of_restore(text: &str) -> String {
    on_one_line(&format!("restore: {text}"))
}

/// The record of a drill is read as a whole, and shown.
const LONGEST: usize = 4 * 1024;

fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut line = lines.join("; ");
    if line.len() > LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "pg_incrbackup";

    fn ran(code: Option<i32>, output: &str, messages: &str) -> client::Ran {
        client::Ran {
            is_good: code == Some(0),
            code,
            output: output.into(),
            messages: messages.into(),
        }
    }

    #[test]
    fn a_database_that_is_there_may_lack_something() {
        let output = "{\"plan\":{\"base\":\"0A-B\",\"segments\":3}}\n{\"made\":[\"r5\"]}\n\
            {\"done\":true,\"failed\":[{\"object\":\"INDEX i\",\"place\":\"dump.sql:7\",\"error\":\"odd\\n    CONTEXT\",\"sql\":\"\"}],\
             \"not_permitted\":[\"VIEW v: no\"],\"unfilled\":[\"REFRESH m: away\\n    X\"],\"compared\":{\"tables\":0}}\n";
        let restored = outcome(
            Path::new(NAME),
            &ran(Some(1), output, "{\"warning\":\"x\"}\n"),
        )
        .expect("it is");
        assert!(restored.is_done);
        assert_eq!(restored.base.as_deref(), Some("0A-B"));
        assert_eq!(
            restored.problems,
            ["restore: INDEX i (dump.sql:7): odd; CONTEXT"]
        );
        assert_eq!(restored.left_out, ["VIEW v: no"]);
        assert_eq!(restored.unfilled, ["no rows: REFRESH m: away; X"]);
    }

    #[test]
    fn what_is_lost_and_an_exit_status_without_a_reason_are_problems() {
        let output = "{\"plan\":{\"base\":\"0A-B\",\"lost\":[\"since then: rows of table t: x\"]}}\n{\"done\":true}\n";
        let restored = outcome(Path::new(NAME), &ran(Some(1), output, "")).expect("it is");
        assert_eq!(
            restored.problems,
            ["restore: lost since then: rows of table t: x"]
        );
        let restored = outcome(
            Path::new(NAME),
            &ran(Some(1), "{\"done\":true}\n", "{\"warning\":\"odd\"}\n"),
        );
        let problems = restored.expect("it is").problems;
        assert_eq!(
            problems,
            ["restore: it is incomplete: {\"warning\":\"odd\"}"]
        );
        let restored =
            outcome(Path::new(NAME), &ran(Some(0), "{\"done\":true}\n", "")).expect("it is");
        assert!(restored.problems.is_empty());
    }

    #[test]
    fn what_the_server_could_not_do_is_not_the_archives_fault() {
        let line = |outcome: &str, of_server: bool| {
            format!("{{\"error\":\"closed\",\"hint\":\"\",\"outcome\":\"{outcome}\",\"of_server\":{of_server}}}\n")
        };
        assert!(outcome(Path::new(NAME), &ran(Some(1), "", &line("Failed", true))).is_err());
        assert!(outcome(Path::new(NAME), &ran(Some(2), "", &line("WrongUse", false))).is_err());
        assert!(outcome(Path::new(NAME), &ran(None, "", &line("Failed", false))).is_err());
        assert!(outcome(Path::new(NAME), &ran(Some(101), "", "thread panicked\n")).is_err());
        for name in ["Failed", "Damaged", "NoSuchMoment"] {
            let restored =
                outcome(Path::new(NAME), &ran(Some(1), "", &line(name, false))).expect("a finding");
            assert_eq!(restored.problems, ["restore: closed"], "{name}");
        }
    }
}
