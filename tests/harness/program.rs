//! The program `pg_incrbackup`, as this checkout builds it.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the program, without anything of the caller's environment that concerns connections.
pub fn program(arguments: &[&str]) -> Output {
    let mut command = program_command();
    let output = command.args(arguments).output();
    output.expect("the program can be run")
}

/// The same, not yet run.
pub fn program_command() -> Command {
    let mut command = Command::new(program_directory().join("pg_incrbackup"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command.env("HOME", "/nonexistent").current_dir("/");
    command
}

/// Where it is: beside the test, since both are built into the same directory.
pub fn program_directory() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let mut directory = test.parent().expect("it is in a directory").to_owned();
    if directory.ends_with("deps") {
        directory.pop();
    }
    assert!(
        directory.join("pg_incrbackup").exists(),
        "there is no pg_incrbackup in {}: run cargo build -p pg_incrbackup-cli",
        directory.display()
    );
    directory
}
