//! "I want to be rid of it, and do not know what it leaves in my server." Uninstalled as docs/uninstall.md says, a cluster
//! is what it was before, by its catalogs, by pg_dump and by its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness::{run, Cluster};

/// What a database has, or has of, as rows: each of them is a place where an extension could leave something.
/// Objects by name, not by OID: what is made anew in between has another one.
const OF_A_DATABASE: [(&str, &str); 17] = [
    (
        "replica identities",
        "SELECT oid::regclass, relreplident FROM pg_class WHERE relkind IN ('r', 'p', 'm')",
    ),
    (
        "replica identity by index",
        "SELECT indexrelid::regclass, indrelid::regclass FROM pg_index WHERE indisreplident",
    ),
    (
        "relations",
        "SELECT oid::regclass, relkind, relpersistence, relacl, reloptions FROM pg_class
          WHERE relnamespace::regnamespace::text !~ '^pg_toast'",
    ),
    (
        "functions",
        "SELECT oid::regprocedure, proacl, proconfig FROM pg_proc",
    ),
    ("types", "SELECT oid::regtype, typacl FROM pg_type WHERE typname !~ '^_?pg_toast_'"),
    ("operators", "SELECT oid::regoperator FROM pg_operator"),
    ("casts", "SELECT castsource::regtype, casttarget::regtype FROM pg_cast"),
    ("schemas", "SELECT nspname, nspacl FROM pg_namespace"),
    ("extensions", "SELECT extname FROM pg_extension"),
    ("event triggers", "SELECT evtname, evtenabled FROM pg_event_trigger"),
    (
        "triggers",
        "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    ),
    ("policies and rules", "SELECT ev_class::regclass, rulename FROM pg_rewrite"),
    ("publications", "SELECT pubname FROM pg_publication"),
    ("labels", "SELECT classoid::regclass, provider, label FROM pg_seclabel"),
    (
        "comments, initial and default privileges",
        "SELECT (SELECT count(*) FROM pg_description), (SELECT count(*) FROM pg_init_privs),
          (SELECT count(*) FROM pg_default_acl)",
    ),
    (
        "large objects, languages, conversions, parsers",
        "SELECT (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_language),
          (SELECT count(*) FROM pg_conversion), (SELECT count(*) FROM pg_ts_parser)",
    ),
    (
        "dependencies",
        "SELECT classid::regclass, refclassid::regclass, deptype, count(*) FROM pg_depend GROUP BY 1, 2, 3",
    ),
];

/// The same of the cluster.
const OF_THE_CLUSTER: [(&str, &str); 12] = [
    ("databases", "SELECT datname, datacl FROM pg_database"),
    (
        "roles",
        "SELECT rolname, rolsuper, rolreplication, rolconfig, rolvaliduntil FROM pg_roles",
    ),
    (
        "memberships",
        "SELECT roleid::regrole, member::regrole FROM pg_auth_members",
    ),
    (
        "settings of databases and roles",
        "SELECT datname, setrole::regrole, setconfig FROM pg_db_role_setting
          LEFT JOIN pg_database d ON d.oid = setdatabase",
    ),
    (
        "settings of the server",
        "SELECT name, setting FROM pg_file_settings WHERE sourcefile ~ 'auto.conf'",
    ),
    ("slots", "SELECT slot_name FROM pg_replication_slots"),
    ("origins", "SELECT roname FROM pg_replication_origin"),
    ("subscriptions", "SELECT subname FROM pg_subscription"),
    ("tablespaces", "SELECT spcname, spcacl FROM pg_tablespace"),
    (
        "labels of the cluster",
        "SELECT classoid::regclass, provider, label FROM pg_shseclabel",
    ),
    (
        "comments and dependencies of the cluster",
        "SELECT (SELECT count(*) FROM pg_shdescription), dbid, classid, refclassid, deptype, count(*)
          FROM pg_shdepend GROUP BY 2, 3, 4, 5",
    ),
    (
        "advisory locks and prepared transactions",
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM pg_prepared_xacts)",
    ),
];

/// Where PostgreSQL keeps what outlives a session; relations and WAL are in the catalogs' facts, or come and go.
const DIRECTORIES: [&str; 5] = [
    "pg_replslot",
    "pg_logical/snapshots",
    "pg_logical/mappings",
    "pg_tblspc",
    "base/pgsql_tmp",
];

/// A line for each fact, with how often it is there.
type Facts = BTreeMap<String, i64>;

/// All that is known of a cluster and two of its databases.
fn facts(c: &Cluster) -> Facts {
    // Snapshots of logical decoding that no slot needs are removed by the next checkpoint (CheckPointSnapBuild).
    c.sql("CHECKPOINT");
    let mut facts = Facts::new();
    let mut add = |of: &str, text: &str| {
        for line in text.lines() {
            *facts.entry(format!("{of}: {line}")).or_default() += 1;
        }
    };
    for database in [c.database(), "other"] {
        let rows = c.sql_in(database, &in_one_script(&OF_A_DATABASE));
        assert!(rows.lines().count() > 1000, "{rows}");
        add(database, &rows);
        let dump = dump(c, "pg_dump", &["-s", "-d", &c.conninfo(database)]);
        add(&format!("pg_dump -s {database}"), &dump);
    }
    let rows = c.sql_in("postgres", &in_one_script(&OF_THE_CLUSTER));
    add("the cluster", &rows);
    let dump = dump(c, "pg_dumpall", &["-g", "-d", &c.conninfo("postgres")]);
    add("pg_dumpall --globals-only", &dump);
    let data = c.data_directory();
    add("the data directory", &names_in(&data));
    for directory in DIRECTORIES {
        add(directory, &names_in(&data.join(directory)));
    }
    facts
}

/// One psql for all of them.
fn in_one_script(queries: &[(&str, &str)]) -> String {
    let query = |(what, query): &(&str, &str)| {
        format!("SELECT '{what}: ' || translate(f::text, E'\\n', ' ') FROM ({query}) AS f;\n")
    };
    queries.iter().map(query).collect()
}

/// A dump without the key of \restrict, which is another one each time.
fn dump(c: &Cluster, program: &str, arguments: &[&str]) -> String {
    let output = run(c.installation().command(program).args(arguments));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict "));
    lines.collect::<Vec<_>>().join("\n")
}

fn names_in(directory: &Path) -> String {
    let Ok(entries) = fs::read_dir(directory) else {
        return String::new();
    };
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join("\n")
}

/// Names each line that one side has more often than the other.
fn assert_same(before: &Facts, after: &Facts) {
    let surplus = |of: &Facts, over: &Facts, what: &str| -> String {
        let more = of
            .iter()
            .filter(|(line, count)| over.get(*line).is_none_or(|other| other < *count));
        more.map(|(line, _)| format!("{what} {line}\n")).collect()
    };
    let differences = surplus(before, after, "lost") + &surplus(after, before, "left");
    assert!(differences.is_empty(), "{differences}");
}

/// Tables of every replica identity that setup may meet, in two databases; in a cluster with settings, roles and a
/// slot of its own.
fn used() -> Cluster {
    let c = Cluster::builder().start();
    c.sql_in("postgres", "CREATE DATABASE other");
    for database in [c.database(), "other"] {
        c.sql_in(
            database,
            "CREATE TABLE keyless (a int, b text); INSERT INTO keyless VALUES (1, 'x'), (1, 'x');
             CREATE TABLE keyed (a int PRIMARY KEY, b text);
             CREATE TABLE uniquely (a int NOT NULL UNIQUE);
             CREATE TABLE chosen_full (a int); ALTER TABLE chosen_full REPLICA IDENTITY FULL;
             CREATE TABLE chosen_index (a int PRIMARY KEY, b int NOT NULL UNIQUE);
             ALTER TABLE chosen_index REPLICA IDENTITY USING INDEX chosen_index_b_key;
             CREATE TABLE nothing (a int); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
             CREATE TABLE nothing_keyed (a int PRIMARY KEY); ALTER TABLE nothing_keyed REPLICA IDENTITY NOTHING;
             CREATE TABLE nothing_unique (a int NOT NULL UNIQUE); ALTER TABLE nothing_unique REPLICA IDENTITY NOTHING;
             CREATE TABLE parted (a int) PARTITION BY RANGE (a);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
             CREATE MATERIALIZED VIEW seen AS SELECT * FROM keyless;
             CREATE SCHEMA \"app's\"; CREATE TABLE \"app's\".\"a table\" (a int);
             COMMENT ON TABLE keyless IS 'ours'",
        );
    }
    c.sql(
        "CREATE ROLE app_owner LOGIN; CREATE ROLE reader; GRANT reader TO app_owner;
         ALTER ROLE app_owner SET search_path = public;
         ALTER DATABASE app SET work_mem = '8MB'; ALTER ROLE reader IN DATABASE other SET work_mem = '9MB';
         SELECT pg_create_physical_replication_slot('of_somebody_else')",
    );
    c
}

/// A day with it: every function that makes something anywhere.
fn live_with_it(c: &Cluster) {
    for database in [c.database(), "other"] {
        c.sql_in(database, "CREATE EXTENSION pg_incrbackup");
        c.sql_in(database, "SELECT * FROM incr_setup()");
    }
    c.sql(
        "CREATE TABLE come_and_gone (a int); INSERT INTO come_and_gone VALUES (1);
         ALTER TABLE keyless ADD COLUMN c int; ALTER TABLE keyless DROP COLUMN c;
         UPDATE keyless SET b = 'y'; DROP TABLE come_and_gone;
         ALTER TABLE nothing ADD PRIMARY KEY (a); ALTER TABLE nothing DROP CONSTRAINT nothing_pkey;
         ALTER TABLE nothing ALTER a DROP NOT NULL;
         SELECT incr_mark('before'); SELECT incr_rotate(); SELECT incr_flush();
         SELECT incr_keep(incr_dump()); SELECT incr_report();
         SELECT * FROM incr_verify(); SELECT incr_drill()",
    );
    let set = "SELECT string_agg(relreplident, '' ORDER BY relname) FROM pg_class WHERE relname ~ '^(keyless|nothing)' \
         AND relkind = 'r'";
    assert_eq!(
        c.sql(set),
        "ffdi",
        "setup had nothing to set: the test would not see what is given back"
    );
    c.restart();
    c.wait_for_capture();
}

/// The statements of docs/uninstall.md, as they stand there: those that end the backup and drop the extension, drop
/// slots, and list what else is left.
fn recipes() -> [String; 3] {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/uninstall.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let block = |opening: &str, number: usize| {
        let rest = page.split(opening).nth(number).expect("the block is there");
        rest.split("```").next().unwrap_or(rest).to_owned()
    };
    let recipes = [
        block("```sql\n", 1),
        block("```sql\n", 2),
        block("```text\nshop=# ", 1),
    ];
    assert!(recipes[0].contains("DROP EXTENSION"), "{recipes:?}");
    assert!(
        recipes[1].contains("pg_drop_replication_slot"),
        "{recipes:?}"
    );
    assert!(recipes[2].contains("REPLICA IDENTITY"), "{recipes:?}");
    recipes
}

/// What the first one does before it drops the extension, and the rest.
fn teardown_and_rest() -> (String, String) {
    let [recipe, ..] = recipes();
    let (teardown, rest) = recipe.split_once(";\n").expect("two statements");
    assert!(teardown.contains("incr_teardown"), "{teardown}");
    (format!("{teardown};"), rest.to_owned())
}

const IDENTITIES: &str =
    "SELECT string_agg(format('%s%s', relname, relreplident), ' ' ORDER BY relname) FROM pg_class \
     WHERE relname IN ('keyless', 'in_between')";

#[test]
fn nothing_is_left_but_the_archive() {
    let c = used();
    let before = facts(&c);
    live_with_it(&c);
    let (teardown, rest) = teardown_and_rest();
    for database in [c.database(), "other"] {
        c.sql_in(database, &teardown);
        // Nothing is captured any more, but the extension is still there, and does what it does.
        c.sql_in(database, "CREATE TABLE in_between (a int)");
        assert_eq!(c.sql_in(database, IDENTITIES), "in_betweenf keylessd");
        c.sql_in(database, &rest);
        assert_eq!(c.sql_in(database, IDENTITIES), "in_betweend keylessd");
        c.sql_in(database, "DROP TABLE in_between");
    }
    assert_same(&before, &facts(&c));
    let of_a_database = "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('app', 'other') \
         AND backend_type ~ 'incrbackup'";
    assert_eq!(c.sql_in("postgres", of_a_database), "0");

    // Without the library, as the page says last.
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    assert_same(&before, &facts(&c));
    let any = "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'incrbackup'";
    assert_eq!(c.sql_in("postgres", any), "0");
    c.sql("CREATE TABLE afterwards (a int); UPDATE keyless SET b = 'z'; DROP TABLE afterwards");

    // The files are their owner's choice: they are there, whole, and nobody needs them.
    let archive = c.database_directory().display().to_string();
    let verify = harness::program(&["verify", "--archive", &archive]);
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(verify.status.success(), "{said}");
    fs::remove_dir_all(c.archive_directory()).expect("it can be removed");
    c.restart();
    assert_same(&before, &facts(&c));
}

#[test]
fn a_table_that_is_locked_keeps_its_identity_until_it_is_free() {
    let c = used();
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    let mut reader = c.session();
    reader.run("BEGIN; SELECT * FROM keyless");
    let (teardown, rest) = teardown_and_rest();
    let locked = "keyless is locked and keeps the replica identity";
    let said = c.session().run(&teardown);
    assert!(said.contains(locked), "{said}");
    assert_eq!(c.sql(IDENTITIES), "keylessf");
    // Who may not drop it does not even look for tables to lock.
    c.sql("CREATE ROLE stranger");
    let error = c.sql_error("SET ROLE stranger; DROP EXTENSION pg_incrbackup");
    assert_eq!(error.sqlstate, "42501", "{error}");
    assert!(!error.text.contains(locked), "{error}");
    // Dropped nevertheless: it is the only one that is named, once more.
    let said = c.session().run(&format!("BEGIN; {rest}; ROLLBACK"));
    assert!(said.contains(locked), "{said}");
    assert_eq!(said.matches("is locked").count(), 1, "{said}");
    reader.run("COMMIT");
    // And nothing is changed by a drop that is rolled back.
    c.sql(&format!("BEGIN; {rest}; ROLLBACK"));
    assert_eq!(c.sql(IDENTITIES), "keylessf");
    c.sql(&rest);
    assert_eq!(c.sql(IDENTITIES), "keylessd");

    // The extension that goes with its schema, or with its owner, leaves as much.
    c.sql("CREATE ROLE chief SUPERUSER; CREATE ROLE other_chief SUPERUSER; CREATE ROLE deputy IN ROLE chief;
           CREATE SCHEMA of_chief AUTHORIZATION chief");
    for end in ["DROP SCHEMA ours CASCADE", "DROP OWNED BY chief"] {
        c.sql("CREATE SCHEMA ours; SET ROLE chief; CREATE EXTENSION pg_incrbackup SCHEMA ours");
        c.sql("CREATE TABLE in_between (a int)");
        assert_eq!(c.sql(IDENTITIES), "in_betweenf keylessd", "before {end}");
        let error = c.sql_error(&format!("SET ROLE stranger; {end}"));
        assert_eq!(error.sqlstate, "42501", "{error}");
        // Neither owns anything here: the extension stays, and so does what it has set.
        c.sql("DROP OWNED BY other_chief, deputy");
        assert_eq!(c.sql(IDENTITIES), "in_betweenf keylessd", "before {end}");
        c.sql(end);
        assert_eq!(c.sql(IDENTITIES), "in_betweend keylessd", "{end}");
        c.sql("DROP TABLE in_between; DROP SCHEMA IF EXISTS ours");
    }
}

#[test]
fn a_library_that_was_removed_first_leaves_what_the_page_drops() {
    let c = used();
    let before = facts(&c);
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.write_setting("shared_preload_libraries", "''");
    c.restart();
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ '^pg_incrbackup'";
    assert_eq!(c.sql(slots), "1");
    let [_, drop_slots, list_tables] = recipes();
    c.sql(&drop_slots);
    assert_eq!(c.sql(slots), "0");
    let reset = c.sql(&list_tables);
    assert!(reset.contains("ALTER TABLE keyless"), "{reset}");
    c.sql("DROP EXTENSION pg_incrbackup");
    c.sql(&reset);
    assert_same(&before, &facts(&c));
}
