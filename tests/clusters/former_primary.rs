//! "The old primary is back as a standby, and cannot take over again." From 17 on a server that was the primary has a slot of
//! ours that was never synchronized, and PostgreSQL then synchronizes none.

use harness::{give_to_server_user, skipped, wait_until, Cluster};
use std::fs;

/// A former primary that is down, and the standby that was promoted and goes on, with a slot for that one to follow.
fn former_and_new() -> Option<(Cluster, Cluster)> {
    let c = Cluster::backed_up();
    if c.version() < 17 {
        skipped("failover slots exist from 17 on");
        return None;
    }
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let standby = c.standby("s1");
    c.flush();
    standby.wait_for_synced_slot();
    // A shutdown waits until the standby has all of it.
    c.stop();
    standby.promote();
    standby.sql("SELECT * FROM incr_setup(take_over => true)");
    standby.sql("INSERT INTO t VALUES (2)");
    standby.sql_in(
        "postgres",
        "SELECT pg_create_physical_replication_slot('s0', true)",
    );
    let signal = c.data_directory().join("standby.signal");
    fs::write(&signal, "").expect("the server is down");
    give_to_server_user(&signal);
    let primary = standby.conninfo("postgres").replace('\'', "''");
    c.write_setting("primary_conninfo", &format!("'{primary}'"));
    c.write_setting("primary_slot_name", "'s0'");
    c.write_setting("hot_standby_feedback", "on");
    c.write_setting("wal_retrieve_retry_interval", "100ms");
    Some((c, standby))
}

#[test]
fn a_former_primary_gets_the_slot_of_the_new_one() {
    let Some((former, new)) = former_and_new() else {
        return;
    };
    former.write_setting("sync_replication_slots", "on");
    former.start();
    wait_until("its slot is synchronized", || {
        new.sql_in("postgres", "SELECT pg_log_standby_snapshot()");
        former.sql_in("postgres", "SELECT pg_reload_conf()");
        former.slot_is("synced AND NOT temporary AND invalidation_reason IS NULL")
    });
    assert!(former.log().contains("from its time as the primary"));
    // And back again.
    new.sql("INSERT INTO t VALUES (3)");
    new.flush();
    new.stop();
    former.promote();
    former.sql("SELECT * FROM incr_setup(take_over => true)");
    former.sql("INSERT INTO t VALUES (4)");
    let restored = former.assert_restores();
    assert_eq!(
        former.sql_in(&restored.database, "SELECT count(*) FROM t"),
        "4"
    );
    assert_eq!(former.sql("SELECT max(chain) FROM incr_files()"), "1");
}

#[test]
fn it_keeps_its_slot_while_it_follows_nobody_or_synchronizes_none() {
    let Some((former, new)) = former_and_new() else {
        return;
    };
    let is_there = || former.slot_is("NOT synced AND failover AND NOT active");
    new.stop();
    former.write_setting("sync_replication_slots", "on");
    former.start();
    wait_until("it has tried for a while", || {
        let tried = former.log();
        tried
            .matches("could not connect to the primary server")
            .count()
            > 20
    });
    assert!(is_there());
    former.set("sync_replication_slots", "off");
    wait_until("it is read", || {
        former.sql("SHOW sync_replication_slots") == "off"
    });
    new.start();
    new.sql("INSERT INTO t VALUES (3)");
    wait_until("it follows", || {
        let count = former.try_sql("SELECT count(*) FROM t");
        count.is_ok_and(|count| count == "3")
    });
    assert!(is_there());
    former.set("sync_replication_slots", "on");
    wait_until("now it goes", || !is_there());
}
