//! "The row is gone, and nobody did it." With record_who a transaction says whose it was, and nobody else's.

use harness::{program, wait_until, Cluster};

const TILL: &str = "till 3; DROP TABLE t; --\u{e4}";

/// Transactions of alice, each in its own way.
const HER_WAYS: [&str; 5] = [
    "INSERT INTO t VALUES (1, 'insert'), (2, 'two')",
    "COPY t FROM PROGRAM 'printf \"10\\tcopy\\n11\\tcopy\\n\"'",
    "SELECT put(20)",
    "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (30, 'gone'); ROLLBACK TO a; SAVEPOINT b; INSERT INTO t VALUES (31, 'savepoint'); COMMIT",
    "BEGIN; INSERT INTO t VALUES (40, 'prepared'); PREPARE TRANSACTION 'p'",
];

#[test]
fn a_transaction_says_whose_it_was() {
    let c = Cluster::builder()
        .setting("max_prepared_transactions", "2")
        .setting("pg_incrbackup.decoding_work_mem", "64kB")
        .back_up();
    c.sql(
        "CREATE ROLE alice LOGIN; GRANT pg_execute_server_program TO alice; GRANT CREATE ON SCHEMA public TO alice;
         CREATE TABLE t (id int PRIMARY KEY, how text); GRANT ALL ON t TO alice;
         CREATE FUNCTION put(int) RETURNS void LANGUAGE sql AS $$ INSERT INTO t VALUES ($1, 'function') $$",
    );
    let as_alice = |sql: &str| {
        c.sql(&format!(
            "\\connect - alice\nSET application_name = '{TILL}'; {sql}"
        ));
    };
    as_alice("INSERT INTO t VALUES (0, 'off')");
    c.sql("ALTER DATABASE app SET pg_incrbackup.record_who = on");
    for way in HER_WAYS {
        as_alice(way);
    }
    as_alice("CREATE TABLE hers (a int PRIMARY KEY)");
    as_alice("BEGIN; INSERT INTO t SELECT i, repeat('large', 20) FROM generate_series(1000, 30000) i; UPDATE t SET how = 'large' WHERE id = 1000; COMMIT");
    c.sql("COMMIT PREPARED 'p'");
    c.sql("SET SESSION AUTHORIZATION alice; INSERT INTO t VALUES (61, 'in her name')");
    // Not hers, whatever it says.
    let forged = "00000000000000000000000000000000alice till 10.0.0.1";
    c.sql(&format!(
        "SET pg_incrbackup.record_who = off; BEGIN; INSERT INTO t VALUES (50, 'forged');
         SELECT pg_logical_emit_message(true, 'pg_incrbackup who', '{forged}'); COMMIT"
    ));
    c.sql(&format!(
        "BEGIN; SELECT pg_logical_emit_message(true, 'pg_incrbackup who', '{forged}'); INSERT INTO t VALUES (51, 'hidden'); COMMIT"
    ));
    let error = c.sql_error("SET SESSION AUTHORIZATION alice; SET pg_incrbackup.record_who = off");
    assert_eq!(error.sqlstate, "42501", "{error}");
    c.flush();

    let made_by = |id: &str| {
        c.sql(&format!(
            "SET client_min_messages = warning;
             SELECT DISTINCT concat_ws('|', role, application_name, client) FROM incr_history('t', '{id}')
             WHERE operation IN ('INSERT', 'UPDATE')"
        ))
    };
    // PostgreSQL keeps only ASCII of an application's name.
    let name = c.sql(&format!(
        "SET application_name = '{TILL}'; SHOW application_name"
    ));
    let alice = format!("alice|{name}|[local]");
    for id in ["1", "2", "11", "20", "31", "40", "1000", "30000"] {
        assert_eq!(made_by(id), alice, "row {id}");
    }
    assert_eq!([made_by("0"), made_by("50")], ["", ""]);
    assert_eq!(made_by("51"), "postgres|psql|[local]");
    assert_eq!(made_by("61"), "postgres|psql|[local]");
    let by_changes = "SET client_min_messages = warning; SELECT count(*), count(DISTINCT (application_name, client)) FROM incr_changes('t') WHERE role = 'alice'";
    assert_eq!(c.sql(by_changes), "29009|1");
    let by_ddl = format!(
        "SET client_min_messages = warning;
         SELECT bool_and(role = 'alice' AND application_name = $${name}$$) FROM incr_changes('hers')"
    );
    assert_eq!(c.sql(&by_ddl), "t");
    assert!(!c.log().contains("is not in the files"), "{}", c.log());

    // The program tells it, and filters by it.
    let archive = c.database_directory().display().to_string();
    let shown = |options: &[&str]| {
        let output = program(&[&["show", "--archive", &archive], options].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let hers = shown(&["--role", "alice"]);
    assert_eq!(hers.matches("\n-- transaction ").count() + 1, 7, "{hers}");
    assert_eq!(
        hers.matches(&format!("by alice, {name}, [local]  "))
            .count(),
        7,
        "{hers}"
    );
    assert!(hers.contains("CREATE TABLE public.hers"), "{hers}");
    let one = shown(&["--key", "id=31", "--json"]);
    let object: serde_json::Value = serde_json::from_str(one.trim()).expect("it is an object");
    assert_eq!(object["who"]["role"], "alice");
    assert_eq!(object["who"]["application_name"], name.as_str());
    let rows = shown(&["--role", "alice", "--rows-only", "--key", "id=50"]);
    assert_eq!(rows, "");

    // Where the message itself is what no longer fits into memory, it is spilled with the changes: in one of these transactions,
    // each a row larger.
    let spilled = || -> u64 {
        let told = c.sql("SELECT sum(spill_txns) FROM pg_stat_replication_slots");
        told.parse().expect("a number")
    };
    let before = spilled();
    c.sql(
        "CREATE TABLE u (n int, i int, PRIMARY KEY (n, i));
         DO $$ BEGIN FOR n IN 300..500 LOOP INSERT INTO u SELECT n, i FROM generate_series(1, n) i; COMMIT; END LOOP; END $$",
    );
    c.flush();
    let unknown = c.sql(
        "SET client_min_messages = warning; SELECT count(DISTINCT xid) FROM incr_changes('u', operation => 'insert') WHERE role IS NULL",
    );
    assert_eq!(unknown, "0");
    wait_until("some were spilled", || spilled() > before);
    assert!(!c.log().contains("is not in the files"), "{}", c.log());

    // One that was prepared is spilled by what others do meanwhile, whose DDL fills the memory again, and leaves a file for each
    // segment of WAL behind it: more of them than would be read if they held changes.
    as_alice("BEGIN; INSERT INTO t SELECT i, 'prepared' FROM generate_series(50000, 50249) i; PREPARE TRANSACTION 'q'");
    c.sql("INSERT INTO t SELECT i, 'others' FROM generate_series(60000, 60149) i");
    c.sql(
        "DO $$ BEGIN FOR n IN 1..300 LOOP
           EXECUTE format('ALTER TABLE u SET (fillfactor = %s)', 50 + n % 50); COMMIT;
           IF n % 50 = 0 THEN PERFORM pg_switch_wal(); END IF;
         END LOOP; END $$",
    );
    c.flush();
    let files = c.sql(
        "SELECT count(*) FROM pg_prepared_xacts, pg_replication_slots, pg_ls_dir('pg_replslot/' || slot_name) AS file
         WHERE gid = 'q' AND file LIKE 'xid-' || transaction || '-lsn-%'",
    );
    assert!(files.parse::<u32>().expect("a number") > 5, "{files}");
    c.sql("COMMIT PREPARED 'q'");
    c.flush();
    assert_eq!(made_by("50000"), alice);
    assert!(!c.log().contains("is not in the files"), "{}", c.log());

    // It is no part of a restore, by either program.
    c.assert_restores_both_ways();
}

#[test]
fn with_it_on_everywhere_every_worker_goes_on_and_health_is_ok() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.record_who", "on")
        .setting("pg_incrbackup.reader", "poll")
        .setting("max_prepared_transactions", "2")
        .back_up();
    // Where no slot of ours is, nothing is written for that of somebody else to read.
    c.sql("CREATE DATABASE elsewhere");
    let others = c.sql_in(
        "elsewhere",
        "SELECT pg_create_logical_replication_slot('others', 'test_decoding') \\g /dev/null
         CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT data FROM pg_logical_slot_get_changes('others', NULL, NULL);
         SELECT pg_drop_replication_slot('others') \\g /dev/null",
    );
    assert!(others.contains("table public.t: INSERT"), "{others}");
    assert!(!others.contains("message"), "{others}");
    c.sql("DROP DATABASE elsewhere");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.sql("SELECT incr_dump(); VACUUM ANALYZE t");
    c.sql("SET ROLE pg_read_all_data; BEGIN; RESET ROLE; UPDATE t SET a = 2; COMMIT");
    // What ON COMMIT DROP does to the catalogs comes after the message, and to a prepared transaction each commit of DDL adds
    // a snapshot.
    c.sql(
        "SELECT format('CREATE TEMP TABLE h (%s) ON COMMIT DROP', string_agg(format('c%s text DEFAULT 1', i), ', ')) AS h
             FROM generate_series(1, 300) i \\gset
         BEGIN; :h; INSERT INTO t VALUES (10); COMMIT;
         BEGIN; INSERT INTO t VALUES (11); PREPARE TRANSACTION 'p'",
    );
    c.sql("SELECT format('CREATE TABLE other_%s ()', i) FROM generate_series(1, 80) i \\gexec\nCOMMIT PREPARED 'p'");
    c.flush();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    let by = "SET client_min_messages = warning; SELECT DISTINCT role, application_name, client FROM incr_changes('t')";
    assert_eq!(c.sql(by), "postgres|psql|[local]");
    let stream = c.stream();
    let recorded = stream
        .lines()
        .filter(|line| line.contains(" transaction xid="));
    assert!(recorded.clone().count() >= 2, "{stream}");
    for line in recorded {
        assert!(
            line.ends_with(" role=postgres application=psql client=%5Blocal%5D"),
            "{line}"
        );
    }
    c.assert_restores();
}
