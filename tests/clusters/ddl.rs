//! "The schema after the restore is not the one I had." DDL stands in the stream at its place, and
//! replays to the same catalog and the same values.

use harness::Cluster;

const MIXED: &str = include_str!("ddl_mixed.sql");

#[test]
fn two_hundred_statements_of_every_kind_restore() {
    let c = Cluster::backed_up();
    c.sql(MIXED);
    c.assert_restores();
}

#[test]
fn each_statement_has_one_row_that_replays_and_one_for_each_object() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE parent (a serial PRIMARY KEY, b text UNIQUE); DROP TABLE parent;
           CREATE TABLE x (a int PRIMARY KEY); TRUNCATE x",
    );
    assert!(c.is_true(
        "SELECT bool_and(replays = 1) FROM
           (SELECT count(*) FILTER (WHERE replay) AS replays FROM ddl_history GROUP BY statement_id) s"
    ));
    let commands = c.sql("SELECT DISTINCT ddl_command FROM ddl_history WHERE replay ORDER BY 1");
    assert_eq!(commands, "CREATE TABLE\nDROP TABLE\nTRUNCATE TABLE");
    let objects = c.sql("SELECT object_identity FROM ddl_history ORDER BY id");
    assert!(
        objects.contains("public.parent_a_seq") && objects.contains("parent_pkey"),
        "{objects}"
    );
}

#[test]
fn the_recorded_text_is_the_statement_alone() {
    let c = Cluster::backed_up();
    let mut session = c.session();
    session.run(
        r"SELECT 1 \; CREATE TABLE one (a int /* ; */ PRIMARY KEY) \; INSERT INTO one VALUES (1) \;
          CREATE TABLE two (b text DEFAULT ';' PRIMARY KEY)",
    );
    let queries = c.sql("SELECT query FROM ddl_history WHERE replay ORDER BY id DESC LIMIT 2");
    assert_eq!(
        queries,
        "CREATE TABLE two (b text DEFAULT ';' PRIMARY KEY)\nCREATE TABLE one (a int /* ; */ PRIMARY KEY)"
    );
    c.assert_restores();
}

#[test]
fn values_of_the_moment_restore_to_the_same_values() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50);
           ALTER TABLE t ADD at timestamptz DEFAULT now();
           ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid();
           ALTER TABLE t ADD c timestamptz DEFAULT clock_timestamp(), ADD r float8 DEFAULT random(), ADD n serial;
           ALTER TABLE t ADD who name DEFAULT current_user, ADD pid int DEFAULT pg_backend_pid();
           ALTER TABLE t ALTER c TYPE text USING c::text || random();
           CREATE TABLE made AS SELECT id, random() AS r, clock_timestamp() AS c, gen_random_uuid() AS u FROM t;
           SELECT id, random() AS r INTO made_too FROM t;
           CREATE TABLE p (id int, k int) PARTITION BY LIST (k);
           CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
           INSERT INTO p SELECT i, 1 FROM generate_series(1, 10) i;
           ALTER TABLE p ADD u uuid DEFAULT gen_random_uuid(), ADD at timestamptz DEFAULT now();
           CREATE TABLE fixed (a int); INSERT INTO fixed VALUES (1); BEGIN;
           ALTER TABLE fixed ADD at timestamptz DEFAULT now(); UPDATE fixed SET a = 2; COMMIT;
           INSERT INTO t (id) VALUES (100); INSERT INTO fixed VALUES (3);");
    c.assert_restores();
}

#[test]
fn defaults_that_ddl_fixes_restore_to_the_same_constants() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a timestamptz DEFAULT 'now', b timestamptz DEFAULT 'yesterday');
           ALTER TABLE t ADD c timestamptz DEFAULT 'now';",
    );
    c.assert_restores();
}

#[test]
fn ddl_of_a_users_event_trigger_comes_after_its_cause() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE log (n serial, tag text);
           CREATE FUNCTION reacts() RETURNS event_trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF tg_tag = 'CREATE TABLE' AND NOT EXISTS (SELECT FROM pg_class WHERE relname = 'made_by_trigger') THEN
               CREATE TABLE made_by_trigger (a int); INSERT INTO made_by_trigger VALUES (1);
             END IF;
             INSERT INTO log (tag) VALUES (tg_tag);
           END $$;
           CREATE EVENT TRIGGER reacting ON ddl_command_end EXECUTE FUNCTION reacts();
           CREATE TABLE cause (a int); ALTER TABLE cause ADD b int; DROP EVENT TRIGGER reacting;");
    c.assert_restores();
}

#[test]
fn temporary_objects_leave_nothing() {
    let c = Cluster::backed_up();
    c.flush();
    let before = c.transactions().len();
    c.sql(
        "CREATE TEMP TABLE t (a serial PRIMARY KEY, b text); INSERT INTO t (b) VALUES ('x');
           CREATE INDEX ON t (b); ALTER TABLE t ADD c int; TRUNCATE t;
           CREATE TEMP VIEW v AS SELECT * FROM t; COMMENT ON TABLE t IS 'x';
           CREATE TABLE pg_temp.u AS SELECT 1; CREATE TEMP SEQUENCE s; SELECT nextval('s');
           DROP TABLE t CASCADE; CREATE TEMP TABLE w (a int) ON COMMIT DROP",
    );
    c.flush();
    let written = c.transactions().split_off(before);
    assert!(written.is_empty(), "{written:?}");
}

#[test]
fn an_extension_comes_back_as_create_extension_alone() {
    let c = Cluster::backed_up();
    c.sql("CREATE EXTENSION hstore; CREATE EXTENSION ltree SCHEMA public");
    c.flush();
    assert!(
        !c.stream().contains("CREATE FUNCTION"),
        "members of an extension were written"
    );
    c.sql("CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1'); DROP EXTENSION ltree");
    c.assert_restores();
}

#[test]
fn what_names_nothing_permanent_is_no_loss() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int); CREATE TEMP TABLE mine (a int);
           DROP TABLE IF EXISTS mine, not_there; EXPLAIN SELECT * FROM t; INSERT INTO t VALUES (1)",
    );
    c.assert_restores();
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn our_own_event_triggers_are_not_the_users_ddl() {
    let c = Cluster::backed_up();
    c.sql(
        r#"ALTER EVENT TRIGGER "0_pg_incrbackup_drop" DISABLE;
           ALTER EVENT TRIGGER "0_pg_incrbackup_drop" ENABLE ALWAYS; CREATE TABLE t (a int)"#,
    );
    c.assert_restores();
}

#[test]
fn a_subscription_is_renamed_and_given_away() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE boss SUPERUSER;
           CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
           ALTER SUBSCRIPTION s RENAME TO renamed; ALTER SUBSCRIPTION renamed OWNER TO boss",
    );
    c.assert_restores();
}

#[test]
fn a_subscription_that_is_not_there_is_dropped_if_it_exists() {
    let c = Cluster::backed_up();
    c.sql("DROP SUBSCRIPTION IF EXISTS nobody; CREATE TABLE t (a int)");
    c.assert_restores();
}

#[test]
fn two_databases_renamed_at_once_both_go_on() {
    let c = Cluster::backed_up();
    c.sql_in("postgres", "CREATE DATABASE other");
    c.sql_in("other", "CREATE EXTENSION pg_incrbackup");
    c.sql_in("other", "SELECT * FROM incr_setup()");
    // The session stays: what stepped aside comes back at the end of the transaction.
    let mut session = c.session_in("postgres");
    session.run(
        "BEGIN; ALTER DATABASE app RENAME TO one; ALTER DATABASE other RENAME TO two; ROLLBACK",
    );
    for database in ["app", "other"] {
        c.sql_in(database, "SELECT incr_flush()");
    }
    session.run("SELECT 1");
}

#[test]
fn what_an_extensions_script_truncates_comes_again_with_the_script() {
    let c = Cluster::backed_up();
    c.installation().install_extension(
        "truncating",
        "CREATE TABLE conf (a int); SELECT pg_extension_config_dump('conf', '');
           INSERT INTO conf VALUES (1); TRUNCATE conf; INSERT INTO conf VALUES (2);",
    );
    c.sql("CREATE EXTENSION truncating; INSERT INTO conf VALUES (3)");
    c.flush();
    assert!(!c.stream().contains("TRUNCATE"), "{}", c.stream());
    assert!(c
        .stream()
        .contains("INSERT INTO public.conf (a) VALUES (3);"));
    let restored = c.restore(&[]);
    let rows = c.sql_in(&restored.database, "SELECT a FROM conf ORDER BY a");
    assert_eq!(rows, "2\n3");
}

#[test]
fn rows_of_a_table_that_an_extension_gave_away_are_written() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE EXTENSION hstore; CREATE TABLE t (a int); ALTER EXTENSION hstore ADD TABLE t;
           INSERT INTO t VALUES (1); DELETE FROM t; ALTER EXTENSION hstore DROP TABLE t;
           INSERT INTO t VALUES (2)",
    );
    c.assert_restores();
}

#[test]
fn concurrently_is_written_plain_and_a_failed_one_leaves_the_same() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 2);
           CREATE INDEX CONCURRENTLY good ON t (b); DROP INDEX CONCURRENTLY good;
           CREATE INDEX CONCURRENTLY IF NOT EXISTS kept ON t (a)",
    );
    c.flush();
    let plain = c
        .stream()
        .lines()
        .filter(|line| !line.starts_with("--"))
        .all(|line| !line.contains("CONCURRENTLY"));
    assert!(plain, "CONCURRENTLY cannot stand in a transaction");
    c.assert_restores();
}

#[test]
fn a_truncate_is_recorded_and_written_once() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1); TRUNCATE t");
    c.flush();
    assert_eq!(
        c.sql("SELECT count(*) FROM ddl_history WHERE ddl_command = 'TRUNCATE TABLE' AND replay"),
        "1"
    );
    let written = c
        .transactions()
        .iter()
        .filter(|t| t.body.contains("TRUNCATE"))
        .count();
    assert_eq!(written, 1);
    c.assert_restores();
}

#[test]
fn ddl_that_fails_or_is_rolled_back_leaves_nothing() {
    let c = Cluster::backed_up();
    c.flush();
    let before = c.transactions().len();
    c.sql_error("CREATE TABLE t (a int, a int)");
    c.sql("BEGIN; CREATE TABLE t (a int); ROLLBACK");
    c.sql(
        "DO $$ BEGIN BEGIN CREATE TABLE t (a int); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL;
           END; END $$",
    );
    c.flush();
    assert_eq!(c.transactions().len(), before);
}

#[test]
fn the_role_and_search_path_of_the_moment_are_those_of_the_replay() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE maker; CREATE SCHEMA \"My schema\" AUTHORIZATION maker; SET ROLE maker;
           SET search_path = \"My schema\";
           CREATE TABLE t (a int); CREATE VIEW v AS SELECT * FROM t; INSERT INTO t VALUES (1);
           CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM t';
           ALTER TABLE t ADD b int DEFAULT 2",
    );
    c.assert_restores();
}
