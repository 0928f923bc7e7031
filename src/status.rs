//! The status board in shared memory: what each database's workers are doing, and requests to them.
//!
//! Workers write their own entry, SQL functions and the launcher read it, and requests (flush, rotate, step
//! aside) are numbers that only increase, so a request is never lost and never executed twice. Nothing here
//! is durable: after a restart the state is rebuilt from the slot and the files. Closures run under a
//! lightweight lock: they copy values and never call into PostgreSQL.

mod durable;
mod parts;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use pgrx::prelude::*;

pub use self::durable::{
    begin_wait, covers, end_wait, is_awaited, note_degraded, publish_durable, synchronous, Covers,
};
pub use self::parts::{
    BaseStatus, DrillPhase, DrillStatus, ExpiryStatus, ExtensionStatus, GlobalsStatus, LookStatus,
    OffsitePhase, OffsiteStatus, SetupStatus, StandbyStatus, LONG_STANDBY_WAIT,
};
use crate::cluster_changes::ClusterChanges;
use crate::pg::server::commit_wait;
pub use crate::pg::server::shared::is_there;
use crate::pg::server::shared::{self, Locked, Unlocked};

/// Maximum length of a path in bytes: pg_incrbackup.directory is limited to 700, and what is below it needs at most
/// 300. A path that was cut would be that of another file.
pub const LONGEST_PATH: usize = 1024;

/// A text of bounded length in shared memory.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self {
            length: 0,
            bytes: [0; N],
        }
    }
}

impl<const N: usize> Text<N> {
    /// Keeps as much of `text` as fits, truncated at a character boundary.
    pub fn set(&mut self, text: &str) {
        let mut end = text.len().min(N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end as u16;
    }

    pub fn get(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.length as usize]).into_owned()
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// What a capture worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No worker is running.
    #[default]
    Stopped,
    Starting,
    /// Reading and writing changes.
    Streaming,
    /// Everything is fsynced.
    CaughtUp,
    /// It exited with an error and will be restarted.
    WaitingToRetry,
    /// It exited so that a DROP, RENAME or CREATE ... TEMPLATE of its database can run.
    SteppedAside,
    /// The chain is broken; it does not continue without incr_setup(new_chain => true).
    Broken,
}

/// What a base backup worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasePhase {
    #[default]
    Idle,
    Starting,
    ReplicaIdentities,
    /// Waiting for open transactions, or for the DDL fence.
    CreatingSlot,
    /// Other databases' bases come first.
    WaitingForTurn,
    Fencing,
    Dumping,
    /// Writing what pg_dump has written in the base's format.
    Converting,
    Finishing,
    /// The base is finished; expired files are being removed.
    Expiring,
    Done,
    Failed,
}

/// One database's entry. LSNs are plain u64; times are microseconds since the Unix epoch, 0 for none.
#[derive(Clone, Copy, Default)]
pub struct DatabaseStatus {
    /// OID of the database; 0 marks a free entry.
    pub database: u32,
    pub phase: Phase,
    /// Process id of the capture worker, 0 when none runs.
    pub pid: i32,
    pub started_at: i64,
    /// End of the last WAL record read.
    pub read_lsn: u64,
    /// Everything committed up to here is fsynced (or needed no writing).
    pub durable_lsn: u64,
    pub confirmed_lsn: u64,
    /// Commit time of the last transaction that is fsynced.
    pub last_commit_at: i64,
    /// Commit time of the oldest transaction read but not yet fsynced.
    pub oldest_pending_at: i64,
    /// Since when the launcher has seen no worker that reads; 0 while one does.
    pub unread_since: i64,
    pub transactions: u64,
    pub statements: u64,
    pub bytes: u64,
    /// Changes that could not be captured exactly, and are flagged in the segments.
    pub flags: u64,
    /// Those of them by which something is lost until the next base.
    pub losses: u64,
    /// Those of all of them that concern a statement.
    pub ddl_flags: u64,
    /// The chain may have an incomplete range that needs a base.
    pub wants_healing: bool,
    /// Number of times that a worker exited and had to be restarted.
    pub restarts: u32,
    /// Failures since it last had everything on disk; each increases the next delay.
    pub failures: u32,
    /// The last of them that had the SQLSTATE of the last one, which is packed as PostgreSQL packs it (MAKE_SQLSTATE).
    pub repeats: u32,
    pub last_error_code: i32,
    pub errors: u64,
    pub last_error_at: i64,
    pub retry_at: i64,
    pub file: Text<LONGEST_PATH>,
    pub last_error: Text<600>,
    /// Why the chain is broken; empty if it is not.
    pub broken: Text<400>,
    /// Requests: raised by a backend, answered by the worker with the same number.
    pub flush_wanted: u64,
    pub flush_done: u64,
    pub rotate_wanted: u64,
    pub rotate_done: u64,
    pub rotated_file: Text<LONGEST_PATH>,
    /// Set by incr_teardown(drop_slot => false): no capture worker is started until incr_setup() or
    /// a restart of the server.
    pub held: bool,
    /// Backend for whose DROP/RENAME DATABASE the worker stays away; 0 if none.
    pub aside_for: i32,
    pub base: BaseStatus,
    pub globals: GlobalsStatus,
    pub expiry: ExpiryStatus,
    pub extension: ExtensionStatus,
    pub offsite: OffsiteStatus,
    pub drill: DrillStatus,
    pub look: LookStatus,
    pub setup: SetupStatus,
    pub standby: StandbyStatus,
}

impl DatabaseStatus {
    /// True while a worker reads changes, or has read all.
    pub fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Streaming | Phase::CaughtUp)
    }

    /// How long capture has waited for a standby, in microseconds, and for which; `None` if it waits for none.
    pub fn waits_for_standby(&self) -> Option<(i64, String)> {
        let waited = archive::time::now().timestamp_micros() - self.standby.since;
        let is_waiting = self.is_reading() && self.standby.since != 0;
        is_waiting.then(|| (waited.max(0), self.standby.awaited.get()))
    }

    /// Notes whether a worker reads, as of `now`.
    pub fn note_reading(&mut self, now: i64) {
        if self.is_reading() {
            self.unread_since = 0;
        } else if self.unread_since == 0 {
            self.unread_since = now;
        }
    }

    /// True while no worker may be started: capture is stopped or broken, or a command needs the database.
    pub fn is_suspended(&self) -> bool {
        self.held || self.aside_for != 0 || !self.broken.is_empty()
    }

    /// Records that capture failed, and when it is retried.
    pub fn record_failure(&mut self, code: PgSqlErrorCode, message: &str, delay: Duration) {
        let is_repeated = self.failures > 0 && self.last_error_code == code as i32;
        self.repeats = if is_repeated { self.repeats + 1 } else { 1 };
        self.last_error_code = code as i32;
        self.errors += 1;
        self.failures += 1;
        self.last_error.set(message);
        self.last_error_at = archive::time::now().timestamp_micros();
        self.retry_at = self.last_error_at + delay.as_micros() as i64;
    }
}

/// What the board says of no database.
#[derive(Default)]
struct BoardHead {
    launcher_pid: i32,
}

static BOARD: Locked<BoardHead, DatabaseStatus> = Locked::new(c"pg_incrbackup");

/// Read and written by committing backends without a lock: the latches of the capture workers, the count of
/// cluster changes, and whether databases were dropped.
static WAKE: Unlocked<WakeHead, WakeSlot> = Unlocked::new(c"pg_incrbackup wake table");

#[derive(Default)]
struct WakeHead {
    changes: ClusterChanges,
    launcher: AtomicUsize,
    /// Databases were dropped, which the launcher has not looked for yet.
    has_dropped: AtomicBool,
    /// No latch was ever published beyond this many slots: a commit checks no further.
    used: AtomicUsize,
}

/// The latch of one database's capture worker.
#[derive(Default)]
struct WakeSlot {
    database: AtomicU32,
    latch: AtomicUsize,
}

/// Asks for the shared memory, for so many databases. Only from `_PG_init`, while the library is preloaded.
pub fn init(databases: usize) {
    let event = &commit_wait::EVENT;
    shared::init(
        databases,
        vec![&BOARD, &WAKE, &durable::FILES, &durable::COMMITS, event],
    );
}

/// The entry of `database`, copied; also `None` if the library was not preloaded.
pub fn read(database: pg_sys::Oid) -> Option<DatabaseStatus> {
    if !is_there() {
        return None;
    }
    let board = BOARD.share();
    board
        .rows
        .iter()
        .find(|entry| entry.database == database.to_u32())
        .copied()
}

/// Every entry in use, copied.
pub fn read_all() -> Vec<DatabaseStatus> {
    if !is_there() {
        return Vec::new();
    }
    let board = BOARD.share();
    board
        .rows
        .iter()
        .filter(|entry| entry.database != 0)
        .copied()
        .collect()
}

/// Changes the entry of `database`, which is created if there is none yet. `None` if the board is full.
#[must_use = "the board may be full"]
pub fn update<R>(
    database: pg_sys::Oid,
    change: impl FnOnce(&mut DatabaseStatus) -> R,
) -> Option<R> {
    let mut board = BOARD.exclusive();
    let wanted = database.to_u32();
    let place = board
        .rows
        .iter()
        .position(|entry| entry.database == wanted)
        .or_else(|| board.rows.iter().position(|entry| entry.database == 0))?;
    let entry = &mut board.rows[place];
    entry.database = wanted;
    Some(change(entry))
}

/// The same if nothing depends on it: a database for which the board has no room is not captured, and health says so.
pub fn note(database: pg_sys::Oid, change: impl FnOnce(&mut DatabaseStatus)) {
    update(database, change).unwrap_or_default();
}

/// Changes the entry of `database` if there is one: a worker that exits late must not create it again.
pub fn update_existing<R>(
    database: pg_sys::Oid,
    change: impl FnOnce(&mut DatabaseStatus) -> R,
) -> Option<R> {
    let mut board = BOARD.exclusive();
    let wanted = database.to_u32();
    let mut entries = board.rows.iter_mut();
    entries.find(|entry| entry.database == wanted).map(change)
}

/// Changes any of the entries, of which those with database 0 are free.
pub fn update_all<R>(change: impl FnOnce(&mut [DatabaseStatus]) -> R) -> R {
    change(&mut BOARD.exclusive().rows)
}

/// True if the board has an entry of this database, or a free one.
pub fn has_room(database: pg_sys::Oid) -> bool {
    let is_ours = |entry: &DatabaseStatus| [0, database.to_u32()].contains(&entry.database);
    BOARD.share().rows.iter().any(is_ours)
}

/// Frees the entry of a database that is no longer backed up.
pub fn forget(database: pg_sys::Oid) {
    let mut board = BOARD.exclusive();
    durable::forget(database);
    let mut entries = board.rows.iter_mut();
    if let Some(entry) = entries.find(|entry| entry.database == database.to_u32()) {
        *entry = DatabaseStatus::default();
    }
}

/// A database was dropped: its entry is free, and the launcher is told to look which one it was. For the end of the
/// transaction.
pub fn note_dropped(database: pg_sys::Oid) {
    forget(database);
    WAKE.get().head.has_dropped.store(true, Ordering::Release);
}

/// True where databases were dropped since the last call.
pub fn take_dropped() -> bool {
    WAKE.get().head.has_dropped.swap(false, Ordering::AcqRel)
}

pub fn set_launcher_pid(pid: i32) {
    BOARD.exclusive().head.launcher_pid = pid;
}

pub fn launcher_pid() -> i32 {
    BOARD.share().head.launcher_pid
}

/// Publishes (or with 0 removes) the latch that a commit in `database` sets.
pub fn publish_latch(database: pg_sys::Oid, latch: usize) {
    let wanted = database.to_u32();
    let _writer = BOARD.exclusive();
    let slots = &WAKE.get().rows;
    let of = |database| {
        let mut slots = slots.iter().enumerate();
        slots.find(|(_, slot)| slot.database.load(Ordering::Acquire) == database)
    };
    if let Some((place, slot)) = of(wanted).or_else(|| of(0)) {
        let used = &WAKE.get().head.used;
        used.fetch_max(place + 1, Ordering::AcqRel);
        slot.latch.store(latch, Ordering::Release);
        let database = if latch == 0 { 0 } else { wanted };
        slot.database.store(database, Ordering::Release);
    }
}

/// Address of the latch of the capture worker of `database`; 0 if none is running.
pub fn latch_of(database: pg_sys::Oid) -> usize {
    let wanted = database.to_u32();
    let table = WAKE.get();
    let used = table.head.used.load(Ordering::Acquire);
    let mut slots = table.rows[..used].iter();
    let slot = slots.find(|slot| slot.database.load(Ordering::Acquire) == wanted);
    slot.map_or(0, |slot| slot.latch.load(Ordering::Acquire))
}

pub fn publish_launcher_latch(latch: usize) {
    WAKE.get().head.launcher.store(latch, Ordering::Release);
}

/// The cluster's count of changes. Only if the library is preloaded.
pub fn cluster_changes() -> &'static ClusterChanges {
    &WAKE.get().head.changes
}

pub fn launcher_latch() -> usize {
    WAKE.get().head.launcher.load(Ordering::Acquire)
}
