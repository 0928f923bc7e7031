//! The globals worker: writes a new set of globals when roles, tablespaces or the database itself
//! have changed.
//!
//! A background worker that exits after one pass. The launcher starts it for every backed-up database whose
//! newest set may be outdated: after a committed change anywhere in the cluster (counted in
//! `cluster_changes`), after every start of the server, which resets that count, and at the request of a base
//! or a chain. It writes a set only if it differs from the newest set of its chain.
//!
//! pg_dumpall is run only if the shared catalogs that it reads are not those of the newest set (`shared_catalogs`); a base
//! takes its globals.sql from there as well.
//!
//! It is separate from the base worker, so that a base that takes hours does not delay a set, and a change of
//! a role never makes incr_dump() fail because a worker is running.
//!
//! A set is named by the commit LSN of the last change that it contains. The count is read before the dump
//! and compared after it: if something changed in the meantime, the dump is repeated, so that no set contains
//! more than its name says. Only changes that follow each other within about a second share a set, named by
//! the last of them. If no change was seen (after a start of the server), the name is the current end of the
//! WAL.

use std::time::{Duration, Instant};

use archive::globals::{self, Content, Facts};
use archive::layout::GlobalsName;
use archive::{time, ChainDir, Lsn};
use chrono::DateTime;
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use super::dump::{self, Source};
use super::properties::{self, Roles};
use super::shared_catalogs;
use crate::cluster_changes::Change;
use crate::pg::failure::Failure;
use crate::pg::server::{self, process, query, signals, transaction};
use crate::place::{self, OwnedChain};
use crate::status::{self, GlobalsStatus};
use crate::workers;

/// How often a dump is repeated because something changed in the meantime.
const ATTEMPTS: u32 = 3;
/// Minimum time between two passes, which is also at least four times the duration of the last one: a script
/// that creates a thousand roles does not cause a thousand dumps.
const PAUSE: Duration = Duration::from_secs(1);
/// This many consecutive workers that exited without a result are reported: a single one may just have been
/// stopped.
const SILENT_FAILURES: u32 = 3;
const FLUSH_POLL: Duration = Duration::from_millis(20);

/// Makes the launcher check the globals of `database`, whether a change was seen or not.
pub fn want(database: pg_sys::Oid) {
    status::update_existing(database, |entry| entry.globals.wanted += 1);
    crate::workers::wake_launcher();
}

/// What the launcher has to do about the globals of a database.
pub enum Due {
    /// Nothing.
    Nothing,
    /// Nothing before this much time has passed.
    In(Duration),
    Started(DynamicBackgroundWorker),
}

/// Starts a worker if one is due and none is running. For the launcher.
pub fn start_if_due(database: pg_sys::Oid) -> Due {
    let entry = status::read(database).unwrap_or_default();
    let globals = &entry.globals;
    let is_true = globals.done >= globals.wanted
        && globals.changes_done >= status::cluster_changes().read().count;
    if is_true || entry.is_suspended() || globals.pid != 0 && server::is_backend_alive(globals.pid)
    {
        return Due::Nothing;
    }
    let now = time::now().timestamp_micros();
    if globals.failures >= SILENT_FAILURES && globals.error.is_empty() {
        note_failure(
            database,
            "the globals worker exited unexpectedly; see the server log",
        );
    }
    if globals.not_before > now {
        return Due::In(Duration::from_micros((globals.not_before - now) as u64));
    }
    let worker = workers::of_kind("globals", database).load_dynamic();
    match worker {
        Ok(worker) => {
            // Recorded as failed until the worker reports a result: it may exit without one.
            update(database, note_attempt);
            Due::Started(worker)
        }
        Err(_) => {
            update(database, note_attempt);
            note_failure(
                database,
                "out of background worker slots: increase max_worker_processes",
            );
            Due::In(PAUSE)
        }
    }
}

#[pg_guard]
#[no_mangle]
pub extern "C-unwind" fn pg_incrbackup_globals_main(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(argument.value() as u32);
    // (A session that needs the database for itself holds a lock that pg_dumpall would wait for while it waits for us.)
    if !workers::may_connect(database, |entry, me| entry.globals.pid = me) {
        return;
    }
    signals::at_exit(|| update(workers::served_database(), |globals| globals.pid = 0));
    signals::end_on_sigterm();
    workers::connect(Some(database));
    process::end_with_this_process();
    let outcome = transaction::catch(|| run(database)).and_then(|result| result);
    transaction::rollback();
    if let Err(failure) = outcome {
        note_failure(database, &failure.in_full());
    }
}

fn run(database: pg_sys::Oid) -> Result<(), Failure> {
    let start = Instant::now();
    let entry = status::read(database).unwrap_or_default();
    let owned = place::own(database)?;
    let chain = owned.as_ref().map(|owned| owned.served_chain());
    let chain = chain.transpose()?.flatten();
    let chain = chain.filter(|chain| chain.info.ended.is_none());
    let change = match owned.as_ref().zip(chain) {
        Some((owned, chain)) => look(&owned.chain(chain), entry.globals.changes_done == 0)?,
        // There is no chain; the next one will request a set.
        None => status::cluster_changes().read(),
    };
    let pause = PAUSE.max(start.elapsed() * 4);
    update(database, |globals| {
        globals.done = entry.globals.wanted;
        globals.changes_done = change.count;
        globals.failures = 0;
        globals.error.set("");
        globals.not_before = time::now().timestamp_micros() + pause.as_micros() as i64;
    });
    Ok(())
}

/// Writes a set if something has changed; returns the change count up to which the newest set is valid.
fn look(chain: &OwnedChain<'_>, is_first: bool) -> Result<Change, Failure> {
    globals::tidy(chain)?;
    let source = transaction::run(Source::collect_without_sizes)?;
    let read = read_at_rest(chain, &source)?;
    transaction::run(|| look_for_prepared(is_first))?;
    let newest = chain.globals_sets()?.pop();
    if let Some(newest) = newest {
        if let Some(facts) = facts_if_same(chain, newest, &read) {
            if let Some(now) = read
                .catalogs
                .filter(|now| Some(now) != facts.shared_catalogs.as_ref())
            {
                shared_catalogs::note_same(chain, newest, &now);
            }
            return Ok(read.change);
        }
    }
    let (lsn, at) = named_by(read.change, newest.map_or(Lsn(0), |set| set.lsn));
    let facts = Facts {
        format: archive::layout::chain::FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
        lsn,
        changed_at: DateTime::from_timestamp_micros(at).unwrap_or_else(time::now),
        shared_catalogs: read.catalogs,
        roles: read.roles.by_database_sql,
        roles_by_oid: read.roles.by_oid,
    };
    chain.ensure_held()?;
    globals::write(chain, &read.content, &facts)?;
    crate::offsite::want(server::my_database());
    Ok(read.change)
}

/// The facts of a set that says what was read now. One that is damaged does not: the next one is written, and incr_verify() names
/// it.
fn facts_if_same(chain: &ChainDir, set: GlobalsName, read: &Read) -> Option<Facts> {
    let facts = Facts::of(chain, set).ok()?;
    let written = Content::read(chain, set).ok()?;
    let is_same =
        written.says_the_same_as(&read.content) && facts.roles_by_oid == read.roles.by_oid;
    is_same.then_some(facts)
}

/// What a set would hold now.
struct Read {
    /// The last change that is in it.
    change: Change,
    content: Content,
    roles: Roles,
    /// Fingerprint of the shared catalogs that it is of; `None` if they changed while they were read.
    catalogs: Option<String>,
}

/// Read while nothing changed, if possible. Roles and tablespaces are dumped only if they are not those of the newest set.
fn read_at_rest(chain: &ChainDir, source: &Source) -> Result<Read, Failure> {
    let mut attempt = 1;
    loop {
        let change = status::cluster_changes().read();
        let now = transaction::run(shared_catalogs::fingerprint)?;
        let (globals_sql, after) = match shared_catalogs::dumped(chain, &now) {
            Some(written) => (written, now.clone()),
            None => {
                let dumped = dump::globals(source)?;
                (dumped, transaction::run(shared_catalogs::fingerprint)?)
            }
        };
        let (database_sql, roles) = transaction::run(properties::now)?;
        let is_at_rest = status::cluster_changes().read().count == change.count && now == after;
        if is_at_rest || attempt == ATTEMPTS {
            let content = Content {
                globals_sql,
                database_sql,
            };
            return Ok(Read {
                change,
                content,
                roles,
                catalogs: is_at_rest.then_some(now),
            });
        }
        attempt += 1;
    }
}

/// LSN and time by which a set with this last change is named. They are durable: a crash does not undo what
/// the files contain.
fn named_by(change: Change, newest: Lsn) -> (Lsn, i64) {
    if change.lsn <= newest.0 {
        let now = time::now().timestamp_micros();
        return (Lsn(server::emit_position_mark()), now);
    }
    // The WAL writer flushes an asynchronous commit soon.
    while server::wal_flush_lsn() < change.lsn {
        server::wait_a_moment(FLUSH_POLL);
    }
    (Lsn(change.lsn), change.at)
}

/// Prepared transactions survive a crash, but our knowledge of their changes does not: at the first pass any
/// of them may have changed something. Forgets them when all of these have ended.
fn look_for_prepared(is_first: bool) -> Result<(), Failure> {
    let changes = status::cluster_changes();
    if is_first {
        changes.note_prepared(time::now().timestamp_micros());
    }
    let at = changes.prepared_at();
    if at == 0 {
        return Ok(());
    }
    const QUERY: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts \
        WHERE prepared <= pg_catalog.to_timestamp($1::float8 / 1000000))";
    if query::one::<bool>(QUERY, &[at.into()])? == Some(false) {
        changes.forget_prepared(at);
    }
    Ok(())
}

/// Delays the next attempt by 1, 2, 4, … 60 seconds.
fn note_attempt(globals: &mut GlobalsStatus) {
    let delay = workers::backoff(globals.failures);
    globals.failures += 1;
    globals.not_before = time::now().timestamp_micros() + delay.as_micros() as i64;
}

/// The cause seems to be removed: the next attempt starts immediately, and reports an error if it is not.
pub fn forget_failures(globals: &mut GlobalsStatus) {
    globals.failures = 0;
    globals.not_before = 0;
    globals.error.set("");
}

/// Records on the board why an attempt failed, and logs it unless the previous one failed too.
fn note_failure(database: pg_sys::Oid, message: &str) {
    let is_new = status::update(database, |entry| {
        let is_new = entry.globals.error.is_empty();
        entry.globals.error.set(message);
        is_new
    });
    if is_new == Some(false) {
        return;
    }
    let what = "pg_incrbackup: could not record roles, tablespaces and database settings";
    Failure::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, what)
        .detail(message)
        .hint("This is retried until it succeeds; incr_slot_health() shows when it has.")
        .log(PgLogLevel::WARNING);
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut GlobalsStatus)) {
    status::update_existing(database, |entry| change(&mut entry.globals));
}
