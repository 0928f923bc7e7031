//! "I asked the standby, and it alarmed me, or lied." What reads works on a standby, with the archive or without, and says that
//! this is one; what writes is refused.

use harness::{program, wait_until, Cluster};

/// A primary with a base, a closed and an open segment, and its standby, which has received everything.
fn pair() -> (Cluster, Cluster) {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'first')");
    c.sql("SELECT incr_rotate()");
    let standby = c.standby("s1");
    c.sql("UPDATE t SET b = 'second'; INSERT INTO t VALUES (2, 'other')");
    c.flush();
    wait_until("the standby has it", || {
        standby.is_true("SELECT count(*) = 2 FROM t")
    });
    (c, standby)
}

/// What reads, with or without files.
const READING: [&str; 14] = [
    "SELECT * FROM incr_slot_health()",
    "SELECT * FROM incr_cluster_health()",
    "SELECT * FROM incr_metrics()",
    "SELECT * FROM incr_status()",
    "SELECT * FROM incr_check()",
    "SELECT * FROM incr_files()",
    "SELECT * FROM incr_verify()",
    "SELECT * FROM incr_info()",
    "SELECT * FROM incr_expire()",
    "SELECT * FROM incr_history('t', '1')",
    "SELECT * FROM incr_history('t', '{\"a\": 1}'::jsonb)",
    "SELECT * FROM incr_changes('t')",
    "SELECT length(incr_read('', 0, 100000))",
    "SELECT * FROM incr_seq_sync_sql()",
];

fn assert_ok_as_standby(standby: &Cluster) {
    for function in ["incr_slot_health", "incr_cluster_health"] {
        let query = format!("SELECT level, reasons FROM {function}()");
        for row in standby.sql(&query).lines() {
            assert!(
                row.starts_with("ok|") && row.contains("this server is a standby"),
                "{function}: {row}"
            );
        }
    }
    let launcher = standby.sql("SELECT state, detail FROM incr_status() WHERE worker = 'launcher'");
    assert_eq!(
        launcher,
        "waiting for a promotion|this server is a standby: capture runs on the primary"
    );
    let metrics = standby.sql("SELECT level, chain_broken, capturing IS NULL FROM incr_metrics()");
    assert!(metrics.lines().all(|row| row == "ok|f|t"), "{metrics}");
    let primary = standby.sql("SELECT state, found FROM incr_check() WHERE name = 'primary'");
    assert!(
        primary.starts_with("missing|this server is a standby"),
        "{primary}"
    );
}

#[test]
fn what_reads_answers_as_on_the_primary_from_a_shared_archive() {
    let (c, standby) = pair();
    let moment = c.flush();
    for query in READING {
        standby.sql(query);
    }
    assert_ok_as_standby(&standby);
    for query in [
        "SELECT * FROM incr_files() ORDER BY chain, start_lsn, file",
        "SELECT * FROM incr_verify()",
        "SELECT chain, from_lsn, base, ends, lost FROM incr_info()",
        "SELECT chain, kind, file, decision FROM incr_expire()",
        "SELECT committed, xid, lsn, operation, statement, file, line FROM incr_history('t', '1')",
        "SELECT command, key, old, new FROM incr_changes('t')",
        &format!("SELECT * FROM incr_as_of(NULL::t, '{moment}') ORDER BY a"),
        "SELECT convert_from(incr_read('', 0, 100000), 'UTF8')",
        "SELECT * FROM incr_seq_sync_sql()",
    ] {
        let query = format!("SET client_min_messages = warning; {query}");
        assert_eq!(standby.sql(&query), c.sql(&query), "{query}");
    }
    let rows = c.sql("SELECT count(*) FROM incr_history('t', '1')");
    assert_eq!(rows, "3", "its table, its INSERT, its UPDATE");
    let checked = program(&["check", "--server", &standby.conninfo("app")]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("this server is a standby"), "{checked}");
    // Somebody who reads changes nothing.
    assert_eq!(standby.sql("SELECT * FROM incr_verify()"), "");
    c.assert_restores();
}

#[test]
fn without_the_archive_what_reads_says_so_or_has_no_rows() {
    let (_c, standby) = pair();
    // It is not mounted here.
    let elsewhere = standby.root().join("elsewhere").display().to_string();
    standby.set("pg_incrbackup.directory", &format!("'{elsewhere}'"));
    wait_until("it is read", || {
        standby.sql("SHOW pg_incrbackup.directory") == elsewhere
    });
    for query in READING {
        standby.sql(query);
    }
    assert_ok_as_standby(&standby);
    for query in [
        "SELECT count(*) FROM incr_files()",
        "SELECT count(*) FROM incr_info()",
        "SELECT count(*) FROM incr_history('t', '1')",
        "SELECT length(incr_read('', 0, 100000))",
    ] {
        assert_eq!(standby.sql(query), "0", "{query}");
    }
    let error = standby.sql_error("SELECT * FROM incr_as_of(NULL::t, 'now')");
    assert_eq!(error.sqlstate, "55000", "{error}");
    assert!(error.text.contains("has no archive"), "{error}");

    // None is set here: who asks for files is told so.
    standby.set("pg_incrbackup.directory", "''");
    wait_until("it is read", || {
        standby.sql("SHOW pg_incrbackup.directory").is_empty()
    });
    assert_ok_as_standby(&standby);
    for query in READING {
        if let Err(error) = standby.try_sql(query) {
            assert_eq!(error.sqlstate, "55000", "{query}: {error}");
            let what = "pg_incrbackup.directory is not set";
            assert!(error.message.contains(what), "{query}: {error}");
        }
    }
}

#[test]
fn what_writes_is_refused_on_a_standby() {
    let (c, standby) = pair();
    let base = c.bases()[0].display().to_string();
    let files = c.sql("SELECT * FROM incr_files() ORDER BY file");
    for statement in [
        "SELECT * FROM incr_setup()",
        "SELECT * FROM incr_setup(new_chain => true)",
        "SELECT * FROM incr_setup(take_over => true)",
        "SELECT incr_teardown()",
        "SELECT incr_teardown(drop_slot => false)",
        "SELECT incr_flush()",
        "SELECT incr_rotate()",
        "SELECT incr_dump()",
        "SELECT incr_dump(wait => false)",
        "SELECT incr_mark('release')",
        "SELECT * FROM incr_drill()",
        "SELECT * FROM incr_drill(wait => false)",
        "SELECT * FROM incr_expire(dry_run => false)",
        &format!("SELECT incr_keep('{base}')"),
        "SELECT incr_report()",
    ] {
        let error = standby.sql_error(statement);
        assert_eq!(error.sqlstate, "25006", "{statement}: {error}");
        assert!(
            error.message.contains("this server is a standby") && error.hint.contains("promote"),
            "{statement}: {error}"
        );
    }
    assert_eq!(c.sql("SELECT * FROM incr_files() ORDER BY file"), files);
    assert!(c.health().starts_with("ok|"), "{}", c.health());
}
