//! Removal of what crashed drills left behind, started by the launcher.
//!
//! A file records that a drill has started, even if its database has been dropped since. All directories are checked
//! once; afterwards drills are known from the board, where each announces its start, and only their directories are
//! checked until the file no longer exists.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use archive::drills;
use archive::{ArchiveRoot, DatabaseDir};
use pgrx::prelude::*;

use super::job;
use crate::pg::server;
use crate::{place, settings, status};

/// Minimum and maximum delay before a failed removal of leftovers is retried.
pub(super) const FIRST_CLEAN_UP_RETRY: Duration = Duration::from_secs(5);
pub(super) const CLEAN_UP_RETRY: Duration = Duration::from_secs(600);

/// All directories are checked again after this time: the archive may have been mounted in the meantime.
const CHECK_ALL: Duration = Duration::from_secs(3600);

/// The launcher's memory of drills that have started.
#[derive(Default)]
pub struct CleanUp {
    checked_all: Option<Instant>,
    /// Databases with a file of a started drill, or possibly with one.
    begun: HashSet<u32>,
    /// The last drill of each on the board: its number and its start time.
    announced: HashMap<u32, (u64, i64)>,
}

impl CleanUp {
    /// Starts workers for leftovers of drills that are not running; also for dropped databases.
    pub fn start_where_needed(&mut self) {
        let is_due = |last: Instant| last.elapsed() >= CHECK_ALL;
        let must_check_all = self.checked_all.is_none_or(is_due);
        self.note_announced();
        // This does not create a directory: the archive may not be mounted yet.
        if !must_check_all && self.begun.is_empty()
            || !settings::directory().is_some_and(|path| path.is_dir())
        {
            return;
        }
        let Ok(Some(root)) = place::existing_root() else {
            return;
        };
        if must_check_all {
            self.check_all(&root);
        }
        let system_identifier = server::system_identifier();
        self.begun.retain(|oid| {
            match root.find_database(system_identifier, *oid) {
                Ok(Some(found)) => is_left(*oid, &found),
                // If a drill of it starts again, the board announces it.
                found => found.is_err(),
            }
        });
    }

    /// Drills that the board has announced since the last call.
    fn note_announced(&mut self) {
        let entries = status::read_all().into_iter();
        let announced: HashMap<u32, (u64, i64)> = entries
            .map(|entry| (entry.database, (entry.drill.number, entry.drill.started_at)))
            .collect();
        let is_new = |(oid, drill): &(&u32, &(u64, i64))| {
            drill.0 != 0 && self.announced.get(*oid) != Some(*drill)
        };
        let new = announced.iter().filter(is_new).map(|(oid, _)| *oid);
        self.begun.extend(new);
        self.announced = announced;
    }

    fn check_all(&mut self, root: &ArchiveRoot) {
        let Ok(ours) = root.databases_of(server::system_identifier()) else {
            return;
        };
        self.checked_all = Some(Instant::now());
        let has_begun = |found: &DatabaseDir| !matches!(drills::begun(found), Ok(None));
        let begun = ours.into_iter().filter(|(_, found)| has_begun(found));
        self.begun.extend(begun.map(|(oid, _)| oid));
    }
}

/// Starts the removal of what a drill of this database left behind, unless it is running. False if nothing is left and
/// no drill is running.
fn is_left(oid: u32, found: &DatabaseDir) -> bool {
    let database = pg_sys::Oid::from(oid);
    let drill = status::read(database).unwrap_or_default().drill;
    let is_alive = drill.pid != 0 && server::is_process_alive(drill.pid);
    match drills::begun(found) {
        Ok(None) => return is_alive,
        Ok(Some(_)) => {}
        Err(_) => return true,
    }
    // It may be running, on the server that owns the archive.
    let is_ours = place::ensure_ours(database).is_ok();
    if is_ours && !is_alive && drill.not_before <= archive::time::now().timestamp_micros() {
        job::start_clean_up(database);
    }
    true
}
