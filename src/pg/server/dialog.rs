//! A program that stays open beside those that are executed: it gets lines, and answers each with one.
//!
//! It ends with its input, which is closed when this process exits, however that happens.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use super::process::{descriptor, on_its_own, poll, prepare_child, read_some};
use crate::pg::failure::Failure;

/// How long is waited for an answer before the caller is asked whether to go on.
const LOOK: Duration = Duration::from_millis(100);
/// How long the program may take to exit after the end of its input.
const GRACE: Duration = Duration::from_secs(2);

/// A running program. Dropping this ends it.
pub struct Dialog {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    pending: Vec<u8>,
}

impl Dialog {
    /// Starts it, without the server's `PG…` environment variables, and with these.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[(&str, OsString)],
    ) -> io::Result<Dialog> {
        let mut command = on_its_own(program);
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        for (name, value) in environment {
            command.env(name, value);
        }
        // SAFETY: `prepare_child` only makes system calls that are safe between fork and exec.
        unsafe { command.pre_exec(prepare_child) };
        let mut child = command.spawn()?;
        Ok(Dialog {
            input: child.stdin.take(),
            output: child.stdout.take(),
            child,
            pending: Vec::new(),
        })
    }

    /// Sends a line and waits for the line that answers it; `None` if the program has ended. `between` is called while it
    /// does not answer.
    pub fn ask(
        &mut self,
        line: &str,
        mut between: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Option<String>, Failure> {
        let sent = self.input.as_mut().map(|input| {
            let sent = input.write_all(line.as_bytes());
            sent.and_then(|()| input.write_all(b"\n"))
        });
        // One that has ended takes no more.
        if !matches!(sent, Some(Ok(()))) {
            return Ok(None);
        }
        let mut buffer = [0; 1024];
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.pending) {
                let answer: Vec<u8> = self.pending.drain(..=end).collect();
                let answer = String::from_utf8_lossy(&answer[..end]).into_owned();
                return Ok(Some(answer));
            }
            if self.output.is_none() {
                return Ok(None);
            }
            let ready = poll([descriptor(&self.output), -1], LOOK);
            pgrx::check_for_interrupts!();
            if ready[0] {
                match read_some(&mut self.output, &mut buffer) {
                    Ok(read) => self.pending.extend(&buffer[..read]),
                    Err(_) => self.output = None,
                }
            }
            between()?;
        }
    }

    /// What it wrote to stderr; ends it.
    pub fn messages(&mut self) -> String {
        let mut bytes = Vec::new();
        self.end();
        if let Some(stderr) = self.child.stderr.as_mut() {
            // What cannot be read is not told.
            let _ = stderr.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Dialog {
    fn end(&mut self) {
        self.input = None;
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // It may have ended by itself in the meantime.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
