//! A sound archive verifies; any damage to any file is found. Bases are whole or not there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{at, insert, metadata, one_of_each, write_set, Place, SLOT_START};
use archive::base::{self, BaseDir};
use archive::layout::BaseName;
use archive::manifest::{self, Kind};
use archive::{files, globals, verify, Lsn};

fn take_base(place: &Place, lsn: Lsn) -> archive::base::FinishedBase {
    let base = BaseDir::create(&place.chain, BaseName::new(lsn, at(0))).unwrap();
    fs::create_dir(base.path().join("dump")).unwrap();
    fs::write(base.path().join("dump/toc.dat"), "tables of contents").unwrap();
    base.write_file("globals.sql", b"CREATE ROLE bob;\n")
        .unwrap();
    base.finish(&metadata(lsn, "5:9:6")).unwrap()
}

/// A chain with a base, two closed segments and an open one.
fn full_place() -> Place {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    take_base(&place, SLOT_START);
    write_set(
        &place.chain,
        SLOT_START,
        at(0),
        "CREATE ROLE bob;\n",
        "-- none\n",
    );
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    appender.rotate(14).unwrap().unwrap();
    insert(&mut appender, 14, 0x3000);
    appender.rotate(15).unwrap().unwrap();
    insert(&mut appender, 15, 0x4000);
    appender.sync().unwrap();
    place
}

fn all_files(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![place.chain.path.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_sound_archive_has_no_problem() {
    let place = full_place();
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    let before = fs::read(place.chain.manifest()).unwrap();
    crate::support::rebuild_manifest(&place.chain);
    assert_eq!(fs::read(place.chain.manifest()).unwrap(), before);
}

#[test]
fn a_missing_or_foreign_file_is_found() {
    let place = full_place();
    for path in all_files(&place) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".partial") {
            continue;
        }
        let aside = place.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        assert!(
            !verify(&place.database, &mut || {}).unwrap().is_empty(),
            "without {name}"
        );
        fs::rename(&aside, &path).unwrap();
    }
    let (name, _) = place.chain.segments().unwrap()[0];
    fs::write(
        place
            .chain
            .base()
            .join(format!("{}/foreign", place.chain.bases().unwrap()[0])),
        "",
    )
    .unwrap();
    let problems = verify(&place.database, &mut || {}).unwrap();
    assert!(
        problems.iter().any(|p| p.problem == "has no checksum"),
        "{problems:?} {name}"
    );
}

#[test]
fn segments_in_the_wrong_place_are_found() {
    let place = full_place();
    let other = full_place();
    let (name, stored) = place.chain.segments().unwrap()[0];
    let (other_name, _) = other.chain.segments().unwrap()[0];
    let path = place.chain.segment_path(name, stored);
    // The same LSNs, another key: only the checksums tell.
    fs::copy(other.chain.segment_path(other_name, stored), &path).unwrap();
    let problems = verify(&place.database, &mut || {}).unwrap();
    assert!(
        problems
            .iter()
            .any(|p| p.problem.contains("does not match the manifest")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.problem.contains("predecessor is not")),
        "{problems:?}"
    );
}

#[test]
fn compressed_segments_are_seen_through() {
    let place = full_place();
    let segments = place.chain.segments().unwrap();
    for ((name, stored), program) in segments.iter().zip(["gzip", "zstd"]) {
        let path = place.chain.segment_path(*name, *stored);
        let mut command = Command::new(program);
        if program == "zstd" {
            command.args(["-q", "--rm"]);
        }
        let status = command.arg(&path).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{program} is needed: make setup installs it"
        );
    }
    fs::remove_file(place.chain.manifest()).unwrap();
    drop(place.append());
    crate::support::rebuild_manifest(&place.chain);
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    let (name, stored) = place.chain.segments().unwrap()[0];
    let path = place.chain.segment_path(name, stored);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert!(!verify(&place.database, &mut || {}).unwrap().is_empty());
}

#[test]
fn files_lists_bases_sets_closed_segments_and_the_open_one() {
    let place = full_place();
    let rows = files(&place.database.chains().unwrap()).unwrap();
    let short: Vec<_> = rows
        .iter()
        .map(|r| (r.kind, r.start_lsn.0, r.end_lsn.0))
        .collect();
    let expected = [
        (Kind::Base, 0x1000, 0x1000),
        (Kind::Globals, 0x1000, 0x1000),
        (Kind::Incremental, 0x1000, 0x2500),
        (Kind::Incremental, 0x2500, 0x3000),
        (Kind::Incremental, 0x3000, 0x4000),
    ];
    assert_eq!(short, expected);
    assert_eq!(rows[4].sha256, None);
    assert_eq!((rows[4].transactions, rows[4].statements), (1, 1));
    for row in &rows {
        assert!(place.chain.path.join(&row.file).exists(), "{}", row.file);
    }
}

#[test]
fn a_base_is_there_as_a_whole_or_not_at_all() {
    let place = Place::new();
    let name = BaseName::new(SLOT_START, at(0));
    let base = BaseDir::create(&place.chain, name).unwrap();
    fs::write(base.path().join("dump.sql"), "SELECT 1;").unwrap();
    assert_eq!(place.chain.bases().unwrap(), []);
    assert_eq!(base::remove_leftovers(&place.chain).unwrap().len(), 1);
    assert_eq!(fs::read_dir(place.chain.base()).unwrap().count(), 0);

    BaseDir::create(&place.chain, name)
        .unwrap()
        .discard()
        .unwrap();
    let finished = take_base(&place, SLOT_START);
    assert_eq!(place.chain.bases().unwrap(), [name]);
    assert_eq!(
        manifest::read(&place.chain).unwrap().entries,
        [finished.entry]
    );
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&finished.path)
        .status();
    assert!(check.unwrap().success());
}

#[test]
fn metadata_goes_there_and_back() {
    let place = Place::new();
    let path = place.path().join("metadata.json");
    let mut facts = metadata(Lsn(0x15E0F88), "740:751:745,748");
    facts
        .source
        .settings
        .insert("TimeZone".to_owned(), "Europe/Paris".to_owned());
    fs::write(&path, facts.to_json()).unwrap();
    assert_eq!(archive::metadata::Metadata::read(&path).unwrap(), facts);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("\n  \"snapshot\": \"740:751:745,748\",\n"),
        "one key a line: {text}"
    );
}

#[test]
fn an_unfinished_set_goes_and_one_that_the_manifest_lacks_is_listed() {
    let place = full_place();
    let manifest = fs::read(place.chain.manifest()).unwrap();
    let unfinished = place
        .chain
        .globals()
        .join("0000000000002000-20261121T034000Z.partial");
    fs::create_dir(&unfinished).unwrap();
    let set = write_set(&place.chain, Lsn(0x1800), at(1), "CREATE ROLE eve;\n", "");
    // A crash before the line was written.
    fs::write(place.chain.manifest(), manifest).unwrap();
    assert_eq!(verify(&place.database, &mut || {}).unwrap().len(), 1);
    globals::tidy(&place.chain).unwrap();
    assert!(!unfinished.exists() && set.exists());
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    let rows = files(&place.database.chains().unwrap()).unwrap();
    assert_eq!(
        rows.iter().filter(|row| row.kind == Kind::Globals).count(),
        2
    );
}

#[test]
fn the_random_key_of_a_dump_is_no_difference() {
    let content = |key: &str, role: &str| globals::Content {
        globals_sql: format!("\\restrict {key}\nCREATE ROLE {role};\n\\unrestrict {key}\n").into(),
        database_sql: Vec::new(),
    };
    assert!(content("x", "bob").says_the_same_as(&content("y", "bob")));
    assert!(!content("x", "bob").says_the_same_as(&content("x", "eve")));
}

#[test]
fn a_file_in_a_base_whose_name_is_not_utf_8_is_found() {
    let place = full_place();
    let base = place.chain.bases().unwrap()[0];
    let path = base::path_of(&place.chain, base);
    fs::write(path.join(OsStr::from_bytes(b"d\xfcmp.sql")), "").unwrap();
    let problems = verify(&place.database, &mut || {}).unwrap();
    assert!(
        problems
            .iter()
            .any(|problem| problem.problem.contains("not valid UTF-8")),
        "{problems:?}"
    );
}
