//! The ordered list of files that have not been archived yet.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::notes::Notes;
use super::{directory_name, ensure_plain, is_archived, name_of, note_of, Item, Reach, Todo};
use crate::checksum;
use crate::compression::Compression;
use crate::durable;
use crate::error::{Error, Result};
use crate::flags::FLAGS;
use crate::layout::names::{BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, METADATA_JSON};
use crate::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use crate::manifest::{self, Entry, Kind};
use crate::pins::PINS_JSON;
use crate::sealed::{self, SHA256SUMS};
use crate::segment::lost;
use crate::time::Time;

/// The manifest of the copy.
const MANIFEST_OF_COPY: &str = "manifest.jsonl.for-copy";

/// Listing an archive of thousands of segments takes time: it is not done for each one.
const MOST_FOLLOWING: usize = 100;

/// Files that are waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    pub files: u64,
    pub bytes: u64,
    /// When the oldest of them was finished.
    pub oldest: Option<Time>,
}

/// See [`super::Archiver::look`].
pub fn look(
    database: &DatabaseDir,
    notes: &Notes,
    how: Compression,
    failed: &HashSet<(u32, SegmentName)>,
) -> Result<Todo> {
    let mut list = List {
        database,
        notes,
        items: Vec::new(),
        look: Todo::default(),
        waits_at: None,
        bases_begin_at: 0,
    };
    for (name, _) in database.restore_files() {
        let file = format!("{}/{name}", directory_name(database));
        list.small(database.path().join(name), file)?;
    }
    let chains = database.chains()?;
    let manifests: Vec<(&ChainDir, Vec<Entry>)> = chains
        .iter()
        .map(|chain| {
            let entries = manifest::read_whole(chain)?;
            Ok((chain, manifest::without_repeats(entries)))
        })
        .collect::<Result<_>>()?;
    for (chain, _) in &manifests {
        if notes.of(&name_of(database, chain, CHAIN_JSON)).is_none() {
            list.small(
                chain.path.join(CHAIN_JSON),
                name_of(database, chain, CHAIN_JSON),
            )?;
        }
    }
    let served = database.served_chain()?.map(|chain| chain.number);
    for (chain, entries) in &manifests {
        if has_set_apart(entries) {
            list.manifest(chain, entries, served)?;
        }
        list.stream(chain, entries, how, failed)?;
    }
    for (chain, entries) in &manifests {
        list.description(chain)?;
        if !has_set_apart(entries) {
            list.manifest(chain, entries, served)?;
        }
    }
    for (chain, _) in &manifests {
        list.lost(chain)?;
    }
    list.bases_begin_at = list.items.len();
    for (chain, entries) in &manifests {
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Base) {
            list.directory(chain, entry)?;
        }
    }
    Ok(list.finish())
}

/// True if the copy has the current `chain.json`.
pub fn is_description_taken(
    database: &DatabaseDir,
    notes: &Notes,
    chain: &ChainDir,
) -> Result<bool> {
    let sha256 = checksum::of_file(&chain.path.join(CHAIN_JSON))?.sha256;
    let note = notes.of(&name_of(database, chain, CHAIN_JSON));
    Ok(note.is_some_and(|note| note.sha256 == sha256))
}

struct List<'a> {
    database: &'a DatabaseDir,
    notes: &'a Notes,
    items: Vec<Item>,
    look: Todo,
    /// Nothing from this position on can be archived yet.
    waits_at: Option<usize>,
    /// From this position on the order depends on files closed in the meantime: segments come before bases.
    bases_begin_at: usize,
}

impl List<'_> {
    fn finish(self) -> Todo {
        let mut look = self.look;
        look.lag = Lag {
            files: self.items.len() as u64,
            bytes: self.items.iter().map(|item| item.bytes).sum(),
            oldest: self.items.iter().filter_map(|item| item.since).min(),
        };
        look.must_compress = self.waits_at == Some(0);
        if !look.must_compress {
            let end = self.waits_at.unwrap_or(usize::MAX);
            let end = end.min(self.bases_begin_at).min(1 + MOST_FOLLOWING);
            let mut items = self.items.into_iter();
            look.next = items.next();
            look.following = items.take(end.saturating_sub(1)).collect();
        }
        look
    }

    /// A file that is rewritten as a whole: it is archived whenever it differs from the archived one.
    fn small(&mut self, path: PathBuf, name: String) -> Result<()> {
        if fs::symlink_metadata(&path).is_err() {
            return Ok(());
        }
        let sum = checksum::of_file(&path)?;
        if self
            .notes
            .of(&name)
            .is_none_or(|note| note.sha256 != sum.sha256)
        {
            self.add(path, name, sum.sha256, sum.bytes)?;
        }
        Ok(())
    }

    /// Segments and sets of globals, in the order of their lines.
    fn stream(
        &mut self,
        chain: &ChainDir,
        entries: &[Entry],
        how: Compression,
        failed: &HashSet<(u32, SegmentName)>,
    ) -> Result<()> {
        for entry in entries {
            match entry.kind {
                Kind::Base => {}
                Kind::Globals => self.directory(chain, entry)?,
                Kind::Incremental => self.segment(chain, entry, how, failed)?,
            }
        }
        // It is no longer written to, and will not be closed.
        let open = chain
            .segments()?
            .pop()
            .filter(|(_, s)| *s == Stored::Partial);
        if let (Some(_), Some((name, stored))) = (&chain.info.ended, open) {
            let file = format!("{INCREMENTAL}/{}", name.file(stored));
            self.small(chain.path.join(&file), name_of(self.database, chain, &file))?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        chain: &ChainDir,
        entry: &Entry,
        how: Compression,
        failed: &HashSet<(u32, SegmentName)>,
    ) -> Result<()> {
        if self.is_done(chain, entry) {
            return Ok(());
        }
        let is_plain = entry.file_sha256 == entry.sha256;
        let is_there = |file: &&String| fs::symlink_metadata(chain.path.join(file)).is_ok();
        let forms = Stored::closed_files(&entry.file);
        let form = if is_plain {
            forms.iter().find(is_there)
        } else {
            // While the archive is being read, the uncompressed form still exists beside it.
            forms
                .iter()
                .skip(1)
                .find(is_there)
                .or(forms.iter().find(is_there))
        };
        let Some(file) = form else {
            self.look
                .missing
                .push(name_of(self.database, chain, &entry.file));
            return Ok(());
        };
        let name = file.rsplit('/').next().and_then(SegmentName::parse);
        let waits = |(name, stored): (SegmentName, Stored)| {
            stored == Stored::Plain
                && how.stored().is_some()
                && !failed.contains(&(chain.number, name))
        };
        if name.is_some_and(waits) {
            self.waits_at.get_or_insert(self.items.len());
        }
        let (sha256, bytes) = (entry.file_sha256.clone(), entry.file_bytes);
        self.add(
            chain.path.join(file),
            name_of(self.database, chain, file),
            sha256,
            bytes,
        )
    }

    /// A base or a set: its files, the checksums, and last the file that makes it valid.
    fn directory(&mut self, chain: &ChainDir, entry: &Entry) -> Result<()> {
        if self.is_done(chain, entry) {
            return Ok(());
        }
        let path = chain.path.join(&entry.file);
        if !durable::is_real_dir(&path) {
            self.look
                .missing
                .push(name_of(self.database, chain, &entry.file));
            return Ok(());
        }
        let mut files = sealed::files_below(&path)?;
        files.sort_by_key(|file| (file == METADATA_JSON, file == SHA256SUMS));
        let sums = sealed::sums(&path)?;
        for file in files {
            let name = name_of(self.database, chain, &format!("{}/{file}", entry.file));
            if self.notes.of(&name).is_some() {
                continue;
            }
            let path = path.join(&file);
            let bytes = fs::symlink_metadata(&path)
                .map_err(Error::io("stat", &path))?
                .len();
            let sha256 = match sums.get(&file) {
                Some(sha256) => sha256.clone(),
                None => checksum::of_file(&path)?.sha256,
            };
            self.add(path, name, sha256, bytes)?;
        }
        Ok(())
    }

    /// What was set apart after a switch of the timeline, but for bases and sets: those were archived under their names, or
    /// of no use. It never changes.
    fn lost(&mut self, chain: &ChainDir) -> Result<()> {
        for directory in lost::directories(chain)? {
            let room = directory.file_name().unwrap_or_default().to_string_lossy();
            let mut files = sealed::files_below(&directory)?;
            files.sort_by_key(|file| file == lost::LOST_JSON);
            for file in files {
                let is_sealed = file
                    .split('/')
                    .nth(1)
                    .is_some_and(|part| part == BASE || part == GLOBALS);
                let name = name_of(self.database, chain, &format!("{room}/{file}"));
                if is_sealed || self.notes.of(&name).is_some() {
                    continue;
                }
                let path = directory.join(&file);
                let sum = checksum::of_file(&path)?;
                self.add(path, name, sum.sha256, sum.bytes)?;
            }
        }
        Ok(())
    }

    fn is_done(&self, chain: &ChainDir, entry: &Entry) -> bool {
        entry.is_gone() || is_archived(self.database, self.notes, chain, entry).is_some()
    }

    fn description(&mut self, chain: &ChainDir) -> Result<()> {
        let database = self.database;
        let name = |file: &str| name_of(database, chain, file);
        if self.notes.of(&name(CHAIN_JSON)).is_some() {
            self.small(chain.path.join(CHAIN_JSON), name(CHAIN_JSON))?;
        }
        for file in [PINS_JSON, FLAGS] {
            self.small(chain.path.join(file), name(file))?;
        }
        Ok(())
    }

    /// The manifest of the copy, of what the copy has before this pass.
    fn manifest(&mut self, chain: &ChainDir, entries: &[Entry], served: Option<u32>) -> Result<()> {
        let database = self.database;
        let name = |file: &str| name_of(database, chain, file);
        let before = self.items.len();
        let parts = manifest::in_parts(&self.manifest_of_copy(chain, entries));
        let start = name("manifest-");
        let others = self.notes.names_of(&start);
        let others = others.filter_map(|other| other.rsplit('/').next());
        let mut left: Vec<&str> = others
            .filter(|other| !parts.iter().any(|(part, _)| part == other))
            .collect();
        left.sort_unstable();
        // The first comes last: an earlier version's, which is the whole, is complete until the others are there. What
        // lines are left in a part that begins with none of them are in the first, too.
        let emptied = left.iter().map(|part| ((*part).to_owned(), Vec::new()));
        for (part, content) in parts.into_iter().rev().chain(emptied) {
            let sha256 = checksum::of_bytes(&content);
            let name = name(&part);
            let note = self.notes.of(&name);
            if note.is_none_or(|note| note.sha256 != sha256) {
                self.items.push(Item {
                    path: chain.path.join(MANIFEST_OF_COPY),
                    name,
                    sha256,
                    bytes: content.len() as u64,
                    since: None,
                    content: Some(content),
                    reach: None,
                });
            }
        }
        if served == Some(chain.number) {
            let reach = self.reach(chain, entries);
            match self.items[before..].last_mut() {
                Some(last) => last.reach = Some(reach),
                None => self.look.reach = Some(reach),
            }
        }
        Ok(())
    }

    fn reach(&self, chain: &ChainDir, entries: &[Entry]) -> Reach {
        let segments = entries
            .iter()
            .filter(|entry| entry.kind == Kind::Incremental && !entry.is_gone());
        let taken = segments
            .take_while(|entry| is_archived(self.database, self.notes, chain, entry).is_some());
        let begin = chain.info.slot_start_lsn;
        Reach {
            chain: chain.number,
            lsn: taken.map(|entry| entry.end_lsn).max().unwrap_or(begin),
        }
    }

    /// The contents of the copy, whatever has expired or was compressed here; and where it begins, if something had expired
    /// before it was copied.
    fn manifest_of_copy(&self, chain: &ChainDir, entries: &[Entry]) -> Vec<Entry> {
        let of_copy = entries.iter().filter_map(|entry| {
            let note = note_of(self.database, self.notes, chain, entry);
            let is_there = note.is_some();
            let expired_at = entry.expired_at.filter(|_| !is_there);
            let (file_bytes, file_sha256) = match note.filter(|_| entry.kind == Kind::Incremental) {
                Some(note) if note.file.ends_with(".sql") => (entry.bytes, &entry.sha256),
                Some(note) => (note.bytes, &note.sha256),
                None => (entry.file_bytes, &entry.file_sha256),
            };
            // One that was set apart may have been archived all the same, before a crash or by the server before this one.
            let is_marked = entry.set_apart_at.is_some();
            (is_there || is_marked || expired_at.is_some()).then(|| Entry {
                expired_at,
                file_bytes,
                file_sha256: file_sha256.clone(),
                ..entry.clone()
            })
        });
        of_copy.collect()
    }

    fn add(&mut self, path: PathBuf, name: String, sha256: String, bytes: u64) -> Result<()> {
        ensure_plain(&name, &path)?;
        self.items.push(Item {
            since: written_at(&path),
            path,
            name,
            sha256,
            bytes,
            content: None,
            reach: None,
        });
        Ok(())
    }
}

fn has_set_apart(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.set_apart_at.is_some())
}

fn written_at(path: &Path) -> Option<Time> {
    let modified = fs::symlink_metadata(path).ok()?.modified().ok()?;
    Some(Time::from(modified))
}
