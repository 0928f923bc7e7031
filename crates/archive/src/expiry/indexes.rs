//! The indexes of segments (crate `archive_query` makes and reads them) go with their segments.

use std::collections::HashSet;

use crate::durable;
use crate::error::Result;
use crate::layout::ChainDir;

/// Removes indexes of segments that are gone, and what a crash left.
pub fn remove_unused(chain: &ChainDir) -> Result<()> {
    let directory = chain.indexes();
    if !durable::is_real_dir(&directory) {
        return Ok(());
    }
    let segments = chain.segments()?;
    let used: HashSet<_> = segments
        .iter()
        .map(|(name, _)| chain.index(*name))
        .collect();
    for file in durable::names_in(&directory)? {
        let file = directory.join(file);
        if !used.contains(&file) {
            durable::remove_if_there(&file)?;
        }
    }
    Ok(())
}
