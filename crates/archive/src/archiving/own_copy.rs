//! A copy that archive_command made, put where an archive is to be written: what it contains was archived.

use super::notes::{Note, Notes};
use super::{is_archived, name_of};
use crate::durable;
use crate::error::Result;
use crate::layout::names::METADATA_JSON;
use crate::layout::{DatabaseDir, Stored};
use crate::manifest::{self, Kind};
use crate::time;

/// Notes what the manifests of a copy list as archived, so that whoever goes on in it archives what is new. The manifest of a
/// copy lists nothing that the copy does not contain. Notes that are there already stay.
pub fn note_copied(database: &DatabaseDir) -> Result<()> {
    let known = Notes::read(database)?;
    let mut notes = Vec::new();
    for chain in database.chains()? {
        for entry in manifest::without_repeats(manifest::read_whole(&chain)?) {
            if entry.expired_at.is_some() || is_archived(database, &known, &chain, &entry).is_some()
            {
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
            notes.push(Note {
                file: name_of(database, &chain, file),
                sha256: entry.file_sha256,
                bytes: entry.file_bytes,
                at: time::now(),
            });
        }
    }
    if notes.is_empty() {
        return Ok(());
    }
    let mut text = known.text();
    for note in &notes {
        serde_json::to_writer(&mut text, note).expect("plain fields always become JSON");
        text.push(b'\n');
    }
    durable::write_atomically(&super::notes::path_of(database), &text)
}
