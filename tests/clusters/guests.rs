//! "Your hook broke my server." What we hang into PostgreSQL is a guest there: it fails no statement,
//! stays out of where it has no business, and gets along with the others.

use harness::{run, wait_until, Cluster};
use std::io::Write;
use std::process::Stdio;

fn library_is_there(c: &Cluster, name: &str) -> bool {
    let output = run(c.installation().command("pg_config").arg("--pkglibdir"));
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_string();
    std::path::Path::new(&directory).join(name).exists()
}

/// Neighbours in shared_preload_libraries, on either side, and a slot with another plugin.
#[test]
fn other_hooks_and_another_plugins_slot_get_along_with_ours() {
    for order in [
        "pg_stat_statements, auto_explain, pg_incrbackup",
        "pg_incrbackup, auto_explain, pg_stat_statements",
    ] {
        let probe = Cluster::builder();
        let has_audit = probe.installation().version == 15;
        let libraries = match (has_audit, order.starts_with("pg_incr")) {
            (true, true) => format!("'{order}, pgaudit'"),
            (true, false) => format!("'pgaudit, {order}'"),
            (false, _) => format!("'{order}'"),
        };
        let mut builder = probe
            .setting("shared_preload_libraries", &libraries)
            .setting("auto_explain.log_min_duration", "0")
            .setting("auto_explain.log_nested_statements", "on")
            .setting("pg_stat_statements.track", "all");
        if has_audit {
            builder = builder.setting("pgaudit.log", "all");
        }
        let c = builder.back_up();
        c.sql("CREATE EXTENSION pg_stat_statements");
        let plugin = if library_is_there(&c, "wal2json.so") {
            "wal2json"
        } else {
            "test_decoding"
        };
        let allow = match c
            .sql("SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'")
            .as_str()
        {
            "0" => String::new(),
            _ => format!("SET output_plugin_libraries = {plugin};"),
        };
        c.sql(&format!(
            "{allow} SELECT pg_create_logical_replication_slot('other', '{plugin}')"
        ));
        if has_audit {
            assert_eq!(plugin, "wal2json", "make setup installs it for 15");
            c.sql("CREATE EXTENSION pgaudit");
        }
        c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x');
               CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE made (a int); INSERT INTO made VALUES (1); END $$;
               SELECT f(); DO $$ BEGIN EXECUTE 'CREATE TABLE copied AS SELECT * FROM t'; END $$;
               EXPLAIN ANALYZE CREATE TABLE explained AS SELECT 1 AS a; TRUNCATE made; DROP TABLE copied");
        c.sql_error("CREATE TABLE t (a int)");
        let changes = format!(
            "{allow} SELECT count(*) > 0 FROM pg_logical_slot_get_changes('other', NULL, NULL)"
        );
        assert_eq!(c.sql(&changes).lines().last(), Some("t"));
        assert!(c.log().contains("Query Text"));
        assert_eq!(c.log().contains("AUDIT: "), has_audit);
        assert_ne!(
            c.sql("SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CREATE TABLE%'"),
            "0"
        );
        c.sql("SELECT pg_drop_replication_slot('other')");
        c.assert_restores();
    }
}

#[test]
fn ddl_counts_whatever_event_triggers_are_switched_off() {
    let c = Cluster::backed_up();
    c.sql("SET session_replication_role = replica; CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    if c.version() >= 17 {
        c.sql("SET event_triggers = off; CREATE TABLE without (a int DEFAULT 1); INSERT INTO without VALUES (2)");
    }
    c.assert_restores();
    c.sql(r#"ALTER EVENT TRIGGER "0_pg_incrbackup_command_end" DISABLE"#);
    assert!(c.health().starts_with("critical"), "{}", c.health());
    c.sql("CREATE TABLE disabled (a int); INSERT INTO disabled VALUES (1); ALTER TABLE disabled ADD b timestamptz DEFAULT now()");
    c.sql(r#"ALTER EVENT TRIGGER "0_pg_incrbackup_command_end" ENABLE ALWAYS"#);
    assert!(c.health().starts_with("ok"), "{}", c.health());
    c.assert_restores();
}

#[test]
fn single_user_mode_is_captured_when_the_server_is_back() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.stop();
    let mut command = c.installation().command("postgres");
    command.args(["--single", "-j", "-D"]);
    command.arg(c.data_directory()).arg(c.database());
    let mut single = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("postgres can be run");
    let mut input = single.stdin.take().expect("it is piped");
    write!(input, "CREATE TABLE alone (a int);\n\nINSERT INTO alone VALUES (1);\n\nINSERT INTO t VALUES (2);\n\n").expect("it reads");
    drop(input);
    assert!(single.wait().expect("it ends").success());
    c.start();
    assert_eq!(c.sql("SELECT count(*) FROM alone, t"), "1");
    c.assert_restores();
}

/// All that is written is written in the user's own level; what is looked up writes nothing, so no
/// subtransaction gets an id (a backend shows 64 of them, beyond those every snapshot is slow).
#[test]
fn a_thousand_statements_in_one_transaction_need_no_subtransaction_ids() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE old (a int UNIQUE NOT NULL, b int)");
    let mut session = c.session();
    session.run("BEGIN");
    let own: u64 = session
        .run("SELECT pg_current_xact_id()")
        .trim()
        .parse()
        .expect("an id");
    session.run(
        "DO $$ BEGIN FOR i IN 1..500 LOOP
           EXECUTE format('CREATE TABLE keyed%s (a int PRIMARY KEY)', i);
           EXECUTE format('CREATE TABLE bare%s (a int)', i); END LOOP; END $$",
    );
    session.run("DROP TABLE bare7; CREATE TEMP TABLE gone (a int); CREATE INDEX ON bare8 (a)");
    session
        .run("ALTER TABLE bare9 ADD b int DEFAULT random(); ALTER TABLE bare9 ADD PRIMARY KEY (a)");
    session.run(
        "ALTER TABLE old DROP CONSTRAINT old_a_key; ALTER TABLE bare10 REPLICA IDENTITY NOTHING",
    );
    let next = c.sql("SELECT pg_current_xact_id()");
    assert_eq!(next, (own + 1).to_string());
    session.run("COMMIT");
    c.assert_restores();
}

#[test]
fn a_log_that_takes_no_rows_fails_no_statement() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE before (a int)");
    c.sql("ALTER TABLE ddl_history ADD COLUMN mine int NOT NULL DEFAULT 0");
    c.sql("ALTER TABLE ddl_history ALTER COLUMN mine DROP DEFAULT");
    let said = c.session().run("CREATE TABLE unrecorded (a int)");
    assert!(said.contains("WARNING"), "{said}");
    assert_eq!(c.sql("SELECT count(*) FROM unrecorded"), "0");
    // The catalogs tell it all the same.
    c.assert_restores();
    c.sql("SET pg_incrbackup.on_log_error = error");
    let strict =
        c.sql_error("SET pg_incrbackup.on_log_error = error; CREATE TABLE refused (a int)");
    assert!(strict.message.contains("could not record DDL"), "{strict}");
}

/// The capture worker looks at its database for monitoring, by queries like anybody's.
#[test]
fn a_look_at_the_catalogs_that_fails_stops_no_capture() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.flush();
    let mut session = c.session();
    session.run("BEGIN; LOCK TABLE pg_event_trigger IN ACCESS EXCLUSIVE MODE");
    c.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup capture'");
    c.sql("INSERT INTO t VALUES (1)");
    wait_until("the row is captured all the same", || {
        c.stream().contains("INSERT INTO public.t (a) VALUES (1)")
    });
    wait_until("the look has failed", || c.log().contains("lock timeout"));
    session.run("ROLLBACK");
    c.assert_restores();
}
