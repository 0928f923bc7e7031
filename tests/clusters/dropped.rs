//! "I dropped the database, and its backup says that it goes on." A chain ends with its database, whatever happens to
//! the server or to the archive at that moment.

use std::fs;

use harness::{wait_until, Cluster};

fn is_ended(c: &Cluster) -> bool {
    let json = c.database_directory().join("chain-1/chain.json");
    let text = fs::read_to_string(json).expect("there is a chain.json");
    text.contains("the database was dropped")
}

/// A database is backed up, and this strikes whoever ends its chain.
fn with_failpoint(action: &str) -> Cluster {
    let c = Cluster::builder().with_failpoints().back_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.set_seconds(0, &format!("{action} 1 chain: end"));
    c
}

#[test]
fn a_session_that_drops_a_database_does_nothing_in_the_archive() {
    let c = with_failpoint("hold");
    // With somebody held in front of the file: not this session, which has its answer.
    let mut session = c.session_in("postgres");
    session.run("DROP DATABASE app");
    assert!(!is_ended(&c));
    wait_until("the launcher has come to it", || {
        c.root().join("failpoints.held").exists()
    });
    fs::remove_file(c.root().join("failpoints")).expect("it is there");
    wait_until("the chain has ended", || is_ended(&c));
}

#[test]
fn a_chain_ends_though_the_server_dies_between_the_drop_and_its_end() {
    let c = with_failpoint("kill");
    // The launcher may die, and all sessions with it, before this one has its answer.
    let answer = c.try_sql_in("postgres", "DROP DATABASE app");
    wait_until("somebody died of it", || {
        c.root().join("failpoints.fired").exists()
    });
    wait_until(&format!("the database is gone ({answer:?})"), || {
        let dropped = "SELECT count(*) = 0 FROM pg_database WHERE datname = 'app'";
        c.try_sql_in("postgres", dropped)
            .is_ok_and(|dropped| dropped == "t")
    });
    wait_until("the chain has ended", || is_ended(&c));
    let restored = c.restore(&[]);
    assert_eq!(c.sql_in(&restored.database, "SELECT a FROM t"), "1");
}

#[test]
fn a_chain_ends_though_its_directory_could_not_be_written_then() {
    let c = with_failpoint("EIO");
    c.sql_in("postgres", "DROP DATABASE app");
    wait_until("the launcher tells that it failed", || {
        c.log().contains("could not write") && c.log().contains("chain.json")
    });
    assert!(!is_ended(&c));
    fs::remove_file(c.root().join("failpoints")).expect("it is there");
    wait_until("the chain has ended", || is_ended(&c));
}
