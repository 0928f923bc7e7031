//! The DDL fence: a session-level SHARE lock on `ddl_history`.
//!
//! Our utility hook takes ROW EXCLUSIVE on that table before any schema change, so while the fence is held,
//! there are no schema changes, and all earlier ones have been committed. It is acquired with a short
//! lock_timeout and retried: a waiting SHARE lock would block all later DDL. A session-level lock is kept
//! across commits; a rollback releases it.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::{query, session, transaction};
use crate::pg::failure::Failure;

/// One attempt waits this long: DDL of other sessions queues behind it.
const TIMEOUT_MS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(500);

/// The fence, held until dropped.
pub struct Fence {
    tag: pg_sys::LOCKTAG,
}

impl Fence {
    /// Acquires the fence if it is free, without ever queueing.
    pub fn try_raise(history: pg_sys::Oid) -> Option<Fence> {
        let tag = tag_of(history);
        acquire(&tag, true).then_some(Fence { tag })
    }

    /// Raises it by repeated short waits, so that sessions are not held up for long. `between` is called after each that
    /// was in vain, with the time since the first; its error ends the attempts. Only outside a transaction.
    pub fn raise(
        history: pg_sys::Oid,
        mut between: impl FnMut(Duration) -> Result<(), Failure>,
    ) -> Result<Fence, Failure> {
        let start = Instant::now();
        loop {
            if let Some(fence) = Fence::raise_within(history, TIMEOUT_MS)? {
                return Ok(fence);
            }
            between(start.elapsed())?;
            let pause_over = Instant::now() + PAUSE;
            while Instant::now() < pause_over {
                super::wait_a_moment(PAUSE);
            }
        }
    }

    /// Waits for open DDL at most `timeout_ms`.
    fn raise_within(history: pg_sys::Oid, timeout_ms: u32) -> Result<Option<Fence>, Failure> {
        let tag = tag_of(history);
        session::set_text(c"lock_timeout", &timeout_ms.to_string());
        let outcome = transaction::run_without_snapshot(|| acquire(&tag, false));
        session::set(c"lock_timeout", c"0");
        match outcome {
            Ok(true) => Ok(Some(Fence { tag })),
            Ok(false) => Ok(None),
            Err(failure)
                if matches!(
                    failure.code,
                    // A cycle is over with the end of this wait, as after any other.
                    PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
                        | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
                ) =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The holders of conflicting locks, oldest transaction first. A prepared transaction has no process; its xid
/// is that of the transaction id which the same virtual transaction has locked.
const HOLDERS: &str = "SELECT pg_catalog.convert_to(pg_catalog.string_agg(h.who, ', ' ORDER BY h.since), 'UTF8') \
     FROM (SELECT since, pg_catalog.format(CASE WHEN gid IS NULL THEN 'pid %s of role %s (%s) for %s s' \
         ELSE 'prepared transaction %s of role %s (%s) for %s s' END, \
         COALESCE(pg_catalog.quote_literal(gid), pid::pg_catalog.text), role, what, pg_catalog.floor( \
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) since))) AS who \
       FROM (SELECT l.pid, p.gid, COALESCE(a.usename, p.owner, a.backend_type::pg_catalog.name) AS role, \
           COALESCE(a.xact_start, p.prepared, pg_catalog.clock_timestamp()) AS since, \
           CASE WHEN p.gid IS NOT NULL THEN 'until COMMIT PREPARED or ROLLBACK PREPARED' \
             ELSE pg_catalog.concat_ws(', ', NULLIF(a.application_name, ''), a.state) END AS what \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) \
         LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' \
           AND t.virtualtransaction = l.virtualtransaction \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid \
         WHERE l.locktype = 'relation' AND l.database = $1 AND l.relation = $2 AND l.granted \
           AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock') \
           AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() \
         ORDER BY since LIMIT 3) AS found) AS h";

/// The sessions that block the fence, as text; empty if there are none any more. Only outside a transaction.
pub fn holders(history: pg_sys::Oid) -> Result<String, Failure> {
    let database = super::my_database();
    let names = transaction::run(|| {
        let arguments = [database.into(), history.into()];
        query::one::<Vec<u8>>(HOLDERS, &arguments).map_err(Failure::from)
    })?;
    Ok(String::from_utf8_lossy(&names.unwrap_or_default()).into_owned())
}

impl Drop for Fence {
    fn drop(&mut self) {
        // A rollback may have released it already; releasing twice would only warn.
        if is_held(&self.tag) {
            // SAFETY: the lock is held, at session level; releasing it needs no transaction.
            unsafe { pg_sys::LockRelease(&self.tag, mode(), true) };
        }
    }
}

/// Locks tables in the mode that readers use, until the transaction ends: what is visible to an exported
/// snapshot cannot be truncated or rewritten while it is imported.
pub fn lock_as_reader(tables: &[pg_sys::Oid]) {
    for table in tables {
        // SAFETY: within a transaction; the fence keeps the tables from being dropped meanwhile.
        unsafe { pg_sys::LockRelationOid(*table, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
    }
}

fn mode() -> pg_sys::LOCKMODE {
    pg_sys::ShareLock as pg_sys::LOCKMODE
}

fn acquire(tag: &pg_sys::LOCKTAG, dont_wait: bool) -> bool {
    // SAFETY: a session-level lock needs no resource owner; the tag is complete.
    let result = unsafe { pg_sys::LockAcquire(tag, mode(), true, dont_wait) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn is_held(tag: &pg_sys::LOCKTAG) -> bool {
    // SAFETY: looks into this process's own lock table.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(tag, mode());
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::LockHeldByMe(tag, mode(), false);
    }
}

/// SET_LOCKTAG_RELATION of PostgreSQL's storage/lock.h.
fn tag_of(relation: pg_sys::Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: super::my_database().to_u32(),
        locktag_field2: relation.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
