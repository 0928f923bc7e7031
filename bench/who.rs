//! What it costs that each transaction says who made it (`record_who`): CPU time of the sessions and of the capture worker, and
//! WAL, of the smallest transactions that change something.

use harness::Cluster;
use serde_json::json;

use crate::pgbench::pgbench;
use crate::process;
use crate::report::{figure, Report};
use crate::server;
use crate::stats::median;
use crate::turns;

/// In a round, by all clients together.
const TRANSACTIONS: usize = 20_000;
/// Of CPU time, of sessions and worker together, for the one beside the other.
const CPU: f64 = 1.05;

/// With the setting on, or off.
struct Way {
    setting: &'static str,
    /// Microseconds of CPU time for a transaction.
    sessions: Vec<f64>,
    worker: Vec<f64>,
    /// Bytes for a transaction.
    wal: Vec<f64>,
}

pub fn measure(report: &mut Report, repeats: usize) {
    report.heading("Who");
    report.note(&format!(
        "pgbench -N, {TRANSACTIONS} transactions by 4 clients: microseconds of CPU time for a transaction, of the sessions and of \
         the capture worker, and bytes of WAL."
    ));
    let c = server::builder().back_up();
    c.pgbench(&["-i", "-q", "-s", "10"]);
    c.flush();
    let mut ways = ["off", "on"].map(|setting| Way {
        setting,
        sessions: Vec::new(),
        worker: Vec::new(),
        wal: Vec::new(),
    });
    turns::alternate(&mut ways, repeats, |_, way| take(&c, way));
    let mut rows = Vec::new();
    let mut whole = Vec::new();
    for way in &ways {
        let (sessions, worker, wal) =
            (median(&way.sessions), median(&way.worker), median(&way.wal));
        rows.push(vec![
            way.setting.to_owned(),
            figure(sessions),
            figure(worker),
            figure(wal),
        ]);
        report.raw(
            "who",
            way.setting,
            json!({"sessions_us": way.sessions, "worker_us": way.worker, "wal_bytes": way.wal}),
        );
        whole.push(sessions + worker);
    }
    report.table(&["record_who", "sessions", "worker", "WAL"], &rows);
    let what = "who: CPU time with record_who, beside that without";
    report.at_most(what, CPU, whole[1] / whole[0], "");
    report.save();
}

fn take(c: &Cluster, way: &mut Way) {
    let (database, setting) = (c.database(), way.setting);
    c.sql(&format!(
        "ALTER DATABASE {database} SET pg_incrbackup.record_who = {setting}; CHECKPOINT"
    ));
    c.flush();
    let (postmaster, capture) = (server::postmaster(c), c.capture_pid());
    let taken = || {
        server::wait_for_sessions_to_end(c);
        (
            process::waited_for_cpu_seconds(&postmaster),
            process::exact_cpu_seconds(&capture),
            c.sql("SELECT pg_current_wal_insert_lsn() - '0/0'"),
        )
    };
    let before = taken();
    let each = (TRANSACTIONS / 4).to_string();
    pgbench(c, &["-N", "-c", "4", "-j", "2", "-t", &each]);
    c.flush();
    let after = taken();
    let bytes = |text: &str| text.parse::<f64>().expect("it is a number");
    let count = TRANSACTIONS as f64;
    way.sessions.push((after.0 - before.0) * 1e6 / count);
    way.worker.push((after.1 - before.1) * 1e6 / count);
    way.wal.push((bytes(&after.2) - bytes(&before.2)) / count);
}
