//! "One big transaction takes all memory." The worker's memory is bounded for any size.
//! `BIG=1` runs the transaction of 2 GB as well.

use harness::{wait_until_within, Cluster};
use std::time::Duration;

/// What the worker may need, in kB, whatever it writes.
const LIMIT_KB: u64 = 300 * 1024;

/// The most memory that a process has ever held, in kB.
fn peak_rss_kb(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("0 kB");
    peak.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("VmHWM is a number")
}

fn restores_a_transaction_of(megabytes: u64) {
    let c = Cluster::builder()
        .setting("max_wal_size", "'8GB'")
        .back_up();
    c.sql("CREATE TABLE big (id bigint PRIMARY KEY, filler text)");
    let pid = c.capture_pid();
    c.sql(&format!(
        "BEGIN;
         INSERT INTO big SELECT i, repeat('x', 960) FROM generate_series(1, {megabytes} * 1000) i;
         UPDATE big SET filler = 'short' WHERE id % 10 = 0; DELETE FROM big WHERE id % 100 = 1;
         COMMIT"
    ));
    wait_until_within(
        Duration::from_secs(1200),
        "the transaction is on disk",
        || c.try_sql("SELECT incr_flush('20 min')").is_ok(),
    );
    let peak = peak_rss_kb(&pid);
    println!(
        "{megabytes} MB in one transaction: the worker's peak RSS was {} MB",
        peak / 1024
    );
    assert!(
        peak > 0 && peak < LIMIT_KB,
        "the worker needed {} MB",
        peak / 1024
    );
    c.assert_restores();
}

#[test]
fn a_transaction_of_100_mb_restores_in_bounded_memory() {
    restores_a_transaction_of(100);
}

#[test]
fn a_transaction_of_2_gb_restores_in_bounded_memory() {
    if std::env::var_os("BIG").is_none() {
        return harness::skipped("2 GB, with BIG=1");
    }
    restores_a_transaction_of(2000);
}

#[test]
fn many_subtransactions_restore() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY);
           DO $$ BEGIN FOR i IN 1..3000 LOOP
             BEGIN INSERT INTO t VALUES (i); IF i % 3 = 0 THEN RAISE 'undone'; END IF;
             EXCEPTION WHEN raise_exception THEN NULL; END;
           END LOOP; END $$;",
    );
    c.assert_restores();
}
