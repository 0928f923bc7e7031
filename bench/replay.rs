//! What one replay took, by the clock and in CPU time, on a target that everybody replays into.

use crate::{process, server};
use harness::{run, Cluster};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// One replay.
#[derive(Clone, Copy)]
pub struct Took {
    pub seconds: f64,
    /// CPU seconds of everybody who took part: programs and sessions.
    pub cpu: f64,
}

impl Took {
    pub fn without(self, other: Took) -> Self {
        Self {
            seconds: self.seconds - other.seconds,
            cpu: self.cpu - other.cpu,
        }
    }
}

/// A stock server. With synchronous_commit off, as the segments ask for it and as a subscription
/// has it: everybody replays by the same setting.
pub fn target() -> Cluster {
    let builder = server::builder().without("shared_preload_libraries");
    builder.setting("synchronous_commit", "off").start()
}

/// Runs `work`; its CPU time is that of our own children and of the sessions of these servers, all
/// of which have ended when it is over.
pub fn timed(servers: &[&Cluster], work: impl FnOnce(), end_sessions: impl FnOnce()) -> Took {
    servers
        .iter()
        .for_each(|c| server::wait_for_sessions_to_end(c));
    let mut processes: Vec<String> = servers.iter().map(|c| server::postmaster(c)).collect();
    processes.push(std::process::id().to_string());
    let cpu = || -> f64 {
        let of = |pid: &String| process::waited_for_cpu_seconds(pid);
        processes.iter().map(of).sum()
    };
    let before = cpu();
    let started = Instant::now();
    work();
    let seconds = started.elapsed().as_secs_f64();
    end_sessions();
    servers
        .iter()
        .for_each(|c| server::wait_for_sessions_to_end(c));
    Took {
        seconds,
        cpu: cpu() - before,
    }
}

/// restore.sh of this archive into a new database.
pub fn restore(archive: &Path, target: &Cluster, database: &str, options: &[&str]) -> Took {
    let mut command = target.installation().command("sh");
    command.arg(archive.join("restore.sh"));
    into(target, database, command, options)
}

/// The program, of this archive, into a new database.
pub fn restore_by_program(
    archive: &Path,
    target: &Cluster,
    database: &str,
    options: &[&str],
) -> Took {
    let mut command = target.installation().command("pg_incrbackup");
    command
        .args(["--quiet", "restore", "--archive"])
        .arg(archive);
    into(target, database, command, options)
}

fn into(target: &Cluster, database: &str, mut command: Command, options: &[&str]) -> Took {
    command
        .args(["--target", &target.conninfo(database)])
        .args(options);
    let work = || {
        run(&mut command);
    };
    timed(&[target], work, || ())
}

/// `psql -f` of a file, into a new database.
pub fn run_file(file: &Path, target: &Cluster, database: &str) -> Took {
    let mut psql = target.installation().command("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f"])
        .arg(file);
    psql.args(["-d", &target.conninfo(database)]);
    let work = || {
        target.sql(&format!("CREATE DATABASE {database} TEMPLATE template0"));
        run(&mut psql);
    };
    timed(&[target], work, || ())
}

/// `pg_restore` of a dump in directory format by so many jobs, into a new database, without the extension.
pub fn run_pg_restore(dump: &Path, jobs: &str, target: &Cluster, database: &str) -> Took {
    let installation = target.installation();
    let listed = run(installation.command("pg_restore").arg("-l").arg(dump));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let is_ours = |line: &&str| line.contains("EXTENSION") && line.contains("pg_incrbackup");
    let kept: Vec<&str> = listed.lines().filter(|line| !is_ours(line)).collect();
    let list = dump.with_extension("list");
    std::fs::write(&list, kept.join("\n") + "\n").expect("it can be written");
    let mut restore = installation.command("pg_restore");
    restore
        .args(["-j", jobs, "-L"])
        .arg(list)
        .args(["-d", &target.conninfo(database)])
        .arg(dump);
    let work = || {
        target.sql(&format!("CREATE DATABASE {database} TEMPLATE template0"));
        run(&mut restore);
    };
    timed(&[target], work, || ())
}

/// Makes room for the next turn, with nothing left to write from this one.
pub fn remove(target: &Cluster, database: &str) {
    target.sql(&format!("DROP DATABASE {database}"));
    target.sql("CHECKPOINT");
}
