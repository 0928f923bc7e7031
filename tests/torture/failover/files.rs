//! What all chains of an archive hold, and what was set apart.

use super::super::stream::{transactions, Mark};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Numbers in the files.
#[derive(Default)]
pub struct Files {
    /// By chain: each mark, and how often it is there.
    pub chains: BTreeMap<String, BTreeMap<Mark, u32>>,
    /// In directories `lost-<timeline>`: whole segments, in which others are, too.
    pub lost: BTreeMap<Mark, u32>,
    /// Those directories.
    pub set_apart: Vec<PathBuf>,
}

impl Files {
    /// Reads the directory of a database, whose segments are not compressed. Nothing may be written meanwhile.
    pub fn read(database: &Path) -> Files {
        let mut files = Files::default();
        for chain in named(database, "chain-") {
            let marks = marks_in(&chain.join("incremental"));
            for lost in named(&chain, "lost-") {
                for inner in named(&lost, "chain-") {
                    for (mark, count) in marks_in(&inner.join("incremental")) {
                        *files.lost.entry(mark).or_default() += count;
                    }
                }
                files.set_apart.push(lost);
            }
            let name = chain.file_name().unwrap_or_default().to_string_lossy();
            files.chains.insert(name.into_owned(), marks);
        }
        files
    }
}

fn named(directory: &Path, start: &str) -> Vec<PathBuf> {
    let listing = fs::read_dir(directory).expect("the archive can be listed");
    let paths = listing.flatten().map(|entry| entry.path());
    let has_name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(start)
    };
    let mut paths: Vec<PathBuf> = paths.filter(has_name).collect();
    paths.sort();
    paths
}

fn marks_in(segments: &Path) -> BTreeMap<Mark, u32> {
    let mut marks = BTreeMap::new();
    for path in named(segments, "") {
        for (_, found) in transactions(&path) {
            for mark in found {
                *marks.entry(mark).or_default() += 1;
            }
        }
    }
    marks
}
