//! What restore.sh makes of an archive that retention has been at, and of one that it was stopped in.

use std::fs;
use std::process::{Command, Stdio};

use archive::expiry;
use archive::retention::Rules;
use archive::{manifest, verify, Error, Lsn};
use chrono::TimeDelta;

use crate::source::{Source, Statement, TABLE};

const RULES: Rules = Rules {
    keep_incremental: Some(TimeDelta::days(3)),
    keep_base: Some(TimeDelta::days(30)),
    keep_monthly: 0,
    archived_only: false,
};

/// Ten days: on each a base, a row in a segment that is closed, and what the LSN of that was.
fn ten_days() -> (Source, Vec<Lsn>) {
    let mut source = Source::new(TABLE);
    let mut lsns = Vec::new();
    for day in 0..10u64 {
        source.day = day as i64;
        let xid = 1000 + day;
        source.base(&format!("{xid}:{xid}:"));
        let row = format!("INSERT INTO public.a (id) VALUES ({xid});");
        lsns.push(source.transaction(xid, &[Statement(&row)]));
        source.rotate(xid + 1);
    }
    (source, lsns)
}

fn expire(source: &Source) -> Result<(), Error> {
    let now = source.at(3600);
    expiry::expire(&source.place.database, &RULES, now, &mut || {}).map(|_| ())
}

fn base(source: &Source, day: usize) -> String {
    source.place.chain.bases().unwrap()[day].to_string()
}

fn rows(source: &Source, database: &str) -> String {
    let sql = "SELECT count(*) || ' up to ' || max(id) FROM public.a";
    let found = source.cluster.psql(database, sql);
    found.trim().to_owned()
}

/// Everything of the last three days is there to the transaction; older bases by themselves; and what is
/// gone is said to be gone, with what is left.
fn assert_restores(source: &Source, lsns: &[Lsn]) {
    assert_eq!(verify(&source.place.database, &mut || {}).unwrap(), []);
    let latest = source.restore(&[]);
    source.assert_same(&latest);
    for (day, lsn) in lsns.iter().enumerate().skip(6) {
        let point = lsn.to_string();
        let restored = source.restore(&["--until-lsn", &point]);
        let expected = format!("{} up to {}", 3 + day, 1000 + day);
        assert_eq!(rows(source, &restored), expected, "day {day}");
    }
    let alone = base(source, 4);
    let restored = source.restore(&["--base", &alone]);
    assert_eq!(rows(source, &restored), "6 up to 1003");
    let gone = [
        ["--until-lsn", &lsns[4].to_string()],
        ["--until-time", "2026-11-25 12:00"],
    ];
    for options in gone {
        let said = source.refused(&options);
        assert!(said.contains("retention removes old ones"), "{said}");
        assert!(said.contains(&format!("--base {alone} without")), "{said}");
    }
    let said = source.refused(&["--until-xid", "1003"]);
    assert!(said.contains("transaction 1003 is not in"), "{said}");
    let said = source.refused(&["--base", &alone, "--until-lsn", &lsns[9].to_string()]);
    assert!(said.contains("retention removes old ones"), "{said}");
}

#[test]
fn the_window_restores_old_bases_restore_alone_and_what_is_gone_is_said_to_be() {
    let (source, lsns) = ten_days();
    expire(&source).unwrap();
    // Four closed ones and the open one.
    assert_eq!(source.place.segments().len(), 5);
    assert_restores(&source, &lsns);
}

#[test]
fn what_a_crash_left_half_removed_disturbs_no_restore() {
    let (source, lsns) = ten_days();
    // As after power loss: all is noted, of what was removed some is back, some of it in part.
    let aside = source.place.path().join("aside");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap();
        assert!(copied.success());
    };
    copy(&source.place.chain.path, &aside);
    expire(&source).unwrap();
    let back = source.place.chain.incremental();
    let mut segments: Vec<_> = fs::read_dir(aside.join("incremental"))
        .unwrap()
        .flatten()
        .collect();
    segments.sort_by_key(|entry| entry.file_name());
    for (number, half) in [(1, false), (4, true)] {
        let content = fs::read(segments[number].path()).unwrap();
        let content = if half {
            &content[..content.len() / 2]
        } else {
            &content
        };
        fs::write(back.join(segments[number].file_name()), content).unwrap();
    }
    assert_restores(&source, &lsns);
}

#[test]
fn a_chain_that_has_ended_restores_its_last_base_by_name_when_its_segments_are_gone() {
    let (mut source, lsns) = ten_days();
    source.place.chain.end_here("for a test").unwrap();
    let files: Vec<String> = manifest::read(&source.place.chain)
        .unwrap()
        .entries
        .into_iter()
        .filter(|entry| entry.kind == manifest::Kind::Incremental)
        .map(|entry| entry.file)
        .collect();
    manifest::expire(
        &source.place.chain,
        &files.into_iter().collect(),
        source.at(0),
        |_| true,
        &mut || {},
    )
    .unwrap();
    for path in source.place.segments() {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(verify(&source.place.database, &mut || {}).unwrap(), []);
    for options in [
        &[][..],
        &["--until-lsn", &lsns[9].to_string()],
        &["--until-time", "2026-12-24"],
    ] {
        let said = source.refused(options);
        assert!(
            said.contains("retention removes old ones"),
            "{options:?}: {said}"
        );
    }
    let restored = source.restore(&["--base", &base(&source, 9)]);
    assert_eq!(rows(&source, &restored), "11 up to 1008");
}

#[test]
fn nothing_is_removed_while_a_restore_reads() {
    let (source, _) = ten_days();
    // A psql that waits for its password file's sake stands for one that takes hours: the script stops
    // where it reads the pipe.
    let pipe = source.place.path().join("pipe");
    assert!(Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap()
        .success());
    let tools = source.place.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let stub = tools.join("sha256sum");
    fs::write(
        &stub,
        format!(
            "#!/bin/sh\ncat '{}' >/dev/null\nexec /usr/bin/sha256sum \"$@\"\n",
            pipe.display()
        ),
    )
    .unwrap();
    assert!(Command::new("chmod")
        .arg("755")
        .arg(&stub)
        .status()
        .unwrap()
        .success());
    let path = format!(
        "{}:{}:{}",
        tools.display(),
        source.cluster.bin().display(),
        std::env::var("PATH").unwrap()
    );
    let mut restore = Command::new("dash")
        .arg(source.script())
        .arg("--dry-run")
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opening the pipe waits until the script has come to it.
    let stopped = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    assert!(matches!(expire(&source), Err(Error::InUse { .. })));
    drop(stopped);
    restore.kill().unwrap();
    restore.wait().unwrap();
}
