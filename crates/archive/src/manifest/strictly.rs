//! A manifest that nobody is writing to, whose lines must be exactly as they were written.

use std::collections::HashSet;

use super::{content, joined, parse, parts, Entry, Manifest};
use crate::error::{Error, Result};
use crate::layout::names::MANIFEST;
use crate::layout::ChainDir;
use crate::lock::at_rest;
use crate::lsn::Lsn;
use crate::pause::Pause;
use crate::storage::Storage;

/// Reads all lines while no process is appending, and checks that they are as written ([`parse_strictly`]). `between` is
/// called while waiting; its error ends the wait.
pub fn read_strictly<E: From<Error>>(
    chain: &ChainDir,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Manifest, E> {
    let _lock = at_rest(&chain.manifest(), between)?;
    Ok(parse_strictly(&content(chain)?))
}

/// The same of a manifest in any storage; `chain` is the name of the chain's directory.
pub fn read_stored(storage: &dyn Storage, chain: &str, pause: Pause) -> Result<Manifest> {
    loop {
        let bytes = storage.read_at_rest(&format!("{chain}/{MANIFEST}"), pause)?;
        let parts = parts::stored(storage, chain)?;
        // Another process may have joined them in the meantime.
        if let Some(others) = parts {
            return Ok(parse_strictly(&joined_if_any(
                bytes.unwrap_or_default(),
                &others,
            )));
        }
    }
}

/// [`parse`], and checks that the lines are as written: each in its canonical form, without duplicates, the files of each
/// kind in the order of their LSNs, nothing after the last one.
pub fn parse_strictly(bytes: &[u8]) -> Manifest {
    let mut manifest = parse(bytes);
    let (mut lines, mut files) = (HashSet::new(), HashSet::new());
    let mut highest = [Lsn(0); 3];
    for (position, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let mut flaw = |why: &str| manifest.damaged.push((position + 1, why.to_owned()));
        let Some(line) = line.strip_suffix(b"\n") else {
            flaw("it has no end of line");
            continue;
        };
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
            continue;
        };
        let highest = &mut highest[entry.kind as usize];
        // Others, with lower LSNs, have taken its place.
        let is_set_apart = entry.set_apart_at.is_some();
        if serde_json::to_vec(&entry).is_ok_and(|written| written != line) {
            flaw("it was changed after it was written");
        } else if !lines.insert(line) {
            flaw("it is a duplicate");
        } else if files.insert(entry.file) && entry.start_lsn < *highest && !is_set_apart {
            flaw("it follows a later one");
        }
        if !is_set_apart {
            *highest = entry.start_lsn.max(*highest);
        }
    }
    manifest
}

/// The bytes of a manifest that is in one part stay as they are, torn or not.
fn joined_if_any(first: Vec<u8>, others: &[Vec<u8>]) -> Vec<u8> {
    if others.is_empty() {
        first
    } else {
        joined(first, others)
    }
}
