//! Database directories are found by what they back up, and never mixed up.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};

use crate::support::{identity, insert, new_chain, open_root, Place, DATABASE_OID, SYSTEM};
use archive::layout::NewChain;
use archive::restore::RESTORE_SH;
use archive::Lsn;

#[test]
fn a_database_is_found_again_by_its_oid() {
    let place = Place::new();
    let again = place
        .root
        .open_database(SYSTEM, DATABASE_OID, "shop")
        .unwrap();
    assert_eq!(again.path(), place.database.path());
    assert_eq!(again.name(), "shop");
    assert!(place.root.find_database(SYSTEM, 1).unwrap().is_none());
}

#[test]
fn a_renamed_database_takes_its_directory_along() {
    let place = Place::new();
    let renamed = place
        .root
        .open_database(SYSTEM, DATABASE_OID, "new \"shop\"/..")
        .unwrap();
    assert_eq!(renamed.name(), "new \"shop\"/..");
    assert!(!place.database.path().exists());
    assert_eq!(renamed.latest_chain().unwrap().unwrap().number, 1);
    assert_eq!(renamed.path().parent(), Some(place.root.path()));
}

#[test]
fn a_new_database_with_an_old_name_gets_a_directory_of_its_own() {
    let place = Place::new();
    let second = place.root.open_database(SYSTEM, 2, "shop").unwrap();
    second.create_chain(new_chain(2)).unwrap();
    assert_eq!(second.path(), place.root.path().join("shop.2"));
    let again = place.root.open_database(SYSTEM, 2, "shop").unwrap();
    assert_eq!(again.path(), second.path());
    assert_eq!(place.root.databases().unwrap().len(), 2);
}

#[test]
fn a_rename_onto_a_taken_name_keeps_both() {
    let place = Place::new();
    place
        .root
        .open_database(SYSTEM, 2, "old")
        .unwrap()
        .create_chain(new_chain(2))
        .unwrap();
    let renamed = place.root.open_database(SYSTEM, 2, "shop").unwrap();
    assert_eq!(renamed.path(), place.root.path().join("shop.2"));
    assert_eq!(renamed.chains().unwrap()[0].info.database_oid, 2);
}

#[test]
fn another_cluster_keeps_to_a_directory_of_its_own() {
    let place = Place::new();
    let (oid, name) = (DATABASE_OID, "shop");
    assert!(place.root.find_database(SYSTEM + 1, oid).unwrap().is_none());
    let second = place.root.open_database(SYSTEM + 1, oid, name).unwrap();
    assert_eq!(second.path(), place.root.path().join("shop.16384"));
    let chain = |system_identifier| NewChain {
        system_identifier,
        ..new_chain(oid)
    };
    second.create_chain(chain(SYSTEM + 1)).unwrap();
    let third = place.root.open_database(SYSTEM + 2, oid, name).unwrap();
    third.create_chain(chain(SYSTEM + 2)).unwrap();
    for (system, directory) in [
        (SYSTEM, place.database.path()),
        (SYSTEM + 1, second.path()),
        (SYSTEM + 2, third.path()),
    ] {
        let again = place.root.open_database(system, oid, name).unwrap();
        assert_eq!(again.path(), directory);
        let ours = place.root.databases_of(system).unwrap();
        assert_eq!(ours.len(), 1);
        assert_eq!((ours[0].0, ours[0].1.path()), (oid, directory));
    }
}

#[test]
fn what_cannot_be_read_keeps_no_other_database_from_its_directory() {
    let place = Place::new();
    fs::write(place.chain.path.join("chain.json"), "{").unwrap();
    let other = place.root.open_database(SYSTEM, 7, "other").unwrap();
    assert_eq!(other.path(), place.root.path().join("other"));
    // Its own may be what cannot be read.
    place.root.open_database(SYSTEM, 7, "shop").unwrap_err();
}

#[test]
fn chains_are_numbered_and_whole() {
    let place = Place::new();
    let leftover = place.database.path().join("chain-2.partial");
    fs::create_dir_all(leftover.join("base")).unwrap();
    let second = place
        .database
        .create_chain(new_chain(DATABASE_OID))
        .unwrap();
    assert_eq!(second.number, 2);
    assert!(!leftover.exists());
    let read = place.database.chains().unwrap();
    assert_eq!(
        read.iter().map(|chain| chain.number).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(read[1].info, second.info);
}

#[test]
fn nobody_else_can_read_a_file() {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    let mut appender = place.append();
    insert(&mut appender, 1, 0x2000);
    appender.rotate(2).unwrap().unwrap();
    let mut directories = vec![place.root.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(
                mode,
                if path.is_dir() { 0o700 } else { 0o600 },
                "{}",
                path.display()
            );
            directories.extend(path.is_dir().then_some(path));
        }
    }
}

#[test]
fn links_are_not_followed() {
    let place = Place::new();
    let outside = place.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, place.chain.manifest()).unwrap();
    assert!(place.append_or_error().is_err());
    fs::remove_file(place.chain.manifest()).unwrap();
    let mut appender = place.append_or_error().unwrap();
    insert(&mut appender, 1, 0x2000);
    symlink(&outside, place.chain.manifest()).unwrap();
    assert!(appender.rotate(2).is_err());
    let link = place.database.path().join("restore.sh");
    fs::remove_file(&link).unwrap();
    symlink(&outside, &link).unwrap();
    place.database.ensure_restore_files().unwrap();
    assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
}

#[test]
fn restore_files_are_rewritten_only_where_they_differ() {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    let path = place.database.path().join("restore.sh");
    let first = fs::metadata(&path).unwrap().modified().unwrap();
    place.database.ensure_restore_files().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), first);
    fs::write(&path, "tampered").unwrap();
    place.database.ensure_restore_files().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), RESTORE_SH);
}

#[test]
fn a_damaged_chain_json_is_named() {
    let place = Place::new();
    let json = place.chain.path.join("chain.json");
    fs::write(&json, "{").unwrap();
    let error = place.database.chains().unwrap_err();
    assert!(error.to_string().contains("chain.json"), "{error}");
    let problems = archive::verify(&place.database, &mut || {}).unwrap();
    assert_eq!(problems[0].file, "chain-1/chain.json");
}

#[test]
fn a_root_survives_being_opened_twice() {
    let place = Place::new();
    let root = open_root(place.path());
    let chain = NewChain {
        slot_start_lsn: Lsn(5),
        ..new_chain(7)
    };
    let database = root.open_database(SYSTEM, 7, "other").unwrap();
    let appender = database
        .create_chain(chain)
        .unwrap()
        .open_for_append(identity(1), Lsn(0))
        .unwrap();
    assert_eq!(appender.last_lsn(), Lsn(5));
}
