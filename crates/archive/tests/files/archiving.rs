//! Files are handed over in an order in which every state of the copy restores, each until it was taken,
//! and nothing goes here that is not there.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{
    at, identity, insert, new_chain, promoted, take_base, unlocked, write_set, Place, DATABASE_OID,
    SYSTEM,
};
use archive::archiving::{self, Archiver, Notes, ARCHIVED_JSONL};
use archive::claim::{self, Claim, Hold, Server, To};
use archive::compression::{compress, Compression};
use archive::expiry;
use archive::layout::{NewChain, Stored};
use archive::manifest::{self, Entry, Kind};
use archive::owner::Identity;
use archive::retention::Rules;
use archive::storage::Directory;
use archive::{files, verify, DatabaseDir, Error, Lsn};
use chrono::TimeDelta;

const DAY: i64 = 24 * 3600;
const RULES: Rules = Rules {
    keep_incremental: Some(TimeDelta::days(7)),
    keep_base: Some(TimeDelta::zero()),
    keep_monthly: 0,
    archived_only: true,
};

/// A base, a set and a closed segment for each of these days, and an open segment.
fn fill(place: &Place, days: std::ops::Range<u64>) {
    let mut appender = place
        .chain
        .open_for_append(identity(days.start * 100 + 1), Lsn(0))
        .unwrap();
    for n in days {
        let lsn = 0x10_0000 + n * 0x1000;
        insert(&mut appender, n * 100 + 1, lsn);
        take_base(&place.chain, Lsn(lsn + 1), n * 100 + 2, at(n as i64 * DAY));
        let sql = format!("CREATE ROLE r{n};\n");
        write_set(
            &place.chain,
            Lsn(lsn + 2),
            at(n as i64 * DAY),
            &sql,
            "-- none\n",
        );
        insert(&mut appender, n * 100 + 2, lsn + 3);
        appender.rotate(n * 100 + 3).unwrap().unwrap();
    }
}

/// The copy that a command makes.
struct Copy(PathBuf);

impl Copy {
    fn of(place: &Place) -> Copy {
        Copy(place.path().join("copy"))
    }

    fn database(&self) -> DatabaseDir {
        DatabaseDir::at(self.0.join("shop")).unwrap()
    }

    fn take(&self, path: &Path, name: &str) {
        let target = self.0.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }

    /// Nothing that its manifests name is missing, and it is what they say.
    fn assert_consistent(&self) {
        for entry in fs::read_dir(self.0.join("shop")).unwrap().flatten() {
            let chain = entry.path();
            let parts = fs::read_dir(&chain).into_iter().flatten().flatten();
            let parts = parts.filter(|file| is_manifest(&file.file_name().to_string_lossy()));
            let text = parts.map(|part| fs::read_to_string(part.path()).unwrap());
            let text: String = text.collect();
            for line in text.lines().filter(|line| !line.contains("expired_at")) {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let file = line["file"].as_str().unwrap();
                let is_there = |file: &str| chain.join(file).exists();
                match line["kind"].as_str().unwrap() {
                    "incremental" => assert!(
                        Stored::closed_files(file).iter().any(|file| is_there(file)),
                        "{file}"
                    ),
                    _ => assert!(is_there(&format!("{file}/metadata.json")), "{file}"),
                }
            }
        }
    }

    /// Whatever part of it is there, nothing is wrong for a copy.
    fn assert_verifies(&self) {
        let storage = Directory::at(self.0.join("shop"));
        let problems = verify::files(&storage, &mut || {}).unwrap().into_iter();
        // They come before all others.
        let is_script = |file: &str| !self.0.join("shop").join(file).exists();
        let wrong: Vec<_> = problems
            .filter(|found| !found.is_usual_in_copy && !is_script(&found.file))
            .collect();
        assert_eq!(wrong, []);
    }
}

/// The manifest of a copy, or a part of it.
fn is_manifest(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    name.starts_with("manifest") && name.ends_with(".jsonl")
}

/// Hands everything over; gives the names in their order.
fn archive_all(place: &Place, copy: &Copy, how: Compression) -> Vec<String> {
    let mut archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let mut names = Vec::new();
    loop {
        let look = archiver.look(how, &HashSet::new()).unwrap();
        assert_eq!(look.missing, [] as [String; 0]);
        let Some(item) = look.next else {
            assert!(!look.must_compress);
            assert_eq!(look.lag, Default::default());
            copy.assert_verifies();
            return names;
        };
        assert!(look.lag.files > 0 && look.lag.bytes >= item.bytes);
        assert!(look.following.len() < look.lag.files as usize);
        for item in std::iter::once(item).chain(look.following) {
            archiver.prepare(&item).unwrap();
            copy.take(&item.path, &item.name);
            copy.assert_consistent();
            if !is_manifest(&item.name) && names.len() % (1 + names.len() / 32) == 0 {
                copy.assert_verifies();
            }
            names.push(item.name.clone());
            archiver.note(&item).unwrap();
        }
    }
}

fn archived(place: &Place) -> Vec<bool> {
    let rows = files(std::slice::from_ref(&place.chain)).unwrap();
    let closed = rows.iter().filter(|row| row.sha256.is_some());
    closed.map(|row| row.archived_at.is_some()).collect()
}

#[test]
fn everything_comes_once_in_order_and_the_copy_verifies() {
    let place = Place::new();
    fill(&place, 0..3);
    let copy = Copy::of(&place);
    assert!(archived(&place).iter().all(|is| !is));
    let names = archive_all(&place, &copy, Compression::None);
    let place_of = |part: &str| names.iter().position(|name| name.contains(part)).unwrap();
    assert_eq!(names[0], "shop/restore.sh");
    assert!(place_of("chain.json") < place_of("incremental/"));
    assert!(names.iter().rposition(|name| name.contains("incremental/")) < Some(place_of("base/")));
    for directory in ["base/0000000000100001", "globals/0000000000100002"] {
        let of_it: Vec<_> = names
            .iter()
            .filter(|name| name.contains(directory))
            .collect();
        assert!(
            of_it.last().unwrap().ends_with("/metadata.json"),
            "{of_it:?}"
        );
        assert!(of_it[of_it.len() - 2].ends_with("/SHA256SUMS"), "{of_it:?}");
    }
    let unique: HashSet<_> = names
        .iter()
        .filter(|name| !name.ends_with("manifest.jsonl"))
        .collect();
    let manifests = names
        .iter()
        .filter(|name| name.ends_with("manifest.jsonl"))
        .count();
    assert_eq!(unique.len() + manifests, names.len());
    assert_eq!(manifests, 4, "after the stream, and after each base");
    assert_eq!(names.last().unwrap(), "shop/chain-1/manifest.jsonl");
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
    assert!(archived(&place).iter().filter(|is| **is).count() == 9);
    assert_eq!(
        archive_all(&place, &copy, Compression::None),
        [] as [String; 0]
    );
    // One more file: it, and the manifest.
    fill(&place, 3..4);
    let names = archive_all(&place, &copy, Compression::None);
    assert_eq!(names.len(), 1 + 4 + 1 + 3 + 1, "{names:?}");
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn with_compression_on_plain_segments_wait_for_it() {
    let place = Place::new();
    fill(&place, 0..2);
    let copy = Copy::of(&place);
    let how = Compression::Zstd(3);
    let mut archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let mut failed = HashSet::new();
    loop {
        let look = archiver.look(how, &failed).unwrap();
        let Some(item) = look.next else {
            assert!(look.must_compress && look.lag.files > 2);
            break;
        };
        assert!(!item.name.contains("incremental"), "{}", item.name);
        archiver.prepare(&item).unwrap();
        copy.take(&item.path, &item.name);
        archiver.note(&item).unwrap();
    }
    // One that could not be compressed comes as it is, and those behind it wait.
    failed.insert((1, place.chain.segments().unwrap()[0].0));
    let look = archiver.look(how, &failed).unwrap();
    assert!(look.next.unwrap().name.ends_with(".sql"));
    assert!(!look
        .following
        .iter()
        .any(|f| f.name.contains("incremental")));
    drop(archiver);
    unlocked(|| compress(&place.database, how, &mut || {})).unwrap();
    let names = archive_all(&place, &copy, how);
    let segments = names.iter().filter(|name| name.contains("incremental/"));
    assert!(segments.clone().count() == 2 && segments.into_iter().all(|n| n.ends_with(".sql.zst")));
}

#[test]
fn a_segment_that_was_archived_plain_does_not_come_again_compressed() {
    let place = Place::new();
    fill(&place, 0..2);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let how = Compression::Gzip(6);
    unlocked(|| compress(&place.database, how, &mut || {})).unwrap();
    let names = archive_all(&place, &copy, how);
    assert_eq!(names, [] as [String; 0]);
    assert!(archived(&place).iter().all(|is| *is));
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
}

#[test]
fn nothing_goes_that_was_not_archived_and_what_went_stays_in_the_copy() {
    let place = Place::new();
    fill(&place, 0..20);
    let now = at(19 * DAY + 60);
    let expire = || expiry::expire(&place.database, &RULES, now, &mut || {}).unwrap();
    let rows = expire();
    assert!(rows.iter().all(|row| !row.expires), "{rows:#?}");
    assert!(rows.iter().any(|row| row.why.contains("archive_command")));
    assert_eq!(place.chain.bases().unwrap().len(), 20);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let gone = expire().iter().filter(|row| row.expires).count();
    assert!(gone > 20, "{gone}");
    assert_eq!(place.chain.bases().unwrap().len(), 8);
    assert_eq!(verify(&place.database, &mut || {}).unwrap(), []);
    // A later manifest says nothing of that.
    fill(&place, 20..21);
    archive_all(&place, &copy, Compression::None);
    let text = fs::read_to_string(copy.0.join("shop/chain-1/manifest.jsonl")).unwrap();
    assert!(!text.contains("expired_at"));
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
    assert_eq!(
        copy.database().chains().unwrap()[0].bases().unwrap().len(),
        21
    );
    // What the manifest here has forgotten does not come again.
    let lines = || manifest::read(&place.chain).unwrap().entries.len();
    let before = lines();
    expiry::expire(
        &place.database,
        &RULES,
        now + TimeDelta::days(3),
        &mut || {},
    )
    .unwrap();
    assert!(lines() < before);
    assert_eq!(archive_all(&place, &copy, Compression::None).len(), 1);
}

/// What a rotation ships stays as small as it is, however many segments there are; and a copy that comes back as an
/// archive has one manifest again.
#[test]
fn the_manifest_of_a_copy_comes_in_parts() {
    let place = Place::new();
    let copy = Copy::of(&place);
    let mut appender = place.append();
    take_base(&place.chain, Lsn(0x2000), 1, at(0));
    let mut n = 0;
    let mut segments = |count: usize| {
        for _ in 0..count {
            n += 1;
            insert(&mut appender, n, 0x10_0000 + n * 0x1000);
            appender.rotate(n + 1).unwrap().unwrap();
        }
    };
    let mut parts_here = 1;
    while parts_here < 4 {
        segments(50);
        parts_here = manifest::in_parts(&manifest::read(&place.chain).unwrap().entries).len();
    }
    let names = archive_all(&place, &copy, Compression::None);
    let parts = names.iter().filter(|name| is_manifest(name)).count();
    assert!(parts >= 4, "{parts}");
    segments(1);
    let names = archive_all(&place, &copy, Compression::None);
    assert!(names.len() <= 3, "{names:?}");
    let manifests = names.iter().filter(|name| is_manifest(name));
    let size = |name: &String| fs::metadata(copy.0.join(name)).unwrap().len();
    let shipped: u64 = manifests.map(size).sum();
    let whole = fs::metadata(place.chain.manifest()).unwrap().len();
    assert!(shipped < whole, "{shipped} of {whole}");

    let back = copy.database();
    assert_eq!(verify(&back, &mut || {}).unwrap(), []);
    let chain = &back.chains().unwrap()[0];
    let entries = |chain| manifest::read(chain).unwrap().entries;
    assert_eq!(entries(chain), entries(&place.chain));
    drop(manifest::lock(chain).unwrap());
    let left = archive::durable::names_in(&chain.path).unwrap();
    let left = left.iter().filter(|name| is_manifest(name)).count();
    assert_eq!(left, 1);
    assert_eq!(
        fs::read(chain.manifest()).unwrap(),
        fs::read(place.chain.manifest()).unwrap()
    );
}

/// What is no part any more, because lines before it were forgotten, says nothing twice.
#[test]
fn a_manifest_in_parts_expires_and_the_copy_still_verifies() {
    let place = Place::new();
    let copy = Copy::of(&place);
    let mut days = 0;
    loop {
        fill(&place, days..days + 50);
        days += 50;
        let entries = manifest::read(&place.chain).unwrap().entries;
        if days >= 100 && manifest::in_parts(&entries).len() > 1 {
            break;
        }
    }
    archive_all(&place, &copy, Compression::None);
    let parts = |chain: &archive::ChainDir| {
        let names = archive::durable::names_in(&chain.path).unwrap();
        names.iter().filter(|name| is_manifest(name)).count()
    };
    let copied = &copy.database().chains().unwrap()[0];
    assert!(parts(copied) > 1);
    for day in [days + 10, days + 11, days + 50] {
        fill(&place, day..day + 1);
        archive_all(&place, &copy, Compression::None);
        expiry::expire(
            &place.database,
            &RULES,
            at(day as i64 * DAY + 60),
            &mut || {},
        )
        .unwrap();
    }
    archive_all(&place, &copy, Compression::None);
    let here = manifest::read(&place.chain).unwrap().entries.len();
    assert!(here < 100, "{here}");
    // The files are still there, and only those are lines about.
    let strictly = manifest::read_strictly::<Error>(copied, &mut || Ok(())).unwrap();
    assert_eq!(strictly.damaged, []);
    assert_eq!(strictly.entries.len(), here);
    drop(manifest::lock(copied).unwrap());
    assert_eq!(parts(copied), 1);
    assert_eq!(manifest::read(copied).unwrap().entries.len(), here);
}

#[test]
fn what_went_before_anybody_copied_is_told_by_the_copy() {
    let place = Place::new();
    fill(&place, 0..20);
    let rules = Rules {
        archived_only: false,
        ..RULES
    };
    expiry::expire(&place.database, &rules, at(19 * DAY + 60), &mut || {}).unwrap();
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
    // What retention removes later it has forgotten after a while, of sets and bases also what is between others.
    let rules = Rules {
        keep_monthly: 2,
        ..RULES
    };
    for day in [20, 29, 38, 47, 56, 65] {
        fill(&place, day..day + 9);
        archive_all(&place, &copy, Compression::None);
        let now = at((day as i64 + 8) * DAY + 60);
        expiry::expire(&place.database, &rules, now, &mut || {}).unwrap();
        archive_all(&place, &copy, Compression::None);
    }
    let listed = manifest::read(&copy.database().chains().unwrap()[0]).unwrap();
    let listed: HashSet<String> = listed.entries.into_iter().map(|it| it.file).collect();
    let problems = verify(&copy.database(), &mut || {}).unwrap();
    let unlisted = |room: &str| {
        let files = problems
            .iter()
            .filter_map(|it| it.file.strip_prefix("chain-1/"));
        let files = files.filter(|file| file.starts_with(room) && !listed.contains(*file));
        files.count()
    };
    assert!(unlisted("globals") > 5 && unlisted("base") > 5 && unlisted("incremental") > 5);
}

#[test]
fn an_ended_chain_is_archived_to_its_last_transaction_before_it_goes() {
    let mut place = Place::new();
    fill(&place, 0..3);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let mut appender = place.chain.open_for_append(identity(1000), Lsn(0)).unwrap();
    insert(&mut appender, 1000, 0x50_0000);
    appender.sync().unwrap();
    drop(appender);
    place.chain.end_here("for a test").unwrap();
    let second = place
        .database
        .create_chain(NewChain {
            slot_start_lsn: Lsn(0x200_0000),
            ..new_chain(DATABASE_OID)
        })
        .unwrap();
    take_base(&second, Lsn(0x200_0001), 2000, at(30 * DAY));
    take_base(&second, Lsn(0x200_0002), 2000, at(40 * DAY));
    let mut appender = second.open_for_append(identity(2000), Lsn(0)).unwrap();
    insert(&mut appender, 2001, 0x200_1000);
    appender.rotate(2002).unwrap().unwrap();
    drop(appender);
    expiry::expire(&place.database, &RULES, at(100 * DAY), &mut || {}).unwrap();
    assert!(place.chain.path.exists());
    let names = archive_all(&place, &copy, Compression::None);
    assert!(names[0].ends_with("chain-2/chain.json"), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with(".sql.partial")));
    let copied = &copy.database().chains().unwrap()[0];
    assert_eq!(copied.info.ended, place.chain.info.ended);
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
    expiry::expire(&place.database, &RULES, at(100 * DAY), &mut || {}).unwrap();
    assert!(!place.chain.path.exists());
}

#[test]
fn a_torn_note_was_never_there_and_a_damaged_one_keeps_everything() {
    let place = Place::new();
    fill(&place, 0..20);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let path = place.database.path().join(ARCHIVED_JSONL);
    let sound = fs::read_to_string(&path).unwrap();
    fs::write(&path, sound.trim_end_matches(['\n', '}'])).unwrap();
    let names = archive_all(&place, &copy, Compression::None);
    assert_eq!(names, ["shop/chain-1/manifest.jsonl"]);
    let damaged = sound.replacen("\"sha256\"", "\"sha265\"", 1);
    fs::write(&path, damaged).unwrap();
    assert!(matches!(
        unlocked(|| Archiver::open(&place.database)),
        Err(Error::Damaged { .. })
    ));
    expiry::expire(&place.database, &RULES, at(19 * DAY + 60), &mut || {}).unwrap_err();
    let problems = verify(&place.database, &mut || {}).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, ARCHIVED_JSONL);
    assert_eq!(place.chain.bases().unwrap().len(), 20);
    fs::write(&path, sound).unwrap();
    let archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    assert!(matches!(
        Archiver::open(&place.database),
        Err(Error::Locked { .. })
    ));
    drop(archiver);
}

#[test]
fn a_renamed_database_is_archived_anew_under_its_new_name() {
    let place = Place::new();
    fill(&place, 0..2);
    let copy = Copy::of(&place);
    let all = archive_all(&place, &copy, Compression::None).len();
    let renamed = place.path().join("archive/mall");
    fs::rename(place.database.path(), &renamed).unwrap();
    let renamed = DatabaseDir::at(&renamed).unwrap();
    let archiver = unlocked(|| Archiver::open(&renamed)).unwrap();
    let look = archiver.look(Compression::None, &HashSet::new()).unwrap();
    assert!(
        look.lag.files as usize >= all - 3,
        "{:?} of {all}",
        look.lag
    );
    assert!(look.next.unwrap().name.starts_with("mall/"));
}

#[test]
fn a_file_that_somebody_removed_is_told_and_holds_nobody_up() {
    let place = Place::new();
    fill(&place, 0..2);
    let (name, stored) = place.chain.segments().unwrap()[0];
    fs::remove_file(place.chain.segment_path(name, stored)).unwrap();
    let archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let look = archiver.look(Compression::None, &HashSet::new()).unwrap();
    assert_eq!(look.missing.len(), 1);
    assert!(look.next.is_some());
}

#[test]
fn notes_of_what_is_gone_are_forgotten_when_there_are_many() {
    let place = Place::new();
    fill(&place, 0..2);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let path = place.database.path().join(ARCHIVED_JSONL);
    let mut text = fs::read_to_string(&path).unwrap();
    let line = text
        .lines()
        .next()
        .unwrap()
        .replace("restore.sh", "chain-9/chain.json");
    for _ in 0..3000 {
        text.push_str(&line);
        text.push('\n');
    }
    fs::write(&path, text).unwrap();
    assert_eq!(
        archive_all(&place, &copy, Compression::None),
        [] as [String; 0]
    );
    let left = fs::read_to_string(&path).unwrap();
    assert!(left.lines().count() < 30, "{left}");
    let notes = Notes::read(&place.database).unwrap();
    for entry in manifest::read(&place.chain).unwrap().entries {
        let last = match entry.kind {
            Kind::Incremental => entry.file,
            _ => format!("{}/metadata.json", entry.file),
        };
        assert!(
            notes.of(&format!("shop/chain-1/{last}")).is_some(),
            "{last}"
        );
    }
}

#[test]
fn from_its_first_base_on_every_state_of_the_copy_can_be_restored() {
    let place = Place::new();
    fill(&place, 0..3);
    unlocked(|| compress(&place.database, Compression::Gzip(1), &mut || {})).unwrap();
    let copy = Copy::of(&place);
    let mut archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let (mut is_usable, mut states) = (false, 0);
    while let Some(item) = archiver
        .look(Compression::Gzip(1), &HashSet::new())
        .unwrap()
        .next
    {
        archiver.prepare(&item).unwrap();
        copy.take(&item.path, &item.name);
        archiver.note(&item).unwrap();
        is_usable |= item.name.contains("/base/") && item.name.ends_with("/metadata.json");
        let script = copy.0.join("shop/restore.sh");
        let run = Command::new("sh").arg(script).arg("--dry-run").output();
        let run = run.unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.success(), is_usable, "{}: {said}", item.name);
        assert!(is_usable || said.contains("base"), "{said}");
        states += 1;
    }
    assert!(states > 25, "{states}");
}

/// The state of the files, once the last change lies far enough back.
fn state(place: &Place) -> u64 {
    for _ in 0..1000 {
        if let Some(state) = archiving::state(&place.database).unwrap() {
            return state;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never settles");
}

#[test]
fn whatever_happens_to_the_files_gives_them_another_state() {
    let place = Place::new();
    fill(&place, 1..4);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let manifest = fs::File::options()
        .append(true)
        .open(place.chain.manifest());
    manifest
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    assert_eq!(archiving::state(&place.database).unwrap(), None, "just now");
    let mut before = state(&place);
    assert_eq!(state(&place), before, "nothing has happened");
    // Looking for work leaves no trace.
    let archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let look = archiver.look(Compression::None, &HashSet::new()).unwrap();
    assert!(look.next.is_none());
    drop(archiver);
    unlocked(|| compress(&place.database, Compression::None, &mut || {})).unwrap();
    assert_eq!(state(&place), before, "nobody has changed anything");

    let base = place.chain.bases().unwrap()[0];
    let chain = &place.chain;
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a closed segment", &|| {
            let mut appender = chain.open_for_append(identity(900), Lsn(0)).unwrap();
            insert(&mut appender, 901, 0x90_0000);
            appender.rotate(902).unwrap().unwrap();
        }),
        ("a base", &|| {
            take_base(chain, Lsn(0x91_0000), 902, at(9 * DAY));
        }),
        ("a set of globals", &|| {
            drop(write_set(chain, Lsn(0x92_0000), at(9 * DAY), "", ""))
        }),
        ("a pin", &|| {
            expiry::pin(
                &place.database,
                &base.to_string(),
                None,
                "",
                at(0),
                &mut || {},
            )
            .unwrap();
        }),
        ("a segment is gone", &|| {
            fs::remove_file(&place.segments()[0]).unwrap()
        }),
        ("another chain", &|| {
            drop(
                place
                    .database
                    .create_chain(new_chain(DATABASE_OID))
                    .unwrap(),
            )
        }),
    ];
    for (what, change) in changes {
        change();
        let now = state(&place);
        assert_ne!(now, before, "{what}");
        before = now;
    }
}

/// A promoted server of the next timeline takes a directory without an owner over.
fn go_on_from(place: &Place, timeline: u32) -> Hold {
    let server = Server {
        identity: Identity {
            system_identifier: SYSTEM,
            timeline: timeline + 1,
            host: "b".into(),
            data_directory: "/var/lib/postgresql/15/main".into(),
        },
        start: "1".into(),
    };
    let claim = Claim {
        to: To::GoOnFrom(timeline),
        has_slot: true,
    };
    claim::hold(&place.database, DATABASE_OID, &server, claim).unwrap()
}

/// A copy of the copy, where nobody has written yet.
fn next_node(copy: &Copy) -> Place {
    let next = Place::new();
    fs::remove_dir_all(next.database.path()).unwrap();
    let paths = [copy.database(), next.database.clone()].map(|d| d.path().to_owned());
    let copied = Command::new("cp").arg("-a").args(paths).status().unwrap();
    assert!(copied.success());
    next
}

/// What was put from where its manifest lists it no longer: retention's lines go, the copy's files stay.
#[test]
fn a_copy_that_is_taken_over_has_what_its_manifest_lists_and_nothing_is_put_again() {
    let place = Place::new();
    fill(&place, 0..6);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    let next = next_node(&copy);
    let chain = next.database.latest_chain().unwrap().unwrap();
    let before = manifest::read(&chain).unwrap().entries;
    // Of each kind the first two.
    let left: Vec<_> = before[6..].to_vec();
    let lines = left
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap() + "\n");
    fs::write(chain.manifest(), lines.collect::<String>()).unwrap();
    // One that was not put to its end, and what a former switch set apart.
    fs::create_dir(chain.base().join("00000000001FFFFF-20261120T020000Z")).unwrap();
    fs::create_dir(chain.path.join("lost-1")).unwrap();
    let _hold = go_on_from(&next, 1);
    let files = |chain: &archive::ChainDir| {
        let count = chain.segments().unwrap().len();
        (
            count,
            chain.bases().unwrap().len(),
            chain.globals_sets().unwrap().len(),
        )
    };
    let of = |kind| left.iter().filter(|entry| entry.kind == kind).count();
    // The first segment follows one that no line tells of: it had expired where the copy comes from.
    let expected = (of(Kind::Incremental) - 1, of(Kind::Base), of(Kind::Globals));
    assert_eq!(files(&chain), expected);
    assert!(
        expected.0 > 0 && expected.1 > 0 && expected.2 > 0,
        "{expected:?}"
    );
    drop(unlocked(|| chain.open_for_append(promoted(0x90_0000), Lsn(0))).unwrap());
    let entries = manifest::read(&chain).unwrap().entries;
    let expired = entries.iter().filter(|entry| entry.expired_at.is_some());
    let expired: Vec<&str> = expired.map(|entry| entry.file.as_str()).collect();
    let first = left
        .iter()
        .find(|entry| entry.kind == Kind::Incremental)
        .unwrap();
    assert_eq!(expired, [first.file.as_str()]);
    let unmarked = entries.into_iter().map(|entry| Entry {
        expired_at: None,
        ..entry
    });
    assert_eq!(unmarked.collect::<Vec<_>>(), left);
    next.database.ensure_restore_files().unwrap();
    assert_eq!(verify(&next.database, &mut || {}).unwrap(), []);
    let mut archiver = unlocked(|| Archiver::open(&next.database)).unwrap();
    let mut put = Vec::new();
    while let Some(item) = archiver
        .look(Compression::None, &HashSet::new())
        .unwrap()
        .next
    {
        archiver.note(&item).unwrap();
        put.push(item.name);
    }
    assert_eq!(put, ["shop/restore.sh", "shop/README.txt"]);
}

/// Versions before 0.4.0 wrote of an uncompressed segment what it was when it was compressed in the archive later.
#[test]
fn a_line_of_another_form_than_the_copy_has_is_mended() {
    let place = Place::new();
    fill(&place, 0..2);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    unlocked(|| compress(&place.database, Compression::Gzip(6), &mut || {})).unwrap();
    let manifest = copy.0.join("shop/chain-1/manifest.jsonl");
    let lines = manifest::without_repeats(manifest::read(&place.chain).unwrap().entries);
    let lines = lines
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap() + "\n");
    fs::write(manifest, lines.collect::<String>()).unwrap();
    let damaged = verify(&copy.database(), &mut || {}).unwrap();
    assert_eq!(damaged.len(), 2, "{damaged:?}");
    let next = next_node(&copy);
    let _hold = go_on_from(&next, 1);
    assert_eq!(verify(&next.database, &mut || {}).unwrap(), []);
    let mut archiver = unlocked(|| Archiver::open(&next.database)).unwrap();
    let look = |archiver: &mut Archiver| archiver.look(Compression::None, &HashSet::new());
    while let Some(item) = look(&mut archiver).unwrap().next {
        archiver.prepare(&item).unwrap();
        copy.take(&item.path, &item.name);
        archiver.note(&item).unwrap();
    }
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
}

/// Both begin at the same LSN: a copy that has both and does not know which one counts is none.
#[test]
fn what_is_replaced_is_marked_in_the_copy_before_its_replacement_comes() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.rotate(11).unwrap();
    insert(&mut appender, 11, 0x2100);
    appender.position(Lsn(0x2300), at(1)).unwrap();
    appender.rotate(12).unwrap();
    drop(appender);
    let copy = Copy::of(&place);
    archive_all(&place, &copy, Compression::None);
    // Where the next server goes on: a copy of the copy, with no more than it has.
    let next = next_node(&copy);
    // It has no base yet: as the recipe of docs/availability.md.
    for database in [&copy.database(), &next.database] {
        fs::create_dir(database.path().join("chain-1/base")).unwrap();
    }
    // The server before it did not come to put the manifest once more.
    let manifest = next.database.path().join("chain-1/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&manifest, lines[..1].concat()).unwrap();
    let _hold = go_on_from(&next, 1);
    let chain = next.database.latest_chain().unwrap().unwrap();
    let opened = unlocked(|| chain.open_for_append(promoted(0x2200), Lsn(0)));
    let mut appender = opened.unwrap();
    insert(&mut appender, 12, 0x2250);
    appender.rotate(13).unwrap();
    let mut archiver = unlocked(|| Archiver::open(&next.database)).unwrap();
    let mut names = Vec::new();
    let reach = loop {
        let look = archiver.look(Compression::None, &HashSet::new()).unwrap();
        let Some(item) = look.next else {
            break look.reach;
        };
        for item in std::iter::once(item).chain(look.following) {
            archiver.prepare(&item).unwrap();
            copy.take(&item.path, &item.name);
            names.push(item.name.clone());
            archiver.note(&item).unwrap();
            let chain = copy.database().latest_chain().unwrap().unwrap();
            let entries = manifest::read(&chain).unwrap().entries;
            let gone: HashSet<String> = entries
                .into_iter()
                .filter(|e| e.is_gone())
                .map(|e| e.file)
                .collect();
            let mut segments = chain.segments().unwrap();
            segments.retain(|(name, _)| !gone.contains(&Entry::segment_file(*name)));
            let begins: HashSet<Lsn> = segments.iter().map(|(name, _)| name.start_lsn).collect();
            assert_eq!(begins.len(), segments.len(), "after {names:?}");
        }
    };
    let of_segments = names.iter().filter(|name| name.contains("/incremental/"));
    assert_eq!(of_segments.count(), 2, "{names:?}");
    assert_eq!(reach.map(|reach| reach.lsn), Some(Lsn(0x2250)));
    assert_eq!(verify(&copy.database(), &mut || {}).unwrap(), []);
}

/// What capture may confirm that waits for the copies.
#[test]
fn the_copy_reaches_what_its_manifest_lists_without_a_gap() {
    let place = Place::new();
    let begin = place.chain.info.slot_start_lsn;
    let mut appender = place.append();
    let mut archiver = unlocked(|| Archiver::open(&place.database)).unwrap();
    let none = HashSet::new();
    let mut reached = vec![begin];
    for n in 0..3 {
        insert(&mut appender, 10 + n, 0x2000 + n * 0x100);
        appender.rotate(11 + n).unwrap();
        loop {
            let look = archiver.look(Compression::None, &none).unwrap();
            reached.extend(look.reach.map(|reach| reach.lsn));
            let Some(item) = look.next else { break };
            for item in std::iter::once(item).chain(look.following) {
                archiver.prepare(&item).unwrap();
                if item.name.contains("/incremental/") {
                    assert_eq!(item.reach, None);
                }
                archiver.note(&item).unwrap();
                reached.extend(item.reach.map(|reach| reach.lsn));
            }
        }
        assert_eq!(reached.last(), Some(&Lsn(0x2000 + n * 0x100)));
    }
    assert!(reached.is_sorted(), "{reached:?}");
}
