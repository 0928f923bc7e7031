//! "After the restore, my sequence hands out a number that is taken."

use harness::{wait_until, Cluster};

#[test]
fn sequences_of_every_kind_stand_exactly_where_they_stood() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SEQUENCE untouched; CREATE SEQUENCE used; SELECT nextval('used'), nextval('used');
           CREATE SEQUENCE set_called; SELECT setval('set_called', 42);
           CREATE SEQUENCE set_uncalled; SELECT setval('set_uncalled', 42, false);
           CREATE SEQUENCE descending INCREMENT -3 MAXVALUE 100 MINVALUE -100 START 50 CYCLE;
           SELECT nextval('descending'), nextval('descending');
           CREATE SEQUENCE cached CACHE 10; SELECT nextval('cached');
           CREATE SEQUENCE small AS smallint; SELECT nextval('small');
           CREATE TABLE s (a serial, b int GENERATED ALWAYS AS IDENTITY);
           INSERT INTO s SELECT FROM generate_series(1, 40);
           CREATE SEQUENCE \"Odd Näme'\"; SELECT nextval('\"Odd Näme''\"');
           SELECT nextval('used');",
    );
    c.assert_restores();
}

#[test]
fn what_a_rolled_back_transaction_took_stays_taken() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a serial); INSERT INTO t DEFAULT VALUES; BEGIN;
           INSERT INTO t SELECT FROM generate_series(1, 100); ROLLBACK",
    );
    c.assert_restores();
}

#[test]
fn sequences_that_move_alone_are_carried() {
    let c = Cluster::backed_up();
    c.sql("CREATE SEQUENCE s");
    c.flush();
    c.sql("SELECT nextval('s') FROM generate_series(1, 500)");
    c.assert_restores();
}

/// What moves without a commit is written at most each second; a flush in between has it exactly, and
/// what comes later must not bring the safe position, which is ahead (seed 400001006 on 15).
#[test]
fn what_was_flushed_exactly_is_not_moved_on_afterwards() {
    let c = Cluster::backed_up();
    c.sql("CREATE SEQUENCE first; CREATE SEQUENCE exact; CREATE SEQUENCE later");
    c.sql("SELECT nextval('first')");
    wait_until("a sequence that moved alone is written", || {
        c.stream().contains("c.relname = 'first'")
    });
    c.sql("SELECT nextval('exact')");
    c.flush();
    let exact = c.stream().matches("c.relname = 'later'").count();
    wait_until("the next that moved alone is written", || {
        c.sql("SELECT nextval('later')");
        c.stream().matches("c.relname = 'later'").count() > exact
    });
    let restored = c.restore(&[]);
    assert_eq!(
        c.sql_in(&restored.database, "SELECT last_value FROM exact"),
        "1"
    );
}

#[test]
fn after_a_crash_no_value_is_handed_out_twice() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SEQUENCE s; CREATE TABLE t (a int PRIMARY KEY DEFAULT nextval('s'));
           INSERT INTO t SELECT FROM generate_series(1, 7)",
    );
    c.flush();
    c.crash();
    c.start();
    c.sql("INSERT INTO t DEFAULT VALUES");
    let restored = c.assert_restores();
    c.sql_in(&restored.database, "INSERT INTO t DEFAULT VALUES");
}

#[test]
fn altering_and_restarting_a_sequence_is_carried() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE SEQUENCE s; SELECT nextval('s'); ALTER SEQUENCE s RESTART WITH 100;
           SELECT nextval('s'); ALTER SEQUENCE s INCREMENT 5; SELECT nextval('s');
           ALTER SEQUENCE s RENAME TO r; SELECT nextval('r'); CREATE TABLE t (a int NOT NULL);
           ALTER SEQUENCE r OWNED BY t.a;
           ALTER TABLE t ALTER a SET NOT NULL;
           ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY (START 10)",
    );
    c.sql(
        "CREATE TABLE gone (a serial); INSERT INTO gone DEFAULT VALUES; DROP TABLE gone;
           CREATE SEQUENCE dropped; SELECT nextval('dropped'); DROP SEQUENCE dropped",
    );
    c.assert_restores();
}

#[test]
fn incr_seq_sync_sql_brings_another_database_to_the_same_values() {
    let c = Cluster::backed_up();
    let make = "CREATE SEQUENCE a; CREATE SEQUENCE b; CREATE SCHEMA \"S p\";
    CREATE SEQUENCE \"S p\".\"C'\"";
    c.sql(make);
    c.sql("SELECT nextval('a'), nextval('a'); SELECT setval('\"S p\".\"C''\"', 9, false)");
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", make);
    c.sql_in("other", &c.sql("SELECT * FROM incr_seq_sync_sql()"));
    harness::assert_identical((&c, "app"), (&c, "other"));
}

#[test]
fn a_point_in_the_middle_has_a_sequence_at_or_past_every_value_used() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a serial PRIMARY KEY); INSERT INTO t SELECT FROM generate_series(1, 10)",
    );
    let middle = c.flush();
    c.sql("INSERT INTO t SELECT FROM generate_series(1, 100)");
    c.flush();
    let restored = c.restore(&["--until-lsn", &middle]).database;
    c.sql_in(&restored, "INSERT INTO t DEFAULT VALUES");
}
