//! One installed PostgreSQL: its programs, and running them as a user that PostgreSQL accepts (never root).

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The programs of one PostgreSQL version, with the extension installed.
#[derive(Clone, Debug)]
pub struct Installation {
    pub version: u32,
    bin: PathBuf,
}

impl Installation {
    /// The PostgreSQL under test: version `PGVER`, 15 by default.
    pub fn under_test() -> Self {
        let version = std::env::var("PGVER").unwrap_or_else(|_| "15".into());
        Self::of(version.parse().expect("PGVER is a major version number"))
    }

    /// This checkout's private copy of that version, built with the profile `PGPROFILE` (dev).
    pub fn of(version: u32) -> Self {
        Self::in_tree(version, &version.to_string())
    }

    /// The one in a tree with a name of tools/tree-bin.sh, which is asked once: every cluster wants to know.
    pub(crate) fn in_tree(version: u32, name: &str) -> Self {
        static KNOWN: Mutex<Option<HashMap<String, Installation>>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        let found = known.entry(name.to_string());
        found.or_insert_with(|| Self::find(version, name)).clone()
    }

    fn find(version: u32, name: &str) -> Self {
        let profile = std::env::var("PGPROFILE").unwrap_or_else(|_| "dev".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/tree-bin.sh");
        let output = Command::new("sh")
            .arg(script)
            .args([name, &profile])
            .output()
            .expect("sh can be run");
        let bin = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        assert!(
            bin.join("postgres").exists(),
            "there is no PostgreSQL {name} at {}: run make setup",
            bin.display()
        );
        Self { version, bin }
    }

    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The directory of the server's loadable modules.
    pub fn module_directory(&self) -> PathBuf {
        let output = run(self.command("pg_config").arg("--pkglibdir"));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    }

    /// Installs an extension that consists of one SQL script, version 1.0.
    pub fn install_extension(&self, name: &str, script: &str) {
        self.write_extension_file(&format!("{name}.control"), "default_version = '1.0'\n");
        self.write_extension_file(&format!("{name}--1.0.sql"), script);
    }

    /// Adds version 1.1 to an extension that was installed before.
    pub fn install_extension_update(&self, name: &str, script: &str) {
        self.write_extension_file(&format!("{name}--1.0--1.1.sql"), script);
    }

    /// Installs a control file or script of an extension atomically: another test may be reading it.
    pub fn write_extension_file(&self, file: &str, text: &str) {
        let output = run(self.command("pg_config").arg("--sharedir"));
        let share = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let path = share.join("extension").join(file);
        let own = beside(&path);
        std::fs::write(&own, text).expect("an extension can be installed");
        std::fs::rename(own, path).expect("an extension can be installed");
    }

    /// Builds a module from one C file of tests/plugins, and installs it, unless the installed one is newer
    /// than the file.
    pub fn install_module(&self, name: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/{name}.c"));
        let module = self.module_directory().join(format!("{name}.so"));
        let written = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
        let source_written = written(&source).expect("the module has a source");
        if written(&module).is_ok_and(|built| built > source_written) {
            return;
        }
        let headers = run(self.command("pg_config").arg("--includedir-server"));
        let headers = String::from_utf8_lossy(&headers.stdout).trim().to_owned();
        // Atomically: another test may be loading it.
        let own = beside(&module);
        run(Command::new("cc")
            .args(["-O1", "-fPIC", "-shared", "-I", &headers, "-o"])
            .args([&own, &source]));
        std::fs::rename(own, module).expect("a module can be installed");
    }

    /// One of PostgreSQL's programs, run as the server's user with these programs first in PATH.
    pub fn command(&self, program: &str) -> Command {
        let own = self.bin.join(program);
        let program = if own.exists() {
            own
        } else {
            PathBuf::from(program)
        };
        let mut command = Command::new(program);
        if let Some((user, group)) = server_user() {
            command.uid(user).gid(group).env("HOME", "/tmp");
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.bin.display()));
        for variable in [
            "PGHOST",
            "PGPORT",
            "PGUSER",
            "PGDATABASE",
            "PGOPTIONS",
            "PGSERVICE",
        ] {
            command.env_remove(variable);
        }
        command.current_dir("/");
        command
    }
}

/// Runs a command and returns its output; panics with the complete output if it failed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed, {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The path of a file before its rename: unique for each thread and test run.
fn beside(path: &Path) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    path.with_extension(format!("{}.{thread}", std::process::id()))
}

/// The numbers of the user and group that servers run as, where it is not the one that runs the tests, which is root
/// then.
pub(crate) fn server_user() -> Option<(u32, u32)> {
    static USER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        let number = |option| {
            let output = run(Command::new("id").args([option, "postgres"]));
            let number = String::from_utf8_lossy(&output.stdout).trim().parse();
            number.expect("id prints a number")
        };
        rustix::process::getuid()
            .is_root()
            .then(|| (number("-u"), number("-g")))
    });
    *USER
}

/// Makes the server's user the owner, so that it may write there; of everything in a directory, too.
pub fn give_to_server_user(path: &Path) {
    if let Some((user, group)) = server_user() {
        give_all(path, user, group)
            .unwrap_or_else(|e| panic!("{} cannot change its owner: {e}", path.display()));
    }
}

fn give_all(path: &Path, user: u32, group: u32) -> io::Result<()> {
    lchown(path, Some(user), Some(group))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in path.read_dir()? {
            give_all(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}
