//! A session that waits for a worker waits by no lock: PostgreSQL's deadlock detector does not see it.
//!
//! The worker may be waiting for a session that waits for this one. CREATE INDEX CONCURRENTLY, say, keeps a base from
//! its fence until it is done, and is done when every older snapshot of the database is gone: that of `SELECT
//! incr_dump()` is one. Who waits for a worker therefore looks for such a cycle from time to time, and leaves it.

use std::time::{Duration, Instant};

use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use crate::pg::ddl::ddl_history;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, transaction};
use crate::settings;

/// The first look, and the one after a cycle was seen: what is seen once may be over.
const SOON: Duration = Duration::from_secs(1);
/// Looking at every lock of the cluster has a price.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What the worker is about to lock, if that is known: it waits for a lock by short attempts.
#[derive(Clone, Copy)]
pub enum Wanted {
    Nothing,
    /// `ddl_history`, in the mode of the fence.
    Fence,
    /// A table, in a mode that conflicts with all others.
    Table(pg_sys::Oid),
}

/// Why a wait has ended without what was waited for.
pub enum Ended {
    /// The two would wait for each other: the worker goes on alone.
    Cycle(Failure),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Failed(failure)
    }
}

/// Waits for a worker, which is terminated if the wait ends in another error than a cycle, which the caller's end breaks.
pub fn wait_for<T>(
    worker: DynamicBackgroundWorker,
    watch: impl FnOnce(&DynamicBackgroundWorker) -> Result<T, Ended>,
) -> Result<T, Failure> {
    let waited = transaction::catch(|| watch(&worker)).map_err(Ended::Failed);
    match waited.and_then(|ended| ended) {
        Ok(found) => Ok(found),
        Err(Ended::Cycle(failure)) => Err(failure),
        Err(Ended::Failed(failure)) => {
            // This does not wait for it to exit: an ephemeral slot is dropped with the process.
            worker.terminate();
            Err(failure)
        }
    }
}

/// Looks for a cycle from time to time.
pub struct Watch {
    next: Instant,
    pause: Duration,
    has_seen: bool,
}

impl Watch {
    pub fn begin() -> Watch {
        Watch {
            next: Instant::now() + SOON,
            pause: SOON,
            has_seen: false,
        }
    }

    /// 40P01 if this session and the worker of this process id wait for each other, as seen in two looks. The worker's
    /// programs have the application name `programs`. The worker goes on: `what` names its work.
    pub fn look(
        &mut self,
        function: &str,
        what: &str,
        worker: i32,
        programs: &str,
        wanted: Wanted,
    ) -> Result<(), Ended> {
        if Instant::now() < self.next {
            return Ok(());
        }
        let found = who_waits_for_me(worker, programs, wanted)?;
        self.pause = match found {
            Some(_) => SOON,
            None => (self.pause * 2).min(LONGEST_PAUSE),
        };
        self.next = Instant::now() + self.pause;
        let had_seen = std::mem::replace(&mut self.has_seen, found.is_some());
        match found {
            Some(who) if had_seen => Err(Ended::Cycle(
                Failure::new(
                    PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
                    format!("{function} and another session would wait for each other for ever"),
                )
                .detail(format!(
                    "The {what} waits for {who}, which waits for the end of this transaction."
                ))
                .hint(format!(
                    "The {what} goes on without this session: SELECT * FROM incr_status() shows its progress."
                )),
            )),
            _ => Ok(()),
        }
    }
}

/// Whom the worker and its programs wait for, and so on, up to a session that waits for this one. Everybody may give a
/// session the name of the programs, but not their role, unless dump_conninfo may name another. A backend that is
/// starting may be that of a program: it has locks, and is no session yet, or, from 18 on, one without its name. The
/// functions, not the views on them: those lock catalogs until this transaction ends, and a worker's program may come to
/// wait for that.
const CYCLE: &str = "WITH RECURSIVE locks AS MATERIALIZED ( \
       SELECT pid, locktype, database, relation, mode, granted FROM pg_catalog.pg_lock_status() WHERE pid IS NOT NULL), \
     sessions AS MATERIALIZED ( \
       SELECT pid, datid, usesysid, application_name, query, state FROM pg_catalog.pg_stat_get_activity(NULL)), \
     waited_for(pid) AS ( \
       (SELECT $1 \
        UNION ALL SELECT pid FROM sessions WHERE datid = $2 AND application_name = $3 AND (usesysid = $6 OR $7) \
        UNION ALL SELECT pid FROM locks WHERE NOT granted AND pid NOT IN (SELECT pid FROM sessions WHERE state IS DISTINCT FROM 'starting') \
        UNION ALL SELECT pid FROM locks WHERE granted AND locktype = 'relation' AND database = $2 AND relation = $4 \
          AND NOT ($5 AND mode IN ('AccessShareLock', 'RowShareLock', 'ShareLock'))) \
       UNION SELECT other FROM waited_for, LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS other \
         WHERE pid <> pg_catalog.pg_backend_pid()) \
     SELECT pg_catalog.convert_to(pg_catalog.format('pid %s (%s)', pid, pg_catalog.substr( \
       pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 1, 60)), 'UTF8') \
     FROM waited_for JOIN sessions USING (pid) \
     WHERE pid NOT IN (pg_catalog.pg_backend_pid(), $1) \
       AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid)) LIMIT 1";

fn who_waits_for_me(
    worker: i32,
    programs: &str,
    wanted: Wanted,
) -> Result<Option<String>, Failure> {
    let (relation, is_fence) = match wanted {
        Wanted::Nothing => (pg_sys::InvalidOid, false),
        Wanted::Fence => {
            let history = ddl_history::find();
            (
                history.map_or(pg_sys::InvalidOid, |found| found.table),
                true,
            )
        }
        Wanted::Table(table) => (table, false),
    };
    query::see_current_activity()?;
    let arguments = [
        worker.into(),
        server::my_database().into(),
        programs.into(),
        relation.into(),
        is_fence.into(),
        pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID).into(),
        settings::dump_conninfo()
            .is_some_and(|conninfo| conninfo.contains("user") || conninfo.contains("service"))
            .into(),
    ];
    let found = query::one::<Vec<u8>>(CYCLE, &arguments)?;
    Ok(found.map(|who| String::from_utf8_lossy(&who).into_owned()))
}
