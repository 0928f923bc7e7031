//! "The server burned down, and the last commit was on no other disk." With `pg_incrbackup.synchronous` COMMIT returns
//! when the files hold the transaction, and whatever ends the wait earlier is said.

use harness::{wait_until, Builder, Cluster, Session};
use std::fs;
use std::time::Duration;

/// Every commit waits, for as long as it takes.
fn synchronous() -> Builder {
    Cluster::builder()
        .setting("pg_incrbackup.synchronous", "on")
        .setting("pg_incrbackup.synchronous_timeout", "0")
        .setting("pg_incrbackup.synchronous_on_timeout", "wait")
}

/// The files, as they are now, hold a transaction with this text.
fn holds(c: &Cluster, text: &str) -> bool {
    let mut transactions = c.transactions().into_iter();
    transactions.any(|transaction| transaction.body.contains(text))
}

/// Sessions that wait for the files.
fn waiting(c: &Cluster) -> String {
    let event = if c.version() < 17 {
        "Extension"
    } else {
        "PgIncrbackupSync"
    };
    c.sql(&format!(
        "SET pg_incrbackup.synchronous = off; SELECT count(*) FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND wait_event = '{event}'"
    ))
}

fn wait_for_waiting(c: &Cluster, count: u32) {
    wait_until(&format!("{count} commits wait"), || {
        waiting(c) == count.to_string()
    });
}

/// A table, and a capture worker that does nothing until [`go_on`].
fn with_stopped_worker(builder: Builder) -> (Cluster, String) {
    let c = builder.back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.wait_for_capture();
    let pid = c.capture_pid();
    c.signal(&pid, "STOP");
    (c, pid)
}

fn go_on(c: &Cluster, pid: &str) {
    c.signal(pid, "CONT");
}

/// Sends a statement whose COMMIT then waits.
fn sent(c: &Cluster, before: &str, sql: &str) -> Session {
    let mut session = c.session();
    session.run(before);
    let others: u32 = waiting(c).parse().expect("a number");
    session.send(sql);
    wait_for_waiting(c, others + 1);
    session
}

fn is_quiet(output: &str) -> bool {
    !output.contains("WARNING") && !output.contains("ERROR")
}

#[test]
fn an_acknowledged_commit_is_in_the_files_at_once() {
    for (reader, interval) in [("stream", "0"), ("stream", "10s"), ("poll", "0")] {
        let c = synchronous()
            .setting("pg_incrbackup.reader", reader)
            .setting("pg_incrbackup.fsync_interval", interval)
            .back_up();
        c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
        assert!(holds(&c, "CREATE TABLE public.t"), "{reader} {interval}");
        for a in 1..=20 {
            c.sql(&format!("INSERT INTO t VALUES ({a}, 'row{a}#')"));
            assert!(holds(&c, &format!("row{a}#")), "{reader} {interval}: {a}");
        }
        // Not flushed by its own commit.
        c.sql("SET synchronous_commit = off; INSERT INTO t VALUES (100, 'asynchronous')");
        assert!(holds(&c, "asynchronous"), "{reader} {interval}");
        // Nothing of this is written.
        c.sql("CREATE TEMPORARY TABLE temporary (a int); INSERT INTO temporary VALUES (1)");
        c.sql("CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1)");
        c.sql("SELECT txid_current()");
        assert!(c.health().starts_with("ok"), "{}", c.health());
        c.sql("SET pg_incrbackup.synchronous = off; SELECT incr_flush()");
        c.assert_restores();
    }
}

#[test]
fn commit_returns_after_the_fsync_and_not_before() {
    let c = synchronous().with_failpoints().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    for point in ["segment: write", "segment: fsync"] {
        c.set_seconds(0, &format!("hold 1 {point}"));
        let mut first = sent(
            &c,
            "SELECT 1",
            "INSERT INTO t SELECT count(*), 'held' FROM t",
        );
        wait_until("the worker is there", || {
            c.root().join("failpoints.held").exists()
        });
        // Meanwhile others come, and share what follows.
        let mut others: Vec<_> = (0..4)
            .map(|a| {
                let sql = format!("INSERT INTO t SELECT 10 * (count(*) + 1) + {a} FROM t");
                sent(&c, "SELECT 1", &sql)
            })
            .collect();
        assert_eq!(waiting(&c), "5", "{point}");
        fs::remove_file(c.root().join("failpoints")).expect("it is there");
        fs::remove_file(c.root().join("failpoints.held")).expect("it is there");
        assert!(is_quiet(&first.finish()), "{point}");
        assert!(others.iter_mut().all(|other| is_quiet(&other.finish())));
    }
}

#[test]
fn the_value_at_commit_counts() {
    let builder = Cluster::builder().setting("pg_incrbackup.synchronous_timeout", "0");
    let (c, pid) = with_stopped_worker(builder);
    c.sql_in(
        "postgres",
        "CREATE ROLE cashier LOGIN SUPERUSER; ALTER ROLE cashier SET pg_incrbackup.synchronous = on;
         CREATE ROLE plain",
    );
    c.sql("GRANT INSERT, SELECT ON t TO plain");
    // Nobody waits who does not want to.
    c.sql("INSERT INTO t VALUES (1)");
    c.sql("BEGIN; SET LOCAL pg_incrbackup.synchronous = on; INSERT INTO t VALUES (2); SET LOCAL pg_incrbackup.synchronous = off; COMMIT");
    c.sql("SET pg_incrbackup.synchronous = on; BEGIN; INSERT INTO t VALUES (3); ROLLBACK");
    c.sql("SET pg_incrbackup.synchronous = on; SELECT count(*) FROM t");
    c.sql("SET pg_incrbackup.synchronous = on; BEGIN; INSERT INTO t VALUES (4); SET LOCAL pg_incrbackup.synchronous = off; COMMIT");
    let error = c.sql_error("SET ROLE plain; SET pg_incrbackup.synchronous_on_timeout = wait");
    assert_eq!(error.sqlstate, "42501");
    let mut sessions = vec![
        sent(
            &c,
            "SET ROLE plain",
            "BEGIN; SET LOCAL pg_incrbackup.synchronous = on; INSERT INTO t VALUES (5); COMMIT",
        ),
        sent(
            &c,
            "SET pg_incrbackup.synchronous = on",
            "INSERT INTO t VALUES (6)",
        ),
    ];
    c.sql("ALTER DATABASE app SET pg_incrbackup.synchronous = on");
    sessions.push(sent(&c, "SELECT 1", "INSERT INTO t VALUES (7, 'seven')"));
    c.sql_in(
        "postgres",
        "ALTER DATABASE app RESET pg_incrbackup.synchronous",
    );
    // What others see meanwhile.
    assert_eq!(
        c.sql("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"),
        "1,2,4,5,6,7"
    );
    let pids = c.sql("SELECT string_agg(pid::text, ',') FROM pg_stat_activity");
    let mut ps = std::process::Command::new("ps");
    let output = ps.args(["-o", "args=", "-p", &pids]).output();
    let titles = String::from_utf8_lossy(&output.expect("ps can be run").stdout).into_owned();
    let titles = titles.matches("waiting for pg_incrbackup").count();
    assert_eq!(titles, 3);
    assert_eq!(
        c.sql("SELECT waiting, degraded FROM incr_synchronous()"),
        "3|0"
    );
    assert!(c
        .sql("SELECT detail FROM incr_status() WHERE worker = 'capture'")
        .contains("3 commits wait for the files"));
    go_on(&c, &pid);
    for session in &mut sessions {
        assert!(is_quiet(&session.finish()));
    }
    assert!(holds(&c, "'seven'"));
    assert_eq!(
        c.sql("SELECT waiting, degraded FROM incr_synchronous()"),
        "0|0"
    );
    let _waits = psql_as(&c, "cashier", "INSERT INTO t VALUES (8, 'eight')");
    assert!(holds(&c, "'eight'"));
}

fn psql_as(c: &Cluster, role: &str, sql: &str) -> String {
    let mut command = c.installation().command("psql");
    let conninfo = format!("{} user={role}", c.conninfo(c.database()));
    command.args(["-X", "-d", &conninfo, "-c", sql]);
    let output = command.output().expect("psql can be run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_cancelled_wait_says_what_the_client_cannot_know() {
    let (c, pid) = with_stopped_worker(synchronous());
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT%'";
    let mut session = sent(&c, "SELECT 1", "INSERT INTO t VALUES (1, 'cancelled')");
    c.sql(cancel);
    let said = session.finish();
    assert!(
        said.contains(
            "WARNING:  01000: canceling the wait for the backup's files due to user request"
        ) && said.contains("has already committed")
            && !said.contains("ERROR"),
        "{said}"
    );
    // Inside a CALL or DO statement_timeout is one, too, and ends the statement.
    session.run("SET statement_timeout = '3s'");
    session.send(
        "DO $$ BEGIN INSERT INTO t VALUES (2, 'too late'); COMMIT; PERFORM pg_sleep(600); END $$",
    );
    let said = session.finish();
    assert!(
        said.contains("canceling the wait for the backup's files due to user request")
            && said.contains("57014: canceling statement due to statement timeout"),
        "{said}"
    );
    session.run("SET statement_timeout = 0");
    // The session goes on, and is interrupted no more.
    assert_eq!(session.run("SELECT count(*) FROM t"), "2");
    let mut session = sent(&c, "SELECT 1", "INSERT INTO t VALUES (3, 'terminated')");
    let status = c.sql("SELECT detail FROM incr_status() WHERE worker = 'capture'");
    assert!(status.contains("1 commit waits for the files"), "{status}");
    c.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND wait_event IS NOT NULL AND state = 'active'");
    let said = session.finish();
    assert!(
        said.contains("57P01: canceling the wait") && said.contains("terminating connection"),
        "{said}"
    );
    assert_eq!(c.sql("SELECT count(*) FROM t"), "3");
    assert_eq!(
        c.sql("SELECT waiting, degraded FROM incr_synchronous()"),
        "0|3"
    );
    assert!(
        c.health()
            .contains("3 synchronous commits returned before they were in the files"),
        "{}",
        c.health()
    );
    go_on(&c, &pid);
    c.assert_restores();
}

#[test]
fn a_timeout_warns_and_returns_or_goes_on_waiting() {
    let builder = synchronous()
        .setting("pg_incrbackup.synchronous_timeout", "200ms")
        .setting("pg_incrbackup.synchronous_on_timeout", "warn");
    let (c, pid) = with_stopped_worker(builder);
    let mut session = c.session();
    session.send("INSERT INTO t VALUES (1, 'warned')");
    let said = session.finish();
    assert!(
        said.contains("WARNING:  01000: the transaction is not in the backup's files after 200 ms")
            && said.contains("incr_slot_health"),
        "{said}"
    );
    session.run("SET pg_incrbackup.synchronous_on_timeout = wait");
    session.send("INSERT INTO t VALUES (2, 'waits')");
    session.wait_for_line(|line| line.contains("after 200 ms, still waiting"));
    wait_for_waiting(&c, 1);
    go_on(&c, &pid);
    let said = session.finish();
    assert!(!said.contains("WARNING"), "{said}");
    assert!(holds(&c, "'waits'"));
    // What came late came nevertheless.
    assert_eq!(c.sql("SELECT degraded FROM incr_synchronous()"), "1");
}

#[test]
fn a_prepared_transaction_waits_when_it_is_committed() {
    let (c, pid) = with_stopped_worker(synchronous());
    let mut session = c.session();
    session.run("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'p'");
    session.run("BEGIN; INSERT INTO t VALUES (2, 'never'); PREPARE TRANSACTION 'q'");
    session.run("ROLLBACK PREPARED 'q'");
    let mut session = sent(&c, "SELECT 1", "COMMIT PREPARED 'p'");
    go_on(&c, &pid);
    assert!(is_quiet(&session.finish()));
    assert!(holds(&c, "'prepared'") && !holds(&c, "'never'"));
    c.assert_restores();
}

#[test]
fn statements_that_commit_by_themselves_and_ddl_never_wait_for_themselves() {
    let c = synchronous().back_up();
    let mut session = c.session();
    session.run(
        "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i;
         CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
    );
    let mut load = c.session();
    load.send("DO $$ BEGIN FOR i IN 1001..3000 LOOP INSERT INTO t VALUES (i, 'load'); COMMIT; END LOOP; END $$");
    for statement in [
        "CREATE INDEX CONCURRENTLY t_b ON t (b)",
        "REINDEX INDEX CONCURRENTLY t_b",
        "REINDEX TABLE t",
        "DROP INDEX CONCURRENTLY t_b",
        "ALTER TABLE t ADD COLUMN c int DEFAULT 7",
        "VACUUM t",
        "VACUUM FULL t",
        // The worker reads the catalogs of which the session has locks across its commits.
        "VACUUM FULL pg_class",
        "VACUUM FULL pg_attribute",
        "VACUUM FULL pg_proc",
        "CLUSTER t USING t_pkey",
        "CLUSTER",
        "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY",
        "ALTER TABLE t ALTER COLUMN b TYPE varchar",
        "CREATE TABLE made AS SELECT * FROM t",
        "TRUNCATE made",
        "DROP TABLE made",
        "CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO p VALUES (NULL); EXCEPTION WHEN others THEN \
         INSERT INTO t VALUES (-1, 'caught'); END $$",
        "CALL twice()",
        "DO $$ BEGIN INSERT INTO t VALUES (-2, 'first'); COMMIT; INSERT INTO t VALUES (-3, 'second'); COMMIT; END $$",
        "REINDEX SCHEMA CONCURRENTLY public",
        "VACUUM",
        "ANALYZE",
        "CREATE DATABASE other",
        "ALTER DATABASE other RENAME TO another",
        "DROP DATABASE another",
        "REFRESH MATERIALIZED VIEW made_again",
        "CREATE TABLESPACE s LOCATION ''",
    ] {
        if statement.starts_with("REFRESH") {
            session.run("CREATE MATERIALIZED VIEW made_again AS SELECT a FROM t");
        }
        session.send(statement);
        let said = session.output_within(Duration::from_secs(60));
        let said = said.unwrap_or_else(|| panic!("it hangs: {statement}\n{}", c.health()));
        assert!(
            is_quiet(&said) || statement.starts_with("CREATE TABLESPACE"),
            "{statement}: {said}"
        );
    }
    assert!(is_quiet(&load.finish()));
    assert!(holds(&c, "'second'") && holds(&c, "'caught'"));
    // An error that was caught does not make later commits those of a statement.
    session.run(
        "CREATE FUNCTION careful() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE t (a int)';
           EXCEPTION WHEN others THEN INSERT INTO t VALUES (-4, 'careful'); END $$",
    );
    let pid = c.capture_pid();
    c.signal(&pid, "STOP");
    let mut waits = sent(&c, "SELECT 1", "SELECT careful()");
    let mut called = sent(
        &c,
        "SELECT 1",
        "DO $$ BEGIN INSERT INTO t VALUES (-5); COMMIT; END $$",
    );
    go_on(&c, &pid);
    assert!(is_quiet(&called.finish()));
    assert!(is_quiet(&waits.finish()) && holds(&c, "'careful'"));
    c.assert_restores();
}

#[test]
fn a_statement_that_commits_by_itself_waits_at_its_end() {
    let (c, pid) = with_stopped_worker(synchronous());
    let mut session = sent(&c, "SELECT 1", "CREATE INDEX CONCURRENTLY t_b ON t (b)");
    // It holds no lock of the table.
    assert_eq!(
        c.sql("SET pg_incrbackup.synchronous = off; SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass"),
        "0"
    );
    c.sql("SET pg_incrbackup.synchronous = off; SET lock_timeout = '1s'; ALTER TABLE t ADD COLUMN d int");
    go_on(&c, &pid);
    assert!(is_quiet(&session.finish()));
    assert!(holds(&c, "CREATE INDEX t_b"));
}

#[test]
fn base_backups_ddl_and_commits_that_wait_do_not_stop_each_other() {
    let c = synchronous().back_up();
    c.sql("CREATE TABLE t (a bigserial PRIMARY KEY, b text)");
    let mut clients: Vec<Session> = (0..3).map(|_| c.session()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&format!(
            "DO $$ BEGIN FOR i IN 1..150 LOOP
               INSERT INTO t (b) VALUES ('client {number}');
               COMMIT;
               EXECUTE 'CREATE TABLE IF NOT EXISTS made{number} (a int)';
               COMMIT;
               EXECUTE 'TRUNCATE made{number}';
               COMMIT;
               EXECUTE 'DROP TABLE made{number}';
               COMMIT;
             END LOOP; END $$"
        ));
    }
    let mut indexes = c.session();
    indexes.send("CREATE INDEX i1 ON t (b); VACUUM FULL t; REINDEX TABLE t; CLUSTER t USING i1");
    for _ in 0..3 {
        let before = c.bases().len();
        c.sql("SELECT incr_dump(wait => false)");
        wait_until("another base is there", || c.bases().len() > before);
        wait_until("its worker has ended", || {
            c.is_true(
                "SELECT count(*) = 0 FROM incr_status() WHERE worker = 'base' AND state <> 'done'",
            )
        });
    }
    assert!(is_quiet(&indexes.finish()));
    for client in &mut clients {
        assert!(is_quiet(&client.finish()));
    }
    c.assert_restores();
}

#[test]
fn our_own_functions_do_not_wait_for_what_they_stop() {
    let c = synchronous().back_up();
    let mut session = c.session();
    for sql in [
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'row')",
        "SELECT * FROM incr_setup()",
        "SELECT incr_dump()",
        "SELECT incr_flush()",
        "SELECT incr_rotate()",
        "SELECT incr_mark('now')",
        "SELECT * FROM incr_setup(new_chain => true)",
        "INSERT INTO t VALUES (2, 'in the new chain')",
        "SELECT incr_teardown()",
        "INSERT INTO t VALUES (3, 'in none')",
        "DROP EXTENSION pg_incrbackup",
        "CREATE EXTENSION pg_incrbackup",
        "SELECT * FROM incr_setup()",
        "INSERT INTO t VALUES (4, 'in the third')",
        "BEGIN; INSERT INTO t VALUES (5, 'before the end'); SELECT incr_teardown(); COMMIT",
        "SELECT * FROM incr_setup()",
    ] {
        session.send(sql);
        let said = session.output_within(Duration::from_secs(60));
        let said = said.unwrap_or_else(|| panic!("it hangs: {sql}\n{}", c.log()));
        assert!(!said.contains("ERROR"), "{sql}: {said}");
        assert!(!said.contains("backup's files"), "{sql}: {said}");
    }
}

#[test]
fn a_commit_that_waits_does_not_stop_the_drop_of_another_database() {
    let c = synchronous().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    c.sql_in("postgres", "CREATE DATABASE other");
    // A worker that is stopped by a signal would keep DROP DATABASE waiting, too.
    c.sql("SELECT incr_teardown(drop_slot => false)");
    let mut waits = sent(&c, "SELECT 1", "INSERT INTO t VALUES (1, 'waits')");
    let mut dropping = c.session_in("postgres");
    dropping.run("SET pg_incrbackup.synchronous = off");
    dropping.send("DROP DATABASE other");
    let said = dropping.output_within(Duration::from_secs(30));
    assert!(is_quiet(&said.expect("it ends")));
    assert_eq!(waiting(&c), "1");
    c.sql("SET pg_incrbackup.synchronous = off; SELECT * FROM incr_setup()");
    waits.finish();
    assert!(holds(&c, "'waits'"));
}

#[test]
fn a_database_without_a_backup_does_not_wait() {
    let c = synchronous().back_up();
    c.sql_in(
        "postgres",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
    );
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in(
        "other",
        "CREATE TABLE t (a int); CREATE EXTENSION pg_incrbackup",
    );
    // Nor while a setup waits for its slot, which is one for open transactions.
    let mut open = c.session_in("postgres");
    open.run("BEGIN; INSERT INTO t VALUES (2)");
    let mut setup = c.session_in("other");
    setup.send("SELECT * FROM incr_setup()");
    setup.wait_for_line(|line| line.contains("incr_setup() waits for"));
    c.sql_in("other", "INSERT INTO t VALUES (3)");
    open.run("COMMIT");
    assert!(is_quiet(&setup.finish()));
    c.sql_in("other", "INSERT INTO t VALUES (4)");
}

#[test]
fn a_broken_chain_and_a_capture_that_was_stopped_are_said_at_once() {
    let c = synchronous()
        .setting("pg_incrbackup.synchronous_on_timeout", "warn")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    let mut session = c.session();
    session.run("SELECT incr_teardown(drop_slot => false)");
    session.send("INSERT INTO t VALUES (1, 'while it is stopped')");
    let said = session.finish();
    assert!(
        said.contains(
            "WARNING:  01000: the transaction is not in the backup's files: capture was stopped"
        ),
        "{said}"
    );
    // With `wait` it waits for it.
    session.run("SET pg_incrbackup.synchronous_on_timeout = wait");
    session.send("INSERT INTO t VALUES (2, 'waits')");
    session.wait_for_line(|line| line.contains("capture was stopped"));
    c.sql("SELECT * FROM incr_setup()");
    assert!(!session.finish().contains("WARNING:"));
    assert!(holds(&c, "'waits'") && holds(&c, "'while it is stopped'"));
    c.lose_slot();
    wait_until("the chain is broken", || {
        c.health().contains("chain is broken")
    });
    // Without a slot there is no backup to wait for.
    assert!(is_quiet(
        &session.run("INSERT INTO t VALUES (3, 'no slot')")
    ));
    session.run("SELECT * FROM incr_setup(new_chain => true)");
    session.run("INSERT INTO t VALUES (4, 'new chain')");
    assert!(holds(&c, "'new chain'"));
    break_files(&c);
    session.run("SET pg_incrbackup.synchronous_on_timeout = warn");
    session.send("INSERT INTO t VALUES (5, 'broken')");
    let said = session.finish();
    assert!(said.contains("files: the chain is broken"), "{said}");
    session.run("SET pg_incrbackup.synchronous_on_timeout = wait");
    session.send("INSERT INTO t VALUES (6, 'between two chains')");
    session.wait_for_line(|line| line.contains("the chain is broken"));
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    let said = session.finish();
    // It is in no segment, and this is not kept from the client.
    assert!(
        said.contains("another chain has begun") || said.contains("not backed up any more"),
        "{said}"
    );
    c.sql("INSERT INTO t VALUES (7, 'goes on')");
    assert!(holds(&c, "'goes on'"));
    c.assert_restores();
}

/// The open segment goes, and with it what was confirmed to the slot.
fn break_files(c: &Cluster) {
    c.sql("SET pg_incrbackup.synchronous = off; SELECT incr_flush()");
    let last = c.transactions().pop().expect("there is a transaction");
    wait_until("the slot is told", || {
        c.slot_is(&format!("confirmed_flush_lsn >= '{}'", last.commit_lsn))
    });
    let open = c.segments().pop().expect("a segment is open").path;
    fs::remove_file(open).expect("the segment can be removed");
    c.slot("pg_terminate_backend(active_pid)");
    wait_until("the chain is broken", || {
        c.health().contains("chain is broken")
    });
}

#[test]
fn waiting_commits_survive_their_worker_but_not_their_server() {
    let (c, pid) = with_stopped_worker(synchronous());
    // A worker that ends: the next one catches up.
    let mut session = sent(&c, "SELECT 1", "INSERT INTO t VALUES (1, 'next worker')");
    c.sql(&format!("SELECT pg_terminate_backend({pid})"));
    go_on(&c, &pid);
    assert!(is_quiet(&session.finish()));
    assert!(holds(&c, "'next worker'"));
    // One that is killed takes the server's sessions along, as PostgreSQL has it: no commit is acknowledged.
    c.wait_for_capture();
    let pid = c.capture_pid();
    c.signal(&pid, "STOP");
    let mut session = sent(&c, "SELECT 1", "INSERT INTO t VALUES (2, 'killed')");
    c.kill(&pid);
    let said = session.finish();
    assert!(
        said.contains("terminating connection") || said.contains("lost"),
        "{said}"
    );
    c.wait_for_connections();
    c.wait_for_capture();
    c.sql("INSERT INTO t VALUES (3, 'after')");
    assert!(holds(&c, "'killed'") && holds(&c, "'after'"));
    // A fast shutdown does not wait for them.
    let pid = c.capture_pid();
    c.signal(&pid, "STOP");
    let mut session = sent(&c, "SELECT 1", "INSERT INTO t VALUES (4, 'shut down')");
    let stopping = std::thread::scope(|scope| {
        let stop = scope.spawn(|| c.stop());
        let said = session.finish();
        go_on(&c, &pid);
        stop.join().expect("the server stops");
        said
    });
    assert!(stopping.contains("canceling the wait"), "{stopping}");
    c.start();
    c.sql("INSERT INTO t VALUES (5, 'started')");
    assert!(holds(&c, "'shut down'") && holds(&c, "'started'"));
    c.assert_restores();
}

/// A session waits for the worker of its own database while that of another one steps aside for it.
#[test]
fn a_worker_that_steps_aside_keeps_nobody_waiting_for_ever() {
    let c = synchronous().back_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql_in(
        "postgres",
        "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()",
    );
    let mut session = c.session_in("postgres");
    for sql in [
        "CREATE DATABASE copied TEMPLATE app",
        "CREATE TABLE of_postgres (a int)",
        "ALTER DATABASE app RENAME TO renamed",
        "ALTER DATABASE renamed RENAME TO app",
        "DROP DATABASE copied",
    ] {
        session.send(sql);
        let said = session.output_within(Duration::from_secs(60));
        let said = said.unwrap_or_else(|| panic!("it hangs: {sql}"));
        assert!(is_quiet(&said), "{sql}: {said}");
    }
    c.sql("INSERT INTO t VALUES (2)");
    let mut renaming = c.session_in("postgres");
    let mut waits = c.session();
    renaming.run("SET pg_incrbackup.synchronous_on_timeout = wait");
    waits.send("INSERT INTO t SELECT generate_series(3, 1000)");
    // Refused while there is a session, and the worker comes back.
    renaming.send("ALTER DATABASE app RENAME TO renamed");
    assert!(renaming.finish().contains("55006"));
    assert!(is_quiet(&waits.finish()));
    c.assert_restores();
}
