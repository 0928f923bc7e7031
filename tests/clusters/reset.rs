//! "My migration tool resets the database, and the backup goes with it." A schema may take the extension
//! along; capture stays, and the extension comes back with its schema.

use harness::{wait_until, Cluster};

const RESET: &str = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;";

fn wait_for_base(c: &Cluster, count: usize) {
    wait_until("a base follows", || {
        c.bases().len() == count && c.health().starts_with("ok")
    });
}

#[test]
fn a_reset_is_part_of_the_backup_like_anything_else() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    // Somebody's event trigger is no reason to stay away, nor anything to run with our rights.
    c.sql("CREATE SCHEMA guard; CREATE FUNCTION guard.refuse() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no extensions here'; END $$;
           CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION guard.refuse()");
    c.sql(RESET);
    c.sql("CREATE TABLE public.t (id int PRIMARY KEY, v text); INSERT INTO public.t VALUES (1, 'again')");
    // Without the base, from the increments alone.
    let lsn = c.flush();
    let first = c.bases()[0]
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let first = first.expect("a base has a name");
    let restored = c.restore(&["--until-lsn", &lsn, "--base", &first]);
    assert_eq!(
        c.sql_in(&restored.database, "SELECT v FROM public.t"),
        "again"
    );
    wait_for_base(&c, 2);
    assert_eq!(
        c.sql("SELECT count(*) FROM ddl_history WHERE ddl_command = 'CREATE SCHEMA'"),
        "1"
    );
    c.sql("INSERT INTO t VALUES (2); ALTER TABLE t ADD w int DEFAULT 5");
    c.assert_restores();
    assert_eq!(c.sql("SELECT DISTINCT chain FROM incr_files()"), "1");
}

#[test]
fn by_whoever_owns_the_schema_in_one_transaction_or_after_a_while() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE ROLE app_owner; ALTER SCHEMA public OWNER TO app_owner; ALTER DATABASE app OWNER TO app_owner",
    );
    c.sql(&format!(
        "SET ROLE app_owner; CREATE SCHEMA kept; BEGIN; {RESET} CREATE TABLE public.a (a int); COMMIT; INSERT INTO public.a VALUES (1)"
    ));
    wait_for_base(&c, 2);
    c.assert_restores();
    // With statements in between that have no record, and a restart that forgets what a process knows.
    c.sql("SET ROLE app_owner; DROP SCHEMA public CASCADE");
    c.restart();
    let said = c
        .session()
        .run("SET ROLE app_owner; CREATE TABLE kept.b (b int)");
    assert!(said.contains("is gone with its schema"), "{said}");
    c.sql_in("postgres", "CREATE EXTENSION pg_incrbackup");
    wait_until("health says it elsewhere", || {
        let health = c.sql_in(
            "postgres",
            "SELECT level, reasons FROM incr_cluster_health()",
        );
        health.starts_with("critical") && health.contains("it is re-created as soon as schema")
    });
    c.sql(
        "SET ROLE app_owner; ALTER SCHEMA kept RENAME TO public; INSERT INTO public.b VALUES (2)",
    );
    wait_until("a base follows", || c.bases().len() == 3);
    c.sql("CREATE TABLE public.c (c int)");
    c.assert_restores();
    assert!(!c.health().contains("emergency"), "{}", c.health());
}

#[test]
fn the_extension_comes_back_to_the_schema_that_it_was_in() {
    let c = Cluster::builder().start();
    c.sql("CREATE SCHEMA \"Odd one\"; CREATE EXTENSION pg_incrbackup SCHEMA \"Odd one\"");
    c.sql("SELECT * FROM \"Odd one\".incr_setup()");
    c.sql("ALTER SCHEMA \"Odd one\" RENAME TO backup; CREATE TABLE t (a int)");
    c.sql("DROP SCHEMA backup CASCADE; CREATE SCHEMA other; CREATE SCHEMA \"Odd one\"");
    let installed =
        "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_incrbackup'";
    assert_eq!(c.sql(installed), "");
    // As a procedure would, and taken back once.
    c.sql("BEGIN; CREATE SCHEMA backup; ROLLBACK");
    assert_eq!(c.sql(installed), "");
    c.sql("DO $$ BEGIN CREATE SCHEMA backup; END $$");
    assert_eq!(c.sql(installed), "backup");
    wait_until("a base follows", || c.bases().len() == 2);
    c.sql("INSERT INTO t VALUES (1)");
    c.sql("SELECT backup.incr_flush()");
}

#[test]
fn dropping_the_extension_itself_is_refused_while_it_backs_up() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    for drop in [
        "DROP EXTENSION pg_incrbackup",
        "DROP EXTENSION IF EXISTS pg_incrbackup CASCADE",
        "DO $$ BEGIN DROP EXTENSION pg_incrbackup; END $$",
    ] {
        let error = c.sql_error(drop);
        assert_eq!(error.sqlstate, "2BP01", "{error}");
        assert!(error.hint.contains("incr_teardown()"), "{error}");
    }
    c.sql("INSERT INTO t VALUES (1)");
    c.assert_restores();
    c.sql("SELECT incr_teardown(); DROP EXTENSION pg_incrbackup; CREATE TABLE u (a int)");
    assert_eq!(c.sql("SELECT count(*) FROM pg_replication_slots"), "0");
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.assert_restores();
}

/// Where a client made the schema that the library never saw, as one does whose server lost it for a while.
#[test]
fn what_comes_back_by_another_way_is_found() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.sql("DROP SCHEMA public CASCADE");
    c.stop();
    c.write_setting("shared_preload_libraries", "''");
    c.start();
    c.sql("CREATE SCHEMA public; CREATE TABLE public.unseen (a int)");
    c.write_setting("shared_preload_libraries", "pg_incrbackup");
    c.restart();
    wait_until("the extension is back", || {
        c.is_true("SELECT count(*) = 1 FROM pg_extension WHERE extname = 'pg_incrbackup'")
    });
    wait_until("a base follows", || c.bases().len() == 2);
    c.sql("INSERT INTO public.unseen VALUES (1)");
    c.assert_restores();
}

#[test]
fn a_teardown_gives_tables_back_the_identity_that_they_had() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE bare (a int); CREATE TABLE indexed (a int NOT NULL UNIQUE);
         CREATE TABLE keyed (a int PRIMARY KEY); CREATE TABLE chosen (a int);
         ALTER TABLE chosen REPLICA IDENTITY FULL; CREATE TABLE used (a int)",
    );
    let identities =
        "SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname)
        FROM pg_class WHERE relname IN ('bare', 'indexed', 'keyed', 'chosen', 'used')";
    assert_eq!(
        c.sql(identities),
        "bare f, chosen f, indexed i, keyed d, used f"
    );
    let mut session = c.session();
    session.run("BEGIN; SELECT * FROM used");
    let said = c.session().run("SELECT incr_teardown()");
    assert!(said.contains("public.used"), "{said}");
    assert_eq!(
        c.sql(identities),
        "bare d, chosen f, indexed d, keyed d, used f"
    );
    session.run("COMMIT");
    // Nothing is forgotten that was left.
    c.sql("SELECT * FROM incr_setup(); SELECT incr_teardown()");
    assert_eq!(
        c.sql(identities),
        "bare d, chosen f, indexed d, keyed d, used d"
    );
}
