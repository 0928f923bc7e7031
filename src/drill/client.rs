//! Runs psql, pg_dump and `pg_incrbackup restore` until they exit, and keeps their output.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use archive::sqlstate;
use pgrx::prelude::*;

use crate::backup::dump;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::server::process::Program;

const POLL: Duration = Duration::from_millis(100);
/// How much of the end of a program's stderr is kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// When the drill of this process must have ended.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Limits the duration of the drill, from now on.
pub fn begin_time(timeout: Option<Duration>) {
    DEADLINE.set(timeout.map(|timeout| Instant::now() + timeout));
}

/// Whether the drill has exceeded its time limit.
pub fn is_overdue() -> bool {
    DEADLINE.get().is_some_and(|end| Instant::now() > end)
}

/// 57014 once it has.
pub fn ensure_in_time() -> Result<(), Failure> {
    if !is_overdue() {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_QUERY_CANCELED;
    Err(
        Failure::new(code, "terminating drill due to pg_incrbackup.drill_timeout")
            .hint("Increase pg_incrbackup.drill_timeout; 0 disables it."),
    )
}

/// A program that has exited.
pub struct Ran {
    pub is_good: bool,
    /// Its exit status; `None` if it was terminated by a signal.
    pub code: Option<i32>,
    pub output: Vec<u8>,
    /// The end of what it wrote to stderr.
    pub messages: String,
}

impl Ran {
    fn saying(self, messages: &[u8]) -> Ran {
        Ran {
            messages: String::from_utf8_lossy(messages).into_owned(),
            ..self
        }
    }

    /// The last lines that it wrote to stderr, on one line.
    pub fn tail(&self, lines: usize) -> String {
        let said: Vec<&str> = self
            .messages
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        said[said.len().saturating_sub(lines)..].join("; ")
    }
}

/// No statement is written to the server log, which would then contain rows; the server's messages are parsed, or recorded.
/// A throwaway server lets the restoring role set these.
pub const SILENT: &str = "-c lc_messages=C -c log_statement=none -c log_duration=off \
     -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 -c log_transaction_sample_rate=0 \
     -c log_min_error_statement=panic";

/// Settings of every session of a drill, whatever is set for the database or the role: names refer to
/// PostgreSQL's own objects, no statement is cancelled because of its duration or waits for a standby; and [`SILENT`].
pub fn session_options(version: u32) -> String {
    let newer = if version >= 170_000 {
        " -c transaction_timeout=0 -c event_triggers=off"
    } else {
        ""
    };
    format!(
        "-c search_path=pg_catalog,pg_temp -c role=none -c session_replication_role=origin -c row_security=off \
         -c standard_conforming_strings=on -c default_transaction_read_only=off \
         -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 \
         -c synchronous_commit=off {SILENT} -c client_connection_check_interval=2s{newer}"
    )
}

/// Runs a program. `on_output` gets each piece of its output, or, at its exit, nothing if there was none.
pub fn run(
    program: &Path,
    arguments: &[OsString],
    environment: &[(&str, OsString)],
    input: Option<&[u8]>,
    on_output: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Ran, Failure> {
    let mut messages = Vec::new();
    let on_message = |bytes: &[u8]| keep(&mut messages, bytes);
    let ran = run_until_exit(
        program,
        arguments,
        environment,
        input,
        on_message,
        on_output,
    )?;
    Ok(ran.saying(&messages))
}

/// The same, without input; a line on stderr of which `tells` says that it is no message is not kept.
pub fn run_telling(
    program: &Path,
    arguments: &[OsString],
    environment: &[(&str, OsString)],
    tells: impl Fn(&[u8]) -> bool,
    on_output: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Ran, Failure> {
    let (mut messages, mut line) = (Vec::new(), Vec::new());
    let on_message = |bytes: &[u8]| {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let whole = std::mem::take(&mut line);
                if !tells(whole.trim_ascii_end()) {
                    keep(&mut messages, &whole);
                }
            }
        }
    };
    let ran = run_until_exit(program, arguments, environment, None, on_message, on_output)?;
    keep(&mut messages, &line);
    Ok(ran.saying(&messages))
}

fn run_until_exit(
    program: &Path,
    arguments: &[OsString],
    environment: &[(&str, OsString)],
    input: Option<&[u8]>,
    mut on_message: impl FnMut(&[u8]),
    mut on_output: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Ran, Failure> {
    let cannot = |error| dump::cannot_run(program, error);
    let input = input.map(file_of).transpose().map_err(cannot)?;
    let mut running =
        Program::start_with(program, arguments, environment, input).map_err(cannot)?;
    let (mut output, mut told) = (Vec::new(), 0);
    loop {
        let take = |bytes: &[u8]| {
            output.extend_from_slice(bytes);
            Ok(())
        };
        let is_open = running.pump(POLL, take, &mut on_message).map_err(cannot)?;
        if output.len() > told {
            on_output(&output[told..])?;
            told = output.len();
        }
        if !is_open {
            break;
        }
        ensure_in_time()?;
    }
    let status = running.finish().map_err(cannot)?;
    if output.is_empty() {
        on_output(b"")?;
    }
    Ok(Ran {
        is_good: status.success(),
        code: status.code(),
        output,
        messages: String::new(),
    })
}

fn keep(messages: &mut Vec<u8>, bytes: &[u8]) {
    messages.extend_from_slice(bytes);
    let surplus = messages.len().saturating_sub(2 * KEPT);
    if surplus > 0 {
        messages.drain(..messages.len() - KEPT);
    }
}

/// A file without a name, which needs no removal.
fn file_of(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Runs a psql script that must succeed; returns its rows, unaligned, `|` between columns. 58000 if the server could not
/// do it, whatever the script says, as far as [`TELLS_CODES`] is at its beginning; 38000 otherwise.
pub fn sql(conninfo: impl AsRef<OsStr>, version: u32, script: &str) -> Result<Vec<u8>, Failure> {
    sql_by_line(conninfo, version, script, |_| {})
}

/// The same; `on_line` gets each row as soon as it is there.
pub fn sql_by_line(
    conninfo: impl AsRef<OsStr>,
    version: u32,
    script: &str,
    mut on_line: impl FnMut(&[u8]),
) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let ran = psql_telling(conninfo, version, script, true, |output| {
        for piece in output.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                on_line(&std::mem::take(&mut line));
            }
        }
    })?;
    if !ran.is_good {
        let code = if is_unavailable(&ran) {
            PgSqlErrorCode::ERRCODE_SYSTEM_ERROR
        } else {
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION
        };
        return Err(Failure::new(code, format!("psql failed: {}", ran.tail(4))));
    }
    Ok(ran.output)
}

/// Makes psql tell the SQLSTATE of an error.
pub const TELLS_CODES: &str = "\\set VERBOSITY verbose\n";

/// psql exits with 3 only after an error of the script; with 2 if the connection is gone.
fn is_unavailable(ran: &Ran) -> bool {
    ran.code != Some(3) || ran.messages.lines().any(tells_unavailable)
}

/// `ERROR:  53100: could not extend file ...`
fn tells_unavailable(line: &str) -> bool {
    let code = ["ERROR:  ", "FATAL:  ", "PANIC:  "]
        .iter()
        .find_map(|severity| line.split_once(severity))
        .and_then(|(_, said)| said.split_once(": "));
    code.is_some_and(|(code, _)| code.len() == 5 && sqlstate::is_unavailable(code))
}

/// The same; it may fail.
pub fn psql(
    conninfo: impl AsRef<OsStr>,
    version: u32,
    script: &str,
    stops_at_errors: bool,
) -> Result<Ran, Failure> {
    psql_telling(conninfo, version, script, stops_at_errors, |_| {})
}

fn psql_telling(
    conninfo: impl AsRef<OsStr>,
    version: u32,
    script: &str,
    stops_at_errors: bool,
    mut on_output: impl FnMut(&[u8]),
) -> Result<Ran, Failure> {
    let stop = format!("ON_ERROR_STOP={}", u8::from(stops_at_errors));
    let fixed = ["-X", "-q", "-A", "-t", "-w", "-f", "-", "-v", &stop, "-d"];
    let mut arguments = Vec::from(fixed.map(OsString::from));
    arguments.push(conninfo.as_ref().to_owned());
    let environment = environment(version);
    run(
        &dump::program("psql"),
        &arguments,
        &environment,
        Some(script.as_bytes()),
        |output| {
            on_output(output);
            Ok(())
        },
    )
}

/// The environment of psql and pg_dump.
pub fn environment(version: u32) -> Vec<(&'static str, OsString)> {
    vec![
        ("PGAPPNAME", "pg_incrbackup drill".into()),
        ("PGCONNECT_TIMEOUT", "30".into()),
        ("PGOPTIONS", session_options(version).into()),
    ]
}

/// Version of this server, all of whose settings are known.
pub fn own_version() -> u32 {
    server::VERSION_NUM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_lacks_is_told_from_what_the_rows_say() {
        let ran = |code, messages: &str| Ran {
            is_good: false,
            code,
            output: Vec::new(),
            messages: messages.into(),
        };
        let full = "psql:<stdin>:3: ERROR:  53100: could not write to file \"x\": No space left on device\nLOCATION:  y\n";
        assert!(is_unavailable(&ran(Some(3), full)));
        assert!(is_unavailable(&ran(Some(2), "")) && is_unavailable(&ran(None, "")));
        for said in [
            "psql:<stdin>:3: ERROR:  XX001: invalid page in block 5 of relation base/5/1\n",
            "psql:<stdin>:3: ERROR:  invalid page in block 5 of relation base/5/1\n",
            "psql:<stdin>:3: NOTICE:  53100: x\n",
        ] {
            assert!(!is_unavailable(&ran(Some(3), said)), "{said}");
        }
    }
}
