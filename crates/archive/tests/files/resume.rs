//! After a crash at any byte the chain goes on: nothing complete is lost, nothing is there twice.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::support::{at, effects, identity, insert, one_of_each, Place, SLOT_START};
use archive::layout::Stored;
use archive::manifest;
use archive::segment::{DdlBlock, EffectNote, SegmentIdentity, Summary};
use archive::{Error, Lsn};

fn summary_of(bytes: &[u8]) -> Summary {
    Summary::of(bytes).unwrap()
}

/// Resumes after `bytes` were left of the open segment, checks, goes on and checks again.
fn resume_from(place: &Place, path: &Path, bytes: &[u8], whole: &[u8]) {
    for (name, stored) in place.chain.segments().unwrap() {
        fs::remove_file(place.chain.segment_path(name, stored)).unwrap();
    }
    let _ = fs::remove_file(place.chain.manifest());
    fs::write(path, bytes).unwrap();

    let expected = summary_of(bytes);
    let last = expected.tally.end_lsn.max(SLOT_START);
    assert_eq!(place.chain.last_lsn().unwrap(), last);
    let mut appender = place.append();
    assert_eq!(appender.last_lsn(), last);
    assert_eq!(appender.durable_lsn(), last);
    if expected.complete > 0 && expected.footer.is_none() {
        let kept = fs::read(path).unwrap();
        assert_eq!(kept, &whole[..expected.complete as usize], "cut exactly");
    }
    insert(&mut appender, 999, 0x9000);
    let closed = appender.rotate(1000).unwrap().unwrap();
    assert_eq!(closed.entry.end_lsn, Lsn(0x9000));
    let reread = fs::read(&closed.path).unwrap();
    assert_eq!(
        archive::checksum::of_reader(&reread[..]).unwrap().sha256,
        closed.entry.sha256
    );
    let summary = summary_of(&reread);
    assert_eq!((summary.torn, summary.contradiction), (None, None));
    let kept = if expected.footer.is_some() {
        0
    } else {
        expected.tally.transactions
    };
    assert_eq!(summary.tally.transactions, kept + 1);
    drop(appender);
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

/// A closed segment's bytes and the path that it had while it was open.
fn whole_segment(place: &Place) -> (Vec<u8>, std::path::PathBuf) {
    whole_segment_of(place, 2)
}

/// The same of what a format has, but for the first line.
fn whole_segment_of(place: &Place, format: u32) -> (Vec<u8>, std::path::PathBuf) {
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    if format > 1 {
        effects(&mut appender, 0);
    }
    let path = appender.current_file();
    let closed = appender.rotate(14).unwrap().unwrap();
    (fs::read(closed.path).unwrap(), path)
}

#[test]
fn a_segment_cut_at_any_byte_resumes() {
    let place = Place::new();
    let (whole, path) = whole_segment(&place);
    for length in 0..=whole.len() {
        resume_from(&place, &path, &whole[..length], &whole);
    }
}

#[test]
fn zeros_behind_any_byte_are_cut() {
    let place = Place::new();
    let (whole, path) = whole_segment(&place);
    for length in (0..whole.len()).step_by(7) {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len() + 4096, 0);
        resume_from(&place, &path, &bytes, &whole);
    }
}

#[test]
fn a_lost_page_in_the_middle_of_a_long_line_is_seen() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.begin(11, Lsn(0x2100), at(0)).unwrap();
    let text = format!("INSERT INTO a VALUES ('{}');", "x".repeat(20_000));
    appender.statement(text.as_bytes()).unwrap();
    appender.commit().unwrap();
    appender.sync().unwrap();
    let path = appender.current_file();
    drop(appender);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192..12288].fill(0);
    fs::write(&path, bytes).unwrap();
    let appender = place.append();
    assert_eq!(appender.last_lsn(), Lsn(0x2000));
    assert_eq!(appender.torn_tail().unwrap().why, "a NUL byte");
}

#[test]
fn a_clean_stop_goes_on_in_the_same_file() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    let path = appender.current_file();
    drop(appender);
    let mut appender = place.append();
    assert_eq!(
        (appender.current_file(), appender.torn_tail()),
        (path, None)
    );
    insert(&mut appender, 11, 0x2100);
    let closed = appender.rotate(12).unwrap().unwrap();
    assert_eq!(closed.entry.transactions, 2);
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn what_was_not_synced_is_gone_or_whole() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    insert(&mut appender, 11, 0x2100);
    appender.begin(12, Lsn(0x2200), at(0)).unwrap();
    appender.statement(b"INSERT INTO a VALUES (1);").unwrap();
    drop(appender);
    assert_eq!(place.append().last_lsn(), Lsn(0x2000));
}

#[test]
fn a_crash_between_footer_and_manifest_is_finished() {
    let place = Place::new();
    let (whole, path) = whole_segment_of(&place, 1);
    let entry = manifest::read(&place.chain).unwrap().entries.remove(0);
    // Before the rename, with the next segment not there yet.
    for (name, stored) in place.chain.segments().unwrap() {
        fs::remove_file(place.chain.segment_path(name, stored)).unwrap();
    }
    fs::write(&path, &whole).unwrap();
    fs::remove_file(place.chain.manifest()).unwrap();
    assert_eq!(place.append().last_lsn(), Lsn(0x2500));
    assert_eq!(
        manifest::read(&place.chain).unwrap().entries,
        std::slice::from_ref(&entry)
    );
    // After the rename.
    fs::remove_file(place.chain.manifest()).unwrap();
    place.append();
    assert_eq!(manifest::read(&place.chain).unwrap().entries, [entry]);
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn a_torn_manifest_line_is_cut_and_written_again() {
    let place = Place::new();
    let (_, _) = whole_segment(&place);
    let whole = fs::read(place.chain.manifest()).unwrap();
    for length in 0..whole.len() {
        fs::write(place.chain.manifest(), &whole[..length]).unwrap();
        place.append();
        assert_eq!(fs::read(place.chain.manifest()).unwrap(), whole);
    }
}

#[test]
fn the_manifest_can_be_rebuilt() {
    let place = Place::new();
    let mut appender = place.append();
    for number in 1..5 {
        insert(&mut appender, number, 0x2000 + number);
        appender.rotate(number + 1).unwrap().unwrap();
    }
    let before = fs::read(place.chain.manifest()).unwrap();
    fs::write(place.chain.manifest(), "garbage\n").unwrap();
    assert!(!archive::verify(&place.database, &mut || {})
        .unwrap()
        .is_empty());
    assert_eq!(crate::support::rebuild_manifest(&place.chain).len(), 4);
    assert_eq!(fs::read(place.chain.manifest()).unwrap(), before);
}

#[test]
fn a_segment_of_another_server_is_closed_first() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    drop(appender);
    let upgraded = SegmentIdentity {
        server_version: 150019,
        ..identity(11)
    };
    let appender = place.chain.open_for_append(upgraded, Lsn(0)).unwrap();
    assert_eq!(manifest::read(&place.chain).unwrap().entries.len(), 1);
    assert_eq!(
        (appender.last_lsn(), appender.is_empty()),
        (Lsn(0x2000), true)
    );
}

#[test]
fn what_no_crash_explains_is_refused_and_left_alone() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.rotate(11).unwrap().unwrap();
    insert(&mut appender, 11, 0x2100);
    appender.sync().unwrap();
    let path = appender.current_file();
    drop(appender);
    let good = fs::read_to_string(&path).unwrap();
    let refused = |content: String| {
        fs::write(&path, &content).unwrap();
        let result = place.chain.open_for_append(identity(12), Lsn(0));
        assert!(matches!(result, Err(Error::Damaged { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    };
    refused(good.replace("commit_lsn=0/2100", "commit_lsn=0/1F00"));
    refused(good.replace("start_lsn=0/2000", "start_lsn=0/1FFF"));
    refused(good.replace("chain=1", "chain=2"));
    refused(good.replace("previous_sha256=", "previous_sha256=0"));
    fs::write(&path, &good).unwrap();
    place.append();
}

#[test]
fn an_ended_chain_takes_nothing_more() {
    let place = Place::new();
    let mut chain = place.chain.clone();
    chain.end("the slot was lost", Lsn(0x1000)).unwrap();
    chain.end("another reason", Lsn(0x1001)).unwrap();
    let again = place.database.latest_chain().unwrap().unwrap();
    assert_eq!(
        again.info.ended.as_ref().unwrap().reason,
        "the slot was lost"
    );
    assert!(matches!(
        again.open_for_append(identity(1), Lsn(0)),
        Err(Error::Refused { .. })
    ));
}

#[test]
fn a_full_disk_poisons_until_the_chain_is_opened_again() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    // Nothing can be renamed onto an existing name: the failure that is easiest to make.
    let (name, _) = place.last_segment();
    let taken = place.chain.segment_path(name, Stored::Plain);
    fs::write(&taken, "").unwrap();
    assert!(matches!(appender.rotate(11), Err(Error::Io { .. })));
    appender.begin(11, Lsn(0x2100), at(0)).unwrap();
    assert!(matches!(
        appender.statement(b"INSERT;"),
        Err(Error::Poisoned { .. })
    ));
    assert!(matches!(appender.sync(), Err(Error::Poisoned { .. })));
    drop(appender);
    fs::remove_file(taken).unwrap();
    assert_eq!(place.append().last_lsn(), Lsn(0x2000));
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn no_space_is_told_apart() {
    let full = || std::io::Error::from_raw_os_error(28);
    let error = Error::Io {
        action: "write",
        path: "/x".into(),
        source: full(),
    };
    assert!(error.is_no_space() && !error.is_permission_denied());
    assert!(error
        .to_string()
        .starts_with("could not write \"/x\": No space left on device"));
    // What the kernel's always-full device does to a real write.
    if let Ok(mut device) = OpenOptions::new().write(true).open("/dev/full") {
        let source = device.write_all(b"x").unwrap_err();
        assert!(Error::Io {
            action: "write",
            path: "/dev/full".into(),
            source
        }
        .is_no_space());
    }
}

/// The bytes as versions that knew no effects would have written them.
fn as_format_1(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.replacen("format=2\n", "format=1\n", 1).into_bytes()
}

/// Opens what an older version left, writes on in this one, and looks at every file.
fn assert_never_mixed(place: &Place, last: Lsn, transactions: u64) {
    let mut appender = place.append();
    assert_eq!((appender.last_lsn(), appender.durable_lsn()), (last, last));
    let effect = EffectNote {
        class: "table",
        oid: 16401,
        verb: "create",
        identity: b"public.t",
        needs: &[],
    };
    appender.begin(999, Lsn(0x9000), at(0)).unwrap();
    let block = DdlBlock::alone(b"CREATE TABLE public.t ()");
    appender.effect(&effect, &block).unwrap();
    appender.commit().unwrap();
    appender.sync().unwrap();
    drop(appender);
    let mut found = 0;
    for (name, stored) in place.chain.segments().unwrap() {
        let summary = place.chain.summarize(name, stored).unwrap();
        assert_eq!((summary.torn, summary.contradiction), (None, None));
        found += summary.tally.transactions;
        let format = summary.header.unwrap().format;
        let is_open = stored == Stored::Partial;
        assert_eq!(format, if is_open { 2 } else { 1 }, "{name:?}");
    }
    assert_eq!(found, transactions + 1);
    assert_eq!(archive::verify(&place.database, &mut || {}).unwrap(), []);
}

#[test]
fn an_open_segment_of_format_1_is_closed_wherever_it_ends() {
    let place = Place::new();
    let (whole, path) = whole_segment_of(&place, 1);
    let whole = as_format_1(&whole);
    for length in 0..=whole.len() {
        for (name, stored) in place.chain.segments().unwrap() {
            fs::remove_file(place.chain.segment_path(name, stored)).unwrap();
        }
        let _ = fs::remove_file(place.chain.manifest());
        fs::write(&path, &whole[..length]).unwrap();
        let expected = summary_of(&whole[..length]).tally;
        let last = expected.end_lsn.max(SLOT_START);
        assert_never_mixed(&place, last, expected.transactions);
    }
}

#[test]
fn positions_and_sequences_of_format_1_stay_and_no_empty_segment_is_closed() {
    let place = Place::new();
    let mut appender = place.append();
    let path = appender.current_file();
    let setval = b"SELECT pg_catalog.setval('public.s', 65, true);".to_vec();
    appender.sequences(SLOT_START, at(1), &[setval]).unwrap();
    appender.sync().unwrap();
    drop(appender);
    let sequences = fs::read(&path).unwrap();
    let mut appender = place.append();
    appender.position(Lsn(0x1500), at(2)).unwrap();
    appender.sync().unwrap();
    drop(appender);
    let positions = fs::read(&path).unwrap();
    for (bytes, last) in [(sequences, SLOT_START), (positions, Lsn(0x1500))] {
        fs::write(&path, as_format_1(&bytes)).unwrap();
        assert_never_mixed(&place, last, 0);
        let text = fs::read(&path).unwrap();
        assert!(text.starts_with(&bytes), "all of it is there");
    }
}

/// A newer version's files are not ours to cut.
#[test]
fn an_open_segment_of_an_unknown_format_is_kept_aside() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    appender.sync().unwrap();
    let path = appender.current_file();
    drop(appender);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("format=2\n", "format=3\n", 1)).unwrap();
    let opened = place.chain.open_for_append(identity(1000), Lsn(0x2000));
    let error = opened.err().unwrap();
    assert!(matches!(error, Error::KeptAside { .. }), "{error}");
    let why = "\"-- pg_incrbackup segment format=2\" expected";
    assert!(error.to_string().contains(why), "{error}");
}

/// With `confirm = archived`, closed segments are not confirmed for long: a server that was set back must not pass for one
/// that has their transactions.
#[test]
fn the_last_commit_of_what_is_closed_and_not_confirmed_is_known() {
    let place = Place::new();
    let mut appender = place.append();
    insert(&mut appender, 10, 0x2000);
    insert(&mut appender, 11, 0x2100);
    appender.rotate(12).unwrap().unwrap();
    drop(appender);
    let last = |confirmed| {
        let opened = crate::support::unlocked(|| {
            let confirmed = Lsn(confirmed);
            place.chain.open_for_append(identity(12), confirmed)
        });
        opened.unwrap().last_commit_lsn()
    };
    assert_eq!(last(0x2080), Some(Lsn(0x2100)));
    assert_eq!(last(0x2100), None);
    let mut appender = place.append();
    insert(&mut appender, 12, 0x2200);
    appender.sync().unwrap();
    drop(appender);
    assert_eq!(last(0x2080), Some(Lsn(0x2200)), "the open one's is later");
}
