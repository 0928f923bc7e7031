//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::error::Outcome;

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  failed, or what was made is incomplete
  2  wrong use
  3  the requested moment is not in the archive
  4  the archive is damaged";

/// A PostgreSQL database from its archive of plain SQL: what is in it, whether it is sound, and the way back to any moment
#[derive(Debug, Parser)]
#[command(name = "pg_incrbackup", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Program {
    /// Answers, progress and errors as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,

    /// No progress
    #[arg(long, short, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the archive holds: databases, chains, bases, and the stretches in which every moment can be restored
    ///
    /// It is read from the files alone; the server that wrote them may be gone.
    #[command(after_help = AFTER_HELP)]
    Info(Archive),

    /// Whether every file is as it was written; where not, which moments that costs
    ///
    /// Reads every byte: checksums, order, continuity, and that the files agree with each other. Changes nothing. The exit
    /// status is 4 if anything is wrong.
    #[command(after_help = AFTER_HELP)]
    Verify(Archive),

    /// Whether a database of a running server can be backed up, and what to do where not
    ///
    /// Asks by queries, as a superuser or as a member of pg_monitor, with or without the extension. The exit status is 1 if
    /// something is missing.
    #[command(after_help = AFTER_HELP)]
    Check {
        /// The database, as a libpq connection string or URI
        #[arg(long, value_name = "CONNINFO")]
        server: String,
    },

    /// Writes the man pages into a directory
    #[command(hide = true)]
    Man {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },

    /// Prints a shell's completions
    #[command(hide = true)]
    Completions { shell: Shell },
}

/// Where the archive is
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("where").required(true).args(["archive", "from"])))]
pub struct Archive {
    /// The directory of a database (it contains restore.sh), or of all databases of a server
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,

    /// A running server that reads its archive for us (incr_read), as a libpq connection string or URI
    #[arg(long, value_name = "CONNINFO")]
    pub from: Option<String>,

    /// The database, where DIR is the directory of several
    #[arg(long, value_name = "NAME", requires = "archive")]
    pub database: Option<String>,
}

/// What clap has to say: help and version are answers, all else is wrong use.
pub fn answer(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        Outcome::WrongUse.status()
    } else {
        Outcome::Done.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Program::command().debug_assert();
    }
}
