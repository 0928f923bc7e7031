//! Gives tables without a key a replica identity, without holding up those who use them.
//!
//! ALTER TABLE needs an ACCESS EXCLUSIVE lock, and while it waits for one, every other session queues behind it. So a
//! table that is free is locked without waiting, several of them in a transaction that ends soon; a table in use is
//! waited for as briefly, again and again, and whoever has locked it is named on the status board meanwhile.

use archive::counted;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::{board, holders};
use crate::pg::ddl::ddl_history;
use crate::pg::failure::Failure;
use crate::pg::server::{self, session, title, transaction};
use crate::replica_identity::{self, Ensured};
use crate::settings::{self, KeylessTables};
use crate::status::BasePhase;

/// Nobody waits longer behind us: for a lock that we wait for, or for those that we hold.
const LOCK_TIMEOUT: &std::ffi::CStr = c"100ms";
const LONGEST_HOLD: Duration = Duration::from_millis(50);
/// Between two waits for the same table.
const PAUSE: Duration = Duration::from_millis(500);
/// So many tables are named in the log.
const NAMED: usize = 5;

/// Gives every table that needs one a replica identity, and commits, so that every change after the slot's start has one.
/// Returns how many. Waits for tables in use, for as long as that takes. Only outside a transaction.
pub fn ensure() -> Result<usize, Failure> {
    board::enter(BasePhase::ReplicaIdentities);
    let mut pass = Pass::default();
    let mut turn = 0;
    loop {
        let in_use = pass.over_all()?;
        if in_use.is_empty() {
            break;
        }
        // One after the other: no table is waited for all the time.
        let table = in_use[turn % in_use.len()];
        turn += 1;
        if let Some(locked) = pass.wait_for(table)? {
            say_who_holds(locked)?;
            server::wait_a_moment(PAUSE);
        }
    }
    board::wait_for_lock_of(pg_sys::InvalidOid, "");
    Ok(pass.log())
}

/// The same once, of tables that nobody uses. The others are logged.
pub fn ensure_where_free() -> Result<(), Failure> {
    let mut pass = Pass::default();
    let in_use = pass.over_all()?;
    pass.log();
    if !in_use.is_empty() {
        let names = transaction::run(|| {
            let names = in_use
                .iter()
                .filter_map(|table| replica_identity::shown(*table));
            Ok::<_, Failure>(names.take(NAMED).collect::<Vec<_>>().join(", "))
        })?;
        title::log(&format!(
            "{} tables without a replica identity are in use, and get none before the next base: {names}",
            in_use.len()
        ));
    }
    Ok(())
}

/// What was done so far.
#[derive(Default)]
struct Pass {
    done: Vec<Ensured>,
    /// Tables that need none after all.
    skipped: HashSet<pg_sys::Oid>,
}

impl Pass {
    /// Tables that are free get one; the others are returned.
    fn over_all(&mut self) -> Result<Vec<pg_sys::Oid>, Failure> {
        if settings::keyless_tables() != KeylessTables::Full {
            return Ok(Vec::new());
        }
        let found = transaction::run(|| Ok::<_, Failure>(replica_identity::keyless_tables()?))?;
        let due: Vec<pg_sys::Oid> = found
            .into_iter()
            .filter(|table| !self.skipped.contains(table))
            .collect();
        let mut in_use = Vec::new();
        let mut rest = due.as_slice();
        while !rest.is_empty() {
            let begun = rest;
            match short_transaction(|| take_free(&mut rest)) {
                Ok(batch) => {
                    in_use.extend(batch.in_use);
                    self.skipped.extend(batch.skipped);
                    self.done.extend(batch.done);
                }
                // None of them has been locked.
                Err(Refused::HistoryLocked(_)) => {
                    in_use.extend(rest);
                    break;
                }
                // Nothing of this batch is done.
                Err(Refused::Failed(failure)) if is_lock_timeout(&failure) => {
                    in_use.extend(&begun[..begun.len() - rest.len()]);
                }
                Err(Refused::Failed(failure)) => return Err(failure),
            }
        }
        Ok(in_use)
    }

    /// Waits for a table in use, briefly; which table somebody has locked if it is to be tried again.
    fn wait_for(&mut self, table: pg_sys::Oid) -> Result<Option<pg_sys::Oid>, Failure> {
        match short_transaction(|| replica_identity::ensure_waiting(table)) {
            Ok(Some(ensured)) => self.done.push(ensured),
            Ok(None) => {
                self.skipped.insert(table);
            }
            Err(Refused::HistoryLocked(history)) => return Ok(Some(history)),
            Err(Refused::Failed(failure)) if is_lock_timeout(&failure) => return Ok(Some(table)),
            Err(Refused::Failed(failure)) => return Err(failure),
        }
        Ok(None)
    }

    fn log(&self) -> usize {
        if !self.done.is_empty() {
            title::log(&in_words(&self.done));
        }
        self.done.len()
    }
}

/// One line for all of them: a schema of 2,500 tables must not fill the server's log.
fn in_words(done: &[Ensured]) -> String {
    let named: Vec<String> = done
        .iter()
        .take(NAMED)
        .map(|step| format!("{} {}", step.relation, step.action))
        .collect();
    let more = match done.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more; replica_identity_set lists those that are not DEFAULT"),
    };
    format!(
        "set the replica identity of {}: {}{more}",
        counted(done.len(), "table"),
        named.join(", ")
    )
}

/// What a transaction has done.
#[derive(Default)]
struct Batch {
    done: Vec<Ensured>,
    in_use: Vec<pg_sys::Oid>,
    skipped: Vec<pg_sys::Oid>,
}

/// As many of `tables` as can be had in a moment; takes them off.
fn take_free(tables: &mut &[pg_sys::Oid]) -> Batch {
    let start = Instant::now();
    let mut batch = Batch::default();
    while let Some((table, rest)) = tables.split_first() {
        if start.elapsed() > LONGEST_HOLD {
            break;
        }
        *tables = rest;
        match replica_identity::ensure_if_free(*table) {
            None => batch.in_use.push(*table),
            Some(None) => batch.skipped.push(*table),
            Some(Some(ensured)) => batch.done.push(ensured),
        }
    }
    batch
}

/// Why a transaction was rolled back.
enum Refused {
    /// By a base or a drill, before any other table was locked.
    HistoryLocked(pg_sys::Oid),
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Refused::Failed(failure)
    }
}

/// A transaction that waits for no lock longer than [`LOCK_TIMEOUT`], and for nothing else while it holds those of tables:
/// ddl_history, into which it writes a row for each, is locked first, and no standby is waited for when it commits.
fn short_transaction<R>(body: impl FnOnce() -> R) -> Result<R, Refused> {
    transaction::run(|| {
        session::set_local(c"lock_timeout", LOCK_TIMEOUT);
        session::set_local(c"synchronous_commit", c"local");
        if let Some(history) = ddl_history::find() {
            transaction::catch(|| history.lock()).map_err(|failure| {
                if is_lock_timeout(&failure) {
                    Refused::HistoryLocked(history.table)
                } else {
                    Refused::Failed(failure)
                }
            })?;
        }
        Ok(body())
    })
}

fn is_lock_timeout(failure: &Failure) -> bool {
    failure.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
}

/// On the status board, for the session that waits for us and for incr_status().
fn say_who_holds(table: pg_sys::Oid) -> Result<(), Failure> {
    let text = transaction::run(|| holders::of_table(table, holders::Detail::Public))?;
    board::wait_for_lock_of(table, &text);
    Ok(())
}
