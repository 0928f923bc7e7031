//! How far the files of each database go, and the commits that wait for it. Read and written without a lock: by the
//! capture worker after each fsync, and by clients at the end of their COMMIT.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};

use archive::counted;
use pgrx::prelude::*;

use super::BOARD;
use crate::pg::server;
use crate::pg::server::shared::Unlocked;

/// Their entries stay from the first capture worker, or degraded commit, since the server's start to [`forget`].
pub(super) static FILES: Unlocked<(), Files> = Unlocked::new(c"pg_incrbackup durable positions");

/// As many as there can be sessions.
pub(super) static COMMITS: Unlocked<Used, Commit> =
    Unlocked::of_processes(c"pg_incrbackup waiting commits");

/// The files of one database.
#[derive(Default)]
pub(super) struct Files {
    database: AtomicU32,
    /// The chain's first LSN: what was committed before is not in its segments.
    begin: AtomicU64,
    /// Everything that was committed after `begin` and up to here is in the files, fsynced, or needed no writing.
    end: AtomicU64,
    /// Commits that were to be durable, and returned before they were.
    degraded: AtomicU64,
    degraded_at: AtomicI64,
}

#[derive(Default)]
pub(super) struct Used {
    /// Nobody ever waited at this place or beyond it.
    places: AtomicUsize,
    /// So many wait now, in all databases.
    waiting: AtomicU32,
}

/// A commit that waits.
#[derive(Default)]
pub(super) struct Commit {
    /// Of its session; 0 marks a free place.
    latch: AtomicUsize,
    /// 0 while the place is being taken.
    database: AtomicU32,
    lsn: AtomicU64,
    since: AtomicI64,
}

thread_local! {
    /// Where this process waits, or has waited.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// Whether a commit is in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    Yes,
    NotYet,
    /// It was before the chain that is written now.
    Never,
}

/// What health tells of the commits of a database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous {
    /// So many wait now.
    pub waiting: u64,
    /// Since when the first of them does, in microseconds since the Unix epoch; 0 for none.
    pub waiting_since: i64,
    /// So many returned before they were durable, since the server's start, and when the last of them did.
    pub degraded: u64,
    pub degraded_at: i64,
}

impl Synchronous {
    /// `1 commit waits`, `2 commits wait`.
    pub fn waiting_in_words(&self) -> String {
        let verb = if self.waiting == 1 { "waits" } else { "wait" };
        format!("{} {verb}", counted(self.waiting, "commit"))
    }

    /// Those that did not wait to the end.
    pub fn degraded_in_words(&self) -> String {
        let were = if self.degraded == 1 {
            "it was"
        } else {
            "they were"
        };
        let commits = counted(self.degraded, "synchronous commit");
        format!("{commits} returned before {were} in the files")
    }
}

fn find(database: u32) -> Option<&'static Files> {
    let mut rows = FILES.get().rows.iter();
    rows.find(|row| row.database.load(SeqCst) == database)
}

/// Of this database, made if there is none and room for it, while the board has an entry: both are freed together.
fn find_or_make(database: u32) -> Option<&'static Files> {
    find(database).or_else(|| {
        let board = BOARD.exclusive();
        find(database).or_else(|| {
            let mut entries = board.rows.iter();
            entries.find(|entry| entry.database == database)?;
            let free = find(0)?;
            free.database.store(database, SeqCst);
            Some(free)
        })
    })
}

/// Frees the entry of a database that is not backed up any more. Under the board's lock.
pub(super) fn forget(database: pg_sys::Oid) {
    if let Some(row) = find(database.to_u32()) {
        row.database.store(0, SeqCst);
        row.begin.store(0, SeqCst);
        row.end.store(0, SeqCst);
        row.degraded.store(0, SeqCst);
        row.degraded_at.store(0, SeqCst);
    }
}

/// For the capture worker: everything committed after `begin`, where its chain starts, and up to `end` is durable. Wakes
/// who waited for that.
pub fn publish_durable(database: pg_sys::Oid, begin: u64, end: u64) {
    let database = database.to_u32();
    if let Some(row) = find_or_make(database) {
        // In this order, the reverse of a reader's: an end is never taken for that of the chain before.
        row.begin.store(begin, SeqCst);
        row.end.store(end, SeqCst);
        for commit in waiting(database) {
            if commit.lsn.load(SeqCst) <= end {
                server::set_latch(commit.latch.load(SeqCst));
            }
        }
    }
}

/// Whether the files hold what was committed up to this LSN.
pub fn covers(database: pg_sys::Oid, lsn: u64) -> Covers {
    let Some(row) = find(database.to_u32()) else {
        return Covers::NotYet;
    };
    let end = row.end.load(SeqCst);
    match row.begin.load(SeqCst) {
        begin if lsn <= begin => Covers::Never,
        _ if lsn <= end => Covers::Yes,
        _ => Covers::NotYet,
    }
}

fn waiting(database: u32) -> impl Iterator<Item = &'static Commit> {
    let table = COMMITS.get();
    let places = match table.head.waiting.load(SeqCst) {
        0 => 0,
        _ => table.head.places.load(SeqCst),
    };
    let rows = table.rows[..places].iter();
    rows.filter(move |row| row.database.load(SeqCst) == database)
}

/// True while commits of this database wait for its files.
pub fn is_awaited(database: pg_sys::Oid) -> bool {
    waiting(database.to_u32()).next().is_some()
}

/// This session's commit, up to `lsn`, waits from now on; [`end_wait`] ends that. False if there is no place for it.
pub fn begin_wait(database: pg_sys::Oid, lsn: u64) -> bool {
    let table = COMMITS.get();
    let latch = server::my_latch();
    let take = |place: usize| {
        let latch_of = &table.rows[place].latch;
        latch_of.compare_exchange(0, latch, SeqCst, SeqCst).is_ok()
    };
    let mut places = std::iter::once(PLACE.get()).chain(0..table.rows.len());
    let Some(place) = places.find(|place| take(*place)) else {
        return false;
    };
    PLACE.set(place);
    let row = &table.rows[place];
    row.lsn.store(lsn, SeqCst);
    row.since
        .store(archive::time::now().timestamp_micros(), SeqCst);
    row.database.store(database.to_u32(), SeqCst);
    table.head.places.fetch_max(place + 1, SeqCst);
    table.head.waiting.fetch_add(1, SeqCst);
    true
}

/// It does not wait any more.
pub fn end_wait() {
    let table = COMMITS.get();
    let row = &table.rows[PLACE.get()];
    // After an error it may have ended already.
    if row.latch.load(SeqCst) != server::my_latch() {
        return;
    }
    table.head.waiting.fetch_sub(1, SeqCst);
    row.database.store(0, SeqCst);
    row.latch.store(0, SeqCst);
}

/// A commit of this database that was to be durable returns before it is.
pub fn note_degraded(database: pg_sys::Oid) {
    if let Some(row) = find_or_make(database.to_u32()) {
        row.degraded.fetch_add(1, SeqCst);
        let now = archive::time::now().timestamp_micros();
        row.degraded_at.store(now, SeqCst);
    }
}

/// For health. Nothing where the library is not preloaded.
pub fn synchronous(database: pg_sys::Oid) -> Synchronous {
    if !super::is_there() {
        return Synchronous::default();
    }
    let since = waiting(database.to_u32()).map(|commit| commit.since.load(SeqCst));
    let since: Vec<i64> = since.collect();
    let row = find(database.to_u32());
    Synchronous {
        waiting: since.len() as u64,
        waiting_since: since.into_iter().min().unwrap_or(0),
        degraded: row.map_or(0, |row| row.degraded.load(SeqCst)),
        degraded_at: row.map_or(0, |row| row.degraded_at.load(SeqCst)),
    }
}
