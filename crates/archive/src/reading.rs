//! Reading the archive remotely, a part of a file at a time, for clients without shell access.
//!
//! Only files of the archive can be read: a name is split and each part must be one that is accepted here.
//! Symbolic links are not followed, so nothing outside the database's directory can be read.

use std::io;
use std::os::unix::fs::FileExt;

use crate::dump::{DUMP_LIST, DUMP_TOC, LEFT_OUT_SQL, STAND_INS_END_SQL, STAND_INS_SQL};
use crate::durable;
use crate::error::{Error, Result};
use crate::expiry;
use crate::flags::FLAGS;
use crate::layout::names::{
    chain_name, parse_chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST, METADATA_JSON,
};
use crate::layout::{BaseName, ChainDir, DatabaseDir, GlobalsName, SegmentName};
use crate::manifest;
use crate::pins::PINS_JSON;
use crate::sealed::{self, SHA256SUMS};
use crate::storage::open_below;

/// Files of a base or a set; a dump in directory format has others below `dump/`.
const SEALED_FILES: [&str; 11] = [
    "dump.sql",
    "dump.sql.gz",
    DUMP_TOC,
    DUMP_LIST,
    LEFT_OUT_SQL,
    STAND_INS_SQL,
    STAND_INS_END_SQL,
    "database.sql",
    "globals.sql",
    METADATA_JSON,
    SHA256SUMS,
];
const CHAIN_FILES: [&str; 4] = [CHAIN_JSON, MANIFEST, PINS_JSON, FLAGS];

/// A file that can be read: its path components below the database's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<String>);

impl Name {
    /// `None` for an invalid name.
    pub fn parse(text: &str) -> Option<Name> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_known = match parts.as_slice() {
            ["restore.sh" | "README.txt"] => true,
            [chain, rest @ ..] => parse_chain_name(chain).is_some() && is_of_chain(rest),
            [] => false,
        };
        is_known.then(|| Name(parts.into_iter().map(str::to_owned).collect()))
    }
}

fn is_of_chain(parts: &[&str]) -> bool {
    match parts {
        [file] => CHAIN_FILES.contains(file),
        [INCREMENTAL, segment] => SegmentName::parse(segment).is_some(),
        [BASE, name, rest @ ..] => BaseName::parse(name).is_some() && is_sealed_file(rest),
        [GLOBALS, name, rest @ ..] => GlobalsName::parse(name).is_some() && is_sealed_file(rest),
        _ => false,
    }
}

fn is_sealed_file(parts: &[&str]) -> bool {
    // pg_dump's: toc.dat, 3012.dat.gz, blobs.toc, blob_16384.dat.gz.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match parts {
        [file] => SEALED_FILES.contains(file),
        ["dump", file] => !file.is_empty() && !file.starts_with('.') && file.bytes().all(is_plain),
        _ => false,
    }
}

/// At most `length` bytes from `offset` on; less, or nothing, at the end of the file. `None` if it does not
/// exist.
pub fn read(
    database: &DatabaseDir,
    name: &Name,
    offset: u64,
    length: usize,
) -> Result<Option<Vec<u8>>> {
    let path = name
        .0
        .iter()
        .fold(database.path().to_owned(), |path, part| path.join(part));
    let Some(file) = open_below(database.path(), &name.0).map_err(Error::io("open", &path))? else {
        return Ok(None);
    };
    let metadata = file.metadata().map_err(Error::io("stat", &path))?;
    if !metadata.is_file() {
        return Err(Error::damaged(&path, 0, "it is not a file"));
    }
    // The caller specifies the length: no memory is allocated for bytes that do not exist.
    let there = metadata.len().saturating_sub(offset);
    let mut bytes = vec![0; length.min(usize::try_from(there).unwrap_or(usize::MAX))];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// Every file that can be read, with its size: a line each, `SIZE NAME`. In an order in which they can be
/// copied: files that list others follow them.
pub fn list(database: &DatabaseDir) -> Result<String> {
    let mut text = String::new();
    let mut add = |name: String| -> Result<()> {
        let path = database.path().join(&name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() && Name::parse(&name).is_some() => {
                text.push_str(&format!("{} {name}\n", metadata.len()));
            }
            _ => {}
        }
        Ok(())
    };
    for (file, _) in database.restore_files() {
        add(file.to_owned())?;
    }
    for chain in database.chains()? {
        for file in files_of(&chain)? {
            add(format!("{}/{file}", chain_name(chain.number)))?;
        }
    }
    Ok(text)
}

fn files_of(chain: &ChainDir) -> Result<Vec<String>> {
    let mut files = vec![CHAIN_JSON.to_owned()];
    let given_up = expiry::given_up(chain)?;
    let entries = manifest::read(chain)?.entries.into_iter();
    let mut gone: Vec<String> = entries
        .filter(manifest::Entry::is_gone)
        .map(|e| e.file)
        .collect();
    gone.extend(given_up);
    for (name, stored) in chain.segments()? {
        if !gone.contains(&manifest::Entry::segment_file(name)) {
            files.push(format!("{INCREMENTAL}/{}", name.file(stored)));
        }
    }
    for room in [GLOBALS, BASE] {
        let is_finished = |name: &str| match room {
            GLOBALS => GlobalsName::parse(name).is_some(),
            _ => BaseName::parse(name).is_some(),
        };
        let path = chain.path.join(room);
        if !crate::durable::is_real_dir(&path) {
            continue;
        }
        let mut names = durable::names_in(&path)?;
        names.sort();
        for name in names.iter().filter(|name| is_finished(name)) {
            let directory = format!("{room}/{name}");
            if gone.contains(&directory) {
                continue;
            }
            let mut inside = sealed::files_below(&path.join(name))?;
            inside.sort_by_key(|file| (file == METADATA_JSON, file == SHA256SUMS));
            files.extend(inside.iter().map(|file| format!("{directory}/{file}")));
        }
    }
    files.extend([PINS_JSON, FLAGS, MANIFEST].map(str::to_owned));
    Ok(files)
}
