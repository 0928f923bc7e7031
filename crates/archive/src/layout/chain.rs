//! One chain: a continuous series of a database's changes, described by its `chain.json`.
//!
//! A chain begins at its slot's start and ends when the slot is lost, dropped or replaced; later changes are
//! in another chain. Bases and segments are in its two directories.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::names::{
    chain_name, BaseName, GlobalsName, SegmentName, Stored, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL,
    INDEX, INDEX_SUFFIX, MANIFEST, PARTIAL,
};
use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::lsn::Lsn;
use crate::time::{self, Time};

/// The format of the files of a chain, in `chain.json` and in the segments' first line.
pub const FORMAT: u32 = 1;

/// The contents of `chain.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainInfo {
    pub format: u32,
    pub system_identifier: u64,
    pub timeline: u32,
    pub database_oid: u32,
    pub database: String,
    pub slot: String,
    pub plugin: String,
    pub slot_start_lsn: Lsn,
    #[serde(with = "time::json")]
    pub started_at: Time,
    pub ended: Option<ChainEnd>,
}

impl ChainInfo {
    /// The content of `chain.json`; `path` is for the error.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<ChainInfo> {
        let Sealed { info, .. } = serde_json::from_slice(bytes)
            .map_err(|error| Error::damaged(path, 0, error.to_string()))?;
        if info.format != FORMAT {
            let why = format!("unknown format {}", info.format);
            return Err(Error::damaged(path, 0, why));
        }
        Ok(info)
    }

    /// True if these bytes of `chain.json` are, one by one, as they were written.
    pub fn is_written_as(&self, bytes: &[u8]) -> bool {
        bytes == to_json(self)
    }
}

/// How a chain ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    pub reason: String,
    pub last_lsn: Lsn,
    #[serde(with = "time::json")]
    pub at: Time,
}

/// The facts about a new chain.
#[derive(Debug, Clone)]
pub struct NewChain {
    pub system_identifier: u64,
    pub timeline: u32,
    pub database_oid: u32,
    pub database: String,
    pub slot: String,
    pub plugin: String,
    pub slot_start_lsn: Lsn,
}

/// An existing chain.
#[derive(Debug, Clone)]
pub struct ChainDir {
    pub path: PathBuf,
    pub number: u32,
    pub info: ChainInfo,
}

impl ChainDir {
    /// Reads the chain `number` below a database's directory.
    pub fn open(database: &Path, number: u32) -> Result<ChainDir> {
        let path = database.join(chain_name(number));
        let json = path.join(CHAIN_JSON);
        let bytes = durable::read(&json)?;
        let info = ChainInfo::parse(&bytes, &json)?;
        let chain = ChainDir { path, number, info };
        chain.ensure_real_directories()?;
        Ok(chain)
    }

    /// A link in place of a directory would redirect writes, or removal.
    fn ensure_real_directories(&self) -> Result<()> {
        for path in [
            &self.path,
            &self.base(),
            &self.incremental(),
            &self.globals(),
        ] {
            let is_missing_set = *path == self.globals() && fs::symlink_metadata(path).is_err();
            if !is_missing_set && !durable::is_real_dir(path) {
                return Err(Error::damaged(path, 0, durable::NO_DIRECTORY));
            }
        }
        Ok(())
    }

    /// True if `chain.json` is, byte for byte, as it was written.
    pub fn is_as_written(&self) -> Result<bool> {
        let json = self.path.join(CHAIN_JSON);
        let bytes = durable::read(&json)?;
        Ok(self.info.is_written_as(&bytes))
    }

    /// Creates the chain under a name that is not read, then renames it: a crash leaves all or nothing.
    pub(super) fn create(database: &Path, number: u32, new: NewChain) -> Result<ChainDir> {
        let path = database.join(chain_name(number));
        let partial = durable::beside(&path, PARTIAL);
        if durable::is_real_dir(&partial) {
            fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
        }
        let info = ChainInfo {
            format: FORMAT,
            system_identifier: new.system_identifier,
            timeline: new.timeline,
            database_oid: new.database_oid,
            database: new.database,
            slot: new.slot,
            plugin: new.plugin,
            slot_start_lsn: new.slot_start_lsn,
            started_at: time::now(),
            ended: None,
        };
        durable::create_dir(&partial)?;
        durable::create_dir(&partial.join(BASE))?;
        durable::create_dir(&partial.join(INCREMENTAL))?;
        durable::write_atomically(&partial.join(CHAIN_JSON), &to_json(&info))?;
        durable::rename_durably(&partial, &path)?;
        Ok(ChainDir { path, number, info })
    }

    /// Records in `chain.json` that nothing follows after `last_lsn`. The first reason is kept.
    pub fn end(&mut self, reason: &str, last_lsn: Lsn) -> Result<()> {
        if self.info.ended.is_some() {
            return Ok(());
        }
        let end = ChainEnd {
            reason: reason.to_owned(),
            last_lsn,
            at: time::now(),
        };
        let info = ChainInfo {
            ended: Some(end),
            ..self.info.clone()
        };
        let json = self.path.join(CHAIN_JSON);
        pass("chain: end").map_err(Error::io("write", &json))?;
        durable::write_atomically(&json, &to_json(&info))?;
        self.info = info;
        Ok(())
    }

    /// [`Self::end`] after the last transaction or position in its files.
    pub fn end_here(&mut self, reason: &str) -> Result<()> {
        if self.info.ended.is_some() {
            return Ok(());
        }
        let last_lsn = self.last_lsn()?;
        self.end(reason, last_lsn)
    }

    /// [`Self::end_here`], of a chain that may have ended before: what became of it then is added to the first reason. False
    /// if that is said already.
    pub fn end_finally(&mut self, reason: &str) -> Result<bool> {
        let Some(end) = &self.info.ended else {
            return self.end_here(reason).map(|()| true);
        };
        if end.reason.ends_with(reason) {
            return Ok(false);
        }
        let mut info = self.info.clone();
        info.ended = Some(ChainEnd {
            reason: format!("{}; {reason}", end.reason),
            ..end.clone()
        });
        durable::write_atomically(&self.path.join(CHAIN_JSON), &to_json(&info))?;
        self.info = info;
        Ok(true)
    }

    /// The directory of segments.
    pub fn incremental(&self) -> PathBuf {
        self.path.join(INCREMENTAL)
    }

    /// The directory of bases.
    pub fn base(&self) -> PathBuf {
        self.path.join(BASE)
    }

    /// The directory of sets of globals; missing if there is none.
    pub fn globals(&self) -> PathBuf {
        self.path.join(GLOBALS)
    }

    /// The directory of segments' indexes; missing until there is one.
    pub fn indexes(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// Where the index of a segment is, or would be.
    pub fn index(&self, name: SegmentName) -> PathBuf {
        self.indexes().join(format!("{name}{INDEX_SUFFIX}"))
    }

    /// The manifest's path.
    pub fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    /// All segments in replay order, the open one last. If one exists in two forms, during compression, the
    /// uncompressed one counts.
    pub fn segments(&self) -> Result<Vec<(SegmentName, Stored)>> {
        Ok(once_each(self.stored_segments()?))
    }

    /// [`Self::segments`] with every form of a closed one, the uncompressed one first.
    pub fn stored_segments(&self) -> Result<Vec<(SegmentName, Stored)>> {
        let names = durable::names_in(&self.incremental())?;
        Ok(stored_segments(names.iter().map(String::as_str)))
    }

    /// The path of a segment.
    pub fn segment_path(&self, name: SegmentName, stored: Stored) -> PathBuf {
        self.incremental().join(name.file(stored))
    }

    /// All finished bases, oldest first.
    pub fn bases(&self) -> Result<Vec<BaseName>> {
        let mut found: Vec<_> = durable::names_in(&self.base())?
            .iter()
            .filter_map(|name| BaseName::parse(name))
            .collect();
        found.sort();
        Ok(found)
    }

    /// All finished sets of globals, oldest first.
    pub fn globals_sets(&self) -> Result<Vec<GlobalsName>> {
        if !durable::is_real_dir(&self.globals()) {
            return Ok(Vec::new());
        }
        let mut found: Vec<_> = durable::names_in(&self.globals())?
            .iter()
            .filter_map(|name| GlobalsName::parse(name))
            .collect();
        found.sort();
        Ok(found)
    }
}

/// The segments among the names of a directory, in replay order, every form of a closed one, the uncompressed one first.
pub fn stored_segments<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(SegmentName, Stored)> {
    let mut found: Vec<_> = names.filter_map(SegmentName::parse).collect();
    found.sort_by_key(|(name, stored)| (*name, stored.preference()));
    found
}

/// Of a closed segment only its first form.
pub fn once_each(mut segments: Vec<(SegmentName, Stored)>) -> Vec<(SegmentName, Stored)> {
    segments.dedup_by(|later, first| {
        later.0 == first.0 && later.1 != Stored::Partial && first.1 != Stored::Partial
    });
    segments
}

/// `chain.json` as written: its contents, and a checksum. (No other file covers it: it is rewritten when its
/// chain ends.)
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    info: ChainInfo,
    /// Of the other fields as JSON without white space. A restore does not need it, so a file without it is a
    /// problem for `verify`, but not for continuing the chain.
    #[serde(default)]
    sha256: String,
}

pub(crate) fn to_json(info: &ChainInfo) -> Vec<u8> {
    let plain = serde_json::to_vec(info).expect("plain fields always become JSON");
    let sealed = Sealed {
        info: info.clone(),
        sha256: checksum::of_bytes(&plain),
    };
    let mut json = serde_json::to_vec_pretty(&sealed).expect("plain fields always become JSON");
    json.push(b'\n');
    json
}
