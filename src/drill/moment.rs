//! The point at which a drill compares: a snapshot of the source, and the LSN up to which the stream contains
//! exactly what it sees.
//!
//! It is taken like that of a base: under the fence no schema change is open, and the fence is held until the
//! source's definitions have been read. Then every table is locked in the mode that readers use, so that none
//! is truncated before its rows are read. Because of transactions that are just committing, the snapshot may
//! correspond to no LSN; then another one is taken.

use std::time::Duration;

use archive::{flags, moment, ChainDir, Lsn};
use pgrx::prelude::*;

use super::contents::{self, Contents};
use super::definitions::{self, Definitions};
use super::unmade::{Catalogs, TableOfContents};
use super::{board, client, target};
use crate::backup::dump::Source;
use crate::backup::sizes::Sizes;
use crate::pg::decoding::snapshot::Exported;
use crate::pg::failure::Failure;
use crate::pg::server::fence::{self, Fence};
use crate::pg::server::transaction::{self, Isolation};
use crate::pg::server::{self, session};
use crate::status::{DatabaseStatus, DrillPhase, Phase};
use crate::workers;

/// Total time to wait for transactions that have changed the schema.
const LONGEST_FENCE_WAIT: Duration = Duration::from_secs(600);
/// How long capture may take to catch up, at first and while the fence is held.
const LONGEST_FLUSH: Duration = Duration::from_secs(600);
const LONGEST_FLUSH_FENCED: Duration = Duration::from_secs(10);
/// How long to wait for a table lock.
const LOCK_TIMEOUT: &std::ffi::CStr = c"5s";
const ATTEMPTS: u32 = 50;

/// The contents of the source, and the LSN up to which the archive contains them.
pub struct Moment {
    pub lsn: Lsn,
    pub definitions: Definitions,
    pub table_of_contents: TableOfContents,
    pub contents: Contents,
    /// Of the source's tables.
    pub sizes: Sizes,
}

impl Moment {
    /// Takes a current one, and reads the source at it.
    pub fn take(
        database: pg_sys::Oid,
        chain: &ChainDir,
        source: &Source,
    ) -> Result<Moment, Failure> {
        board::enter(database, DrillPhase::Moment);
        // Capture catches up before, not under the fence.
        let lsn = server::emit_position_mark();
        wait_for_capture(database, lsn, LONGEST_FLUSH)?;
        for _ in 0..ATTEMPTS {
            if let Some(moment) = try_once(database, chain, source)? {
                return Ok(moment);
            }
        }
        let message = "could not take a snapshot that corresponds to a commit LSN";
        Err(prerequisite(message)
            .detail(format!(
                "In {ATTEMPTS} attempts, transactions became visible in a different order than \
            they committed."
            ))
            .hint("Run drills when fewer transactions wait for a slow disk or a standby."))
    }
}

fn prerequisite(message: impl Into<String>) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(code, message)
}

/// `None` if the snapshot corresponds to no LSN.
fn try_once(
    database: pg_sys::Oid,
    chain: &ChainDir,
    source: &Source,
) -> Result<Option<Moment>, Failure> {
    ensure_nothing_is_lost(chain)?;
    let fence = raise_fence(source.history)?;
    session::set(c"lock_timeout", LOCK_TIMEOUT);
    transaction::begin(Isolation::RepeatableRead);
    let read = transaction::catch(|| read(database, chain, source, fence));
    let read = read.and_then(|result| result);
    match &read {
        Ok(_) => transaction::commit(),
        Err(_) => transaction::rollback(),
    }
    session::set(c"lock_timeout", c"0");
    read
}

fn read(
    database: pg_sys::Oid,
    chain: &ChainDir,
    source: &Source,
    fence: Fence,
) -> Result<Option<Moment>, Failure> {
    let snapshot = Exported::take();
    // As for a base: of the catalogs, no lock is kept that our programs might come to wait for.
    fence::lock_as_reader(&transaction::without_keeping_locks(contents::tables)?);
    let taken_before = server::emit_position_mark();
    wait_for_capture(database, taken_before, LONGEST_FLUSH_FENCED)?;
    let Some(lsn) = moment::of_snapshot(chain, &snapshot.sees, Lsn(taken_before))? else {
        return Ok(None);
    };
    ensure_nothing_is_lost(chain)?;
    // A base that was taken between them cannot be restored to it, and there may be no other.
    if chain.bases()?.first().is_none_or(|base| base.lsn > lsn) {
        return Ok(None);
    }
    board::at(database, lsn.0);
    let sizes = source.sizes.clone();
    board::enter_with_total(database, DrillPhase::ReadingSource, sizes.total);
    let catalogs = transaction::without_keeping_locks(Catalogs::read)?;
    let mut fence = Some(fence);
    let mut conninfo = source.conninfo.clone();
    conninfo.push(target::NAMED);
    let read = definitions::of_source(&conninfo, &snapshot.name, catalogs, || {
        fence = None;
        Ok(())
    });
    let (definitions, table_of_contents) = read?;
    let name = Some(&snapshot.name[..]);
    let contents = Contents::read(&conninfo, server::VERSION_NUM, name, |_, oid| {
        board::advance(database, sizes.of_table(oid));
    })?;
    Ok(Some(Moment {
        lsn,
        sizes,
        definitions,
        table_of_contents,
        contents,
    }))
}

/// A point inside an incomplete range is restored in part: that says nothing about the archive.
fn ensure_nothing_is_lost(chain: &ChainDir) -> Result<(), Failure> {
    match flags::in_words(&flags::open(chain)?) {
        None => Ok(()),
        Some(lost) => Err(prerequisite(lost)
            .hint("A base backup follows automatically: run the drill when it has finished.")),
    }
}

fn raise_fence(history: pg_sys::Oid) -> Result<Fence, Failure> {
    Fence::raise(history, |waited| {
        client::ensure_in_time()?;
        if waited > LONGEST_FENCE_WAIT {
            return Err(prerequisite(format!(
                "transactions that have changed the schema were open for {} s",
                LONGEST_FENCE_WAIT.as_secs()
            ))
            .hint("End them, or run drills at another time."));
        }
        Ok(())
    })
}

/// Waits until the files reach `lsn`.
fn wait_for_capture(database: pg_sys::Oid, lsn: u64, longest: Duration) -> Result<(), Failure> {
    let is_answered = workers::ask_to_flush(database, lsn);
    let ensure_possible = |entry: &DatabaseStatus| {
        if entry.phase == Phase::Broken || entry.held {
            Err(prerequisite("capture of this database is not running").detail(entry.broken.get()))
        } else {
            client::ensure_in_time()
        }
    };
    workers::wait_for(database, longest, is_answered, ensure_possible, |entry| {
        let behind = lsn.saturating_sub(entry.durable_lsn);
        prerequisite(format!(
            "capture is {behind} bytes of WAL behind after {} s",
            longest.as_secs()
        ))
        .detail(entry.last_error.get())
    })?;
    Ok(())
}
