//! The interface between PostgreSQL's callbacks and the output plugin, which is in a module above and is
//! installed when the library is loaded ([`install`]).

use std::sync::OnceLock;

use archive::segment::Who;
use chrono::{DateTime, Utc};
use pgrx::prelude::*;

use super::relation::OpenRelation;
use super::value::Row;
use crate::pg::effects::events::{Touched, Unreadable};
use crate::pg::failure::Failure;

/// Where rows go: `pg_recvlogical`, a SQL function's result, or the segment writer.
pub trait RowTarget {
    fn row(&mut self, row: &[u8]);
}

/// The transaction that is being decoded.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    /// 64-bit.
    pub xid: u64,
    /// End of the commit record.
    pub commit_lsn: u64,
    pub commit_time: DateTime<Utc>,
}

/// A row change.
pub enum Change<'a> {
    Insert { new: &'a Row },
    Update { old: Option<&'a Row>, new: &'a Row },
    Delete { old: Option<&'a Row> },
}

impl<'a> Change<'a> {
    pub fn verb(&self) -> &'static str {
        match self {
            Change::Insert { .. } => "INSERT",
            Change::Update { .. } => "UPDATE",
            Change::Delete { .. } => "DELETE",
        }
    }

    /// The old row, or what the WAL has of it, and the new one.
    pub fn rows(&self) -> (Option<&'a Row>, Option<&'a Row>) {
        match *self {
            Change::Insert { new } => (None, Some(new)),
            Change::Update { old, new } => (old, Some(new)),
            Change::Delete { old } => (old, None),
        }
    }
}

/// A TRUNCATE as its WAL record has it: every table that it emptied, those of CASCADE too.
pub struct Truncate {
    pub cascade: bool,
}

/// The parameters of a decoding session.
pub struct Start<'a> {
    /// Options given by the reader, in order.
    pub options: &'a [(String, Option<String>)],
    /// The database's encoding is UTF-8.
    pub is_utf8: bool,
    /// For caches of output functions; exists as long as the session.
    pub memory: pg_sys::MemoryContext,
}

/// One decoding session: the callbacks of output_plugin.h, in the order in which they come. What is written
/// goes to the target.
pub trait OutputPlugin {
    /// Rows are bytes that are no text.
    fn is_binary(&self) -> bool;

    /// `who` made the transaction, where that was recorded.
    fn begin(&mut self, who: Option<Who>);

    /// The transaction is going to touch these: called under the catalogs as of its commit without its own
    /// changes, and not at all where it touches nothing.
    fn read_schema_before(&mut self, touched: Result<Touched, Unreadable>);

    /// Its commands before this one did something that has not been read. `is_rewriting`: a row of a table's
    /// new file comes next.
    fn has_schema_changed(&self, command: u32, is_rewriting: bool) -> bool;

    /// Called under the catalogs as this command found them.
    fn read_schema(&mut self, command: u32, is_rewriting: bool);

    /// Writes what was read.
    fn schema_changed(&mut self, transaction: Transaction, target: &mut dyn RowTarget);

    fn change(
        &mut self,
        transaction: Transaction,
        relation: OpenRelation,
        change: &Change<'_>,
        target: &mut dyn RowTarget,
    );

    /// [`Self::change`] raised this.
    fn change_failed(
        &mut self,
        transaction: Transaction,
        relation: OpenRelation,
        change: &Change<'_>,
        failure: &Failure,
        target: &mut dyn RowTarget,
    );

    fn truncate(
        &mut self,
        transaction: Transaction,
        tables: &[OpenRelation],
        truncate: &Truncate,
        target: &mut dyn RowTarget,
    );

    /// DDL of the transaction was not recorded. What the catalogs tell (`is_told`) is there all the same.
    fn lost_ddl(
        &mut self,
        transaction: Transaction,
        reason: &[u8],
        is_told: bool,
        target: &mut dyn RowTarget,
    );

    /// Large objects come last: only now it is known what became of them.
    fn large_objects(&mut self, transaction: Transaction, target: &mut dyn RowTarget);

    /// What is no row raised this.
    fn failed(
        &mut self,
        transaction: Transaction,
        what: &str,
        failure: &Failure,
        target: &mut dyn RowTarget,
    );

    fn commit(&mut self, transaction: Transaction, target: &mut dyn RowTarget);
}

/// Creates the plugin of a session; fails if an option is invalid.
pub type StartPlugin = fn(&Start<'_>) -> Result<Box<dyn OutputPlugin>, Failure>;

static START: OnceLock<StartPlugin> = OnceLock::new();

/// Installs the plugin. To be called when the library is loaded.
pub fn install(start: StartPlugin) {
    START.get_or_init(|| start);
}

/// The plugin for a new session.
pub(super) fn plugin(start: &Start<'_>) -> Result<Box<dyn OutputPlugin>, Failure> {
    let make = START
        .get()
        .unwrap_or_else(|| error!("the output plugin was not handed in"));
    make(start)
}
