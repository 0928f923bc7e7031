//! One directory, one server that writes there, and everybody else is told who that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{insert, new_chain, Place, DATABASE_OID, SYSTEM};
use archive::claim::{self, Claim, Hold, Server, To};
use archive::layout::SegmentName;
use archive::owner::{self, Identity};
use archive::{Error, Lsn, Result};

fn server(host: &str, start: &str) -> Server {
    Server {
        identity: Identity {
            system_identifier: SYSTEM,
            timeline: 1,
            host: host.into(),
            data_directory: "/var/lib/postgresql/15/main".into(),
        },
        start: start.into(),
    }
}

fn claim(to: To, has_slot: bool) -> Claim {
    Claim { to, has_slot }
}

const WITH_SLOT: Claim = Claim {
    to: To::Write,
    has_slot: true,
};

fn hold(place: &Place, server: &Server, claim: Claim) -> Result<Hold> {
    claim::hold(&place.database, DATABASE_OID, server, claim)
}

/// A chain that `server` began, and its hold.
fn owned(server: &Server) -> (Place, Hold) {
    let place = Place::new();
    let hold = hold(&place, server, WITH_SLOT).unwrap();
    (place, hold)
}

/// Names and contents of everything below the archive.
fn tree(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![place.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path)
            } else {
                found.push((path.clone(), fs::read(path).unwrap()))
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_server_with_the_slot_owns_what_knew_no_owners() {
    let (place, _hold) = owned(&server("a", "1"));
    let owner = owner::read(place.database.path()).unwrap().unwrap();
    assert_eq!(owner.identity, server("a", "1").identity);
    assert_eq!((owner.chain, owner.database_oid), (Some(1), DATABASE_OID));
}

#[test]
fn what_knew_no_owners_is_refused_to_a_server_without_its_slot_while_the_chain_is_open() {
    let mut place = Place::new();
    let before = tree(&place);
    for to in [To::Write, To::Begin] {
        let error = hold(&place, &server("b", "1"), claim(to, false)).unwrap_err();
        assert!(
            matches!(error, Error::NoOwner { chain: Some(1), .. }),
            "{error}"
        );
    }
    assert_eq!(tree(&place), before);
    place.chain.end_here("torn down").unwrap();
    hold(&place, &server("b", "1"), claim(To::Write, false)).unwrap_err();
    hold(&place, &server("b", "1"), claim(To::Begin, false)).unwrap();
}

#[test]
fn every_difference_makes_another_server_and_is_named() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    drop(hold_of_a);
    let before = tree(&place);
    let mine = server("a", "1").identity;
    let others = [
        (
            Identity {
                timeline: 2,
                ..mine.clone()
            },
            "timeline 2, not 1",
        ),
        (
            Identity {
                host: "b".into(),
                ..mine.clone()
            },
            "host b, not a",
        ),
        (
            Identity {
                data_directory: "/x".into(),
                ..mine.clone()
            },
            "data directory /x, not /var",
        ),
        (
            Identity {
                system_identifier: 5,
                ..mine
            },
            "system identifier 5, not 7300",
        ),
    ];
    for (identity, said) in others {
        let other = Server {
            identity,
            start: "2".into(),
        };
        for to in [To::Write, To::Begin] {
            let error = hold(&place, &other, claim(to, false)).unwrap_err();
            assert!(matches!(error, Error::NotOwner { .. }), "{error}");
            assert!(error.to_string().contains(said), "{error}");
            claim::ensure_may_write(&place.database, &other, claim(to, false)).unwrap_err();
        }
    }
    assert_eq!(tree(&place), before);
}

#[test]
fn a_new_timeline_goes_on_where_the_slot_is_and_only_there() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    drop(hold_of_a);
    let since = owner::read(place.database.path()).unwrap().unwrap().since;
    let mut recovered = server("a", "2");
    recovered.identity.timeline = 2;
    hold(&place, &recovered, claim(To::Begin, false)).unwrap_err();
    hold(&place, &recovered, WITH_SLOT).unwrap();
    let owner = owner::read(place.database.path()).unwrap().unwrap();
    assert_eq!((owner.identity.timeline, owner.since), (2, since));
    recovered.identity.host = "b".into();
    hold(&place, &recovered, WITH_SLOT).unwrap_err();
}

#[test]
fn many_processes_of_one_start_write_at_once_and_a_second_start_waits_for_their_end() {
    let (place, first) = owned(&server("a", "1"));
    let second = hold(&place, &server("a", "1"), claim(To::Write, false)).unwrap();
    // The same in every word: a copy of its machine, or what is left of an earlier start.
    let twin = server("a", "2");
    let refused = || {
        let error = hold(&place, &twin, WITH_SLOT).unwrap_err();
        assert!(matches!(error, Error::OwnerIsAlive { .. }), "{error}");
    };
    refused();
    drop(first);
    refused();
    drop(second);
    let _twins = hold(&place, &twin, WITH_SLOT).unwrap();
    hold(&place, &server("a", "1"), WITH_SLOT).unwrap_err();
}

#[test]
fn nobody_takes_over_from_a_server_that_writes() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    let before = tree(&place);
    let error = hold(&place, &server("b", "1"), claim(To::TakeOver, false)).unwrap_err();
    assert!(matches!(error, Error::OwnerIsAlive { .. }), "{error}");
    assert!(error.to_string().contains("host \"a\""), "{error}");
    assert_eq!(tree(&place), before);
    drop(hold_of_a);
}

#[test]
fn whoever_takes_over_ends_the_chain_and_the_owner_before_writes_no_more() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    let mut appender = place.append();
    insert(&mut appender, 1, 0x2000);
    appender.sync().unwrap();
    drop((appender, hold_of_a));
    let hold_of_b = hold(&place, &server("b", "1"), claim(To::TakeOver, false)).unwrap();
    assert!(hold_of_b
        .taken_from
        .as_ref()
        .unwrap()
        .contains("host \"a\""));
    let ended = place.database.served_chain().unwrap().unwrap();
    let end = ended.info.ended.unwrap();
    assert!(end.reason.contains("taken over by") && end.reason.contains("host \"b\""));
    assert_eq!(end.last_lsn.0, 0x2000);
    let error = hold(&place, &server("a", "1"), WITH_SLOT).unwrap_err();
    assert!(error.to_string().contains("host \"b\""), "{error}");
    // Once more is no new decision.
    drop(hold_of_b);
    let again = hold(&place, &server("b", "1"), claim(To::TakeOver, false)).unwrap();
    assert_eq!(again.taken_from, None);
}

#[test]
fn a_chain_that_the_owner_did_not_begin_is_not_its_own() {
    let (place, _hold) = owned(&server("a", "1"));
    let second = place
        .database
        .create_chain(new_chain(DATABASE_OID))
        .unwrap();
    let served = || place.database.served_chain().unwrap().unwrap().number;
    assert_eq!((second.number, served()), (2, 2));
    // As somebody makes it who knows no owners.
    let third = place.database.path().join("chain-3");
    fs::create_dir_all(third.join("base")).unwrap();
    fs::create_dir_all(third.join("incremental")).unwrap();
    fs::copy(second.path.join("chain.json"), third.join("chain.json")).unwrap();
    assert_eq!(served(), 2);
    assert_eq!(place.database.foreign_chains().unwrap(), [3]);
    assert_eq!(place.database.latest_chain().unwrap().unwrap().number, 3);
}

#[test]
fn a_lock_that_somebody_removed_is_made_anew() {
    let (place, first) = owned(&server("a", "1"));
    fs::remove_file(place.database.path().join("owner.lock")).unwrap();
    let _second = hold(&place, &server("a", "1"), WITH_SLOT).unwrap();
    drop(first);
    hold(&place, &server("a", "2"), WITH_SLOT).unwrap_err();
}

#[test]
fn an_owner_that_cannot_be_read_is_damage_and_the_directory_is_found() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    drop(hold_of_a);
    fs::write(place.database.path().join("owner.json"), "{").unwrap();
    let error = hold(&place, &server("a", "1"), WITH_SLOT).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let found = place.root.find_database(SYSTEM, DATABASE_OID).unwrap();
    assert_eq!(found.unwrap().path(), place.database.path());
}

#[test]
fn of_servers_that_all_take_over_at_once_one_writes_at_a_time() {
    let place = Place::new();
    let writing = [const { AtomicU32::new(0) }; 3];
    let is_alone = |who: usize| {
        let others = (0..3).filter(|other| *other != who);
        others
            .map(|other| writing[other].load(Ordering::SeqCst))
            .sum::<u32>()
            == 0
    };
    std::thread::scope(|scope| {
        // Two processes of each server.
        for process in 0..6 {
            let (place, writing, is_alone) = (&place, &writing, &is_alone);
            scope.spawn(move || {
                let who = process % 3;
                let server = server(["a", "b", "c"][who], "1");
                for _ in 0..30 {
                    let Ok(held) = hold(place, &server, claim(To::TakeOver, false)) else {
                        continue;
                    };
                    writing[who].fetch_add(1, Ordering::SeqCst);
                    assert!(is_alone(who));
                    std::thread::yield_now();
                    assert!(is_alone(who));
                    writing[who].fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
}

/// Copies whose names sort before and behind the original's.
#[test]
fn of_a_directory_and_its_copies_the_one_that_its_owner_names_counts() {
    let me = server("here", "1");
    let (place, held) = owned(&me);
    drop(held);
    let original = place.database.path().to_owned();
    let root = place.root.path();
    for copy in ["aaa", "zzz"] {
        let mut command = std::process::Command::new("cp");
        let copied = command.arg("-a").arg(&original).arg(root.join(copy));
        assert!(copied.status().unwrap().success());
    }
    let found = || place.root.find_database(SYSTEM, DATABASE_OID).unwrap();
    assert_eq!(found().unwrap().path(), original);
    let all = place.root.directories_of(SYSTEM).unwrap();
    let copies = all[0].copies.iter().map(|copy| copy.path().to_owned());
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].directory.path(), original);
    assert_eq!(
        copies.collect::<Vec<_>>(),
        [root.join("aaa"), root.join("zzz")]
    );
    // Renamed with its database, it counts still.
    let renamed = place
        .root
        .open_database(SYSTEM, DATABASE_OID, "renamed")
        .unwrap();
    assert_eq!(renamed.path(), root.join("renamed"));
    assert_eq!(found().unwrap().path(), renamed.path());
    // Without it, the first of the others is the archive, and says so once it is written to.
    fs::remove_dir_all(renamed.path()).unwrap();
    let first = found().unwrap();
    assert_eq!(first.path(), root.join("aaa"));
    let next_start = server("here", "2");
    claim::hold(&first, DATABASE_OID, &next_start, WITH_SLOT).unwrap();
    fs::rename(root.join("zzz"), root.join("a")).unwrap();
    assert_eq!(found().unwrap().path(), root.join("aaa"));
}

/// A place of copies has the directory that a renamed database had before, too, and no owner.
#[test]
fn of_directories_without_an_owner_the_one_that_reaches_furthest_counts() {
    let (place, held) = owned(&server("here", "1"));
    insert(&mut place.append(), 1, 0x2000);
    drop(held);
    let further = place.database.path().to_owned();
    fs::remove_file(further.join("owner.json")).unwrap();
    let root = place.root.path();
    let former = root.join("aaa");
    let mut command = std::process::Command::new("cp");
    let copied = command.arg("-a").arg(&further).arg(&former);
    assert!(copied.status().unwrap().success());
    let found = || {
        let found = place.root.find_database(SYSTEM, DATABASE_OID).unwrap();
        found.unwrap().path().to_owned()
    };
    // Both have as much: as ever, the first by name.
    assert_eq!(found(), former);
    let (last, stored) = place.last_segment();
    let next = SegmentName::new(Lsn(last.start_lsn.0 + 1), last.opened_at);
    let segment = |directory: &Path| {
        directory
            .join("chain-1/incremental")
            .join(next.file(stored))
    };
    fs::write(segment(&further), "").unwrap();
    assert_eq!(found(), further);
    fs::rename(segment(&further), segment(&former)).unwrap();
    assert_eq!(found(), former);
}

fn promoted(host: &str) -> Server {
    let mut server = server(host, "1");
    server.identity.timeline = 2;
    server
}

#[test]
fn a_promoted_server_goes_on_in_the_chain_and_what_the_former_still_writes_is_in_no_file() {
    let (place, hold_of_a) = owned(&server("a", "1"));
    let mut appender = place.append();
    insert(&mut appender, 1, 0x2000);
    appender.sync().unwrap();
    let path = appender.current_file();
    // Paused before it writes, and its lock is lost.
    insert(&mut appender, 2, 0x2100);
    fs::remove_file(place.database.path().join("owner.lock")).unwrap();
    hold_of_a.ensure_held().unwrap_err();
    let b = promoted("b");
    hold(&place, &b, claim(To::GoOnFrom(7), true)).unwrap_err();
    let hold_of_b = hold(&place, &b, claim(To::GoOnFrom(1), true)).unwrap();
    assert!(hold_of_b
        .taken_from
        .as_ref()
        .unwrap()
        .contains("host \"a\""));
    let owner = owner::read(place.database.path()).unwrap().unwrap();
    assert!(owner.may_set_apart(1) && !owner.may_set_apart(2));
    assert_eq!((owner.identity, owner.chain), (b.identity, Some(1)));
    let before = fs::read(&path).unwrap();
    let error = appender.sync().unwrap_err();
    assert!(matches!(error, Error::OutOfPlace { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let error = hold_of_a.ensure_held().unwrap_err();
    assert!(matches!(error, Error::LostHold { .. }), "{error}");
    assert!(error.to_string().contains("host \"b\""), "{error}");
    hold_of_b.ensure_held().unwrap();
    assert!(place
        .database
        .latest_chain()
        .unwrap()
        .unwrap()
        .info
        .ended
        .is_none());
}

#[test]
fn a_hold_is_lost_with_its_lock_its_start_or_its_owner() {
    let (place, held) = owned(&server("a", "1"));
    held.ensure_held().unwrap();
    let lock = place.database.path().join("owner.lock");
    let text = fs::read(&lock).unwrap();
    fs::write(&lock, [b"2", &text[1..]].concat()).unwrap();
    assert!(matches!(held.ensure_held(), Err(Error::LostHold { .. })));
    fs::write(&lock, &text).unwrap();
    held.ensure_held().unwrap();
    // By its own server it is rewritten.
    place
        .database
        .create_chain(new_chain(DATABASE_OID))
        .unwrap();
    held.ensure_held().unwrap();
    let json = place.database.path().join("owner.json");
    let owner = fs::read_to_string(&json).unwrap();
    fs::write(&json, owner.replace("\"timeline\": 1", "\"timeline\": 2")).unwrap();
    assert!(matches!(held.ensure_held(), Err(Error::LostHold { .. })));
    // Its directory may be renamed with the database.
    fs::write(&json, owner).unwrap();
    held.ensure_held().unwrap();
    fs::rename(place.database.path(), place.path().join("archive/renamed")).unwrap();
    held.ensure_held().unwrap();
}

#[test]
fn a_lock_is_free_when_nobody_holds_it_and_asking_leaves_nothing() {
    let place = Place::new();
    let before = tree(&place);
    assert!(claim::is_free(&place.database).unwrap());
    assert_eq!(tree(&place), before);
    let held = hold(&place, &server("a", "1"), WITH_SLOT).unwrap();
    assert!(!claim::is_free(&place.database).unwrap());
    drop(held);
    assert!(claim::is_free(&place.database).unwrap());
}
