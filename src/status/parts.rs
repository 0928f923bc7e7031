//! The parts of a database's entry that are written by workers other than capture.

use std::time::Duration;

use super::{BasePhase, Text, LONGEST_PATH};
use crate::pg::server;

/// After so long, the wait for a standby is reported.
pub const LONG_STANDBY_WAIT: Duration = Duration::from_secs(10);

/// The part of an entry about a standby that capture waits for, because `synchronized_standby_slots` names its slot.
#[derive(Clone, Copy, Default)]
pub struct StandbyStatus {
    /// 0 if it waits for none.
    pub since: i64,
    /// The standby's slot, and what is wrong with it, for people.
    pub awaited: Text<160>,
}

/// The part of an entry about closed files: compression and archive_command.
#[derive(Clone, Copy, Default)]
pub struct OffsiteStatus {
    /// Process id of the archiver; 0 if none is running.
    pub pid: i32,
    pub phase: OffsitePhase,
    /// Incremented for every file that is closed.
    pub wanted: u64,
    pub done: u64,
    /// Time of its last pass; 0 before the first one since the server's start.
    pub looked_at: i64,
    /// The settings at that time, as a hash.
    pub settings: u64,
    /// The archive's state ([`archive::archiving::state`]) at the last pass that found nothing to do; 0:
    /// there is none.
    pub idle_state: u64,
    /// No archiver is started before this time.
    pub not_before: i64,
    /// Number of consecutive failures; each increases the next delay.
    pub failures: u32,
    /// Files waiting for archive_command.
    pub files: u64,
    pub bytes: u64,
    pub oldest_at: i64,
    /// The chain that is written, and up to where it is complete in the place of the copies; 0: not known yet.
    pub reach_chain: u32,
    pub reach: u64,
    /// Incremented when capture has cut off what is behind a switch of the timeline: what was found out about the copies before
    /// is not true of the chain any more.
    pub cuts: u32,
    /// Number of files archived by archive_command since the server's start, and the last of them.
    pub archived: u64,
    pub archived_at: i64,
    pub file: Text<400>,
    /// The last error of archive_command; empty if it succeeded.
    pub error: Text<600>,
    pub error_at: i64,
    /// Why the last segment could not be compressed; empty if all could.
    pub compression_error: Text<400>,
}

impl OffsiteStatus {
    /// Whether archive_command fails, or has not taken a file for so long.
    pub fn is_behind(&self, delay: Duration) -> bool {
        let waits = archive::time::now().timestamp_micros() - self.oldest_at;
        self.failures > 0 || self.oldest_at != 0 && waits >= delay.as_micros() as i64
    }
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
    /// Waiting for other drills to the same server.
    WaitingForOthers,
    /// Waiting for the DDL fence, or for capture.
    Moment,
    ReadingSource,
    Restoring,
    Comparing,
    /// Reading every file of the archive.
    Verifying,
    /// Removing what it created.
    Dropping,
}

/// The drill part of an entry. The result of a drill is in the archive.
#[derive(Clone, Copy, Default)]
pub struct DrillStatus {
    /// Process id of the drill worker; 0 if none is running. Claimed before it starts: there are never two at
    /// once.
    pub pid: i32,
    /// It has not started: `pid` is that of who starts it.
    pub is_claimed: bool,
    pub phase: DrillPhase,
    /// Incremented for every drill, so that a caller can identify its own.
    pub number: u64,
    pub started_at: i64,
    /// Number of the last drill that has ended. Others may have started since, to remove its leftovers.
    pub ended: u64,
    /// The start time of its record (`time::calendar`), which identifies it; 0 if there is none.
    pub recorded: i64,
    /// The LSN that is compared.
    pub lsn: u64,
    /// Of the phase, in bytes of tables or files, and since when; a total of 0 is unknown.
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub reading_since: i64,
    /// What the restore says that it is doing.
    pub step: Text<60>,
    /// The target server; empty: a throwaway server.
    pub conninfo: Text<600>,
    /// Why there is no record.
    pub error: Text<600>,
    /// No worker is started before this time to remove leftovers of a drill.
    pub not_before: i64,
    /// Why they could not be removed; empty if they could.
    pub left_error: Text<400>,
}

/// What only a session in the database can see; the capture worker checks it regularly.
#[derive(Clone, Copy, Default)]
pub struct LookStatus {
    /// Time of the last check; 0 before the first one since the server's start.
    pub looked_at: i64,
    /// Tables whose UPDATE and DELETE are not captured.
    pub keyless_tables: u32,
    /// The extension and its event triggers exist and are enabled.
    pub is_ddl_logged: bool,
}

/// The part of an entry about the extension itself, which may be dropped with its schema.
#[derive(Clone, Copy, Default)]
pub struct ExtensionStatus {
    /// Process id of the worker that re-creates it; 0 if none is running.
    pub pid: i32,
    /// The database is backed up but lacks the extension.
    pub is_lost: bool,
    /// Something has happened that a worker must check.
    pub is_due: bool,
    /// It was re-created, and a base must follow.
    pub wants_base: bool,
    /// No worker is started before this time, unless one is due.
    pub not_before: i64,
    /// Its schema, or former schema, percent-encoded; empty if unknown.
    pub schema: Text<200>,
    /// Why it could not be re-created; empty if it could, or if its schema does not exist.
    pub error: Text<400>,
}

/// The retention part of an entry.
#[derive(Clone, Copy, Default)]
pub struct ExpiryStatus {
    /// Process id of what removes expired files (a worker, or a session); 0 if nothing does.
    pub pid: i32,
    /// Time of the last success; 0 before the first one since the server's start.
    pub done_at: i64,
    /// Time of the last failure.
    pub is_wanted: bool,
    /// No worker is started before this time.
    pub not_before: i64,
    /// Number of consecutive failures.
    pub failures: u32,
    /// The last error; empty if it succeeded.
    pub error: Text<400>,
}

/// The globals part of an entry.
#[derive(Clone, Copy, Default)]
pub struct GlobalsStatus {
    /// Process id of the globals worker; 0 if none is running.
    pub pid: i32,
    /// Requests for a pass regardless of the count of changes.
    pub wanted: u64,
    pub done: u64,
    /// Count of cluster changes up to which the newest set is valid; 0 after a start of the server.
    pub changes_done: u64,
    /// The set, of which chain, that a dump of catalogs with the fingerprint `same_catalogs` was equal to, though its own is
    /// another. Two chains can have a set of the same LSN.
    pub same_chain: u32,
    pub same_set: u64,
    pub same_catalogs: Text<64>,
    /// No worker is started before this time.
    pub not_before: i64,
    pub failures: u32,
    /// Why the last pass failed; empty if it did not.
    pub error: Text<400>,
}

/// The base backup part of an entry.
#[derive(Clone, Copy, Default)]
pub struct BaseStatus {
    /// Process id of the base worker; 0 if none is running. Claimed before it starts: there are never two at
    /// once.
    pub pid: i32,
    /// It has not started: `pid` is that of who starts it.
    pub is_claimed: bool,
    /// Its job is incr_setup()'s.
    pub is_setup: bool,
    /// Its setup has made or dropped the slot.
    pub has_changed_slot: bool,
    /// It is one of the `base_workers` that may take a base now.
    pub has_turn: bool,
    /// Since when it waits for that; 0 if it does not.
    pub turn_asked_at: i64,
    pub phase: BasePhase,
    /// Incremented for every base, so that a caller can identify its own.
    pub number: u64,
    /// The number of the job before this one, if it was done, and the replica identities that it set: whoever waits for it
    /// may look only when the next has begun.
    pub done_before: u64,
    pub identities_before: u32,
    pub started_at: i64,
    pub finished_at: i64,
    /// Number of consecutive failures; each increases the delay of the schedule.
    pub failures: u32,
    pub tables_done: u32,
    /// Tables whose rows are to be dumped.
    pub tables: u32,
    /// Written so far.
    pub bytes: u64,
    /// Size of the tables whose rows are to be dumped, and of those whose turn has come.
    pub total_bytes: u64,
    pub begun_bytes: u64,
    /// Of the latter, what is left of the table that is being converted, or of the large objects.
    pub current_bytes: u64,
    /// When the first of them was read.
    pub reading_since: i64,
    /// Tables that were given a replica identity by the last setup.
    pub identities: u32,
    pub path: Text<LONGEST_PATH>,
    pub error: Text<600>,
    pub hint: Text<300>,
    /// SQLSTATE of `error`, packed as PostgreSQL packs it (MAKE_SQLSTATE).
    pub error_code: i32,
    pub waiting_for: Text<900>,
    /// The table whose lock that is; 0 if it waits for something else.
    pub locked_table: u32,
}

/// The part of an entry about the automatic setup of its database (`pg_incrbackup.databases`).
#[derive(Clone, Copy, Default)]
pub struct SetupStatus {
    /// Process id of the worker that prepares it; 0 if none is running.
    pub pid: i32,
    /// The extension is there, and nothing is known to be missing: the base worker can do the rest.
    pub is_prepared: bool,
    /// No worker is started before this time.
    pub not_before: i64,
    /// Number of consecutive failures; each increases the next delay.
    pub failures: u32,
    /// Why the last attempt failed, and what to do; empty if it did not.
    pub error: Text<600>,
    pub hint: Text<300>,
}

/// A worker starts within this time after its claim, or not at all: the postmaster may fail to fork it.
const LONGEST_START: Duration = Duration::from_secs(60);

/// False also for a process that no longer exists, and for a claim whose worker was never started.
fn is_running(pid: i32, is_claimed: bool, started_at: i64) -> bool {
    let age = archive::time::now().timestamp_micros() - started_at;
    let may_start = age < LONGEST_START.as_micros() as i64;
    server::is_process_alive(pid) && (!is_claimed || may_start)
}

/// A claim has the process id of its claimant, not of the worker.
fn worker(pid: i32, is_claimed: bool) -> i32 {
    if is_claimed {
        0
    } else {
        pid
    }
}

impl DrillStatus {
    /// True while its worker runs, or is about to start.
    pub fn is_running(&self) -> bool {
        is_running(self.pid, self.is_claimed, self.started_at)
    }

    /// Process id of the worker itself; 0 while none has started.
    pub fn worker(&self) -> i32 {
        worker(self.pid, self.is_claimed)
    }
}

impl BaseStatus {
    /// True while incr_setup(), or an automatic setup, is at work.
    pub fn is_setting_up(&self) -> bool {
        self.is_setup && self.phase != BasePhase::Expiring && self.is_running()
    }

    /// True of a setup that was refused, or ended, before it had changed the slot or begun a base: whoever ran it was told, and
    /// no base has failed.
    pub fn is_refused_setup(&self) -> bool {
        self.is_setup
            && self.phase == BasePhase::Failed
            && !self.has_changed_slot
            && self.path.is_empty()
    }

    /// True while the slot of a setup waits for open transactions: it exists, and cannot be read yet.
    pub fn is_creating_slot(&self) -> bool {
        self.phase == BasePhase::CreatingSlot && self.is_setting_up()
    }

    /// True while its worker runs, or is about to start.
    pub fn is_running(&self) -> bool {
        is_running(self.pid, self.is_claimed, self.started_at)
    }

    /// Process id of the worker itself; 0 while none has started.
    pub fn worker(&self) -> i32 {
        worker(self.pid, self.is_claimed)
    }
}
