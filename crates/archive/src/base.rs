//! Base backups: a directory that is there as a whole or, under its `.partial` name, not yet.
//!
//! The caller runs pg_dump into the directory; this file makes it durable, writes its checksums,
//! gives it its final name and its line in the manifest.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::chain::names_in;
use crate::layout::names::{BASE, PARTIAL};
use crate::layout::{BaseName, ChainDir};
use crate::manifest::{self, Entry, Kind};
use crate::metadata::Metadata;

/// The checksums of a base's files, in the form that `sha256sum -c` reads.
pub const SHA256SUMS: &str = "SHA256SUMS";
/// The facts about a base.
pub const METADATA_JSON: &str = "metadata.json";

/// A base in the making.
#[derive(Debug)]
pub struct BaseDir {
    chain: ChainDir,
    name: BaseName,
    path: PathBuf,
}

/// A base that has its final name.
#[derive(Debug, Clone)]
pub struct FinishedBase {
    pub path: PathBuf,
    pub entry: Entry,
}

impl BaseDir {
    /// Makes `base/<lsn16>-<utc>.partial/`.
    pub fn create(chain: &ChainDir, name: BaseName) -> Result<BaseDir> {
        let name = BaseName::new(name.lsn, name.taken_at);
        let path = chain.base().join(format!("{name}{PARTIAL}"));
        durable::create_dir(&path)?;
        Ok(BaseDir {
            chain: chain.clone(),
            name,
            path,
        })
    }

    /// Where its files go until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that it will have.
    pub fn name(&self) -> BaseName {
        self.name
    }

    /// Writes one of the small files, as `database.sql`.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::write_atomically(&self.path.join(name), bytes)
    }

    /// Makes everything durable and gives the base its final name: metadata, then each file closed
    /// to others and fsynced, then the checksums, the directories, the rename, the manifest's line.
    pub fn finish(self, metadata: &Metadata) -> Result<FinishedBase> {
        let json = self.path.join(METADATA_JSON);
        durable::remove_if_there(&self.path.join(SHA256SUMS))?;
        durable::write_atomically(&json, &metadata.to_json())?;
        let mut sums = String::new();
        for file in files_below(&self.path)? {
            let path = self.path.join(&file);
            set_mode(&path, 0o600)?;
            durable::fsync_file(&path)?;
            sums.push_str(&format!("{}  {file}\n", checksum::of_file(&path)?.sha256));
        }
        durable::write_atomically(&self.path.join(SHA256SUMS), sums.as_bytes())?;
        fsync_directories(&self.path)?;
        let path = self.chain.base().join(self.name.to_string());
        durable::rename_durably(&self.path, &path)?;
        let entry = entry_of_base(&self.chain, self.name)?;
        manifest::append(&self.chain, &entry)?;
        Ok(FinishedBase { path, entry })
    }

    /// Removes it.
    pub fn discard(self) -> Result<()> {
        remove_tree(&self.path)
    }
}

/// Removes what bases that were never finished left behind; returns their paths. To be called
/// while no base is in the making.
pub fn remove_leftovers(chain: &ChainDir) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in names_in(&chain.base())? {
        if name
            .strip_suffix(PARTIAL)
            .and_then(BaseName::parse)
            .is_some()
        {
            let path = chain.base().join(name);
            remove_tree(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// The path of a finished base.
pub fn path_of(chain: &ChainDir, name: BaseName) -> PathBuf {
    chain.base().join(name.to_string())
}

/// Makes the manifest's line of a finished base from its files.
pub fn entry_of_base(chain: &ChainDir, name: BaseName) -> Result<Entry> {
    let path = path_of(chain, name);
    let metadata = Metadata::read(&path.join(METADATA_JSON))?;
    let sums = checksum::of_file(&path.join(SHA256SUMS))?;
    let mut bytes = 0;
    for file in files_below(&path)? {
        let path = path.join(file);
        bytes += fs::symlink_metadata(&path)
            .map_err(Error::io("look at", &path))?
            .len();
    }
    Ok(Entry {
        kind: Kind::Base,
        file: format!("{BASE}/{name}"),
        start_lsn: metadata.lsn,
        end_lsn: metadata.lsn,
        first_commit_at: None,
        last_commit_at: None,
        transactions: 0,
        statements: 0,
        bytes,
        sha256: sums.sha256.clone(),
        file_bytes: bytes,
        file_sha256: sums.sha256,
        next_xid: None,
        previous_sha256: None,
        snapshot: Some(metadata.snapshot),
        duration_ms: Some(metadata.duration_ms),
    })
}

/// Every file below a directory, relative to it, sorted; anything but files and directories is refused.
pub(crate) fn files_below(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for name in names_in(&root.join(&directory))? {
            let relative = if directory.is_empty() {
                name
            } else {
                format!("{directory}/{name}")
            };
            let path = root.join(&relative);
            let metadata = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
            if metadata.is_dir() {
                directories.push(relative);
            } else if metadata.is_file() {
                found.push(relative);
            } else {
                return Err(Error::damaged(&path, 0, "neither a file nor a directory"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Closes every directory to others and fsyncs it, the innermost first.
fn fsync_directories(path: &Path) -> Result<()> {
    for name in names_in(path)? {
        let below = path.join(name);
        if durable::is_real_dir(&below) {
            fsync_directories(&below)?;
        }
    }
    set_mode(path, 0o700)?;
    durable::fsync_dir(path)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(Error::io("change the mode of", path))
}

fn remove_tree(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
    durable::fsync_parent(path)
}
