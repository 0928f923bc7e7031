//! A source database with its archive: what goes into a segment is run at the source too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use archive::base::BaseDir;
use archive::layout::BaseName;
use archive::metadata::Metadata;
use archive::segment::{ClusterFact, DdlBlock, EffectNote, Words, SETTINGS};
use archive::time::Time;
use archive::{Appender, Lsn};

use crate::cluster::Cluster;
use crate::support::{self, at, Place};

static NAMES: AtomicU32 = AtomicU32::new(1);

/// A name that no other test of this run uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A source database and its archive. What a transaction does is done at the source as well.
pub struct Source {
    pub cluster: Arc<Cluster>,
    pub database: String,
    pub place: Place,
    pub appender: Appender,
    pub lsn: u64,
    /// Bases and transactions carry times of this day after the first.
    pub day: i64,
}

/// One thing of a transaction.
pub enum Part<'a> {
    Statement(&'a str),
    Copy(&'a str, &'a [&'a str]),
    Ddl {
        command: &'a str,
        role: &'a str,
        text: &'a str,
    },
    Effect(EffectNote<'a>, DdlBlock<'a>),
    Words(Words<'a>),
    Fact(ClusterFact),
}

pub use Part::{Copy, Ddl, Effect, Fact, Statement, Words as Typed};

pub fn ddl(text: &str) -> Part<'_> {
    Ddl {
        command: "CREATE TABLE",
        role: "postgres",
        text,
    }
}

impl Source {
    pub fn new(schema: &str) -> Source {
        Source::with_options(schema, "")
    }

    pub fn with_options(schema: &str, options: &str) -> Source {
        let cluster = Cluster::shared();
        let database = unique("source");
        cluster.create(&database, options);
        cluster.psql(&database, schema);
        let place = Place::new();
        let appender = place.append();
        place.database.ensure_restore_files().unwrap();
        Source {
            cluster,
            database,
            place,
            appender,
            lsn: 0x2000,
            day: 0,
        }
    }

    /// `seconds` after the fixed moment of the present day.
    pub fn at(&self, seconds: i64) -> Time {
        at(self.day * 86_400 + seconds)
    }

    /// Takes a base now; its LSN is behind everything so far.
    pub fn base(&mut self, snapshot: &str) -> PathBuf {
        self.base_with(snapshot, |_, _| {})
    }

    pub fn base_with(
        &mut self,
        snapshot: &str,
        change: impl Fn(&BaseDir, &mut Metadata),
    ) -> PathBuf {
        self.lsn += 0x10;
        let lsn = Lsn(self.lsn);
        let base = BaseDir::create(&self.place.chain, BaseName::new(lsn, self.at(0))).unwrap();
        let dump = Command::new(self.cluster.bin().join("pg_dump"))
            .arg("-d")
            .arg(self.cluster.conninfo(&self.database))
            .output()
            .unwrap();
        assert!(dump.status.success());
        base.write_file("dump.sql", &dump.stdout).unwrap();
        base.write_file("globals.sql", b"CREATE ROLE postgres;\n")
            .unwrap();
        let mut metadata = support::metadata(lsn, snapshot);
        metadata.taken_at = self.at(0);
        metadata.source.roles.push("postgres".to_owned());
        change(&base, &mut metadata);
        base.finish(&metadata).unwrap().path
    }

    /// Runs a transaction at the source and writes it to the segment; returns its commit LSN.
    pub fn transaction(&mut self, xid: u64, parts: &[Part]) -> Lsn {
        let lsn = self.archive_only(xid, parts);
        let settings = SETTINGS
            .iter()
            .map(|(name, value)| format!("SET {name} = {value};\n"));
        let mut sql: String = settings.collect();
        sql.push_str("BEGIN;\n");
        for part in parts {
            match part {
                Statement(text) => sql.push_str(text),
                Copy(start, rows) => sql.push_str(&format!("{start}\n{}\n\\.", rows.join("\n"))),
                Ddl { text, .. } => sql.push_str(text),
                // psql is not to see its words here either.
                Effect(_, block) => sql.push_str(str::from_utf8(&block.write("0")).unwrap()),
                Part::Words(_) | Fact(_) => {}
            }
            sql.push('\n');
        }
        self.cluster.psql(&self.database, sql + "COMMIT;\n");
        lsn
    }

    /// Writes a transaction to the segment without running it.
    pub fn archive_only(&mut self, xid: u64, parts: &[Part]) -> Lsn {
        self.lsn += 0x100;
        let lsn = Lsn(self.lsn);
        let committed_at = self.at(xid as i64);
        let appender = &mut self.appender;
        appender.begin(xid, lsn, committed_at).unwrap();
        for part in parts {
            match part {
                Statement(text) => appender.statement(text.as_bytes()).unwrap(),
                Copy(start, rows) => {
                    appender.copy_start(start.as_bytes()).unwrap();
                    rows.iter()
                        .for_each(|row| appender.copy_row(row.as_bytes()).unwrap());
                    appender.copy_end().unwrap();
                }
                Ddl {
                    command,
                    role,
                    text,
                } => {
                    let block = DdlBlock::alone(text.as_bytes());
                    appender.ddl(command, role, &block).unwrap();
                }
                Effect(note, block) => appender.effect(note, block).unwrap(),
                Part::Words(words) => appender.words(words).unwrap(),
                Fact(fact) => appender.fact(fact).unwrap(),
            }
        }
        appender.commit().unwrap();
        appender.sync().unwrap();
        lsn
    }

    pub fn rotate(&mut self, next_xid: u64) -> PathBuf {
        self.appender.rotate(next_xid).unwrap().unwrap().path
    }

    pub fn script(&self) -> PathBuf {
        self.place.database.path().join("restore.sh")
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_under("dash", None, arguments)
    }

    pub fn run_under(&self, shell: &str, awk: Option<&Path>, arguments: &[&str]) -> Run {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.cluster.bin().display());
        let aside = support::temporary();
        let path = match awk {
            Some(awk) => {
                std::os::unix::fs::symlink(awk, aside.path().join("awk")).unwrap();
                format!("{}:{path}", aside.path().display())
            }
            None => path,
        };
        let mut command = Command::new(shell);
        if shell == "busybox" {
            command.arg("sh");
        }
        let output = command
            .arg(self.script())
            .args(arguments)
            .env("PATH", path)
            .output()
            .unwrap();
        Run(output)
    }

    /// Restores into a new database with these arguments; returns its name.
    pub fn restore(&self, arguments: &[&str]) -> String {
        let target = unique("target");
        let conninfo = self.cluster.conninfo(&target);
        let run = self.run(&[&["--target", &conninfo], arguments].concat());
        assert!(run.0.status.success(), "{}", run.text());
        target
    }

    /// Restores and expects it to stop; returns what it said.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let conninfo = self.cluster.conninfo(&unique("target"));
        let run = self.run(&[&["--target", &conninfo], arguments].concat());
        assert_eq!(run.0.status.code(), Some(1), "{}", run.text());
        run.text()
    }

    pub fn assert_same(&self, target: &str) {
        let (source, target) = (self.cluster.dump(&self.database), self.cluster.dump(target));
        for line in &source {
            assert!(
                target.contains(line),
                "missing: {}",
                String::from_utf8_lossy(line)
            );
        }
        assert_eq!(source, target);
    }
}

/// A finished run of restore.sh.
pub struct Run(pub Output);

impl Run {
    pub fn text(&self) -> String {
        let (out, err) = (&self.0.stdout, &self.0.stderr);
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    }
}

pub const TABLE: &str = "CREATE TABLE public.a (id int PRIMARY KEY, x text);
    INSERT INTO public.a VALUES (1, 'one'), (2, 'two');
    CREATE SEQUENCE public.s;";

/// Changes of every kind over two segments, on top of [`TABLE`].
pub fn everything(source: &mut Source) {
    source.base("100:100:");
    source.transaction(
        100,
        &[
            Statement("INSERT INTO public.a (id, x) VALUES (3, E'three\\nlines; COMMIT;');"),
            Statement("UPDATE public.a SET x = 'zwei; -- no' WHERE id = 2;"),
            Statement("DELETE FROM public.a WHERE id = 1;"),
        ],
    );
    source.transaction(
        101,
        &[Copy(
            "COPY public.a (id, x) FROM stdin;",
            &[
                "10\tUPDATE public.a SET x = 1;",
                "11\t\\N",
                "12\tCOMMIT;",
                "13\t\\\\.",
                "14\t",
            ],
        )],
    );
    source.transaction(
        102,
        &[
            ddl(
                "CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$\n\
                 UPDATE public.a SET x = 'all';\nDELETE FROM public.a;\nCOMMIT;\n\\.\n\
                 -- @0123456789abcdef transaction xid=1 commit_lsn=0/1 commit_time=x\n\n$$;",
            ),
            Statement("UPDATE public.a SET x = 'after' WHERE id = 10;"),
        ],
    );
    source.rotate(103);
    source.transaction(
        103,
        &[ddl("CREATE TABLE public.b (LIKE public.a INCLUDING ALL);")],
    );
    source.transaction(104, &[Copy("COPY public.b (id, x) FROM stdin;", &["1\tb"])]);
    let setval = b"SELECT pg_catalog.setval('public.s', 33, true);".to_vec();
    source.cluster.psql(&source.database, &setval);
    source
        .appender
        .sequences(Lsn(source.lsn + 1), at(0), &[setval])
        .unwrap();
    source
        .appender
        .position(Lsn(source.lsn + 2), at(0))
        .unwrap();
    source.appender.sync().unwrap();
}
