//! The directory of a database: it is found by its contents, not by its name.
//!
//! A database is identified by system identifier and OID, which are in `owner.json` and in its chains. A copy of its
//! directory below the same root contains the same. In that case the directory is used whose `owner.json` contains its own
//! name, and if there is none (written by a version that did not record it, or put here by `archive_command`, which also
//! leaves the one that a renamed database had before), the one that reaches furthest, of equal ones the first by name. So
//! every process uses the same one, whenever it searched. Directories of other clusters in the same root, and unreadable ones, do not matter.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::database::DatabaseDir;
use super::names::SegmentName;
use super::root::ArchiveRoot;
use crate::error::{Error, Result};
use crate::owner;

/// A system identifier and a database's OID.
type DatabaseId = (u64, u32);

/// The directories of one database.
#[derive(Debug)]
pub struct Directories {
    pub database_oid: u32,
    /// The one that is used.
    pub directory: DatabaseDir,
    /// Copies, which are neither read nor written.
    pub copies: Vec<DatabaseDir>,
}

/// Directories of unknown databases.
pub(super) type Unreadable = Vec<(PathBuf, Error)>;

/// The result of searching the root for one database.
#[derive(Default)]
struct Found {
    databases: BTreeMap<DatabaseId, Directories>,
    unreadable: Unreadable,
}

/// What a directory contains about its database.
struct Identification {
    database: DatabaseId,
    /// Its `owner.json` contains the name of this directory.
    is_original: bool,
}

impl ArchiveRoot {
    /// The directory of this database's chains, if there is one. Unreadable directories of other databases do
    /// not matter.
    pub fn find_database(
        &self,
        system_identifier: u64,
        database_oid: u32,
    ) -> Result<Option<DatabaseDir>> {
        let (ours, unreadable) = self.look_for(system_identifier, database_oid)?;
        if ours.is_some() {
            return Ok(ours);
        }
        // It may be the requested one.
        let unreadable = unreadable.into_iter().next();
        unreadable.map_or(Ok(None), |(_, error)| Err(error))
    }

    /// Every directory of this cluster's databases, with their OIDs, as far as they can be read.
    pub fn databases_of(&self, system_identifier: u64) -> Result<Vec<(u32, DatabaseDir)>> {
        let all = self.directories_of(system_identifier)?.into_iter();
        Ok(all.map(|of| (of.database_oid, of.directory)).collect())
    }

    /// The same, with their copies.
    pub fn directories_of(&self, system_identifier: u64) -> Result<Vec<Directories>> {
        let found = self.look()?.databases.into_iter();
        let ours = found.filter(|((system, _), _)| *system == system_identifier);
        Ok(ours.map(|(_, directories)| directories).collect())
    }

    /// The directory of a database, and unreadable ones, which may be it.
    pub(super) fn look_for(
        &self,
        system_identifier: u64,
        database_oid: u32,
    ) -> Result<(Option<DatabaseDir>, Unreadable)> {
        let wanted = (system_identifier, database_oid);
        if let Some(ours) = self.where_it_was(wanted) {
            return Ok((Some(ours), Vec::new()));
        }
        let mut found = self.look()?;
        let ours = found.databases.remove(&wanted);
        Ok((ours.map(|ours| ours.directory), found.unreadable))
    }

    fn look(&self) -> Result<Found> {
        let mut found = Found::default();
        let mut originals = BTreeMap::new();
        // In the order of names.
        for database in self.databases()? {
            let identified = match identify(&database) {
                Ok(Some(identified)) => identified,
                Ok(None) => continue,
                Err(error) => {
                    found.unreadable.push((database.path, error));
                    continue;
                }
            };
            let Some(former) = found.databases.get_mut(&identified.database) else {
                originals.insert(identified.database, identified.is_original);
                let first = Directories {
                    database_oid: identified.database.1,
                    directory: database,
                    copies: Vec::new(),
                };
                found.databases.insert(identified.database, first);
                continue;
            };
            // The name of a directory is unique below the root: at most one is the original.
            let mut copy = database;
            let has_original = originals[&identified.database];
            if identified.is_original && !has_original {
                originals.insert(identified.database, true);
                std::mem::swap(&mut former.directory, &mut copy);
            } else if !has_original && reach(&copy) > reach(&former.directory) {
                std::mem::swap(&mut former.directory, &mut copy);
            }
            former.copies.push(copy);
        }
        for (id, directories) in &found.databases {
            let place = (self.path().to_owned(), *id);
            places().insert(place, directories.directory.path.clone());
        }
        Ok(found)
    }

    /// The directory that this process found before, if it is still that of the database.
    fn where_it_was(&self, wanted: DatabaseId) -> Option<DatabaseDir> {
        let place = (self.path().to_owned(), wanted);
        let path = places().get(&place).cloned()?;
        let database = DatabaseDir::at(path)?;
        let identified = identify(&database).ok().flatten()?;
        (identified.database == wanted && identified.is_original).then_some(database)
    }
}

/// Where this process found databases, by root: a search finds all of them.
static PLACES: Mutex<BTreeMap<(PathBuf, DatabaseId), PathBuf>> = Mutex::new(BTreeMap::new());

fn places() -> MutexGuard<'static, BTreeMap<(PathBuf, DatabaseId), PathBuf>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a directory has come: its latest chain with a segment, and the start of the last one there. What cannot be read
/// has not.
fn reach(database: &DatabaseDir) -> Option<(u32, SegmentName)> {
    let chains = database.chains().ok()?.into_iter().rev();
    let mut ends = chains.filter_map(|chain| {
        let segments = chain.segments().ok()?;
        segments.last().map(|(name, _)| (chain.number, *name))
    });
    ends.next()
}

/// Identifies the database of a directory; `None` if that is unknown.
fn identify(database: &DatabaseDir) -> Result<Option<Identification>> {
    // An unreadable owner is reported when somebody wants to write.
    if let Ok(Some(owner)) = owner::read(database.path()) {
        return Ok(Some(Identification {
            database: (owner.identity.system_identifier, owner.database_oid),
            is_original: owner.is_of(database.path()),
        }));
    }
    let chain = database.latest_chain()?;
    Ok(chain.map(|chain| Identification {
        database: (chain.info.system_identifier, chain.info.database_oid),
        is_original: false,
    }))
}
