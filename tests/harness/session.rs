//! A client that stays connected: for open transactions, and for statements that wait.

use crate::Cluster;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Printed by psql when it has finished its input.
const DONE: &str = "-- session: done --";

/// One psql process, connected until it is dropped. Errors do not end it: they are part of the
/// output, as psql prints them.
pub struct Session {
    psql: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Cluster {
    /// A session in the test's database.
    pub fn session(&self) -> Session {
        self.session_in(self.database())
    }

    /// A session in another database.
    pub fn session_in(&self, database: &str) -> Session {
        let mut command = self.psql_command(database);
        let mut psql = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql can be run");
        let (sender, lines) = channel();
        let stdout = psql.stdout.take().expect("stdout is piped");
        let stderr = psql.stderr.take().expect("stderr is piped");
        let errors = sender.clone();
        std::thread::spawn(move || forward(stdout, &sender));
        std::thread::spawn(move || forward(stderr, &errors));
        let stdin = psql.stdin.take().expect("stdin is piped");
        let mut session = Session { psql, stdin, lines };
        session.run("SELECT 1");
        session
    }
}

fn forward(from: impl std::io::Read, to: &std::sync::mpsc::Sender<String>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if to.send(line).is_err() {
            return;
        }
    }
}

impl Session {
    /// Runs statements and returns psql's output; panics if one of them failed.
    pub fn run(&mut self, sql: &str) -> String {
        self.send(sql);
        let output = self.finish();
        assert!(!output.contains("ERROR:  "), "{output}\nin: {sql}");
        output
    }

    /// Sends statements without waiting for them; [`Session::finish`] waits.
    pub fn send(&mut self, sql: &str) {
        let sql = sql.trim_end().trim_end_matches(';');
        writeln!(self.stdin, "{sql};\n\\echo '{DONE}'\n\\warn '{DONE}'").expect("psql reads");
        self.stdin.flush().expect("psql reads");
    }

    /// Waits for the statements sent last, and returns psql's output, including errors.
    pub fn finish(&mut self) -> String {
        let output = self.output_within(PATIENCE);
        output.unwrap_or_else(|| panic!("a statement took longer than {PATIENCE:?}"))
    }

    /// Waits for a line that psql prints while the statements sent last still run, such as a notice.
    pub fn wait_for_line(&mut self, is_it: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("psql did not print the expected line"));
            assert!(
                line != DONE,
                "the statements ended without the expected line"
            );
            if is_it(&line) {
                return;
            }
        }
    }

    /// Whether the statements sent last finish within `patience`; their output if so. After `None` the
    /// session can only be dropped.
    pub fn output_within(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut output = String::new();
        // One mark from each of standard output and standard error.
        let mut marks = 0;
        while marks < 2 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == DONE => marks += 1,
                Ok(line) => {
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(output.trim_end().to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.psql.kill().ok();
        self.psql.wait().ok();
    }
}
