//! "The primary died at three in the morning, and so did its backup." On three nodes that Patroni runs, as the page about
//! availability describes it. Failovers under load are in tests/torture/failover.

use crate::docs_commands::{blocks, checkout, Block};
use harness::patroni::Patroni;
use harness::{program, skipped, wait_until, Cluster, Installation};
use std::fs;
use std::path::Path;

fn of_page(heading: &str, language: &str) -> Vec<Block> {
    let page = fs::read_to_string(checkout().join("docs/availability.md"));
    let blocks = blocks(&page.expect("the page is there"));
    let found: Vec<Block> = blocks
        .into_iter()
        .filter(|block| block.heading.contains(heading) && block.language == language)
        .collect();
    assert!(!found.is_empty(), "{heading} has no {language}");
    found
}

/// The steps of incr_setup() for Patroni, and the same line as incr_check() has it.
fn line_of_setup(c: &Cluster) -> String {
    let step = "SELECT detail FROM incr_setup() WHERE step = 'for Patroni'";
    let told = c.sql(step);
    let row = c.sql("SELECT todo FROM incr_check() WHERE name = 'Patroni'");
    assert_eq!(told, row);
    told
}

/// By the callback, as the page has it: no setting takes over.
#[test]
fn by_the_recipe_the_chain_goes_on_after_a_switchover_and_a_kill() {
    let script = of_page("Or by a callback", "sh").remove(0).text;
    let nodes = Patroni::builder().on_role_change(&script).start();
    nodes.set_up("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let c = nodes.primary();
    let line = line_of_setup(c);
    match Installation::under_test().version {
        // The row is ok: the harness has sync_replication_slots.
        17.. => assert_eq!(line, ""),
        _ => assert!(line.starts_with("slots: {pg_incrbackup_"), "{line}"),
    }
    let mut rows = 1;
    for is_kill in [false, true, false] {
        let killed = nodes.change_primary(is_kill);
        let c = nodes.primary();
        rows += 1;
        c.sql(&format!("INSERT INTO t VALUES ({rows})"));
        wait_until("capture goes on", || {
            c.try_sql("SELECT incr_flush('1 s')").is_ok()
        });
        if let Some(killed) = killed {
            nodes.bring_back(killed);
        }
        nodes.wait_for_standbys();
    }
    let c = nodes.primary();
    let restored = c.assert_restores();
    let count = c.sql_in(&restored.database, "SELECT count(*) FROM t");
    assert_eq!(count, rows.to_string());
    for block in of_page("See that it works", "sql") {
        c.sql(&block.text);
    }
}

/// Nodes that take over by themselves, and begin another chain.
fn nodes_on_their_own() -> Patroni {
    let nodes = Patroni::builder()
        .setting("pg_incrbackup.take_over", "on_promotion")
        .setting("pg_incrbackup.take_over_delay", "1")
        .setting("pg_incrbackup.on_chain_break", "rebase")
        .start();
    nodes.set_up("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    nodes
}

/// From here on no standby receives anything. What a stopped walsender would have sent is lost with it; a standby that is
/// stopped itself would find it in its socket.
fn hold_up_the_standbys(primary: &Cluster) {
    const SENDERS: &str = "SELECT pid FROM pg_stat_replication";
    let lsn = primary.flush();
    wait_until("both standbys have all", || {
        primary.is_true(&format!(
            "SELECT count(*) = 2 FROM pg_stat_replication WHERE flush_lsn >= '{lsn}'"
        ))
    });
    for pid in primary.sql(SENDERS).lines() {
        primary.signal(pid, "STOP");
    }
}

/// Whether the segments of a chain, or those that were set apart, have that row.
fn shows(directory: &Path, row: u32) -> bool {
    let shown = program(&["show", "--archive", &directory.display().to_string()]);
    String::from_utf8_lossy(&shown.stdout).contains(&format!("VALUES ({row})"))
}

/// Replication is asynchronous, and nothing before 17 makes capture wait for a standby.
#[test]
fn what_no_standby_has_is_set_apart_and_another_chain_begins() {
    let nodes = nodes_on_their_own();
    let former = nodes.primary();
    former.sql("INSERT INTO t VALUES (2)");
    hold_up_the_standbys(former);
    former.sql("INSERT INTO t VALUES (1001)");
    former.sql("INSERT INTO t VALUES (1002)");
    former.flush();
    assert!(shows(&former.database_directory(), 1002));
    let killed = nodes.kill_primary();
    let c = nodes.primary();
    c.sql("INSERT INTO t VALUES (3)");
    wait_until("another chain begins", || {
        c.chain_directory().ends_with("chain-2") && c.try_sql("SELECT incr_flush('1 s')").is_ok()
    });
    assert_eq!(
        c.sql("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"),
        "1,2,3"
    );
    let chain = c.database_directory().join("chain-1");
    let found = fs::read_dir(&chain).expect("there is a chain").flatten();
    let mut set_apart =
        found.filter(|entry| entry.file_name().to_string_lossy().starts_with("lost-"));
    let lost = set_apart.next().expect("it is set apart").path();
    assert!(
        shows(&lost, 1001) && shows(&lost, 1002),
        "{}",
        lost.display()
    );
    let page = fs::read_to_string(lost.join("README-LOST.txt")).expect("it is explained");
    assert!(page.contains("2 transactions are lost"), "{page}");
    let described = fs::read_to_string(chain.join("chain.json")).expect("there is a chain");
    assert!(
        described.contains("2 transactions of the former primary are not in the history"),
        "{described}"
    );
    for row in [1001, 1002] {
        assert!(!shows(&c.database_directory(), row), "{row} is in a chain");
    }
    // The former chain has all that it had in common with the new primary.
    let old = c.restore(&["--chain", "1"]);
    assert_eq!(c.sql_in(&old.database, "SELECT max(a) FROM t"), "2");
    c.assert_restores();
    nodes.bring_back(killed);
    nodes.wait_for_standbys();
    c.sql("INSERT INTO t VALUES (4)");
    c.assert_restores();
}

/// From 17 on capture can wait for them.
#[test]
fn where_capture_waits_for_the_standbys_nothing_is_set_apart() {
    if Installation::under_test().version < 17 {
        return skipped("synchronized_standby_slots exists from 17 on");
    }
    let nodes = nodes_on_their_own();
    let former = nodes.primary();
    let slots = former.sql(
        "SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE slot_type = 'physical'",
    );
    assert_eq!(slots.split(',').count(), 2, "{slots}");
    former.sql(&format!(
        "ALTER SYSTEM SET synchronized_standby_slots = '{slots}'"
    ));
    former.sql("SELECT pg_reload_conf()");
    wait_until("it is read", || {
        former.sql("SHOW synchronized_standby_slots") == slots
    });
    former.sql("INSERT INTO t VALUES (2)");
    hold_up_the_standbys(former);
    former.sql("INSERT INTO t VALUES (1001)");
    let error = former.sql_error("SELECT incr_flush('2 s')");
    assert_eq!(error.sqlstate, "57014", "{error}");
    assert!(!former.stream().contains("VALUES (1001)"));
    nodes.kill_primary();
    let c = nodes.primary();
    c.sql("INSERT INTO t VALUES (3)");
    wait_until("capture goes on", || {
        c.try_sql("SELECT incr_flush('1 s')").is_ok()
    });
    assert_eq!(
        c.sql("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"),
        "1,2,3"
    );
    assert_eq!(c.sql("SELECT max(chain) FROM incr_files()"), "1");
    assert!(!fs::read_dir(c.chain_directory())
        .expect("there is a chain")
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("lost-")));
    assert!(!c.stream().contains("VALUES (1001)"));
    c.assert_restores();
}

/// A slot whose restart_lsn is a record of running transactions, of which there was one at all times since, and without the
/// snapshot from which decoding begins: as Patroni copies it to another server. PostgreSQL then passes over what commits until all
/// running transactions have ended, and says nothing. Returned when the server is down.
fn with_a_copied_slot(before_the_crash: impl FnOnce(&Cluster)) -> Cluster {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    let mut first = c.session();
    first.run("BEGIN; INSERT INTO t VALUES (1)");
    c.sql("CHECKPOINT; INSERT INTO t VALUES (2)");
    c.flush();
    let mut second = c.session();
    second.run("BEGIN; INSERT INTO t VALUES (3)");
    first.run("COMMIT");
    c.sql("CHECKPOINT; INSERT INTO t VALUES (4)");
    c.flush();
    before_the_crash(&c);
    drop((first, second));
    c.crash();
    let snapshots = c.data_directory().join("pg_logical/snapshots");
    for file in fs::read_dir(snapshots).expect("it is there").flatten() {
        fs::remove_file(file.path()).expect("it can be removed");
    }
    c
}

#[test]
fn what_a_copied_slot_cannot_decode_ends_the_chain() {
    let c = with_a_copied_slot(|c| {
        c.sql("SELECT incr_teardown(drop_slot => false)");
        c.sql("INSERT INTO t VALUES (5); CHECKPOINT");
    });
    c.start();
    wait_until("health says so", || {
        let health = c.health();
        health.starts_with("emergency") && health.contains("copied to this server without")
    });
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.assert_restores();
}

/// The last commit in the files is among them, and is not missed.
#[test]
fn what_a_copied_slot_cannot_decode_may_be_in_the_files() {
    let c = with_a_copied_slot(|_| {});
    c.start();
    // Two records of running transactions, of which there are none any more: from here on all is decoded.
    c.sql("CHECKPOINT");
    c.sql("CHECKPOINT");
    c.sql("INSERT INTO t VALUES (6)");
    c.assert_restores();
    assert!(
        c.log().contains("found initial starting point"),
        "{}",
        c.log()
    );
    assert_eq!(c.sql("SELECT max(chain) FROM incr_files()"), "1");
}
