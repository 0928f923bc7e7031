//! The parts of a database's entry that other workers than capture write.

use super::{BasePhase, Text, LONGEST_PATH};

/// The part of an entry about what happens to closed files: compression and archive_command.
#[derive(Clone, Copy, Default)]
pub struct OffsiteStatus {
    /// Process id of the archiver; 0 when none runs.
    pub pid: i32,
    pub phase: OffsitePhase,
    /// Raised with every file that is closed.
    pub wanted: u64,
    pub done: u64,
    /// When it last looked for work; 0 before the first time since the server's start.
    pub looked_at: i64,
    /// What it found the settings to be, as a number.
    pub settings: u64,
    /// The archive's state ([`archive::archiving::state`]) at the last look that left nothing to do; 0: there is none.
    pub idle_state: u64,
    /// No archiver is started before.
    pub not_before: i64,
    /// Attempts in a row that failed; each makes the next wait longer.
    pub failures: u32,
    /// What waits for archive_command.
    pub files: u64,
    pub bytes: u64,
    pub oldest_at: i64,
    /// Files that archive_command has taken since the server's start, and the last of them.
    pub archived: u64,
    pub archived_at: i64,
    pub file: Text<400>,
    /// Why archive_command failed the last time; empty when it did not.
    pub error: Text<600>,
    pub error_at: i64,
    /// Why the last segment could not be compressed; empty when all could.
    pub compression_error: Text<400>,
}

/// What an archiver is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsitePhase {
    #[default]
    Idle,
    Compressing,
    Archiving,
}

/// What a drill worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrillPhase {
    #[default]
    Idle,
    Starting,
    /// Waits for the DDL fence, or for capture.
    Moment,
    ReadingSource,
    Restoring,
    Comparing,
    /// Reads every file of the archive.
    Verifying,
    /// Drops what it made.
    Dropping,
}

/// The drill part of an entry. What a drill found is in the archive.
#[derive(Clone, Copy, Default)]
pub struct DrillStatus {
    /// Process id of the drill worker; 0 when none runs. Claimed before it starts: never two at once.
    pub pid: i32,
    /// It has not started: `pid` is that of who starts it.
    pub is_claimed: bool,
    pub phase: DrillPhase,
    /// Raised with every drill begun, so that a caller knows its own.
    pub number: u64,
    pub started_at: i64,
    /// Number of the last drill that is over. Others may have begun since, to drop what it left behind.
    pub ended: u64,
    /// Which record is its, by its start (`time::calendar`); 0 where there is none.
    pub recorded: i64,
    /// The moment that is compared.
    pub lsn: u64,
    /// Where it restores to; empty: a throwaway server.
    pub conninfo: Text<600>,
    /// Why there is no record.
    pub error: Text<600>,
    /// No worker is started before to drop what a drill has left behind.
    pub not_before: i64,
    /// Why that could not be dropped; empty when it could.
    pub left_error: Text<400>,
}

/// What only a session in the database can see; the capture worker looks at it now and then.
#[derive(Clone, Copy, Default)]
pub struct LookStatus {
    /// When it last looked; 0 before the first time since the server's start.
    pub looked_at: i64,
    /// Tables whose UPDATE and DELETE are not captured.
    pub keyless_tables: u32,
    /// The extension and its event triggers are there and enabled.
    pub is_ddl_logged: bool,
}

/// The part of an entry about the extension itself, which may go with its schema.
#[derive(Clone, Copy, Default)]
pub struct ExtensionStatus {
    /// Process id of the worker that makes it again; 0 when none runs.
    pub pid: i32,
    /// The database is backed up and does not have it.
    pub is_lost: bool,
    /// Something has happened that a worker is to look at.
    pub is_due: bool,
    /// It is back, and a base is to follow.
    pub wants_base: bool,
    /// No worker is started before, unless one is due.
    pub not_before: i64,
    /// Schema that it is in, or was, percent-encoded; empty while unknown.
    pub schema: Text<200>,
    /// Why it could not be made again; empty when it could, or its schema is not there.
    pub error: Text<400>,
}

/// The retention part of an entry.
#[derive(Clone, Copy, Default)]
pub struct ExpiryStatus {
    /// Process id of the worker that removes what has expired; 0 when none runs.
    pub pid: i32,
    /// When it was last done; 0 before the first time since the server's start.
    pub done_at: i64,
    /// The last time it could not be done.
    pub is_wanted: bool,
    /// No worker is started before.
    pub not_before: i64,
    /// Times in a row that it failed.
    pub failures: u32,
    /// Why it failed the last time; empty when it did not.
    pub error: Text<400>,
}

/// The globals part of an entry.
#[derive(Clone, Copy, Default)]
pub struct GlobalsStatus {
    /// Process id of the globals worker; 0 when none runs.
    pub pid: i32,
    /// Requests for a look whatever the count of changes says.
    pub wanted: u64,
    pub done: u64,
    /// Count of cluster changes up to which the newest set is true; 0 after a start of the server.
    pub changes_done: u64,
    /// No worker is started before.
    pub not_before: i64,
    pub failures: u32,
    /// Why the last look failed; empty when it did not.
    pub error: Text<400>,
}

/// The base backup part of an entry.
#[derive(Clone, Copy, Default)]
pub struct BaseStatus {
    /// Process id of the base worker; 0 when none runs. Claimed before it starts: never two at once.
    pub pid: i32,
    /// It has not started: `pid` is that of who starts it.
    pub is_claimed: bool,
    pub phase: BasePhase,
    /// Raised with every base begun, so that a caller knows its own.
    pub number: u64,
    pub started_at: i64,
    pub finished_at: i64,
    /// Bases in a row that failed; each makes the schedule wait longer.
    pub failures: u32,
    pub tables_done: u32,
    /// Tables whose rows are to be dumped.
    pub tables: u32,
    pub bytes: u64,
    /// Tables that were given a replica identity by the last setup.
    pub identities: u32,
    pub path: Text<LONGEST_PATH>,
    pub error: Text<600>,
    pub hint: Text<300>,
    /// SQLSTATE of `error`, packed as PostgreSQL packs it (MAKE_SQLSTATE).
    pub error_code: i32,
    pub waiting_for: Text<300>,
}

impl DrillStatus {
    /// Process id of the worker itself; 0 while none has started.
    pub fn worker(&self) -> i32 {
        if self.is_claimed {
            0
        } else {
            self.pid
        }
    }
}

impl BaseStatus {
    /// Process id of the worker itself; 0 while none has started.
    pub fn worker(&self) -> i32 {
        if self.is_claimed {
            0
        } else {
            self.pid
        }
    }
}
