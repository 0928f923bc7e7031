//! Executes archive_command for one file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use archive::archiving::{self, Item};
use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::process::Program;

const SHELL: &str = "/bin/sh";
/// Executes its first argument and exits with its status. If the archiver is killed, or exits immediately as
/// in an immediate shutdown, the kernel sends this shell SIGTERM, and it terminates all processes of the
/// command: otherwise they would write to the same place as its successor.
const KEEPER: &str = r#"trap 'trap "" TERM; kill 0; exit 143' TERM; /bin/sh -c "$1" & wait $!"#;
const POLL: Duration = Duration::from_millis(100);
/// Number of bytes at the end of the command's output that are kept for its error.
const KEPT: usize = 400;

/// Returns when the command has exited with status 0.
pub fn run(command: &[u8], item: &Item) -> Result<(), Failure> {
    let path = item.path.as_os_str().as_bytes();
    let expanded = archiving::expand(command, path, item.name.as_bytes());
    let arguments = ["-c", KEEPER, "archive_command"].map(OsStr::new);
    let arguments = [&arguments[..], &[OsStr::from_bytes(&expanded)]].concat();
    let mut program = Program::start(Path::new(SHELL), &arguments).map_err(cannot_run)?;
    let (mut said, mut answered) = (Vec::new(), Vec::new());
    loop {
        let is_open = program
            .pump(
                POLL,
                |bytes| {
                    keep(&mut answered, bytes);
                    Ok(())
                },
                |bytes| keep(&mut said, bytes),
            )
            .map_err(cannot_run)?;
        if !is_open {
            break;
        }
    }
    let status = program.finish().map_err(cannot_run)?;
    if status.success() {
        return Ok(());
    }
    said.extend(answered);
    let text = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
    let message = format!(
        "archive_command failed for \"{}\": {}",
        item.name,
        how(status)
    );
    let failure = Failure::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, message);
    Err(if text.is_empty() {
        failure
    } else {
        failure.detail(text)
    })
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        // The exit status with which a shell reports a signal.
        (Some(code @ 129..=159), _) => {
            format!(
                "it exited with status {code}, as if by signal {}",
                code - 128
            )
        }
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(signal)) => format!("it was terminated by signal {signal}"),
        (None, None) => "it failed".to_string(),
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    let surplus = kept.len().saturating_sub(KEPT);
    kept.drain(..surplus);
}

fn cannot_run(error: std::io::Error) -> Failure {
    let message = format!("archive_command could not be run: {error}");
    Failure::new(PgSqlErrorCode::ERRCODE_SYSTEM_ERROR, message)
}
