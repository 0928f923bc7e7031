//! The command line of `show`.

use clap::{Args, ValueEnum};

use crate::args::Archive;
use crate::stretch::{Since, Upto};

/// What is to be shown, and how
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten, next_help_heading = "The archive")]
    pub archive: Archive,

    #[command(flatten, next_help_heading = "The stretch")]
    pub since: Since,

    #[command(flatten, next_help_heading = "The stretch")]
    pub until: Upto,

    /// Of this chain (default: the newest that had begun at the first moment)
    #[arg(long, help_heading = "The stretch", value_name = "N")]
    pub chain: Option<u32>,

    /// Only changes of the tables that match, and of their definitions; may be given more than once
    ///
    /// A pattern as in psql: * and ? are wildcards, letters are folded to lower case outside of double quotes, and a dot
    /// divides schema and name. It matches the names that tables had at that time. Segments without them are not read if
    /// their index shows it.
    #[arg(long, help_heading = "What is shown", value_name = "PATTERN")]
    pub table: Vec<String>,

    /// Only changes of rows with this value in this column, before or after: 'id=42'; may be given more than once
    ///
    /// Values are compared with the text in the segments. Several values of one column are alternatives; of several columns
    /// all must have their value. A DELETE, and what an UPDATE has replaced, often tell only the columns of the key.
    #[arg(long, help_heading = "What is shown", value_name = "COLUMN=VALUE")]
    pub key: Vec<String>,

    /// Only this transaction (64-bit, as in the segments); may be given more than once
    #[arg(long, help_heading = "What is shown", value_name = "XID")]
    pub xid: Vec<u64>,

    /// Only changes whose text, or whose statement as it was typed, contains this, letter by letter
    #[arg(long, help_heading = "What is shown", value_name = "TEXT")]
    pub grep: Option<String>,

    /// Only what this role did: statements that it ran, and, where the server recorded who (pg_incrbackup.record_who), all
    /// changes of its sessions
    #[arg(long, help_heading = "What is shown", value_name = "NAME")]
    pub role: Vec<String>,

    /// Only schema changes
    #[arg(long, help_heading = "What is shown", conflicts_with_all = ["rows_only", "key"])]
    pub ddl_only: bool,

    /// Only changes of rows
    #[arg(long, help_heading = "What is shown")]
    pub rows_only: bool,

    /// All changes of a transaction that has one which is wanted
    #[arg(long, help_heading = "What is shown")]
    pub whole: bool,

    /// At most so many transactions
    #[arg(long, help_heading = "What is shown", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// Long values and statements in full length
    #[arg(long, help_heading = "What is shown")]
    pub full: bool,

    /// Colours
    #[arg(long, help_heading = "What is shown", value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn is_on(self) -> bool {
        use std::io::IsTerminal;
        let is_refused = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && !is_refused(),
        }
    }
}
