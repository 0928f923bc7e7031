//! "Somebody with rights of their own forges my backup, or ends it."

use harness::{wait_until, Cluster};

/// What somebody may be without being a superuser.
const ROLES: &str =
    "CREATE ROLE mallory LOGIN CREATEROLE CREATEDB; GRANT CREATE ON SCHEMA public TO mallory;
    CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
    CREATE ROLE reader LOGIN IN ROLE pg_read_all_data, pg_write_all_data, pg_read_all_settings;
    CREATE ROLE owner LOGIN; ALTER DATABASE app OWNER TO owner; ALTER SCHEMA public OWNER TO owner;
    GRANT CREATE ON DATABASE app TO mallory";

const EVERYBODY: [&str; 4] = ["mallory", "watcher", "reader", "owner"];

fn attacked() -> Cluster {
    let c = Cluster::backed_up();
    c.sql(ROLES);
    c
}

fn chain_json(c: &Cluster) -> String {
    let path = c.chain_directory().join("chain.json");
    std::fs::read_to_string(path).expect("there is a chain")
}

#[test]
fn no_function_is_everybodys() {
    let c = attacked();
    let functions = "FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_incrbackup'";
    let count: u32 = c
        .sql(&format!("SELECT count(*) {functions}"))
        .parse()
        .expect("a number");
    assert!(count >= 10, "only {count} functions were found");
    for role in EVERYBODY {
        let allowed = c.sql(&format!(
            "SELECT string_agg(proname, ' ' ORDER BY proname) {functions} WHERE has_function_privilege('{role}', p.oid, 'EXECUTE')"
        ));
        let expected = match role {
            "watcher" => {
                "incr_check incr_cluster_health incr_files incr_info incr_metrics incr_slot_health incr_status incr_synchronous"
            },
            _ => "",
        };
        assert_eq!(allowed, expected, "{role}");
    }
    let unpinned = c.sql(&format!(
        "SELECT proname {functions} WHERE prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) AS s
         WHERE s IN ('search_path=pg_catalog, pg_temp', 'search_path=\"\"'))"
    ));
    assert_eq!(
        unpinned, "",
        "SECURITY DEFINER without a pinned search_path"
    );
}

#[test]
fn what_belongs_to_us_belongs_to_nobody_else() {
    let c = attacked();
    let tables = c.sql(
        "SELECT d.objid::regclass FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
         JOIN pg_class t ON t.oid = d.objid AND t.relkind IN ('r', 'v', 'S')
         WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND e.extname = 'pg_incrbackup'",
    );
    assert!(tables.lines().count() >= 2, "{tables}");
    for table in tables.lines() {
        for role in ["mallory", "watcher", "owner"] {
            for privilege in [
                "INSERT",
                "UPDATE",
                "DELETE",
                "TRUNCATE",
                "REFERENCES",
                "TRIGGER",
            ] {
                let has = format!("SELECT has_table_privilege('{role}', '{table}', '{privilege}')");
                assert_eq!(c.sql(&has), "f", "{role} has {privilege} on {table}");
            }
        }
    }
    // The one secret column is hidden from all who are not superusers; pg_read_all_data reads all
    // tables of a database by its definition.
    for role in ["mallory", "watcher", "owner"] {
        let has = format!(
            "SELECT has_column_privilege('{role}', 'ddl_history', 'replay_text', 'SELECT')"
        );
        assert_eq!(c.sql(&has), "f", "{role} reads what is replayed");
    }
}

/// Each of these would put a statement of the attacker's choice into the stream, or take one away.
const FORGERIES: [&str; 22] = [
    "INSERT INTO ddl_history SELECT * FROM ddl_history",
    "INSERT INTO ddl_history VALUES (1, 1, '1', now(), 'postgres', 'CREATE TABLE', NULL, NULL, 'x', '', '{}', true, true, 'CREATE TABLE canary ()')",
    "UPDATE ddl_history SET replay_text = 'CREATE TABLE canary ()'",
    "DELETE FROM ddl_history",
    "TRUNCATE ddl_history",
    "COPY ddl_history FROM PROGRAM 'true'",
    "COPY ddl_history FROM stdin",
    "CREATE RULE r AS ON INSERT TO ddl_history DO ALSO SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON ddl_history FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE ddl_history DISABLE TRIGGER refuse_write",
    "DROP TRIGGER refuse_write ON ddl_history",
    "CREATE TABLE child () INHERITS (ddl_history)",
    "CREATE TABLE parted (LIKE ddl_history) PARTITION BY RANGE (id)",
    "CREATE TABLE parted (id bigint) PARTITION BY RANGE (id); ALTER TABLE parted ATTACH PARTITION ddl_history DEFAULT",
    "ALTER TABLE ddl_history SET SCHEMA elsewhere",
    "ALTER TABLE ddl_history RENAME TO moved",
    "ALTER TABLE ddl_history OWNER TO mallory",
    "ALTER TABLE ddl_history ALTER replay_text SET DEFAULT 'CREATE TABLE canary ()'",
    "ALTER EXTENSION pg_incrbackup ADD TABLE mine",
    "ALTER EXTENSION pg_incrbackup DROP TABLE ddl_history",
    "ALTER EXTENSION pg_incrbackup SET SCHEMA elsewhere",
    "ALTER EVENT TRIGGER \"0_pg_incrbackup_command_end\" DISABLE",
];

#[test]
fn a_row_of_ddl_history_cannot_be_forged() {
    let c = attacked();
    c.sql("CREATE SCHEMA elsewhere; GRANT ALL ON SCHEMA elsewhere TO PUBLIC");
    c.sql("CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO mallory");
    for role in EVERYBODY {
        for forgery in FORGERIES {
            // Whoever may write any table is stopped by the trigger, all others by their rights.
            let refused = c.try_sql(&format!("SET ROLE {role}; BEGIN; {forgery}; ROLLBACK"));
            let error = refused.expect_err(&format!("{role} may: {forgery}"));
            let as_expected = error.sqlstate == "42501" || error.text.contains("must be owner");
            assert!(as_expected, "{role}: {forgery}: {error}");
        }
    }
    c.sql("CREATE TABLE kept (a int)");
    c.assert_restores();
}

#[test]
fn a_table_that_only_looks_like_ddl_history_is_a_table() {
    let c = attacked();
    c.sql("CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA incr AUTHORIZATION mallory");
    let columns = "id bigint PRIMARY KEY, statement_id bigint, txid xid8, executed_at timestamptz,
        executed_by text, ddl_command text, object_type text, object_identity text, query text,
        search_path text, settings jsonb, replay boolean, executed_by_superuser boolean, replay_text text";
    let row =
        "(1, 1, '1', now(), 'postgres', 'CREATE TABLE', NULL, NULL, 'x', '', '{}', true, true,
        'CREATE TABLE public.canary ()')";
    for schema in ["mallory", "incr", "pg_temp"] {
        c.sql(&format!(
            "SET ROLE mallory; CREATE TABLE {schema}.ddl_history ({columns});
             INSERT INTO {schema}.ddl_history VALUES {row};
             UPDATE {schema}.ddl_history SET replay_text = replay_text || ' '"
        ));
    }
    c.sql(
        "SET ROLE mallory; CREATE VIEW mallory.history AS SELECT * FROM mallory.ddl_history;
         INSERT INTO mallory.history SELECT 2, statement_id, txid, executed_at, executed_by, 'CREATE ROLE',
            NULL, NULL, query, search_path, settings, replay, executed_by_superuser, 'canary' FROM mallory.history",
    );
    let setting =
        "SET ROLE mallory; SET pg_incrbackup.replay_text = 'CREATE TABLE public.canary ()'";
    assert_eq!(c.sql_error(setting).sqlstate, "42602");
    let restored = c.assert_restores();
    let there = c.sql_in(
        &restored.database,
        "SELECT to_regclass('public.canary') IS NOT NULL",
    );
    assert_eq!(there, "f");
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'canary'"),
        "0"
    );
}

#[test]
fn a_logical_message_of_anybody_ends_no_chain() {
    let c = attacked();
    c.sql("CREATE TABLE t (a int)");
    // Somebody who has seen one of ours in the WAL knows what it looks like.
    for role in EVERYBODY {
        c.sql(&format!(
            "SET ROLE {role};
             SELECT pg_logical_emit_message(true, 'pg_incrbackup chain break', 'forged by {role}');
             SELECT pg_logical_emit_message(false, 'pg_incrbackup chain break', 'forged by {role}');
             SELECT pg_logical_emit_message(true, 'pg_incrbackup chain break', '');
             SELECT pg_logical_emit_message(true, 'pg_incrbackup chain break', repeat('0', 64) || 'forged');
             SELECT pg_logical_emit_message(true, 'pg_incrbackup', 'position')"
        ));
    }
    c.sql("INSERT INTO t VALUES (1)");
    c.flush();
    assert!(
        chain_json(&c).contains("\"ended\": null"),
        "{}",
        chain_json(&c)
    );
    assert!(!c.stream().contains("forged"));
    c.assert_restores();
}

#[test]
fn the_message_of_a_statement_that_cannot_be_recorded_serves_no_second_time() {
    // What other statements do stands in the catalogs; that of an extension's script does not.
    let c = Cluster::backed_up();
    c.installation()
        .install_extension("unseen", "CREATE TABLE unseen (a int);");
    c.sql(ROLES);
    c.sql("SELECT pg_create_logical_replication_slot('spy', 'test_decoding')");
    c.sql("SET allow_system_table_mods = on; ALTER TABLE ddl_history ADD strange int");
    c.sql("CREATE EXTENSION unseen");
    wait_until("it is flagged", || {
        flags(&c).contains("could%20not%20record%20DDL")
    });
    c.sql("SELECT incr_teardown(); DROP EXTENSION pg_incrbackup; CREATE EXTENSION pg_incrbackup");
    // A spy who may read the WAL sends the very bytes again, when there is a base to be begun.
    let seen = c.sql(
        "SELECT substring(data FROM 'content:(.*)') FROM pg_logical_slot_get_changes('spy', NULL, NULL)
         WHERE data LIKE '%prefix: pg_incrbackup %ddl%' LIMIT 1",
    );
    assert!(seen.contains("could not record DDL"), "{seen}");
    c.sql("SELECT pg_drop_replication_slot('spy')");
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    for prefix in ["lost ddl", "unrecorded ddl", "chain break"] {
        c.sql(&format!(
            "SET ROLE mallory; SELECT pg_logical_emit_message(true, 'pg_incrbackup {prefix}', $${seen}$$)"
        ));
    }
    c.flush();
    let chain = chain_json(&c);
    assert!(chain.contains("\"ended\": null"), "{chain}");
    assert_eq!(flags(&c), "");
}

/// The stretches of the newest chain in which something is lost.
fn flags(c: &Cluster) -> String {
    std::fs::read_to_string(c.chain_directory().join("flags.jsonl")).unwrap_or_default()
}
