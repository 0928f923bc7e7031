//! Marks of files that reach behind a switch of the timeline.

use std::collections::HashSet;

use super::{lock_with, read_whole, to_lines, without_repeats, Entry};
use crate::durable;
use crate::error::Result;
use crate::layout::ChainDir;
use crate::time::Time;

/// Marks these files as set apart, and has `shorter`, which gives a file its final name, add its line in front of the
/// first of them. All at once: durable when this returns, and no reader that waits for the manifest sees one without
/// the other.
pub(crate) fn replace(
    chain: &ChainDir,
    files: &HashSet<String>,
    at: Time,
    shorter: impl FnOnce() -> Result<Option<Entry>>,
) -> Result<()> {
    let _lock = lock_with(chain, &mut || {})?;
    let mut entries = without_repeats(read_whole(chain)?);
    for entry in entries.iter_mut().filter(|e| files.contains(&e.file)) {
        entry.set_apart_at.get_or_insert(at);
    }
    if let Some(shorter) = shorter()? {
        entries.retain(|entry| entry.file != shorter.file);
        entries.push(shorter);
    }
    durable::write_atomically(&chain.manifest(), &to_lines(entries.iter()))
}
