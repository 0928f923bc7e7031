//! Closed segments become smaller in an order that survives a fault between any two steps: what is left
//! always verifies, says the same, and the next pass finishes the work.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use archive::compression::{self, Compression, Outcome};
use archive::expiry;
use archive::layout::{SegmentName, Stored};
use archive::lock::Lock;
use archive::retention::Rules;
use archive::{files, verify, Lsn};
use chrono::TimeDelta;
use support::faults::Faults;
use support::{identity, insert, one_of_each, Place};

const ZSTD: Compression = Compression::Zstd(3);

/// Three closed segments and an open one.
fn place() -> Place {
    let place = Place::new();
    let mut appender = place.append();
    for n in 0..3 {
        one_of_each(&mut appender, n * 0x10_0000);
        appender.rotate((n + 1) * 0x10_0000).unwrap().unwrap();
    }
    insert(&mut appender, 0x30_0001, 0x30_1000);
    appender.sync().unwrap();
    place
}

fn compress(place: &Place, how: Compression) -> Outcome {
    compression::compress(&place.database, how, &mut || {}).unwrap()
}

fn assert_sound(place: &Place) {
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}

fn texts(place: &Place) -> Vec<String> {
    let segments = place.chain.segments().unwrap().into_iter();
    let text = |(name, stored)| {
        let mut summary = String::new();
        let path = place.chain.segment_path(name, stored);
        let mut source = archive::segment::source::open(&path, stored).unwrap();
        std::io::Read::read_to_string(&mut source, &mut summary).unwrap();
        summary
    };
    segments.map(text).collect()
}

fn forms(place: &Place) -> Vec<Stored> {
    let segments = place.chain.stored_segments().unwrap().into_iter();
    segments.map(|(_, stored)| stored).collect()
}

fn names_of_incremental(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.chain.incremental()).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn closed(place: &Place) -> Vec<SegmentName> {
    let segments = place.chain.segments().unwrap().into_iter();
    segments
        .filter(|(_, stored)| *stored != Stored::Partial)
        .map(|(name, _)| name)
        .collect()
}

/// Three compressed segments and an open one, and nothing else.
fn assert_done(place: &Place, form: Stored, before: &[String]) {
    assert_eq!(forms(place), [form, form, form, Stored::Partial]);
    assert_eq!(names_of_incremental(place).len(), 4);
    assert_eq!(texts(place), before);
    let rows = files(std::slice::from_ref(&place.chain)).unwrap();
    assert_eq!(rows.len(), 4, "{rows:#?}");
    let suffix = if form == Stored::Gzip {
        ".sql.gz"
    } else {
        ".sql.zst"
    };
    assert!(
        rows[..3].iter().all(|row| row.file.ends_with(suffix)),
        "{rows:#?}"
    );
    assert_sound(place);
}

#[test]
fn every_closed_segment_is_compressed_once_and_says_the_same() {
    let _faults = Faults::new();
    for (how, form, program) in [
        (Compression::Gzip(9), Stored::Gzip, "gzip"),
        (ZSTD, Stored::Zstd, "zstd"),
    ] {
        let place = place();
        let before = texts(&place);
        let outcome = compress(&place, how);
        assert_eq!(outcome.compressed.len(), 3);
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        assert_done(&place, form, &before);
        // The programs that restore.sh uses read it.
        let path = place.chain.segment_path(closed(&place)[0], form);
        let output = Command::new(program)
            .arg("-dc")
            .stdin(fs::File::open(path).unwrap())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), before[0]);
        // Neither again nor, when the setting changes, anew.
        for other in [how, Compression::None, Compression::Gzip(1), ZSTD] {
            assert_eq!(compress(&place, other).compressed, []);
        }
        assert_done(&place, form, &before);
    }
}

#[test]
fn capture_goes_on_and_the_setting_holds_for_what_is_closed_later() {
    let _faults = Faults::new();
    let place = place();
    compress(&place, ZSTD);
    let mut appender = place
        .chain
        .open_for_append(identity(0x40_0000), Lsn(0))
        .unwrap();
    insert(&mut appender, 0x40_0001, 0x40_1000);
    appender.rotate(0x40_0002).unwrap().unwrap();
    insert(&mut appender, 0x40_0003, 0x40_2000);
    appender.rotate(0x40_0004).unwrap().unwrap();
    drop(appender);
    assert_sound(&place);
    assert_eq!(compress(&place, Compression::None).compressed, []);
    assert_eq!(compress(&place, Compression::Gzip(6)).compressed.len(), 2);
    use Stored::{Gzip, Partial, Zstd};
    assert_eq!(forms(&place), [Zstd, Zstd, Zstd, Gzip, Gzip, Partial]);
    assert_sound(&place);
}

#[test]
fn a_fault_between_any_two_steps_leaves_a_sound_archive_and_the_next_pass_finishes() {
    let faults = Faults::new();
    let mut reached = 0;
    for point in [
        "compress: write",
        "compress: read back",
        "compress: fsync",
        "publish: fsync",
        "publish: rename",
        "fsync directory",
        "compress: named",
        "manifest: write",
        "manifest: fsync",
        "compress: remove",
    ] {
        for nth in 1.. {
            let place = place();
            let before = texts(&place);
            faults.set(&format!("EIO {nth} {point}\n"));
            let outcome = compression::compress(&place.database, ZSTD, &mut || {});
            faults.clear();
            assert_sound(&place);
            assert_eq!(texts(&place), before, "{point} {nth}");
            assert!(files(std::slice::from_ref(&place.chain)).unwrap().len() == 4);
            if outcome.is_ok_and(|outcome| outcome.failed.is_empty()) {
                assert!(nth > 1, "{point} was not reached");
                break;
            }
            reached += 1;
            // Capture goes on, whatever stands there, and so does a rebuild of the manifest.
            drop(place.append());
            support::rebuild_manifest(&place.chain);
            assert_sound(&place);
            // With the setting off what was begun is finished, not more.
            compress(&place, Compression::None);
            assert_sound(&place);
            compress(&place, ZSTD);
            assert_done(&place, Stored::Zstd, &before);
        }
    }
    assert!(reached > 20, "{reached}");
}

#[test]
fn a_crash_between_name_and_manifest_leaves_two_forms_of_which_the_plain_one_counts() {
    let faults = Faults::new();
    let place = place();
    let before = texts(&place);
    faults.set("EIO 1 compress: named\n");
    assert_eq!(compress(&place, ZSTD).failed.len(), 3);
    faults.clear();
    use Stored::{Partial, Plain, Zstd};
    assert_eq!(
        forms(&place),
        [Plain, Zstd, Plain, Zstd, Plain, Zstd, Partial]
    );
    assert_eq!(place.chain.segments().unwrap().len(), 4);
    assert_sound(&place);
    // Power loss: one of them has its name, and not its content.
    let packed = place.chain.segment_path(closed(&place)[1], Zstd);
    let content = fs::read(&packed).unwrap();
    fs::write(&packed, &content[..content.len() - 5]).unwrap();
    assert_sound(&place);
    let outcome = compress(&place, Compression::Gzip(6));
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    assert_eq!(forms(&place), [Zstd, Stored::Gzip, Zstd, Partial]);
    assert_eq!(texts(&place), before);
    assert_sound(&place);
}

#[test]
fn a_damaged_segment_is_left_as_it_is_and_the_others_are_compressed() {
    let _faults = Faults::new();
    let place = place();
    let path = place.chain.segment_path(closed(&place)[1], Stored::Plain);
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let outcome = compress(&place, ZSTD);
    assert_eq!((outcome.compressed.len(), outcome.failed.len()), (2, 1));
    assert!(outcome.failed[0].2.to_string().contains("checksum"));
    assert_eq!(fs::read(&path).unwrap(), damaged);
    assert_eq!(names_of_incremental(&place).len(), 4);
    assert!(!verify(&place.database, &mut || {}).unwrap().is_empty());
}

#[test]
fn damage_to_a_compressed_segment_is_found() {
    let _faults = Faults::new();
    for how in [Compression::Gzip(6), ZSTD] {
        let place = place();
        compress(&place, how);
        let path = place
            .chain
            .segment_path(closed(&place)[1], how.stored().unwrap());
        let sound = fs::read(&path).unwrap();
        for place_of_damage in (0..sound.len()).step_by(sound.len() / 40) {
            let mut damaged = sound.clone();
            damaged[place_of_damage] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert!(
                !verify(&place.database, &mut || {}).unwrap().is_empty(),
                "{how} at {place_of_damage}"
            );
        }
        for cut in [1, 9, sound.len() / 2] {
            fs::write(&path, &sound[..sound.len() - cut]).unwrap();
            assert!(
                !verify(&place.database, &mut || {}).unwrap().is_empty(),
                "{how} cut"
            );
        }
        fs::write(&path, &sound).unwrap();
        assert_sound(&place);
    }
}

#[test]
fn a_segment_stays_plain_while_somebody_reads_and_goes_afterwards() {
    let _faults = Faults::new();
    let place = place();
    let before = texts(&place);
    let reader = Lock::shared(&place.database, &mut || {}).unwrap();
    let outcome = compress(&place, ZSTD);
    assert_eq!((outcome.compressed.len(), outcome.in_use), (0, 3));
    assert_eq!(forms(&place).len(), 7);
    assert_sound(&place);
    drop(reader);
    assert_eq!(compress(&place, Compression::None).compressed.len(), 3);
    assert_done(&place, Stored::Zstd, &before);
}

#[test]
fn what_expires_goes_in_both_forms_and_is_not_compressed_again() {
    let faults = Faults::new();
    let place = place();
    let first = closed(&place)[0];
    faults.set("EIO 1 compress: named\n");
    compress(&place, ZSTD);
    faults.clear();
    support::take_base(&place.chain, Lsn(0x20_2501), 0x20_0000, support::at(0));
    support::take_base(
        &place.chain,
        Lsn(0x30_1001),
        0x30_0002,
        support::at(1_000_000),
    );
    let rules = Rules {
        keep_incremental: Some(TimeDelta::days(7)),
        keep_base: None,
        keep_monthly: 0,
        archived_only: false,
    };
    expiry::expire(&place.database, &rules, support::at(2_000_000), &mut || {}).unwrap();
    let left = place.chain.stored_segments().unwrap();
    assert!(left.iter().all(|(name, _)| *name != first), "{left:?}");
    assert_sound(&place);
    compress(&place, ZSTD);
    assert!(names_of_incremental(&place)
        .iter()
        .all(|name| !name.starts_with(&first.to_string())));
    assert_sound(&place);
}

#[test]
fn only_one_process_compresses_a_chain() {
    let _faults = Faults::new();
    let place = place();
    let mut second = None;
    compression::compress(&place.database, ZSTD, &mut || {
        second.get_or_insert_with(|| {
            compression::compress(&place.database, ZSTD, &mut || {}).map(|_| ())
        });
    })
    .unwrap();
    assert!(
        matches!(second, Some(Err(archive::Error::Locked { .. }))),
        "{second:?}"
    );
    assert_sound(&place);
}
