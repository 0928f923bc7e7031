//! The directory of one database: identified by its contents, not by its name.
//!
//! A database is identified by system identifier and OID, which are in its owner file and its chains; the
//! directory's name is for people and follows a renamed database. Directories of another cluster in the same
//! root are ignored, and so are those that cannot be read.

use std::fs;
use std::path::{Path, PathBuf};

use super::chain::{ChainDir, NewChain};
use super::names::{chain_name, parse_chain_name};
use super::root::{is_taken, ArchiveRoot};
use crate::durable;
use crate::error::{Error, Result};
use crate::escape::{percent_decode, percent_encode_name};
use crate::owner;
use crate::restore::{README_TXT, RESTORE_SH};

/// The files that make it usable without this program, as this version writes them.
pub const RESTORE_FILES: [(&str, &str); 2] =
    [("restore.sh", RESTORE_SH), ("README.txt", README_TXT)];

/// The directory of one database.
#[derive(Debug, Clone)]
pub struct DatabaseDir {
    pub(super) path: PathBuf,
}

impl ArchiveRoot {
    /// Finds the database's directory or makes it. A directory that still has an older name of the
    /// database gets the new one, unless that is taken. Where another database (a dropped one of
    /// the same name, one of another cluster) has the name, `.<oid>` is put behind it, and the system
    /// identifier where that is taken, too.
    pub fn open_database(
        &self,
        system_identifier: u64,
        database_oid: u32,
        name: &str,
    ) -> Result<DatabaseDir> {
        let opened = self.open_database_if(system_identifier, database_oid, name, |_| Ok(()))?;
        Ok(opened.0)
    }

    /// [`Self::open_database`] for callers that may write only if `ensure` permits: it is called before
    /// anything is written to the directory or its name is changed.
    pub fn open_database_if<T>(
        &self,
        system_identifier: u64,
        database_oid: u32,
        name: &str,
        ensure: impl FnOnce(&DatabaseDir) -> Result<T>,
    ) -> Result<(DatabaseDir, T)> {
        let plain = self.path().join(percent_encode_name(name));
        let with_oid = durable::beside(&plain, &format!(".{database_oid}"));
        let with_both = durable::beside(&with_oid, &format!(".{system_identifier}"));
        let names = [plain, with_oid, with_both];
        let (ours, unreadable) = self.look_for(system_identifier, database_oid)?;
        if let Some(ours) = ours {
            let ensured = ensure(&ours)?;
            if names.contains(&ours.path) {
                return Ok((ours, ensured));
            }
            let wanted = names.into_iter().find(|path| !path.exists());
            let Some(wanted) = wanted else {
                return Ok((ours, ensured));
            };
            durable::rename_durably(&ours.path, &wanted)?;
            let renamed = DatabaseDir { path: wanted };
            owner::note_directory(renamed.path())?;
            return Ok((renamed, ensured));
        }
        for (path, error) in unreadable {
            if names.contains(&path) {
                return Err(error);
            }
        }
        let free = names.iter().find(|path| !is_taken(path));
        let path = free.unwrap_or(&names[2]).clone();
        if !durable::is_real_dir(&path) {
            durable::create_dir(&path)?;
        }
        let made = DatabaseDir { path };
        let ensured = ensure(&made)?;
        Ok((made, ensured))
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

    /// All chains, oldest first. Retention may remove one in the meantime.
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

    /// Creates the next chain, which becomes the owner's own. It is complete or, after a crash, absent.
    pub fn create_chain(&self, new: NewChain) -> Result<ChainDir> {
        let number = self.chain_numbers()?.last().map_or(1, |last| last + 1);
        owner::note_chain(&self.path, number)?;
        ChainDir::create(&self.path, number, new)
    }

    /// Writes `restore.sh` and `README.txt`, only if they differ.
    pub fn ensure_restore_files(&self) -> Result<()> {
        for (name, content) in RESTORE_FILES {
            if !self.holds(name, content) {
                durable::write_atomically(&self.path.join(name), content.as_bytes())?;
            }
        }
        Ok(())
    }

    /// True if both exist as this version writes them: a restore executes the script.
    pub fn has_own_restore_files(&self) -> bool {
        self.restore_files().iter().all(|(_, is_ours)| *is_ours)
    }

    /// Their names, and whether each exists as this version writes it.
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
