//! Files that survive a crash: the only place of this crate that calls fsync or rename.
//!
//! Every file is made with mode 0600, is never an existing one (`O_EXCL`) and never a symbolic link
//! (`O_NOFOLLOW`), so that nobody can lead us into writing elsewhere. The durable order is spelled
//! out in [`publish`]; everything that gives a file its final name goes through it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, Result};

/// Gives a fully written file its final name, in the order that survives a crash at any moment:
///
/// 1. the content reaches the disk,
/// 2. the name changes,
/// 3. the new name reaches the disk.
///
/// Who reports success (to a slot, to a caller) does so after this returned, never before. An
/// existing file of the final name is an error.
pub fn publish(file: &File, from: &Path, to: &Path) -> Result<()> {
    file.sync_all().map_err(Error::io("fsync", from))?;
    ensure_absent(to)?;
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    fsync_parent(to)
}

/// Renames a file or directory whose content is durable already; fsyncs both parents.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    ensure_absent(to)?;
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    fsync_parent(to)?;
    if from.parent() == to.parent() {
        return Ok(());
    }
    fsync_parent(from)
}

/// Replaces a small file as a whole: a reader sees the old content or the new, never a part.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
    remove_if_there(&temporary)?;
    let mut file = create_new(&temporary)?;
    file.write_all(bytes)
        .map_err(Error::io("write", &temporary))?;
    file.sync_all().map_err(Error::io("fsync", &temporary))?;
    fs::rename(&temporary, path).map_err(Error::io("rename", &temporary))?;
    fsync_parent(path)
}

/// What is wrong with a link in place of a directory.
pub(crate) const NO_DIRECTORY: &str = "it is not a directory, and a symbolic link is not followed";

/// Makes a new empty file, mode 0600. Its name is durable only after [`fsync_parent`].
pub fn create_new(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent().filter(|parent| !is_real_dir(parent)) {
        let why = std::io::Error::other(NO_DIRECTORY);
        return Err(Error::io("write below", parent)(why));
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
        .map_err(Error::io("create", path))
}

/// Opens an existing file for reading and writing; refuses a symbolic link.
pub fn open_for_update(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(no_follow())
        .open(path)
        .map_err(not_opened(path))
}

/// Opens a file for appending, making it with mode 0600 where it is missing; refuses a symbolic link.
pub fn open_for_appending(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
        .map_err(not_opened(path))
}

/// Opens a file for reading; refuses a symbolic link.
pub fn open_to_read(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(no_follow())
        .open(path)
        .map_err(not_opened(path))
}

/// Reads a small file as a whole; refuses a symbolic link.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_to_read(path)?
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Makes a directory with mode 0700 and makes its name durable.
pub fn create_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create directory", path))?;
    fsync_parent(path)
}

/// Fsyncs a file by its path.
pub fn fsync_file(path: &Path) -> Result<()> {
    open_to_read(path)?
        .sync_all()
        .map_err(Error::io("fsync", path))
}

/// Fsyncs a directory: the names in it are durable afterwards.
pub fn fsync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("fsync directory", path))
}

/// Fsyncs the directory that holds `path`.
pub fn fsync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), fsync_dir)
}

/// Removes a file if it is there; its absence is durable afterwards.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => fsync_parent(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// True for a real directory, false for a link to one and for all else.
pub fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The path with `suffix` behind its last component.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(suffix);
    path.with_file_name(name)
}

fn ensure_absent(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("look at", path)(error)),
        Ok(_) => Err(Error::io("create", path)(
            std::io::ErrorKind::AlreadyExists.into(),
        )),
    }
}

/// Says of a symbolic link that it is one, where the operating system counts levels.
fn not_opened(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        Error::io("open", path)(match is_link {
            true => std::io::Error::other("it is a symbolic link, which is not followed"),
            false => error,
        })
    }
}

fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32
}
