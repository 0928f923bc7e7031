//! `archived.jsonl` of a database: what archive_command has archived, one line each time.
//!
//! Only the archiver writes it. A line is durable before the next file is archived, so after a crash at most
//! one file is archived twice. A torn last line counts as not written; any other line that cannot be parsed
//! is an error for retention, which then removes nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::layout::DatabaseDir;
use crate::time::{self, Time};

/// The name of the file.
pub const ARCHIVED_JSONL: &str = "archived.jsonl";
/// The file is rewritten without obsolete lines only if there are this many.
const MANY: usize = 1000;

/// A file that was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// As in `%f`: relative to the archive's root.
    pub file: String,
    /// Of the archived file.
    pub sha256: String,
    pub bytes: u64,
    #[serde(with = "time::json")]
    pub at: Time,
}

/// The last note on each file.
#[derive(Debug, Default)]
pub struct Notes {
    by_file: HashMap<String, Note>,
    lines: usize,
}

impl Notes {
    /// All notes; empty if nothing was ever archived.
    pub fn read(database: &DatabaseDir) -> Result<Notes> {
        let path = path_of(database);
        let bytes = match durable::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound) =>
            {
                return Ok(Notes::default());
            }
            Err(error) => return Err(error),
        };
        Notes::parse(&bytes, &path)
    }

    /// The content of the file; `path` is for the error.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Notes> {
        let mut notes = Notes::default();
        for (number, line) in bytes[..complete(bytes)]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            let note: Note = serde_json::from_slice(line).map_err(|error| {
                let why = format!("line {} is invalid: {error}", number + 1);
                Error::damaged(path, 0, why)
            })?;
            notes.take(note);
        }
        Ok(notes)
    }

    /// The last note on a file.
    pub fn of(&self, file: &str) -> Option<&Note> {
        self.by_file.get(file)
    }

    /// Files whose names start like this.
    pub(super) fn names_of<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        let names = self.by_file.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(start))
    }

    fn take(&mut self, note: Note) {
        self.lines += 1;
        self.by_file.insert(note.file.clone(), note);
    }
}

/// The notes, open for the one process that may append.
pub(super) struct NotesWriter {
    path: PathBuf,
    file: File,
    pub notes: Notes,
}

impl NotesWriter {
    /// [`Error::Locked`] while another process has them open.
    pub fn open(database: &DatabaseDir) -> Result<NotesWriter> {
        let path = path_of(database);
        loop {
            let file = durable::open_for_appending(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path }),
                Err(errno) => return Err(Error::io("lock", &path)(errno.into())),
            }
            // A rewrite has replaced the file.
            if durable::is_at(&file, &path)? {
                durable::fsync_parent(&path)?;
                let bytes = durable::read(&path)?;
                let length = complete(&bytes);
                if length < bytes.len() {
                    file.set_len(length as u64)
                        .map_err(Error::io("repair", &path))?;
                }
                let notes = Notes::read(database)?;
                return Ok(NotesWriter { path, file, notes });
            }
        }
    }

    /// Durable when this returns.
    pub fn add(&mut self, note: Note) -> Result<()> {
        let mut line = serde_json::to_vec(&note).expect("plain fields always become JSON");
        line.push(b'\n');
        let length = self
            .file
            .metadata()
            .map_err(Error::io("stat", &self.path))?
            .len();
        let added = pass("archived: write")
            .and_then(|()| self.file.write_all(&line))
            .map_err(Error::io("write", &self.path))
            .and_then(|()| durable::fsync(&self.file, "archived: fsync", &self.path));
        if added.is_err() {
            // A line that may never reach the disk must not count.
            let _ = self.file.set_len(length);
        }
        added?;
        self.notes.take(note);
        Ok(())
    }

    /// Removes obsolete lines if there are many. `is_kept` gets the file.
    pub fn tidy(&mut self, is_kept: impl Fn(&str) -> bool) -> Result<()> {
        let needed = self
            .notes
            .by_file
            .keys()
            .filter(|file| is_kept(file))
            .count();
        if self.notes.lines < 2 * needed + MANY {
            return Ok(());
        }
        let mut kept: Vec<&Note> = self
            .notes
            .by_file
            .values()
            .filter(|n| is_kept(&n.file))
            .collect();
        kept.sort_by_key(|note| note.at);
        write(&self.path, kept)?;
        self.notes.by_file.retain(|file, _| is_kept(file));
        self.notes.lines = self.notes.by_file.len();
        let file = durable::open_for_appending(&self.path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::io("lock", &self.path)(errno.into()))?;
        self.file = file;
        Ok(())
    }
}

/// Puts exactly these notes into the file.
pub(super) fn write<'n>(path: &Path, notes: impl IntoIterator<Item = &'n Note>) -> Result<()> {
    let mut text = Vec::new();
    for note in notes {
        serde_json::to_writer(&mut text, note).expect("plain fields always become JSON");
        text.push(b'\n');
    }
    durable::write_atomically(path, &text)
}

pub(super) fn path_of(database: &DatabaseDir) -> PathBuf {
    database.path().join(ARCHIVED_JSONL)
}

/// Length of the complete lines.
fn complete(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |p| p + 1)
}
