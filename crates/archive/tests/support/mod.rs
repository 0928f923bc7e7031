//! What the tests of this crate share: a chain in a directory that goes away with the test.
#![allow(dead_code, clippy::unwrap_used)]

pub mod faults;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::base::{self, BaseDir};
use archive::globals::{self, Content, Facts};
use archive::layout::{BaseName, NewChain, SegmentName, Stored};
use archive::manifest::{self, Entry, Kind};
use archive::segment::manifest_line;
use archive::segment::{ClusterFact, DdlBlock, EffectNote, SegmentIdentity, Switch, Words};
use archive::time::{self, Time};
use archive::{Appender, ArchiveRoot, ChainDir, DatabaseDir, Lsn};

pub const SYSTEM: u64 = 7_300_000_000_000_000_001;
pub const DATABASE_OID: u32 = 16384;
pub const SLOT_START: Lsn = Lsn(0x1000);

/// An archive with one chain.
pub struct Place {
    dir: tempfile::TempDir,
    pub root: ArchiveRoot,
    pub database: DatabaseDir,
    pub chain: ChainDir,
}

impl Place {
    pub fn new() -> Place {
        Place::named("shop")
    }

    pub fn named(database: &str) -> Place {
        let dir = temporary();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let root = open_root(dir.path());
        let database = root.open_database(SYSTEM, DATABASE_OID, database).unwrap();
        database.ensure_restore_files().unwrap();
        let chain = database.create_chain(new_chain(DATABASE_OID)).unwrap();
        Place {
            dir,
            root,
            database,
            chain,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn append(&self) -> Appender {
        unlocked(|| self.append_or_error()).unwrap()
    }

    pub fn append_or_error(&self) -> archive::Result<Appender> {
        self.chain.open_for_append(identity(1000), Lsn(0))
    }

    /// The paths of all segments in replay order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let segments = self.chain.segments().unwrap();
        segments
            .into_iter()
            .map(|(name, stored)| self.chain.segment_path(name, stored))
            .collect()
    }

    pub fn last_segment(&self) -> (SegmentName, Stored) {
        self.chain.segments().unwrap().pop().unwrap()
    }
}

/// A directory in memory where there is one: these tests fsync a lot.
pub fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(parent).unwrap()
}

pub fn open_root(dir: &Path) -> ArchiveRoot {
    ArchiveRoot::open(&dir.join("archive"), &dir.join("data")).unwrap()
}

/// What comes of it once nobody has the lock. A program that another test starts holds one that was let go, from its
/// fork to its exec.
pub fn unlocked<T>(attempt: impl Fn() -> archive::Result<T>) -> archive::Result<T> {
    for _ in 0..1000 {
        match attempt() {
            Err(archive::Error::Locked { .. }) => std::thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
    panic!("it stays locked");
}

pub fn new_chain(database_oid: u32) -> NewChain {
    NewChain {
        system_identifier: SYSTEM,
        timeline: 1,
        database_oid,
        database: "shop".to_owned(),
        slot: format!("pg_incrbackup_{database_oid}"),
        plugin: "pg_incrbackup".to_owned(),
        slot_start_lsn: SLOT_START,
    }
}

pub fn identity(next_xid: u64) -> SegmentIdentity {
    SegmentIdentity {
        timeline: 1,
        switch: None,
        database: "shop".to_owned(),
        server_version: 150018,
        encoding: "UTF8".to_owned(),
        next_xid,
    }
}

/// What a server of timeline 2 writes, whose history left timeline 1 at `lsn`.
pub fn promoted(lsn: u64) -> SegmentIdentity {
    let switch = Switch {
        timeline: 1,
        at: Lsn(lsn),
        sets_apart: true,
    };
    SegmentIdentity {
        timeline: 2,
        switch: Some(switch),
        ..identity(1000)
    }
}

/// `seconds` after a fixed moment.
pub fn at(seconds: i64) -> Time {
    time::parse_iso("2026-11-21T03:40:00.000001Z").unwrap() + chrono::Duration::seconds(seconds)
}

/// One transaction of one statement.
pub fn insert(appender: &mut Appender, xid: u64, lsn: u64) {
    appender.begin(xid, Lsn(lsn), at(xid as i64)).unwrap();
    let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
    appender.statement(text.as_bytes()).unwrap();
    appender.commit().unwrap();
}

/// A segment's worth of everything that the grammar has, ending at LSN 0x2500 + `base`.
pub fn one_of_each(appender: &mut Appender, base: u64) {
    insert(appender, base + 10, base + 0x2000);
    appender
        .begin(base + 11, Lsn(base + 0x2100), at(11))
        .unwrap();
    appender
        .copy_start(b"COPY public.a (id, x) FROM stdin;")
        .unwrap();
    appender.copy_row(b"1\tCOMMIT;").unwrap();
    appender
        .copy_row(b"-- @0123456789abcdef footer end_lsn=0/0")
        .unwrap();
    appender.copy_row(b"").unwrap();
    appender.copy_end().unwrap();
    appender.flag(b"could not carry\nthis", None).unwrap();
    appender.commit().unwrap();
    appender
        .begin(base + 12, Lsn(base + 0x2200), at(12))
        .unwrap();
    let body = b"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\nCOMMIT;\n\\.\n\
                 -- @0123456789abcdef transaction xid=1\nUPDATE x SET y = 1;\n\n$$";
    appender
        .ddl("CREATE FUNCTION", "bob", &DdlBlock::alone(body))
        .unwrap();
    appender
        .fact(&ClusterFact::Role {
            name: b"alice \"x\"\n".to_vec(),
            superuser: true,
        })
        .unwrap();
    appender
        .setval(b"SELECT pg_catalog.setval('public.s', 33, true);")
        .unwrap();
    appender
        .statement(b"UPDATE public.a SET x = 2 WHERE id = 1;")
        .unwrap();
    appender.commit().unwrap();
    appender.position(Lsn(base + 0x2300), at(13)).unwrap();
    let setvals = [b"SELECT pg_catalog.setval('public.s', 65, true);".to_vec()];
    appender
        .sequences(Lsn(base + 0x2400), at(14), &setvals)
        .unwrap();
    insert(appender, base + 13, base + 0x2500);
}

/// A transaction of what came with format 2, ending at LSN 0x2600 + `base`.
pub fn effects(appender: &mut Appender, base: u64) {
    appender
        .begin(base + 14, Lsn(base + 0x2600), at(14))
        .unwrap();
    let words = Words {
        command: "CREATE TABLE",
        role: b"bob \n",
        at: Some(at(13)),
        text: b"create table t()\n-- \xff\n\\! x",
    };
    appender.words(&words).unwrap();
    let note = EffectNote {
        class: "table",
        oid: 16401,
        verb: "create",
        identity: b"public.\"t\n\"",
        needs: &[(2615, 2200), (1247, 16399)],
    };
    let body = b"CREATE TABLE public.\"t\n\" (\nCOMMIT;\n\\.\n-- @0123456789abcdef words\n)";
    let block = DdlBlock {
        before: b"SET LOCAL ROLE bob;",
        statement: body,
        after: b"SET LOCAL ROLE NONE;",
    };
    appender.effect(&note, &block).unwrap();
    let text = DdlBlock::alone(b"CREATE OPERATOR FAMILY x\nUSING btree");
    appender
        .ddl("CREATE OPERATOR FAMILY", "bob", &text)
        .unwrap();
    appender
        .statement(b"INSERT INTO public.a (id) VALUES (1);")
        .unwrap();
    appender.commit().unwrap();
}

/// Writes a set of globals, changed at `lsn`; its database.sql is `database_sql`.
pub fn write_set(
    chain: &ChainDir,
    lsn: Lsn,
    at: Time,
    globals_sql: &str,
    database_sql: &str,
) -> PathBuf {
    write_set_of(chain, lsn, at, globals_sql, database_sql, &[])
}

/// The same, with the OIDs of roles.
pub fn write_set_of(
    chain: &ChainDir,
    lsn: Lsn,
    at: Time,
    globals_sql: &str,
    database_sql: &str,
    roles_by_oid: &[String],
) -> PathBuf {
    let content = Content {
        globals_sql: globals_sql.into(),
        database_sql: database_sql.into(),
    };
    let facts = Facts {
        format: 1,
        tool_version: "0.1.0".to_owned(),
        lsn,
        changed_at: at,
        shared_catalogs: None,
        roles: vec!["postgres".to_owned()],
        roles_by_oid: roles_by_oid.to_vec(),
    };
    globals::write(chain, &content, &facts).unwrap()
}

/// Facts about a base at `lsn`; what a test needs otherwise it changes.
pub fn metadata(lsn: Lsn, snapshot: &str) -> archive::metadata::Metadata {
    archive::metadata::Metadata {
        format: 1,
        tool_version: "0.1.0".to_owned(),
        system_identifier: SYSTEM,
        timeline: 1,
        database_oid: DATABASE_OID,
        server_version_num: 150018,
        lsn,
        snapshot: snapshot.parse().unwrap(),
        taken_at: at(0),
        duration_ms: 1234,
        dump: "dump.sql".to_owned(),
        source: archive::metadata::DatabaseFacts {
            database: "shop".to_owned(),
            server_version: "PostgreSQL 15.18 on x86_64, \"quoted\"".to_owned(),
            encoding: "UTF8".to_owned(),
            locale_provider: "libc".to_owned(),
            lc_collate: "C".to_owned(),
            lc_ctype: "C".to_owned(),
            ..Default::default()
        },
    }
}

/// A finished base of one line.
pub fn take_base(chain: &ChainDir, lsn: Lsn, xmin: u64, taken_at: Time) -> BaseName {
    let base = BaseDir::create(chain, BaseName::new(lsn, taken_at)).unwrap();
    base.write_file("dump.sql", b"SELECT 1;\n").unwrap();
    let mut facts = metadata(lsn, &format!("{xmin}:{xmin}:"));
    let name = base.name();
    facts.taken_at = name.taken_at;
    base.finish(&facts).unwrap();
    name
}

/// Writes the manifest anew from the files; returns its lines. What retention noted stays where it can
/// be read.
pub fn rebuild_manifest(chain: &ChainDir) -> Vec<Entry> {
    let mut entries = manifest::read(chain).unwrap().entries;
    entries.retain(|entry| entry.expired_at.is_some());
    let expired: HashSet<String> = entries.iter().map(|entry| entry.file.clone()).collect();
    // What has expired may be there in part.
    let is_ours = |file: String| !expired.contains(&file);
    for name in chain.bases().unwrap() {
        if is_ours(base::file_of(name)) {
            entries.push(base::entry_of_base(chain, name).unwrap());
        }
    }
    for name in chain.globals_sets().unwrap() {
        if is_ours(globals::file_of(name)) {
            entries.push(globals::entry_of_set(chain, name).unwrap());
        }
    }
    for (name, stored) in chain.segments().unwrap() {
        if stored != Stored::Partial && is_ours(Entry::segment_file(name)) {
            entries.push(manifest_line::read_line(chain, name, stored).unwrap());
        }
    }
    entries.sort_by_key(|entry| (entry.start_lsn, entry.kind != Kind::Base));
    let mut text = Vec::new();
    for entry in &entries {
        serde_json::to_writer(&mut text, entry).unwrap();
        text.push(b'\n');
    }
    std::fs::write(chain.manifest(), text).unwrap();
    entries
}
