//! Whether the expired files in the manifest can be retention's doing.

use super::chain::ChainCheck;
use crate::layout::chain::stored_segments;
use crate::layout::names::INCREMENTAL;
use crate::manifest::Entry;

impl ChainCheck<'_> {
    /// Retention removes segments from the oldest on: an earlier one that is kept needs the following ones.
    pub(super) fn expired_are_the_oldest(&mut self) {
        let Some(last) = self.last_expired.as_ref().map(|last| last.file.clone()) else {
            return;
        };
        let names = self.names_in(INCREMENTAL).unwrap_or_default();
        let segments = stored_segments(names.iter().map(String::as_str)).into_iter();
        let there = segments.map(|(name, _)| Entry::segment_file(name));
        let kept = there.chain(self.listed.keys().cloned());
        let kept =
            kept.filter(|file| file.starts_with(INCREMENTAL) && !self.expired.contains(file));
        if kept.min().is_some_and(|first| first < last) {
            self.found(
                &last,
                "marked as expired in the manifest, although an earlier one that needs it is not",
            );
        }
    }
}
