//! A copy that archive_command made, put where an archive is to be written: what its manifest lists was archived, and nothing
//! else is part of it.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::notes::{path_of, write, Note, Notes};
use super::{is_archived, name_of};
use crate::base;
use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::globals;
use crate::layout::names::{CHAIN_JSON, MANIFEST, METADATA_JSON};
use crate::layout::{ChainDir, DatabaseDir, SegmentName, Stored};
use crate::manifest::{self, Entry, Kind};
use crate::pins;
use crate::sealed;
use crate::time;

/// Makes an archive of a copy, which nobody writes yet: removes what the copy kept and the archive had no longer, and notes
/// the rest as archived, so that whoever goes on in it archives what is new. Whoever has archived from here has no copy.
pub fn settle_copy(database: &DatabaseDir) -> Result<()> {
    if path_of(database).symlink_metadata().is_ok() {
        return Ok(());
    }
    for chain in database.chains()? {
        remove_what_is_gone(&chain)?;
    }
    note_copied(database)?;
    for chain in database.chains()? {
        expire_what_is_pruned(&chain)?;
    }
    Ok(())
}

/// Files that were set apart, those that retention had removed before the first one that is listed, and those that were not
/// put completely. All of them are in the copy still.
fn remove_what_is_gone(chain: &ChainDir) -> Result<()> {
    let entries = manifest::read_whole(chain)?;
    let first = entries.iter().find(|entry| entry.kind == Kind::Incremental);
    let begin = first.map(|entry| entry.start_lsn);
    let listed: HashMap<&str, &Entry> = entries.iter().map(|e| (e.file.as_str(), e)).collect();
    let is_gone = |file: &str, lsn| match listed.get(file) {
        Some(entry) => entry.set_apart_at.is_some(),
        None => begin.is_some_and(|begin| lsn < begin),
    };
    let segments = chain.stored_segments()?.into_iter();
    let segments: Vec<_> = segments
        .filter(|(name, stored)| {
            *stored != Stored::Partial && is_gone(&Entry::segment_file(*name), name.start_lsn)
        })
        .collect();
    remove_segments(chain, &segments)?;
    let bases = chain.bases()?.into_iter();
    let bases: Vec<_> = bases
        .filter(|base| {
            is_gone(&base::file_of(*base), base.lsn) || !is_whole(&base::path_of(chain, *base))
        })
        .collect();
    pins::remove(chain, &bases)?;
    for base in bases {
        sealed::remove(&base::path_of(chain, base))?;
    }
    for set in chain.globals_sets()? {
        let path = globals::path_of(chain, set);
        if is_gone(&globals::file_of(set), set.lsn) || !is_whole(&path) {
            sealed::remove(&path)?;
        }
    }
    Ok(())
}

/// Marks as expired what whoever looks after the copy has removed from it: segments before the first that is there, and bases.
/// If its first segment has one before it that no line tells of, it is the last that retention had removed in the archive:
/// the copy has it still, and the line was kept to say where the rest begins. So it goes here, and its line says it again.
fn expire_what_is_pruned(chain: &ChainDir) -> Result<()> {
    let entries = manifest::without_repeats(manifest::read_whole(chain)?);
    let of = |kind| entries.iter().filter(move |entry| entry.kind == kind);
    let there = chain
        .segments()?
        .into_iter()
        .map(|(name, _)| Entry::segment_file(name));
    let first = there.min();
    let newest = chain.bases()?.into_iter().max().map(base::file_of);
    let is_before = |entry: &&Entry, kept: &Option<String>| {
        !entry.is_gone() && kept.as_ref().is_some_and(|kept| entry.file < *kept)
    };
    let is_there = |entry: &Entry| chain.path.join(&entry.file).symlink_metadata().is_ok();
    let segments = of(Kind::Incremental).filter(|entry| is_before(entry, &first));
    let bases = of(Kind::Base).filter(|entry| is_before(entry, &newest) && !is_there(entry));
    let mut files: HashSet<String> = segments
        .chain(bases)
        .map(|entry| entry.file.clone())
        .collect();
    let is_told = |entry: &&Entry| entry.expired_at.is_some() || files.contains(&entry.file);
    let begin = of(Kind::Incremental).find(|entry| Some(&entry.file) == first.as_ref());
    let begin = begin.filter(|entry| {
        entry.previous_sha256.is_some() && !of(Kind::Incremental).any(|entry| is_told(&entry))
    });
    files.extend(begin.map(|entry| entry.file.clone()));
    if files.is_empty() {
        return Ok(());
    }
    manifest::expire(chain, &files, time::now(), |_| true, &mut || {})?;
    let gone = chain.stored_segments()?.into_iter();
    let gone: Vec<_> = gone
        .filter(|(name, _)| files.contains(&Entry::segment_file(*name)))
        .collect();
    remove_segments(chain, &gone)
}

/// The file that makes a base or a set valid comes last.
fn is_whole(directory: &std::path::Path) -> bool {
    directory.join(METADATA_JSON).symlink_metadata().is_ok()
}

fn remove_segments(chain: &ChainDir, segments: &[(SegmentName, Stored)]) -> Result<()> {
    for (name, stored) in segments {
        let path = chain.segment_path(*name, *stored);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        durable::remove_if_there(&chain.index(*name))?;
    }
    match segments {
        [] => Ok(()),
        _ => durable::fsync_dir(&chain.incremental()),
    }
}

/// Notes what the manifests list, which is in the copy, and the small files that describe it.
fn note_copied(database: &DatabaseDir) -> Result<()> {
    let known = Notes::default();
    let mut notes = Vec::new();
    for chain in database.chains()? {
        for mut entry in manifest::without_repeats(manifest::read_whole(&chain)?) {
            if entry.is_gone() || is_archived(database, &known, &chain, &entry).is_some() {
                continue;
            }
            let mut files = match entry.kind {
                Kind::Incremental => Stored::closed_files(&entry.file).to_vec(),
                Kind::Base | Kind::Globals => vec![format!("{}/{METADATA_JSON}", entry.file)],
            };
            files.retain(|file| chain.path.join(file).symlink_metadata().is_ok());
            let Some(file) = files.first() else {
                continue;
            };
            if entry.kind == Kind::Incremental
                && *file == entry.file
                && entry.file_sha256 != entry.sha256
            {
                // Before 0.4.0 the line was that of the segment as it was compressed in the archive later.
                entry.file_bytes = entry.bytes;
                entry.file_sha256.clone_from(&entry.sha256);
                manifest::lock(&chain)?.append(&entry)?;
            }
            notes.push(Note {
                file: name_of(database, &chain, file),
                sha256: entry.file_sha256,
                bytes: entry.file_bytes,
                at: time::now(),
            });
        }
        let mut small = durable::names_in(&chain.path)?;
        small.retain(|name| {
            [CHAIN_JSON, MANIFEST].contains(&name.as_str()) || manifest::is_part(name)
        });
        for file in small {
            let sum = checksum::of_file(&chain.path.join(&file))?;
            notes.push(Note {
                file: name_of(database, &chain, &file),
                sha256: sum.sha256,
                bytes: sum.bytes,
                at: time::now(),
            });
        }
    }
    if notes.is_empty() {
        return Ok(());
    }
    write(&path_of(database), &notes)
}
