//! What a failing disk leaves behind: nothing is trusted that no fsync has covered, and nothing is
//! thrown away that one had.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use archive::base::BaseDir;
use archive::layout::names::METADATA_JSON;
use archive::layout::{BaseName, Stored};
use archive::{manifest, Error, Lsn};
use support::faults::Faults;
use support::{at, identity, insert, Place};

/// Only for who has the turn: a failpoint strikes whoever passes it.
fn prepared(_: &Faults) -> Place {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    place
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn after_a_failed_fsync_the_tail_is_gone_and_the_appender_unusable() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    let path = appender.current_file();
    let durable = length(&path);
    insert(&mut appender, 11, 0x2100);
    faults.set("EIO 1 segment: fsync\n");
    let error = appender.sync().unwrap_err();
    assert!(error.to_string().contains("could not fsync"), "{error}");
    faults.clear();
    assert!(matches!(appender.sync(), Err(Error::Poisoned { .. })));
    assert_eq!(appender.durable_lsn(), Lsn(0x2000));
    assert_eq!(length(&path), durable);
    drop(appender);
    assert_eq!(place.append().last_lsn(), Lsn(0x2000));
}

/// The process may have died before it could forget the pages of a failed fsync.
#[test]
fn what_the_slot_was_not_told_is_written_again_before_it_counts() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    insert(&mut appender, 11, 0x2100);
    appender.sync().unwrap();
    let path = appender.current_file();
    drop(appender);
    let before = fs::read(&path).unwrap();
    for point in ["segment: write again", "segment: fsync again"] {
        faults.set(&format!("EIO 1 {point}\n"));
        assert!(place.append_or_error().is_err(), "{point} was not reached");
        assert_eq!(fs::read(&path).unwrap(), before);
        faults.clear();
    }
    assert_eq!(place.append().last_lsn(), Lsn(0x2100));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_footer_that_the_slot_was_not_told_of_is_written_again_before_the_rename() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    faults.set("EIO 1 publish: rename\n");
    assert!(appender.rotate(11).is_err());
    drop(appender);
    faults.set("EIO 1 segment: fsync again\n");
    assert!(place.append_or_error().is_err());
    assert_eq!(place.last_segment().1, Stored::Partial);
    faults.clear();
    assert_eq!(place.append().last_lsn(), Lsn(0x2000));
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_line_whose_fsync_failed_does_not_count_as_in_the_manifest() {
    let faults = Faults::new();
    let place = prepared(&faults);
    for (point, xid) in [("manifest: write", 10), ("manifest: fsync", 11)] {
        let mut appender = place.append();
        insert(&mut appender, xid, xid * 0x1000);
        let before = manifest::read(&place.chain).unwrap().entries.len();
        faults.set(&format!("EIO 1 {point}\n"));
        assert!(appender.rotate(xid + 1).is_err());
        faults.clear();
        let after = manifest::read(&place.chain).unwrap().entries.len();
        assert_eq!(after, before, "{point}");
        drop(appender);
        place.append();
        assert_eq!(
            manifest::read(&place.chain).unwrap().entries.len(),
            before + 1
        );
    }
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_base_that_a_crash_left_without_its_line_gets_it_when_capture_starts() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let name = BaseName::new(Lsn(0x1500), at(0));
    let base = BaseDir::create(&place.chain, name).unwrap();
    base.write_file("dump.sql", b"SELECT 1;\n").unwrap();
    faults.set("EIO 1 manifest: write\n");
    assert!(base
        .finish(&support::metadata(Lsn(0x1500), "10:10:"))
        .is_err());
    faults.clear();
    assert!(place
        .chain
        .base()
        .join(name.to_string())
        .join(METADATA_JSON)
        .exists());
    place.append();
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_small_file_that_cannot_be_written_leaves_nothing_beside_it() {
    let faults = Faults::new();
    let place = prepared(&faults);
    for point in [
        "small file: write",
        "small file: fsync",
        "small file: rename",
    ] {
        let mut chain = place.chain.clone();
        faults.set(&format!("ENOSPC 1 {point}\n"));
        assert!(chain.end("tried", Lsn(0x2000)).unwrap_err().is_no_space());
        faults.clear();
        let names = fs::read_dir(&chain.path).unwrap();
        let left = names
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().ends_with(".tmp"));
        assert_eq!(left.count(), 0, "{point}");
    }
}

/// Three transactions, the first two of them fsynced and told to the slot; the open file's bytes.
fn three_transactions(place: &Place) -> (PathBuf, Vec<u8>) {
    let mut appender = place.append();
    for (xid, lsn) in [(10, 0x2000), (11, 0x2100), (12, 0x2200)] {
        insert(&mut appender, xid, lsn);
    }
    appender.sync().unwrap();
    let path = appender.current_file();
    (path.clone(), fs::read(path).unwrap())
}

fn kept_files(place: &Place) -> Vec<PathBuf> {
    let names = fs::read_dir(place.chain.incremental()).unwrap().flatten();
    let mut kept: Vec<PathBuf> = names
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(".damaged"))
        .collect();
    kept.sort();
    kept
}

#[test]
fn damage_before_what_the_slot_was_told_is_kept_as_it_was_found() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let (path, whole) = three_transactions(&place);
    let mut bytes = whole.clone();
    let second = whole.windows(6).rposition(|w| w == b"2100 c").unwrap();
    let flipped = whole[second..]
        .windows(6)
        .position(|w| w == b"BEGIN;")
        .unwrap()
        + second;
    bytes[flipped] ^= 1;
    fs::write(&path, &bytes).unwrap();

    // The WAL of the second transaction is still there: a crash may have torn it.
    let appender = place
        .chain
        .open_for_append(identity(1000), Lsn(0x2000))
        .unwrap();
    assert_eq!(appender.last_lsn(), Lsn(0x2000));
    drop(appender);
    assert_eq!(kept_files(&place), [] as [PathBuf; 0]);

    fs::write(&path, &bytes).unwrap();
    let error = place
        .chain
        .open_for_append(identity(1000), Lsn(0x2100))
        .err()
        .unwrap();
    let Error::KeptAside { kept, offset, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(kept_files(&place), std::slice::from_ref(kept));
    assert!(*offset as usize <= flipped);
    assert_eq!(fs::read(kept).unwrap(), bytes);
    // What is whole of it can still be restored.
    assert_eq!(place.chain.last_lsn().unwrap(), Lsn(0x2000));
    let left = fs::read(&path).unwrap();
    assert!(whole.starts_with(&left) && left.len() < flipped);
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_damaged_header_before_what_the_slot_was_told_is_kept() {
    let faults = Faults::new();
    let place = prepared(&faults);
    let (path, mut bytes) = three_transactions(&place);
    bytes[3] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = place
        .chain
        .open_for_append(identity(1000), Lsn(0x2200))
        .err()
        .unwrap();
    let Error::KeptAside { kept, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(fs::read(kept).unwrap(), bytes);
    assert!(!path.exists());
}

#[test]
fn files_kept_aside_never_take_each_others_place() {
    let faults = Faults::new();
    let place = prepared(&faults);
    for number in 1..=2 {
        let (path, mut bytes) = three_transactions(&place);
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let opened = place.chain.open_for_append(identity(1000), Lsn(0x9000));
        assert!(matches!(opened, Err(Error::KeptAside { .. })));
        assert_eq!(kept_files(&place).len(), number);
    }
}

/// An update of the extension that is interrupted while it closes the open segment of the older one.
#[test]
fn a_segment_of_format_1_is_closed_once_whatever_fails_meanwhile() {
    let faults = Faults::new();
    for point in [
        "segment: write again",
        "segment: fsync again",
        "segment: write",
        "segment: fsync",
        "segment: fsynced",
        "publish: fsync",
        "publish: rename",
        "fsync directory",
        "manifest: write",
        "manifest: fsync",
        "segment: created",
        "small file: write",
        "small file: fsync",
        "small file: rename",
    ] {
        for has_transaction in [true, false] {
            let place = prepared(&faults);
            let mut appender = place.append();
            if has_transaction {
                insert(&mut appender, 10, 0x2000);
            }
            appender.position(Lsn(0x2100), at(1)).unwrap();
            let last = appender.sync().unwrap();
            let path = appender.current_file();
            drop(appender);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replacen("format=2\n", "format=1\n", 1)).unwrap();
            faults.set(&format!("EIO 1 {point}\n"));
            let failed = place.append_or_error().is_err();
            faults.clear();
            let is_small = point.starts_with("small");
            let is_on_the_way = if has_transaction {
                !is_small
            } else {
                is_small || point.contains("again") || point == "fsync directory"
            };
            assert_eq!(failed, is_on_the_way, "{point} {has_transaction}");
            let appender = place.append();
            assert_eq!(appender.last_lsn(), last, "{point} {has_transaction}");
            drop(appender);
            let formats = place.chain.segments().unwrap().into_iter();
            let formats: Vec<u32> = formats
                .map(|(name, stored)| place.chain.summarize(name, stored).unwrap())
                .map(|summary| summary.header.unwrap().format)
                .collect();
            let expected = if has_transaction { vec![1, 2] } else { vec![2] };
            assert_eq!(formats, expected, "{point} {has_transaction}");
            assert_eq!(
                archive::verify(&place.database, &mut || {}).unwrap(),
                [],
                "{point}"
            );
        }
    }
}
