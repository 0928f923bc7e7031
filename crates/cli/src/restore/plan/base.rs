//! Whether a base, or a set of globals, is as its checksums say.

use std::collections::BTreeMap;

use archive::checksum;
use archive::storage::{self, Storage};

use crate::error::{Error, Result};

const SUMS: &str = "SHA256SUMS";

/// Every file of a directory as SHA256SUMS lists it, none besides, and that file as the manifest's line says.
pub fn ensure_sealed(storage: &dyn Storage, directory: &str, listed: Option<&str>) -> Result<u64> {
    let damaged = |why: String| {
        let place = storage.place(directory);
        Error::damaged(format!("{place} is damaged: {why}"))
    };
    let sums = storage::read(storage, &format!("{directory}/{SUMS}"))?
        .ok_or_else(|| damaged(format!("it has no {SUMS}")))?;
    if listed.is_some_and(|listed| listed != checksum::of_bytes(&sums)) {
        return Err(damaged(format!(
            "the checksum of {SUMS} does not match the manifest"
        )));
    }
    let sums = String::from_utf8_lossy(&sums);
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for line in sums.lines() {
        let (sha256, file) = line
            .split_once("  ")
            .ok_or_else(|| damaged(format!("{SUMS} has a line without a checksum")))?;
        expected.insert(file.to_owned(), sha256.to_owned());
    }
    let mut bytes = 0;
    for file in files_below(storage, directory, "")? {
        if file == SUMS {
            continue;
        }
        let sha256 = expected
            .remove(file.as_str())
            .ok_or_else(|| damaged(format!("{file} has no checksum in {SUMS}")))?;
        let path = format!("{directory}/{file}");
        let input = storage
            .open(&path, 0)?
            .ok_or_else(|| damaged(format!("{file} has gone")))?;
        let sum = checksum::of_reader(input).map_err(storage::failed("read", storage, &path))?;
        if sum.sha256 != sha256 {
            return Err(damaged(format!(
                "the checksum of {file} does not match {SUMS}"
            )));
        }
        bytes += sum.bytes;
    }
    match expected.keys().next() {
        Some(missing) => Err(damaged(format!("{missing} is missing"))),
        None => Ok(bytes),
    }
}

fn files_below(storage: &dyn Storage, root: &str, below: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for item in storage.list(&format!("{root}{below}"))? {
        let name = format!("{below}/{}", item.name);
        if item.is_directory {
            files.extend(files_below(storage, root, &name)?);
        } else {
            files.push(name[1..].to_owned());
        }
    }
    Ok(files)
}
