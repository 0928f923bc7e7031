//! The root of the archive: checked before anything is written below it.
//!
//! The checks cover common mistakes in choosing a directory. Each has its own variant, so that a function,
//! the log and the health report can give the same message with the same hint.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{access, Access};

use super::database::DatabaseDir;
use super::names::parse_chain_name;
use crate::durable;
use crate::error::{DirectoryError, Error, Result};
use crate::owner::OWNER_JSON;

/// What is left to do to a directory that can be the root of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// It does not exist.
    ToBeMade,
    /// It is empty, and others can access it.
    ToBeClosed,
}

/// A checked root directory.
#[derive(Debug, Clone)]
pub struct ArchiveRoot {
    path: PathBuf,
}

impl ArchiveRoot {
    /// Checks the directory and creates it (mode 0700) if it is missing. The mode of an existing empty
    /// directory of ours is set; one with content that others can access is refused.
    pub fn open(path: &Path, data_directory: &Path) -> std::result::Result<Self, DirectoryError> {
        match Self::examine(path, data_directory)? {
            Standing::Ready => {}
            Standing::ToBeMade => make(path)?,
            Standing::ToBeClosed => fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(DirectoryError::io("change the mode of", path))?,
        }
        Ok(ArchiveRoot {
            path: path.to_owned(),
        })
    }

    /// The checks of [`ArchiveRoot::open`] alone: nothing is changed.
    pub fn examine(
        path: &Path,
        data_directory: &Path,
    ) -> std::result::Result<Standing, DirectoryError> {
        if !path.is_absolute() {
            return Err(DirectoryError::NotAbsolute(path.to_owned()));
        }
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ensure_makeable(path, data_directory)?;
                return Ok(Standing::ToBeMade);
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(DirectoryError::MissingParent(path.to_owned()));
            }
            Err(error) => return Err(DirectoryError::io("stat", path)(error)),
        };
        if metadata.is_symlink() {
            return Err(DirectoryError::Symlink(path.to_owned()));
        }
        if !metadata.is_dir() {
            return Err(DirectoryError::NotADirectory(path.to_owned()));
        }
        ensure_apart(path, path, data_directory)?;
        ensure_ours(path, &metadata)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every directory below the root that contains chains or has an owner, by name. Others (`lost+found`)
    /// are ignored.
    pub fn databases(&self) -> Result<Vec<DatabaseDir>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read directory", &self.path))? {
            let path = entry
                .map_err(Error::io("read directory", &self.path))?
                .path();
            if is_taken(&path) {
                found.extend(DatabaseDir::at(path));
            }
        }
        found.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(found)
    }
}

/// Whether a directory that does not exist can be created.
fn ensure_makeable(path: &Path, data_directory: &Path) -> std::result::Result<(), DirectoryError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.is_dir() {
        return Err(DirectoryError::MissingParent(path.to_owned()));
    }
    ensure_apart(path, parent, data_directory)?;
    ensure_writable(parent, path)
}

fn make(path: &Path) -> std::result::Result<(), DirectoryError> {
    match durable::create_dir(path) {
        Ok(()) => Ok(()),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(Error::Io {
            action,
            path,
            source,
        }) => Err(DirectoryError::Io {
            action,
            path,
            source,
        }),
        Err(_) => Err(DirectoryError::NotWritable(path.to_owned())),
    }
}

/// Refuses a root inside the data directory and one that contains it. `existing` is the root or, if it has to
/// be created, its parent.
fn ensure_apart(
    path: &Path,
    existing: &Path,
    data_directory: &Path,
) -> std::result::Result<(), DirectoryError> {
    let real = existing
        .canonicalize()
        .map_err(DirectoryError::io("stat", existing))?;
    let real_data = data_directory
        .canonicalize()
        .map_err(DirectoryError::io("stat", data_directory))?;
    if real.starts_with(&real_data) {
        return Err(DirectoryError::InsideDataDirectory(path.to_owned()));
    }
    if existing == path && real_data.starts_with(&real) {
        return Err(DirectoryError::ContainsDataDirectory(path.to_owned()));
    }
    Ok(())
}

/// `path` is the root, `existing` itself or its parent. Permissions can be changed by the user; any other
/// problem (a read-only file system) is described by the operating system.
fn ensure_writable(existing: &Path, path: &Path) -> std::result::Result<(), DirectoryError> {
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::ACCESS) => Err(DirectoryError::NotWritable(path.to_owned())),
        Err(errno) => Err(DirectoryError::Io {
            action: "write to",
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

fn ensure_ours(
    path: &Path,
    metadata: &fs::Metadata,
) -> std::result::Result<Standing, DirectoryError> {
    let expected = rustix::process::geteuid().as_raw();
    if metadata.uid() != expected {
        return Err(DirectoryError::WrongOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
            expected,
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        return Err(DirectoryError::NotWritable(path.to_owned()));
    }
    ensure_writable(path, path)?;
    if mode & 0o077 == 0 {
        return Ok(Standing::Ready);
    }
    if fs::read_dir(path)
        .map_err(DirectoryError::io("read", path))?
        .next()
        .is_some()
    {
        return Err(DirectoryError::WrongMode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(Standing::ToBeClosed)
}

/// True if a directory is a database's.
pub(super) fn is_taken(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let is_chain = name.to_str().and_then(parse_chain_name).is_some();
            name == OWNER_JSON || is_chain && durable::is_real_dir(&entry.path())
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("data")).unwrap();
            Place { dir }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn open(&self, name: &str) -> std::result::Result<ArchiveRoot, DirectoryError> {
            ArchiveRoot::open(&self.at(name), &self.at("data"))
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_root_is_made_for_us_alone() {
        let place = Place::new();
        place.open("archive").unwrap();
        assert_eq!(mode(&place.at("archive")), 0o700);
        place.open("archive").unwrap();
    }

    #[test]
    fn an_empty_directory_is_closed_to_others() {
        let place = Place::new();
        fs::create_dir(place.at("archive")).unwrap();
        fs::set_permissions(place.at("archive"), fs::Permissions::from_mode(0o755)).unwrap();
        place.open("archive").unwrap();
        assert_eq!(mode(&place.at("archive")), 0o700);
    }

    #[test]
    fn a_used_directory_that_others_can_enter_is_refused() {
        let place = Place::new();
        fs::create_dir_all(place.at("archive/x")).unwrap();
        fs::set_permissions(place.at("archive"), fs::Permissions::from_mode(0o755)).unwrap();
        let error = place.open("archive").unwrap_err();
        assert!(
            matches!(error, DirectoryError::WrongMode { mode: 0o755, .. }),
            "{error}"
        );
    }

    #[test]
    fn wrong_places_are_refused_each_for_its_reason() {
        let place = Place::new();
        fs::write(place.at("file"), "").unwrap();
        symlink(place.at("data"), place.at("link")).unwrap();
        let refused = |name: &str| place.open(name).unwrap_err();
        assert!(matches!(
            refused("no/archive"),
            DirectoryError::MissingParent(_)
        ));
        assert!(matches!(refused("file"), DirectoryError::NotADirectory(_)));
        assert!(matches!(
            refused("file/archive"),
            DirectoryError::MissingParent(_)
        ));
        assert!(matches!(refused("link"), DirectoryError::Symlink(_)));
        assert!(matches!(
            refused("data"),
            DirectoryError::InsideDataDirectory(_)
        ));
        assert!(matches!(
            refused("data/archive"),
            DirectoryError::InsideDataDirectory(_)
        ));
        assert!(matches!(
            refused("link/archive"),
            DirectoryError::InsideDataDirectory(_)
        ));
        assert!(matches!(
            refused(""),
            DirectoryError::ContainsDataDirectory(_)
        ));
        assert!(matches!(
            ArchiveRoot::open(Path::new("archive"), &place.at("data")),
            Err(DirectoryError::NotAbsolute(_))
        ));
    }

    #[test]
    fn every_refusal_has_a_hint_that_is_a_sentence() {
        let place = Place::new();
        let hint = place.open("no/archive").unwrap_err().hint();
        assert!(hint.ends_with('.') && hint.starts_with(|c: char| c.is_uppercase()));
    }
}
