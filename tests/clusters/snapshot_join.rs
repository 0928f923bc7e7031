//! "The base and the increments do not fit together." A load with DDL, TRUNCATE and a transaction
//! that stays open runs through setup and two more base backups; every base restores to the same
//! database, and a base backup waits for nobody.

use harness::{assert_identical, wait_until, Cluster};
use std::sync::atomic::{AtomicBool, Ordering};

/// One round of a client that changes definitions as well as rows. Every statement is a transaction.
const ROUND: &str = "
    INSERT INTO stays SELECT :n * 100 + i, 'row' FROM generate_series(1, 20) i;
    UPDATE stays SET note = 'round :n' WHERE id % 17 = :n % 17;
    DELETE FROM stays WHERE id % 31 = :n % 31;
    CREATE TABLE made_:n (a int PRIMARY KEY, b text);
    INSERT INTO made_:n VALUES (1, 'one'), (2, 'two');
    ALTER TABLE made_:n ADD c timestamptz DEFAULT clock_timestamp();
    TRUNCATE emptied;
    INSERT INTO emptied SELECT i FROM generate_series(1, :n) i;
    ALTER TABLE rewritten ALTER v TYPE bigint;
    INSERT INTO rewritten VALUES (:n, :n);
    ALTER TABLE rewritten ALTER v TYPE int;
    CREATE TABLE taken_:n AS SELECT * FROM stays WHERE id % 3 = 0;
    DROP TABLE taken_:n;
    SELECT nextval('counter');
";

const TABLES: &str = "
    CREATE TABLE stays (id int PRIMARY KEY, note text);
    CREATE TABLE emptied (a int);
    CREATE TABLE rewritten (id int, v int);
    CREATE TABLE held (who text, a int);
    CREATE SEQUENCE counter;
";

/// Runs rounds until told to stop.
fn load(c: &Cluster, stop: &AtomicBool) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        c.sql(&ROUND.replace(":n", &n.to_string()));
    }
    assert!(n > 2, "the load ran only {n} rounds");
}

#[test]
fn every_base_joins_the_increments_by_its_snapshot() {
    let c = Cluster::builder().start();
    c.sql(TABLES);
    c.sql("CREATE EXTENSION pg_incrbackup");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load(&c, &stop));
        // Whatever fails in here, the load must end, or the scope waits for ever.
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set_up_and_dump(&c)));
        stop.store(true, Ordering::Relaxed);
        running.join().expect("the load does not fail");
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let end = c.flush();
    let bases = c.bases();
    assert_eq!(bases.len(), 3, "{bases:?}");
    for base in bases {
        let name = base
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let restored = c.restore(&["--base", &name, "--until-lsn", &end]);
        assert_identical((&c, "app"), (&c, &restored.database));
    }
}

/// Setup while the load runs, then two bases while a transaction that began before each stays open
/// beyond it.
fn set_up_and_dump(c: &Cluster) {
    c.sql("SELECT * FROM incr_setup()");
    for round in ["first", "second"] {
        let mut open = c.session();
        open.run(&format!(
            "BEGIN; INSERT INTO held VALUES ('{round}, before the base', 1)"
        ));
        c.sql("SELECT incr_dump()");
        open.run(&format!(
            "INSERT INTO held VALUES ('{round}, after the base', 2); COMMIT"
        ));
    }
}

#[test]
fn a_base_waits_for_no_open_transaction() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut open = c.session();
    open.run("BEGIN; UPDATE t SET a = 2; INSERT INTO t VALUES (10)");
    let mut reader = c.session();
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t");
    c.sql("SET statement_timeout = '50 s'; SELECT incr_dump()");
    open.run("DELETE FROM t WHERE a = 2; COMMIT");
    c.assert_restores();
}

#[test]
fn a_base_that_another_session_holds_up_fails_and_leaves_nothing_behind() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    let mut holder = c.session();
    holder.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let before = c.bases().len();
    let mut dump = c.session();
    dump.send("SET statement_timeout = '5 s'; SELECT incr_dump()");
    let output = dump.finish();
    assert!(output.contains("57014"), "{output}");
    holder.run("COMMIT");
    wait_until("the cancelled base is gone and another can be made", || {
        c.try_sql("SELECT incr_dump()").is_ok()
    });
    let bases = c.bases();
    assert!(bases.len() > before);
    assert!(
        bases
            .iter()
            .all(|base| base.extension().is_none_or(|e| e != "partial")),
        "{bases:?}"
    );
    c.assert_restores();
}

#[test]
fn a_base_is_where_an_old_point_starts_from() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let early = c.flush();
    c.sql("INSERT INTO t VALUES (2); SELECT incr_dump(); INSERT INTO t VALUES (3)");
    c.flush();
    let restored = c.restore(&["--until-lsn", &early]);
    assert_eq!(c.sql_in(&restored.database, "SELECT max(a) FROM t"), "1");
    c.assert_restores();
}
