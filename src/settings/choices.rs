//! Enumerated settings.

use pgrx::guc::PostgresGucEnum;

/// How a capture worker reads changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum Reader {
    /// Decodes the WAL in the worker's own process.
    #[name = c"stream"]
    Stream,
    /// Calls `pg_logical_slot_peek_changes`, for any output plugin.
    #[name = c"poll"]
    Poll,
}

/// What has to have a transaction before the slot is confirmed up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum Confirm {
    /// The files, fsynced.
    #[name = c"fsync"]
    Fsync,
    /// The place to which archive_command copies them.
    #[name = c"archived"]
    Archived,
}

/// How UPDATE and DELETE on tables without a key are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum KeylessTables {
    /// They get a suitable unique index, or else REPLICA IDENTITY FULL.
    #[name = c"full"]
    Full,
    /// UPDATE and DELETE on them fail.
    #[name = c"error"]
    Error,
    /// Health reports them; their changes cannot be captured.
    #[name = c"warn"]
    Warn,
}

/// How a user's statement whose DDL cannot be recorded is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum OnLogError {
    /// The statement continues, with a WARNING.
    #[name = c"warn"]
    Warn,
    /// The statement fails.
    #[name = c"error"]
    Error,
}

/// Selects what happens to a slot that endangers the server's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum LagAction {
    /// Nothing: health reports it.
    #[name = c"none"]
    None,
    /// It is dropped, which ends the chain.
    #[name = c"drop_slot"]
    DropSlot,
}

/// What happens at the end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum OnChainBreak {
    /// Capture stops until incr_setup(new_chain => true).
    #[name = c"stop"]
    Stop,
    /// A new chain with a new slot and base is started automatically.
    #[name = c"rebase"]
    Rebase,
}

/// The format of a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum BaseFormat {
    #[name = c"plain"]
    Plain,
    #[name = c"compressed"]
    Compressed,
    #[name = c"directory"]
    Directory,
}

/// Whether a server takes the archive of its former primary over by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum TakeOver {
    /// Only by incr_setup(take_over => true).
    #[name = c"off"]
    Off,
    /// Once it was promoted, and the owner's lock has been free for a while.
    #[name = c"on_promotion"]
    OnPromotion,
}

/// What happens to a COMMIT that was to be durable within `synchronous_timeout`, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum OnTimeout {
    /// It returns, with a WARNING.
    #[name = c"warn"]
    Warn,
    /// It goes on waiting, after a WARNING.
    #[name = c"wait"]
    Wait,
}
