//! Expired files go in an order that survives a fault between any two steps: what is left always
//! verifies, holds all that was promised, and the next time finishes the work.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use archive::base::BaseDir;
use archive::expiry::{self, Row};
use archive::layout::{BaseName, NewChain, Stored};
use archive::lock::Lock;
use archive::manifest::{self, Kind};
use archive::retention::Rules;
use archive::time::Time;
use archive::{files, pins, verify, ChainDir, Error, Lsn};
use chrono::TimeDelta;
use support::faults::Faults;
use support::{at, identity, insert, metadata, new_chain, write_set, Place, DATABASE_OID};

const RULES: Rules = Rules {
    keep_incremental: Some(TimeDelta::days(7)),
    keep_base: Some(TimeDelta::days(10)),
    keep_monthly: 0,
    archived_only: false,
};

fn day(number: i64) -> Time {
    at(0) + TimeDelta::days(number)
}

/// A base, a set of globals and a closed segment for each of these days; an open one at the end.
fn fill(chain: &ChainDir, days: std::ops::Range<u64>) {
    let mut appender = chain
        .open_for_append(identity(days.start * 100 + 1), Lsn(0))
        .unwrap();
    for n in days {
        let lsn = 0x10_0000 + n * 0x1000;
        insert(&mut appender, n * 100 + 1, lsn);
        let name = BaseName::new(Lsn(lsn + 1), day(n as i64));
        let base = BaseDir::create(chain, name).unwrap();
        base.write_file("dump.sql", b"SELECT 1;\n").unwrap();
        let snapshot = format!("{0}:{0}:", n * 100 + 2);
        let mut facts = metadata(name.lsn, &snapshot);
        facts.taken_at = name.taken_at;
        base.finish(&facts).unwrap();
        let sql = format!("CREATE ROLE r{n};\n");
        write_set(chain, Lsn(lsn + 2), day(n as i64), &sql, "-- none\n");
        insert(&mut appender, n * 100 + 2, lsn + 3);
        appender.rotate(n * 100 + 3).unwrap().unwrap();
    }
    insert(&mut appender, 1_000_000, 0x100_0000);
    appender.sync().unwrap();
}

/// Twenty days.
fn place() -> Place {
    let place = Place::new();
    fill(&place.chain, 0..20);
    place
}

fn now() -> Time {
    day(19) + TimeDelta::minutes(1)
}

fn expire(place: &Place) -> archive::Result<Vec<Row>> {
    expiry::expire(&place.database, &RULES, now(), &mut || {})
}

fn expired(rows: &[Row]) -> Vec<(Kind, &str)> {
    let rows = rows.iter().filter(|row| row.expires);
    rows.map(|row| (row.kind, row.file.as_str())).collect()
}

fn assert_sound(place: &Place) {
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}

/// How many bases, sets and segments there are (the open one too).
fn counts(chain: &ChainDir) -> [usize; 3] {
    [
        chain.bases().unwrap().len(),
        chain.globals_sets().unwrap().len(),
        chain.segments().unwrap().len(),
    ]
}

/// What is left after [`expire`]: bases of the days 10 to 19, sets from the one before these on,
/// segments from day 12 on.
fn assert_done(place: &Place) {
    assert_eq!(counts(&place.chain), [10, 11, 9]);
    let listed = files(std::slice::from_ref(&place.chain)).unwrap();
    assert_eq!(listed.len(), 10 + 11 + 9);
    assert_sound(place);
}

#[test]
fn looking_changes_nothing_and_says_what_would_go() {
    let _faults = Faults::new();
    let place = place();
    let before = fs::read(place.chain.manifest()).unwrap();
    let rows = expiry::look(&place.database, &RULES, now()).unwrap();
    assert_eq!(counts(&place.chain), [20, 20, 21]);
    assert_eq!(fs::read(place.chain.manifest()).unwrap(), before);
    assert_eq!(rows.len(), 60);
    assert!(rows.iter().all(|row| row.bytes > 0 && !row.why.is_empty()));
    assert_eq!(expire(&place).unwrap(), rows);
    assert_done(&place);
    assert_eq!(expired(&expire(&place).unwrap()), []);
}

#[test]
fn a_fault_between_any_two_steps_leaves_a_sound_archive_and_the_next_time_finishes() {
    let faults = Faults::new();
    let mut reached = 0;
    for point in [
        "fsync directory",
        "small file: write",
        "small file: fsync",
        "small file: rename",
        "expire: noted",
        "expire: remove",
    ] {
        for nth in 1.. {
            let place = place();
            faults.set(&format!("EIO {nth} {point}\n"));
            let outcome = expire(&place);
            faults.clear();
            assert_sound(&place);
            if outcome.is_ok() {
                assert!(nth > 1, "{point} was not reached");
                break;
            }
            reached += 1;
            // Capture goes on, whatever stands there.
            let mut appender = place.append();
            insert(&mut appender, 1_000_001, 0x100_0100);
            drop(appender);
            assert_sound(&place);
            expire(&place).unwrap();
            assert_done(&place);
        }
    }
    assert!(reached > 30, "{reached}");
}

#[test]
fn power_loss_may_bring_removed_files_back_in_any_order() {
    let _faults = Faults::new();
    let place = place();
    let (name, stored) = place.chain.segments().unwrap()[3];
    let path = place.chain.segment_path(name, stored);
    let content = fs::read(&path).unwrap();
    expire(&place).unwrap();
    fs::write(&path, &content[..content.len() / 2]).unwrap();
    let base = place
        .chain
        .base()
        .join(BaseName::new(Lsn(0x10_0001), day(0)).to_string());
    fs::create_dir(&base).unwrap();
    fs::write(base.join("dump.sql"), "half of it").unwrap();
    assert_sound(&place);
    drop(place.append());
    assert_sound(&place);
    expire(&place).unwrap();
    assert!(!path.exists() && !base.exists());
    assert_done(&place);
}

#[test]
fn the_manifest_does_not_grow_for_ever_and_remembers_where_what_is_left_begins() {
    let _faults = Faults::new();
    let place = place();
    for today in 8..=19 {
        let now = day(today) + TimeDelta::minutes(1);
        expiry::expire(&place.database, &RULES, now, &mut || {}).unwrap();
        assert_sound(&place);
    }
    let lines = manifest::read(&place.chain).unwrap().entries;
    let gone = lines.iter().filter(|entry| entry.expired_at.is_some());
    // The last of each kind, and what the last time itself expired.
    assert!(gone.count() <= 6, "{lines:#?}");
    assert_done(&place);
    support::rebuild_manifest(&place.chain);
    assert_sound(&place);
}

#[test]
fn segments_that_somebody_else_removed_are_a_problem() {
    let _faults = Faults::new();
    let place = place();
    expire(&place).unwrap();
    let (name, stored) = place.chain.segments().unwrap()[0];
    fs::remove_file(place.chain.segment_path(name, stored)).unwrap();
    let problems = verify(&place.database, &mut || {}).unwrap();
    assert!(
        problems.iter().any(|p| p.problem.contains("but missing")),
        "{problems:?}"
    );
    support::rebuild_manifest(&place.chain);
    assert!(!verify(&place.database, &mut || {}).unwrap().is_empty());
}

#[test]
fn an_old_chain_goes_as_a_whole_once_nothing_of_it_is_kept() {
    let faults = Faults::new();
    let mut place = place();
    place.chain.end_here("for a test").unwrap();
    let new = NewChain {
        slot_start_lsn: Lsn(0x200_0000),
        ..new_chain(DATABASE_OID)
    };
    let second = place.database.create_chain(new).unwrap();
    let mut appender = second.open_for_append(identity(2_000_000), Lsn(0)).unwrap();
    insert(&mut appender, 2_000_000, 0x200_1000);
    drop(appender);
    let at = |n: i64| day(n) + TimeDelta::minutes(1);
    // The new chain has no base: the old one's newest stays, with what it needs.
    expiry::expire(&place.database, &RULES, at(500), &mut || {}).unwrap();
    assert_eq!(counts(&place.chain)[0], 1);
    assert!(counts(&place.chain)[2] > 1);
    assert_sound(&place);
    let base = BaseDir::create(&second, BaseName::new(Lsn(0x200_1001), at(500))).unwrap();
    let mut facts = metadata(Lsn(0x200_1001), "2000001:2000001:");
    facts.taken_at = at(500);
    base.finish(&facts).unwrap();
    expiry::expire(&place.database, &RULES, at(501), &mut || {}).unwrap();
    assert_eq!(counts(&place.chain)[0], 1, "it begins the window still");
    faults.set("EIO 1 expire: remove\n");
    expiry::expire(&place.database, &RULES, at(508), &mut || {}).unwrap_err();
    faults.clear();
    assert!(!place.chain.path.exists());
    assert_sound(&place);
    assert_eq!(place.database.chains().unwrap().len(), 1);
    let rows = expiry::expire(&place.database, &RULES, at(508), &mut || {}).unwrap();
    assert!(
        rows.iter().all(|row| row.chain == 2 && !row.expires),
        "{rows:?}"
    );
    let left: Vec<_> = fs::read_dir(place.database.path())
        .unwrap()
        .flatten()
        .collect();
    assert!(
        left.iter()
            .all(|entry| entry.file_name() != "chain-1.partial"),
        "{left:?}"
    );
    assert_sound(&place);
}

#[test]
fn a_pin_keeps_a_base_and_goes_with_it() {
    let _faults = Faults::new();
    let place = place();
    let name = place.chain.bases().unwrap()[2];
    pins::set(&place.chain, name, Some(day(25)), "it's \"mine\"\n").unwrap();
    let rows = expire(&place).unwrap();
    let row = rows
        .iter()
        .find(|row| row.file.ends_with(&name.to_string()))
        .unwrap();
    assert!(!row.expires && row.why.contains("it's \"mine\""), "{row:?}");
    assert_sound(&place);
    assert_eq!(counts(&place.chain)[0], 11);
    expiry::expire(&place.database, &RULES, day(26), &mut || {}).unwrap();
    assert!(!place.chain.bases().unwrap().contains(&name));
    assert_eq!(pins::read(&place.chain).unwrap(), []);
    assert_sound(&place);
}

#[test]
fn nothing_goes_while_pins_or_the_manifest_cannot_be_read() {
    let _faults = Faults::new();
    let place = place();
    let name = place.chain.bases().unwrap()[2];
    pins::set(&place.chain, name, None, "").unwrap();
    let path = place.chain.path.join(pins::PINS_JSON);
    let good = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        good.replace(
            &name.to_string(),
            &place.chain.bases().unwrap()[3].to_string(),
        ),
    )
    .unwrap();
    expire(&place).unwrap_err();
    assert!(verify(&place.database, &mut || {})
        .unwrap()
        .iter()
        .any(|p| p.file.ends_with("pins.json")));
    fs::write(&path, good).unwrap();
    let good = fs::read_to_string(place.chain.manifest()).unwrap();
    fs::write(
        place.chain.manifest(),
        good.replacen("\"kind\"", "\"kinb\"", 1),
    )
    .unwrap();
    expire(&place).unwrap_err();
    assert_eq!(counts(&place.chain), [20, 20, 21]);
}

#[test]
fn a_base_that_is_not_whole_takes_nobodys_place() {
    let _faults = Faults::new();
    let place = place();
    // The window would begin with this one.
    let path = place
        .chain
        .base()
        .join(place.chain.bases().unwrap()[12].to_string());
    fs::write(path.join("dump.sql"), "").unwrap();
    let rows = expire(&place).unwrap();
    let why = |n: usize| {
        let lsn = Lsn(0x10_0001 + n as u64 * 0x1000).to_hex16();
        let row = rows
            .iter()
            .find(|row| row.kind == Kind::Base && row.file.contains(&lsn));
        row.unwrap().why.clone()
    };
    assert!(why(12).contains("damaged"), "{}", why(12));
    assert!(why(11).contains("begins"), "{}", why(11));
    assert_eq!(counts(&place.chain)[2], 10);
}

#[test]
fn whoever_reads_keeps_the_files() {
    let _faults = Faults::new();
    let place = place();
    let reader = Lock::shared(&place.database, &mut || {}).unwrap();
    let second = Lock::shared(&place.database, &mut || {}).unwrap();
    assert!(matches!(expire(&place), Err(Error::InUse { .. })));
    drop(reader);
    assert!(matches!(expire(&place), Err(Error::InUse { .. })));
    drop(second);
    expire(&place).unwrap();
    assert_done(&place);
}

#[test]
fn a_segment_goes_in_whatever_form_it_is_stored() {
    let _faults = Faults::new();
    let place = place();
    let (name, stored) = place.chain.segments().unwrap()[0];
    let plain = place.chain.segment_path(name, stored);
    let packed = place.chain.segment_path(name, Stored::Zstd);
    fs::rename(&plain, &packed).unwrap();
    expire(&place).unwrap();
    assert!(!packed.exists());
    assert_done(&place);
}

#[test]
fn a_link_leads_nobody_out_of_the_archive() {
    let _faults = Faults::new();
    let place = place();
    let outside: PathBuf = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    let old = place
        .chain
        .base()
        .join(place.chain.bases().unwrap()[0].to_string());
    fs::rename(&old, place.path().join("aside")).unwrap();
    symlink(&outside, &old).unwrap();
    expire(&place).unwrap();
    assert!(outside.join("precious").exists());
}

#[test]
fn a_base_is_found_by_its_name_and_by_its_path_only() {
    let place = place();
    let name = place.chain.bases().unwrap()[4];
    let find = |text: &str| {
        expiry::find_base(&place.database, text)
            .unwrap()
            .map(|(_, name)| name)
    };
    assert_eq!(find(&name.to_string()), Some(name));
    assert_eq!(find(&format!("base/{name}")), Some(name));
    assert_eq!(find(&format!("chain-1/base/{name}/")), Some(name));
    let path = place.chain.base().join(name.to_string());
    assert_eq!(find(path.to_str().unwrap()), Some(name));
    for other in [
        "",
        "/",
        "..",
        "../..",
        &format!("chain-2/base/{name}"),
        "0000000000000001-20260101T000000Z",
    ] {
        assert_eq!(find(other), None, "{other}");
    }
}

#[test]
fn what_was_given_up_on_a_full_disk_is_noted_and_removed_the_next_time() {
    let _faults = Faults::new();
    let place = place();
    // As a crash leaves it: renamed and emptied, and the manifest knows of nothing.
    let (name, stored) = place.chain.segments().unwrap()[0];
    let path = place.chain.segment_path(name, stored);
    let given_up = PathBuf::from(format!("{}.expired", path.display()));
    fs::rename(&path, &given_up).unwrap();
    fs::write(&given_up, "").unwrap();
    let base = place
        .chain
        .base()
        .join(place.chain.bases().unwrap()[0].to_string());
    let base_given_up = PathBuf::from(format!("{}.expired", base.display()));
    fs::rename(&base, &base_given_up).unwrap();
    assert_sound(&place);
    drop(place.append());
    expire(&place).unwrap();
    assert!(!given_up.exists() && !base_given_up.exists());
    assert_done(&place);
}
