//! Sets of globals: properties of the cluster that a restore of the database needs, written again for each
//! change.
//!
//! A set is a directory `globals/<lsn16>-<utc>/` of a chain, complete or absent:
//!
//! | file | holds |
//! | --- | --- |
//! | `globals.sql` | roles, memberships, tablespaces, their settings: `pg_dumpall --globals-only` |
//! | `database.sql` | owner, privileges, comment and settings of the database itself |
//! | `metadata.json` | the [`Facts`] |
//! | `SHA256SUMS` | checksums of these |
//!
//! Its LSN is the commit LSN of the last change that it contains, so a restore to LSN X uses the newest set
//! whose LSN is not above X. Sets are independent of bases: a base's own copies are used if a chain has no
//! set that old.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::names::{GLOBALS, METADATA_JSON};
use crate::layout::{ChainDir, GlobalsName};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry, Kind};
use crate::sealed;
use crate::time::{self, Time};

const GLOBALS_SQL: &str = "globals.sql";
const DATABASE_SQL: &str = "database.sql";

/// The two files of a set that a restore executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub globals_sql: Vec<u8>,
    /// In the database's encoding.
    pub database_sql: Vec<u8>,
}

/// The contents of `metadata.json` of a set; pretty-printed, for restore.sh's awk, as a base's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub format: u32,
    pub tool_version: String,
    /// Commit LSN of the last change in the set; the current position if none is known.
    pub lsn: Lsn,
    /// When that was committed.
    #[serde(with = "time::json")]
    pub changed_at: Time,
    /// Fingerprint of the shared catalogs that `globals.sql` was dumped from: the writer's own, to know that another dump would
    /// be the same. `None` in sets of versions before 0.4.0, and where the catalogs changed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_catalogs: Option<String>,
    /// Roles that `database.sql` names. The owner is one, so the list is never empty.
    pub roles: Vec<String>,
    /// OID and name of every role: shows which were renamed from one set to the next, which SQL does not.
    #[serde(default)]
    pub roles_by_oid: Vec<String>,
}

impl Content {
    /// True if both have the same contents. `\restrict` lines have a random key in each dump.
    pub fn says_the_same_as(&self, other: &Content) -> bool {
        let plain = |sql: &[u8]| -> Vec<Vec<u8>> {
            let lines = sql.split(|byte| *byte == b'\n');
            let is_guard = |line: &&[u8]| {
                line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ")
            };
            lines
                .filter(|line| !is_guard(line))
                .map(<[u8]>::to_vec)
                .collect()
        };
        self.database_sql == other.database_sql
            && plain(&self.globals_sql) == plain(&other.globals_sql)
    }

    /// Reads those of a finished set.
    pub fn read(chain: &ChainDir, name: GlobalsName) -> Result<Content> {
        let read = |file| durable::read(&path_of(chain, name).join(file));
        Ok(Content {
            globals_sql: read(GLOBALS_SQL)?,
            database_sql: read(DATABASE_SQL)?,
        })
    }
}

impl Facts {
    /// Reads those of a finished set.
    pub fn of(chain: &ChainDir, name: GlobalsName) -> Result<Facts> {
        Facts::read(&path_of(chain, name).join(METADATA_JSON))
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Facts> {
        Facts::parse(&durable::read(path)?, path)
    }

    /// Its content; `path` is for the error.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Facts> {
        serde_json::from_slice(bytes).map_err(|error| Error::damaged(path, 0, error.to_string()))
    }
}

/// Writes a set, durably: the files, their checksums, the final name, the manifest's line. Returns its path.
/// Only one process may do so.
pub fn write(chain: &ChainDir, content: &Content, facts: &Facts) -> Result<PathBuf> {
    let name = GlobalsName::new(facts.lsn, facts.changed_at);
    if !durable::is_real_dir(&chain.globals()) {
        durable::create_dir(&chain.globals())?;
    }
    let partial = sealed::partial(&chain.globals(), name);
    durable::create_dir(&partial)?;
    let mut json = serde_json::to_vec_pretty(facts).expect("plain fields always become JSON");
    json.push(b'\n');
    for (file, bytes) in [
        (GLOBALS_SQL, &content.globals_sql),
        (DATABASE_SQL, &content.database_sql),
        (METADATA_JSON, &json),
    ] {
        durable::write_atomically(&partial.join(file), bytes)?;
    }
    sealed::seal(&partial)?;
    let path = path_of(chain, name);
    let manifest = manifest::lock(chain)?;
    durable::rename_durably(&partial, &path)?;
    manifest.append(&entry_of_set(chain, name)?)?;
    Ok(path)
}

/// Removes unfinished sets, and writes lines of the manifest that are missing after a crash. To be called
/// while no set is being written.
pub fn tidy(chain: &ChainDir) -> Result<()> {
    if !durable::is_real_dir(&chain.globals()) {
        return Ok(());
    }
    sealed::remove_leftovers(&chain.globals())?;
    manifest::append_missing(
        chain,
        chain.globals_sets()?,
        |name| file_of(*name),
        |name| entry_of_set(chain, *name),
        &mut || {},
    )
}

/// `globals.sql` of a finished set; `None` if it is not the file that was written.
pub fn globals_sql(chain: &ChainDir, name: GlobalsName) -> Result<Option<Vec<u8>>> {
    let path = path_of(chain, name);
    let bytes = durable::read(&path.join(GLOBALS_SQL))?;
    let is_whole = sealed::sums(&path)?.get(GLOBALS_SQL) == Some(&checksum::of_bytes(&bytes));
    Ok(is_whole.then_some(bytes))
}

/// The path of a finished set.
pub fn path_of(chain: &ChainDir, name: GlobalsName) -> PathBuf {
    chain.globals().join(name.to_string())
}

/// The name of a set in a manifest.
pub fn file_of(name: GlobalsName) -> String {
    format!("{GLOBALS}/{name}")
}

/// Creates the manifest's line of a finished set from its files.
pub fn entry_of_set(chain: &ChainDir, name: GlobalsName) -> Result<Entry> {
    let path = path_of(chain, name);
    let facts = Facts::of(chain, name)?;
    let sums = sealed::sums_of(&path)?;
    Ok(entry(name, &facts, sums, sealed::bytes_below(&path)?))
}

/// The manifest's line of a set: `sums` is the sha256 of its SHA256SUMS, `bytes` the size of all its files.
pub(crate) fn entry(name: GlobalsName, facts: &Facts, sums: String, bytes: u64) -> Entry {
    Entry {
        kind: Kind::Globals,
        file: file_of(name),
        start_lsn: facts.lsn,
        end_lsn: facts.lsn,
        first_commit_at: None,
        last_commit_at: Some(facts.changed_at),
        transactions: 0,
        statements: 0,
        bytes,
        sha256: sums.clone(),
        file_bytes: bytes,
        file_sha256: sums,
        next_xid: None,
        previous_sha256: None,
        snapshot: None,
        duration_ms: None,
        expired_at: None,
        set_apart_at: None,
    }
}
