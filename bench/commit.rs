//! What a COMMIT costs that waits until the transaction is in the files (`pg_incrbackup.synchronous`): commits a second,
//! beside those that do not wait, and those that wait for a synchronous standby on the same machine.

use harness::{run, wait_until, Cluster};
use serde_json::json;
use std::fs;

use crate::pgbench::pgbench;
use crate::report::{figure, Report};
use crate::server;
use crate::stats::{median, percentile};
use crate::turns;

const CLIENTS: [usize; 3] = [1, 4, 16];
/// Seconds of each turn; BENCH_COMMIT_SECONDS has others.
const SECONDS: u32 = 20;

/// What a commit waits for.
struct Way {
    name: &'static str,
    /// `pg_incrbackup.synchronous`, and `synchronous_standby_names`.
    synchronous: &'static str,
    standby: &'static str,
    /// Of each of [`CLIENTS`].
    tps: [Vec<f64>; 3],
    p99: [Vec<f64>; 3],
}

impl Way {
    fn new(name: &'static str, synchronous: &'static str, standby: &'static str) -> Way {
        Way {
            name,
            synchronous,
            standby,
            tps: Default::default(),
            p99: Default::default(),
        }
    }
}

pub fn measure(report: &mut Report, repeats: usize) {
    let seconds = std::env::var("BENCH_COMMIT_SECONDS").unwrap_or_default();
    let seconds: u32 = seconds.parse().unwrap_or(SECONDS);
    report.heading("Commit");
    report.note(&format!(
        "pgbench -N, {seconds} s each: commits a second, and milliseconds of the slowest of a hundred. All of them are captured; \
         a standby on the same machine streams meanwhile, and is waited for in its turn."
    ));
    let c = server::builder()
        .setting("max_wal_senders", "10")
        .setting("synchronous_standby_names", "''")
        .back_up();
    c.pgbench(&["-i", "-q", "-s", "10"]);
    c.flush();
    let standby = standby_of(&c);
    let mut ways = [
        Way::new("the WAL", "off", ""),
        Way::new("the files", "on", ""),
        Way::new("a standby", "off", "the_standby"),
    ];
    turns::alternate(&mut ways, repeats, |_, way| {
        c.set("synchronous_standby_names", &format!("'{}'", way.standby));
        let is_set = format!(
            "SELECT current_setting('synchronous_standby_names') = '{}'",
            way.standby
        );
        wait_until("the setting holds", || c.is_true(&is_set));
        for (place, clients) in CLIENTS.iter().enumerate() {
            c.sql("CHECKPOINT");
            c.flush();
            take(&c, way, place, *clients, seconds);
        }
    });
    c.set("synchronous_standby_names", "''");
    drop(standby);
    assert_eq!(
        c.sql("SELECT degraded FROM incr_synchronous()"),
        "0",
        "every commit waited to its end"
    );
    tell(report, &ways);
}

fn take(c: &Cluster, way: &mut Way, place: usize, clients: usize, seconds: u32) {
    let database = c.database();
    let setting = way.synchronous;
    c.sql(&format!(
        "ALTER DATABASE {database} SET pg_incrbackup.synchronous = {setting}"
    ));
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let threads = if clients == "1" { "1" } else { "2" };
    let run = pgbench(c, &["-N", "-c", &clients, "-j", threads, "-T", &seconds]);
    c.sql(&format!(
        "ALTER DATABASE {database} RESET pg_incrbackup.synchronous"
    ));
    way.tps[place].push(run.tps);
    way.p99[place].push(percentile(&run.latencies, 0.99));
}

fn tell(report: &mut Report, ways: &[Way]) {
    let mut rows = Vec::new();
    for way in ways {
        let mut row = vec![way.name.to_owned()];
        for place in 0..CLIENTS.len() {
            row.push(figure(median(&way.tps[place])));
            row.push(figure(median(&way.p99[place])));
        }
        rows.push(row);
        report.raw(
            "commit",
            way.name,
            json!({"clients": CLIENTS, "tps": way.tps, "p99_ms": way.p99}),
        );
    }
    let mut header = vec!["COMMIT waits for".to_owned()];
    for clients in CLIENTS {
        header.push(format!("{clients} clients"));
        header.push("p99 ms".to_owned());
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    report.table(&header, &rows);
    report.save();
}

/// A standby of the cluster, on this machine, which streams.
fn standby_of(c: &Cluster) -> Cluster {
    let standby = Cluster::builder().create();
    fs::remove_dir_all(standby.data_directory()).expect("it was never started");
    let mut copy = c.installation().command("pg_basebackup");
    copy.args(["-c", "fast", "-D"])
        .arg(standby.data_directory());
    run(copy.args(["-d", &c.conninfo("postgres")]));
    let directory = format!("'{}'", standby.root().display());
    standby.write_setting("unix_socket_directories", &directory);
    let primary = format!(
        "'host={} user=postgres application_name=the_standby'",
        c.root().display()
    );
    standby.write_setting("primary_conninfo", &primary);
    let signal = standby.data_directory().join("standby.signal");
    fs::write(&signal, "").expect("it can be written");
    harness::give_to_server_user(&signal);
    standby.start();
    wait_until("the standby streams", || {
        c.is_true(
            "SELECT count(*) = 1 FROM pg_stat_replication
              WHERE application_name = 'the_standby' AND state = 'streaming'",
        )
    });
    standby
}
