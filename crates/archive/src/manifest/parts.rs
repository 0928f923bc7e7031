//! The manifest of a copy is in parts, so that a file more of it is not all of it again.
//!
//! `manifest.jsonl` is the first part and ends where the next begins, `manifest-<segment>.jsonl`: its first line is that
//! segment's. The segments' checksums determine which ones start a part, so that removing lines at the front changes
//! few parts; one that no longer exists is archived once more, empty. If a copy comes back as an archive, the first
//! process that locks the manifest joins them.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{is_missing, to_lines, Entry, Kind};
use crate::durable;
use crate::error::Result;
use crate::layout::names::MANIFEST;
use crate::layout::{ChainDir, SegmentName};
use crate::storage::{self, Storage};

const PREFIX: &str = "manifest-";
const SUFFIX: &str = ".jsonl";

/// Minimum number of lines of a part, and the average number of further segments up to the one that starts the next.
const LINES: usize = 64;

/// Splits these lines; returns the name and the contents of each part.
pub fn in_parts(entries: &[Entry]) -> Vec<(String, Vec<u8>)> {
    let mut parts = Vec::new();
    let (mut name, mut begin) = (MANIFEST.to_owned(), 0);
    for (at, entry) in entries.iter().enumerate() {
        if at - begin < LINES {
            continue;
        }
        if let Some(next) = name_of_next(entry) {
            let name = std::mem::replace(&mut name, next);
            parts.push((name, to_lines(entries[begin..at].iter())));
            begin = at;
        }
    }
    if begin < entries.len() {
        parts.push((name, to_lines(entries[begin..].iter())));
    }
    parts
}

/// The name of the part that starts with this line, if one does.
fn name_of_next(entry: &Entry) -> Option<String> {
    let digits = entry.sha256.get(..4)?;
    let number = usize::from_str_radix(digits, 16).ok()?;
    if entry.kind != Kind::Incremental || number % LINES != 0 {
        return None;
    }
    let segment = SegmentName::parse(entry.file.rsplit('/').next()?)?.0;
    Some(format!("{PREFIX}{segment}{SUFFIX}"))
}

/// All parts except the first, in order.
pub(super) fn others(chain: &ChainDir) -> Result<Vec<PathBuf>> {
    let mut names = match durable::names_in(&chain.path) {
        Err(error) if is_missing(&error) => Vec::new(),
        names => names?,
    };
    names.retain(|name| is_part(name));
    names.sort_unstable();
    Ok(names.iter().map(|name| chain.path.join(name)).collect())
}

/// The contents of all parts except the first, in order; `None` if one is gone since they were listed.
pub(super) fn stored(storage: &dyn Storage, chain: &str) -> Result<Option<Vec<Vec<u8>>>> {
    let items = storage.list(chain)?.into_iter();
    let parts = items.filter(|item| !item.is_directory && is_part(&item.name));
    parts
        .map(|item| storage::read(storage, &format!("{chain}/{}", item.name)))
        .collect()
}

/// True for the name of a part other than the first.
pub fn is_part(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// The first part with the lines of the others that are not in it, each once.
pub fn joined(first: Vec<u8>, others: &[Vec<u8>]) -> Vec<u8> {
    let mut seen: HashSet<Vec<u8>> = lines(&first).map(<[u8]>::to_vec).collect();
    let mut all = first;
    let complete = all.iter().rposition(|byte| *byte == b'\n');
    all.truncate(complete.map_or(0, |end| end + 1));
    for line in others.iter().flat_map(|bytes| lines(bytes)) {
        if seen.insert(line.to_vec()) {
            all.extend_from_slice(line);
        }
    }
    all
}

/// Complete lines.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checksum;

    fn entries(count: u64) -> Vec<Entry> {
        let line = |at: u64| {
            let name = SegmentName::parse("00000000015E0F88-20261120T020000Z.sql");
            let mut name = name.unwrap().0;
            name.start_lsn.0 += at;
            let json = format!(
                "{{\"kind\":\"incremental\",\"file\":\"{}\",\"start_lsn\":\"0/{at:X}\",\"end_lsn\":\"0/{at:X}\",\
                 \"first_commit_at\":null,\"last_commit_at\":null,\"transactions\":1,\"statements\":1,\"bytes\":9,\
                 \"sha256\":\"{}\",\"file_bytes\":9,\"file_sha256\":\"\",\"next_xid\":1,\"previous_sha256\":null}}",
                Entry::segment_file(name),
                checksum::of_bytes(&at.to_le_bytes())
            );
            serde_json::from_str::<Entry>(&json).unwrap()
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn a_line_more_changes_one_part_and_a_line_less_the_first() {
        let entries = entries(2000);
        let parts = in_parts(&entries);
        assert!(parts.len() > 8, "{}", parts.len());
        assert_eq!(parts[0].0, MANIFEST);
        let names: Vec<_> = parts[1..].iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let all: Vec<u8> = parts.iter().flat_map(|(_, lines)| lines.clone()).collect();
        assert_eq!(all, to_lines(entries.iter()));
        let shorter = in_parts(&entries[..1999]);
        let changed = parts.iter().filter(|part| !shorter.contains(part)).count();
        assert_eq!(changed, 1);
        let later = in_parts(&entries[300..]);
        let changed = later.iter().filter(|part| !parts.contains(part)).count();
        assert!(changed <= 4, "{changed} of {}", later.len());
        assert_eq!(in_parts(&entries[..64]).len(), 1);
        assert!(in_parts(&[]).is_empty());
    }
}
