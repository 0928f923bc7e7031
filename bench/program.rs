//! The program's restores beside what PostgreSQL's own tools take for the same: a base, large values, and many tables with
//! foreign keys and triggers.

use crate::replay::{self, Took};
use crate::report::{figure, Report};
use crate::restore::{middle, raw};
use crate::{server, turns};
use harness::{run, Builder, Cluster};
use std::path::{Path, PathBuf};

const DATABASE: &str = "restored";

/// How something is restored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Program,
    /// The net effect of changes.
    Squash,
    /// One table alone.
    Part,
    /// One table alone, from the files.
    Extract,
    RestoreSh,
    Psql,
    /// The program, by two sessions.
    Jobs,
    /// Of a dump in directory format, by two jobs.
    PgRestore,
}

/// One method's turns at one source.
struct Turns<'a> {
    source: &'a Source,
    method: Method,
    took: Vec<Took>,
}

/// An archive, and pg_dump of the same database.
struct Source {
    name: &'static str,
    cluster: Cluster,
    dump: PathBuf,
    directory: PathBuf,
}

/// One comparison.
pub type Part = fn(&mut Report, usize, &Cluster);

/// Those that can be measured alone.
pub const PARTS: [(&str, Part); 3] = [("jobs", jobs), ("part", part), ("squash", squash)];

/// One of [`PARTS`].
pub fn measure_alone(report: &mut Report, repeats: usize, part: Part) {
    report.heading("Program, in part");
    part(report, repeats, &replay::target());
    report.save();
}

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("Program");
    report.note(
        "Restores by pg_incrbackup restore and restore.sh, with their checks and CREATE DATABASE, beside psql -f of pg_dump \
         with CREATE DATABASE; medians. One server as the target, with synchronous_commit = off for everybody, fsync on.",
    );
    let target = replay::target();
    base(report, repeats, &target);
    jobs(report, repeats, &target);
    part(report, repeats, &target);
    squash(report, repeats, &target);
    values(report, repeats, &target);
    tables(report, repeats, &target);
    report.save();
}

/// A base of about 1 GB, without changes.
fn base(report: &mut Report, repeats: usize, target: &Cluster) {
    let sources = [Source::new("base of 1 GB", |c| {
        c.sql(
            "CREATE TABLE big (id int, a text, b numeric, c timestamptz);
             INSERT INTO big SELECT i, repeat(md5(i::text), 3), i / 7.0, timestamptz '2026-01-01Z' + i * interval '1 s'
                FROM generate_series(1, 7000000) i;
             ALTER TABLE big ADD PRIMARY KEY (id); CREATE INDEX ON big (c)",
        );
        set_up(c);
    })];
    let all = take_turns(repeats, target, &sources, &[Method::Program, Method::Psql]);
    show(report, &all);
    let what = "program: a base of 1 GB: time, as a multiple of psql -f";
    report.ratio_at_most(what, 1.2, ratio(&all, 0, Method::Program, Method::Psql));
}

/// A base of about 1 GB in directory format, with more tables than sessions, by two of them.
fn jobs(report: &mut Report, repeats: usize, target: &Cluster) {
    let server = server::builder().setting("pg_incrbackup.base_format", "'directory'");
    let sources = [Source::on(server, "base of 1 GB in five tables", |c| {
        for (table, rows) in [
            ("a", 2_000_000),
            ("b", 1_500_000),
            ("c", 1_500_000),
            ("d", 1_000_000),
            ("e", 1_000_000),
        ] {
            c.sql(&format!(
                "CREATE TABLE {table} (id int, a text, b numeric, c timestamptz);
                 INSERT INTO {table} SELECT i, repeat(md5(i::text), 3), i / 7.0, timestamptz '2026-01-01Z' + i * interval '1 s'
                    FROM generate_series(1, {rows}) i;
                 ALTER TABLE {table} ADD PRIMARY KEY (id); CREATE INDEX ON {table} (c)"
            ));
        }
        set_up(c);
    })];
    let methods = [Method::Jobs, Method::PgRestore];
    let all = take_turns(repeats, target, &sources, &methods);
    show(report, &all);
    let what = "program: a base of 1 GB by two sessions: time, as a multiple of pg_restore -j2";
    report.ratio_at_most(what, 1.1, ratio(&all, 0, Method::Jobs, Method::PgRestore));
}

/// One table that has 1 % of the rows, in the base and in the changes: there is something of it in every segment.
fn part(report: &mut Report, repeats: usize, target: &Cluster) {
    let sources = [Source::new("1 % of the rows", |c| {
        c.sql(
            "CREATE TABLE big (id int PRIMARY KEY, a text, b numeric, c timestamptz);
             INSERT INTO big SELECT i, repeat(md5(i::text), 3), i / 7.0, timestamptz '2026-01-01Z' + i * interval '1 s'
                FROM generate_series(1, 2000000) i;
             CREATE INDEX ON big (c); CREATE TABLE part (LIKE big INCLUDING ALL);
             INSERT INTO part SELECT * FROM big WHERE id <= 20000;
             SELECT format('CREATE TABLE t%s (id serial PRIMARY KEY, a text)', i) FROM generate_series(1, 50) i \\gexec",
        );
        set_up(c);
        c.sql(
            "SET synchronous_commit = off;
             DO $$ BEGIN FOR i IN 1..150000 LOOP
                UPDATE big SET b = b + 1 WHERE id = i;
                INSERT INTO big SELECT 3000000 + 3 * i + n, md5(i::text), 1, now() FROM generate_series(0, 2) n;
                IF i % 25 = 0 THEN UPDATE part SET b = b + 1 WHERE id = i / 25; END IF;
                COMMIT;
             END LOOP; END $$",
        );
    })];
    let methods = [Method::Program, Method::Part, Method::Extract];
    let all = take_turns(repeats, target, &sources, &methods);
    show(report, &all);
    let what = "program: one table of 1 % of the rows: time, as a part of the whole's";
    report.ratio_at_most(what, 0.08, ratio(&all, 0, Method::Part, Method::Program));
    let what = "program: extract of one table of 1 % of the rows: time, as a part of the whole's";
    report.ratio_at_most(what, 0.08, ratio(&all, 0, Method::Extract, Method::Program));
}

/// Every row updated once, and fifty times, of which only the net effect is applied.
fn squash(report: &mut Report, repeats: usize, target: &Cluster) {
    let with = |name, times: u32| {
        Source::new(name, move |c| {
            c.sql(
                "CREATE TABLE counters (id int PRIMARY KEY, name text, n bigint, at timestamptz);
                 INSERT INTO counters SELECT i, md5(i::text), 0, timestamptz '2026-01-01Z' FROM generate_series(1, 100000) i",
            );
            set_up(c);
            c.sql(&format!(
                "SET synchronous_commit = off;
                 DO $$ BEGIN FOR i IN 1..{times} LOOP FOR part IN 0..99 LOOP
                    UPDATE counters SET n = n + 1, at = at + interval '1 s' WHERE id > part * 1000 AND id <= (part + 1) * 1000;
                    COMMIT;
                 END LOOP; END LOOP; END $$"
            ));
        })
    };
    let sources = [
        with("1 update of each row", 1),
        with("50 updates of each row", 50),
    ];
    let methods = [Method::Program, Method::Squash];
    let all = take_turns(repeats, target, &sources, &methods);
    show(report, &all);
    let (one, fifty) = (
        median_of(&all, 0, Method::Program),
        median_of(&all, 1, Method::Squash),
    );
    let what =
        "program: --squash of 50 updates of each row: time, as a multiple of 1 update without it";
    report.ratio_at_most(
        what,
        1.3,
        (fifty.seconds / one.seconds, fifty.cpu / one.cpu),
    );
}

/// Values of 100 MB together, which were inserted after the base.
fn values(report: &mut Report, repeats: usize, target: &Cluster) {
    let with = |name, count: u32| {
        Source::new(name, move |c| {
            c.sql("CREATE TABLE v (id int PRIMARY KEY, a text)");
            set_up(c);
            let size = 100 * 1024 * 1024 / 32 / count;
            c.sql(&format!(
                "INSERT INTO v SELECT i, repeat(md5(i::text), {size}) FROM generate_series(1, {count}) i"
            ));
        })
    };
    let sources = [with("10 values of 10 MB", 10), with("1 value of 100 MB", 1)];
    let all = take_turns(repeats, target, &sources, &[Method::Program]);
    show(report, &all);
    let (one, ten) = (
        median_of(&all, 1, Method::Program),
        median_of(&all, 0, Method::Program),
    );
    let what = "program: a value of 100 MB: time, as a multiple of ten of 10 MB";
    report.ratio_at_most(what, 1.5, (one.seconds / ten.seconds, one.cpu / ten.cpu));
}

/// As shared/cases/x-triggers-quadratic.sql: a foreign key and a trigger for each table, made after the base.
fn tables(report: &mut Report, repeats: usize, target: &Cluster) {
    let with = |name, count: u32| {
        Source::new(name, move |c| {
            set_up(c);
            c.sql(&format!(
                "DO $$ BEGIN FOR i IN 1..{count} LOOP
                   EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, r int REFERENCES t%s)', i, greatest(i - 1, 1));
                 END LOOP; END $$;
                 CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
                 SELECT format('CREATE TRIGGER g AFTER INSERT ON t%s FOR EACH ROW EXECUTE FUNCTION f()', i)
                   FROM generate_series(1, {count}) i \\gexec"
            ));
        })
    };
    let sources = [
        with("500 tables", 500),
        with("1,000 tables", 1000),
        with("2,000 tables", 2000),
    ];
    let methods = [Method::Program, Method::RestoreSh, Method::Psql];
    let all = take_turns(repeats, target, &sources, &methods);
    show(report, &all);
    for method in [Method::Program, Method::RestoreSh] {
        let what = format!(
            "{}: 1,000 tables with a key and a trigger: time, as a multiple of psql -f",
            method.name()
        );
        report.ratio_at_most(&what, 1.5, ratio(&all, 1, method, Method::Psql));
        let (small, large) = (median_of(&all, 0, method), median_of(&all, 2, method));
        let what = format!(
            "{}: 2,000 such tables: time, as a multiple of 500",
            method.name()
        );
        report.ratio_at_most(
            &what,
            5.0,
            (large.seconds / small.seconds, large.cpu / small.cpu),
        );
    }
}

fn set_up(c: &Cluster) {
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
}

impl Source {
    fn new(name: &'static str, make: impl FnOnce(&Cluster)) -> Source {
        Source::on(server::builder(), name, make)
    }

    fn on(builder: Builder, name: &'static str, make: impl FnOnce(&Cluster)) -> Source {
        let cluster = builder.start();
        make(&cluster);
        cluster.flush();
        let dump = cluster.root().join("dump.sql");
        let mut pg_dump = cluster.installation().command("pg_dump");
        pg_dump
            .args(["-d", &cluster.conninfo(cluster.database()), "-f"])
            .arg(&dump);
        run(&mut pg_dump);
        without_extension(&dump);
        let directory = cluster.root().join("dump");
        let mut pg_dump = cluster.installation().command("pg_dump");
        pg_dump
            .args(["-d", &cluster.conninfo(cluster.database()), "-Fd", "-f"])
            .arg(&directory);
        run(&mut pg_dump);
        Source {
            name,
            cluster,
            dump,
            directory,
        }
    }

    fn restore(&self, method: Method, target: &Cluster) -> Took {
        let archive = self.cluster.database_directory();
        let took = match method {
            Method::Program => replay::restore_by_program(&archive, target, DATABASE, &[]),
            Method::Squash => replay::restore_by_program(&archive, target, DATABASE, &["--squash"]),
            Method::Part => {
                let options = ["--table", "public.part"];
                replay::restore_by_program(&archive, target, DATABASE, &options)
            }
            Method::Extract => return self.extract(&archive, target),
            Method::RestoreSh => replay::restore(&archive, target, DATABASE, &[]),
            Method::Psql => replay::run_file(&self.dump, target, DATABASE),
            Method::Jobs => {
                replay::restore_by_program(&archive, target, DATABASE, &["--jobs", "2"])
            }
            Method::PgRestore => replay::run_pg_restore(&self.directory, "2", target, DATABASE),
        };
        let count = "SELECT count(*), sum(n_live_tup) FROM pg_class LEFT JOIN pg_stat_user_tables ON relid = oid \
                     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        let made = target.sql_in(DATABASE, count);
        assert!(!made.starts_with('0'), "{}: {made}", self.name);
        replay::remove(target, DATABASE);
        took
    }
}

impl Source {
    fn extract(&self, archive: &Path, target: &Cluster) -> Took {
        let file = self.cluster.root().join("rows.csv");
        let took = replay::extract_by_program(archive, target, "public.part", &file);
        let rows = std::fs::read(&file).expect("it is there");
        assert!(rows.iter().filter(|byte| **byte == b'\n').count() >= 20_000);
        std::fs::remove_file(&file).expect("it can be removed");
        took
    }
}

/// A plain dump without the lines of the extension, which a restored database does not have.
fn without_extension(dump: &Path) {
    let text = std::fs::read_to_string(dump).expect("pg_dump has written it");
    let is_ours = |line: &&str| !line.contains("EXTENSION") || !line.contains("pg_incrbackup");
    let kept: Vec<&str> = text.lines().filter(is_ours).collect();
    std::fs::write(dump, kept.join("\n") + "\n").expect("it can be written");
}

fn take_turns<'a>(
    repeats: usize,
    target: &Cluster,
    sources: &'a [Source],
    methods: &[Method],
) -> Vec<Turns<'a>> {
    let turns = |source, method| Turns {
        source,
        method,
        took: Vec::new(),
    };
    let mut all: Vec<Turns> = sources
        .iter()
        .flat_map(|source| methods.iter().map(move |method| turns(source, *method)))
        .collect();
    turns::alternate(&mut all, repeats, |round, turns| {
        let took = turns.source.restore(turns.method, target);
        let (source, method) = (turns.source.name, turns.method.name());
        eprintln!(
            "bench: program, round {round}: {source}, {method}: {:.2} s, cpu {:.2} s",
            took.seconds, took.cpu
        );
        turns.took.push(took);
    });
    all
}

fn show(report: &mut Report, all: &[Turns]) {
    let row = |turns: &Turns| {
        let took = middle(&turns.took);
        let name = format!("{}, {}", turns.source.name, turns.method.name());
        vec![name, figure(took.seconds), figure(took.cpu)]
    };
    report.table(
        &["restored", "s", "CPU s"],
        &all.iter().map(row).collect::<Vec<_>>(),
    );
    for turns in all {
        let name = format!("{}, {}", turns.source.name, turns.method.name());
        report.raw("program", &name, raw(&turns.took));
    }
}

fn median_of(all: &[Turns], source: usize, method: Method) -> Took {
    let mut names: Vec<&str> = all.iter().map(|turns| turns.source.name).collect();
    names.dedup();
    let is_it = |turns: &&Turns| turns.source.name == names[source] && turns.method == method;
    middle(&all.iter().find(is_it).expect("it was measured").took)
}

fn ratio(all: &[Turns], source: usize, one: Method, other: Method) -> (f64, f64) {
    let (one, other) = (median_of(all, source, one), median_of(all, source, other));
    (one.seconds / other.seconds, one.cpu / other.cpu)
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Program => "pg_incrbackup restore",
            Method::Squash => "pg_incrbackup restore --squash",
            Method::Part => "pg_incrbackup restore --table",
            Method::Extract => "pg_incrbackup extract",
            Method::RestoreSh => "restore.sh",
            Method::Psql => "psql -f",
            Method::Jobs => "pg_incrbackup restore --jobs 2",
            Method::PgRestore => "pg_restore -j2",
        }
    }
}
