//! "The check said OK, because it could not connect." The checks for Nagios and its like, with their exit
//! statuses.

use crate::exporter::{here, shell, shop, NOT_CARRIED, PAGE};
use crate::page::block;
use harness::{wait_until, Cluster};

/// Exit status and output of a command of the page.
fn check(c: &Cluster, name: &str) -> (i32, String) {
    let output = shell(c, &here(c, name)).output().expect("sh can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "", "{said}");
    (output.status.code().unwrap_or(-1), said)
}

fn assert_checks(c: &Cluster, status: i32, word: &str, said: &str) {
    let (found, line) = check(c, "nagios");
    assert_eq!(found, status, "{line}");
    assert!(
        line.starts_with(&format!("PG_INCRBACKUP {word} - ")) && line.contains(said),
        "{line}"
    );
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    assert!(line.matches('|').count() <= 1, "{line}");
    let (found, line) = check(c, "check_postgres");
    assert_eq!(found, status, "{line}");
    let word = if status == 3 { "ERROR" } else { word };
    assert!(line.contains(&format!("{word}: ")), "{line}");
}

#[test]
fn each_state_has_its_exit_status() {
    let c = shop().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql(&block(PAGE, "role"));
    let (status, line) = check(&c, "nagios");
    assert_eq!(status, 1, "{line}");
    assert!(
        line.contains("WARNING - shop warning: this database is not backed up"),
        "{line}"
    );
    c.set("pg_incrbackup.databases", "'!shop'");
    wait_until("it is excluded", || check(&c, "nagios").0 == 3);
    let (_, line) = check(&c, "nagios");
    assert!(
        line.contains("UNKNOWN - no database is backed up"),
        "{line}"
    );
    c.set("pg_incrbackup.databases", "''");
    c.sql("SELECT * FROM incr_setup()");
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT incr_flush()");
    assert_checks(&c, 0, "OK", "shop ok |");
    let (_, line) = check(&c, "nagios");
    assert!(
        line.contains(" 'shop_behind'=0s;") && line.contains("'shop_disk_used'="),
        "{line}"
    );
    c.sql(NOT_CARRIED);
    assert_checks(
        &c,
        1,
        "WARNING",
        "shop warning: 1 changes could not be captured",
    );
    c.sql("SELECT incr_teardown(drop_slot => false)");
    assert_checks(&c, 2, "CRITICAL", "shop critical: capture was stopped");
    c.sql("SELECT * FROM incr_setup()");
    c.lose_slot();
    wait_until("the chain is broken", || {
        c.health().starts_with("emergency")
    });
    assert_checks(&c, 2, "CRITICAL", "the chain is broken");
    c.stop();
    assert_checks(&c, 3, "UNKNOWN", "");
}

#[test]
fn the_worst_database_decides_and_comes_first() {
    let c = shop().back_up();
    c.sql(&block(PAGE, "least"));
    c.sql_in("postgres", "CREATE DATABASE \"it's | bad\"");
    c.sql_in("it's | bad", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("it's | bad", "SELECT * FROM incr_setup()");
    assert_checks(&c, 0, "OK", "it's / bad ok, shop ok |");
    c.sql_in("it's | bad", "SELECT incr_teardown(drop_slot => false)");
    assert_checks(&c, 2, "CRITICAL", "- it's / bad critical: ");
}

#[test]
fn a_role_that_may_not_look_and_a_call_without_an_argument_are_unknown() {
    let c = shop().back_up();
    c.sql("CREATE ROLE prometheus LOGIN");
    let (status, line) = check(&c, "nagios");
    assert_eq!(status, 3, "{line}");
    assert!(line.contains("permission denied"), "{line}");
    let output = shell(&c, "sh monitoring/check_pg_incrbackup")
        .output()
        .expect("sh can be run");
    assert_eq!(output.status.code(), Some(3));
}
