//! "Somebody who may not reads, forges or stops my backup."

use harness::Cluster;

fn with_roles() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE mallory LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
           GRANT CREATE ON SCHEMA public TO mallory;
           CREATE TABLE t (a int)",
    );
    c
}

fn error_as(c: &Cluster, role: &str, sql: &str) -> harness::SqlError {
    c.sql_error(&format!("SET ROLE {role}; {sql}"))
}

#[test]
fn functions_are_the_superusers_until_granted() {
    let c = with_roles();
    for call in [
        "incr_setup()",
        "incr_teardown()",
        "incr_dump()",
        "incr_rotate()",
        "incr_flush()",
        "incr_files()",
        "incr_verify()",
        "incr_read('', 0, 100)",
        "incr_expire()",
        "incr_expire(false)",
        "incr_keep('x')",
        "incr_history('t', '1')",
        "incr_history('t', jsonb '{}')",
        "incr_changes('t')",
        "incr_info()",
        "incr_report()",
        "incr_seq_sync_sql()",
        "incr_status()",
        "incr_synchronous()",
        "incr_slot_health()",
        "incr_cluster_health()",
        "incr_metrics()",
        "incr_drill()",
    ] {
        let error = error_as(&c, "mallory", &format!("SELECT * FROM {call}"));
        assert_eq!(error.sqlstate, "42501", "{call}: {error}");
    }
}

#[test]
fn health_and_status_are_granted_to_monitors() {
    let c = with_roles();
    c.sql("SET ROLE watcher; SELECT * FROM incr_slot_health(); SELECT * FROM incr_cluster_health(); SELECT * FROM incr_metrics(); SELECT * FROM incr_status(); SELECT * FROM incr_synchronous(); SELECT * FROM incr_files(); SELECT * FROM incr_info()");
    let error = error_as(&c, "watcher", "SELECT incr_flush()");
    assert_eq!(error.sqlstate, "42501", "{error}");
}

#[test]
fn a_granted_function_works() {
    let c = with_roles();
    c.sql("GRANT EXECUTE ON FUNCTION incr_flush TO mallory; SET ROLE mallory; SELECT incr_flush()");
}

#[test]
fn ddl_history_takes_rows_from_nobody_else() {
    let c = with_roles();
    c.sql("CREATE TABLE u (a int)");
    for sql in [
        "INSERT INTO ddl_history SELECT * FROM ddl_history",
        "UPDATE ddl_history SET query = 'DROP TABLE t'",
        "DELETE FROM ddl_history",
        "TRUNCATE ddl_history",
    ] {
        let error = c.sql_error(sql);
        assert_eq!(error.sqlstate, "42501", "{sql}: {error}");
        let error = error_as(&c, "mallory", sql);
        assert_eq!(error.sqlstate, "42501", "{sql}: {error}");
    }
    c.sql("CREATE TABLE v (a int)");
    c.assert_restores();
}

#[test]
fn anybodys_ddl_is_recorded_under_their_role() {
    let c = with_roles();
    c.sql(
        "SET ROLE mallory; CREATE TABLE mine (a int); INSERT INTO mine VALUES (1);
           CREATE VIEW seen AS SELECT * FROM mine",
    );
    let recorded =
        c.sql("SELECT DISTINCT executed_by FROM ddl_history WHERE object_identity = 'public.mine'");
    assert_eq!(recorded, "mallory");
    c.assert_restores();
}

#[test]
fn secrets_are_masked_and_what_replays_is_hidden() {
    let c = with_roles();
    c.sql("CREATE ROLE keeper LOGIN PASSWORD 'hunter2'; ALTER ROLE keeper PASSWORD 'hunter3'");
    c.sql(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
           CREATE USER MAPPING FOR mallory SERVER far OPTIONS (user 'x', password 'hunter4')",
    );
    let shown = c.sql("SELECT query FROM ddl_history");
    assert!(!shown.contains("hunter"), "{shown}");
    c.flush();
    let stream = c.stream();
    assert!(
        !stream.contains("hunter2") && !stream.contains("hunter3"),
        "a role's password is in the files"
    );
    let error = error_as(&c, "watcher", "SELECT replay_text FROM ddl_history");
    assert_eq!(error.sqlstate, "42501", "{error}");
    c.assert_restores();
}

#[test]
fn no_value_and_no_body_can_pose_as_the_archives_own_text() {
    let c = with_roles();
    let trace = c.root().join("was_here");
    let attack = r#"SET ROLE mallory; SET check_function_bodies = off;
        CREATE FUNCTION posing() RETURNS int LANGUAGE sql AS $f$
-- @0000000000000000 footer last_commit_lsn=0/1 transactions=0
\! touch TRACE
COMMIT;
SELECT 1;
$f$;
        CREATE TABLE poses (a text, "b
COMMIT; \! touch TRACE
--" int);
        INSERT INTO poses (a) VALUES (E'\n\\.\nCOMMIT;\n\\! touch TRACE\n');
        INSERT INTO poses (a) SELECT E'\\.\n\\! touch TRACE' FROM generate_series(1, 50);
        COMMENT ON TABLE poses IS E'\n\\! touch TRACE\n';"#;
    c.sql(&attack.replace("TRACE", &trace.display().to_string()));
    c.assert_restores();
    assert!(!trace.exists(), "a value ran as a command");
}

#[test]
fn a_search_path_of_the_user_does_not_lead_our_code_astray() {
    let c = with_roles();
    c.sql("SET ROLE mallory;
           CREATE FUNCTION public.quote_ident(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''led astray'';
           END';
           CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''led astray'';
           END';
           SET search_path = public, pg_catalog; CREATE TABLE traps (a int);
           ALTER TABLE traps ADD b int; DROP TABLE traps; CREATE TABLE kept (a int);
           INSERT INTO kept VALUES (1)");
    c.assert_restores();
}
