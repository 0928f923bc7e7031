//! What recording DDL costs a CREATE TABLE and an ALTER TABLE ADD COLUMN, as the client sees it:
//! the statement and its commit.

use crate::pgbench::pgbench;
use crate::report::{figure, Report};
use crate::stats::{median, percentile};
use crate::{process, server};
use harness::Cluster;
use serde_json::json;

/// Statements of one turn, and turns in each repeat.
const STATEMENTS: &str = "100";
const TURNS: usize = 5;

/// Tables that columns are added to: a table's row in the catalogs must not grow for ever.
const TABLES: u32 = 100;

const CREATE_TABLE: (&str, &str) = (
    "CREATE TABLE",
    "\\set n random(1, 1000000000)\n\
     CREATE TABLE made_:n (id bigint PRIMARY KEY, name text NOT NULL, amount numeric, at timestamptz);\n",
);
const ADD_COLUMN: (&str, &str) = (
    "ALTER TABLE ADD COLUMN",
    "\\set n random(1, 1000000000)\n\\set t random(1, 100)\n\
     ALTER TABLE given_:t ADD COLUMN added_:n int;\n",
);

struct Server {
    name: &'static str,
    cluster: Cluster,
    /// For CREATE TABLE and for ADD COLUMN.
    statements: [Statements; 2],
}

#[derive(Default)]
struct Statements {
    /// Milliseconds of each.
    latencies: Vec<f64>,
    /// CPU seconds of the backends that ran them.
    cpu: f64,
}

pub fn measure(report: &mut Report, repeats: usize) {
    let mut servers = servers();
    for _ in 0..repeats * TURNS {
        for server in &mut servers {
            for (place, (_, script)) in [CREATE_TABLE, ADD_COLUMN].into_iter().enumerate() {
                server.statements[place].add(&server.cluster, script);
            }
        }
        servers.rotate_left(1);
    }
    servers.sort_by_key(|server| server.name);

    report.heading("DDL");
    report.note(&format!(
        "Milliseconds of a statement and its commit, one client, fsync on; {} statements of each kind on each server, \
         which take turns. \"recorded\": in ddl_history, with the capture held; \"recorded and captured\": with the \
         worker writing and fsyncing beside it. CPU: milliseconds of the backend, in the mean, connecting included.",
        repeats * TURNS * 100
    ));
    let base = |place: usize| find(&servers, WITHOUT).statements[place].median();
    let row = |server: &Server| {
        let mut cells = vec![server.name[3..].to_string()];
        for (place, statements) in server.statements.iter().enumerate() {
            let more = statements.median() / base(place) - 1.0;
            cells.push(format!("{:.3}", statements.median()));
            cells.push(format!("{:+.1}%", more * 100.0));
            cells.push(figure(percentile(&statements.latencies, 0.99)));
            cells.push(format!("{:.2}", statements.cpu_milliseconds()));
        }
        cells
    };
    let header = [
        "server",
        "CREATE TABLE",
        "",
        "p99",
        "CPU",
        "ADD COLUMN",
        "",
        "p99",
        "CPU",
    ];
    report.table(&header, &servers.iter().map(row).collect::<Vec<_>>());
    for (place, (statement, _)) in [CREATE_TABLE, ADD_COLUMN].into_iter().enumerate() {
        let of = |name: &str| &find(&servers, name).statements[place];
        let ratio = |name: &str| {
            let cpu = of(name).cpu_milliseconds() / of(WITHOUT).cpu_milliseconds();
            (of(name).median() / of(WITHOUT).median(), cpu)
        };
        let what = format!("{statement}: median when recorded, as a multiple");
        report.ratio_at_most(&what, 1.1, ratio(RECORDED));
        let what = format!("{statement}: the same, with the capture running");
        report.ratio_at_most(&what, 1.1, ratio(CAPTURED));
    }
    for server in &servers {
        let of = |statements: &Statements| json!({"ms": statements.latencies, "cpu_ms": statements.cpu_milliseconds()});
        let [created, altered] = &server.statements;
        let raw = json!({"create_table": of(created), "add_column": of(altered)});
        report.raw("ddl", &server.name[3..], raw);
    }
    report.save();
}

// Numbered, for the order in the table.
const WITHOUT: &str = "1. library not loaded";
const NO_SLOT: &str = "2. library loaded, no slot";
const RECORDED: &str = "3. recorded";
const CAPTURED: &str = "4. recorded and captured";

fn servers() -> Vec<Server> {
    let new = |name, cluster: Cluster| {
        let table = "SELECT format('CREATE TABLE given_%s (id bigint PRIMARY KEY)', i)";
        cluster.sql(&format!(
            "{table} FROM generate_series(1, {TABLES}) i \\gexec"
        ));
        Server {
            name,
            cluster,
            statements: Default::default(),
        }
    };
    let held = server::builder().back_up();
    held.sql("SELECT incr_teardown(drop_slot => false)");
    let without = server::builder().without("shared_preload_libraries");
    vec![
        new(WITHOUT, without.start()),
        new(NO_SLOT, server::builder().start()),
        new(RECORDED, held),
        new(CAPTURED, server::builder().back_up()),
    ]
}

fn find<'a>(servers: &'a [Server], name: &str) -> &'a Server {
    let found = servers.iter().find(|server| server.name == name);
    found.expect("every server was measured")
}

impl Statements {
    /// One turn.
    fn add(&mut self, c: &Cluster, script: &str) {
        let file = c.root().join("ddl.pgbench");
        std::fs::write(&file, script).expect("the script can be written");
        let file = file.display().to_string();
        server::wait_for_sessions_to_end(c);
        let postmaster = server::postmaster(c);
        let before = process::waited_for_cpu_seconds(&postmaster);
        let run = pgbench(c, &["-c", "1", "-t", STATEMENTS, "-f", &file]);
        server::wait_for_sessions_to_end(c);
        self.cpu += process::waited_for_cpu_seconds(&postmaster) - before;
        self.latencies.extend(run.latencies);
    }

    fn median(&self) -> f64 {
        median(&self.latencies)
    }

    /// Of one statement, in the mean.
    fn cpu_milliseconds(&self) -> f64 {
        self.cpu * 1000.0 / self.latencies.len() as f64
    }
}
