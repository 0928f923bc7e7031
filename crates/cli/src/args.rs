//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use archive::layout::BaseName;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
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

    /// The database, or a part of it, as it was at a moment: in a new database, an empty one, or beside what is there
    ///
    /// It chooses a base and the segments after it, checks all of them, shows its plan, and only then makes anything. A
    /// database that it creates is called NAME.restoring until it is complete. A restore that was interrupted goes on when
    /// the same command is run again. Only a part (--table, --schema) goes into a database that has objects.
    #[command(after_help = AFTER_HELP)]
    Restore(Box<Restore>),

    /// What happened: transactions between two moments as SQL, by table, key, transaction, text
    ///
    /// In commit order, each with what was typed (of schema changes) and what came of it. Only the files are read, and
    /// nothing is changed. It is for reading: long values are shortened, control characters spelled out.
    #[command(after_help = AFTER_HELP)]
    Show(Box<crate::show::Show>),

    /// The rows of one table as they were at a moment, as CSV, SQL or COPY: from the files alone, without a server
    ///
    /// It reads the table's rows from a base and applies the changes in the segments to them, in memory and, beyond 64 MB, in
    /// a temporary file (TMPDIR). What only a server can compute is refused, with the place in the files.
    #[command(after_help = AFTER_HELP)]
    Extract(Box<crate::extract::Extract>),

    /// What differs between two moments: rows inserted, updated and deleted, table by table, and schema changes
    ///
    /// It compares states: a row that was changed and changed back is no difference. Only the files are read. The exit status
    /// is 0 whether anything differs or not.
    #[command(after_help = AFTER_HELP)]
    Diff(Box<crate::diff::Diff>),

    /// Takes back what transactions have done to rows: as SQL, or in a live database
    ///
    /// What rows were before is in the files. Each change is taken back only where its row is still as the change has left it;
    /// what is not is left alone and listed, and the exit status is 1. Without --target it prints SQL for psql; with --target
    /// it tries, and with --apply it does it.
    #[command(after_help = AFTER_HELP)]
    Undo(Box<crate::undo::Undo>),

    /// A warm copy: a database that follows the archive, at its end or a fixed delay behind it
    ///
    /// It loads a base, as restore does, and then applies every transaction in commit order, as it comes, until it is stopped
    /// (SIGINT, SIGTERM); the same command goes on where it was. The copy may be read meanwhile: at every moment it is a state
    /// that the source had. --promote ends it, and makes the copy a database of its own.
    #[command(after_help = AFTER_HELP)]
    Follow(Box<crate::restore::follow::Follow>),

    /// Whether a database of a running server can be backed up, and what to do where not
    ///
    /// As a superuser or as a member of pg_monitor. Where the extension is in the database it shows the rows of incr_check(),
    /// elsewhere it asks by queries: what was found, what to write, and whether that needs a restart. Warnings are risks. The
    /// exit status is 1 if something is missing.
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

/// What is to be made of it, and where
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten, next_help_heading = "The archive")]
    pub archive: Archive,

    #[command(flatten, next_help_heading = "The moment")]
    pub until: Until,

    /// The database to create, or an empty one (for a part, any one), as a libpq connection string or URI
    ///
    /// For example "host=/tmp dbname=shop_restored". Passwords come from PGPASSWORD or ~/.pgpass. A superuser restores everything; another
    /// role needs to own the database, and what it may not make is named before the first row and left out. (For a part it
    /// needs CREATE there, and CREATEDB or --scratch.)
    #[arg(
        long,
        help_heading = "The restore",
        value_name = "CONNINFO",
        required_unless_present = "dry_run"
    )]
    pub target: Option<String>,

    /// If the archive ends before the requested time or LSN, restore to its end instead of failing
    #[arg(long, help_heading = "The moment")]
    pub allow_earlier: bool,

    /// From this chain (default: the newest that holds the requested moment)
    #[arg(long, help_heading = "The moment", value_name = "N", value_parser = chain_number)]
    pub chain: Option<u32>,

    /// From this base (default: the newest that is not after the requested moment)
    ///
    /// A base whose segments retention has removed can only be restored by its name, and alone; one that the manifest
    /// does not list is taken only by its name.
    #[arg(long, help_heading = "The moment", value_name = "NAME", value_parser = base_name)]
    pub base: Option<BaseName>,

    /// Also make roles with passwords, memberships and settings, and tablespaces, each change at its place
    ///
    /// A role that is there before is left as it is.
    #[arg(long, help_heading = "The restore")]
    pub globals: bool,

    /// Load rows without the CHECK constraint of this name, of any table; may be given more than once
    ///
    /// At the end it is there again, and NOT VALID where rows contradict it.
    #[arg(long, help_heading = "The restore", value_name = "NAME")]
    pub skip_check: Vec<String>,

    #[command(flatten, next_help_heading = "Owners, and what is left out")]
    pub rights: crate::restore::rights::Options,

    /// What to do if an index, a constraint, extended statistics or a materialized view cannot be made
    ///
    /// With defer it is made at the end, when all else is there, and what fails then is listed with its error and its SQL;
    /// the exit status is 1. Anything else that fails stops the restore, which goes on when it is started again.
    #[arg(long, help_heading = "The restore", value_name = "WHAT", value_enum, default_value_t = OnError::Defer)]
    pub on_error: OnError,

    /// Restore by this many sessions at once
    ///
    /// Tables of the base, and then its indexes and constraints, are loaded and made at the same time, and changes of rows are
    /// divided by the keys of their tables. Schema changes, and what must stay in order, are applied when all that is before
    /// them is there. A role that is not a superuser restores by one session. With --squash the base alone is divided.
    #[arg(
        long,
        help_heading = "The restore",
        value_name = "N",
        default_value_t = 1,
        conflicts_with_all = ["table", "schema"],
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub jobs: u16,

    /// Compare with the source, which is running, by a checksum of each table
    ///
    /// Its tables are read first, under one snapshot; what that sees is restored, and compared at the end. Differences are
    /// listed, and the exit status is 1. The role needs to read all tables, and to execute incr_flush().
    #[arg(
        long,
        help_heading = "The restore",
        value_name = "CONNINFO",
        conflicts_with = "moment"
    )]
    pub compare: Option<String>,

    /// Do not count rows at the end
    ///
    /// By default the rows of every table are counted (one scan of each) and compared with what the files say; a
    /// difference is listed, and the exit status is 1.
    #[arg(long, help_heading = "The restore")]
    pub no_count: bool,

    /// Between two schema changes, apply only the net effect of the changes of each row
    ///
    /// Faster where the same rows were changed again and again: fifty updates of a row are one. The restored database is the same.
    /// Changes are collected in memory (256 MB at most) and applied as sets. Tables without a key are restored change by
    /// change, as without it. The role must be a superuser, or one that may set session_replication_role.
    #[arg(long, help_heading = "The restore")]
    pub squash: bool,

    /// Choose and check only, and show the plan; the target is not touched
    ///
    /// Of a part, with --target, the definitions are made in a scratch database on its server, which is dropped again, to list
    /// what comes along, what of the target is used, and what is left out or refused.
    #[arg(long, help_heading = "The restore")]
    pub dry_run: bool,

    #[command(flatten, next_help_heading = "A part")]
    pub part: crate::restore::part::Options,
}

/// What happens to an object on which no rows depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// The restore stops
    Stop,
    /// It is made at the end
    Defer,
}

/// The moment (default: the last one in the archive)
#[derive(Debug, Default, Args)]
#[group(id = "moment", multiple = false)]
pub struct Until {
    /// Up to the last transaction whose commit time is not after T
    ///
    /// Any timestamp that the target's server reads, UTC unless T names a zone; a time of day alone (the last one that
    /// has passed), '10 minutes ago', or @ and seconds since 1970.
    #[arg(long, value_name = "T")]
    pub until_time: Option<String>,

    /// Up to this commit LSN, inclusive
    #[arg(long, value_name = "LSN")]
    pub until_lsn: Option<String>,

    /// Up to and including this transaction (64-bit, as in the segments)
    #[arg(long, value_name = "XID")]
    pub until_xid: Option<u64>,

    /// Up to and including the newest transaction with a mark of this name
    ///
    /// SELECT incr_mark('before release 42') makes one.
    #[arg(long, value_name = "NAME")]
    pub until_mark: Option<String>,

    /// Up to the transaction that committed before this one
    #[arg(long, value_name = "XID")]
    pub before_xid: Option<u64>,

    /// Up to the transaction that committed before the newest one with this change
    ///
    /// 'DROP TABLE public.orders', for example: a verb (CREATE, ALTER, DROP, TRUNCATE), the kind of object, and its name,
    /// with or without its schema. It is found by its effect on the schema, whatever was typed.
    #[arg(long, value_name = "CHANGE")]
    pub before_ddl: Option<String>,
}

fn chain_number(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("chain-").unwrap_or(text);
    number.parse().map_err(|_| "a chain is a number".to_owned())
}

fn base_name(text: &str) -> Result<BaseName, String> {
    let name = text.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    BaseName::parse(name)
        .ok_or_else(|| "a base is named like 00000000015E0F88-20261120T020000Z".to_owned())
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
