//! "Something was lost, and nobody could tell me when." What is lost stands in its place in the segment and
//! in the chain's list, until a base ends the stretch.

use std::fs;

use crate::support::{at, take_base, Place};
use archive::flags::{self, New, FLAGS};
use archive::segment::{Event, Lost, Scanner, What};
use archive::{ChainDir, Lsn};

fn new(oid: u32, xid: u64, lsn: u64) -> New {
    New {
        lost: Lost {
            what: What::Rows,
            class: "table".to_owned(),
            oid,
            identity: b"public.\"a b\xff\"".to_vec(),
        },
        reason: b"UPDATE\n\"x\"".to_vec(),
        xid,
        commit_lsn: Lsn(lsn),
        commit_time: Some(at(xid as i64)),
    }
}

/// A base that sees the xids below `next`.
fn base(chain: &ChainDir, lsn: u64, next: u64) {
    take_base(chain, Lsn(lsn), next, at(lsn as i64));
}

#[test]
fn a_flag_that_names_what_is_lost_comes_back_from_the_segment() {
    let place = Place::new();
    let mut appender = place.append();
    let lost = new(7, 10, 0x2000).lost;
    appender.begin(10, Lsn(0x2000), at(10)).unwrap();
    appender.flag(b"a note", None).unwrap();
    appender.flag(&[b' '; 5000], Some(&lost)).unwrap();
    let long = Lost {
        identity: vec![b'%'; 5000],
        ..lost.clone()
    };
    appender.flag(&[b'\n'; 5000], Some(&long)).unwrap();
    appender.commit().unwrap();
    appender.sync().unwrap();
    let bytes = fs::read(appender.current_file()).unwrap();
    let mut scanner = Scanner::new(bytes.as_slice());
    let mut found = Vec::new();
    while let Some(event) = scanner.next_event().unwrap() {
        match event {
            Event::Flag { lost, .. } => found.push(lost),
            Event::Torn { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    assert_eq!(found[..2], [None, Some(lost)]);
    assert!(long
        .identity
        .starts_with(&found[2].as_ref().unwrap().identity));
}

#[test]
fn a_stretch_goes_on_until_a_base_sees_the_last_flag() {
    let place = Place::new();
    let chain = place.chain.clone();
    assert!(flags::read(&chain).unwrap().is_empty());
    assert_eq!(flags::last_attempt(&chain).unwrap(), None);
    base(&chain, 0x1500, 5);
    flags::note(&chain, &[new(7, 10, 0x2000), new(8, 10, 0x2000)]).unwrap();
    // A base before the first flag was not made for it.
    assert_eq!(flags::last_attempt(&chain).unwrap(), None);
    // This base was begun before the next flag, and ends nothing of that object.
    flags::note(&chain, &[new(7, 12, 0x3000)]).unwrap();
    base(&chain, 0x2800, 11);
    let open = flags::open(&chain).unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    let stretch = (open[0].first_lsn, open[0].last_lsn);
    assert_eq!((open[0].oid, stretch), (7, (Lsn(0x2000), Lsn(0x3000))));
    assert_eq!(open[0].why(), "UPDATE\n\"x\"");
    let took = chrono::TimeDelta::milliseconds(1234);
    let attempt = flags::last_attempt(&chain).unwrap().unwrap();
    assert_eq!(attempt.took_ms, 1234);
    assert_eq!(
        attempt.finished_at.timestamp(),
        (at(0x2800) + took).timestamp()
    );
    base(&chain, 0x3800, 13);
    assert!(flags::open(&chain).unwrap().is_empty());
    // One that comes by itself is no attempt.
    base(&chain, 0x4800, 20);
    let attempt = flags::last_attempt(&chain).unwrap().unwrap();
    assert_eq!(
        attempt.finished_at.timestamp(),
        (at(0x3800) + took).timestamp()
    );
    // Seen again after a crash, it is nothing new; later, it is a stretch of its own.
    flags::note(&chain, &[new(7, 12, 0x3000)]).unwrap();
    assert_eq!(flags::read(&chain).unwrap().len(), 2);
    flags::note(&chain, &[new(7, 30, 0x5000)]).unwrap();
    assert_eq!(flags::read(&chain).unwrap().len(), 3);
    assert_eq!(flags::open(&chain).unwrap().len(), 1);
}

#[test]
fn any_number_of_objects_stays_a_short_list_that_forgets_nothing_open() {
    let place = Place::new();
    let chain = place.chain.clone();
    let all: Vec<New> = (1..3000).map(|n| new(n, 10, 0x2000)).collect();
    flags::note(&chain, &all).unwrap();
    let open = flags::open(&chain).unwrap();
    assert_eq!(open.len(), 1001);
    assert!(open.iter().any(|one| one.class == "database"), "{open:?}");
    base(&chain, 0x2800, 11);
    let late: Vec<New> = (5000..5010).map(|n| new(n, 20, 0x3000)).collect();
    flags::note(&chain, &late).unwrap();
    let open = flags::open(&chain).unwrap();
    assert_eq!(open.iter().filter(|one| one.oid >= 5000).count(), 10);
}

#[test]
fn a_damaged_list_is_told_and_begun_anew() {
    let place = Place::new();
    let chain = place.chain.clone();
    fs::write(chain.path.join(FLAGS), "{\"lost\":\"ro").unwrap();
    assert!(flags::open(&chain).is_err());
    flags::note(&chain, &[new(7, 10, 0x2000)]).unwrap();
    assert_eq!(flags::open(&chain).unwrap().len(), 1);
}
