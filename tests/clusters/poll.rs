//! "The slow way and the fast way disagree." Both readers write the same transactions, byte for
//! byte; a third-party plugin can be read by the slow one.

use harness::{assert_identical, wait_until, Builder, Cluster, Transaction};
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

/// A cluster that is captured through decoder_raw: our own plugin of that name (tests/plugins), unless
/// somebody put a newer one into the test's PostgreSQL.
pub fn through_decoder_raw(reader: &str) -> Builder {
    let builder = Cluster::builder()
        .setting("pg_incrbackup.plugin", "decoder_raw")
        .setting("pg_incrbackup.reader", reader)
        .setting("track_commit_timestamp", "on");
    builder.installation().install_module("decoder_raw");
    builder
}

/// What it can carry; the first table has no key, and gets its replica identity from us.
const CARRIED: &str = "
    CREATE TABLE keyless (a int, b text, c text);
    INSERT INTO keyless VALUES (1, 'null', 'it''s'), (2, E'two\nlines', '\'), (3, '', ':PORT');
    UPDATE keyless SET b = 'y' WHERE a = 1; DELETE FROM keyless WHERE a = 2;
    CREATE TABLE t (a int PRIMARY KEY, b text, n numeric, f float8, o bool, v varbit);
    INSERT INTO t SELECT i, 'x', i / 3.0, 'NaN', i > 7, B'101' FROM generate_series(1, 50) i;
    UPDATE t SET b = NULL, n = 'NaN', o = NULL WHERE a < 10; DELETE FROM t WHERE a > 40;
    UPDATE t SET a = 1000 WHERE a = 11; ALTER TABLE t ADD c int;
    INSERT INTO t VALUES (100, 'z', 1, -0.5, true, '', 1);
    CREATE TABLE u (a int PRIMARY KEY); INSERT INTO u VALUES (1); TRUNCATE u;
    INSERT INTO u VALUES (2);
    BEGIN; CREATE TABLE v (a int PRIMARY KEY); INSERT INTO v VALUES (1); COMMIT;
    BEGIN; SELECT txid_current(); COMMIT;
    DROP TABLE v;
";

#[test]
fn decoder_raw_restores_what_it_can_carry() {
    for reader in ["poll", "stream"] {
        let c = through_decoder_raw(reader).back_up();
        c.sql(CARRIED);
        assert_eq!(c.slot("plugin"), "decoder_raw");
        c.assert_restores();
    }
}

#[test]
fn what_is_ours_stays_out_of_decoder_raws_stream_in_any_schema() {
    let c = through_decoder_raw("poll").start();
    c.sql(
        "CREATE SCHEMA \"our \"\"own\"\".\"; CREATE EXTENSION pg_incrbackup SCHEMA \"our \"\"own\"\".\";
         SELECT * FROM \"our \"\"own\"\".\".incr_setup()",
    );
    c.sql(CARRIED);
    // Tables of others that only have such a name.
    c.sql(
        "CREATE TABLE replica_identity_set (a int PRIMARY KEY); INSERT INTO replica_identity_set VALUES (1);
         CREATE SCHEMA own; CREATE TABLE own.ddl_history (id int PRIMARY KEY); INSERT INTO own.ddl_history VALUES (1);
         SELECT \"our \"\"own\"\".\".incr_flush()",
    );
    let restored = c.restore(&[]);
    assert_identical((&c, c.database()), (&c, &restored.database));
    assert!(!c.stream().contains("our \"\"own"), "{}", c.stream());
}

#[test]
fn a_role_named_null_keeps_what_it_made_through_decoder_raw() {
    let c = through_decoder_raw("poll").back_up();
    c.sql(
        "CREATE ROLE \"null\"; GRANT CREATE ON SCHEMA public TO \"null\"; SET ROLE \"null\";
         CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)",
    );
    c.assert_restores();
}

/// docs/plugins.md: what a text says otherwise at restore is flagged, what is not carried is lost until a base.
#[test]
fn what_a_text_cannot_carry_is_flagged_through_decoder_raw() {
    let c = through_decoder_raw("poll").back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("CREATE DOMAIN d AS timestamptz CHECK (VALUE > 'now')");
    c.sql("ALTER TABLE t ADD COLUMN b timestamptz DEFAULT clock_timestamp()");
    c.sql("CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (abs(0)) TO (9)");
    c.sql("CREATE TEMP TABLE mine (); CREATE TABLE yours (); DROP TABLE mine, yours");
    c.flush();
    let stream = c.stream();
    for reason in ["CREATE%20DOMAIN", "ALTER%20TABLE", "CREATE%20TABLE"] {
        let flag = format!(" flag reason={reason}:%20");
        assert!(stream.contains(&flag), "{reason}: {stream}");
    }
    wait_until("the base is made and listed", || {
        c.is_true("SELECT count(*) = 2 FROM incr_files() WHERE kind = 'base'")
    });
    let flags = std::fs::read_to_string(c.chain_directory().join("flags.jsonl"));
    let flags = flags.expect("there are some");
    assert!(flags.contains("could%20not%20record%20DDL"), "{flags}");
    c.sql("INSERT INTO t VALUES (1)");
    c.assert_restores();
}

/// docs/plugins.md: the restore stops where it notices.
#[test]
fn what_decoder_raw_cannot_carry_stops_the_restore() {
    for (statement, said) in [
        ("INSERT INTO g (a) VALUES (1)", "generated column"),
        ("INSERT INTO i (a) VALUES (1)", "GENERATED ALWAYS"),
        ("UPDATE n SET b = 1", "hit 0 rows"),
    ] {
        let c = through_decoder_raw("poll").back_up();
        c.sql(
            "CREATE TABLE g (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED);
             CREATE TABLE i (a int PRIMARY KEY, b int GENERATED ALWAYS AS IDENTITY);
             CREATE TABLE n (a int, b int); INSERT INTO n VALUES (1, NULL)",
        );
        c.sql(statement);
        c.flush();
        let output = c.try_restore(&c, "stopped", &[]);
        let output = output.expect_err("a row that could not be carried was restored");
        assert!(output.contains(said), "{statement}: {output}");
    }
}

#[test]
fn decoder_raw_without_commit_timestamps_refuses_a_time_target() {
    let c = through_decoder_raw("poll")
        .setting("track_commit_timestamp", "off")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.flush();
    let output = c.try_restore(&c, "never", &["--until-time", "2100-01-01"]);
    let output = output.expect_err("a time target without commit times was accepted");
    assert!(output.contains("the archive ends at"), "{output}");
}
