//! A program that follows, as a test sees it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use harness::{program_command, wait_until, Cluster};
use serde_json::Value;

/// A program that follows.
pub struct Following {
    child: Child,
    /// All that it has said on standard output.
    said: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<String>>,
    /// Reads them to their end.
    complaining: Option<JoinHandle<()>>,
}

/// `follow`, with what it always needs here.
fn command(c: &Cluster, target: &Cluster, database: &str) -> std::process::Command {
    let mut command = program_command();
    command.args(["--json", "follow", "--archive"]);
    command.arg(c.database_directory());
    command.args(["--target", &target.conninfo(database)]);
    command.args(["--interval", "50ms"]);
    command
}

impl Following {
    pub fn start(c: &Cluster, target: &Cluster, database: &str, options: &[&str]) -> Following {
        let mut command = command(c, target, database);
        command.args(options);
        Following::of(command)
    }

    pub fn of(mut command: std::process::Command) -> Following {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be run");
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let complaints: Arc<Mutex<String>> = Arc::default();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (lines, errors) = (Arc::clone(&said), Arc::clone(&complaints));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout.expect("it is piped")).lines() {
                let line = line.expect("it is text");
                let value = serde_json::from_str(&line).expect("each line is an object of JSON");
                lines.lock().expect("nobody panics with it").push(value);
            }
        });
        let complaining = std::thread::spawn(move || {
            for line in BufReader::new(stderr.expect("it is piped")).lines() {
                let mut errors = errors.lock().expect("nobody panics with it");
                errors.push_str(&(line.expect("it is text") + "\n"));
            }
        });
        Following {
            child,
            said,
            complaints,
            complaining: Some(complaining),
        }
    }

    pub fn complaints(&self) -> String {
        self.complaints
            .lock()
            .expect("nobody panics with it")
            .clone()
    }

    /// How many lines it has said.
    pub fn told(&self) -> usize {
        self.said.lock().expect("nobody panics with it").len()
    }

    /// The last status.
    pub fn status(&self) -> Value {
        let said = self.said.lock().expect("nobody panics with it");
        let last = said.iter().rev().find_map(|line| line.get("follow"));
        last.cloned().unwrap_or(Value::Null)
    }

    /// Waits until it has all of the archive up to an LSN.
    pub fn wait_for(&mut self, lsn: &str) {
        let lsn: archive::Lsn = lsn.parse().expect("it is an LSN");
        let reached = |status: &Value| {
            let archive = status["archive_lsn"].as_str().unwrap_or_default();
            archive.parse::<archive::Lsn>().is_ok_and(|it| it >= lsn) && status["behind_bytes"] == 0
        };
        wait_until("the copy has all", || {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                panic!("it has ended with {status}: {}", self.complaints());
            }
            reached(&self.status())
        });
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &pid])
            .status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Its exit status, and what it has complained of.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it was started").code();
        let complaining = self.complaining.take();
        let read = complaining.is_none_or(|thread| thread.join().is_ok());
        assert!(read, "what it complains of is text");
        (status, self.complaints())
    }

    /// Ends it by SIGTERM; what it has complained of.
    pub fn stop(self) -> String {
        self.signal("-TERM");
        let (status, said) = self.end();
        assert_eq!(status, Some(0), "{said}");
        said
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end: exit status, and all that it says.
pub fn run(c: &Cluster, target: &Cluster, database: &str, options: &[&str]) -> (i32, String) {
    let mut command = command(c, target, database);
    let output = command
        .args(options)
        .output()
        .expect("the program can be run");
    let said = [output.stdout, output.stderr].concat();
    let status = output.status.code().expect("it ends by itself");
    (status, String::from_utf8_lossy(&said).into_owned())
}
