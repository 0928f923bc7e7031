//! A throwaway PostgreSQL cluster, shared by the tests of one run and gone with the last of them.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// A running cluster: unix socket only, trust, superuser `postgres`.
pub struct Cluster {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Cluster {
    /// The cluster of this test run.
    pub fn shared() -> Arc<Cluster> {
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Cluster::start());
        *shared = Arc::downgrade(&started);
        started
    }

    fn start() -> Cluster {
        let bin = std::env::var_os("PG_BIN").map_or_else(
            || PathBuf::from("/usr/lib/postgresql/15/bin"),
            PathBuf::from,
        );
        assert!(
            bin.join("initdb").exists(),
            "no PostgreSQL in {}: set PG_BIN to the directory of initdb",
            bin.display()
        );
        let dir = crate::support::temporary();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        let cluster = Cluster { dir, bin };
        let data = cluster.data();
        run(cluster
            .server_program("initdb")
            .args([
                "--no-sync",
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data));
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off \
             -c max_connections=50",
            cluster.socket()
        );
        run(cluster
            .server_program("pg_ctl")
            .args(["start", "-w", "-s", "-o", &options, "-l"])
            .arg(cluster.dir.path().join("log"))
            .arg("-D")
            .arg(data));
        cluster
    }

    /// The directory of the unix socket.
    pub fn socket(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// The directory of client programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// A connection string; the name is quoted as libpq wants it.
    pub fn conninfo(&self, database: &str) -> String {
        let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
        format!("host={} user=postgres dbname='{quoted}'", self.socket())
    }

    /// Makes an empty database.
    pub fn create(&self, database: &str, options: &str) {
        let name = database.replace('"', "\"\"");
        self.psql(
            "postgres",
            format!("CREATE DATABASE \"{name}\" TEMPLATE template0 {options}"),
        );
    }

    /// Runs SQL; fails the test where it fails. Returns unaligned rows.
    pub fn psql(&self, database: &str, sql: impl AsRef<[u8]>) -> String {
        let output = self.try_psql(database, sql);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Runs SQL from standard input.
    pub fn try_psql(&self, database: &str, sql: impl AsRef<[u8]>) -> Output {
        let mut child = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.conninfo(database))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(sql.as_ref()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// A plain dump, its lines sorted, without what differs from run to run.
    pub fn dump(&self, database: &str) -> Vec<Vec<u8>> {
        let output = Command::new(self.bin.join("pg_dump"))
            .arg("-d")
            .arg(self.conninfo(database))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut lines: Vec<Vec<u8>> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.retain(|line| {
            !line.starts_with(b"\\restrict ") && !line.starts_with(b"\\unrestrict ")
        });
        lines.sort();
        lines
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// PostgreSQL's server refuses to run as root.
    fn server_program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command
            .args(["-u", "postgres", "--"])
            .arg(program)
            .current_dir(self.dir.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self
            .server_program("pg_ctl")
            .args(["stop", "-s", "-m", "immediate", "-D"])
            .arg(self.data())
            .output();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
