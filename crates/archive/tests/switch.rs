//! A promoted server goes on in the chain: what is behind the point at which its history left the files' timeline.
// Each test takes its turn with the one that sets failpoints, which strike whoever passes.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use archive::claim::{self, Claim, Server, To};
use archive::layout::{SegmentName, Stored};
use archive::lock::Lock;
use archive::manifest;
use archive::owner::Identity;
use archive::segment::{SegmentIdentity, Switch};
use archive::{Appender, Error, Lsn, Result};
use support::faults::Faults;
use support::{at, insert, promoted, Place, DATABASE_OID, SYSTEM};

const SETVAL: &[u8] = b"SELECT pg_catalog.setval('public.s', 65, true);";

fn go_on(place: &Place, lsn: u64) -> Result<Appender> {
    let timeline = place.chain.last_timeline().unwrap();
    let identity = match timeline {
        1 => promoted(lsn),
        _ => SegmentIdentity {
            switch: None,
            ..promoted(lsn)
        },
    };
    support::unlocked(|| place.chain.open_for_append(identity.clone(), Lsn(0)))
}

fn assert_sound(place: &Place) {
    let problems = archive::verify(&place.database, &mut || {}).unwrap();
    assert_eq!(problems, []);
}

/// Timeline and switch point in the header of each segment, and the commits in it.
fn segments(place: &Place) -> Vec<(u32, Option<u64>, u64)> {
    let segments = place.chain.segments().unwrap().into_iter();
    segments
        .map(|(name, stored)| {
            let summary = place.chain.summarize(name, stored).unwrap();
            assert_eq!((summary.torn, summary.contradiction), (None, None));
            let header = summary.header.unwrap();
            let switched = header.switched_at.map(|lsn| lsn.0);
            (header.timeline, switched, summary.tally.transactions)
        })
        .collect()
}

/// A closed segment, and an open one of the other timeline behind which nothing is.
#[test]
fn what_ends_before_the_switch_stays_and_the_next_segment_names_it() {
    let _turn = Faults::new();
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.rotate(11).unwrap();
    insert(&mut appender, 11, 0x2100);
    appender.sync().unwrap();
    drop(appender);
    let mut appender = go_on(&place, 0x2100).unwrap();
    assert_eq!(appender.last_lsn(), Lsn(0x2100));
    // It was closed just now: the slot must return it again all the same.
    assert_eq!(appender.last_commit_lsn(), Some(Lsn(0x2100)));
    assert_eq!(place.chain.last_switched_at().unwrap(), Some(Lsn(0x2100)));
    insert(&mut appender, 12, 0x2200);
    appender.rotate(13).unwrap();
    insert(&mut appender, 13, 0x2300);
    appender.sync().unwrap();
    drop(appender);
    let expected = [
        (1, None, 1),
        (1, None, 1),
        (2, Some(0x2100), 1),
        (2, None, 1),
    ];
    assert_eq!(segments(&place), expected);
    assert_eq!(place.chain.last_switched_at().unwrap(), Some(Lsn(0x2100)));
    assert_sound(&place);
}

/// It contains nothing but its header when the server stops again.
#[test]
fn a_first_segment_that_is_begun_again_names_the_switch_too() {
    let _turn = Faults::new();
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    drop(appender);
    for _ in 0..3 {
        drop(go_on(&place, 0x2000).unwrap());
    }
    assert_eq!(segments(&place), [(1, None, 1), (2, Some(0x2000), 0)]);
    assert_sound(&place);
}

/// Positions only: a segment of the former timeline is closed, small as it is; one of sequences is begun again.
#[test]
fn no_commit_of_the_new_timeline_is_in_a_segment_of_the_former() {
    let _turn = Faults::new();
    for (position, expected) in [(Some(0x1500), vec![1, 2]), (None, vec![2])] {
        let place = Place::new();
        let mut appender = place.append();
        if let Some(lsn) = position {
            appender.position(Lsn(lsn), at(1)).unwrap();
        }
        appender
            .sequences(Lsn(0x1500), at(1), &[SETVAL.to_vec()])
            .unwrap();
        appender.sync().unwrap();
        drop(appender);
        let mut appender = go_on(&place, 0x1600).unwrap();
        insert(&mut appender, 10, 0x2000);
        appender.sync().unwrap();
        drop(appender);
        let timelines: Vec<u32> = segments(&place).iter().map(|s| s.0).collect();
        assert_eq!(timelines, expected);
        assert_sound(&place);
    }
}

/// A position behind the switch would have commits below it taken for repeats.
#[test]
fn positions_and_sequences_behind_the_switch_are_cut_off_and_nothing_is_lost() {
    let _turn = Faults::new();
    for is_closed in [false, true] {
        let place = Place::new();
        let mut appender = place.append();
        insert(&mut appender, 10, 0x2000);
        appender
            .sequences(Lsn(0x2000), at(1), &[SETVAL.to_vec()])
            .unwrap();
        appender.position(Lsn(0x2050), at(2)).unwrap();
        appender.position(Lsn(0x3000), at(3)).unwrap();
        appender
            .sequences(Lsn(0x3000), at(4), &[SETVAL.to_vec()])
            .unwrap();
        if is_closed {
            appender.rotate(11).unwrap();
            appender.position(Lsn(0x3100), at(5)).unwrap();
        }
        appender.sync().unwrap();
        drop(appender);
        let mut appender = go_on(&place, 0x2080).unwrap();
        assert_eq!(appender.last_lsn(), Lsn(0x2050), "{is_closed}");
        insert(&mut appender, 11, 0x2090);
        appender.sync().unwrap();
        drop(appender);
        assert_eq!(segments(&place), [(1, None, 1), (2, Some(0x2080), 1)]);
        assert_sound(&place);
        assert!(!place.chain.path.join("lost-1").exists());
    }
}

/// Commits behind the switch in an open segment, or over several closed ones, with a base and a set of globals.
fn with_lost(place: &Place, is_closed: bool) {
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.rotate(11).unwrap();
    insert(&mut appender, 11, 0x2100);
    insert(&mut appender, 12, 0x2200);
    insert(&mut appender, 13, 0x2300);
    if is_closed {
        appender.rotate(14).unwrap();
        insert(&mut appender, 14, 0x2400);
        appender.rotate(15).unwrap();
        support::take_base(&place.chain, Lsn(0x2450), 15, at(0));
        support::write_set(&place.chain, Lsn(0x2400), at(1), "SELECT 1;", "SELECT 2;");
        insert(&mut appender, 15, 0x2500);
    }
    appender.sync().unwrap();
}

/// Opens until the chain says that it is cut; what a crash interrupts is repeated.
fn cut(place: &Place) -> Error {
    go_on(place, 0x2180).err().unwrap()
}

fn assert_set_apart(place: &Place, is_closed: bool) {
    let error = cut(place);
    let lost = if is_closed { 4 } else { 2 };
    let Error::SetApart {
        path, transactions, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(*transactions, lost);
    assert!(error.to_string().contains("lost-1"), "{error}");
    let mut chain = place.database.latest_chain().unwrap().unwrap();
    chain.end_here(&error.to_string()).unwrap();
    assert_eq!(chain.info.ended.as_ref().unwrap().last_lsn, Lsn(0x2100));
    assert_eq!(segments(place), [(1, None, 1), (1, None, 1)]);
    assert_eq!(chain.bases().unwrap(), []);
    assert_sound(place);
    // The directory is an archive of its own, with all that was there.
    let database = archive::DatabaseDir::at(path).unwrap();
    database.ensure_restore_files().unwrap();
    assert_eq!(archive::verify(&database, &mut || {}).unwrap(), []);
    let chain = database.latest_chain().unwrap().unwrap();
    let found: u64 = chain
        .segments()
        .unwrap()
        .into_iter()
        .map(|(name, stored)| chain.summarize(name, stored).unwrap().tally.transactions)
        .sum();
    assert_eq!(found, lost + 1, "whole segments");
    assert_eq!(chain.bases().unwrap().len(), usize::from(is_closed));
    let readme = fs::read_to_string(path.join("README-LOST.txt")).unwrap();
    assert!(
        readme.contains(&format!("{lost} transactions are lost")),
        "{readme}"
    );
    assert!(readme.contains("0/2200"), "{readme}");
}

#[test]
fn commits_behind_the_switch_are_set_apart_and_the_chain_ends_before_them() {
    let _turn = Faults::new();
    for is_closed in [false, true] {
        let place = Place::new();
        with_lost(&place, is_closed);
        assert_set_apart(&place, is_closed);
    }
}

/// Every file of the chain, but for the lock of its manifest.
fn contents(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rooms = vec![place.chain.path.clone()];
    while let Some(room) = rooms.pop() {
        for entry in fs::read_dir(room).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rooms.push(path);
            } else {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn assert_refused_whole(place: &Place, switch: Switch, end: u64) {
    let before = contents(place);
    let identity = SegmentIdentity {
        switch: Some(switch),
        ..promoted(0)
    };
    let opened = support::unlocked(|| place.chain.open_for_append(identity.clone(), Lsn(0)));
    let error = opened.err().unwrap();
    assert!(
        matches!(error, Error::BehindSwitch { end: found, .. } if found == Lsn(end)),
        "{error}"
    );
    assert_eq!(contents(place), before);
    let mut chain = place.database.latest_chain().unwrap().unwrap();
    chain.end_here(&error.to_string()).unwrap();
    assert_sound(place);
}

/// A point-in-time recovery in place: nobody has said that commits may be set apart.
#[test]
fn without_a_word_commits_behind_the_switch_stay_where_they_are() {
    let _turn = Faults::new();
    for (is_closed, end) in [(false, 0x2300), (true, 0x2500)] {
        let place = Place::new();
        with_lost(&place, is_closed);
        let switch = Switch {
            timeline: 1,
            at: Lsn(0x2180),
            sets_apart: false,
        };
        assert_refused_whole(&place, switch, end);
    }
}

/// Commits of the new timeline below its begin would count as repeats.
#[test]
fn a_chain_that_begins_behind_the_switch_is_refused() {
    let _turn = Faults::new();
    for sets_apart in [false, true] {
        for has_commit in [false, true] {
            let place = Place::new();
            let begin = place.chain.info.slot_start_lsn.0;
            let mut end = begin;
            if has_commit {
                let mut appender = place.append();
                end += 0x100;
                insert(&mut appender, 10, end);
                appender.sync().unwrap();
            }
            let switch = Switch {
                timeline: 1,
                at: Lsn(begin - 1),
                sets_apart,
            };
            assert_refused_whole(&place, switch, end);
        }
    }
}

#[test]
fn compressed_segments_and_indexes_go_too() {
    let _turn = Faults::new();
    let place = Place::new();
    with_lost(&place, true);
    let compression = "zstd".parse().unwrap();
    archive::compression::compress(&place.database, compression, &mut || {}).unwrap();
    assert_set_apart(&place, true);
    let names: Vec<(SegmentName, Stored)> = place.chain.stored_segments().unwrap();
    assert_eq!(names.len(), 2);
}

/// A crash between any two steps, and a failure of each: the next start leads to the same end.
#[test]
fn whatever_fails_meanwhile_the_end_is_the_same() {
    let faults = Faults::new();
    for is_closed in [false, true] {
        for point in [
            "switch: set apart",
            "switch: shortened",
            "switch: marked",
            "switch: remove",
            "small file: write",
            "small file: fsync",
            "small file: rename",
            "directory: rename",
            "fsync directory",
        ] {
            for nth in 1..30 {
                let place = Place::new();
                with_lost(&place, is_closed);
                faults.set(&format!("EIO {nth} {point}\n"));
                let error = cut(&place);
                faults.clear();
                // The failpoint's count is forgotten.
                let _ = place.chain.last_lsn();
                assert_set_apart(&place, is_closed);
                if matches!(error, Error::SetApart { .. }) {
                    break;
                }
            }
        }
    }
}

/// As `owner.rs` has it: whoever goes on gives the files a new inode.
#[test]
fn entries_of_what_is_gone_stay_as_marks() {
    let _turn = Faults::new();
    let place = Place::new();
    with_lost(&place, true);
    cut(&place);
    let entries = manifest::read(&place.chain).unwrap().entries;
    let gone = entries.iter().filter(|entry| entry.is_gone()).count();
    assert_eq!(gone, 4, "{entries:#?}");
    let left = entries.len() - gone;
    assert_eq!(left, 2);
}

/// As a copy, whose manifest follows its files.
#[test]
fn what_the_manifest_does_not_list_is_marked_too() {
    let _turn = Faults::new();
    for number in 0..6 {
        let place = Place::new();
        with_lost(&place, true);
        let path = place.chain.manifest();
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        // The open segment has none.
        if number < lines.len() {
            lines.remove(number);
        }
        fs::write(&path, lines.concat()).unwrap();
        cut(&place);
        let entries = manifest::read(&place.chain).unwrap().entries;
        let gone = entries.iter().filter(|entry| entry.is_gone()).count();
        assert_eq!((gone, entries.len()), (4, 6), "{number}: {entries:#?}");
        assert_set_apart(&place, true);
    }
}

/// A copy keeps what was set apart; the next server that takes it over does not.
#[test]
fn what_was_set_apart_and_comes_back_with_a_copy_does_not_count() {
    let _turn = Faults::new();
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.rotate(11).unwrap();
    insert(&mut appender, 11, 0x2100);
    appender.position(Lsn(0x2300), at(1)).unwrap();
    appender.rotate(12).unwrap();
    drop(appender);
    let before = contents(&place);
    let mut appender = go_on(&place, 0x2200).unwrap();
    insert(&mut appender, 12, 0x2250);
    appender.rotate(13).unwrap();
    drop(appender);
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "sql");
    let kept = place.segments();
    for (path, content) in before.iter().filter(|(path, _)| is_segment(path)) {
        fs::write(path, content).unwrap();
    }
    assert_eq!(place.segments().len(), kept.len() + 1);
    let server = Server {
        identity: Identity {
            system_identifier: SYSTEM,
            timeline: 3,
            host: "c".into(),
            data_directory: "/var".into(),
        },
        start: "1".into(),
    };
    let claim = Claim {
        to: To::GoOnFrom(2),
        has_slot: true,
    };
    let hold = claim::hold(&place.database, DATABASE_OID, &server, claim);
    assert!(hold.unwrap().taken_from.is_some());
    assert_eq!(place.segments(), kept);
    assert_sound(&place);
}

/// Its commits are behind the point where it began, and in the history of whoever has left the timeline before it.
#[test]
fn the_segments_of_a_later_timeline_are_not_behind_the_switch() {
    let _turn = Faults::new();
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    drop(appender);
    let mut appender = go_on(&place, 0x2000).unwrap();
    insert(&mut appender, 12, 0x2250);
    appender.rotate(13).unwrap();
    insert(&mut appender, 13, 0x2350);
    appender.sync().unwrap();
    drop(appender);
    let before = segments(&place);
    let opened = support::unlocked(|| place.chain.open_for_append(promoted(0x2000), Lsn(0)));
    drop(opened.unwrap());
    assert_eq!(segments(&place), before);
}

/// Whoever reads is waited for; a new reader waits until all is cut.
#[test]
fn a_reader_is_waited_for() {
    let _turn = Faults::new();
    let place = Place::new();
    with_lost(&place, true);
    let reader = Lock::shared(&place.database, &mut || {}).unwrap();
    let is_reading = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let cutting = scope.spawn(|| {
            let error = cut(&place);
            (error, is_reading.load(Ordering::SeqCst))
        });
        // Long enough for a cut that does not wait.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(segments(&place).len(), 4, "nothing is cut");
        is_reading.store(false, Ordering::SeqCst);
        drop(reader);
        let (error, was_reading) = cutting.join().unwrap();
        assert!(matches!(error, Error::SetApart { .. }), "{error}");
        assert!(!was_reading);
    });
    assert_set_apart(&place, true);
}

/// A reader that does not end keeps nobody from going on.
#[test]
fn a_reader_is_not_waited_for_for_ever() {
    let _turn = Faults::new();
    let place = Place::new();
    with_lost(&place, false);
    let _reader = Lock::shared(&place.database, &mut || {}).unwrap();
    let start = Instant::now();
    let error = cut(&place);
    assert!(matches!(error, Error::SetApart { .. }), "{error}");
    let waited = start.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(120)).contains(&waited),
        "{waited:?}"
    );
}

/// The extensions of the files that are not as they were, but for what is set apart.
fn changed(before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) -> Vec<String> {
    let mut changed: Vec<&PathBuf> = [(before, after), (after, before)]
        .iter()
        .flat_map(|(these, those)| these.iter().filter(|file| !those.contains(file)))
        .map(|(path, _)| path)
        .filter(|path| !path.to_string_lossy().contains("/lost-1/"))
        .collect();
    changed.sort();
    changed.dedup();
    let extensions = changed.iter().filter_map(|path| path.extension());
    let mut extensions: Vec<String> = extensions
        .map(|extension| extension.to_string_lossy().into_owned())
        .collect();
    extensions.sort();
    extensions
}

/// To find what is behind the switch may take long, and another server takes over meanwhile.
#[test]
fn who_has_lost_the_archive_changes_nothing_that_is_in_the_chain() {
    let _turn = Faults::new();
    for is_closed in [false, true] {
        let place = Place::new();
        with_lost(&place, is_closed);
        let before = contents(&place);
        // At the first look, and at each later one.
        for number in 1..=4 {
            let looks = std::cell::Cell::new(0);
            let ensure_held = || {
                looks.set(looks.get() + 1);
                if looks.get() < number {
                    return Ok(());
                }
                Err(Error::LostHold {
                    path: place.chain.path.clone(),
                    owner: "another".to_owned(),
                })
            };
            let opened = support::unlocked(|| {
                looks.set(0);
                let identity = promoted(0x2180);
                place
                    .chain
                    .open_for_append_while(identity, Lsn(0), &ensure_held)
            });
            let error = opened.err().unwrap();
            assert!(matches!(error, Error::LostHold { .. }), "{error}");
            let expected = match (number, is_closed) {
                (1 | 2, _) => vec![],
                (3, _) | (_, false) => vec!["partial"],
                _ => vec!["jsonl", "partial", "sql"],
            };
            assert_eq!(changed(&before, &contents(&place)), expected, "{number}");
            let lost = place.chain.path.join("lost-1");
            assert_eq!(lost.exists(), number > 1);
        }
        let again = go_on(&place, 0x2180).err().unwrap();
        assert!(matches!(again, Error::SetApart { .. }), "{again}");
    }
}
