//! What drills that died have left behind, and who drops it: for the launcher.
//!
//! A drill's file says that it has begun, also of a database that was dropped since. All directories are looked at
//! once; from then on a drill is known from the board, where each says that it begins, and only its directory is
//! looked at until its file is gone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use archive::drills;
use archive::{ArchiveRoot, DatabaseDir};
use pgrx::prelude::*;

use super::job;
use crate::pg::server;
use crate::{place, settings, status};

/// How long after a failure to drop what a drill left behind it is tried again, at least and at most.
pub(super) const FIRST_CLEAN_UP_RETRY: Duration = Duration::from_secs(5);
pub(super) const CLEAN_UP_RETRY: Duration = Duration::from_secs(600);

/// All directories are looked at again after so long: the archive may have been mounted after the first look.
const LOOK_AT_ALL: Duration = Duration::from_secs(3600);

/// The launcher's memory of drills that have begun.
#[derive(Default)]
pub struct Tidying {
    looked_at_all: Option<Instant>,
    /// Databases whose drill's file was there, or may be.
    begun: HashSet<u32>,
    /// The last drill of each that the board told of: its number and its start.
    told: HashMap<u32, (u64, i64)>,
}

impl Tidying {
    /// Starts workers where something is left that no drill is at work on. Of dropped databases too.
    pub fn start_where_needed(&mut self) {
        // Looking makes no directory: it may yet be mounted.
        let must_look = |last: Instant| last.elapsed() >= LOOK_AT_ALL;
        let must_look = self.looked_at_all.is_none_or(must_look);
        self.note_told();
        if !must_look && self.begun.is_empty()
            || !settings::directory().is_some_and(|path| path.is_dir())
        {
            return;
        }
        let Ok(root) = place::root() else {
            return;
        };
        if must_look {
            self.look_at_all(&root);
        }
        let system_identifier = server::system_identifier();
        self.begun.retain(|oid| {
            match root.find_database(system_identifier, *oid) {
                Ok(Some(found)) => is_left(*oid, &found),
                // The board says so again where it goes on.
                found => found.is_err(),
            }
        });
    }

    /// Those of which the board says something new.
    fn note_told(&mut self) {
        let entries = status::read_all().into_iter();
        let told: HashMap<u32, (u64, i64)> = entries
            .map(|entry| (entry.database, (entry.drill.number, entry.drill.started_at)))
            .collect();
        let is_new = |(oid, drill): &(&u32, &(u64, i64))| {
            drill.0 != 0 && self.told.get(*oid) != Some(*drill)
        };
        let new = told.iter().filter(is_new).map(|(oid, _)| *oid);
        self.begun.extend(new);
        self.told = told;
    }

    fn look_at_all(&mut self, root: &ArchiveRoot) {
        let Ok(ours) = root.databases_of(server::system_identifier()) else {
            return;
        };
        self.looked_at_all = Some(Instant::now());
        let has_begun = |found: &DatabaseDir| !matches!(drills::begun(found), Ok(None));
        let begun = ours.into_iter().filter(|(_, found)| has_begun(found));
        self.begun.extend(begun.map(|(oid, _)| oid));
    }
}

/// Has dropped what a drill of this database left, unless it runs. False where there is nothing left, and no drill.
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
        job::start_tidying(database);
    }
    true
}
