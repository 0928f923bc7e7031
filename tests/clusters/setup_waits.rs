//! "It hangs, and the application with it." incr_setup() says who uses a table that it waits for, and holds up nobody
//! meanwhile; what it prints last restores.

use std::process::Command;

use harness::{wait_until, Cluster};

/// A cluster whose database has a name that a shell and libpq would take apart.
const NAME: &str = "it's \"$HOME\" `x` \\";

fn prepared() -> Cluster {
    let c = Cluster::builder().database(NAME).start();
    c.sql(
        "CREATE TABLE used (a int); CREATE TABLE free (a int);
           INSERT INTO used VALUES (1); INSERT INTO free VALUES (1); CREATE EXTENSION pg_incrbackup",
    );
    c
}

/// Whether incr_setup() has given a table its replica identity.
fn has_identity(c: &Cluster, table: &str) -> bool {
    c.is_true(&format!(
        "SELECT relreplident = 'f' FROM pg_class WHERE oid = '{table}'::regclass"
    ))
}

#[test]
fn a_reader_of_a_keyless_table_is_named_and_nobody_waits_behind_setup() {
    let c = prepared();
    let mut reader = c.session();
    let pid = reader.run(
        "SET application_name = 'the report'; BEGIN; SELECT FROM used; SELECT pg_backend_pid()",
    );
    let pid = pid.lines().last().expect("a pid").to_owned();
    let mut setup = c.session();
    setup.send("SELECT * FROM incr_setup()");
    setup.wait_for_line(|line| line.contains("waits for a lock of table public.used"));
    setup.wait_for_line(|line| {
        line.contains(&format!(
            "pid {pid}, role postgres, application the report, AccessShareLock"
        )) && line.contains(" since 20")
            && line.contains("SELECT pg_backend_pid()")
    });
    // A slot is not there yet.
    assert!(c.is_true(
        "SELECT found NOT LIKE '%this database is backed up%' FROM incr_check() WHERE name = 'replication slot'"
    ));
    assert!(c.is_true(
        "SELECT detail LIKE 'waits for a lock of table public.used%the report%' AND detail NOT LIKE '%SELECT%' FROM incr_status() WHERE worker = 'base'"
    ));
    // What is free is done, and not held.
    wait_until("the other table has one", || has_identity(&c, "free"));
    assert!(!has_identity(&c, "used"));
    // One lock request after the other is made meanwhile; a session that had to queue for long would fail.
    let mut application = c.session();
    application.run("SET lock_timeout = '1 s'");
    for _ in 0..200 {
        application
            .run("SELECT count(*) FROM used; INSERT INTO used VALUES (2); UPDATE free SET a = 3");
    }
    assert!(!has_identity(&c, "used"), "setup has waited all the time");
    reader.run("COMMIT");
    let output = setup.finish();
    assert!(!output.contains("ERROR"), "{output}");
    assert!(has_identity(&c, "used"));
    c.sql("UPDATE used SET a = 5 WHERE a = 1; SELECT incr_flush()");
    // The last row restores as it stands.
    let command = c.sql("SELECT detail FROM incr_setup() WHERE step = 'to restore'");
    let last = output.lines().rfind(|line| line.contains("|ready|"));
    assert!(
        last.is_some_and(|line| line.ends_with(&command)),
        "{output}"
    );
    let restored = Command::new("sh").args(["-c", &command]).output();
    let restored = restored.expect("a shell can be run");
    let said = String::from_utf8_lossy(&restored.stderr);
    assert!(restored.status.success(), "{command}\n{said}");
    let contents = "SELECT string_agg(a::text, ' ' ORDER BY a) FROM used";
    assert_eq!(
        c.sql_in(&format!("{NAME}_restored"), contents),
        c.sql(contents)
    );
}

#[test]
fn a_prepared_transaction_is_named_and_a_cancelled_setup_can_be_repeated() {
    let c = prepared();
    c.sql("BEGIN; LOCK TABLE used IN ACCESS SHARE MODE; PREPARE TRANSACTION 'the other''s'");
    let cancelled = || {
        let mut setup = c.session();
        let pid = setup.run("SELECT pg_backend_pid()");
        setup.send("SELECT * FROM incr_setup()");
        setup.wait_for_line(|line| {
            line.contains("prepared transaction 'the other''s'") && line.contains("AccessShareLock")
        });
        c.sql(&format!("SELECT pg_cancel_backend({pid})"));
        let output = setup.finish();
        assert!(output.contains("user request"), "{output}");
        assert!(has_identity(&c, "free") && !has_identity(&c, "used"));
    };
    cancelled();
    wait_until("nothing is waited for any more", || {
        c.is_true(
            "SELECT count(*) = 0 FROM incr_status() WHERE worker = 'base' AND detail LIKE 'waits%'",
        )
    });
    // What it has set is given back, by each of both ways; there is nothing to end otherwise.
    let said = c.sql("SELECT incr_teardown()");
    assert!(said.contains("identity of 1 table is reset"), "{said}");
    assert!(!has_identity(&c, "free"));
    let error = c.sql_error("SELECT incr_teardown()");
    assert_eq!(error.sqlstate, "42704", "{error}");
    cancelled();
    wait_until("the worker is gone", || {
        c.is_true(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup base'",
        )
    });
    c.sql("DROP EXTENSION pg_incrbackup");
    assert!(!has_identity(&c, "free"));
    c.sql("CREATE EXTENSION pg_incrbackup");
    // A session that has locked the table itself would wait for itself.
    c.sql("ROLLBACK PREPARED 'the other''s'");
    wait_until("the worker is gone", || {
        c.is_true(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup base'",
        )
    });
    let error = c.sql_error("BEGIN; SELECT FROM used; SELECT * FROM incr_setup()");
    assert_eq!(error.sqlstate, "25001", "{error}");
    wait_until("setup can run again", || {
        c.try_sql("SELECT * FROM incr_setup()").is_ok()
    });
    assert!(has_identity(&c, "used"));
}

#[test]
fn no_standby_and_no_base_is_waited_for_while_a_table_is_locked() {
    let c = prepared();
    c.set("synchronous_standby_names", "'nobody'");
    wait_until("it is read", || {
        c.sql("SHOW synchronous_standby_names") == "nobody"
    });
    // As a base or a drill does.
    let mut fence = c.session();
    fence.run("BEGIN; LOCK TABLE ddl_history IN SHARE MODE");
    let mut setup = c.session();
    setup.send("SELECT * FROM incr_setup()");
    setup.wait_for_line(|line| line.contains("waits for a lock of table public.ddl_history"));
    let mut application = c.session();
    application.run("SET lock_timeout = '1 s'; SET synchronous_commit = 'local'");
    for _ in 0..100 {
        application.run("INSERT INTO used VALUES (2); UPDATE free SET a = 3");
    }
    assert!(!has_identity(&c, "used") && !has_identity(&c, "free"));
    fence.run("COMMIT");
    wait_until("both have one", || {
        has_identity(&c, "used") && has_identity(&c, "free")
    });
    application.run("INSERT INTO used VALUES (2); UPDATE free SET a = 3");
    c.set("synchronous_standby_names", "''");
    let output = setup.finish();
    assert!(!output.contains("ERROR"), "{output}");
}
