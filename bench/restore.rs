//! Replaying the reference load into a database that holds the base from before it: the program, restore.sh,
//! `psql -f` of what decoder_raw wrote, and a native subscription, on one and the same target.

use crate::contestant::{output_file, Contestant, STREAM};
use crate::replay::{self, Took};
use crate::report::{figure, Report};
use crate::stats::median;
use crate::wal::Wal;
use crate::{keyless, loads, server, turns};
use harness::{run, Cluster};
use serde_json::json;

const DECODER_RAW: Contestant = Contestant::Peer("decoder_raw");

const BASE: &str = "pg_incrbackup restore, the base alone";
const BASE_BY_SCRIPT: &str = "restore.sh, the base alone";

/// Where each turn restores to.
const DATABASE: &str = "restored";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Program,
    /// By two sessions.
    Lanes,
    RestoreSh,
    /// With this synchronous_commit.
    DecoderRaw(&'static str),
    Subscription,
}

/// One method's turns.
struct Turns {
    method: Method,
    took: Vec<Took>,
}

struct Replays {
    wal: Wal,
    target: Cluster,
    /// What the restore of the base alone took, each time: by the program, and by restore.sh.
    bases: Vec<Took>,
    bases_by_script: Vec<Took>,
}

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("Restore");
    report.note(
        "The reference load replayed into a database that holds the base from before it; medians. Everybody into \
         the same server, with synchronous_commit = off unless it says otherwise, without a checkpoint between \
         base and replay. The program and restore.sh check and replay; the time that each takes with the base alone is \
         taken off. \
         decoder_raw's output is run by psql -f. The subscription is PostgreSQL's own, from its enabling until the \
         load's last row is there; its time is the only one that holds the decoding, too. CPU: of programs and sessions, the \
         subscription's walsender included. \"× ours\": as a multiple of the program's.",
    );
    let mut replays = Replays::of_reference();
    let mut all = replays.methods();
    turns::alternate(&mut all, repeats, |round, turns| {
        let took = replays.turn(turns.method);
        eprintln!(
            "bench: replay, round {round}: {}: {:.2} s, cpu {:.2} s",
            turns.method.name(),
            took.seconds,
            took.cpu
        );
        turns.took.push(took);
    });
    replays.show(report, &all);
    keyless::measure(report, repeats, &replays.target);
    report.save();
}

impl Replays {
    /// The load in our archive, in decoder_raw's output, and still in the WAL.
    fn of_reference() -> Self {
        let wal = Wal::of(&loads::REFERENCE);
        STREAM.drain(&wal);
        if server::has_plugin(wal.cluster.installation(), "decoder_raw") {
            DECODER_RAW.drain(&wal);
        }
        Self {
            wal,
            target: replay::target(),
            bases: Vec::new(),
            bases_by_script: Vec::new(),
        }
    }

    fn methods(&self) -> Vec<Turns> {
        let mut methods = vec![
            Method::Program,
            Method::Lanes,
            Method::RestoreSh,
            Method::Subscription,
        ];
        if server::has_plugin(self.wal.cluster.installation(), "decoder_raw") {
            methods.extend(["off", "on"].map(Method::DecoderRaw));
        }
        let turns = |method| Turns {
            method,
            took: Vec::new(),
        };
        methods.into_iter().map(turns).collect()
    }

    /// One replay, and the look whether it was one. Ours still holds the time of the base.
    fn turn(&mut self, method: Method) -> Took {
        let source = &self.wal.cluster;
        let before = source.root().join("archive.before").join(source.database());
        match method {
            Method::Program => {
                let base = replay::restore(&before, &self.target, DATABASE, &[]);
                self.bases_by_script.push(base);
                replay::remove(&self.target, DATABASE);
            }
            Method::Lanes | Method::RestoreSh => {
                let base = replay::restore_by_program(&before, &self.target, DATABASE, &[]);
                self.bases.push(base);
                replay::remove(&self.target, DATABASE);
            }
            Method::DecoderRaw(_) | Method::Subscription => {
                let base = replay::restore_by_program(&before, &self.target, DATABASE, &[]);
                self.bases.push(base);
            }
        }
        let took = match method {
            Method::Program => {
                let archive = source.database_directory();
                replay::restore_by_program(&archive, &self.target, DATABASE, &[])
            }
            Method::Lanes => {
                let archive = source.database_directory();
                replay::restore_by_program(&archive, &self.target, DATABASE, &["--jobs", "2"])
            }
            Method::RestoreSh => {
                let archive = source.database_directory();
                replay::restore(&archive, &self.target, DATABASE, &[])
            }
            Method::DecoderRaw(commit) => self.run_output(commit),
            Method::Subscription => self.subscribe(),
        };
        let replayed = contents(&self.target, DATABASE);
        let wanted = contents(source, source.database());
        assert_eq!(
            replayed,
            wanted,
            "{} replayed something else",
            method.name()
        );
        replay::remove(&self.target, DATABASE);
        took
    }

    fn run_output(&self, commit: &str) -> Took {
        let mut psql = self.target.installation().command("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
        psql.arg(output_file(&self.wal.cluster, "decoder_raw"));
        psql.args(["-d", &self.target.conninfo(DATABASE)]);
        psql.env("PGOPTIONS", format!("-c synchronous_commit={commit}"));
        let work = || {
            run(&mut psql);
        };
        replay::timed(&[&self.target], work, || ())
    }

    /// With nothing but what a subscription comes with, and a slot that stands before the load.
    fn subscribe(&self) -> Took {
        let source = &self.wal.cluster;
        source.sql("SELECT pg_copy_logical_replication_slot('start', 'peer', false, 'pgoutput')");
        let conninfo = source.conninfo(source.database()).replace('\'', "''");
        let sql = |sql: &str| self.target.sql_in(DATABASE, sql);
        sql(&format!(
            "CREATE SUBSCRIPTION reference CONNECTION '{conninfo}' PUBLICATION reference \
             WITH (slot_name = 'peer', create_slot = false, copy_data = false, enabled = false)"
        ));
        // The load's last statement deletes it.
        let until_applied = "DO $$ BEGIN
            WHILE EXISTS (SELECT FROM pgbench_accounts WHERE aid = 1000000) LOOP
                PERFORM pg_sleep(0.01);
            END LOOP;
        END $$";
        let work = || {
            sql("ALTER SUBSCRIPTION reference ENABLE");
            sql(&format!(
                "SET statement_timeout = '10min';\n{until_applied}"
            ));
        };
        let end = || {
            sql("ALTER SUBSCRIPTION reference DISABLE");
        };
        let took = replay::timed(&[source, &self.target], work, end);
        sql("ALTER SUBSCRIPTION reference SET (slot_name = NONE)");
        sql("DROP SUBSCRIPTION reference");
        source.sql("SELECT pg_drop_replication_slot('peer')");
        took
    }

    fn show(&self, report: &mut Report, all: &[Turns]) {
        let (base, by_script) = (middle(&self.bases), middle(&self.bases_by_script));
        let of = |turns: &Turns| match turns.method {
            Method::Program | Method::Lanes => middle(&turns.took).without(base),
            Method::RestoreSh => middle(&turns.took).without(by_script),
            _ => middle(&turns.took),
        };
        let find = |method| all.iter().find(|turns| turns.method == method).map(of);
        let ours = find(Method::Program).expect("ours is measured");
        let row = |turns: &Turns| {
            let took = of(turns);
            vec![
                turns.method.name(),
                figure(took.seconds),
                figure(took.cpu),
                figure(took.seconds / ours.seconds),
                figure(took.cpu / ours.cpu),
            ]
        };
        let mut rows: Vec<_> = all.iter().map(row).collect();
        for (name, took) in [(BASE, base), (BASE_BY_SCRIPT, by_script)] {
            let (seconds, cpu) = (figure(took.seconds), figure(took.cpu));
            rows.push(vec![
                name.into(),
                seconds,
                cpu,
                String::new(),
                String::new(),
            ]);
        }
        let header = ["replayed by", "s", "CPU s", "× ours", "by CPU"];
        report.table(&header, &rows);
        let turns = all
            .iter()
            .map(|turns| (turns.method.name(), raw(&turns.took)));
        let bases = [(BASE, &self.bases), (BASE_BY_SCRIPT, &self.bases_by_script)];
        let bases = bases.map(|(name, all)| (name.to_string(), raw(all)));
        let raw = turns.chain(bases).collect::<serde_json::Map<_, _>>();
        report.raw("restore", "reference", raw.into());
        let peer = find(Method::Subscription).expect("it is measured");
        let what = "restore: the program's time, as a multiple of the subscription's";
        let ratio = (ours.seconds / peer.seconds, ours.cpu / peer.cpu);
        report.ratio_at_most(what, 0.5, ratio);
        let lanes = find(Method::Lanes).expect("they are measured");
        let what =
            "restore: the program's time by two sessions, as a multiple of the subscription's";
        let ratio = (lanes.seconds / peer.seconds, lanes.cpu / peer.cpu);
        report.ratio_at_most(what, 0.35, ratio);
        if let Some(peer) = find(Method::DecoderRaw("off")) {
            let what = "restore: times as fast as decoder_raw's output";
            let ratio = (peer.seconds / ours.seconds, peer.cpu / ours.cpu);
            report.ratio_at_least(what, 4.0, ratio);
        }
    }
}

impl Method {
    fn name(self) -> String {
        match self {
            Method::Program => "pg_incrbackup restore".to_string(),
            Method::Lanes => "pg_incrbackup restore --jobs 2".to_string(),
            Method::RestoreSh => "restore.sh".to_string(),
            Method::DecoderRaw("off") => "psql -f, decoder_raw".to_string(),
            Method::DecoderRaw(commit) => {
                format!("psql -f, decoder_raw, synchronous_commit = {commit}")
            }
            Method::Subscription => "native subscription".to_string(),
        }
    }
}

/// Every row of the load's tables, summed up.
fn contents(c: &Cluster, database: &str) -> String {
    let of = |table: &str| {
        format!("SELECT '{table}', count(*), sum(hashtextextended(t::text, 0)) FROM {table} t")
    };
    let tables = ["accounts", "branches", "tellers", "history"];
    let queries = tables.map(|table| of(&format!("pgbench_{table}")));
    let all = queries.join(" UNION ALL ");
    c.sql_in(database, &format!("{all} ORDER BY 1"))
}

/// By each of the two measures.
pub fn middle(all: &[Took]) -> Took {
    let of = |what: fn(&Took) -> f64| median(&all.iter().map(what).collect::<Vec<_>>());
    Took {
        seconds: of(|took| took.seconds),
        cpu: of(|took| took.cpu),
    }
}

pub fn raw(all: &[Took]) -> serde_json::Value {
    let one = |took: &Took| json!({"seconds": took.seconds, "cpu": took.cpu});
    all.iter().map(one).collect()
}
