//! What is read from afar is what the archive holds, and nothing else on the machine.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{at, insert, take_base, write_set, Place};
use archive::compression::{compress, Compression};
use archive::reading::{list, read, Name};
use archive::Lsn;

fn place() -> Place {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 1000, 0x2000);
    appender.rotate(1001).unwrap().unwrap();
    insert(&mut appender, 1001, 0x3000);
    appender.rotate(1002).unwrap().unwrap();
    insert(&mut appender, 1002, 0x4000);
    appender.sync().unwrap();
    drop(appender);
    take_base(&place.chain, Lsn(0x2001), 1001, at(0));
    write_set(
        &place.chain,
        Lsn(0x2002),
        at(1),
        "CREATE ROLE r;\n",
        "-- none\n",
    );
    place
}

#[test]
fn every_file_of_the_archive_is_listed_and_read_in_parts_of_any_size() {
    let place = place();
    compress(&place.database, Compression::Zstd(3), &mut || {}).unwrap();
    let listed = list(&place.database).unwrap();
    // restore.sh, README.txt, chain.json, 3 segments, 4 files of the set, 3 of the base, the manifest.
    assert_eq!(listed.lines().count(), 2 + 1 + 3 + 4 + 3 + 1, "{listed}");
    assert!(listed.ends_with("chain-1/manifest.jsonl\n"));
    for line in listed.lines() {
        let (size, file) = line.split_once(' ').unwrap();
        let name = Name::parse(file).unwrap();
        let content = fs::read(place.database.path().join(file)).unwrap();
        assert_eq!(content.len().to_string(), size);
        for part in [1, 7, content.len(), content.len() + 1] {
            let mut fetched = Vec::new();
            loop {
                let offset = fetched.len() as u64;
                let bytes = read(&place.database, &name, offset, part).unwrap().unwrap();
                assert!(bytes.len() <= part);
                if bytes.is_empty() {
                    break;
                }
                fetched.extend(bytes);
                if part == 1 && fetched.len() > 300 {
                    break;
                }
            }
            assert_eq!(fetched[..], content[..fetched.len()], "{file}");
            assert!(part == 1 || fetched.len() == content.len());
        }
        assert_eq!(
            read(&place.database, &name, u64::MAX, 9).unwrap(),
            Some(vec![])
        );
    }
    let gone = Name::parse("chain-2/chain.json").unwrap();
    assert_eq!(read(&place.database, &gone, 0, 9).unwrap(), None);
    let gone = Name::parse("chain-1/pins.json").unwrap();
    assert_eq!(read(&place.database, &gone, 0, 9).unwrap(), None);
}

#[test]
fn no_other_name_is_taken() {
    let base = "0000000000002001-20261121T034000Z";
    for text in [
        "",
        "/",
        ".",
        "..",
        "/etc/passwd",
        "../other/restore.sh",
        "chain-1",
        "chain-1/",
        "chain-01/chain.json",
        "chain-1/../restore.sh",
        "chain-1//chain.json",
        "./restore.sh",
        "restore.sh/",
        "chain-1/archived.jsonl",
        "archived.jsonl",
        "chain-1.partial/chain.json",
        "chain-1/incremental/..",
        "chain-1/incremental/x.sql",
        &format!("chain-1/base/{base}"),
        &format!("chain-1/base/{base}.partial/dump.sql"),
        &format!("chain-1/base/{base}/.."),
        &format!("chain-1/base/{base}/../../chain.json"),
        &format!("chain-1/base/{base}/dump/.."),
        &format!("chain-1/base/{base}/dump/../x"),
        &format!("chain-1/base/{base}/dump/.hidden"),
        &format!("chain-1/base/{base}/dump/a/b"),
        &format!("chain-1/base/{base}/other"),
        "chain-1/chain.json\0",
        "chain-1\n/chain.json",
    ] {
        assert_eq!(Name::parse(text), None, "{text:?}");
    }
    for text in [
        "restore.sh",
        "chain-1/pins.json",
        &format!("chain-12/base/{base}/dump/3012.dat.gz"),
        &format!("chain-1/globals/{base}/globals.sql"),
        &format!("chain-1/incremental/{base}.sql.zst"),
        &format!("chain-1/incremental/{base}.sql.partial"),
    ] {
        assert!(Name::parse(text).is_some(), "{text:?}");
    }
}

#[test]
fn no_link_and_no_pipe_is_followed() {
    let place = place();
    let secret = place.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("chain.json"), "secret").unwrap();
    let name = Name::parse("chain-1/chain.json").unwrap();
    let file = place.chain.path.join("chain.json");
    let sound = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(secret.join("chain.json"), &file).unwrap();
    read(&place.database, &name, 0, 9).unwrap_err();
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    read(&place.database, &name, 0, 9).unwrap_err();
    fs::remove_file(&file).unwrap();
    fs::write(&file, sound).unwrap();
    assert!(read(&place.database, &name, 0, 9).unwrap().is_some());
    let chain = place.chain.path.clone();
    fs::rename(&chain, place.path().join("aside")).unwrap();
    symlink(&secret, &chain).unwrap();
    read(&place.database, &name, 0, 9).unwrap_err();
}
