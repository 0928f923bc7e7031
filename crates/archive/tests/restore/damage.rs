//! A damaged archive is refused, with a word about which file, before the target is touched.

use std::fs;
use std::path::PathBuf;

use archive::Lsn;

use crate::source::{unique, Source, Statement, TABLE};
use crate::support::{at, write_set};

/// A base, a set of globals, two closed segments and the open one.
fn source() -> (Source, Vec<PathBuf>) {
    let mut source = Source::new(TABLE);
    let base = source.base("100:100:");
    let mut files: Vec<PathBuf> = ["dump.sql", "globals.sql", "metadata.json", "SHA256SUMS"]
        .map(|name| base.join(name))
        .into();
    for xid in [100, 101] {
        let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
        source.transaction(xid, &[Statement(&text)]);
        files.push(source.rotate(xid + 1));
    }
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let lsn = Lsn(source.lsn - 0x80);
    let set = write_set(
        &source.place.chain.clone(),
        lsn,
        at(101),
        "CREATE ROLE postgres;\n",
        "",
    );
    files.extend(["globals.sql", "database.sql", "SHA256SUMS"].map(|name| set.join(name)));
    (source, files)
}

#[test]
fn damage_of_any_file_is_refused_before_the_target_is_touched() {
    let (source, files) = source();
    let target = unique("untouched");
    let conninfo = source.cluster.conninfo(&target);
    let arguments = ["--target", conninfo.as_str()];
    for path in files {
        let good = fs::read(&path).unwrap();
        let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
        let step = (good.len() / 3).max(1);
        for position in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[position] ^= 4;
            damages.push((format!("byte {position} flipped"), bad));
            damages.push((format!("cut to {position}"), good[..position].to_vec()));
        }
        // The header of a segment decides where a restore begins.
        for position in (40..good.len().min(400)).step_by(47) {
            let mut bad = good.clone();
            bad[position] ^= 1;
            damages.push((format!("byte {position} flipped"), bad));
        }
        damages.push(("longer".to_owned(), [&good[..], b"x\n"].concat()));
        for (how, bad) in damages {
            fs::write(&path, bad).unwrap();
            let run = source.run(&arguments);
            let said = format!("{}: {how}: {}", path.display(), run.text());
            assert_eq!(run.0.status.code(), Some(1), "{said}");
            assert!(run.text().contains("restore.sh: "), "{said}");
        }
        fs::write(&path, &good).unwrap();
    }
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{target}'");
    assert_eq!(source.cluster.psql("postgres", there), "0");
    source.assert_same(&source.restore(&[]));
}

/// Its header says where a restore begins, and no checksum covers it.
#[test]
fn an_open_segment_whose_next_xid_is_damaged_makes_no_restore_shorter() {
    let (source, _) = source();
    let path = source.appender.current_file();
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains(" next_xid=102 "));
    fs::write(&path, good.replace(" next_xid=102 ", " next_xid=002 ")).unwrap();
    source.assert_same(&source.restore(&[]));
    fs::write(&path, good).unwrap();
}
