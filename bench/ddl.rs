//! What recording DDL costs a CREATE TABLE and an ALTER TABLE ADD COLUMN, as the client sees it:
//! the statement and its commit.

use crate::pgbench::pgbench;
use crate::report::{figure, Report};
use crate::server;
use crate::stats::{median, percentile};
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
    /// Milliseconds of each statement, for CREATE TABLE and for ADD COLUMN.
    latencies: [Vec<f64>; 2],
}

pub fn measure(report: &mut Report, repeats: usize) {
    let mut servers = servers();
    for _ in 0..repeats * TURNS {
        for server in &mut servers {
            for (place, (_, script)) in [CREATE_TABLE, ADD_COLUMN].into_iter().enumerate() {
                let latencies = run(&server.cluster, script);
                server.latencies[place].extend(latencies);
            }
        }
        servers.rotate_left(1);
    }
    servers.sort_by_key(|server| server.name);

    report.heading("DDL");
    report.note(&format!(
        "Milliseconds of a statement and its commit, one client, fsync on; {} statements of each kind on each server, \
         which take turns. \"recorded\": in ddl_history, with the capture held; \"recorded and captured\": with the \
         worker writing and fsyncing beside it.",
        repeats * TURNS * 100
    ));
    let base = |place: usize| median(&find(&servers, WITHOUT).latencies[place]);
    let row = |server: &Server| {
        let mut cells = vec![server.name[3..].to_string()];
        for (place, latencies) in server.latencies.iter().enumerate() {
            let middle = median(latencies);
            cells.push(format!("{middle:.3}"));
            cells.push(format!("{:+.1}%", (middle / base(place) - 1.0) * 100.0));
            cells.push(figure(percentile(latencies, 0.99)));
        }
        cells
    };
    let header = ["server", "CREATE TABLE", "", "p99", "ADD COLUMN", "", "p99"];
    report.table(&header, &servers.iter().map(row).collect::<Vec<_>>());
    for (place, (statement, _)) in [CREATE_TABLE, ADD_COLUMN].into_iter().enumerate() {
        let more = |name: &str| {
            (median(&find(&servers, name).latencies[place]) / base(place) - 1.0) * 100.0
        };
        report.at_most(
            &format!("{statement}: what recording adds to the median"),
            10.0,
            more(RECORDED),
            "%",
        );
        report.at_most(
            &format!("{statement}: the same, with the capture running"),
            10.0,
            more(CAPTURED),
            "%",
        );
    }
    for server in &servers {
        let [created, altered] = &server.latencies;
        let raw = json!({"create_table_ms": created, "add_column_ms": altered});
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
        for table in 1..=TABLES {
            cluster.sql(&format!(
                "CREATE TABLE given_{table} (id bigint PRIMARY KEY)"
            ));
        }
        Server {
            name,
            cluster,
            latencies: [Vec::new(), Vec::new()],
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

fn run(c: &Cluster, script: &str) -> Vec<f64> {
    let file = c.root().join("ddl.pgbench");
    std::fs::write(&file, script).expect("the script can be written");
    let file = file.display().to_string();
    pgbench(c, &["-c", "1", "-t", STATEMENTS, "-f", &file]).latencies
}
