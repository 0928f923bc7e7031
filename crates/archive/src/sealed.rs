//! A directory that is published as a whole: a base backup, a set of globals.
//!
//! It is filled under a `.partial` name. [`seal`] makes everything in it durable, sets file modes and writes
//! its checksums; the caller then gives it its final name. `verify` checks one.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::names::{is_partial_directory, PARTIAL};

/// The checksums of a directory's files, in the format of `sha256sum -c`.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// Each file with its mode set and fsynced, then the checksums, then the directories.
pub(crate) fn seal(path: &Path) -> Result<()> {
    durable::remove_if_there(&path.join(SHA256SUMS))?;
    let mut sums = String::new();
    for file in files_below(path)? {
        let path = path.join(&file);
        set_mode(&path, 0o600)?;
        durable::fsync_file(&path)?;
        sums.push_str(&format!("{}  {file}\n", checksum::of_file(&path)?.sha256));
    }
    durable::write_atomically(&path.join(SHA256SUMS), sums.as_bytes())?;
    fsync_directories(path)
}

/// Removes directories that were never finished; returns their paths. To be called while none is being
/// written.
pub(crate) fn remove_leftovers(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in durable::names_in(parent)? {
        if is_partial_directory(&name) {
            let path = parent.join(name);
            remove(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Removes a directory with its contents.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
    durable::fsync_parent(path)
}

/// The path under which a directory is filled.
pub(crate) fn partial(parent: &Path, name: impl std::fmt::Display) -> PathBuf {
    parent.join(format!("{name}{PARTIAL}"))
}

/// sha256 of the directory's SHA256SUMS, which represents all of it.
pub(crate) fn sums_of(path: &Path) -> Result<String> {
    Ok(checksum::of_file(&path.join(SHA256SUMS))?.sha256)
}

/// Size of all its files together.
pub(crate) fn bytes_below(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in files_below(path)? {
        let path = path.join(file);
        bytes += fs::symlink_metadata(&path)
            .map_err(Error::io("stat", &path))?
            .len();
    }
    Ok(bytes)
}

/// The checksums of a directory's files, by their names relative to it.
pub(crate) fn sums(path: &Path) -> Result<BTreeMap<String, String>> {
    let path = path.join(SHA256SUMS);
    let text = durable::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once("  "));
    Ok(pairs
        .map(|(sha256, file)| (file.to_owned(), sha256.to_owned()))
        .collect())
}

/// Every file below a directory, relative to it, sorted; fails for anything but files and directories.
pub(crate) fn files_below(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for name in all_names_in(&root.join(&directory))? {
            let relative = if directory.is_empty() {
                name
            } else {
                format!("{directory}/{name}")
            };
            let path = root.join(&relative);
            let metadata = fs::symlink_metadata(&path).map_err(Error::io("stat", &path))?;
            if metadata.is_dir() {
                directories.push(relative);
            } else if metadata.is_file() {
                found.push(relative);
            } else {
                return Err(Error::damaged(&path, 0, "neither a file nor a directory"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Fails at a name that is not UTF-8: no checksum could be listed for it.
fn all_names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = || Error::io("read directory", directory);
    let entries = fs::read_dir(directory).map_err(failed())?;
    entries
        .map(|entry| {
            let name = entry.map_err(failed())?.file_name();
            name.into_string().map_err(|name| {
                let why = "its name is not valid UTF-8";
                Error::damaged(&directory.join(name), 0, why)
            })
        })
        .collect()
}

/// Closes every directory to others and fsyncs it, the innermost first.
fn fsync_directories(path: &Path) -> Result<()> {
    for name in durable::names_in(path)? {
        let below = path.join(name);
        if durable::is_real_dir(&below) {
            fsync_directories(&below)?;
        }
    }
    set_mode(path, 0o700)?;
    durable::fsync_dir(path)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(Error::io("change the mode of", path))
}
