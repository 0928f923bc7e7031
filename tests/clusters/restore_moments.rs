//! "I asked for a moment, and got an older database without a word", from an archive that is written meanwhile.

use std::fs;

use harness::{wait_until, Cluster};

fn rows(c: &Cluster, database: &str) -> String {
    c.sql_in(
        database,
        "SELECT string_agg(a::text, ',' ORDER BY a) FROM t",
    )
}

const NOW: &str =
    "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')";

#[test]
fn a_moment_before_incr_flush_is_in_the_files_and_the_present_is_not() {
    for reader in ["stream", "poll"] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.reader", reader)
            .back_up();
        c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
        // Nothing commits at this moment or after it: only the flush says that the files reach it.
        let moment = c.sql(NOW);
        c.flush();
        let restored = c.restore(&["--until-time", &moment]);
        assert_eq!(rows(&c, &restored.database), "1");
        let refused = c
            .try_restore(&c, "never", &["--until-time", "now"])
            .expect_err("the files don't reach the present");
        assert!(refused.contains("SELECT incr_flush()"), "{refused}");
        let options = ["--until-time", "0 seconds ago", "--allow-earlier"];
        let restored = c.restore(&options);
        assert_eq!(rows(&c, &restored.database), "1");
        assert!(
            restored.output.contains("before the requested"),
            "{}",
            restored.output
        );
    }
}

/// A position says that all that was committed by its time stands before it.
#[test]
fn no_transaction_behind_a_position_is_older_than_it() {
    let c = Cluster::builder().with_failpoints().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    c.set_day(0, "hold 1 capture: all is read");
    let mut session = c.session();
    session.send("SELECT incr_flush()");
    wait_until("capture has read and goes no further", || {
        c.root().join("failpoints.held").exists()
    });
    c.sql("INSERT INTO t VALUES (1)");
    fs::remove_file(c.root().join("failpoints")).expect("the failpoint can be removed");
    session.finish();
    c.flush();
    let mut position = "";
    let mut looked_at = 0;
    let stream = c.stream();
    for line in stream.lines() {
        let time = |name: &str| line.split(name).nth(1).map(str::trim_end);
        if let Some(at) = time(" position lsn=").and_then(|_| time(" at=")) {
            position = at;
        }
        if let Some(committed) = time(" commit_time=") {
            assert!(committed >= position, "{line} comes after {position}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 0 && !position.is_empty(), "{stream}");
}

#[test]
fn the_end_of_a_chain_is_told_and_what_was_in_it_is_found() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let first = c.sql(NOW);
    let lsn = c.flush();
    c.sql("SELECT incr_teardown()");
    let restored = c.restore(&[]);
    assert!(
        restored.output.contains("chain-1 has ended: "),
        "{}",
        restored.output
    );
    c.sql("INSERT INTO t VALUES (2)");
    let between = c.sql(NOW);
    let refused = c
        .try_restore(&c, "never", &["--until-time", &between])
        .expect_err("nobody captured then");
    assert!(refused.contains("chain-1 has ended: "), "{refused}");
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.sql("INSERT INTO t VALUES (3)");
    c.flush();
    for options in [["--until-time", &first], ["--until-lsn", &lsn]] {
        let restored = c.restore(&options);
        assert_eq!(rows(&c, &restored.database), "1", "{options:?}");
    }
    assert_eq!(rows(&c, &c.restore(&[]).database), "1,2,3");
}
