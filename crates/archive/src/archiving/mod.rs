//! The files to be archived, their order, and those that have been archived.
//!
//! archive_command gets one file at a time, named relative to the archive's root, until it succeeds; that is
//! recorded ([`Notes`]) before the next one. The order, determined again after each file:
//!
//! 1. `restore.sh` and `README.txt`, and of each chain `chain.json`,
//! 2. segments and sets of globals, as the manifest lists them; of a chain that has ended its open
//!    segment, too,
//! 3. changes of `chain.json`, `pins.json` and the manifest. The copy's manifest lists only files that the
//!    copy contains, so it follows them,
//! 4. bases, file by file, `metadata.json` last: `restore.sh` ignores a directory without it.
//!
//! Where something was set apart after a switch of the timeline, the manifest, which marks it, comes before segments: what
//! replaces it has the same beginning.
//!
//! So a base that takes hours delays a segment only by one of its files. Files that retention removes here
//! remain in the copy: its manifest does not say that they have expired.

mod command;
mod idle;
mod notes;
mod own_copy;
mod todo;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::base;
use crate::compression::Compression;
use crate::durable;
use crate::error::{Error, Result};
use crate::globals;
use crate::layout::names::{chain_name, INCREMENTAL, METADATA_JSON, PARTIAL};
use crate::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry, Kind};
use crate::retention::Unarchived;
use crate::time::{self, Time};

pub use command::{expand, is_command};
pub use idle::state;
pub use notes::{Note, Notes, ARCHIVED_JSONL};
pub(crate) use own_copy::settle_copy;
pub use todo::Lag;

use notes::NotesWriter;

/// A file to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path: `%p`.
    pub path: PathBuf,
    /// Its name in the archive: `%f`, relative to the archive's root, in plain characters.
    pub name: String,
    pub sha256: String,
    pub bytes: u64,
    /// Since when it has been waiting, if known.
    since: Option<Time>,
    /// Content to be written to `path` first: the manifest of the copy is not a file of ours.
    content: Option<Vec<u8>>,
    /// What the copy reaches once it has this one.
    pub reach: Option<Reach>,
}

/// Up to where a copy is complete: all segments of a chain that end at or before this LSN are in it, and its manifest lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub chain: u32,
    pub lsn: Lsn,
}

/// The current state.
#[derive(Debug, Default)]
pub struct Todo {
    pub next: Option<Item>,
    /// Files that follow it in any case, and need no pass of their own.
    pub following: Vec<Item>,
    pub lag: Lag,
    /// The next one is a segment that is to be compressed first.
    pub must_compress: bool,
    /// Files that the manifest lists and that do not exist: they cannot be archived.
    pub missing: Vec<String>,
    /// What the copy reaches now, of the chain that is being written; `None` while its manifest is not up to date.
    pub reach: Option<Reach>,
}

/// The one process that archives files.
pub struct Archiver {
    database: DatabaseDir,
    writer: NotesWriter,
}

impl Archiver {
    /// [`Error::Locked`] while another process does.
    pub fn open(database: &DatabaseDir) -> Result<Archiver> {
        let mut archiver = Archiver {
            database: database.clone(),
            writer: NotesWriter::open(database)?,
        };
        archiver.tidy()?;
        Ok(archiver)
    }

    /// The next file. With compression enabled, uncompressed segments are only archived if they could not be
    /// compressed.
    pub fn look(&self, how: Compression, failed: &HashSet<(u32, SegmentName)>) -> Result<Todo> {
        todo::look(&self.database, &self.writer.notes, how, failed)
    }

    /// Makes sure that the file for `%p` exists.
    pub fn prepare(&self, item: &Item) -> Result<()> {
        match &item.content {
            Some(content) => durable::write_atomically(&item.path, content),
            None => Ok(()),
        }
    }

    /// The file has been archived; durable when this returns.
    pub fn note(&mut self, item: &Item) -> Result<()> {
        self.writer.add(Note {
            file: item.name.clone(),
            sha256: item.sha256.clone(),
            bytes: item.bytes,
            at: time::now(),
        })
    }

    /// Files that no longer exist, and those of directories that were archived completely, need no line.
    fn tidy(&mut self) -> Result<()> {
        let (database, root) = (&self.database, directory_name(&self.database));
        let mut kept: HashMap<String, Kept> = HashMap::new();
        for chain in database.chains()? {
            let of_chain = kept.entry(chain_name(chain.number)).or_default();
            of_chain.has_ended = chain.info.ended.is_some();
            for entry in manifest::read(&chain)?.entries {
                if entry.kind == Kind::Incremental {
                    of_chain.files.extend(Stored::closed_files(&entry.file));
                } else if is_archived(database, &self.writer.notes, &chain, &entry).is_some() {
                    of_chain
                        .files
                        .insert(format!("{}/{METADATA_JSON}", entry.file));
                } else {
                    of_chain.directories.insert(entry.file);
                }
            }
        }
        self.writer.tidy(|file| {
            let Some((_, file)) = file.split_once('/').filter(|(first, _)| *first == root) else {
                return false;
            };
            let Some((chain, file)) = file.split_once('/') else {
                return true;
            };
            kept.get(chain).is_some_and(|kept| kept.contains(file))
        })
    }
}

/// The files of a chain that are recorded.
#[derive(Default)]
struct Kept {
    files: HashSet<String>,
    /// The chain being archived.
    directories: HashSet<String>,
    has_ended: bool,
}

impl Kept {
    fn contains(&self, file: &str) -> bool {
        let is_below = |directory: &String| {
            file.strip_prefix(directory.as_str())
                .is_some_and(|f| f.starts_with('/'))
        };
        !file.contains('/')
            || self.files.contains(file)
            || self.has_ended && file.ends_with(PARTIAL)
            || self.directories.iter().any(is_below)
    }
}

/// When a segment, base or set was archived completely; `None`: not yet.
pub fn is_archived(
    database: &DatabaseDir,
    notes: &Notes,
    chain: &ChainDir,
    entry: &Entry,
) -> Option<Time> {
    note_of(database, notes, chain, entry).map(|note| note.at)
}

/// Of a segment as it was archived; of a base or set, of the file that came last.
fn note_of<'a>(
    database: &DatabaseDir,
    notes: &'a Notes,
    chain: &ChainDir,
    entry: &Entry,
) -> Option<&'a Note> {
    match entry.kind {
        Kind::Incremental => Stored::closed_files(&entry.file)
            .into_iter()
            .find_map(|file| notes.of(&name_of(database, chain, &file))),
        Kind::Base | Kind::Globals => notes.of(&name_of(
            database,
            chain,
            &format!("{}/{METADATA_JSON}", entry.file),
        )),
    }
}

/// The files of a chain that have not been archived yet, for retention.
pub(crate) fn unarchived(
    database: &DatabaseDir,
    notes: &Notes,
    chain: &ChainDir,
) -> Result<Unarchived> {
    let is_taken = |file: &str| notes.of(&name_of(database, chain, file)).is_some();
    let mut left = Unarchived::default();
    for (name, stored) in chain.segments()? {
        let file = Entry::segment_file(name);
        match stored {
            Stored::Partial => {
                left.rest |= !is_taken(&format!("{}/{}", INCREMENTAL, name.file(stored)));
            }
            _ if !Stored::closed_files(&file)
                .iter()
                .any(|file| is_taken(file)) =>
            {
                left.segments.insert(name);
            }
            _ => {}
        }
    }
    let is_whole = |directory: String| is_taken(&format!("{directory}/{METADATA_JSON}"));
    let bases = chain.bases()?.into_iter();
    left.bases = bases
        .filter(|name| !is_whole(base::file_of(*name)))
        .collect();
    let sets = chain.globals_sets()?.into_iter();
    left.globals = sets
        .filter(|name| !is_whole(globals::file_of(*name)))
        .collect();
    left.rest |= !todo::is_description_taken(database, notes, chain)?;
    Ok(left)
}

/// `%f` of a file of a chain.
fn name_of(database: &DatabaseDir, chain: &ChainDir, file: &str) -> String {
    format!(
        "{}/{}/{file}",
        directory_name(database),
        chain_name(chain.number)
    )
}

/// The current name of the database's directory: after a rename, everything is archived again.
fn directory_name(database: &DatabaseDir) -> String {
    let name = database.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Accepts only characters that are not special in a shell.
fn ensure_plain(name: &str, path: &std::path::Path) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+%/-".contains(&byte);
    if name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(Error::refused(path, "not a valid name of an archive file"))
    }
}
