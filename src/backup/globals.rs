//! The globals worker: writes a new set of globals when roles, tablespaces or the database itself
//! have changed.
//!
//! A background worker that lives for one look. The launcher starts it for every backed-up database
//! whose newest set is not known to be true: after a committed change anywhere in the cluster (the
//! count in `cluster_changes`), after every start of the server, which forgets that count, and when a
//! base or a chain asks. It writes only what differs from the newest set of its chain.
//!
//! It is apart from the base worker, so that a base of hours delays no set, and a change of a role
//! never makes incr_dump() find the place taken.
//!
//! A set is named by the commit LSN of the last change that it holds. The count is read before the
//! dump and compared after it: where something changed meanwhile, the dump is made again, so that no
//! set holds more than its name says. Only changes that follow each other within about a second share a
//! set, named by the last of them. Where no change was seen (after a start of the server), the name is
//! the present end of the WAL.

use std::time::{Duration, Instant};

use archive::globals::{self, Content, Facts};
use archive::{time, ChainDir, Lsn};
use chrono::DateTime;
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use super::dump::{self, Source};
use super::properties::{self, Roles};
use crate::cluster_changes::Change;
use crate::pg::failure::Failure;
use crate::pg::server::{self, process, query, signals, transaction};
use crate::status::{self, GlobalsStatus};
use crate::{place, workers};

/// How often a dump is made again because something changed meanwhile.
const ATTEMPTS: u32 = 3;
/// The next look comes no sooner than this after the last one, and no sooner than four times what
/// that one took: a script that makes a thousand roles does not make a thousand dumps.
const PAUSE: Duration = Duration::from_secs(1);
/// So many workers in a row that ended without a word are told of: one may just have been stopped.
const SILENT_FAILURES: u32 = 3;
const FLUSH_POLL: Duration = Duration::from_millis(20);

/// Has the launcher look at the globals of `database`, whether a change was seen or not.
pub fn want(database: pg_sys::Oid) {
    status::update(database, |entry| entry.globals.wanted += 1);
    crate::workers::wake_launcher();
}

/// What the launcher does about the globals of a database.
pub enum Due {
    /// Nothing is to be done.
    Nothing,
    /// Not before so long.
    In(Duration),
    Started(DynamicBackgroundWorker),
}

/// Starts a worker where one is due and none runs. For the launcher.
pub fn start_if_due(database: pg_sys::Oid) -> Due {
    let entry = status::read(database).unwrap_or_default();
    let globals = &entry.globals;
    let is_true = globals.done >= globals.wanted
        && globals.changes_done >= status::cluster_changes().read().count;
    let is_away = entry.held || entry.aside_for != 0 || !entry.broken.is_empty();
    if is_true || is_away || globals.pid != 0 && server::is_backend_alive(globals.pid) {
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
            // Until the worker says otherwise it has failed: it may end without a word.
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
    // Whoever needs the database for itself asks us to keep away first and looks for us then. (It holds
    // a lock that pg_dumpall would wait for while it waits for us.)
    let is_away = status::update(database, |entry| {
        entry.globals.pid = std::process::id() as i32;
        entry.aside_for != 0
    });
    if is_away != Some(false) {
        return update(database, |globals| globals.pid = 0);
    }
    signals::end_on_sigterm();
    workers::connect(Some(database));
    signals::at_exit(|| update(server::my_database(), |globals| globals.pid = 0));
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
    let change = match chain.filter(|chain| chain.info.ended.is_none()) {
        Some(chain) => look(&chain, entry.globals.changes_done == 0)?,
        // Nothing to add to; the next chain asks by itself.
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

/// Writes a set if there is something to write; gives up to which change the newest one is true.
fn look(chain: &ChainDir, is_first: bool) -> Result<Change, Failure> {
    globals::tidy(chain)?;
    let source = transaction::run(Source::collect)?;
    let (change, content, named) = dump_at_rest(&source)?;
    transaction::run(|| look_for_prepared(is_first))?;
    let newest = chain.globals_sets()?.pop();
    if let Some(newest) = newest {
        let is_same = Content::read(chain, newest)?.says_the_same_as(&content)
            && Facts::of(chain, newest)?.roles_by_oid == named.by_oid;
        if is_same {
            return Ok(change);
        }
    }
    let (lsn, at) = named_by(change, newest.map_or(Lsn(0), |set| set.lsn));
    let facts = Facts {
        format: archive::layout::chain::FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
        lsn,
        changed_at: DateTime::from_timestamp_micros(at).unwrap_or_else(time::now),
        roles: named.by_database_sql,
        roles_by_oid: named.by_oid,
    };
    globals::write(chain, &content, &facts)?;
    crate::offsite::want(server::my_database());
    Ok(change)
}

/// A dump during which nothing changed, where that can be had, with the last change before it.
fn dump_at_rest(source: &Source) -> Result<(Change, Content, Roles), Failure> {
    let mut attempt = 1;
    loop {
        let change = status::cluster_changes().read();
        let globals_sql = dump::globals_to(Vec::new(), source)?;
        let (database_sql, roles) = transaction::run(properties::now)?;
        if status::cluster_changes().read().count == change.count || attempt == ATTEMPTS {
            let content = Content {
                globals_sql,
                database_sql,
            };
            return Ok((change, content, roles));
        }
        attempt += 1;
    }
}

/// LSN and time that a set with this last change is named by. They are durable: a crash does not
/// undo what the files tell of.
fn named_by(change: Change, newest: Lsn) -> (Lsn, i64) {
    if change.lsn <= newest.0 {
        let now = time::now().timestamp_micros();
        return (Lsn(server::emit_position_mark()), now);
    }
    // An asynchronous commit is flushed by the WAL writer soon.
    while server::wal_flush_lsn() < change.lsn {
        server::wait_a_moment(FLUSH_POLL);
    }
    (Lsn(change.lsn), change.at)
}

/// Prepared transactions outlive a crash, our knowledge of what they changed does not: at the first
/// look any of them may have changed something. Forgets them when all that may have are gone.
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

/// Has the next attempt wait 1, 2, 4, … 60 seconds.
fn note_attempt(globals: &mut GlobalsStatus) {
    let delay = workers::backoff(globals.failures);
    globals.failures += 1;
    globals.not_before = time::now().timestamp_micros() + delay.as_micros() as i64;
}

/// The cause is gone, as far as anybody knows: the next attempt comes at once, and says so if it is not.
pub fn forget_failures(globals: &mut GlobalsStatus) {
    globals.failures = 0;
    globals.not_before = 0;
    globals.error.set("");
}

/// Leaves on the board why an attempt failed, and logs it unless the one before failed too.
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
    status::update(database, |entry| change(&mut entry.globals));
}
