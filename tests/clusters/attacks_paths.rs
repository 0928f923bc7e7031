//! "Somebody put a function of theirs where my backup looks for PostgreSQL's." What the owner of a
//! database, or a session, sets for itself reaches our functions and our workers, and finds nobody home.

use harness::{wait_until, Cluster};

/// A schema of mallory's with an operator of her own for each of PostgreSQL's, and functions like those
/// that we call. Whatever runs one of them counts it; from a superuser's hands it would be the end.
const TRAPS: &str = r#"
    CREATE ROLE mallory LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
    CREATE SCHEMA evil AUTHORIZATION mallory; GRANT USAGE ON SCHEMA evil TO PUBLIC;
    SET ROLE mallory; SET check_function_bodies = off;
    CREATE SEQUENCE evil.trapped; GRANT ALL ON SEQUENCE evil.trapped TO PUBLIC;
    DO $do$ DECLARE o record; BEGIN
        FOR o IN SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS t, oid
            FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0
            AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '||', '-', '+', '*', '/', '~', '~~', '!~~', '@>')
            AND NOT EXISTS (SELECT FROM pg_type WHERE pg_type.oid IN (oprleft, oprright, oprresult) AND typtype = 'p')
        LOOP
            EXECUTE format('CREATE FUNCTION evil.f%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS
                $f$ BEGIN PERFORM pg_catalog.nextval(''evil.trapped''); RETURN NULL; END $f$', o.oid, o.l, o.r, o.t);
            EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.f%s)',
                o.oprname, o.l, o.r, o.oid);
        END LOOP; END $do$;
    RESET ROLE;
"#;

const IS_TRAPPED: &str = "SELECT is_called FROM evil.trapped";

fn with_traps(builder: harness::Builder) -> Cluster {
    let c = builder.start();
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE keyless (a int)");
    c.sql("SELECT * FROM incr_setup()");
    c.sql(TRAPS);
    c.sql("ALTER DATABASE app OWNER TO mallory; INSERT INTO t VALUES (1)");
    c
}

#[test]
fn every_function_of_the_extension_pins_its_path() {
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let members = "FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_incrbackup'";
    let count = c.sql(&format!("SELECT count(*) {members}"));
    assert!(
        count.parse::<u32>().is_ok_and(|count| count > 20),
        "{count}"
    );
    let others = c.sql(&format!(
        "SELECT p.oid::regprocedure {members} WHERE NOT coalesce(proconfig, '{{}}') @> '{{\"search_path=pg_catalog, pg_temp\"}}'"
    ));
    assert_eq!(others, "");
}

#[test]
fn a_path_that_the_owner_sets_leads_no_automatic_setup_astray() {
    let c = Cluster::builder().start();
    c.sql(TRAPS);
    // A cast to one of these, and a value of one of these columns, would run the check.
    c.sql(
        "SET ROLE mallory; CREATE FUNCTION evil.trap(anyelement) RETURNS bool LANGUAGE plpgsql AS \
         $f$ BEGIN PERFORM pg_catalog.nextval('evil.trapped'); RETURN true; END $f$; \
         CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS \
         $f$ BEGIN PERFORM pg_catalog.nextval('evil.trapped'); RETURN NULL; END $f$; \
         CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.trap(VALUE)); \
         CREATE DOMAIN evil.name AS pg_catalog.name CHECK (evil.trap(VALUE)); \
         CREATE DOMAIN evil.bytea AS pg_catalog.bytea CHECK (evil.trap(VALUE))",
    );
    c.sql("ALTER DATABASE app OWNER TO mallory");
    c.sql("SET ROLE mallory; ALTER DATABASE app SET search_path = pg_temp, evil, pg_catalog");
    c.make_archive_directory();
    c.set("pg_incrbackup.databases", "'app'");
    wait_until("its backup is set up", || {
        c.try_sql("SELECT level FROM evil.incr_slot_health()")
            .is_ok_and(|level| level.starts_with("ok"))
    });
    assert_eq!(c.sql(IS_TRAPPED), "f");
}

#[test]
fn a_path_that_the_owner_sets_for_the_database_leads_no_function_astray() {
    let c = with_traps(Cluster::builder());
    c.sql("SET ROLE mallory; ALTER DATABASE app SET search_path = evil, pg_catalog, public");
    assert_eq!(c.sql("SHOW search_path"), "evil, pg_catalog, public");
    c.sql("SELECT 1 = 1");
    assert!(c.is_true(IS_TRAPPED), "the traps work");
    c.sql("SELECT setval('evil.trapped', 1, false)");
    for call in [
        "incr_slot_health()",
        "incr_cluster_health()",
        "incr_metrics()",
        "incr_status()",
        "incr_synchronous()",
    ] {
        c.sql(&format!("SET ROLE watcher; SELECT * FROM {call}"));
        c.sql(&format!("SELECT * FROM {call}"));
        assert!(!c.is_true(IS_TRAPPED), "{call}");
    }
    for call in [
        "incr_setup()",
        "incr_dump()",
        "incr_flush()",
        "incr_rotate()",
        "incr_files()",
        "incr_verify()",
        "incr_expire()",
        "incr_expire(false)",
        "incr_keep(NULL)",
        "incr_history('t', '1')",
        "incr_history('t', jsonb '{\"a\": 1}')",
        "incr_report()",
        "incr_seq_sync_sql()",
        "incr_setup(new_chain => true)",
        "incr_teardown()",
    ] {
        // Some have nothing to do and say so; what counts is what ran.
        c.try_sql(&format!("SELECT * FROM {call}")).ok();
        assert!(!c.is_true(IS_TRAPPED), "{call}");
    }
}

#[test]
fn our_workers_and_our_hooks_do_not_follow_it_either() {
    let c = with_traps(Cluster::builder());
    c.sql("SET ROLE mallory; ALTER DATABASE app SET search_path = evil, pg_catalog, public");
    c.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'pg_incrbackup capture'");
    c.sql("CREATE TEMP TABLE gone (a int); CREATE TABLE u (a int); ALTER TABLE u ADD b timestamptz DEFAULT now();
           ALTER TABLE u ADD PRIMARY KEY (a); CREATE INDEX ON u (b); REINDEX TABLE u; DROP TABLE keyless;
           INSERT INTO u (a) VALUES (1)");
    c.sql("SELECT incr_dump()");
    c.flush();
    assert!(c.health().starts_with("ok"), "{}", c.health());
    assert!(!c.is_true(IS_TRAPPED));
    c.sql("SET search_path = pg_catalog; ALTER DATABASE app RESET search_path");
    c.assert_restores();
}

/// The check is a query like any other.
#[test]
fn a_sessions_path_does_not_get_past_a_permission_check() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE mallory LOGIN; CREATE SCHEMA evil AUTHORIZATION mallory;
         GRANT EXECUTE ON FUNCTION incr_history(regclass, text, timestamptz, timestamptz) TO mallory;
         CREATE TABLE secrets (a int PRIMARY KEY); INSERT INTO secrets VALUES (1);
         SET ROLE mallory;
         CREATE FUNCTION evil.yes(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.yes)",
    );
    c.flush();
    let error = c.sql_error(
        "SET ROLE mallory; SET search_path = evil, pg_catalog;
         SELECT * FROM public.incr_history('public.secrets', '1')",
    );
    assert_eq!(error.sqlstate, "42501", "{error}");
}

/// A value of a domain is checked by code of the domain's owner.
#[test]
fn a_key_is_read_with_the_rights_of_its_tables_owner() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE mallory LOGIN; CREATE SCHEMA evil AUTHORIZATION mallory; SET ROLE mallory;
         CREATE SEQUENCE evil.trapped;
         CREATE FUNCTION evil.looks(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
           IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN PERFORM nextval('evil.trapped'); END IF;
           RETURN true; END $$;
         CREATE DOMAIN evil.watched AS int CHECK (evil.looks(VALUE));
         CREATE TABLE evil.t (a evil.watched PRIMARY KEY); INSERT INTO evil.t VALUES (1)",
    );
    c.flush();
    let history = "SELECT count(*) FROM incr_history('evil.t', '1') WHERE operation = 'INSERT'";
    assert_eq!(c.sql(history), "1");
    assert!(!c.is_true(IS_TRAPPED), "it ran as a superuser");
    c.sql("INSERT INTO evil.t VALUES (2)");
    assert!(c.is_true(IS_TRAPPED), "the trap works");
}

/// `poll` asks SQL functions, which a role without rights may not; a setup writes.
#[test]
fn settings_of_the_database_and_the_role_do_not_reach_our_sessions() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", "poll")
        .start();
    c.sql("CREATE EXTENSION pg_incrbackup; CREATE TABLE t (a int); CREATE ROLE nobody");
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "lock_timeout = '1ms'",
        "exit_on_error = on",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "default_transaction_read_only = on",
    ] {
        c.sql_in("postgres", &format!("ALTER ROLE postgres SET {setting}"));
    }
    if c.version() >= 17 {
        c.sql_in("postgres", "SET default_transaction_read_only = off; ALTER ROLE postgres SET transaction_timeout = '50ms'");
    }
    // This session's own, which lives under the same settings.
    let longer = if c.version() >= 17 {
        "SET transaction_timeout = 0;"
    } else {
        ""
    };
    let free = &format!("{longer} SET default_transaction_read_only = off;");
    c.sql(&format!("{longer} SELECT * FROM incr_setup()"));
    c.sql(&format!(
        "{free} INSERT INTO t VALUES (1); UPDATE t SET a = 2"
    ));
    c.sql(&format!("{longer} SELECT incr_flush()"));
    c.sql(&format!("{free} CREATE TABLE keyless (a int)"));
    c.sql_in(
        "postgres",
        &format!("{free} ALTER DATABASE app SET session_authorization = nobody"),
    );
    c.sql_in(
        "postgres",
        &format!("{free} ALTER DATABASE app SET role = nobody"),
    );
    let own = format!("{free} SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE;");
    c.sql_in("postgres", &format!("{longer} SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'"));
    c.sql(&format!(
        "{own} INSERT INTO t VALUES (3); SELECT incr_flush()"
    ));
    let health = c.sql(&format!(
        "{own} SELECT level, reasons FROM incr_slot_health()"
    ));
    // Here it is about workers; pg_dumpall's session is its own matter.
    let is_captured = ["ok", "warning"]
        .iter()
        .any(|level| health.starts_with(level));
    assert!(is_captured, "{health}");
    c.sql_in("postgres", &format!("{free} ALTER ROLE postgres RESET ALL"));
    c.sql_in("postgres", "ALTER DATABASE app RESET ALL");
    // It was done in another database: the files have it a moment later.
    crate::globals::wait_until_at_rest(&c);
    c.assert_restores();
}
