//! An archive in a directory of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{openat, Mode, OFlags, CWD};

use super::{Item, Storage};
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::DatabaseDir;
use crate::lock::{at_rest, Lock};
use crate::pause::{going_on, Pause};

/// The directory of a database. Symbolic links below it are not followed: nothing outside of it is read.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// An existing directory, without a check of its contents.
    pub fn at(path: impl Into<PathBuf>) -> Directory {
        Directory { path: path.into() }
    }

    fn path_of(&self, file: &str) -> PathBuf {
        match file {
            "" => self.path.clone(),
            file => self.path.join(file),
        }
    }

    fn opened(&self, file: &str) -> Result<Option<(File, fs::Metadata)>> {
        let path = self.path_of(file);
        let parts: Vec<&str> = file.split('/').collect();
        let Some(file) = open_below(&self.path, &parts).map_err(Error::io("open", &path))? else {
            return Ok(None);
        };
        let metadata = file.metadata().map_err(Error::io("stat", &path))?;
        if !metadata.is_file() {
            return Err(Error::damaged(&path, 0, "it is not a file"));
        }
        Ok(Some((file, metadata)))
    }
}

impl Storage for Directory {
    fn list(&self, directory: &str) -> Result<Vec<Item>> {
        let path = self.path_of(directory);
        if !directory.is_empty() && !durable::is_real_dir(&path) {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        let failed = || Error::io("read directory", &path);
        for entry in fs::read_dir(&path).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            // One that has gone in the meantime is not there.
            let Ok(metadata) = fs::symlink_metadata(path.join(&name)) else {
                continue;
            };
            items.push(Item {
                is_directory: metadata.is_dir(),
                size: if metadata.is_file() {
                    metadata.len()
                } else {
                    0
                },
                // One that is not UTF-8 is none of ours, and cannot be opened.
                name: name.to_string_lossy().into_owned(),
            });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn open(&self, file: &str, offset: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let Some((mut opened, _)) = self.opened(file)? else {
            return Ok(None);
        };
        let path = self.path_of(file);
        let sought = opened.seek(SeekFrom::Start(offset));
        sought.map_err(Error::io("read", &path))?;
        Ok(Some(Box::new(opened)))
    }

    fn size(&self, file: &str) -> Result<Option<u64>> {
        Ok(self.opened(file)?.map(|(_, metadata)| metadata.len()))
    }

    fn hold(&self) -> Result<Option<Lock>> {
        let database = DatabaseDir::at(&self.path);
        database
            .map(|database| Lock::shared(&database, &mut || {}))
            .transpose()
    }

    fn read_at_rest(&self, file: &str, pause: Pause) -> Result<Option<Vec<u8>>> {
        let Some(_lock) = at_rest::<Error>(&self.path_of(file), &mut going_on(pause))? else {
            return Ok(None);
        };
        super::read(self, file)
    }

    fn place(&self, file: &str) -> String {
        self.path_of(file).display().to_string()
    }
}

/// Opens a file component by component, so that none of them can be a link; `None` if it does not exist.
pub(crate) fn open_below(root: &Path, parts: &[impl AsRef<str>]) -> io::Result<Option<File>> {
    let no_link = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = no_link | OFlags::DIRECTORY;
    let mut at = openat(CWD, root, directory, Mode::empty())?;
    let Some((last, directories)) = parts.split_last() else {
        return Ok(None);
    };
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    if !parts.iter().all(|part| is_name(part.as_ref())) {
        return Ok(None);
    }
    for part in directories {
        at = match openat(&at, part.as_ref(), directory, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
    }
    // A file put there by somebody else may be a pipe without a writer.
    let flags = no_link | OFlags::NONBLOCK;
    match openat(&at, last.as_ref(), flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => Ok(None),
        opened => Ok(Some(File::from(opened?))),
    }
}
