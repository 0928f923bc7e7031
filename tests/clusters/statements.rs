//! "That kind of statement, in that kind of place, is surely lost."

use harness::{wait_until, Cluster};

#[test]
fn ddl_and_rows_of_a_prepared_transaction_come_with_its_commit() {
    let c = Cluster::builder()
        .setting("max_prepared_transactions", "4")
        .back_up();
    c.sql(
        "CREATE TABLE t (a int PRIMARY KEY);
         BEGIN; CREATE TABLE u (a int PRIMARY KEY, at timestamptz DEFAULT 'now'); INSERT INTO u VALUES (1);
         ALTER TABLE t ADD b int DEFAULT 5; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'one';
         BEGIN; CREATE TABLE never (a int); PREPARE TRANSACTION 'two'; ROLLBACK PREPARED 'two'",
    );
    c.sql("CREATE TABLE v (a int PRIMARY KEY); INSERT INTO v VALUES (1)");
    c.restart();
    c.sql("COMMIT PREPARED 'one'");
    c.assert_restores();
}

#[test]
fn ddl_comes_along_from_wherever_it_is_run() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE log (what text);
         CREATE FUNCTION make(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            EXECUTE format('CREATE TABLE %I (a int PRIMARY KEY, b text DEFAULT %L)', name, 'it''s ' || name);
            BEGIN EXECUTE 'CREATE TABLE gone (a int)'; RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN EXECUTE format('ALTER TABLE %I ADD c int', name); END;
         END $$;
         CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM make(NEW.what); INSERT INTO log2 VALUES (NEW.what); RETURN NEW; END $$;
         CREATE TABLE log2 (what text);
         CREATE TRIGGER t BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION by_trigger();
         CREATE PROCEDURE twice(name text) LANGUAGE plpgsql AS $$ BEGIN PERFORM make(name); COMMIT;
            EXECUTE format('DROP TABLE %I', name); ROLLBACK; PERFORM make(name || '2'); END $$",
    );
    c.sql("INSERT INTO log VALUES ('from trigger'), ('and again'); CALL twice('called')");
    c.sql("DO $$ BEGIN PERFORM make('from do'); INSERT INTO \"from do\" VALUES (1); END $$");
    c.sql(
        "SELECT make('x1'); ALTER TABLE x1 DROP c; PREPARE p AS SELECT make('prepared'); EXECUTE p",
    );
    c.sql("PREPARE q AS SELECT 1 AS a; CREATE TABLE executed AS EXECUTE q; EXPLAIN ANALYZE CREATE TABLE explained AS SELECT random() AS r");
    c.sql("BEGIN; SAVEPOINT a; CREATE TABLE s1 (a int); ROLLBACK TO a; CREATE TABLE s1 (b int PRIMARY KEY);
           INSERT INTO s1 VALUES (1); SAVEPOINT b; DROP TABLE s1; ROLLBACK TO b; ALTER TABLE s1 ADD c int DEFAULT 7; COMMIT");
    c.assert_restores();
}

#[test]
fn a_security_definers_ddl_belongs_to_its_owner() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE owner; CREATE ROLE caller; CREATE SCHEMA home AUTHORIZATION owner; GRANT USAGE ON SCHEMA home TO caller;
         SET ROLE owner; CREATE FUNCTION home.make() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = home
           AS $$ BEGIN CREATE TABLE made (a int PRIMARY KEY, who text DEFAULT session_user); END $$;
         RESET ROLE; SET ROLE caller; SELECT home.make(); RESET ROLE;
         SET SESSION AUTHORIZATION owner; CREATE TABLE home.mine (a int PRIMARY KEY);
         RESET SESSION AUTHORIZATION; ALTER TABLE home.mine OWNER TO caller;
         REASSIGN OWNED BY caller TO owner; GRANT SELECT ON home.mine TO caller; DROP OWNED BY caller; DROP ROLE caller",
    );
    c.assert_restores();
}

#[test]
fn settings_of_the_session_mean_the_same_at_restore() {
    let c = Cluster::backed_up();
    // The 18 that tests run on is built without libxml.
    let xml = if c.version() < 18 { "xml" } else { "text" };
    c.sql(&format!(
        "SET standard_conforming_strings = off; SET escape_string_warning = off; SET quote_all_identifiers = on;
         SET array_nulls = off; SET xmloption = document; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard;
         SET lc_monetary = 'C'; SET TimeZone = 'Asia/Tokyo'; SET check_function_bodies = off; SET transform_null_equals = on;
         CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'x\\'y\\\\', c text[] DEFAULT '{{NULL,b}}', d date DEFAULT '03/02/2024',
           e timestamptz DEFAULT '01/02/2024 10:00', f interval DEFAULT '1-2', g {xml} DEFAULT '<a/>', CHECK (b = NULL OR b <> ''));
         CREATE FUNCTION broken() RETURNS int LANGUAGE sql AS 'SELECT * FROM nowhere';
         INSERT INTO t (a) VALUES (0)",
    ));
    c.sql("SET client_encoding = LATIN1; SET backslash_quote = on; COMMENT ON TABLE t IS 'plain'; INSERT INTO t VALUES (1)");
    c.assert_restores();
}

#[test]
fn a_subscribers_changes_are_changes_too() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); SELECT pg_replication_origin_create('elsewhere')");
    c.sql(
        "SET session_replication_role = replica; SELECT pg_replication_origin_session_setup('elsewhere');
         BEGIN; SELECT pg_replication_origin_xact_setup('0/100', now()); INSERT INTO t VALUES (1, 'x'), (2, 'y');
         UPDATE t SET b = 'z' WHERE a = 2; COMMIT; CREATE TABLE u (a int); INSERT INTO u VALUES (1); UPDATE u SET a = 2",
    );
    c.assert_restores();
}

#[test]
fn a_partition_detached_concurrently_keeps_the_check_it_got() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE p (a int, b int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (5);
           CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, 1), (9, 9)");
    c.sql_error("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY");
    c.sql("ALTER TABLE p DETACH PARTITION p2");
    c.sql("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY");
    c.sql("INSERT INTO p1 VALUES (3, 3); UPDATE p1 SET b = 4 WHERE a = 3; DROP TABLE p");
    c.assert_restores();
}

#[test]
fn a_detach_that_was_cancelled_is_one_in_segments_and_in_a_base() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE \"o'n%e\" PARTITION OF p FOR VALUES IN (1);
           CREATE TABLE two PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (1), (2)");
    let mut reader = c.session();
    reader.run("BEGIN; SELECT * FROM p");
    let detach = |c: &Cluster, partition: &str| {
        let detach = format!("ALTER TABLE p DETACH PARTITION {partition} CONCURRENTLY");
        let error = c.sql_error(&format!("SET lock_timeout = '10ms'; {detach}"));
        assert_eq!(error.message, "canceling statement due to lock timeout");
    };
    detach(&c, "\"o'n%e\"");
    let rows = |database: &str| c.sql_in(database, "SELECT string_agg(a::text, ' ') FROM p");
    c.flush();
    assert_eq!(rows(&c.restore(&[]).database), "2");
    c.sql("SELECT incr_dump()");
    assert_eq!(rows(&c.restore(&[]).database), "2");
    reader.run("COMMIT");
    c.sql("ALTER TABLE p DETACH PARTITION \"o'n%e\" FINALIZE");
    c.assert_restores();
    reader.run("BEGIN; SELECT * FROM p");
    detach(&c, "two");
    reader.run("COMMIT");
    c.sql("SELECT incr_dump(); DROP TABLE p");
    c.assert_restores();
}

#[test]
fn always_generated_identities_can_be_updated() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b int); INSERT INTO t (b) VALUES (1), (2);
           UPDATE t SET a = DEFAULT WHERE b = 1");
    if c.version() >= 17 {
        c.sql("CREATE TABLE p (a int GENERATED ALWAYS AS IDENTITY, b int) PARTITION BY RANGE (b);
               CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
               CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
               INSERT INTO p (b) VALUES (1), (11); UPDATE p SET a = DEFAULT WHERE b = 1; UPDATE p SET b = b + 10 WHERE b = 1");
    }
    c.assert_restores();
}

#[test]
fn an_extensions_update_runs_again_with_its_rows_and_the_users_configuration_stays() {
    let c = Cluster::backed_up();
    c.installation().install_extension(
        "upgraded",
        "CREATE TABLE config (k text PRIMARY KEY, v text);
         SELECT pg_catalog.pg_extension_config_dump('config', 'WHERE v <> ''ours''');
         INSERT INTO config VALUES ('from script', 'ours'); CREATE TABLE facts (a int);
         INSERT INTO facts VALUES (1)",
    );
    c.installation().install_extension_update(
        "upgraded",
        "ALTER TABLE facts ADD b int DEFAULT 2; INSERT INTO facts VALUES (3, 3);
         INSERT INTO config VALUES ('from update', 'ours'); CREATE TABLE more (a int)",
    );
    c.sql(
        "CREATE SCHEMA s; CREATE EXTENSION upgraded SCHEMA s; INSERT INTO s.config VALUES ('mine', 'theirs');
         UPDATE s.config SET v = 'changed' WHERE k = 'mine'; INSERT INTO s.facts VALUES (9)",
    );
    c.sql(
        "ALTER EXTENSION upgraded UPDATE TO '1.1'; INSERT INTO s.config VALUES ('later', 'theirs')",
    );
    let restored = c.assert_restores();
    let rows = "SELECT k FROM s.config ORDER BY k; SELECT * FROM s.facts ORDER BY a";
    // As after pg_dump: what a member table holds that is no configuration is the extension's own.
    assert_eq!(
        c.sql_in(&restored.database, rows),
        "from script\nfrom update\nlater\nmine\n1|2\n3|3"
    );
}

#[test]
fn statements_about_operators_and_missing_routines_do_no_harm() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TEMP TABLE temporary (a int);
         CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
         CREATE OPERATOR !! (RIGHTARG = int, FUNCTION = f); COMMENT ON OPERATOR !! (NONE, int) IS 'mine';
         CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int); COMMENT ON AGGREGATE total(int) IS 'sum';
         DROP OPERATOR IF EXISTS # (NONE, no_such_schema.no_such_type);
         DROP FUNCTION IF EXISTS nowhere(int), nowhere.at_all(); DROP AGGREGATE IF EXISTS no_such(*)",
    );
    for sql in [
        "COMMENT ON OPERATOR ###### (NONE, int4) IS 'bad prefix'",
        "DROP OPERATOR ## (NONE, int)",
        "COMMENT ON FUNCTION nowhere(int) IS 'x'",
        "DROP FUNCTION total(int)",
        "ALTER OPERATOR ### (int, int) OWNER TO postgres",
    ] {
        c.sql_error(sql);
        c.sql_error(&format!("CREATE TEMP TABLE t (a int); {sql}"));
    }
    assert!(!c.log().contains("terminated by signal"));
    c.sql("DROP OPERATOR !! (NONE, int); DROP AGGREGATE total(int)");
    c.assert_restores();
}

#[test]
fn whoever_may_cluster_a_table_need_not_own_it() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE boss; CREATE ROLE keeper; CREATE SCHEMA s; CREATE TABLE s.t (a int PRIMARY KEY, b int UNIQUE);
         ALTER TABLE s.t OWNER TO boss; CREATE TABLE mine (a int PRIMARY KEY)",
    );
    if c.version() >= 17 {
        c.sql("GRANT USAGE ON SCHEMA s TO keeper; GRANT MAINTAIN ON s.t TO keeper");
    } else {
        c.sql("GRANT USAGE ON SCHEMA s TO keeper; GRANT boss TO keeper");
    }
    c.sql("SET ROLE keeper; CLUSTER s.t USING t_b_key");
    c.sql("CLUSTER mine USING mine_pkey");
    c.assert_restores();
}

#[test]
fn an_unfinished_index_that_two_sessions_reindex_is_made_once() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (0); CREATE TABLE u (a int); INSERT INTO u VALUES (0)");
    c.sql_error("CREATE INDEX CONCURRENTLY ti ON t ((1 / a))");
    c.sql_error("CREATE INDEX CONCURRENTLY ui ON u ((1 / a))");
    c.sql("DELETE FROM t");
    let mut holder = c.session();
    holder.run("BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE");
    let mut sessions = [c.session(), c.session()];
    for session in &mut sessions {
        session.send("REINDEX TABLE CONCURRENTLY t");
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait_until("both wait", || c.sql(waiting) == "2");
    holder.run("COMMIT");
    for session in &mut sessions {
        session.finish();
    }
    c.assert_restores();
}
