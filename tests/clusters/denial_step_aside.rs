//! "Anybody holds my backup off." Capture steps aside for who may drop, rename or copy the database, and
//! for nobody else; and only for as long as the statement needs.

use harness::{wait_until, Cluster, Session};

/// A role that may log in and no more, one that may create databases, and one that owns the database.
fn attacked() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE guest LOGIN; CREATE ROLE creator LOGIN CREATEDB; CREATE ROLE owner LOGIN CREATEDB;
         ALTER DATABASE app OWNER TO owner; CREATE TABLE t (a int PRIMARY KEY)",
    );
    c.flush();
    c
}

fn as_role(c: &Cluster, role: &str) -> Session {
    let mut session = c.session_in("postgres");
    session.run(&format!("SET ROLE {role}"));
    session
}

/// Each of these runs to its end while a lock of ours is held: capture has gone on meanwhile, or it has not.
fn tried(statement: &str) -> String {
    format!(
        "DO $$BEGIN BEGIN EXECUTE '{statement}'; EXCEPTION WHEN OTHERS THEN NULL; END;
         PERFORM pg_advisory_xact_lock(1); END$$;"
    )
}

#[test]
fn nobody_without_the_right_holds_capture_off() {
    let c = attacked();
    let pid = c.capture_pid();
    let mut gate = c.session_in("postgres");
    gate.run("SELECT pg_advisory_lock(1)");
    let statements = [
        "CREATE DATABASE x TEMPLATE app",
        "DROP DATABASE app",
        "ALTER DATABASE app RENAME TO y",
        "ALTER DATABASE app SET TABLESPACE pg_default",
    ];
    for (role, statement) in [
        ("guest", 0),
        ("guest", 1),
        ("guest", 2),
        ("guest", 3),
        ("creator", 0),
    ] {
        let statement = statements[statement];
        let mut attacker = as_role(&c, role);
        attacker.send(&tried(statement));
        wait_until("the attacker has tried", || {
            c.is_true(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)",
            )
        });
        c.sql("INSERT INTO t SELECT coalesce(max(a), 0) + 1 FROM t");
        c.flush();
        assert_eq!(c.capture_pid(), pid, "{role}: {statement}");
        c.sql_in("postgres", "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
        // Outside a function, where the right alone is missing.
        let refused = c.try_sql_in("postgres", &format!("SET ROLE {role}; {statement}"));
        assert!(refused.is_err(), "{role}: {statement}");
        assert_eq!(c.capture_pid(), pid, "{role}: {statement}");
    }
}

#[test]
fn who_has_the_right_holds_it_off_no_longer_than_the_statement() {
    let c = attacked();
    let mut gate = c.session_in("postgres");
    gate.run("SELECT pg_advisory_lock(1)");
    // Refused in a function before it begins: nothing steps aside.
    let pid = c.capture_pid();
    let mut owner = as_role(&c, "owner");
    owner.send(&tried("CREATE DATABASE x TEMPLATE app"));
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)";
    wait_until("the owner has tried", || c.is_true(waits));
    assert_eq!(c.capture_pid(), pid);
    gate.run("SELECT pg_advisory_unlock(1)");
    owner.run("SELECT pg_advisory_lock(1)");
    // A rename may be tried anywhere, and is over with its subtransaction.
    let mut renaming = as_role(&c, "owner");
    renaming.run("BEGIN");
    renaming.run("SAVEPOINT s");
    renaming.run("ALTER DATABASE app RENAME TO renamed");
    renaming.run("ROLLBACK TO s");
    c.wait_for_capture();
    c.sql("INSERT INTO t VALUES (100)");
    c.flush();
    renaming.run("COMMIT");
}

/// What they are there for goes on as before.
#[test]
fn the_owner_copies_renames_and_drops_the_database() {
    let c = attacked();
    let mut owner = as_role(&c, "owner");
    owner.run("CREATE DATABASE copied TEMPLATE app");
    c.wait_for_capture();
    owner.run("ALTER DATABASE app RENAME TO renamed");
    owner.run("ALTER DATABASE renamed RENAME TO app");
    c.wait_for_capture();
    c.sql("INSERT INTO t VALUES (1)");
    c.assert_restores();
    owner.run("DROP DATABASE app");
    assert_eq!(
        c.sql_in("postgres", "SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
}

/// The launcher has registered a worker, which is about to start and stands on no board yet.
#[test]
fn a_worker_that_has_not_started_yet_keeps_away_too() {
    let c = Cluster::builder().with_failpoints().back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
    c.set_seconds(0, "hold 1 capture: start");
    c.slot("pg_terminate_backend(active_pid)");
    wait_until("the next worker is about to start", || {
        c.root().join("failpoints.held").exists()
    });
    let mut renaming = c.session_in("postgres");
    renaming.run("BEGIN");
    renaming.run("ALTER DATABASE app RENAME TO renamed");
    std::fs::remove_file(c.root().join("failpoints")).expect("it is there");
    // It would wait for the database until the other transaction ends.
    wait_until("it has stepped aside", || {
        c.sql_in("postgres", "SELECT reasons FROM incr_cluster_health()")
            .contains("stepped aside")
    });
    renaming.run("ROLLBACK");
    c.wait_for_capture();
    c.sql("INSERT INTO t VALUES (1)");
    c.assert_restores();
}

/// PostgreSQL minds the other sessions of the source only.
#[test]
fn the_database_is_copied_from_within() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.synchronous", "on")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.flush();
    let mut within = c.session();
    let said = within.run("CREATE DATABASE copied TEMPLATE app");
    assert!(!said.contains("WARNING"), "{said}");
    assert_eq!(c.sql_in("copied", "SELECT a FROM t"), "1");
    within.run("INSERT INTO t VALUES (2)");
    c.assert_restores();
}
