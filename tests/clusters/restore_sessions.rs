//! "Somebody's setting, or trigger, got into my restore."

use harness::Cluster;

const HINDRANCES: &str = "ALTER ROLE ALL SET statement_timeout = '40ms';
    ALTER ROLE ALL SET default_transaction_read_only = on;
    ALTER ROLE ALL SET standard_conforming_strings = off;
    ALTER ROLE ALL SET client_min_messages = 'debug1';
    ALTER ROLE postgres SET search_path = nowhere, public;
    ALTER ROLE postgres SET lock_timeout = '5ms'";

#[test]
fn what_the_targets_roles_set_does_not_stop_a_restore() {
    let source = Cluster::backed_up();
    source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
        INSERT INTO t SELECT g, 'x\\y' FROM generate_series(1, 3000) g; UPDATE t SET v = v || '.'",
    );
    source.flush();
    let target = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    target.sql_in("postgres", HINDRANCES);
    let restored = source.restore_by_program(&target, &[]);
    let sum = "SET default_transaction_read_only = off; SET statement_timeout = 0; SELECT count(*), min(v) FROM public.t";
    let found = target.sql_in(&restored.database, sum);
    assert!(found.contains("3000|x\\y."), "{found}");
}

/// 17 has triggers on login, and one timeout more.
#[test]
fn a_login_trigger_of_the_targets_server_does_not_run_in_a_restore() {
    if Cluster::builder().installation().version != 15 {
        return harness::skipped("the run on 15 does this");
    }
    let source = Cluster::backed_up();
    source.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    source.flush();
    let target = Cluster::builder()
        .version(18)
        .without("shared_preload_libraries")
        .start();
    for database in ["postgres", "template1"] {
        target.sql_in(
            database,
            "CREATE TABLE seen (who name);
             CREATE FUNCTION look() RETURNS event_trigger SECURITY DEFINER LANGUAGE plpgsql AS
                'BEGIN INSERT INTO public.seen VALUES (session_user); END';
             CREATE EVENT TRIGGER look ON login EXECUTE FUNCTION look();
             ALTER EVENT TRIGGER look ENABLE ALWAYS",
        );
    }
    target.sql_in(
        "postgres",
        "CREATE ROLE restorer SUPERUSER LOGIN; ALTER ROLE restorer SET transaction_timeout = '1ms'",
    );
    let mut command = source.restore_command(&target, "unused");
    let conninfo = target
        .conninfo("shop_again")
        .replace("user=postgres", "user=restorer");
    let output = command.args(["--target", &conninfo]).output();
    let output = output.expect("sh can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for database in ["postgres", "template1"] {
        let seen = target.sql_in(
            database,
            "SELECT count(*) FROM public.seen WHERE who = 'restorer'",
        );
        assert_eq!(seen, "0", "in {database}");
    }
}

/// The restore's own temporary relations come first wherever DDL names no schema.
#[test]
fn ddl_never_meets_what_the_restore_makes_for_itself() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE nobody");
    c.sql("SET ROLE nobody; DROP SEQUENCE IF EXISTS hits");
    c.sql("CREATE TABLE hits (a int PRIMARY KEY); INSERT INTO hits VALUES (1); ALTER TABLE hits ADD b int");
    c.sql("UPDATE hits SET b = 2; CREATE INDEX ON hits (b)");
    c.assert_restores_both_ways();
}

#[test]
fn a_trigger_that_fires_always_may_have_any_name() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE \"t%s\" (a int PRIMARY KEY);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER \"50% %I\" BEFORE INSERT ON \"t%s\" FOR EACH ROW EXECUTE FUNCTION f();
         ALTER TABLE \"t%s\" ENABLE ALWAYS TRIGGER \"50% %I\";
         INSERT INTO \"t%s\" VALUES (1)",
    );
    c.assert_restores_both_ways();
    c.sql(
        "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER \"%1$s%\" ON ddl_command_end EXECUTE FUNCTION e();
         ALTER EVENT TRIGGER \"%1$s%\" ENABLE ALWAYS; CREATE TABLE after (a int)",
    );
    c.assert_restores_both_ways();
}

/// A dump does not say how it is to be read in these.
#[test]
fn a_base_is_read_as_it_was_written_whatever_the_target_has_set() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b text[], c int, CHECK ((c = NULL) IS NULL));
         INSERT INTO t VALUES (1, '{NULL}', 1), (2, '{NULL,x}', NULL)",
    );
    c.sql("SELECT incr_dump()");
    c.sql("ALTER SYSTEM SET array_nulls = off");
    c.sql("ALTER SYSTEM SET transform_null_equals = on");
    c.sql("SELECT pg_reload_conf()");
    let restored = c.restore_by_script(&c, &[]);
    let nulls = "SELECT array_position(b, NULL) FROM t ORDER BY a";
    assert_eq!(c.sql_in(&restored.database, nulls), "1\n1");
    let check = "SELECT pg_get_constraintdef(oid) LIKE '%= NULL%' FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0";
    assert_eq!(c.sql_in(&restored.database, check), "t");
}
