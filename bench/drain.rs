//! The time to write out a load that is already in the WAL: our worker into segments, and
//! `pg_recvlogical` with test_decoding into a file, one after the other over the same WAL, each
//! with the server to itself.

use harness::{wait_until_within, Cluster};
use std::time::{Duration, Instant};

const TRANSACTIONS: u32 = 20_000;

pub fn measure() {
    let c = Cluster::builder()
        .setting("fsync", "on")
        .setting("wal_keep_size", "'4GB'")
        .setting("max_wal_size", "'8GB'")
        .back_up();
    c.pgbench(&["-i", "-q", "-s", "10"]);
    c.flush();
    c.sql("SELECT pg_create_logical_replication_slot('beside', 'test_decoding')");
    c.sql("SELECT incr_teardown(drop_slot => false)");
    let bytes_before = stream_bytes(&c);
    let per_client = (TRANSACTIONS / 4).to_string();
    c.pgbench(&["-n", "-c", "4", "-j", "2", "-t", &per_client]);
    c.sql("INSERT INTO pgbench_history SELECT 1, 1, i, 0, now() FROM generate_series(1, 500000) i");
    c.sql("UPDATE pgbench_accounts SET abalance = 1 WHERE aid <= 100000");
    let end = c.sql("CHECKPOINT; SELECT pg_current_wal_lsn()");

    let beside = timed(|| {
        let mut command = c.installation().command("pg_recvlogical");
        command.args([
            "-d",
            &c.conninfo("app"),
            "-S",
            "beside",
            "--start",
            "--no-loop",
        ]);
        command
            .args(["-o", "include-xids=on", "--endpos", &end, "-f"])
            .arg(c.root().join("beside.out"));
        let output = command.output().expect("pg_recvlogical can be run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
    let ours = timed(|| {
        c.sql("SELECT * FROM incr_setup()");
        wait_until_within(Duration::from_secs(600), "the load is written", || {
            c.is_true(&format!(
                "SELECT bool_or(durable_lsn >= '{end}') FROM incr_slot_health()"
            ))
        });
    });
    let megabytes = (stream_bytes(&c) - bytes_before) / 1_000_000;
    println!(
        "draining {TRANSACTIONS} pgbench transactions, 500,000 inserts and 100,000 updates ({megabytes} MB of SQL): \
         {:.1} s; pg_recvlogical with test_decoding {:.1} s; ratio {:.2}",
        ours.as_secs_f64(),
        beside.as_secs_f64(),
        beside.as_secs_f64() / ours.as_secs_f64()
    );
    c.assert_restores();
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn stream_bytes(c: &Cluster) -> usize {
    c.segments().iter().map(|segment| segment.text.len()).sum()
}
