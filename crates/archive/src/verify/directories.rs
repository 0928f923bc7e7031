//! A base, or a set of globals: every file in it, and what its line in the manifest must be.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base;
use crate::checksum::{self, Checksum};
use crate::error::Result;
use crate::globals::{self, Facts};
use crate::layout::names::METADATA_JSON;
use crate::layout::{BaseName, GlobalsName};
use crate::lsn::Lsn;
use crate::manifest::Entry;
use crate::metadata::Metadata;
use crate::pause::{Pause, Pausing};
use crate::sealed::SHA256SUMS;
use crate::storage::{self, Storage};

/// What was found in one.
#[derive(Default)]
pub struct Sealed {
    /// By file.
    pub problems: Vec<(String, String)>,
    /// Its line; `None` if its own files do not tell.
    pub entry: Option<Entry>,
}

/// A directory as it was read: sizes, and the checksum of its list of checksums.
struct Contents {
    bytes: u64,
    sums: Option<String>,
}

impl Sealed {
    /// Checks a base.
    pub fn base(storage: &dyn Storage, directory: &str, name: BaseName, pause: Pause) -> Sealed {
        Sealed::base_without(storage, directory, name, &|_| false, pause)
    }

    /// The same without reading the files that `passes` names; they must be there, and have a checksum. For who reads only
    /// some of them, and checks those by [`Sealed::files`].
    pub fn base_without(
        storage: &dyn Storage,
        directory: &str,
        name: BaseName,
        passes: &dyn Fn(&str) -> bool,
        pause: Pause,
    ) -> Sealed {
        let (mut sealed, contents) = Sealed::check(storage, directory, passes, pause);
        let metadata = parsed(storage, directory, Metadata::parse);
        sealed.note_lsn(name.lsn, metadata.as_ref().map(|metadata| metadata.lsn));
        if let (Ok(metadata), Some(sums)) = (metadata, contents.sums) {
            sealed.entry = Some(base::entry(name, metadata, sums, contents.bytes));
        }
        sealed
    }

    /// Checks a set of globals.
    pub fn globals(
        storage: &dyn Storage,
        directory: &str,
        name: GlobalsName,
        pause: Pause,
    ) -> Sealed {
        let (mut sealed, contents) = Sealed::check(storage, directory, &|_| false, pause);
        let facts = parsed(storage, directory, Facts::parse);
        sealed.note_lsn(name.lsn, facts.as_ref().map(|facts| facts.lsn));
        if let (Ok(facts), Some(sums)) = (facts, contents.sums) {
            sealed.entry = Some(globals::entry(name, &facts, sums, contents.bytes));
        }
        sealed
    }

    /// The problems of some of its files, each relative to the directory.
    pub fn files(
        storage: &dyn Storage,
        directory: &str,
        files: &[String],
        pause: Pause,
    ) -> Vec<(String, String)> {
        let mut sealed = Sealed::default();
        let sums = match storage::read(storage, &format!("{directory}/{SHA256SUMS}")) {
            Ok(sums) => sums.unwrap_or_default(),
            Err(error) => {
                sealed.found(SHA256SUMS, error.to_string());
                return sealed.problems;
            }
        };
        let text = String::from_utf8_lossy(&sums);
        let lines = text.lines().filter_map(|line| line.split_once("  "));
        let expected: BTreeMap<&str, &str> = lines.map(|(sha256, file)| (file, sha256)).collect();
        for file in files {
            let sum = checksum_of(storage, &format!("{directory}/{file}"), pause);
            sealed.compare(file, expected.get(file.as_str()).copied(), sum.as_ref());
        }
        sealed.problems
    }

    fn compare(
        &mut self,
        file: &str,
        listed: Option<&str>,
        sum: std::result::Result<&Checksum, &String>,
    ) {
        match (listed, sum) {
            (None, _) => self.found(file, "has no checksum"),
            (Some(_), Err(why)) => self.found(file, why),
            (Some(sha256), Ok(sum)) if sum.sha256 != sha256 => {
                self.found(file, "its checksum does not match SHA256SUMS");
            }
            (Some(_), Ok(_)) => {}
        }
    }

    fn found(&mut self, file: &str, why: impl Into<String>) {
        self.problems.push((file.to_owned(), why.into()));
    }

    fn note_lsn(&mut self, of_name: Lsn, of_metadata: std::result::Result<Lsn, &String>) {
        match of_metadata {
            Ok(lsn) if lsn == of_name => {}
            Ok(_) => self.found(METADATA_JSON, "its LSN does not match the directory name"),
            Err(error) => self.found(METADATA_JSON, error),
        }
    }

    /// Every file must have its line in SHA256SUMS, and every line its file.
    fn check(
        storage: &dyn Storage,
        directory: &str,
        passes: &dyn Fn(&str) -> bool,
        pause: Pause,
    ) -> (Sealed, Contents) {
        let mut sealed = Sealed::default();
        let mut contents = Contents {
            bytes: 0,
            sums: None,
        };
        let sums = match storage::read(storage, &format!("{directory}/{SHA256SUMS}")) {
            Ok(Some(sums)) => sums,
            Ok(None) => {
                sealed.found(SHA256SUMS, "is missing");
                return (sealed, contents);
            }
            Err(error) => {
                sealed.found(SHA256SUMS, error.to_string());
                return (sealed, contents);
            }
        };
        contents.sums = Some(checksum::of_bytes(&sums));
        contents.bytes = sums.len() as u64;
        let text = String::from_utf8_lossy(&sums);
        let mut expected: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines() {
            match line.split_once("  ") {
                Some((sha256, file)) => drop(expected.insert(file, sha256)),
                None => sealed.found(SHA256SUMS, "has a line without a checksum"),
            }
        }
        let files = match files_below(storage, directory) {
            Ok(files) => files,
            Err(error) => {
                sealed.found("", error.to_string());
                return (sealed, contents);
            }
        };
        for file in files.iter().filter(|file| *file != SHA256SUMS) {
            if file.contains(char::REPLACEMENT_CHARACTER) {
                sealed.found(file, "its name is not valid UTF-8");
                continue;
            }
            let listed = expected.remove(file.as_str());
            let path = format!("{directory}/{file}");
            if listed.is_some() && passes(file) {
                contents.bytes += storage.size(&path).ok().flatten().unwrap_or(0);
                continue;
            }
            let sum = checksum_of(storage, &path, pause);
            contents.bytes += sum.as_ref().map_or(0, |sum| sum.bytes);
            sealed.compare(file, listed, sum.as_ref());
        }
        for file in expected.into_keys() {
            sealed.found(file, "is missing");
        }
        (sealed, contents)
    }
}

/// Its metadata, or why there is none.
fn parsed<T>(
    storage: &dyn Storage,
    directory: &str,
    parse: impl FnOnce(&[u8], &Path) -> Result<T>,
) -> std::result::Result<T, String> {
    let file = format!("{directory}/{METADATA_JSON}");
    let read = storage::read(storage, &file).map_err(|error| error.to_string())?;
    let bytes = read.ok_or("is missing")?;
    parse(&bytes, Path::new(&storage.place(&file))).map_err(|error| error.to_string())
}

/// Of a stored file, unchanged.
fn checksum_of(
    storage: &dyn Storage,
    file: &str,
    pause: Pause,
) -> std::result::Result<Checksum, String> {
    let opened = storage.open(file, 0).map_err(|error| error.to_string())?;
    let input = opened.ok_or("is missing")?;
    let sum = checksum::of_reader(Pausing::new(input, pause));
    sum.map_err(|error| storage::failed("read", storage, file)(error).to_string())
}

/// Every file below a directory, relative to it, sorted. What is neither a file nor a directory cannot be opened.
fn files_below(storage: &dyn Storage, root: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for item in storage.list(&format!("{root}{directory}"))? {
            let path = format!("{directory}/{}", item.name);
            if item.is_directory {
                directories.push(path);
            } else {
                found.push(path[1..].to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
