//! The directory of one database: found by what it backs up, not by its name.
//!
//! A database is known by system identifier and oid, which its chains carry; the directory's name
//! is for the reader and follows a renamed database. Refuses an archive of another cluster.

use std::fs;
use std::path::{Path, PathBuf};

use super::chain::{ChainDir, NewChain};
use super::names::{chain_name, parse_chain_name};
use super::root::{holds_chains, ArchiveRoot};
use crate::durable;
use crate::error::{Error, Result};
use crate::escape::{percent_decode, percent_encode_name};
use crate::restore::{README_TXT, RESTORE_SH};

const RESTORE_FILES: [(&str, &str); 2] = [("restore.sh", RESTORE_SH), ("README.txt", README_TXT)];

/// The directory of one database.
#[derive(Debug, Clone)]
pub struct DatabaseDir {
    path: PathBuf,
}

impl ArchiveRoot {
    /// Refuses a root that holds a chain of another cluster.
    pub fn ensure_system_identifier(&self, system_identifier: u64) -> Result<()> {
        for database in self.databases()? {
            // What can't be read is the trouble of its own database, not of all.
            for chain in database.chains().unwrap_or_default() {
                if chain.info.system_identifier != system_identifier {
                    return Err(Error::OtherSystem {
                        path: chain.path,
                        found: chain.info.system_identifier,
                        expected: system_identifier,
                    });
                }
            }
        }
        Ok(())
    }

    /// The directory that holds this database's chains, or none yet. One of another database that can't be
    /// read is in nobody else's way.
    pub fn find_database(
        &self,
        system_identifier: u64,
        database_oid: u32,
    ) -> Result<Option<DatabaseDir>> {
        self.ensure_system_identifier(system_identifier)?;
        let mut unreadable = None;
        for database in self.databases()? {
            match database.latest_chain() {
                Ok(Some(chain)) if chain.info.database_oid == database_oid => {
                    return Ok(Some(database));
                }
                Ok(_) => {}
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        // It may be the one that is looked for: nothing is made anew in its place.
        unreadable.map_or(Ok(None), Err)
    }

    /// Finds the database's directory or makes it. A directory that still has an older name of the
    /// database gets the new one, unless that is taken. Where another database (a dropped one of
    /// the same name) has the name, `.<oid>` is put behind it.
    pub fn open_database(
        &self,
        system_identifier: u64,
        database_oid: u32,
        name: &str,
    ) -> Result<DatabaseDir> {
        let plain = self.path().join(percent_encode_name(name));
        let with_oid = durable::beside(&plain, &format!(".{database_oid}"));
        if let Some(found) = self.find_database(system_identifier, database_oid)? {
            if found.path == plain || found.path == with_oid {
                return Ok(found);
            }
            let wanted = if plain.exists() { with_oid } else { plain };
            durable::rename_durably(&found.path, &wanted)?;
            return Ok(DatabaseDir { path: wanted });
        }
        let path = if holds_chains(&plain) {
            with_oid
        } else {
            plain
        };
        if !durable::is_real_dir(&path) {
            durable::create_dir(&path)?;
        }
        Ok(DatabaseDir { path })
    }
}

impl DatabaseDir {
    /// An existing directory, without any check.
    pub fn at(path: impl Into<PathBuf>) -> Option<DatabaseDir> {
        let path = path.into();
        durable::is_real_dir(&path).then_some(DatabaseDir { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that the directory was made for, decoded.
    pub fn name(&self) -> String {
        let encoded = self.path.file_name().unwrap_or_default().to_string_lossy();
        let decoded = percent_decode(encoded.as_bytes()).unwrap_or_default();
        String::from_utf8(decoded).unwrap_or_else(|_| encoded.into_owned())
    }

    /// All chains, oldest first. Retention may remove one meanwhile.
    pub fn chains(&self) -> Result<Vec<ChainDir>> {
        let mut chains = Vec::new();
        for number in self.chain_numbers()? {
            match ChainDir::open(&self.path, number) {
                Err(_) if fs::symlink_metadata(self.path.join(chain_name(number))).is_err() => {}
                chain => chains.push(chain?),
            }
        }
        Ok(chains)
    }

    /// The newest chain.
    pub fn latest_chain(&self) -> Result<Option<ChainDir>> {
        let latest = self.chain_numbers()?.pop();
        latest
            .map(|number| ChainDir::open(&self.path, number))
            .transpose()
    }

    /// Makes the next chain. It is there as a whole or, after a crash, not at all.
    pub fn create_chain(&self, new: NewChain) -> Result<ChainDir> {
        let number = self.chain_numbers()?.last().map_or(1, |last| last + 1);
        ChainDir::create(&self.path, number, new)
    }

    /// Puts `restore.sh` and `README.txt` there; rewrites them only where they differ.
    pub fn ensure_restore_files(&self) -> Result<()> {
        for (name, content) in RESTORE_FILES {
            if !self.holds(name, content) {
                durable::write_atomically(&self.path.join(name), content.as_bytes())?;
            }
        }
        Ok(())
    }

    /// True where both are there as this version writes them: whoever runs the script runs that.
    pub fn has_own_restore_files(&self) -> bool {
        self.restore_files().iter().all(|(_, is_ours)| *is_ours)
    }

    /// Their names, and whether each is there as this version writes it.
    pub(crate) fn restore_files(&self) -> [(&'static str, bool); 2] {
        RESTORE_FILES.map(|(name, content)| (name, self.holds(name, content)))
    }

    fn holds(&self, name: &str, content: &str) -> bool {
        let path = self.path.join(name);
        fs::symlink_metadata(&path).is_ok_and(|m| m.is_file())
            && fs::read(&path).is_ok_and(|bytes| bytes == content.as_bytes())
    }

    /// The numbers of all chains, ascending.
    pub(crate) fn chain_numbers(&self) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read directory", &self.path))? {
            let entry = entry.map_err(Error::io("read directory", &self.path))?;
            if durable::is_real_dir(&entry.path()) {
                numbers.extend(entry.file_name().to_str().and_then(parse_chain_name));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}
