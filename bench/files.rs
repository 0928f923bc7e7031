//! What an archive costs by the number of its files. It is made as capture would have made it, without the content:
//! no server is needed.

use crate::process;
use crate::report::{figure, Report};
use archive::archiving::{self, Archiver, Note, ARCHIVED_JSONL};
use archive::compression::{self, Compression};
use archive::layout::{NewChain, SegmentName, Stored};
use archive::manifest::{Entry, Kind};
use archive::segment::SegmentIdentity;
use archive::{time, Appender, ArchiveRoot, ChainDir, DatabaseDir, Lsn};
use harness::wait_until;
use serde_json::json;
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const SEGMENTS: [usize; 4] = [100, 1_000, 10_000, 100_000];
const DATABASES: [usize; 3] = [10, 100, 1_000];

const SYSTEM: u64 = 7_300_000_000_000_000_001;

/// The exponent of what stays the same, and of what grows with the number, as measured.
const FLAT: f64 = 0.2;
const LINEAR: f64 = 1.15;

struct Made {
    root: PathBuf,
    archive: ArchiveRoot,
    database: DatabaseDir,
    chain: ChainDir,
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub fn measure(report: &mut Report) {
    report.heading("Files");
    report.note(
        "CPU milliseconds of one call, without fsync's waiting; made archives of so many closed segments that \
         archive_command has taken. The exponent is that of the growth over the whole row: 0 is flat, 1 is linear. Idle \
         look: what the archiver does once a minute where nothing has changed. Rotation: closing a segment of one \
         transaction, its line in the manifest included.",
    );
    let mut calls: [Vec<f64>; 5] = Default::default();
    let mut shipped = Vec::new();
    for count in SEGMENTS {
        let made = Made::of(count);
        shipped.push(made.shipped());
        for (readings, taken) in calls.iter_mut().zip(made.calls()) {
            readings.push(taken);
        }
    }
    let names = [
        ("rotation", FLAT),
        ("archiver: idle look", FLAT),
        ("archiver: look", LINEAR),
        ("compression: nothing to do", LINEAR),
        ("incr_files()", LINEAR),
    ];
    let names = names.map(|(name, limit)| (name.to_string(), limit));
    show(report, "segments", &SEGMENTS, &names, &calls);
    report.note("What archive_command gets besides the segment itself when one more is closed: the manifest's part, in kB.");
    let names = [("manifest shipped with one segment, kB".to_string(), FLAT)];
    show(report, "segments", &SEGMENTS, &names, &[shipped]);

    let mut calls: [Vec<f64>; 2] = Default::default();
    for count in DATABASES {
        let made = Made::of_databases(count);
        for (readings, taken) in calls.iter_mut().zip(made.look_ups(count)) {
            readings.push(taken);
        }
    }
    let names = [
        ("all databases' directories, at once", LINEAR),
        ("each database's directory, again", LINEAR),
    ];
    let names = names.map(|(name, limit)| (name.to_string(), limit));
    show(report, "databases", &DATABASES, &names, &calls);
    report.save();
}

fn show(
    report: &mut Report,
    what: &str,
    sizes: &[usize],
    names: &[(String, f64)],
    calls: &[Vec<f64>],
) {
    let mut header: Vec<String> = vec![what.to_string()];
    header.extend(sizes.iter().map(usize::to_string));
    header.push("exponent".to_string());
    let exponent = |taken: &[f64]| {
        let last = taken.len() - 1;
        let growth = sizes[last] as f64 / sizes[0] as f64;
        (taken[last] / taken[0]).ln() / growth.ln()
    };
    let rows = names.iter().zip(calls).map(|((name, _), taken)| {
        let mut row = vec![name.clone()];
        row.extend(taken.iter().map(|milliseconds| figure(*milliseconds)));
        row.push(format!("{:.2}", exponent(taken)));
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    report.table(&header, &rows);
    for ((name, limit), taken) in names.iter().zip(calls) {
        report.at_most(
            &format!("{name}: exponent of {what}"),
            *limit,
            exponent(taken),
            "",
        );
        report.raw(
            "files",
            &format!("{name}, {what}"),
            json!({"sizes": sizes, "figures": taken}),
        );
    }
}

/// CPU milliseconds of one call, in the mean of as many as take a while: the kernel counts in ticks.
fn cpu_of(mut call: impl FnMut()) -> f64 {
    let own = std::process::id().to_string();
    let (before, mut calls) = (process::exact_cpu_seconds(&own), 0);
    loop {
        call();
        calls += 1;
        let taken = process::exact_cpu_seconds(&own) - before;
        if taken > 0.2 && calls > 2 {
            return taken * 1000.0 / f64::from(calls);
        }
    }
}

impl Made {
    fn empty(name: &str) -> Made {
        let root = std::env::temp_dir().join(format!("pgincr-files-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("data")).expect("a directory can be made");
        let archive = ArchiveRoot::open(&root.join("archive"), &root.join("data"));
        let archive = archive.expect("an archive can be made");
        let (database, chain) = database(&archive, 16384);
        Made {
            root,
            archive,
            database,
            chain,
        }
    }

    /// With so many closed segments, all of them archived.
    fn of(segments: usize) -> Made {
        let made = Made::empty(&segments.to_string());
        let (mut manifest, mut notes) = (Vec::new(), Vec::new());
        let at = time::now() - chrono::Duration::days(300);
        let directory = made.database.path().file_name().expect("it has a name");
        let directory = directory.to_string_lossy().into_owned();
        for number in 0..segments as u64 {
            let start = Lsn(0x1000 + number * 0x100_0000);
            let name = SegmentName::new(start, at + chrono::Duration::minutes(number as i64));
            let sha256 = format!("{number:064x}");
            let file = Entry::segment_file(name);
            let entry = Entry {
                kind: Kind::Incremental,
                file: file.clone(),
                start_lsn: start,
                end_lsn: Lsn(start.0 + 0x100_0000),
                first_commit_at: Some(at),
                last_commit_at: Some(at),
                transactions: 100,
                statements: 1000,
                bytes: 16_000_000,
                sha256: sha256.clone(),
                file_bytes: 16_000_000,
                file_sha256: sha256.clone(),
                next_xid: Some(1000 + number * 100),
                previous_sha256: None,
                snapshot: None,
                duration_ms: None,
                expired_at: None,
                set_apart_at: None,
            };
            push_line(&mut manifest, &entry);
            let note = Note {
                file: format!("{directory}/{}/{file}", chain_directory(&made.chain)),
                sha256,
                bytes: 16_000_000,
                at,
            };
            push_line(&mut notes, &note);
            let path = made.chain.segment_path(name, Stored::Plain);
            fs::write(path, "").expect("a file can be made");
        }
        write(&made.chain.manifest(), &manifest);
        write(&made.database.path().join(ARCHIVED_JSONL), &notes);
        made
    }

    /// With so many databases of one chain each.
    fn of_databases(count: usize) -> Made {
        let made = Made::empty(&format!("databases-{count}"));
        for oid in 16385..16384 + count as u32 {
            database(&made.archive, oid);
        }
        made
    }

    /// In the order of the table.
    fn calls(&self) -> [f64; 5] {
        let nothing_failed = HashSet::new();
        let look = || {
            let archiver = Archiver::open(&self.database).expect("nobody else archives");
            archiver
                .look(Compression::None, &nothing_failed)
                .expect("the archive can be read")
        };
        wait_until("the last change lies far enough back", || {
            let state = archiving::state(&self.database);
            state.expect("the files can be looked at").is_some()
        });
        let idle = cpu_of(|| {
            let state = archiving::state(&self.database).expect("the files can be looked at");
            assert!(state.is_some(), "nothing changes");
        });
        let looked = cpu_of(|| assert!(look().next.is_none(), "all was taken"));
        let compressed = cpu_of(|| {
            compression::compress(&self.database, Compression::None, &mut || {})
                .expect("it can be read");
        });
        let listed = cpu_of(|| {
            let chains = [self.chain.clone()];
            archive::listing::files(&chains).expect("it can be listed");
        });
        [self.rotation(), idle, looked, compressed, listed]
    }

    /// Takes all that waits; gives the kB of manifests.
    fn take_all(&self) -> f64 {
        let nothing_failed = HashSet::new();
        let mut archiver = Archiver::open(&self.database).expect("nobody else archives");
        let mut bytes = 0;
        loop {
            let look = archiver.look(Compression::None, &nothing_failed);
            let look = look.expect("it can be read");
            let Some(next) = look.next else {
                return bytes as f64 / 1000.0;
            };
            for item in std::iter::once(next).chain(look.following) {
                if item.name.contains("/manifest") {
                    bytes += item.bytes;
                }
                archiver.note(&item).expect("a note can be written");
            }
        }
    }

    /// With one segment more; all before it is taken, the description and the manifest of the copy too.
    fn shipped(&self) -> f64 {
        self.take_all();
        let (mut appender, xid) = (self.appender(), 1_000_000_000);
        close_one(&mut appender, xid);
        drop(appender);
        self.take_all()
    }

    fn appender(&self) -> Appender {
        let identity = SegmentIdentity {
            switch: None,
            timeline: 1,
            database: "shop".to_string(),
            server_version: 150_018,
            encoding: "UTF8".to_string(),
            next_xid: 1_000_000_000,
        };
        self.chain
            .open_for_append(identity, Lsn(0))
            .expect("the chain can be opened")
    }

    fn rotation(&self) -> f64 {
        let (mut appender, mut xid) = (self.appender(), 1_000_000_000);
        cpu_of(|| {
            xid += 1;
            close_one(&mut appender, xid);
        })
    }

    fn look_ups(&self, count: usize) -> [f64; 2] {
        let all = cpu_of(|| {
            let found = self
                .archive
                .databases_of(SYSTEM)
                .expect("the root can be read");
            assert_eq!(found.len(), count);
        });
        let each = cpu_of(|| {
            for oid in 16384..16384 + count as u32 {
                let found = self
                    .archive
                    .find_database(SYSTEM, oid)
                    .expect("the root can be read");
                assert!(found.is_some(), "every one is there");
            }
        });
        [all, each]
    }
}

/// A segment of one transaction.
fn close_one(appender: &mut Appender, xid: u64) {
    let lsn = Lsn(0x7000_0000_0000 + xid * 0x1000);
    appender
        .begin(xid, lsn, time::now())
        .expect("a transaction can begin");
    appender
        .statement(b"INSERT INTO public.t (id) VALUES (1);")
        .expect("a statement can be written");
    appender.commit().expect("it can be committed");
    appender.rotate(xid + 1).expect("the segment can be closed");
}

fn database(archive: &ArchiveRoot, oid: u32) -> (DatabaseDir, ChainDir) {
    let database = archive.open_database(SYSTEM, oid, &format!("shop{oid}"));
    let database = database.expect("a database's directory can be made");
    database
        .ensure_restore_files()
        .expect("its files can be written");
    let chain = database.create_chain(NewChain {
        system_identifier: SYSTEM,
        timeline: 1,
        database_oid: oid,
        database: format!("shop{oid}"),
        slot: format!("pg_incrbackup_{oid}"),
        plugin: "pg_incrbackup".to_string(),
        slot_start_lsn: Lsn(0x1000),
    });
    (database, chain.expect("a chain can be made"))
}

fn chain_directory(chain: &ChainDir) -> String {
    let name = chain.path.file_name().expect("a chain has a name");
    name.to_string_lossy().into_owned()
}

fn push_line(text: &mut Vec<u8>, line: &impl serde::Serialize) {
    serde_json::to_writer(&mut *text, line).expect("plain fields always become JSON");
    text.push(b'\n');
}

fn write(path: &Path, text: &[u8]) {
    let file = fs::File::create(path);
    file.and_then(|mut file| file.write_all(text))
        .expect("a file can be written");
}
