//! What decoding schema changes costs, beside a plugin that does not look at them; and whether that stays as it
//! is when there are more of them.

use crate::report::{figure, Report};
use crate::server;
use crate::stats::median;
use harness::Cluster;
use serde_json::json;

/// Ours, and one that writes rows alone. Both decode the same WAL, from the same place.
const PLUGINS: [&str; 2] = ["pg_incrbackup", "test_decoding"];

/// How much more than at the smaller size one object may take, in time or in memory.
const LINEAR: f64 = 1.3;

struct Load {
    name: &'static str,
    sizes: [usize; 2],
    before: fn(usize) -> String,
    script: fn(usize) -> String,
}

const LOADS: [Load; 3] = [
    Load {
        name: "CREATE, ADD COLUMN",
        sizes: [1_000, 4_000],
        before: |_| String::new(),
        script: |count| {
            let create = (0..count).map(|n| format!("{};\n", created(&format!("s.t{n}"))));
            let add = (0..count)
                .map(|n| format!("ALTER TABLE s.t{n} ADD d timestamptz DEFAULT now();\n"));
            create.chain(add).collect()
        },
    },
    Load {
        name: "CREATE, INSERT, all in one transaction",
        sizes: [1_000, 4_000],
        before: |_| String::new(),
        script: |count| {
            let one = |n| {
                let create = created(&format!("s.t{n}"));
                format!("{create}; INSERT INTO s.t{n} VALUES (1, 'a', 2);\n")
            };
            format!(
                "BEGIN;\n{}COMMIT;\n",
                (0..count).map(one).collect::<String>()
            )
        },
    },
    Load {
        name: "DROP SCHEMA CASCADE",
        sizes: [2_500, 10_000],
        before: |count| {
            let create = (0..count).map(|n| format!("{};\n", created(&format!("s.t{n}"))));
            create.collect()
        },
        script: |_| "DROP SCHEMA s CASCADE;\n".to_owned(),
    },
];

fn created(table: &str) -> String {
    format!("CREATE TABLE {table} (a int PRIMARY KEY, b text DEFAULT 'x', c int)")
}

/// Of one plugin at one size.
#[derive(Default)]
struct Readings {
    milliseconds: Vec<f64>,
    megabytes: Vec<f64>,
}

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("Decoding of schema changes");
    report.note(
        "Milliseconds that pg_logical_slot_peek_changes takes for a load that is in the WAL, in a session of its \
         own, and the most memory that this session held, shared buffers that it touched included; medians. \
         test_decoding writes rows and looks at no schema change: it is what PostgreSQL's own part takes. \"each\": \
         by the number of tables. What a statement's words cost (ddl_history's rows) is in both.",
    );
    for load in &LOADS {
        let measured = load.sizes.map(|size| at_size(load, size, repeats));
        let mut rows = Vec::new();
        for (size, of_plugins) in load.sizes.iter().zip(&measured) {
            for (plugin, readings) in PLUGINS.iter().zip(of_plugins) {
                let time = median(&readings.milliseconds);
                rows.push(vec![
                    format!("{plugin}, {size}"),
                    figure(time),
                    format!("{:.1}", time * 1000.0 / *size as f64),
                    figure(median(&readings.megabytes)),
                ]);
                let raw = json!({"ms": readings.milliseconds, "mb": readings.megabytes});
                report.raw("decode", &format!("{}, {plugin}, {size}", load.name), raw);
            }
        }
        report.table(&[load.name, "ms", "each, µs", "MB"], &rows);
        let [small, large] = &measured;
        let factor = load.sizes[1] as f64 / load.sizes[0] as f64;
        // PostgreSQL's own part grows faster than the load, which is not for us to judge.
        let mut judge = |what: &str, of: fn(&Readings) -> &[f64]| {
            let own = |[ours, theirs]: &[Readings; 2]| median(of(ours)) - median(of(theirs));
            assert!(
                own(small) > 0.0,
                "{}: our part of the {what} is lost in the noise",
                load.name
            );
            let growth = own(large) / own(small) / factor;
            let what = format!(
                "{}: growth of our part of the {what} by that of the load",
                load.name
            );
            report.ratio_at_most(&what, LINEAR, (growth, growth));
        };
        judge("time", |readings| &readings.milliseconds);
        judge("memory", |readings| &readings.megabytes);
        let times = |[ours, theirs]: &[Readings; 2]| {
            median(&ours.milliseconds) / median(&theirs.milliseconds)
        };
        report.note(&format!(
            "Ours takes {} times as long as test_decoding at the smaller size, {} times at the larger.",
            figure(times(small)),
            figure(times(large))
        ));
    }
    report.save();
}

fn at_size(load: &Load, size: usize, repeats: usize) -> [Readings; 2] {
    let server = server::builder().setting("max_locks_per_transaction", "20000");
    let cluster = server.back_up();
    cluster.sql("SELECT incr_teardown(drop_slot => false); CREATE SCHEMA s");
    run(&cluster, &(load.before)(size));
    for plugin in PLUGINS {
        cluster.sql(&format!(
            "SELECT pg_create_logical_replication_slot('of_{plugin}', '{plugin}')"
        ));
    }
    run(&cluster, &(load.script)(size));
    let end = cluster.sql("SELECT pg_current_wal_lsn()");
    let mut readings = PLUGINS.map(|_| Readings::default());
    for _ in 0..repeats {
        for (plugin, readings) in PLUGINS.iter().zip(&mut readings) {
            let seen = cluster.sql(&format!(
                "SELECT clock_timestamp() AS began \\gset\n\
                 SELECT count(*) AS changes FROM pg_logical_slot_peek_changes('of_{plugin}', '{end}', NULL) \\gset\n\
                 SELECT extract(epoch FROM clock_timestamp() - :'began') * 1000, \
                     (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\\s+(\\d+)'))[1]::numeric / 1024, :changes > 0"
            ));
            let mut seen = seen.split('|');
            let mut number = || seen.next().and_then(|text| text.parse::<f64>().ok());
            readings.milliseconds.extend(number());
            readings.megabytes.extend(number());
            assert_eq!(seen.next(), Some("t"), "something was decoded");
        }
    }
    readings
}

fn run(cluster: &Cluster, script: &str) {
    if !script.is_empty() {
        cluster.sql(&format!("SET client_min_messages = warning;\n{script}"));
    }
}
