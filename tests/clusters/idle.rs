//! "My quiet database fills the disk with WAL", because its slot never moves.

use harness::{wait_until, Cluster};

#[test]
fn the_slot_of_an_idle_database_moves_with_the_load_of_another() {
    for reader in ["stream", "poll"] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.reader", reader)
            .back_up();
        c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
        c.flush();
        let transactions = c.transactions().len();
        c.sql_in(
            "postgres",
            "CREATE TABLE busy AS SELECT i FROM generate_series(1, 100000) i",
        );
        let busy = c.sql("SELECT pg_current_wal_lsn()");
        wait_until("the slot has passed the other database's load", || {
            c.slot_is(&format!("confirmed_flush_lsn >= '{busy}'"))
        });
        assert_eq!(
            c.transactions().len(),
            transactions,
            "empty transactions were written"
        );
        assert!(
            c.segments()
                .iter()
                .any(|s| !s.comments("position").is_empty()),
            "no position line"
        );
        c.restart();
        c.sql("INSERT INTO t VALUES (2)");
        c.assert_restores();
    }
}

#[test]
fn restart_lsn_moves_too_so_that_wal_can_go() {
    let c = Cluster::backed_up();
    c.flush();
    let before = c.slot("restart_lsn");
    c.sql_in(
        "postgres",
        "CREATE TABLE busy AS SELECT i FROM generate_series(1, 100000) i",
    );
    wait_until("restart_lsn moves", || {
        c.sql_in("postgres", "CHECKPOINT");
        c.slot_is(&format!("restart_lsn > '{before}'"))
    });
}

#[test]
fn an_idle_worker_does_not_write_the_same_position_for_ever() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.flush();
    let size = || c.segments().iter().map(|s| s.text.len()).sum::<usize>();
    let before = size();
    for _ in 0..20 {
        c.flush();
    }
    assert!(
        size() < before + 2000,
        "{} bytes were written for nothing",
        size() - before
    );
}
