//! Which directory is a database's: found by what it backs up, not by its name.
//!
//! A database is known by system identifier and oid, which its owner and its chains carry. Somebody may have made a copy
//! of its directory below the same root, which carries the same. Then the one counts whose `owner.json` names the
//! directory that it is in, and where none does (a version wrote it that did not note that), the first by name. So every
//! process takes the same one, whenever it looked first. What another cluster has in the same root is no concern of
//! ours, nor what cannot be read there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::database::DatabaseDir;
use super::root::ArchiveRoot;
use crate::error::{Error, Result};
use crate::owner;

/// A system identifier and a database's OID.
type Whose = (u64, u32);

/// The directories of one database.
#[derive(Debug)]
pub struct Directories {
    pub database_oid: u32,
    /// The one that counts.
    pub directory: DatabaseDir,
    /// The others, which nobody reads or writes.
    pub copies: Vec<DatabaseDir>,
}

/// Directories of which it can't be said whose they are.
pub(super) type Unreadable = Vec<(PathBuf, Error)>;

/// The result of searching the root for one database.
#[derive(Default)]
struct Found {
    databases: BTreeMap<Whose, Directories>,
    unreadable: Unreadable,
}

/// What a directory says of itself.
struct Sign {
    whose: Whose,
    /// Its `owner.json` names this very directory.
    is_at_home: bool,
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
        // It may be the one that is looked for.
        let unreadable = unreadable.into_iter().next();
        unreadable.map_or(Ok(None), |(_, error)| Err(error))
    }

    /// Every directory of this cluster's databases, with their OIDs, as far as they can be read.
    pub fn databases_of(&self, system_identifier: u64) -> Result<Vec<(u32, DatabaseDir)>> {
        let all = self.directories_of(system_identifier)?.into_iter();
        Ok(all.map(|of| (of.database_oid, of.directory)).collect())
    }

    /// The same with what there are of copies.
    pub fn directories_of(&self, system_identifier: u64) -> Result<Vec<Directories>> {
        let found = self.look()?.databases.into_iter();
        let ours = found.filter(|((system, _), _)| *system == system_identifier);
        Ok(ours.map(|(_, directories)| directories).collect())
    }

    /// The directory of a database, and what may be it.
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
        let mut at_home = BTreeMap::new();
        // In the order of names.
        for database in self.databases()? {
            let sign = match sign_of(&database) {
                Ok(Some(sign)) => sign,
                Ok(None) => continue,
                Err(error) => {
                    found.unreadable.push((database.path, error));
                    continue;
                }
            };
            let Some(former) = found.databases.get_mut(&sign.whose) else {
                at_home.insert(sign.whose, sign.is_at_home);
                let first = Directories {
                    database_oid: sign.whose.1,
                    directory: database,
                    copies: Vec::new(),
                };
                found.databases.insert(sign.whose, first);
                continue;
            };
            // Two directories of one root do not have one name.
            let mut copy = database;
            if sign.is_at_home && !at_home[&sign.whose] {
                at_home.insert(sign.whose, true);
                std::mem::swap(&mut former.directory, &mut copy);
            }
            former.copies.push(copy);
        }
        for (whose, directories) in &found.databases {
            let place = (self.path().to_owned(), *whose);
            places().insert(place, directories.directory.path.clone());
        }
        Ok(found)
    }

    /// The directory that this process found before, if it is still that of the database.
    fn where_it_was(&self, wanted: Whose) -> Option<DatabaseDir> {
        let place = (self.path().to_owned(), wanted);
        let path = places().get(&place).cloned()?;
        let database = DatabaseDir::at(path)?;
        let sign = sign_of(&database).ok().flatten()?;
        (sign.whose == wanted && sign.is_at_home).then_some(database)
    }
}

/// Where this process found databases, by root: a search finds all of them.
static PLACES: Mutex<BTreeMap<(PathBuf, Whose), PathBuf>> = Mutex::new(BTreeMap::new());

fn places() -> MutexGuard<'static, BTreeMap<(PathBuf, Whose), PathBuf>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tells of which database a directory is; `None` where nothing does.
fn sign_of(database: &DatabaseDir) -> Result<Option<Sign>> {
    // The owner that can't be read is missed when somebody wants to write.
    if let Ok(Some(owner)) = owner::read(database.path()) {
        return Ok(Some(Sign {
            whose: (owner.identity.system_identifier, owner.database_oid),
            is_at_home: owner.is_of(database.path()),
        }));
    }
    let chain = database.latest_chain()?;
    Ok(chain.map(|chain| Sign {
        whose: (chain.info.system_identifier, chain.info.database_oid),
        is_at_home: false,
    }))
}
