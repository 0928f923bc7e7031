//! The moment of a snapshot in the stream, the records of drills, and a neighbour that can't be read.

use std::fs;
use std::io::Write;

use crate::support::{at, insert, new_chain, open_root, temporary, Place, SYSTEM};
use archive::drills::{self, Begun, Drill, Outcome};
use archive::snapshot::Snapshot;
use archive::{moment, Lsn};

fn snapshot(text: &str) -> Snapshot {
    text.parse().unwrap()
}

/// Transactions 10, 11, 12, 13 commit at 0x2000, 0x2100, … in two segments, the second one open.
fn place() -> Place {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    insert(&mut appender, 11, 0x2100);
    appender.rotate(12).unwrap();
    insert(&mut appender, 12, 0x2200);
    insert(&mut appender, 13, 0x2300);
    appender.sync().unwrap();
    place
}

#[test]
fn a_snapshot_that_sees_all_is_of_the_lsn_that_was_read_after_it() {
    let place = place();
    let found = moment::of_snapshot(&place.chain, &snapshot("14:14:"), Lsn(0x2300)).unwrap();
    assert_eq!(found, Some(Lsn(0x2300)));
    // What committed after the LSN is not asked for.
    let found = moment::of_snapshot(&place.chain, &snapshot("12:12:"), Lsn(0x2180)).unwrap();
    assert_eq!(found, Some(Lsn(0x2180)));
}

#[test]
fn a_transaction_that_has_committed_and_is_not_seen_yet_ends_the_moment_before_it() {
    let place = place();
    let found = moment::of_snapshot(&place.chain, &snapshot("13:14:13"), Lsn(0x2300)).unwrap();
    assert_eq!(found, Some(Lsn(0x22FF)));
    let found = moment::of_snapshot(&place.chain, &snapshot("11:14:11,12,13"), Lsn(0x2300));
    assert_eq!(found.unwrap(), Some(Lsn(0x20FF)));
}

#[test]
fn a_snapshot_that_sees_a_later_one_and_not_an_earlier_one_is_of_no_moment() {
    let place = place();
    for text in ["12:14:12", "11:14:11", "10:14:10,13"] {
        let found = moment::of_snapshot(&place.chain, &snapshot(text), Lsn(0x2300)).unwrap();
        assert_eq!(found, None, "{text}");
    }
}

#[test]
fn a_damaged_segment_is_an_error_and_the_open_ones_torn_end_is_none() {
    let place = place();
    let files = place.segments();
    let open = files.last().unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(open).unwrap();
    file.write_all(b"-- @torn").unwrap();
    let found = moment::of_snapshot(&place.chain, &snapshot("14:14:"), Lsn(0x2300)).unwrap();
    assert_eq!(found, Some(Lsn(0x2300)));
    let closed = fs::read(&files[0]).unwrap();
    fs::write(&files[0], &closed[..closed.len() - 40]).unwrap();
    moment::of_snapshot(&place.chain, &snapshot("10:14:10"), Lsn(0x2300)).unwrap_err();
}

fn drill(outcome: Outcome, seconds: i64) -> Drill {
    Drill {
        outcome,
        started_at: at(seconds),
        duration_ms: 1500,
        conninfo: "host=/tmp".to_owned(),
        chain: Some(1),
        base: Some("0000000000002000-20261121T034000Z".to_owned()),
        lsn: Some(Lsn(0x2000)),
        tables: 3,
        rows: 17,
        problems: vec!["a line\nend".to_owned()],
        left_out: vec!["EVENT TRIGGER x".to_owned()],
        tool_version: "0.1.0".to_owned(),
    }
}

#[test]
fn records_are_read_as_they_were_written_and_a_torn_one_disturbs_no_other() {
    let place = Place::new();
    let database = place.database.clone();
    assert_eq!(drills::read(&database).unwrap(), []);
    let (first, second) = (drill(Outcome::Passed, 1), drill(Outcome::NotDone, 2));
    drills::append(&database, &first).unwrap();
    let path = database.path().join("drills.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"outcome\":\"pas").unwrap();
    drills::append(&database, &second).unwrap();
    assert_eq!(drills::read(&database).unwrap(), [first, second]);
}

#[test]
fn records_and_notes_of_earlier_versions_are_read() {
    let place = Place::new();
    let database = place.database.clone();
    drills::append(&database, &drill(Outcome::Passed, 1)).unwrap();
    let path = database.path().join("drills.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let earlier = text.replace(",\"left_out\":[\"EVENT TRIGGER x\"]", "");
    assert_ne!(text, earlier);
    fs::write(&path, earlier).unwrap();
    assert!(drills::read(&database).unwrap()[0].left_out.is_empty());
    const NOTE: &str =
        r#"{"started_at":"2026-11-21T03:40:00.000000Z","database_oid":5,"conninfo":""}"#;
    fs::write(database.path().join("drill.json"), NOTE).unwrap();
    let begun = drills::begun(&database).unwrap().unwrap();
    assert_eq!((begun.database_oid, begun.throwaway), (5, None));
}

#[test]
fn a_drill_that_has_begun_is_known_until_nothing_is_left_of_it() {
    let place = Place::new();
    let database = place.database.clone();
    assert_eq!(drills::begun(&database).unwrap(), None);
    let begun = Begun {
        started_at: at(1),
        database_oid: 16384,
        conninfo: "host=standby2".into(),
        server: Some("7713570908643097509".into()),
        throwaway: None,
    };
    drills::begin(&database, &begun).unwrap();
    // As restore.sh of versions before 0.4 wrote it.
    fs::write(database.path().join("drill.made"), "r16390 t16400 r7\n").unwrap();
    assert_eq!(drills::begun(&database).unwrap(), Some(begun));
    assert_eq!(drills::made(&database, 'r'), [16390, 7]);
    assert_eq!(drills::made(&database, 't'), [16400]);
    let ids = ["r16390", "t16401"].map(str::to_owned);
    drills::note_made(&database, &ids).unwrap();
    assert_eq!(drills::made(&database, 'r'), [16390]);
    assert_eq!(drills::made(&database, 't'), [16401]);
    assert_eq!(drills::made_ids(&database), ids);
    drills::end(&database).unwrap();
    assert_eq!(drills::begun(&database).unwrap(), None);
    assert!(drills::made(&database, 'r').is_empty());
}

#[test]
fn a_chain_that_cannot_be_read_is_in_nobody_elses_way() {
    let dir = temporary();
    fs::create_dir(dir.path().join("data")).unwrap();
    let root = open_root(dir.path());
    for (oid, name) in [(16384, "shop"), (16385, "other")] {
        let database = root.open_database(SYSTEM, oid, name).unwrap();
        database.create_chain(new_chain(oid)).unwrap();
    }
    let json = dir.path().join("archive/other/chain-1/chain.json");
    fs::write(json, "{").unwrap();
    let found = root.find_database(SYSTEM, 16384).unwrap().unwrap();
    assert!(found.path().ends_with("shop"));
    // Nobody takes it for one that was never there.
    root.find_database(SYSTEM, 16385).unwrap_err();
}
