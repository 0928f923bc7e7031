//! Settings that are one of a few words.

use pgrx::guc::PostgresGucEnum;

/// How a capture worker gets at the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum Reader {
    /// Decodes the WAL in the worker's own process.
    #[name = c"stream"]
    Stream,
    /// Calls `pg_logical_slot_peek_changes`, for any output plugin.
    #[name = c"poll"]
    Poll,
}

/// What becomes of UPDATE and DELETE on tables that have no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum KeylessTables {
    /// They get a fitting unique index, else REPLICA IDENTITY FULL.
    #[name = c"full"]
    Full,
    /// UPDATE and DELETE on them fail.
    #[name = c"error"]
    Error,
    /// They are reported by health; their changes cannot be captured.
    #[name = c"warn"]
    Warn,
}

/// What becomes of a user's statement whose DDL can't be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum OnLogError {
    /// The statement goes on, with a WARNING.
    #[name = c"warn"]
    Warn,
    /// The statement fails.
    #[name = c"error"]
    Error,
}

/// Selects what happens to a slot that endangers the server's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum LagAction {
    /// Nothing: health says so.
    #[name = c"none"]
    None,
    /// It is dropped, which ends the chain.
    #[name = c"drop_slot"]
    DropSlot,
}

/// What follows the end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum OnChainBreak {
    /// Capture stops until incr_setup(new_chain => true).
    #[name = c"stop"]
    Stop,
    /// A new chain with a new slot and base begins by itself.
    #[name = c"rebase"]
    Rebase,
}

/// The form of a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum BaseFormat {
    #[name = c"plain"]
    Plain,
    #[name = c"compressed"]
    Compressed,
    #[name = c"directory"]
    Directory,
}
