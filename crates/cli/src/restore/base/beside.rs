//! Rows of tables, loaded by several sessions at once: each table by one of them, the largest ones first.
//!
//! A session beside that of the restore commits each table with a note that it is loaded, so that a restore which goes on
//! passes over it. What has its turn between and behind the rows is made by the restore's own session, when all are there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use archive::dump::Listed;

use super::entry::Entries;
use super::Loading;
use crate::args::OnError;
use crate::connection::Session;
use crate::error::Result;
use crate::restore::deferred::Deferred;
use crate::restore::progress;

/// Entries that an earlier run has done before their turn.
pub(super) async fn loaded(session: &Session) -> Result<BTreeSet<u64>> {
    let rows = session
        .client
        .query_typed(progress::sql::READ_PIECES, &[])
        .await?;
    let numbers = rows.iter().map(|row| row.get::<_, i64>(0));
    Ok(numbers
        .filter_map(|number| number.try_into().ok())
        .collect())
}

/// Whether an entry is loaded by another session. Large objects are made among the rows (pg_dump 17 and later), so their
/// contents have a place behind that.
pub(super) fn is_beside(entry: &Listed) -> bool {
    entry.is_data && entry.kind != b"BLOBS"
}

/// The rows of a table.
pub(super) struct Job {
    /// Of the entry, among all that are restored.
    pub number: u64,
    /// Its index in the table of contents.
    pub at: usize,
    /// In bytes, as stored.
    pub size: u64,
}

/// What several sessions work on.
pub(super) struct Work<'t> {
    jobs: RefCell<VecDeque<Job>>,
    done: RefCell<BTreeSet<u64>>,
    /// Bytes read, by session.
    read: Vec<Cell<u64>>,
    tell: RefCell<&'t mut dyn FnMut(u64)>,
}

impl<'t> Work<'t> {
    /// For so many sessions, in this order.
    pub fn new(jobs: Vec<Job>, sessions: usize, tell: &'t mut dyn FnMut(u64)) -> Work<'t> {
        Work {
            jobs: RefCell::new(jobs.into()),
            done: RefCell::default(),
            read: vec![Cell::new(0); sessions],
            tell: RefCell::new(tell),
        }
    }

    pub fn next(&self) -> Option<Job> {
        self.jobs.borrow_mut().pop_front()
    }

    /// It is committed.
    pub fn is_done(&self, job: &Job) {
        self.done.borrow_mut().insert(job.number);
    }

    /// The session has read so many bytes.
    pub fn tell(&self, session: usize, bytes: u64) {
        self.read[session].set(bytes);
        let all = self.read.iter().map(Cell::get).sum();
        (self.tell.borrow_mut())(all);
    }

    /// All that is committed.
    pub fn into_done(self) -> BTreeSet<u64> {
        self.done.into_inner()
    }
}

impl<'a> Entries<'a> {
    /// Whether rows are loaded by other sessions. Not while functions stand in for others, since it is not noted whether
    /// they are dropped; and not where tables are missing, whose rows are counted.
    pub fn loads_beside(&self, loading: &Loading<'_>) -> bool {
        !loading.sessions.is_empty()
            && !self.is_rehearsal
            && self.stand_ins.is_none()
            && !self.rights.left_out().lacks_tables()
    }

    /// What comes before the first rows is done and committed: other sessions see all tables as they are to be.
    pub async fn open_to_others(&mut self) -> Result<()> {
        // An earlier run may have done more than has been passed over by now.
        let next = self.next;
        self.next = next.max(self.done);
        let text = self.end_of_entry();
        self.next = next;
        self.has_set = false;
        Ok(self.session.client.batch_execute(&text).await?)
    }

    /// Those of another session, which is prepared and has this number.
    pub async fn beside(&self, session: &'a Session, number: i32) -> Result<Entries<'a>> {
        let functions = include_str!("functions.sql");
        session.client.batch_execute(functions).await?;
        session.client.batch_execute("BEGIN").await?;
        Ok(Entries {
            session,
            is_utf8: self.is_utf8,
            place: self.place.clone(),
            checks: self.checks.clone(),
            is_quiet: true,
            stand_ins: None,
            to_refresh: Vec::new(),
            next: 0,
            done: 0,
            loaded: BTreeSet::new(),
            is_beside: true,
            has_set: false,
            rights: Rc::clone(&self.rights),
            is_rehearsal: false,
            is_part: false,
            sets_keys_aside: self.sets_keys_aside,
            keys: Vec::new(),
            deferred: Deferred::new(OnError::Stop, Vec::new()),
            counts: self.counts.beside(number),
            part: None,
        })
    }

    /// The session has nothing more to do.
    pub async fn leave(self) -> Result<()> {
        Ok(self.session.client.batch_execute("ROLLBACK").await?)
    }

    /// Whether another session has done the entry that comes.
    pub fn is_loaded(&self) -> bool {
        self.next >= self.done && self.loaded.contains(&self.next)
    }
}
