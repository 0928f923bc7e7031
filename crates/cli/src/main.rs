//! The program `pg_incrbackup`: what an archive holds, whether it is sound, and the way back.
//!
//! It needs the files of an archive, or a running server that reads them for it, and no library of PostgreSQL. What it
//! sends to a server is never parsed by anything but the server: a statement is one protocol message, an entry of a dump
//! is one too, and row changes of one shape are the arguments of one call.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`args`] | the command line |
//! | [`error`] | errors, and the exit status of each |
//! | [`connection`] | sessions on servers, with settings of their own |
//! | [`source`] | the archive: a directory, or a server |
//! | [`output`] | text for people, JSON for programs |
//! | [`quote`] | names and texts in SQL |
//! | [`progress`] | how far long work has come |
//! | [`shown`] | texts and figures as people read them |
//! | [`info`] | what an archive holds |
//! | [`restore`] | the way back: prepare, plan, execute |
//! | [`past`] | what commands without a server need: a plan, and the engine that knows rows |
//! | [`extract`] | the rows of a table as of a moment |
//! | [`verify`] | whether it is sound |
//! | [`stretch`] | what was committed between two moments |
//! | [`show`] | the same as SQL, for people and for programs |
//! | [`diff`] | what differs between two moments |
//! | [`undo`] | takes back what transactions have done to rows |
//! | [`check`] | what a database needs to be backed up |
//! | [`packaging`] | man pages and completions |

mod args;
mod check;
mod connection;
mod diff;
mod error;
mod extract;
mod info;
mod output;
mod packaging;
mod past;
mod progress;
mod quote;
mod restore;
mod show;
mod shown;
mod source;
mod stretch;
mod undo;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Command, Program};
use error::Outcome;

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => return args::answer(&error),
    };
    let output = output::Output::new(program.json, program.quiet);
    let outcome = match &program.command {
        Command::Info(archive) => info::run(archive, &output),
        Command::Restore(options) => restore::run(options, &output),
        Command::Diff(options) => diff::run(options, &output),
        Command::Undo(options) => undo::run(options, &output),
        Command::Show(options) => show::run(options, &output),
        Command::Follow(options) => restore::follow::run(options, &output),
        Command::Verify(archive) => verify::run(archive, &output),
        Command::Extract(options) => extract::run(options, &output),
        Command::Check { server } => check::run(server, &output),
        Command::Man { directory } => packaging::man_pages(directory),
        Command::Completions { shell } => packaging::completions(*shell),
    };
    match outcome {
        Ok(outcome) => outcome.status(),
        Err(error) => {
            if !matches!(error, error::Error::Closed) {
                output.error(&error);
            }
            Outcome::of(&error).status()
        }
    }
}
