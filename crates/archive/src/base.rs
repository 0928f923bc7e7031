//! Base backups: a directory that is either complete or has a `.partial` name.
//!
//! The caller runs pg_dump into the directory; this module makes it durable, writes its checksums, and gives
//! it its final name and its line in the manifest.

use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::names::{BASE, METADATA_JSON};
use crate::layout::{BaseName, ChainDir};
use crate::manifest::{self, Entry, Kind};
use crate::metadata::Metadata;
use crate::pause::Pause;
use crate::sealed;

/// A base in the making.
#[derive(Debug)]
pub struct BaseDir {
    chain: ChainDir,
    name: BaseName,
    path: PathBuf,
}

/// A finished base.
#[derive(Debug, Clone)]
pub struct FinishedBase {
    pub path: PathBuf,
    pub entry: Entry,
}

impl BaseDir {
    /// Creates `base/<lsn16>-<utc>.partial/`.
    pub fn create(chain: &ChainDir, name: BaseName) -> Result<BaseDir> {
        let name = BaseName::new(name.lsn, name.taken_at);
        if !durable::is_real_dir(&chain.base()) {
            return Err(Error::damaged(&chain.base(), 0, durable::NO_DIRECTORY));
        }
        let path = sealed::partial(&chain.base(), name);
        durable::create_dir(&path)?;
        Ok(BaseDir {
            chain: chain.clone(),
            name,
            path,
        })
    }

    /// The directory of its files until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its final name.
    pub fn name(&self) -> BaseName {
        self.name
    }

    /// Writes one of the small files, such as `database.sql`.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::write_atomically(&self.path.join(name), bytes)
    }

    /// Makes everything durable and gives the base its final name: metadata, then each file with its mode set
    /// and fsynced, then the checksums, the directories, the rename, the manifest's line.
    pub fn finish(self, metadata: &Metadata) -> Result<FinishedBase> {
        durable::write_atomically(&self.path.join(METADATA_JSON), &metadata.to_json())?;
        sealed::seal(&self.path)?;
        let path = self.chain.base().join(self.name.to_string());
        let manifest = manifest::lock(&self.chain)?;
        durable::rename_durably(&self.path, &path)?;
        let entry = entry_of_base(&self.chain, self.name)?;
        manifest.append(&entry)?;
        Ok(FinishedBase { path, entry })
    }

    /// Removes it.
    pub fn discard(self) -> Result<()> {
        sealed::remove(&self.path)
    }
}

/// Writes missing lines of the manifest for finished bases, after a crash.
pub fn complete_manifest(chain: &ChainDir, pause: Pause) -> Result<()> {
    manifest::append_missing(
        chain,
        chain.bases()?,
        |name| file_of(*name),
        |name| entry_of_base(chain, *name),
        pause,
    )
}

/// The name of a base in a manifest.
pub fn file_of(name: BaseName) -> String {
    format!("{BASE}/{name}")
}

/// Removes the leftovers of bases that were never finished; returns their paths. To be called while no base
/// is being taken.
pub fn remove_leftovers(chain: &ChainDir) -> Result<Vec<PathBuf>> {
    sealed::remove_leftovers(&chain.base())
}

/// The path of a finished base.
pub fn path_of(chain: &ChainDir, name: BaseName) -> PathBuf {
    chain.base().join(name.to_string())
}

/// Creates the manifest's line of a finished base from its files.
pub fn entry_of_base(chain: &ChainDir, name: BaseName) -> Result<Entry> {
    let path = path_of(chain, name);
    let metadata = Metadata::read(&path.join(METADATA_JSON))?;
    let sums = sealed::sums_of(&path)?;
    Ok(entry(name, metadata, sums, sealed::bytes_below(&path)?))
}

/// The manifest's line of a base: `sums` is the sha256 of its SHA256SUMS, `bytes` the size of all its files.
pub(crate) fn entry(name: BaseName, metadata: Metadata, sums: String, bytes: u64) -> Entry {
    Entry {
        kind: Kind::Base,
        file: file_of(name),
        start_lsn: metadata.lsn,
        end_lsn: metadata.lsn,
        first_commit_at: None,
        last_commit_at: None,
        transactions: 0,
        statements: 0,
        bytes,
        sha256: sums.clone(),
        file_bytes: bytes,
        file_sha256: sums,
        next_xid: None,
        previous_sha256: None,
        snapshot: Some(metadata.snapshot),
        duration_ms: Some(metadata.duration_ms),
        expired_at: None,
        set_apart_at: None,
    }
}
