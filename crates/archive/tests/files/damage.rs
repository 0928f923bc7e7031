//! `verify` finds every flipped, missing, doubled, exchanged, reordered or cut byte of every file,
//! one after the other; what it cannot find stands here by name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{at, insert, metadata, one_of_each, write_set, Place, SLOT_START};
use archive::base::BaseDir;
use archive::layout::BaseName;
use archive::{verify, Lsn, Problem};

/// Files of up to so many bytes are damaged at every one, others at about so many places (0: at all).
fn most() -> usize {
    let set = std::env::var("DAMAGES").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(150)
}

fn base(place: &Place, lsn: Lsn, rows: &str) {
    let base = BaseDir::create(&place.chain, BaseName::new(lsn, at(0))).unwrap();
    base.write_file(
        "dump.sql",
        format!("COPY a FROM stdin;\n{rows}\n\\.\n").as_bytes(),
    )
    .unwrap();
    base.write_file("globals.sql", b"CREATE ROLE bob;\n")
        .unwrap();
    base.write_file("database.sql", b"-- none\n").unwrap();
    base.finish(&metadata(lsn, "5:9:6")).unwrap();
}

/// Two bases, two sets of globals, three closed segments and an open one.
fn full_place() -> Place {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    base(&place, SLOT_START, "1");
    base(&place, Lsn(0x2600), "2");
    for lsn in [0x1000, 0x2700] {
        let sql = format!("CREATE ROLE bob{lsn};\n");
        write_set(&place.chain, Lsn(lsn), at(0), &sql, "-- none\n");
    }
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    appender.rotate(14).unwrap().unwrap();
    for (xid, lsn) in [(14, 0x3000), (15, 0x3800)] {
        insert(&mut appender, xid, lsn);
        appender.rotate(xid + 1).unwrap().unwrap();
    }
    one_of_each(&mut appender, 0x2000);
    appender.sync().unwrap();
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    place
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn all_files(place: &Place) -> Vec<PathBuf> {
    files_below(place.database.path())
}

/// The open segment has no checksum yet.
fn is_open(path: &Path) -> bool {
    path.to_str().unwrap().ends_with(".partial")
}

/// What verify says while `path` holds `bytes`.
fn with_bytes(place: &Place, path: &Path, bytes: &[u8]) -> Vec<Problem> {
    let good = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    let problems = verify(&place.database, &mut || {}).unwrap();
    fs::write(path, good).unwrap();
    problems
}

fn assert_found(place: &Place, path: &Path, bytes: &[u8], how: &str) {
    let problems = with_bytes(place, path, bytes);
    assert!(!problems.is_empty(), "{}: {how}", path.display());
}

fn positions(length: usize) -> impl Iterator<Item = usize> {
    let step = length.checked_div(most()).unwrap_or(1).max(1);
    (0..length).step_by(step)
}

#[test]
fn any_flipped_byte_of_any_file_but_the_open_segment_is_found() {
    let place = full_place();
    for path in all_files(&place).into_iter().filter(|path| !is_open(path)) {
        let good = fs::read(&path).unwrap();
        for position in positions(good.len()) {
            let mut bad = good.clone();
            bad[position] ^= [1u8, 0x20, 0x80][position % 3];
            assert_found(&place, &path, &bad, &format!("byte {position} flipped"));
        }
    }
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn any_file_that_is_cut_or_longer_is_found() {
    let place = full_place();
    for path in all_files(&place).into_iter().filter(|path| !is_open(path)) {
        let good = fs::read(&path).unwrap();
        for length in positions(good.len()).step_by(3) {
            assert_found(&place, &path, &good[..length], &format!("cut to {length}"));
        }
        let last_line = good[..good.len() - 1]
            .rsplit(|b| *b == b'\n')
            .next()
            .unwrap();
        for more in [
            &b"x"[..],
            b"\n",
            b" ",
            b"\0",
            &[last_line, b"\n"].concat(),
            &good,
        ] {
            let longer = [&good, more].concat();
            assert_found(&place, &path, &longer, "longer");
        }
        for hole in positions(good.len() - 1).step_by(5) {
            let zeros = [&good[..hole], &vec![0; good.len() - hole][..]].concat();
            assert_found(&place, &path, &zeros, &format!("zeros from {hole}"));
        }
    }
}

#[test]
fn any_file_that_is_gone_or_no_file_is_found_and_raises_nothing() {
    let place = full_place();
    let aside = place.path().join("aside");
    for path in all_files(&place) {
        fs::rename(&path, &aside).unwrap();
        // The open segment may be gone because nothing was written since the last was closed.
        if !is_open(&path) {
            assert!(
                !verify(&place.database, &mut || {}).unwrap().is_empty(),
                "without {path:?}"
            );
        }
        fs::create_dir(&path).unwrap();
        assert!(
            !verify(&place.database, &mut || {}).unwrap().is_empty(),
            "directory {path:?}"
        );
        fs::remove_dir(&path).unwrap();
        for target in [aside.as_path(), Path::new("/nowhere")] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            assert!(
                !verify(&place.database, &mut || {}).unwrap().is_empty(),
                "link {path:?}"
            );
            fs::remove_file(&path).unwrap();
        }
        fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn any_two_files_that_changed_places_are_found() {
    let place = full_place();
    let files = all_files(&place);
    let aside = place.path().join("aside");
    for (number, one) in files.iter().enumerate() {
        for other in &files[number + 1..] {
            if fs::read(one).unwrap() == fs::read(other).unwrap() {
                continue;
            }
            let exchange = || {
                fs::rename(one, &aside).unwrap();
                fs::rename(other, one).unwrap();
                fs::rename(&aside, other).unwrap();
            };
            exchange();
            let problems = verify(&place.database, &mut || {}).unwrap();
            assert!(!problems.is_empty(), "{one:?} and {other:?}");
            exchange();
        }
    }
}

#[test]
fn a_second_copy_under_another_name_is_found() {
    let place = full_place();
    for path in all_files(&place) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.contains(".sql") || !name.contains('-') {
            continue;
        }
        // The stored forms of a closed segment stand for each other; an open one beside is a fault.
        let copies = [
            name.replace("Z.", "Z.sql.")
                .replace("sql.sql.partial", "sql"),
            name.replacen("0000000000", "000000000F", 1),
            format!("{}.partial", name.trim_end_matches(".partial")),
        ];
        for copy in copies.iter().filter(|copy| copy.as_str() != name) {
            let copy = path.with_file_name(copy);
            if copy.exists()
                || archive::layout::SegmentName::parse(copy.file_name().unwrap().to_str().unwrap())
                    .is_none()
            {
                continue;
            }
            fs::copy(&path, &copy).unwrap();
            let problems = verify(&place.database, &mut || {}).unwrap();
            assert!(
                !problems.is_empty(),
                "{} as {}",
                path.display(),
                copy.display()
            );
            fs::remove_file(copy).unwrap();
        }
    }
}

#[test]
fn manifest_lines_that_are_gone_doubled_or_reordered_are_found() {
    let place = full_place();
    let path = place.chain.manifest();
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let kind = |line: &str| line.split(',').next().unwrap().to_owned();
    for one in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(one);
        assert_found(&place, &path, without.concat().as_bytes(), "a line is gone");
        for other in 0..lines.len() {
            let mut doubled = lines.clone();
            doubled.insert(other, lines[one]);
            assert_found(
                &place,
                &path,
                doubled.concat().as_bytes(),
                "a line is there twice",
            );
            // Between kinds the order says nothing: a base is made while segments are written.
            if one != other && kind(lines[one]) == kind(lines[other]) {
                let mut swapped = lines.clone();
                swapped.swap(one, other);
                assert_found(
                    &place,
                    &path,
                    swapped.concat().as_bytes(),
                    "lines changed places",
                );
            }
        }
    }
}

#[test]
fn of_the_open_segment_what_is_structure_is_found_and_what_is_text_is_not() {
    let place = full_place();
    let path = all_files(&place)
        .into_iter()
        .find(|path| is_open(path))
        .unwrap();
    let good = fs::read(&path).unwrap();
    let (mut found, mut missed) = (0, Vec::new());
    for position in positions(good.len()) {
        let mut bad = good.clone();
        bad[position] ^= 4;
        let length = bad.len();
        // What is torn is cut when the file is opened again: as after a crash, no problem.
        let summary = archive::segment::Summary::of(&bad[..]).unwrap();
        assert!(summary.complete <= length as u64);
        if with_bytes(&place, &path, &bad).is_empty() {
            missed.push(position);
        } else {
            found += 1;
        }
    }
    // These are known: no checksum covers a file that still grows.
    assert!(found > 0 && !missed.is_empty());
    eprintln!(
        "open segment: {found} flips were found, {} were not",
        missed.len()
    );
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}
