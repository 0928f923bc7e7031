//! "The slow way and the fast way disagree." Both readers write the same transactions, byte for
//! byte; a third-party plugin can be read by the slow one.

use harness::{Cluster, Transaction};
use std::process::Command;

const LOAD: &str = "
    CREATE TABLE t (a int PRIMARY KEY, b text, c numeric DEFAULT 1.50);
    INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100) i;
    UPDATE t SET b = E'two\\nlines' WHERE a % 7 = 0;
    DELETE FROM t WHERE a % 5 = 0;
    CREATE TABLE bare (a int, j json); INSERT INTO bare VALUES (1, '{}'), (1, '{}'), (NULL, NULL);
    DELETE FROM bare WHERE ctid = '(0,1)';
    CREATE TABLE copied AS SELECT * FROM t;
    ALTER TABLE t ADD d timestamptz DEFAULT now();
    ALTER TABLE t ADD e uuid DEFAULT gen_random_uuid();
    BEGIN; TRUNCATE copied; INSERT INTO copied (a) VALUES (1);
    ALTER TABLE copied RENAME TO renamed; COMMIT;
    BEGIN; INSERT INTO t (a) VALUES (1000); SAVEPOINT s; INSERT INTO t (a) VALUES (1001);
    ROLLBACK TO s; COMMIT;
    DROP TABLE renamed;
";

/// What both readers must agree on: everything but sequence positions.
fn comparable(transactions: Vec<Transaction>) -> Vec<Transaction> {
    let without_setval = |mut transaction: Transaction| {
        let kept = transaction
            .body
            .lines()
            .filter(|line| !line.contains("pg_catalog.setval("));
        transaction.body = kept.flat_map(|line| [line, "\n"]).collect();
        transaction
    };
    transactions.into_iter().map(without_setval).collect()
}

/// A cluster whose past can be read again: another slot holds WAL and catalog rows back.
fn rereadable() -> Cluster {
    let c = Cluster::builder().setting("autovacuum", "off").back_up();
    c.sql("SELECT pg_create_logical_replication_slot('holds_the_past', 'test_decoding')");
    c
}

/// The directory of our slot in the data directory.
fn slot_directory(c: &Cluster) -> String {
    let slot = c.slot("slot_name");
    format!("data/pg_replslot/{slot}")
}

/// Copies a directory under the cluster's root, replacing what was there.
fn copy(c: &Cluster, from: &str, to: &str) {
    let (from, to) = (c.root().join(from), c.root().join(to));
    std::fs::remove_dir_all(&to).ok();
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()));
}

#[test]
fn both_readers_write_the_same_bytes() {
    let c = rereadable();
    let slot = slot_directory(&c);
    c.flush();
    c.stop();
    copy(&c, "archive", "archive.before");
    copy(&c, &slot, "slot.before");
    c.start();
    c.sql(LOAD);
    c.flush();
    let streamed = comparable(c.transactions());

    // The same WAL once more: archive and slot stand where they stood before the load.
    c.stop();
    copy(&c, "archive.before", "archive");
    copy(&c, "slot.before", &slot);
    c.write_setting("pg_incrbackup.reader", "poll");
    c.start();
    c.flush();
    let polled = comparable(c.transactions());

    assert!(streamed.len() > 10, "only {} transactions", streamed.len());
    assert_eq!(streamed.len(), polled.len());
    for (streamed, polled) in streamed.iter().zip(&polled) {
        assert_eq!(streamed, polled);
    }
    c.assert_restores();
}

#[test]
fn the_poll_reader_restores_too() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", "poll")
        .back_up();
    c.sql(LOAD);
    c.crash();
    c.start();
    c.sql("INSERT INTO t (a) VALUES (2000)");
    c.assert_restores();
}

#[test]
fn the_reader_can_be_changed_at_any_time() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    for (value, reader) in [(2, "poll"), (3, "stream"), (4, "poll")] {
        c.set("pg_incrbackup.reader", reader);
        c.sql(&format!("INSERT INTO t VALUES ({value})"));
        c.flush();
    }
    c.assert_restores();
}

/// A cluster captured through decoder_raw, or None (said plainly) where it is not installed.
fn through_decoder_raw(commit_timestamps: &str) -> Option<Cluster> {
    let builder = Cluster::builder()
        .setting("pg_incrbackup.plugin", "decoder_raw")
        .setting("pg_incrbackup.reader", "poll")
        .setting("track_commit_timestamp", commit_timestamps);
    let library = builder
        .installation()
        .module_directory()
        .join("decoder_raw.so");
    if !library.exists() {
        println!(
            "SKIPPED: decoder_raw is not installed ({} is missing)",
            library.display()
        );
        return None;
    }
    Some(builder.back_up())
}

#[test]
fn decoder_raw_restores_what_it_can_carry() {
    let Some(c) = through_decoder_raw("on") else {
        return;
    };
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text);
           INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i;
           UPDATE t SET b = 'y' WHERE a < 10; DELETE FROM t WHERE a > 40; ALTER TABLE t ADD c int;
           INSERT INTO t VALUES (100, 'z', 1);
           CREATE TABLE u (a int PRIMARY KEY); INSERT INTO u VALUES (1); TRUNCATE u;
           INSERT INTO u VALUES (2);
           BEGIN; CREATE TABLE v (a int PRIMARY KEY); INSERT INTO v VALUES (1); COMMIT;
           DROP TABLE v;",
    );
    c.assert_restores();
}

#[test]
fn decoder_raw_without_commit_timestamps_refuses_a_time_target() {
    let Some(c) = through_decoder_raw("off") else {
        return;
    };
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.flush();
    let output = c.try_restore(&c, "never", &["--until-time", "2100-01-01"]);
    let output = output.expect_err("a time target without commit times was accepted");
    assert!(output.contains("track_commit_timestamp"), "{output}");
}
