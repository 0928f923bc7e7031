//! "They are in the backup, but not as they were at that moment." Large objects while the capture
//! is behind, the rows are moved, the server crashes, several clients write, a base is made.

use super::large_objects::{assert_restores, objects};
use harness::Cluster;
use std::process::Command;

fn signal(pid: &str, signal: &str) {
    let status = Command::new("kill").args([signal, pid]).status();
    assert!(status.expect("kill can be run").success());
}

/// Runs `work` while the capture worker stands still.
fn behind(c: &Cluster, work: impl FnOnce()) {
    c.flush();
    let pid = c.capture_pid();
    signal(&pid, "-STOP");
    work();
    signal(&pid, "-CONT");
}

#[test]
fn the_end_of_every_transaction_is_a_point() {
    let c = Cluster::backed_up();
    let steps = [
        "SELECT lo_from_bytea(70001, repeat('a', 5000)::bytea)",
        "SELECT lo_put(70001, 2500, 'b'); SELECT lo_from_bytea(70002, 'c')",
        "SELECT lo_truncate(lo_open(70001, 131072), 2049)",
        "COMMENT ON LARGE OBJECT 70002 IS 'd'; GRANT SELECT ON LARGE OBJECT 70002 TO PUBLIC",
        "SELECT lo_unlink(70001)",
        "SELECT lo_from_bytea(70001, 'anew')",
    ];
    let points: Vec<_> = steps
        .iter()
        .map(|step| {
            c.sql(step);
            (c.flush(), objects(&c, "app"))
        })
        .collect();
    for (lsn, then) in points {
        let restored = c.restore(&["--until-lsn", &lsn]);
        assert_eq!(then, objects(&c, &restored.database));
    }
}

const LOAD: &str = "
    SELECT lo_from_bytea(n, repeat(n::text, 1000)::bytea) FROM generate_series(70001, 70020) n;
    SELECT lo_put(n, 2000, 'changed') FROM generate_series(70001, 70010) n;
    SELECT lo_truncate(lo_open(n, 131072), 1) FROM generate_series(70003, 70005) n;
    SELECT lo_unlink(n) FROM generate_series(70009, 70012) n;
    SELECT lo_from_bytea(70010, 'anew');
    COMMENT ON LARGE OBJECT 70001 IS 'one'; COMMENT ON LARGE OBJECT 70001 IS 'two';
    BEGIN; SAVEPOINT s; SELECT lo_put(n, 10, 'never') FROM generate_series(70001, 70020, 2) n
        WHERE n NOT IN (70009, 70011); ROLLBACK TO s;
    SAVEPOINT t; SELECT lo_put(70001, 10, 'in a subtransaction'); RELEASE t;
    SELECT lo_put(70002, 10, 'in the transaction'); COMMIT";

#[test]
fn vacuum_takes_nothing_away_that_was_not_read() {
    for vacuum in [
        "VACUUM",
        "VACUUM FULL",
        "CLUSTER pg_largeobject USING pg_largeobject_loid_pn_index",
    ] {
        let c = Cluster::backed_up();
        behind(&c, || {
            c.sql(LOAD);
            c.sql(vacuum);
            c.sql("SELECT lo_put(70001, 0, 'after'); SELECT lo_unlink(70002)");
            c.sql(vacuum);
            c.sql("CHECKPOINT");
        });
        assert_restores(&c);
        // The catalogs stay where they were moved to.
        c.sql(
            "SELECT lo_put(70003, 5000, 'later'); SELECT lo_unlink(70004); SELECT lo_create(70002)",
        );
        c.sql("COMMENT ON LARGE OBJECT 70003 IS 'later'");
        assert_restores(&c);
    }
}

#[test]
fn a_crash_loses_no_object() {
    let c = Cluster::backed_up();
    let mut open = c.session();
    open.run("BEGIN; SELECT lo_from_bytea(70100, 'never')");
    c.sql(LOAD);
    c.crash();
    drop(open);
    c.start();
    c.sql("SELECT lo_put(70003, 5000, 'after the crash')");
    behind(&c, || {
        c.sql(
            "SELECT lo_put(70003, 5000, 'while it stood still'); SELECT lo_unlink(70001); VACUUM",
        );
    });
    c.crash();
    c.start();
    assert_restores(&c);
}

#[test]
fn clients_write_at_once_and_prepare() {
    let c = Cluster::backed_up();
    c.sql(
        "SELECT lo_from_bytea(70001, repeat('a', 20000)::bytea); SELECT lo_from_bytea(70002, 'b')",
    );
    let (mut one, mut two) = (c.session(), c.session());
    one.run("BEGIN; SELECT lo_put(70001, 0, 'one'); SELECT lo_from_bytea(70003, 'one')");
    two.run("BEGIN; SELECT lo_put(70001, 8192, 'two'); SELECT lo_put(70002, 30000, 'two')");
    one.run("SELECT lo_put(70001, 30000, 'one')");
    two.run("SELECT lo_from_bytea(70004, 'two'); PREPARE TRANSACTION 'two'");
    one.run("COMMIT");
    c.sql("SELECT lo_unlink(70003); VACUUM; COMMIT PREPARED 'two'");
    assert_restores(&c);
    // A page that one writes into an object that the other unlinks meanwhile.
    one.run("BEGIN; SELECT lo_put(70004, 4096, 'lost')");
    two.run("BEGIN; SELECT lo_unlink(70004); COMMIT");
    one.run("COMMIT");
    assert_restores(&c);
}

#[test]
fn bases_and_increments_join() {
    let c = Cluster::backed_up();
    c.sql("SELECT lo_from_bytea(n, 'x') FROM generate_series(70001, 70010) n");
    let mut open = c.session();
    open.run("BEGIN; SELECT lo_put(70001, 0, 'before'); SELECT lo_from_bytea(70100, 'before')");
    c.sql("SELECT lo_unlink(70002); SELECT incr_dump(); SELECT lo_unlink(70003)");
    open.run("SELECT lo_put(70004, 9000, 'after'); SELECT lo_unlink(70005); COMMIT");
    c.sql("SELECT lo_put(70100, 3, 'after all')");
    let end = c.flush();
    for base in c.bases() {
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        let restored = c.restore(&["--base", &name, "--until-lsn", &end]);
        assert_eq!(objects(&c, "app"), objects(&c, &restored.database));
    }
    assert_restores(&c);
}

#[test]
fn the_other_reader_sees_the_same() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", "'poll'")
        .back_up();
    c.sql(LOAD);
    c.sql("BEGIN; SELECT lo_put(70002, 100000, 'a'); SELECT lo_unlink(70001); COMMIT");
    c.sql("VACUUM FULL pg_largeobject; SELECT lo_put(70003, 1, 'moved')");
    assert_restores(&c);
}

#[test]
fn a_vacuum_full_of_large_objects_holds_up_no_other_capture() {
    let c = Cluster::backed_up();
    c.sql("SELECT lo_from_bytea(70001, 'x')");
    c.flush();
    let mut vacuum = c.session();
    vacuum.run("BEGIN; LOCK TABLE pg_largeobject IN ACCESS EXCLUSIVE MODE");
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT incr_flush('2min')");
    vacuum.run("COMMIT");
    assert_restores(&c);
}
