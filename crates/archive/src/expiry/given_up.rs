//! Files that were removed on a full disk before the manifest could be written.
//!
//! An empty file or directory called `<name>.expired` means that `<name>` has expired, until the manifest
//! says so.

use std::fs;
use std::path::Path;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::names::{BASE, INCREMENTAL};
use crate::layout::{BaseName, ChainDir, SegmentName};
use crate::manifest::Entry;

const EXPIRED: &str = ".expired";

/// Frees space without needing any: the new name first, then the content.
pub fn give_up(path: &Path) -> Result<()> {
    let expired = durable::beside(path, EXPIRED);
    durable::rename_durably(path, &expired)?;
    if !durable::is_real_dir(&expired) {
        let file = durable::open_for_update(&expired)?;
        return file.set_len(0).map_err(Error::io("truncate", &expired));
    }
    for name in durable::names_in(&expired)? {
        let below = expired.join(name);
        let removed = if durable::is_real_dir(&below) {
            fs::remove_dir_all(&below)
        } else {
            fs::remove_file(&below)
        };
        removed.map_err(Error::io("remove", &below))?;
    }
    Ok(())
}

/// The files removed in this way, by their names in the manifest.
pub fn names(chain: &ChainDir) -> Result<Vec<String>> {
    let segments = durable::names_in(&chain.incremental())?;
    let bases = durable::names_in(&chain.base())?;
    Ok(names_among(&segments, &bases))
}

/// The same, from the names in a chain's two directories.
pub fn names_among(incremental: &[String], base: &[String]) -> Vec<String> {
    let segment = |name: &String| SegmentName::parse(name.strip_suffix(EXPIRED)?);
    let segments = incremental.iter().filter_map(segment);
    let mut found: Vec<String> = segments
        .map(|(name, _)| Entry::segment_file(name))
        .collect();
    let base_name = |name: &String| BaseName::parse(name.strip_suffix(EXPIRED)?);
    let bases = base.iter().filter_map(base_name);
    found.extend(bases.map(|name| format!("{BASE}/{name}")));
    found
}

/// Removes their remainders, once the manifest lists them as expired.
pub fn remove(chain: &ChainDir) -> Result<()> {
    for room in [INCREMENTAL, BASE] {
        let room = chain.path.join(room);
        for name in durable::names_in(&room)? {
            if !name.ends_with(EXPIRED) {
                continue;
            }
            let path = room.join(name);
            let removed = if durable::is_real_dir(&path) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
