//! Files that survive a crash: only this module of the crate calls fsync or rename.
//!
//! Every file is created with mode 0600, never opens an existing one (`O_EXCL`) and never follows a symbolic
//! link (`O_NOFOLLOW`), so that nobody can redirect our writes. The durable order is in [`publish`];
//! everything that gives a file its final name uses it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::failpoint::pass;

/// Gives a fully written file its final name, in the order that survives a crash at any moment:
///
/// 1. the content reaches the disk,
/// 2. the name changes,
/// 3. the new name reaches the disk.
///
/// Success is reported (to a slot, to a caller) only after this has returned. An existing file with the final
/// name is an error.
pub fn publish(file: &File, from: &Path, to: &Path) -> Result<()> {
    fsync(file, "publish: fsync", from)?;
    ensure_absent(to)?;
    rename(from, to, "publish: rename")?;
    fsync_parent(to)
}

/// Fsyncs an open file; `point` is its failpoint.
pub(crate) fn fsync(file: &File, point: &'static str, path: &Path) -> Result<()> {
    pass(point)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("fsync", path))
}

fn rename(from: &Path, to: &Path, point: &'static str) -> Result<()> {
    pass(point)
        .and_then(|()| fs::rename(from, to))
        .map_err(Error::io("rename", from))
}

/// Renames a file or directory whose content is already durable; fsyncs both parents.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    ensure_absent(to)?;
    rename(from, to, "directory: rename")?;
    fsync_parent(to)?;
    if from.parent() == to.parent() {
        return Ok(());
    }
    fsync_parent(from)
}

/// Replaces a small file as a whole: a reader sees either the old content or the new.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    copy_atomically(path, bytes)
}

/// [`write_atomically`] with the contents of a reader, of any length.
pub(crate) fn copy_atomically(path: &Path, mut content: impl Read) -> Result<()> {
    let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
    remove_if_there(&temporary)?;
    let mut file = create_new(&temporary)?;
    pass("small file: write")
        .and_then(|()| std::io::copy(&mut content, &mut file))
        .map_err(Error::io("write", &temporary))
        .and_then(|_| fsync(&file, "small file: fsync", &temporary))
        .and_then(|()| rename(&temporary, path, "small file: rename"))
        .inspect_err(|_| {
            // Otherwise it would stay forever; if it cannot be removed, the error is sufficient.
            let _ = fs::remove_file(&temporary);
        })?;
    fsync_parent(path)
}

/// The error for a link in place of a directory.
pub(crate) const NO_DIRECTORY: &str = "it is not a directory, and a symbolic link is not followed";

/// Creates a second name of a file; both refer to the same content, which is durable under the new one when
/// this returns. A copy if the file system does not support hard links.
pub(crate) fn keep_as(path: &Path, second: &Path) -> Result<()> {
    ensure_absent(second)?;
    if fs::hard_link(path, second).is_err() {
        let content = open_to_read(path)?;
        return copy_atomically(second, content);
    }
    fsync_file(second)?;
    fsync_parent(second)
}

/// Creates a new empty file, mode 0600. Its name is durable only after [`fsync_parent`].
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

/// Opens a file for appending, created with mode 0600 if missing; refuses a symbolic link.
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

/// Creates a directory with mode 0700 and makes its name durable.
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
    pass("fsync directory")
        .and_then(|()| File::open(path))
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("fsync directory", path))
}

/// Fsyncs the directory that holds `path`.
pub fn fsync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), fsync_dir)
}

/// Removes a file if it exists; its absence is durable afterwards.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => fsync_parent(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// True for a real directory, false for a link to one and for everything else.
pub fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The names in a directory, as far as they are UTF-8: this program gives no others.
pub fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = || Error::io("read directory", directory);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    Ok(names)
}

/// True if this open file is still the one at `path`: not one that was removed or replaced.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().map_err(Error::io("stat", path))?;
    Ok(fs::symlink_metadata(path)
        .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
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
        Err(error) => Err(Error::io("stat", path)(error)),
        Ok(_) => Err(Error::io("create", path)(
            std::io::ErrorKind::AlreadyExists.into(),
        )),
    }
}

/// Reports a symbolic link as such, where the operating system reports too many levels of links.
fn not_opened(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        Error::io("open", path)(if is_link {
            std::io::Error::other("it is a symbolic link, which is not followed")
        } else {
            error
        })
    }
}

pub(crate) fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32
}
