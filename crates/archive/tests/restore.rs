//! `restore.sh` for real: archives made by this crate, restored into throwaway PostgreSQL clusters.
//!
//! The source is a database of the same cluster: what goes into a segment is run there too, so that
//! `pg_dump` of both can be compared. Needs PostgreSQL's programs (`PG_BIN`, or Debian's 15).
#![allow(clippy::unwrap_used)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use archive::base::BaseDir;
use archive::layout::BaseName;
use archive::metadata::Metadata;
use archive::segment::SETTINGS;
use archive::{Appender, Lsn};
use cluster::Cluster;
use support::{at, Place};

static NAMES: AtomicU32 = AtomicU32::new(1);

/// A name that no other test of this run uses.
fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A source database and its archive. What a transaction does is done at the source as well.
struct Source {
    cluster: Arc<Cluster>,
    database: String,
    place: Place,
    appender: Appender,
    lsn: u64,
}

/// One thing of a transaction.
enum Part<'a> {
    Statement(&'a str),
    Copy(&'a str, &'a [&'a str]),
    Ddl {
        command: &'a str,
        role: &'a str,
        text: &'a str,
    },
    Role(&'a str, bool),
}
use Part::{Copy, Ddl, Role, Statement};

fn ddl(text: &str) -> Part<'_> {
    Ddl {
        command: "CREATE TABLE",
        role: "postgres",
        text,
    }
}

impl Source {
    fn new(schema: &str) -> Source {
        Source::with_options(schema, "")
    }

    fn with_options(schema: &str, options: &str) -> Source {
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
        }
    }

    /// Takes a base now; its LSN is behind everything so far.
    fn base(&mut self, snapshot: &str) -> PathBuf {
        self.base_with(snapshot, |_, _| {})
    }

    fn base_with(&mut self, snapshot: &str, change: impl Fn(&BaseDir, &mut Metadata)) -> PathBuf {
        self.lsn += 0x10;
        let lsn = Lsn(self.lsn);
        let base = BaseDir::create(&self.place.chain, BaseName::new(lsn, at(0))).unwrap();
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
        metadata.roles.push("postgres".to_owned());
        change(&base, &mut metadata);
        base.finish(&metadata).unwrap().path
    }

    /// Runs a transaction at the source and writes it to the segment; returns its commit LSN.
    fn transaction(&mut self, xid: u64, parts: &[Part]) -> Lsn {
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
                Role(..) => {}
            }
            sql.push('\n');
        }
        self.cluster.psql(&self.database, sql + "COMMIT;\n");
        lsn
    }

    /// Writes a transaction to the segment without running it.
    fn archive_only(&mut self, xid: u64, parts: &[Part]) -> Lsn {
        self.lsn += 0x100;
        let lsn = Lsn(self.lsn);
        let appender = &mut self.appender;
        appender.begin(xid, lsn, at(xid as i64)).unwrap();
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
                    appender.ddl(command, role, text.as_bytes()).unwrap();
                }
                Role(name, superuser) => appender.role(name, *superuser).unwrap(),
            }
        }
        appender.commit().unwrap();
        appender.sync().unwrap();
        lsn
    }

    fn rotate(&mut self, next_xid: u64) -> PathBuf {
        self.appender.rotate(next_xid).unwrap().unwrap().path
    }

    fn script(&self) -> PathBuf {
        self.place.database.path().join("restore.sh")
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_under("dash", None, arguments)
    }

    fn run_under(&self, shell: &str, awk: Option<&Path>, arguments: &[&str]) -> Run {
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
        let output = command
            .arg(self.script())
            .args(arguments)
            .env("PATH", path)
            .output()
            .unwrap();
        Run(output)
    }

    /// Restores into a new database with these arguments; returns its name.
    fn restore(&self, arguments: &[&str]) -> String {
        let target = unique("target");
        let conninfo = self.cluster.conninfo(&target);
        let run = self.run(&[&["--target", &conninfo], arguments].concat());
        assert!(run.0.status.success(), "{}", run.text());
        target
    }

    /// Restores and expects it to stop; returns what it said.
    fn refused(&self, arguments: &[&str]) -> String {
        let conninfo = self.cluster.conninfo(&unique("target"));
        let run = self.run(&[&["--target", &conninfo], arguments].concat());
        assert_eq!(run.0.status.code(), Some(1), "{}", run.text());
        run.text()
    }

    fn assert_same(&self, target: &str) {
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
struct Run(Output);

impl Run {
    fn text(&self) -> String {
        let (out, err) = (&self.0.stdout, &self.0.stderr);
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    }
}

const TABLE: &str = "CREATE TABLE public.a (id int PRIMARY KEY, x text);
    INSERT INTO public.a VALUES (1, 'one'), (2, 'two');
    CREATE SEQUENCE public.s;";

fn everything(source: &mut Source) {
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

#[test]
fn base_and_increments_give_the_same_database() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    let target = source.restore(&[]);
    source.assert_same(&target);
    let run = source.run(&["--dry-run"]);
    assert!(
        run.0.status.success() && run.text().contains("5 transactions"),
        "{}",
        run.text()
    );
}

/// Every awk of this machine that restore.sh promises to work with; AWKS adds more, as a path list.
fn awks() -> Vec<PathBuf> {
    let more = std::env::var_os("AWKS").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap();
    let on_path = std::env::split_paths(&path)
        .flat_map(|dir| ["mawk", "gawk", "original-awk"].map(|name| dir.join(name)));
    let mut found: Vec<PathBuf> = on_path
        .chain(std::env::split_paths(&more))
        .filter(|path| path.is_file())
        .collect();
    found.dedup_by_key(|path| path.file_name().map(ToOwned::to_owned));
    found
}

#[test]
fn every_shell_and_awk_gives_the_same() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    for awk in awks() {
        for shell in ["dash", "bash"] {
            let target = unique("target");
            let conninfo = source.cluster.conninfo(&target);
            let run = source.run_under(shell, Some(&awk), &["--target", &conninfo]);
            assert!(
                run.0.status.success(),
                "{shell} {}: {}",
                awk.display(),
                run.text()
            );
            source.assert_same(&target);
        }
    }
}

#[test]
fn what_the_snapshot_sees_is_not_applied_again() {
    let mut source = Source::new(TABLE);
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.transaction(103, &[Statement("INSERT INTO public.a (id) VALUES (103);")]);
    // 101 was in progress when the base was taken, 102 was done; 104 began later.
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    source.rotate(105);
    source.base("101:104:101");
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    source.transaction(104, &[Statement("INSERT INTO public.a (id) VALUES (104);")]);
    let target = source.restore(&[]);
    source.assert_same(&target);
}

#[test]
fn reading_starts_at_the_last_segment_that_is_old_enough() {
    let mut source = Source::new(TABLE);
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.rotate(101);
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let second = source.rotate(102);
    source.base("101:102:101");
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let run = source.run(&["--dry-run"]);
    let name = second.file_name().unwrap().to_str().unwrap();
    assert!(
        run.text().contains(&format!("segments: 2 from {name}")),
        "{}",
        run.text()
    );
}

#[test]
fn the_wished_point_is_exact() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    let insert = |n: u32| format!("INSERT INTO public.a (id) VALUES ({n});");
    let mut lsns = Vec::new();
    for xid in 100..106u32 {
        lsns.push(source.transaction(u64::from(xid), &[Statement(&insert(xid))]));
        if xid == 102 {
            source.rotate(103);
        }
    }
    source.appender.position(Lsn(0x9000), at(200)).unwrap();
    source.appender.sync().unwrap();
    let last = |arguments: &[&str]| {
        let target = source.restore(arguments);
        source.cluster.psql(
            &target,
            "SELECT max(id), count(*) FROM public.a WHERE id >= 100",
        )
    };
    assert_eq!(last(&["--until-lsn", &lsns[1].to_string()]), "101|2");
    assert_eq!(
        last(&["--until-lsn", &Lsn(lsns[1].0 - 1).to_string()]),
        "100|1"
    );
    assert_eq!(last(&[&format!("--until-lsn={}", lsns[2])]), "102|3");
    assert_eq!(last(&["--until-lsn", "0/9000"]), "105|6");
    assert_eq!(last(&["--until-xid", "103"]), "103|4");
    // at(n) is n seconds and one microsecond after 03:40:00.
    assert_eq!(
        last(&["--until-time", "2026-11-21 03:41:41.000001"]),
        "101|2"
    );
    assert_eq!(last(&["--until-time", "2026-11-21 03:41:41"]), "100|1");
    assert_eq!(last(&["--until-time", "2026-11-21 05:41:44+02"]), "103|4");
    assert_eq!(last(&["--until-time", "2026-11-21 03:40:01"]), "|0");
    assert_eq!(last(&["--until-time", "2030-01-01"]), "105|6");

    assert!(source
        .refused(&["--until-lsn", "0/9001"])
        .contains("the archive ends at 0/9000"));
    assert!(source
        .refused(&["--until-lsn", "0/2000"])
        .contains("no base"));
    assert!(source
        .refused(&["--until-xid", "99"])
        .contains("transaction 99 is not in"));
    assert!(source
        .refused(&["--until-time", "2026-11-21 03:39"])
        .contains("no base"));
    assert!(source
        .refused(&["--until-time", "tomorrow'; x"])
        .contains("can't read the time"));
    assert!(source
        .refused(&["--until-time", "infinity"])
        .contains("infinity"));
}

#[test]
fn commit_times_may_go_back_a_little() {
    let mut source = Source::new(TABLE);
    source.base("1:1:");
    // LSN order and time order differ: 7 commits before 5 and 6 by the clock.
    for xid in [1, 2, 7, 5, 6, 9] {
        let text = format!("INSERT INTO public.a (id) VALUES ({});", 100 + xid);
        source.transaction(xid, &[Statement(&text)]);
    }
    let target = source.restore(&["--until-time", "2026-11-21 03:40:06.5"]);
    let found = source.cluster.psql(
        &target,
        "SELECT string_agg(id::text, ' ') FROM public.a WHERE id > 99",
    );
    assert_eq!(found, "101 102 107 105 106");
}

#[test]
fn an_update_that_hits_no_row_or_two_stops_with_file_and_line() {
    let schema =
        "CREATE TABLE public.a (id int, x text); INSERT INTO public.a VALUES (1), (1), (2);";
    for (statement, said) in [
        (
            "UPDATE public.a SET x = 'y' WHERE id = 3;",
            "UPDATE hit 0 rows",
        ),
        (
            "UPDATE public.a SET x = 'y' WHERE id = 1;",
            "UPDATE hit 2 rows",
        ),
        ("DELETE FROM public.a WHERE id = 3;", "DELETE hit 0 rows"),
        ("DELETE FROM public.a WHERE id = 1;", "DELETE hit 2 rows"),
    ] {
        let mut source = Source::new(schema);
        source.base("100:100:");
        source.transaction(100, &[ddl("CREATE TABLE public.b (\n  x int);")]);
        source.archive_only(101, &[Statement("DELETE FROM public.a WHERE id = 2;")]);
        source.rotate(102);
        source.archive_only(102, &[Statement(statement)]);
        let path = source.appender.current_file();
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().position(|line| line == statement).unwrap() + 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let error = source.refused(&[]);
        assert!(
            error.contains(&format!("{name}:{line}: ERROR:")) && error.contains(said),
            "{error}"
        );
        assert!(error.contains("is incomplete"), "{error}");
    }
}

#[test]
fn ddl_runs_under_its_role_and_missing_roles_are_made() {
    let owner = unique("o'wner \"x\"\\n");
    let (boss, member) = (unique("boss"), unique("member"));
    let quoted = format!("\"{}\"", owner.replace('"', "\"\""));
    let mut source = Source::new(TABLE);
    let cluster = source.cluster.clone();
    let create = format!(
        "CREATE ROLE {quoted}; CREATE ROLE {boss} SUPERUSER LOGIN; CREATE ROLE {member};
         GRANT {boss} TO {member}; GRANT CREATE ON SCHEMA public TO {quoted};"
    );
    cluster.psql(&source.database, create);
    let globals = format!(
        "CREATE ROLE {quoted};\nALTER ROLE {quoted} WITH NOSUPERUSER LOGIN PASSWORD 'secret';\n\
         CREATE ROLE {boss};\nALTER ROLE {boss} WITH SUPERUSER INHERIT LOGIN PASSWORD 'secret';\n\
         CREATE ROLE {member};\nCREATE ROLE unrelated;\n\
         GRANT {boss} TO {member} GRANTED BY postgres;\nGRANT unrelated TO {member};\n"
    );
    source.base_with("100:100:", |base, metadata| {
        base.write_file("globals.sql", globals.as_bytes()).unwrap();
        metadata.roles.extend([owner.clone(), boss.clone()]);
    });
    let text = format!(
        "SET LOCAL ROLE {quoted};\nCREATE TABLE public.mine (id int);\nSET LOCAL ROLE NONE;"
    );
    source.transaction(
        100,
        &[
            Ddl {
                command: "CREATE TABLE",
                role: &owner,
                text: &text,
            },
            Role(&member, false),
            Statement("INSERT INTO public.mine (id) VALUES (1);"),
        ],
    );
    let before = cluster.dump(&source.database);
    cluster.psql(
        &source.database,
        format!(
            "ALTER TABLE public.mine OWNER TO postgres; REVOKE ALL ON SCHEMA public FROM {quoted};
         DROP ROLE {quoted}, {boss}, {member};"
        ),
    );
    let target = unique("target");
    let run = source.run(&["--target", &cluster.conninfo(&target)]);
    assert!(run.0.status.success(), "{}", run.text());
    assert_eq!(cluster.dump(&target), before);
    for role in [quoted.as_str(), &boss, &member] {
        assert!(
            run.text().contains("created role \""),
            "{role}: {}",
            run.text()
        );
    }
    let roles = cluster.psql(
        &target,
        format!(
            "SELECT rolname, rolcanlogin, rolsuper FROM pg_roles
         WHERE rolname IN ('{boss}', '{member}', '{}') ORDER BY rolsuper, rolname",
            owner.replace('\'', "''")
        ),
    );
    assert_eq!(roles, format!("{member}|f|f\n{owner}|f|f\n{boss}|f|t"));
    let granted = cluster.psql(
        &target,
        format!("SELECT pg_has_role('{member}', '{boss}', 'MEMBER')"),
    );
    assert_eq!(granted, "t");
    assert_eq!(
        cluster.psql(
            &target,
            "SELECT count(*) FROM pg_roles WHERE rolname = 'unrelated'"
        ),
        "0"
    );
    // A second run makes nothing, and --globals gives the roles what they had.
    let target = unique("target");
    let run = source.run(&["--target", &cluster.conninfo(&target), "--globals"]);
    assert!(run.0.status.success(), "{}", run.text());
    assert!(
        run.text().contains("created role \"unrelated\""),
        "{}",
        run.text()
    );
    let login = cluster.psql(
        &target,
        format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{boss}'"),
    );
    assert_eq!(login, "t");
    cluster.psql("postgres", "DROP ROLE unrelated");
}

#[test]
fn triggers_that_fire_always_are_quiet_and_then_as_they_were() {
    let mut source = Source::new(
        "CREATE TABLE public.a (id int PRIMARY KEY, x text);
         CREATE TABLE public.log (what text);
         CREATE TABLE public.p (id int) PARTITION BY RANGE (id);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN INSERT INTO public.log VALUES (tg_name || ' ' || tg_table_name); RETURN NEW; END$$;
         CREATE TRIGGER always BEFORE INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER always;
         CREATE TRIGGER later AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE REPLICA TRIGGER later;
         CREATE TRIGGER \"gone T\" AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER \"gone T\";
         CREATE TRIGGER off AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER off;
         CREATE TRIGGER normal AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         CREATE TRIGGER clone AFTER INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.p ENABLE ALWAYS TRIGGER clone;
         CREATE RULE noisy AS ON UPDATE TO public.a DO ALSO INSERT INTO public.log VALUES ('rule');
         ALTER TABLE public.a ENABLE ALWAYS RULE noisy;",
    );
    source.base("100:100:");
    // At the source the triggers fired and their rows stand in the log, as decoding gives them.
    let quiet: &[Part] = &[Statement("INSERT INTO public.a (id, x) VALUES (1, 'x');")];
    source.archive_only(100, quiet);
    let rows = "INSERT INTO public.log (what) VALUES ('always a');";
    source.archive_only(
        101,
        &[
            Statement(rows),
            Statement("UPDATE public.a SET x = 'y' WHERE id = 1;"),
        ],
    );
    source.cluster.psql(
        &source.database,
        "SET session_replication_role = replica;
        ALTER TABLE public.a DISABLE TRIGGER ALL; ALTER TABLE public.a DISABLE RULE noisy;
        INSERT INTO public.a VALUES (1, 'y'); INSERT INTO public.log VALUES ('always a');
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER always;
        ALTER TABLE public.a ENABLE REPLICA TRIGGER later;
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER \"gone T\";
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER off;
        ALTER TABLE public.a ENABLE TRIGGER normal;
        ALTER TABLE public.a ENABLE ALWAYS RULE noisy;",
    );
    source.transaction(102, &[
        ddl("ALTER TABLE public.a ENABLE TRIGGER \"gone T\";"),
        ddl("ALTER TABLE public.a DISABLE TRIGGER off;"),
        ddl("CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (1) TO (9);"),
        ddl("ALTER TABLE public.a RENAME TO \"b B\";"),
        ddl("CREATE TRIGGER fresh AFTER DELETE ON public.\"b B\" FOR EACH ROW EXECUTE FUNCTION public.note();\n\
             ALTER TABLE public.\"b B\" ENABLE ALWAYS TRIGGER fresh;"),
    ]);
    source.archive_only(
        103,
        &[
            Statement("INSERT INTO public.p1 (id) VALUES (1);"),
            Statement("INSERT INTO public.\"b B\" (id, x) VALUES (2, 'z');"),
            Statement("DELETE FROM public.\"b B\" WHERE id = 2;"),
        ],
    );
    source.cluster.psql(
        &source.database,
        "ALTER TABLE public.p1 DISABLE TRIGGER clone;
        INSERT INTO public.p1 VALUES (1); ALTER TABLE public.p1 ENABLE ALWAYS TRIGGER clone;",
    );
    let target = source.restore(&[]);
    source.assert_same(&target);
    let states = |database: &str| {
        source.cluster.psql(
            database,
            "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2",
        )
    };
    assert_eq!(states(&target), states(&source.database));
    assert!(
        states(&target).contains("p1|clone|A"),
        "{}",
        states(&target)
    );
    assert_eq!(
        source
            .cluster
            .psql(&target, "SELECT count(*) FROM public.log"),
        "1"
    );
}

#[test]
fn event_triggers_are_quiet_and_then_as_they_were() {
    let mut source = Source::new(
        "CREATE TABLE public.log (what text);
         CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS
           $$BEGIN INSERT INTO public.log VALUES (tg_tag); END$$;
         CREATE EVENT TRIGGER always ON ddl_command_end EXECUTE FUNCTION public.note();
         ALTER EVENT TRIGGER always ENABLE ALWAYS;
         CREATE EVENT TRIGGER normal ON ddl_command_end EXECUTE FUNCTION public.note();",
    );
    source.base("100:100:");
    let text = "CREATE TABLE public.made (id int);";
    source.archive_only(
        100,
        &[
            ddl(text),
            Statement("INSERT INTO public.log (what) VALUES ('CREATE TABLE');"),
        ],
    );
    source.cluster.psql(
        &source.database,
        format!("SET session_replication_role = replica; {text}"),
    );
    let event = |text| Ddl {
        command: "CREATE EVENT TRIGGER",
        role: "postgres",
        text,
    };
    source.transaction(
        101,
        &[
            event(
                "CREATE EVENT TRIGGER second ON ddl_command_start EXECUTE FUNCTION public.note();",
            ),
            event("ALTER EVENT TRIGGER second ENABLE REPLICA;"),
            event("ALTER EVENT TRIGGER always DISABLE;"),
        ],
    );
    source.archive_only(102, &[ddl("CREATE TABLE public.made_too (id int);")]);
    source.cluster.psql(
        &source.database,
        "CREATE TABLE public.made_too (id int); DELETE FROM public.log;
        INSERT INTO public.log VALUES ('CREATE TABLE')",
    );
    let target = source.restore(&[]);
    source.assert_same(&target);
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    let target = unique("target");
    source.cluster.create(&target, "");
    let conninfo = source.cluster.conninfo(&target);
    for (make, undo) in [
        ("CREATE TABLE t ()", "DROP TABLE t"),
        ("CREATE SCHEMA s", "DROP SCHEMA s"),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION f",
        ),
        (
            "SELECT lo_create(0)",
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        ),
    ] {
        source.cluster.psql(&target, make);
        let run = source.run(&["--target", &conninfo]);
        assert_eq!(run.0.status.code(), Some(1));
        assert!(run.text().contains("not empty"), "{make}: {}", run.text());
        source.cluster.psql(&target, undo);
    }
    source
        .cluster
        .psql(&target, "CREATE TEMP TABLE used_once ()");
    let run = source.run(&["--target", &conninfo]);
    assert!(run.0.status.success(), "{}", run.text());
    source.assert_same(&target);
}

#[test]
fn damage_is_found_before_anything_is_touched() {
    let mut source = Source::new(TABLE);
    let base = source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let first = source.rotate(101);
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let second = source.rotate(102);
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let target = unique("target");
    let conninfo = source.cluster.conninfo(&target);
    let refused = |what: &str, said: &str| {
        let run = source.run(&["--target", &conninfo]);
        assert_eq!(run.0.status.code(), Some(1), "{what}: {}", run.text());
        assert!(run.text().contains(said), "{what}: {}", run.text());
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{target}'");
        assert_eq!(source.cluster.psql("postgres", sql), "0", "{what}");
    };
    let manifest = source.place.chain.manifest();
    let lines = fs::read(&manifest).unwrap();
    for (path, from, to) in [
        (base.join("dump.sql"), "one", "0ne"),
        (base.join("SHA256SUMS"), "  dump.sql", " dump.sql"),
        (first.clone(), "VALUES (100)", "VALUES (900)"),
        (second.clone(), "VALUES (101)", "VALUES (901)"),
        (second.clone(), "transactions=1", "transactions=2"),
        (second.clone(), "\\unrestrict", "\\restrict"),
    ] {
        let good = fs::read_to_string(&path).unwrap();
        assert!(good.contains(from));
        fs::write(&path, good.replace(from, to)).unwrap();
        refused(from, "damaged");
        // The next segment's header tells, too, when the manifest is gone.
        fs::remove_file(&manifest).unwrap();
        if path.ends_with("SHA256SUMS") || path.ends_with("dump.sql") {
            refused(from, "the base is damaged");
        } else {
            refused(from, "damaged");
        }
        fs::write(&manifest, &lines).unwrap();
        fs::write(&path, good).unwrap();
    }
    let aside = source.place.path().join("aside");
    fs::rename(&second, &aside).unwrap();
    refused("a missing segment", "starts at");
    fs::rename(&aside, &second).unwrap();
    fs::rename(&first, &aside).unwrap();
    refused("a missing first segment", "are gone");
    fs::rename(&aside, &first).unwrap();
    let run = source.run(&["--target", &conninfo]);
    assert!(run.0.status.success(), "{}", run.text());
    source.assert_same(&target);
}

#[test]
fn a_torn_open_segment_gives_its_complete_transactions() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let path = source.appender.current_file();
    let good = fs::read(&path).unwrap();
    let tail = b"-- @0123456789abcdef transaction xid=1\nBEGIN;\nINSERT";
    let mut tails: Vec<Vec<u8>> = vec![Vec::new(), tail.to_vec(), vec![0; 5000]];
    let text = String::from_utf8(good.clone()).unwrap();
    let again = &text[text.find(" transaction ").unwrap() - 21..];
    for cut in (1..again.len() - 1).step_by(9) {
        tails.push(again.as_bytes()[..cut].to_vec());
        tails.push([&again.as_bytes()[..cut], &[0; 100], b"x\nCOMMIT;\n"].concat());
    }
    for tail in tails {
        fs::write(&path, [&good[..], &tail].concat()).unwrap();
        let run = source.run(&["--dry-run"]);
        assert!(
            run.0.status.success() && run.text().contains("1 transactions"),
            "{}",
            run.text()
        );
    }
    fs::write(
        &path,
        [&good[..], &again.as_bytes()[..150], &[0; 100]].concat(),
    )
    .unwrap();
    let target = source.restore(&[]);
    source.assert_same(&target);
}

#[test]
fn any_database_name_and_any_form_of_conninfo_will_do() {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base, _| {
        base.write_file(
            "database.sql",
            b"COMMENT ON DATABASE :\"dbname\" IS 'mine';\n",
        )
        .unwrap();
    });
    let socket = source.cluster.socket();
    let uri_host = socket.replace('/', "%2F");
    let n = unique("");
    for (conninfo, name) in [
        (
            format!("host={socket} user=postgres dbname='my \\'db\\' {n}'"),
            format!("my 'db' {n}"),
        ),
        (
            format!("dbname = \"q\"{n} host = '{socket}' user=postgres"),
            format!("\"q\"{n}"),
        ),
        (
            format!("host={socket} user=postgres dbname='a\nb{n}'"),
            format!("a\nb{n}"),
        ),
        (
            format!("host={socket} user=postgres dbname=back\\\\slash{n}"),
            format!("back\\slash{n}"),
        ),
        (
            format!("host={socket} user=postgres dbname='x=y?&{n}'"),
            format!("x=y?&{n}"),
        ),
        (
            format!("postgresql://postgres@{uri_host}/uri%20%22{n}"),
            format!("uri \"{n}"),
        ),
        (
            format!("postgres:///?host={socket}&user=postgres&dbname=q{n}"),
            format!("q{n}"),
        ),
    ] {
        let run = source.run(&["--target", &conninfo]);
        assert!(run.0.status.success(), "{conninfo}: {}", run.text());
        source.assert_same(&name);
        let comment = source.cluster.psql(&name,
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()");
        assert_eq!(comment, "mine");
    }
}

#[test]
fn bytes_of_another_encoding_pass() {
    let mut source = Source::with_options(TABLE, "ENCODING 'LATIN1'");
    let schema = b"SET client_encoding = 'LATIN1'; CREATE TABLE public.\"\xfcber\" (\"stra\xdfe\" text PRIMARY KEY);";
    source.cluster.psql(&source.database, schema);
    source.base_with("100:100:", |_, metadata| {
        metadata.encoding = "LATIN1".to_owned()
    });
    // The segment's own encoding is that of its identity.
    let lines: [&[u8]; 2] = [
        b"INSERT INTO public.\"\xfcber\" (\"stra\xdfe\") VALUES ('\xe9t\xe9');",
        b"UPDATE public.\"\xfcber\" SET \"stra\xdfe\" = '\xff' WHERE \"stra\xdfe\" = '\xe9t\xe9';",
    ];
    let identity = archive::segment::SegmentIdentity {
        encoding: "LATIN1".to_owned(),
        ..support::identity(1000)
    };
    drop(std::mem::replace(
        &mut source.appender,
        Place::new().append(),
    ));
    for path in source.place.segments() {
        fs::remove_file(path).unwrap();
    }
    source.appender = source.place.chain.open_for_append(identity).unwrap();
    source.appender.begin(100, Lsn(0x5000), at(0)).unwrap();
    for line in lines {
        source.appender.statement(line).unwrap();
        source.cluster.psql(
            &source.database,
            [b"SET client_encoding = 'LATIN1';", line].concat(),
        );
    }
    source
        .appender
        .ddl(
            "COMMENT",
            b"r\xf4le",
            b"COMMENT ON TABLE public.\"\xfcber\" IS '\xe0';",
        )
        .unwrap();
    source.appender.commit().unwrap();
    source.appender.sync().unwrap();
    source.cluster.psql(
        &source.database,
        b"SET client_encoding = 'LATIN1'; COMMENT ON TABLE public.\"\xfcber\" IS '\xe0';",
    );
    for awk in awks() {
        let target = unique("target");
        let conninfo = source.cluster.conninfo(&target);
        let run = source.run_under("dash", Some(&awk), &["--target", &conninfo]);
        assert!(run.0.status.success(), "{}: {}", awk.display(), run.text());
        source.assert_same(&target);
    }
}

#[test]
fn sequences_blocks_between_base_and_wished_point_are_applied() {
    let mut source = Source::new(TABLE);
    let setval =
        |value: u32| format!("SELECT pg_catalog.setval('public.s', {value}, true);").into_bytes();
    source
        .appender
        .sequences(Lsn(0x1500), at(0), &[setval(7)])
        .unwrap();
    source.base("100:100:");
    source.appender.position(Lsn(0x2050), at(0)).unwrap();
    source
        .appender
        .sequences(Lsn(0x2060), at(0), &[setval(33)])
        .unwrap();
    source.appender.position(Lsn(0x2070), at(0)).unwrap();
    source
        .appender
        .sequences(Lsn(0x2080), at(0), &[setval(65)])
        .unwrap();
    source.appender.position(Lsn(0x2090), at(0)).unwrap();
    source.appender.sync().unwrap();
    let value = |arguments: &[&str]| {
        source.cluster.psql(
            &source.restore(arguments),
            "SELECT last_value FROM public.s",
        )
    };
    assert_eq!(value(&["--until-lsn", "0/2050"]), "1");
    assert_eq!(value(&["--until-lsn", "0/2070"]), "33");
    assert_eq!(value(&[]), "65");
}

#[test]
fn compressed_files_and_directory_dumps_are_read() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    source.rotate(200);
    source.transaction(200, &[Statement("INSERT INTO public.a (id) VALUES (200);")]);
    for (path, program) in source.place.segments().iter().zip(["gzip", "zstd"]) {
        let arguments: &[&str] = if program == "zstd" {
            &["-q", "--rm"]
        } else {
            &[]
        };
        assert!(Command::new(program)
            .args(arguments)
            .arg(path)
            .status()
            .unwrap()
            .success());
    }
    let target = source.restore(&[]);
    source.assert_same(&target);

    for format in ["dump.sql.gz", "dump"] {
        let mut source = Source::new(TABLE);
        let (cluster, database) = (source.cluster.clone(), source.database.clone());
        source.base_with("100:100:", |base, metadata| {
            let plain = base.path().join("dump.sql");
            metadata.dump = format.to_owned();
            if format == "dump" {
                fs::remove_file(plain).unwrap();
                let status = Command::new(cluster.bin().join("pg_dump"))
                    .args(["-Fd", "-f"])
                    .arg(base.path().join("dump"))
                    .arg("-d")
                    .arg(cluster.conninfo(&database))
                    .status();
                assert!(status.unwrap().success());
            } else {
                assert!(Command::new("gzip").arg(plain).status().unwrap().success());
            }
        });
        let target = source.restore(&[]);
        source.assert_same(&target);
    }
}

#[test]
fn the_newest_base_that_serves_is_chosen() {
    let mut source = Source::new(TABLE);
    let first = source.base("100:100:");
    let lsn = source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    source.rotate(101);
    let second = source.base("101:101:");
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let said = |arguments: &[&str]| source.run(&[&["--dry-run"], arguments].concat()).text();
    assert!(said(&[]).contains(&name(&second)));
    assert!(said(&["--until-lsn", &lsn.to_string()]).contains(&name(&first)));
    assert!(said(&["--base", &name(&first)]).contains(&name(&first)));
    let refused = said(&["--base", &name(&second), "--until-lsn", &lsn.to_string()]);
    assert!(refused.contains("no base"), "{refused}");
    let target = source.restore(&["--base", &name(&first)]);
    source.assert_same(&target);
    // A newer chain without a base is not chosen by itself.
    source
        .place
        .database
        .create_chain(support::new_chain(support::DATABASE_OID))
        .unwrap();
    assert!(said(&[]).contains("base: chain-1/"));
    assert!(said(&["--chain", "2"]).contains("chain-2 has no base"));
}

#[test]
fn an_archive_without_commit_times_can_not_be_restored_to_a_time() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.appender.begin(100, Lsn(0x5000), None).unwrap();
    source
        .appender
        .statement(b"INSERT INTO public.a (id) VALUES (100);")
        .unwrap();
    source.appender.commit().unwrap();
    source.appender.sync().unwrap();
    assert!(source
        .refused(&["--until-time", "2027-01-01"])
        .contains("without a commit time"));
    source.restore(&[]);
}

#[test]
fn wrong_use_is_told_apart() {
    let source = Source::new(TABLE);
    for arguments in [
        &[][..],
        &["--target"],
        &["--target", ""],
        &["--target", "host=/nowhere"],
        &["--target", "x", "--until-lsn", "0/1", "--until-xid", "1"],
        &["--target", "x", "--until-xid", "abc"],
        &["--target", "x", "--nonsense", "1"],
        &["x"],
        &["--dry-run", "--until-time", "now"],
    ] {
        let run = source.run(arguments);
        assert_eq!(
            run.0.status.code(),
            Some(2),
            "{arguments:?}: {}",
            run.text()
        );
    }
    let run = source.run(&["--help"]);
    assert!(run.0.status.success() && run.text().starts_with("usage: "));
    let run = source.run(&["--target", "host=/nowhere dbname=x", "--until-time", "now"]);
    assert!(
        run.0.status.code() == Some(1) && run.text().contains("can't connect"),
        "{}",
        run.text()
    );
    assert!(source
        .run(&["--dry-run"])
        .text()
        .contains("has a finished base"));
}

#[test]
fn settings_of_the_database_do_not_disturb_the_replay() {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base, _| {
        let sql = b"ALTER DATABASE :\"dbname\" SET default_transaction_read_only = on;\n\
                    ALTER DATABASE :\"dbname\" SET search_path = 'nowhere';\n";
        base.write_file("database.sql", sql).unwrap();
    });
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let target = source.restore(&[]);
    assert_eq!(
        source
            .cluster
            .psql(&target, "SHOW default_transaction_read_only"),
        "on"
    );
    source.assert_same(&target);
}
