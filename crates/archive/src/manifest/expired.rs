//! Retention's marks in a manifest.

use std::collections::HashSet;

use super::{lock_with, read_whole, to_lines, without_repeats, Entry};
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::ChainDir;
use crate::pause::Pause;
use crate::time::Time;

/// Marks these files as expired, and removes lines of files that have expired before and no longer exist; the
/// last one of each kind is kept, which shows where the remaining files begin. Durable when this returns.
/// Other processes that append wait. Fails, and changes nothing, if a line cannot be parsed or a file has
/// none.
pub fn expire(
    chain: &ChainDir,
    files: &HashSet<String>,
    at: Time,
    is_there: impl Fn(&Entry) -> bool,
    pause: Pause,
) -> Result<()> {
    let path = chain.manifest();
    let _lock = lock_with(chain, pause)?;
    let mut entries = without_repeats(read_whole(chain)?);
    for entry in entries.iter_mut().filter(|e| files.contains(&e.file)) {
        entry.expired_at.get_or_insert(at);
    }
    let listed: HashSet<&String> = entries.iter().map(|entry| &entry.file).collect();
    if let Some(file) = files.iter().find(|file| !listed.contains(file)) {
        let why = format!("it does not list {file}");
        return Err(Error::damaged(&path, 0, why));
    }
    let mut last = [None; 3];
    for (position, entry) in entries.iter().enumerate() {
        if entry.expired_at.is_some() {
            last[entry.kind as usize] = Some(position);
        }
    }
    let kept = entries.iter().enumerate().filter(|(position, entry)| {
        entry.expired_at.is_none() || last.contains(&Some(*position)) || is_there(entry)
    });
    let text = to_lines(kept.map(|(_, entry)| entry));
    durable::write_atomically(&path, &text)
}
