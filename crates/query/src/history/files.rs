//! The segments of an archive in order, each with its index, and their problems.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::build::{build, Built};
use super::index::{self, Indexed};
use archive::error::{Error, Result};
use archive::expiry::given_up;
use archive::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use archive::lsn::Lsn;
use archive::manifest::{self, Entry, Kind};
use archive::segment::source;
use archive::time::Time;

/// Number of indexes kept in memory if they could not be written.
const KEPT: usize = 8;

/// A segment, or a missing one.
pub struct File {
    pub chain: ChainDir,
    pub name: SegmentName,
    pub stored: Option<Stored>,
    /// The manifest's; `None` for the open segment.
    pub entry: Option<Entry>,
    /// The known problem, which is reported once.
    pub problems: Vec<String>,
    /// It differs from what was written, as far as checked.
    pub is_damaged: bool,
    /// Its predecessor is missing.
    pub follows_gap: bool,
    /// An index that is not on disk.
    kept: Option<Indexed>,
}

/// All segments of a database.
pub struct Files {
    pub files: Vec<File>,
    kept: usize,
    /// Whether indexes are written.
    may_write: bool,
}

impl Files {
    /// Lists them. With `may_write` new indexes are written. `between` is called while another process has a
    /// manifest locked; its error ends the wait.
    pub fn list<E: From<Error>>(
        database: &DatabaseDir,
        may_write: bool,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Files, E> {
        let mut files: Vec<File> = Vec::new();
        for chain in database.chains()? {
            let first = files.len();
            list_chain(&chain, &mut files, between)?;
            if first > 0 && files.len() > first {
                let before = files[first - 1].chain.clone();
                let gap = gap_between(&before, &chain);
                files[first].follows_gap |= gap.is_some();
                files[first].problems.extend(gap);
            }
        }
        Ok(Files {
            files,
            kept: 0,
            may_write,
        })
    }

    /// The index of a segment, built if necessary; `None` if the segment is missing.
    pub fn indexed<E: From<Error>>(
        &mut self,
        nth: usize,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Option<Indexed>, E> {
        let file = &mut self.files[nth];
        if let Some(kept) = &file.kept {
            return Ok(Some(kept.clone()));
        }
        // Also if its index exists, and shows that nothing of it is needed.
        if file.locate().is_none() {
            file.note("it is missing: its contents are not shown");
            return Ok(None);
        }
        let listed = file.entry.as_ref().map(|entry| entry.sha256.clone());
        if let Some(sha256) = &listed {
            let read = index::read(&file.chain, file.name, sha256);
            let is_of_now = |indexed: &Indexed| indexed.index.memberships.is_some();
            if let Some(indexed) = read.filter(is_of_now) {
                return Ok(Some(indexed));
            }
        }
        // It may have been closed since it was listed; the manifest was read before.
        let is_open = file.stored == Some(Stored::Partial);
        let opened =
            file.open_by(|path, stored| Ok((path.to_owned(), source::open(path, stored)?)));
        let built = match opened {
            Ok((path, input)) => build(&path, input, between)?,
            Err(error) => Built {
                indexed: Indexed::default(),
                flaw: Some(error),
            },
        };
        if let Some(flaw) = &built.flaw {
            file.is_damaged = !is_open;
            file.note(&format!("{flaw}: the rest of it is not shown"));
        }
        let is_sound = listed.as_ref() == Some(&built.indexed.index.segment);
        if !is_sound && !is_open {
            file.is_damaged = true;
            file.note(match listed {
                Some(_) => "its checksum does not match the manifest: it was damaged or changed",
                None => "it is not in the manifest",
            });
        }
        let indexed = built.indexed;
        let is_written =
            self.may_write && is_sound && index::write(&file.chain, file.name, &indexed).is_ok();
        if !is_written && (is_open || self.kept < KEPT) {
            self.kept += 1;
            file.kept = Some(indexed.clone());
        }
        Ok(Some(indexed))
    }
}

impl File {
    /// Its current path: it may have been closed or compressed since it was listed.
    pub fn locate(&self) -> Option<(PathBuf, Stored)> {
        self.stored?;
        let all = [Stored::Plain, Stored::Partial, Stored::Gzip, Stored::Zstd];
        // Once more, for one that was renamed in the meantime.
        all.iter().chain(&all).find_map(|stored| {
            let path = self.chain.segment_path(self.name, *stored);
            std::fs::symlink_metadata(&path)
                .is_ok()
                .then_some((path, *stored))
        })
    }

    /// Opens it under its current name; retries once if it was renamed in the meantime.
    pub fn open_by<T>(&self, open: impl Fn(&Path, Stored) -> Result<T>) -> Result<T> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let plain = || self.chain.segment_path(self.name, Stored::Plain);
            let (path, stored) = self
                .locate()
                .ok_or_else(|| Error::OutOfPlace { path: plain() })?;
            match open(&path, stored) {
                Err(error) if is_gone(&error) && attempts < 3 => {}
                opened => return opened,
            }
        }
    }

    /// Relative to the database's directory.
    pub fn shown(&self) -> String {
        let stored = self.locate().map_or(Stored::Plain, |(_, stored)| stored);
        let file = self.chain.segment_path(self.name, stored);
        let below = self.chain.path.parent().unwrap_or(&self.chain.path);
        let file = file.strip_prefix(below).unwrap_or(&file);
        file.to_string_lossy().into_owned()
    }

    /// Records a problem, once.
    pub fn note(&mut self, problem: &str) {
        if !self.problems.iter().any(|known| known == problem) {
            self.problems.push(problem.to_owned());
        }
    }
}

fn list_chain<E: From<Error>>(
    chain: &ChainDir,
    files: &mut Vec<File>,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let there = match chain.segments() {
        Ok(there) => there,
        // Retention removes a chain as a whole.
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // After the directory: a segment is closed, and its line written, under this lock.
    let manifest = manifest::read_strictly(chain, between)?;
    let given_up = given_up(chain).unwrap_or_default();
    let mut listed: BTreeMap<String, Entry> = BTreeMap::new();
    let mut expired: HashSet<String> = given_up.into_iter().collect();
    for entry in manifest.entries {
        if entry.kind != Kind::Incremental {
            continue;
        }
        if entry.is_gone() {
            expired.insert(entry.file);
        } else {
            listed.insert(entry.file.clone(), entry);
        }
    }
    let mut of_chain: BTreeMap<SegmentName, File> = BTreeMap::new();
    let mut add = |name, stored, entry| {
        of_chain.entry(name).or_insert_with(|| File {
            chain: chain.clone(),
            name,
            stored,
            entry,
            problems: Vec::new(),
            is_damaged: false,
            follows_gap: false,
            kept: None,
        });
    };
    for (name, stored) in there {
        let file = Entry::segment_file(name);
        if !expired.contains(&file) {
            add(name, Some(stored), listed.remove(&file));
        }
    }
    for (file, entry) in listed {
        let name = file.rsplit('/').next().and_then(SegmentName::parse);
        if let Some((name, _)) = name.filter(|_| !expired.contains(&file)) {
            // Closed since the directory was read, or removed.
            let path = chain.path.join(&file);
            let stored = std::fs::symlink_metadata(path)
                .is_ok()
                .then_some(Stored::Plain);
            add(name, stored, Some(entry));
        }
    }
    let mut end: Option<Lsn> = None;
    for (_, mut file) in of_chain {
        if let Some(end) = end.filter(|end| *end != file.name.start_lsn) {
            file.follows_gap = true;
            file.note(&format!(
                "files are missing before it: from {end} to {}",
                file.name.start_lsn
            ));
        }
        end = file.entry.as_ref().map(|entry| entry.end_lsn);
        files.push(file);
    }
    Ok(())
}

fn is_gone(error: &Error) -> bool {
    error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound)
}

/// Changes between two chains are in neither.
fn gap_between(before: &ChainDir, after: &ChainDir) -> Option<String> {
    let (end, why): (Lsn, &str) = match &before.info.ended {
        Some(end) => (end.last_lsn, &end.reason),
        None => return Some(format!("chain-{} has no recorded end", before.number)),
    };
    let start = after.info.slot_start_lsn;
    let is_same_history = before.info.timeline == after.info.timeline;
    (start > end || !is_same_history).then(|| {
        format!(
            "between chain-{}, which ended at {end} ({why}), and chain-{}, which began at {start}, \
             changes were not written",
            before.number, after.number
        )
    })
}

/// The number of closed segments without an index.
pub fn without_index(database: &DatabaseDir) -> Result<usize> {
    let mut count = 0;
    for chain in database.chains()? {
        let segments = chain.segments()?.into_iter();
        let closed = segments.filter(|(_, stored)| *stored != Stored::Partial);
        count += closed
            .filter(|(name, _)| std::fs::symlink_metadata(chain.index(*name)).is_err())
            .count();
    }
    Ok(count)
}

/// Builds the missing indexes.
pub fn make_indexes<E: From<Error>>(
    database: &DatabaseDir,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut files = Files::list(database, true, between)?;
    for nth in 0..files.files.len() {
        between()?;
        let file = &files.files[nth];
        let is_closed = file.stored.is_some_and(|stored| stored != Stored::Partial);
        if is_closed && std::fs::symlink_metadata(file.chain.index(file.name)).is_err() {
            files.indexed(nth, between)?;
        }
        files.files[nth].kept = None;
    }
    Ok(())
}

/// Time of the first commit in a list of files, according to the manifest.
pub fn first_commit(files: &Files) -> Option<Time> {
    files
        .files
        .iter()
        .filter_map(|file| file.entry.as_ref())
        .find_map(|entry| entry.first_commit_at)
}
