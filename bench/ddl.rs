//! What recording DDL costs, as the client sees it: a statement of each kind and its commit, and a migration of
//! many statements in one transaction.

use crate::pgbench::pgbench;
use crate::report::{figure, Report};
use crate::stats::{median, percentile};
use crate::{process, server};
use harness::{run, Cluster};
use serde_json::json;
use std::time::Instant;

/// Statements of one turn, and turns in each repeat.
const STATEMENTS: &str = "100";
const TURNS: usize = 5;

/// Tables that columns are added to: a table's row in the catalogs must not grow for ever.
const TABLES: u32 = 100;

/// Each with its script, and how much longer it may take.
const KINDS: [Kind; 7] = [
    Kind {
        statement: "CREATE TABLE",
        script: "\\set n random(1, 1000000000)\n\
             CREATE TABLE made_:n (id bigint PRIMARY KEY, name text NOT NULL, amount numeric, at timestamptz);\n",
        limit: 1.05,
    },
    Kind {
        statement: "CREATE, DROP without a key",
        script: "\\set n random(1, 1000000000)\n\
             CREATE TABLE made_:n (id bigint, name text);\nDROP TABLE made_:n;\n",
        limit: 1.05,
    },
    Kind {
        statement: "ADD COLUMN",
        script: "\\set n random(1, 1000000000)\n\\set t random(1, 100)\n\
             ALTER TABLE given_:t ADD COLUMN added_:n int;\n",
        limit: 1.1,
    },
    Kind {
        statement: "CREATE INDEX",
        script: "\\set n random(1, 1000000000)\n\\set t random(1, 100)\n\
             CREATE INDEX made_:n ON given_:t (id);\n",
        limit: 1.05,
    },
    Kind {
        statement: "CREATE FUNCTION",
        script: "\\set n random(1, 1000000000)\n\
             CREATE FUNCTION made_:n(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1';\n",
        limit: 1.05,
    },
    Kind {
        statement: "GRANT, REVOKE",
        script: "\\set n random(0, 1)\n\\set t random(1, 100)\n\\if :n\n\
             GRANT SELECT ON given_:t TO reader;\n\\else\nREVOKE SELECT ON given_:t FROM reader;\n\\endif\n",
        limit: 1.05,
    },
    Kind {
        statement: "COMMENT",
        script: "\\set n random(1, 1000000000)\n\\set t random(1, 100)\n\
             COMMENT ON TABLE given_:t IS 'words :n';\n",
        limit: 1.05,
    },
];

struct Kind {
    statement: &'static str,
    script: &'static str,
    limit: f64,
}

/// Statements of a migration, in groups of five.
const MIGRATION: usize = 2000;

struct Server {
    name: &'static str,
    cluster: Cluster,
    /// For each of [`KINDS`].
    statements: [Statements; KINDS.len()],
    migrations: Statements,
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
    for turn in 0..repeats * TURNS {
        for server in &mut servers {
            for (statements, kind) in server.statements.iter_mut().zip(&KINDS) {
                let is_floor = server.name == ROW_ALONE;
                let (what, by_hand) = BY_HAND;
                let by_hand = is_floor.then(|| kind.script.replace(what, by_hand));
                let script = by_hand.as_deref().unwrap_or(kind.script);
                statements.add(&server.cluster, script);
            }
            let migration = migration(turn);
            server.migrations.add_migration(&server.cluster, &migration);
        }
        servers.rotate_left(1);
    }
    servers.sort_by_key(|server| server.name);

    report.heading("DDL");
    report.note(&format!(
        "Milliseconds of a statement and its commit, one client, fsync on; {} statements of each kind on each server, \
         which take turns. Migration: {MIGRATION} statements in one transaction (CREATE TABLE, ADD COLUMN, CREATE INDEX, \
         COMMENT, GRANT), {} of them. \"recorded\": in ddl_history, with the capture held; \"recorded and captured\": \
         with the worker writing and fsyncing beside it. \"a row alone\": a table without a key gets its replica identity by an \
         ALTER TABLE of the script's own. CPU: milliseconds of the backend, in the mean, connecting \
         included.",
        repeats * TURNS * 100,
        repeats * TURNS
    ));
    let kinds = KINDS.iter().map(|kind| (kind.statement, kind.limit));
    let kinds = kinds.chain([("migration", 1.05)]);
    for (place, (name, limit)) in kinds.enumerate() {
        let of = |server: &str| find(&servers, server).of(place);
        let row = |server: &Server| {
            let statements = server.of(place);
            let more = statements.median() / of(WITHOUT).median() - 1.0;
            vec![
                server.name[3..].to_string(),
                format!("{:.3}", statements.median()),
                format!("{:+.1}%", more * 100.0),
                figure(percentile(&statements.latencies, 0.99)),
                format!("{:.2}", statements.cpu_milliseconds()),
            ]
        };
        let rows = servers.iter().map(row).collect::<Vec<_>>();
        report.table(&[name, "median", "", "p99", "CPU"], &rows);
        let ratio = |server: &str| {
            let cpu = of(server).cpu_milliseconds() / of(WITHOUT).cpu_milliseconds();
            (of(server).median() / of(WITHOUT).median(), cpu)
        };
        let what = format!("{name}: median when recorded, as a multiple");
        report.ratio_at_most(&what, limit, ratio(RECORDED));
        let what = format!("{name}: the same, with the capture running");
        report.ratio_at_most(&what, limit, ratio(CAPTURED));
        for server in &servers {
            let statements = server.of(place);
            let raw = json!({"ms": statements.latencies, "cpu_ms": statements.cpu_milliseconds()});
            report.raw("ddl", &format!("{name}, {}", &server.name[3..]), raw);
        }
    }
    report.save();
}

/// One transaction.
fn migration(turn: usize) -> String {
    let mut sql = format!("BEGIN;\nCREATE SCHEMA m{turn};\nSET search_path = m{turn};\n");
    for n in 0..MIGRATION / 5 {
        sql += &format!(
            "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL);\n\
             ALTER TABLE t{n} ADD COLUMN at timestamptz;\n\
             CREATE INDEX ON t{n} (name);\n\
             COMMENT ON TABLE t{n} IS 'number {n}';\n\
             GRANT SELECT ON t{n} TO reader;\n"
        );
    }
    sql + "COMMIT;\n"
}

// Numbered, for the order in the table.
const WITHOUT: &str = "1. library not loaded";
const NO_SLOT: &str = "2. library loaded, no slot";
/// PostgreSQL keeps the old versions of catalog rows for any logical slot: that much DDL costs with each.
const PEER: &str = "3. library not loaded, another's slot";
/// What a row with its key costs, besides that: the floor of all that keeps ddl_history.
const ROW_ALONE: &str = "4. a row alone, another's slot";
/// The same, where the user gives a table without a key its replica identity, as the extension does.
const BY_HAND: (&str, &str) = (
    "DROP TABLE",
    "ALTER TABLE made_:n REPLICA IDENTITY FULL;\nDROP TABLE",
);
const RECORDED: &str = "5. recorded";
const CAPTURED: &str = "6. recorded and captured";

fn servers() -> Vec<Server> {
    let new = |name, cluster: Cluster| {
        let table = "SELECT format('CREATE TABLE given_%s (id bigint PRIMARY KEY)', i)";
        cluster.sql(&format!(
            "{table} FROM generate_series(1, {TABLES}) i \\gexec"
        ));
        cluster.sql("CREATE ROLE reader");
        Server {
            name,
            cluster,
            statements: Default::default(),
            migrations: Statements::default(),
        }
    };
    let held = server::builder().back_up();
    held.sql("SELECT incr_teardown(drop_slot => false)");
    let without = || {
        server::builder()
            .without("shared_preload_libraries")
            .start()
    };
    let peer = without();
    peer.sql("SELECT pg_create_logical_replication_slot('peer', 'test_decoding')");
    let row = server::builder().setting("shared_preload_libraries", "'row_alone'");
    let row = row.start();
    row.sql(
        "CREATE TABLE public.row_alone (id bigint PRIMARY KEY, statement_id bigint NOT NULL, txid xid8 NOT NULL, \
         executed_at timestamptz NOT NULL, executed_by text NOT NULL, ddl_command text NOT NULL, object_type text, \
         object_identity text, query text NOT NULL, search_path text NOT NULL, replay boolean NOT NULL, \
         executed_by_superuser boolean NOT NULL)",
    );
    row.sql("SELECT pg_create_logical_replication_slot('peer', 'test_decoding')");
    vec![
        new(WITHOUT, without()),
        new(PEER, peer),
        new(ROW_ALONE, row),
        new(NO_SLOT, server::builder().start()),
        new(RECORDED, held),
        new(CAPTURED, server::builder().back_up()),
    ]
}

fn find<'a>(servers: &'a [Server], name: &str) -> &'a Server {
    let found = servers.iter().find(|server| server.name == name);
    found.expect("every server was measured")
}

impl Server {
    /// The statements of a kind; behind them the migrations.
    fn of(&self, place: usize) -> &Statements {
        self.statements.get(place).unwrap_or(&self.migrations)
    }
}

impl Statements {
    fn add_migration(&mut self, c: &Cluster, sql: &str) {
        let file = c.root().join("migration.sql");
        std::fs::write(&file, sql).expect("the script can be written");
        server::wait_for_sessions_to_end(c);
        let postmaster = server::postmaster(c);
        let before = process::waited_for_cpu_seconds(&postmaster);
        let mut psql = c.installation().command("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
        psql.arg(&file).arg(c.conninfo(c.database()));
        let start = Instant::now();
        run(&mut psql);
        self.latencies.push(start.elapsed().as_secs_f64() * 1000.0);
        server::wait_for_sessions_to_end(c);
        self.cpu += process::waited_for_cpu_seconds(&postmaster) - before;
    }

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
