//! The command line of `undo`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Archive;
use crate::stretch::{Since, Upto};

/// What is to be taken back, and where
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["xid", "table"])))]
pub struct Undo {
    #[command(flatten, next_help_heading = "The archive")]
    pub archive: Archive,

    /// This transaction (64-bit, as in the segments and in show); may be given more than once
    ///
    /// Several are taken back together, the newest first.
    #[arg(long, help_heading = "What is taken back", value_name = "XID")]
    pub xid: Vec<u64>,

    /// Only changes of the tables that match; without --xid all of them in a stretch; may be given more than once
    ///
    /// A pattern as in psql: * and ? are wildcards, letters are folded to lower case outside of double quotes, and a dot
    /// divides schema and name.
    #[arg(long, help_heading = "What is taken back", value_name = "PATTERN")]
    pub table: Vec<String>,

    #[command(flatten, next_help_heading = "The stretch")]
    pub since: Since,

    #[command(flatten, next_help_heading = "The stretch")]
    pub until: Upto,

    /// Of this chain (default: the newest that has it)
    #[arg(long, help_heading = "The stretch", value_name = "N")]
    pub chain: Option<u32>,

    /// The database in which it is taken back, as a libpq connection string or URI
    ///
    /// Without --apply it is only tried: everything is done in one transaction, which is rolled back, and what could not be
    /// taken back is listed. The role needs INSERT, UPDATE, DELETE and SELECT on the tables, and TEMPORARY on the
    /// database.
    #[arg(long, help_heading = "The way back", value_name = "CONNINFO")]
    pub target: Option<String>,

    /// Do it, in one transaction
    ///
    /// What could not be taken back is left as it is and listed, and the exit status is 1.
    #[arg(long, help_heading = "The way back", requires = "target")]
    pub apply: bool,

    /// All or nothing: if anything could not be taken back, nothing is
    #[arg(long, help_heading = "The way back", requires = "target")]
    pub strict: bool,

    /// Without triggers and foreign keys (session_replication_role = replica; for a superuser)
    ///
    /// By default it is done as by any client: triggers fire, also those that keep a log, and foreign keys are checked.
    #[arg(long, help_heading = "The way back")]
    pub no_triggers: bool,

    /// Write the SQL to this file, which is new (default: to standard output, without --target)
    #[arg(long, help_heading = "The way back", value_name = "FILE")]
    pub output: Option<PathBuf>,
}
