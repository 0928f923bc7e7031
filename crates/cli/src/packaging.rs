//! What an installation needs beside the program: man pages and completions, both made out of the command line itself.

use std::path::Path;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::args::Program;
use crate::error::{Error, Outcome, Result};

/// Writes the man pages of the program and of each subcommand into a directory.
pub fn man_pages(directory: &Path) -> Result<Outcome> {
    let command = Program::command();
    clap_mangen::generate_to(command, directory).map_err(|error| {
        let message = format!("could not write to \"{}\": {error}", directory.display());
        Error::failed(message, "The directory must exist.")
    })?;
    Ok(Outcome::Done)
}

/// Prints what a shell needs to complete a command line.
pub fn completions(shell: Shell) -> Result<Outcome> {
    let mut command = Program::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let written = std::io::Write::write_all(&mut std::io::stdout(), &script);
    written.map_err(|error| {
        let shell = shell
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        Error::failed(
            format!("could not write the completions for {shell}: {error}"),
            "",
        )
    })?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let directory = tempfile::tempdir().expect("a directory");
        man_pages(directory.path()).expect("they can be written");
        let names = archive::durable::names_in(directory.path()).expect("it can be listed");
        for command in Program::command().get_subcommands() {
            let page = format!("pg_incrbackup-{}.1", command.get_name());
            assert_eq!(
                names.contains(&page),
                !command.is_hide_set(),
                "{page}: {names:?}"
            );
        }
        let page = std::fs::read_to_string(directory.path().join("pg_incrbackup-verify.1"));
        let page = page.expect("it is there");
        assert!(
            page.contains("Exit status") && page.contains("CONNINFO"),
            "{page}"
        );
        assert!(man_pages(Path::new("/nonexistent")).is_err());
    }
}
