//! The server process of a cluster: started, and told to stop, as pg_ctl does it, but without another process, and
//! noticed within milliseconds (pg_ctl looks ten times a second).

use crate::installation::give_to_server_user;
use crate::Cluster;
use rustix::process::{kill_process, test_kill_process, Pid, Signal};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a server may take to start or to stop, as pg_ctl.
const PATIENCE: Duration = Duration::from_secs(60);

/// The interval at which postmaster.pid is read.
const INTERVAL: Duration = Duration::from_millis(5);

impl Cluster {
    /// Starts the server; returns the end of its log if it does not start.
    pub fn try_start(&self) -> Result<(), String> {
        let path = self.root().join("log");
        let mut log = fs::OpenOptions::new();
        let log = log.append(true).create(true).mode(0o600).open(&path);
        let log = log.expect("the log can be opened");
        give_to_server_user(&path);
        let errors = log.try_clone().expect("a file can be opened twice");
        let mut command = self.installation.command("postgres");
        let command = command
            .envs(self.environment.iter().cloned())
            .arg("-D")
            .arg(self.data_directory())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for the tests.
            .process_group(0);
        let mut server = command.spawn().expect("postgres can be run");
        let pid = server.id();
        let (sender, ended) = channel();
        // The next server takes one that nobody has waited for to be alive.
        std::thread::spawn(move || {
            server.wait().ok();
            sender.send(()).ok();
        });
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready(pid) {
            let has_ended = ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            if has_ended || Instant::now() > deadline {
                return Err(self.end_of_log(30));
            }
        }
        Ok(())
    }

    /// Whether that server takes connections: the eighth line of postmaster.pid says so.
    fn is_ready(&self, pid: u32) -> bool {
        let file = self.postmaster_file().unwrap_or_default();
        let lines: Vec<&str> = file.lines().collect();
        lines.first().is_some_and(|line| *line == pid.to_string())
            && matches!(
                lines.get(7).map(|line| line.trim()),
                Some("ready" | "standby")
            )
    }

    /// Asks the server to stop, and waits until it has. An error if it is not running.
    pub(crate) fn stop_by(&self, signal: Signal) -> Result<(), String> {
        let file = self.postmaster_file();
        let pid = file.as_deref().and_then(first_number);
        let pid = pid.and_then(Pid::from_raw).ok_or("it is not running")?;
        kill_process(pid, signal).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while self.postmaster_file().is_some() && test_kill_process(pid).is_ok() {
            if Instant::now() > deadline {
                return Err(format!("it has not stopped within {PATIENCE:?}"));
            }
            std::thread::sleep(INTERVAL);
        }
        // It removes the file as the last thing that it does.
        let file = self.postmaster_file();
        if file.as_deref().and_then(first_number) == Some(pid.as_raw_nonzero().get()) {
            return Err("it has ended without removing postmaster.pid".into());
        }
        Ok(())
    }

    fn postmaster_file(&self) -> Option<String> {
        fs::read_to_string(self.data_directory().join("postmaster.pid")).ok()
    }
}

fn first_number(file: &str) -> Option<i32> {
    // Negative in the file of a server without a postmaster.
    let number: i32 = file.lines().next()?.trim().parse().ok()?;
    (number > 0).then_some(number)
}
