//! Databases whose backup is set up without incr_setup(): those that `pg_incrbackup.databases` selects and that were never
//! backed up by this server.
//!
//! A worker creates the extension and checks everything that incr_setup() checks (`worker`); then a base worker does the
//! rest. What fails is on the board, where health finds it, once in the log, and is tried again at increasing intervals.
//!
//! Slot and chain are made whatever bases are taken elsewhere, so that changes are captured from then on. The first base
//! follows when there is a free turn.
//!
//! What somebody has ended stays ended: a database whose chain has ended, by incr_teardown() or because it is broken, is
//! not set up again. The files remember it, so it holds after a restart, and until its directory is removed. Where they
//! seem not to be mounted nothing is set up (`obstacle`).

pub mod obstacle;
mod worker;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use archive::selection::Selection;
use archive::time;
use pgrx::prelude::*;

use crate::backup::{self, Job, SCRATCH_PREFIX};
use crate::pg::catalogs::databases::Database;
use crate::pg::failure::Failure;
use crate::pg::server::{self, title};
use crate::status::{self, BasePhase, DatabaseStatus};
use crate::workers::has_slot;
use crate::{place, preflight, settings, workers};

/// Files are asked this often, at most.
const LOOK: Duration = Duration::from_secs(5);

/// So many setups may be at work before their first base, in which they wait for the same transactions.
const AT_ONCE: usize = 4;

/// How a database is named until a restore into it is complete (by restore.sh and by the program), and the connection limit
/// with which the program marks it.
const UNFINISHED: &[u8] = b".restoring";
const MARKED: i32 = 2_147_480_000;

/// True for a database that can be backed up and is not a passing one: templates 0 and 1, scratch databases and those into
/// which a restore is in progress are never set up, and nobody misses their backup.
pub fn is_permanent(database: &Database) -> bool {
    let name = database.name.as_slice();
    database.allows_connections
        && name != b"template0"
        && name != b"template1"
        && !name.starts_with(SCRATCH_PREFIX.as_bytes())
        && !name.ends_with(UNFINISHED)
        && database.connection_limit < MARKED
}

/// What a database lacks of being set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Everything.
    Setup,
    /// The first base; changes are captured.
    FirstBase,
    /// Nothing, or what somebody has ended.
    Nothing,
}

/// According to slot and files.
pub fn missing(database: pg_sys::Oid) -> Result<Missing, Failure> {
    let chain = place::latest_chain(database)?;
    let is_begun = chain.is_some();
    let lacks_base = match chain.filter(|chain| chain.info.ended.is_none()) {
        Some(chain) => chain.bases()?.is_empty(),
        None => false,
    };
    // A slot without files: the archive may not be mounted.
    let may_begin = !has_slot(database) && (lacks_base || !is_begun);
    Ok(if may_begin {
        Missing::Setup
    } else if lacks_base {
        Missing::FirstBase
    } else {
        Missing::Nothing
    })
}

/// How many more may be started now.
struct Room {
    setups: usize,
    bases: usize,
}

impl Room {
    fn now() -> Room {
        let at_work = status::read_all().iter().filter(|e| is_at_work(e)).count();
        Room {
            setups: AT_ONCE.saturating_sub(at_work),
            bases: backup::free_turns(),
        }
    }

    /// Takes what this needs; false if there is no more of it.
    fn take(&mut self, missing: Missing) -> bool {
        let left = if missing == Missing::FirstBase {
            &mut self.bases
        } else {
            &mut self.setups
        };
        let is_there = *left > 0;
        *left = left.saturating_sub(1);
        is_there
    }
}

/// A setup before its base.
fn is_at_work(entry: &DatabaseStatus) -> bool {
    let base = &entry.base;
    let is_before_base =
        base.phase != BasePhase::Fencing && !base.has_turn && base.turn_asked_at == 0;
    server::is_process_alive(entry.setup.pid) || base.is_setting_up() && is_before_base
}

/// The databases for whose setup others wait; empty if none has to. Needs a transaction.
pub fn in_front() -> Vec<pg_sys::Oid> {
    let entries = status::read_all().into_iter();
    let at_work: Vec<pg_sys::Oid> = entries
        .filter(is_at_work)
        .map(|entry| pg_sys::Oid::from(entry.database))
        .collect();
    if at_work.len() < AT_ONCE {
        return Vec::new();
    }
    at_work
}

/// The launcher's memory.
#[derive(Default)]
pub struct AutomaticSetup {
    last: Option<Instant>,
    directory: Option<PathBuf>,
    /// Nothing is missing there.
    settled: HashSet<u32>,
    /// Names in the setting of databases that do not exist, and databases for which the board has no room: logged once.
    unknown: HashSet<Vec<u8>>,
    without_room: HashSet<u32>,
    /// Why nothing can be set up, as it was logged last.
    obstacle: Option<String>,
}

impl AutomaticSetup {
    /// Starts what is due: setups of a few databases at a time, and first bases as `base_workers` allows. `databases` are
    /// all that exist.
    pub fn look(&mut self, databases: &[Database]) {
        let selection = settings::databases();
        if self.last.is_some_and(|last| last.elapsed() < LOOK) {
            return;
        }
        self.last = Some(Instant::now());
        let directory = settings::directory();
        if directory != self.directory {
            self.directory = directory;
            self.settled.clear();
        }
        self.note_unknown(&selection, databases);
        let is_selected =
            |database: &&Database| is_permanent(database) && selection.selects(&database.name);
        let selected: Vec<pg_sys::Oid> = databases
            .iter()
            .filter(is_selected)
            .map(|database| database.oid)
            .collect();
        forget_others(&selected);
        self.settled
            .retain(|oid| selected.iter().any(|database| database.to_u32() == *oid));
        let is_settled = |database: &pg_sys::Oid| {
            self.settled.contains(&database.to_u32()) && has_slot(*database)
        };
        let open: Vec<pg_sys::Oid> = selected
            .into_iter()
            .filter(|database| !is_settled(database))
            .collect();
        if open.is_empty() || self.is_obstructed(databases) {
            return;
        }
        let mut room = Room::now();
        for database in open {
            self.look_at(database, &mut room);
        }
    }

    /// True while nothing can be set up, which is logged once.
    fn is_obstructed(&mut self, databases: &[Database]) -> bool {
        let failure = obstacle::find(databases);
        let text = failure.as_ref().map(Failure::in_full);
        if let (Some(failure), true) = (failure, self.obstacle != text) {
            let message = "pg_incrbackup: no backup is set up automatically";
            let hint = failure.hint.clone().unwrap_or_default();
            Failure::new(failure.code, message)
                .detail(failure.in_full())
                .hint(hint)
                .log(PgLogLevel::WARNING);
        }
        self.obstacle = text;
        self.obstacle.is_some()
    }

    fn look_at(&mut self, database: pg_sys::Oid, room: &mut Room) {
        let entry = status::read(database).unwrap_or_default();
        let setup = &entry.setup;
        let is_waiting = setup.not_before > time::now().timestamp_micros();
        if is_waiting
            || entry.base.is_running()
            || server::is_process_alive(setup.pid)
            || entry.is_suspended()
        {
            return;
        }
        let missing = match missing(database) {
            Ok(Missing::Nothing) => {
                self.settled.insert(database.to_u32());
                return backup::note_setup_success(database);
            }
            Ok(missing) => missing,
            Err(failure) => {
                backup::begin_setup(database);
                return backup::note_setup_failure(database, &failure);
            }
        };
        if !room.take(missing) {
            return;
        }
        if status::update(database, |_| ()).is_none() {
            if self.without_room.insert(database.to_u32()) {
                let which = format!(
                    "The backup of database {} is not set up.",
                    database.to_u32()
                );
                preflight::no_room().detail(which).log(PgLogLevel::WARNING);
            }
            return;
        }
        self.without_room.remove(&database.to_u32());
        let started = if setup.is_prepared {
            backup::continue_setup(database);
            backup::start(database, Job::AutomaticSetup).map(|_| ())
        } else if missing == Missing::FirstBase {
            backup::begin_setup(database);
            backup::start(database, Job::AutomaticSetup).map(|_| ())
        } else {
            backup::begin_setup(database);
            let worker = workers::of_kind("setup", database).load_dynamic();
            worker.map(|_| ()).map_err(|_| workers::none_is_free())
        };
        if let Err(failure) = started {
            backup::note_setup_failure(database, &failure);
        }
    }

    /// Names in the setting that no database has, which may be misspelt: once in the log.
    fn note_unknown(&mut self, selection: &Selection, databases: &[Database]) {
        let exists = |name: &[u8]| databases.iter().any(|database| database.name == name);
        self.unknown.retain(|name| !exists(name));
        for name in selection.named().filter(|name| !exists(name)) {
            if self.unknown.insert(name.to_vec()) {
                title::log(&format!(
                    "database \"{}\" of pg_incrbackup.databases does not exist; its backup is set up when it does",
                    String::from_utf8_lossy(name)
                ));
            }
        }
    }
}

/// Databases that are no longer selected are not waited for.
fn forget_others(selected: &[pg_sys::Oid]) {
    for entry in status::read_all() {
        let database = pg_sys::Oid::from(entry.database);
        if is_under_way(&entry) && entry.setup.pid == 0 && !selected.contains(&database) {
            backup::note_setup_success(database);
        }
    }
}

/// True while the board's entry of a database without a slot is needed for this.
pub fn is_under_way(entry: &DatabaseStatus) -> bool {
    let setup = &entry.setup;
    setup.pid != 0 || setup.is_prepared || setup.failures > 0
}

/// Why the setup of a database that is selected has not succeeded, for health; `None` if nothing has failed yet.
pub fn problem(entry: &DatabaseStatus) -> Option<String> {
    let setup = &entry.setup;
    let separator = if setup.hint.is_empty() { "" } else { " " };
    (!setup.error.is_empty()).then(|| {
        let (error, hint) = (setup.error.get(), setup.hint.get());
        format!("its backup could not be set up, which is retried: {error}.{separator}{hint}")
    })
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut status::SetupStatus)) {
    status::update_existing(database, |entry| change(&mut entry.setup));
}
