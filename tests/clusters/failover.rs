//! "The primary died at three in the morning, and so did its backup." On three nodes that Patroni runs, as the page about
//! availability describes it. Failovers under load are in tests/torture/failover.

use crate::docs_commands::{blocks, checkout, Block};
use harness::patroni::Patroni;
use harness::{wait_until, Cluster, Installation};
use std::fs;

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
        let killed = if is_kill {
            Some(nodes.kill_primary())
        } else {
            nodes.switch_over();
            None
        };
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

/// As Patroni copies it to another server: without the snapshot from which decoding begins. PostgreSQL then passes over what
/// commits until all running transactions have ended, and says nothing.
#[test]
fn what_a_copied_slot_cannot_decode_ends_the_chain() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    // The slot stands at a record of running transactions, and behind it there is always one.
    let mut first = c.session();
    first.run("BEGIN; INSERT INTO t VALUES (1)");
    c.sql("CHECKPOINT; INSERT INTO t VALUES (2)");
    c.flush();
    let mut second = c.session();
    second.run("BEGIN; INSERT INTO t VALUES (3)");
    first.run("COMMIT");
    c.sql("CHECKPOINT; INSERT INTO t VALUES (4)");
    c.flush();
    c.sql("SELECT incr_teardown(drop_slot => false)");
    c.sql("INSERT INTO t VALUES (5); CHECKPOINT");
    drop((first, second));
    c.crash();
    let snapshots = c.data_directory().join("pg_logical/snapshots");
    for file in fs::read_dir(snapshots).expect("it is there").flatten() {
        fs::remove_file(file.path()).expect("it can be removed");
    }
    c.start();
    wait_until("health says so", || {
        let health = c.health();
        health.starts_with("emergency") && health.contains("copied to this server without")
    });
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    c.assert_restores();
}
