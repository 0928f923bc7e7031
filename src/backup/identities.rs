//! Gives tables without a key a replica identity, without holding up those who use them.
//!
//! ALTER TABLE needs an ACCESS EXCLUSIVE lock, and while it waits for one, every other session queues behind it. So a
//! table that is free is locked without waiting, several of them in a transaction that ends soon; a table in use is
//! waited for as briefly, again and again, and whoever has locked it is named on the status board meanwhile.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::board;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, session, title, transaction};
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

/// Those who have locked a table, oldest transaction first. A prepared transaction has no process; its xid is that of the
/// transaction id which the same virtual transaction has locked.
const HOLDERS: &str = "SELECT pg_catalog.convert_to(pg_catalog.string_agg(line, E'\\n'), 'UTF8') FROM ( \
     SELECT CASE WHEN p.gid IS NULL \
       THEN pg_catalog.format('  pid %s, role %s, application %s, %s, %s since %s: %s', l.pid, \
         COALESCE(a.usename, a.backend_type::pg_catalog.name), \
         COALESCE(NULLIF(a.application_name, ''), 'unknown'), l.modes, COALESCE(a.state, 'active'), \
         pg_catalog.date_trunc('second', COALESCE(a.xact_start, pg_catalog.clock_timestamp())), \
         pg_catalog.substr(pg_catalog.regexp_replace(a.query, '\\s+', ' ', 'g'), 1, 60)) \
       ELSE pg_catalog.format('  prepared transaction %L, role %s, %s, since %s: COMMIT PREPARED or ROLLBACK PREPARED ends it', \
         p.gid, p.owner, l.modes, pg_catalog.date_trunc('second', p.prepared)) END AS line \
     FROM (SELECT pid, virtualtransaction, pg_catalog.string_agg(mode, ' ' ORDER BY mode) AS modes FROM pg_catalog.pg_locks \
         WHERE locktype = 'relation' AND database = $1 AND relation = $2 AND granted \
           AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid() GROUP BY 1, 2) AS l \
     LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) \
     LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' \
       AND t.virtualtransaction = l.virtualtransaction \
     LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid \
     ORDER BY COALESCE(a.xact_start, p.prepared) LIMIT 3) AS found";

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
        if !pass.wait_for(table)? {
            say_who_holds(table)?;
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
            match within_timeout(|| Ok(take_free(&mut rest))) {
                Ok(batch) => {
                    in_use.extend(batch.in_use);
                    self.skipped.extend(batch.skipped);
                    self.done.extend(batch.done);
                }
                // ddl_history is locked by a base: nothing of this batch is done.
                Err(failure) if is_lock_timeout(&failure) => {
                    in_use.extend(&begun[..begun.len() - rest.len()]);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(in_use)
    }

    /// Waits for a table in use, briefly; true if it is done with.
    fn wait_for(&mut self, table: pg_sys::Oid) -> Result<bool, Failure> {
        match within_timeout(|| Ok(replica_identity::ensure_waiting(table))) {
            Ok(Some(ensured)) => self.done.push(ensured),
            Ok(None) => {
                self.skipped.insert(table);
            }
            Err(failure) if is_lock_timeout(&failure) => return Ok(false),
            Err(failure) => return Err(failure),
        }
        Ok(true)
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
        "set the replica identity of {} tables: {}{more}",
        done.len(),
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

fn within_timeout<R>(body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    session::set(c"lock_timeout", LOCK_TIMEOUT);
    let outcome = transaction::run(body);
    session::set(c"lock_timeout", c"0");
    outcome
}

fn is_lock_timeout(failure: &Failure) -> bool {
    failure.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
}

/// On the status board, for the session that waits for us and for incr_status().
fn say_who_holds(table: pg_sys::Oid) -> Result<(), Failure> {
    let text = transaction::run(|| {
        let arguments = [server::my_database().into(), table.into()];
        let holders = query::one::<Vec<u8>>(HOLDERS, &arguments)?.unwrap_or_default();
        let name = replica_identity::shown(table).unwrap_or_default();
        Ok::<_, Failure>(format!(
            "a lock of table {name}, which is held by\n{}",
            String::from_utf8_lossy(&holders)
        ))
    })?;
    board::wait_for_lock_of(table, &text);
    Ok(())
}
