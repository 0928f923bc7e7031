//! What is usual in a copy that archive_command makes, and whoever looks after it prunes. The archive itself has nothing of it:
//! a process that gives a file its name holds the manifest's lock until its line is written.

use super::chain::ChainCheck;
use super::Problem;
use crate::layout::chain::stored_segments;
use crate::layout::names::{BASE, INCREMENTAL, MANIFEST, METADATA_JSON};
use crate::layout::BaseName;
use crate::manifest::{Entry, Kind};

impl ChainCheck<'_> {
    /// Of a file that is not in the manifest: it came after it, or retention has removed it in the archive, bases and sets
    /// also from between others.
    pub(super) fn found_unlisted(&mut self, file: &str, kind: Kind) {
        let is_between =
            |(oldest, newest): &(String, String)| oldest.as_str() < file && file < newest.as_str();
        let is_odd = kind == Kind::Incremental && self.extent.as_ref().is_some_and(is_between);
        self.found_in_copy(file, "not in the manifest", self.may_be_copy && !is_odd);
    }

    /// What the manifest lists and nobody found. A copy is pruned by complete bases, and by segments from the oldest on.
    pub(super) fn missing(&mut self) {
        let segments = self.names_in(INCREMENTAL).unwrap_or_default();
        let segments = stored_segments(segments.iter().map(String::as_str)).into_iter();
        let first = segments.map(|(name, _)| Entry::segment_file(name)).min();
        let bases = self.names_in(BASE).unwrap_or_default();
        let newest = self.newest_base(&bases);
        for (file, entry) in std::mem::take(&mut self.listed) {
            let is_before = |kept: &Option<String>| kept.as_ref().is_some_and(|kept| file < *kept);
            let is_pruned = match entry.kind {
                Kind::Incremental => is_before(&first),
                Kind::Base => is_before(&newest),
                Kind::Globals => false,
            };
            self.found_in_copy(&file, "listed in the manifest, but missing", is_pruned);
        }
    }

    pub(super) fn found_in_copy(&mut self, file: &str, problem: &str, is_usual_in_copy: bool) {
        let file = self.path(file);
        self.problems.push(Problem {
            is_usual_in_copy,
            ..Problem::of(file, problem)
        });
    }

    /// Of these names, that of the newest base that is whole.
    pub(super) fn newest_base(&self, names: &[String]) -> Option<String> {
        let bases = names.iter().filter(|name| BaseName::parse(name).is_some());
        let mut files: Vec<String> = bases.map(|name| format!("{BASE}/{name}")).collect();
        files.sort_unstable();
        files.into_iter().rfind(|file| !self.lacks_metadata(file))
    }

    /// In a copy the file that makes a base or a set valid comes last.
    pub(super) fn lacks_metadata(&self, directory: &str) -> bool {
        self.is_missing(&format!("{directory}/{METADATA_JSON}"))
    }

    pub(super) fn has_manifest(&self) -> bool {
        !self.is_missing(MANIFEST)
    }

    fn is_missing(&self, file: &str) -> bool {
        let size = self.storage.size(&self.path(file));
        size.is_ok_and(|size| size.is_none())
    }

    pub(super) fn extend_to(&mut self, segment: &str) {
        let (oldest, newest) = self
            .extent
            .get_or_insert_with(|| (segment.to_owned(), segment.to_owned()));
        if segment < oldest.as_str() {
            segment.clone_into(oldest);
        }
        if segment > newest.as_str() {
            segment.clone_into(newest);
        }
    }

    /// A segment of which retention has forgotten even the line.
    pub(super) fn precedes_manifest(&self, file: &str) -> bool {
        let is_segment = file.starts_with(INCREMENTAL);
        let oldest = self.extent.as_ref().map(|(oldest, _)| oldest.as_str());
        is_segment && oldest.is_some_and(|oldest| file < oldest)
    }
}
