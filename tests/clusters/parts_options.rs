//! What of a part is wanted, and what is refused: patterns, sections, rows alone, what is left out.

use std::process::Stdio;

use harness::{program, program_command, wait_until, Cluster};

use crate::parts::{assert_nothing_left, assert_same, dump, restored};
use crate::program_restore::restore;

/// Tables in two schemas, dropped or changed since: the xid before which they are as wanted.
fn with_tables(c: &Cluster) -> String {
    c.sql("CREATE SCHEMA a; CREATE SCHEMA b; \
        CREATE TABLE a.customers (id int PRIMARY KEY, name text); INSERT INTO a.customers VALUES (1, 'Ann'), (2, 'Bob'); \
        CREATE TABLE a.orders (id serial PRIMARY KEY, customer int REFERENCES a.customers, amount int CHECK (amount > 0)); \
        CREATE INDEX by_amount ON a.orders (amount); \
        INSERT INTO a.orders (customer, amount) SELECT 1 + g % 2, g FROM generate_series(1, 200) g; \
        CREATE VIEW a.sums AS SELECT c.name, sum(amount) FROM a.orders o JOIN a.customers c ON c.id = o.customer GROUP BY c.id; \
        CREATE TABLE b.orders (id int PRIMARY KEY); INSERT INTO b.orders VALUES (7); \
        CREATE TABLE b.\"Notes\" (t text); INSERT INTO b.\"Notes\" VALUES ('n'); \
        CREATE TABLE b.p (k int) PARTITION BY LIST (k); CREATE TABLE b.p1 PARTITION OF b.p FOR VALUES IN (1); \
        CREATE TABLE b.p2 PARTITION OF b.p FOR VALUES IN (2); INSERT INTO b.p VALUES (1), (2)");
    c.sql("SELECT incr_flush()");
    c.sql("DELETE FROM a.orders WHERE id = 1 RETURNING pg_current_xact_id()")
}

#[test]
fn patterns_choose_and_what_matches_nothing_is_told() {
    let c = Cluster::backed_up();
    let xid = with_tables(&c);
    let dropping = c.sql(
        "CREATE TABLE b.late (a int); INSERT INTO b.late VALUES (5); DROP TABLE b.late; SELECT 1",
    );
    assert_eq!(dropping, "1");
    c.flush();
    let moment = ["--before-xid", &xid];
    let mut number = 0;
    let mut tables_of = |options: &[&str]| {
        number += 1;
        let database = format!("chosen{number}");
        restored(&c, &database, &[options, &moment[..]].concat());
        c.sql_in(
            &database,
            "SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY 1) FROM (SELECT c.oid FROM pg_class c \
             WHERE relkind IN ('r', 'p', 'v') AND relnamespace::regnamespace::text IN ('a', 'b') ORDER BY oid::regclass::text) c",
        )
    };
    assert_eq!(tables_of(&["--table", "a.ord*"]), "a.orders");
    assert_eq!(
        tables_of(&["--table", "b.\"Notes\"", "--table", "customers"]),
        "a.customers b.\"Notes\""
    );
    // Partitions come with their table.
    assert_eq!(tables_of(&["--table", "b.p"]), "b.p b.p1 b.p2");
    assert_eq!(
        tables_of(&["--table", "b.p", "--exclude-table", "p2"]),
        "b.p b.p1"
    );
    assert_eq!(
        tables_of(&["--schema", "b", "--exclude-table", "b.p*"]),
        "b.\"Notes\" b.orders"
    );
    assert_eq!(
        tables_of(&["--exclude-schema", "b", "--exclude-table", "sums"]),
        "a.customers a.orders"
    );
    for (options, status, said) in [
        (&["--table", "nobody"][..], 2, "nothing matches \"nobody\""),
        (&["--table", "nob*"], 2, "nothing matches"),
        (
            &["--table", "orders"],
            2,
            "\"orders\" is in several schemas: a.orders, b.orders",
        ),
        (
            &["--table", "a.orders", "--table", "x*", "--strict-names"],
            2,
            "\"x*\"",
        ),
        (&["--table", "b.notes"], 2, "nothing matches"),
        (&["--table", "(a"], 2, "is not a pattern"),
        (&["--schema-only"], 2, "no part is chosen"),
        (&["--table", "a.orders", "--globals"], 2, "--globals"),
        (
            &["--table", "*.orders", "--into-schema", "one"],
            2,
            "cannot both be",
        ),
    ] {
        let (found, text) = restore(&c, "refused", &[options, &moment[..]].concat());
        assert!(
            found == status && text.contains(said),
            "{options:?}: {found} {text}"
        );
    }
    // A table that is not there at the moment was, before: the message says until when.
    let (status, text) = restore(&c, "refused", &["--table", "b.late"]);
    assert!(
        status == 2 && text.contains("b.late was dropped") && text.contains("--before-xid"),
        "{text}"
    );
    let before = text
        .split("--before-xid ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let before = before.expect("it names the transaction");
    restored(&c, "late", &["--table", "b.late", "--before-xid", before]);
    assert_eq!(c.sql_in("late", "SELECT * FROM b.late"), "5");
    let (status, text) = restore(&c, "dry", &["--table", "a.*", "--dry-run"]);
    assert!(
        status == 0 && text.contains("a.customers") && text.contains("dry run"),
        "{text}"
    );
    assert_nothing_left(&c);
    assert_eq!(
        c.sql("SELECT count(*) FROM pg_database WHERE datname IN ('dry', 'refused')"),
        "0"
    );
}

#[test]
fn what_is_left_out_or_used_is_named() {
    let c = Cluster::backed_up();
    let xid = with_tables(&c);
    c.sql("CREATE FUNCTION a.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE a.orders SET amount = 1; RETURN NULL; END$$; \
        CREATE TABLE a.touched (a int); CREATE TRIGGER touch AFTER INSERT ON a.touched FOR EACH ROW EXECUTE FUNCTION a.touch()");
    c.flush();
    let moment = ["--before-xid", &xid];
    // A foreign key to what is left out is left out; a view's table comes without rows.
    let text = restored(
        &c,
        "parts",
        &[&["--table", "a.orders", "--table", "a.sums"], &moment[..]].concat(),
    );
    assert!(text.contains("a.customers is not in the part"), "{text}");
    assert!(
        text.contains("makes without rows") && text.contains("    a.customers\n"),
        "{text}"
    );
    assert_eq!(c.sql_in("parts", "SELECT count(*) FROM a.orders"), "200");
    assert_eq!(c.sql_in("parts", "SELECT count(*) FROM a.customers"), "0");
    assert_eq!(
        c.sql_in(
            "parts",
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
        ),
        "0"
    );
    // A database that only is called like a scratch database is not dropped.
    c.sql("CREATE DATABASE \"parts.part.restoring\"");
    c.sql_in("parts.part.restoring", "CREATE TABLE mine (a int)");
    let (status, text) = restore(&c, "parts", &["--table", "b.p"]);
    assert!(
        status == 1 && text.contains("whose name the scratch database needs"),
        "{text}"
    );
    c.sql("DROP DATABASE \"parts.part.restoring\"");
    // What is there already is used as it is.
    let (status, text) = restore(
        &c,
        "parts",
        &[&["--table", "a.orders"], &moment[..]].concat(),
    );
    assert!(
        status == 1 && text.contains("the target has a.orders already"),
        "{text}"
    );
    let options = [&["--table", "a.sums", "--into-schema", "w"], &moment[..]].concat();
    let text = restored(&c, "parts", &options);
    assert!(
        text.contains("uses, as it is in the target") && text.contains("table a.orders"),
        "{text}"
    );
    assert_eq!(c.sql_in("parts", "SELECT count(*) FROM w.sums"), "0");
    // A partition of a table that is left out is never attached to the live one.
    let text = restored(&c, "parts", &[&["--table", "b.p"], &moment[..]].concat());
    assert!(text.contains("rows      1 of b.p1"), "{text}");
    let text = restored(
        &c,
        "parts",
        &[&["--table", "b.p1", "--into-schema", "q"], &moment[..]].concat(),
    );
    assert!(
        text.contains("becomes a table of its own, not a partition of b.p"),
        "{text}"
    );
    assert_eq!(c.sql_in("parts", "SELECT count(*) FROM b.p"), "2");
    assert_eq!(c.sql_in("parts", "SELECT * FROM q.p1"), "1");
    // A function that names a moved table in its text would act on the live one.
    let into = [
        "--table",
        "a.orders",
        "--table",
        "a.touched",
        "--into-schema",
        "moved",
    ];
    let before = dump(&c, "parts", &[]);
    let (status, text) = restore(&c, "parts", &into);
    assert!(
        status == 1 && text.contains("a.touch() mentions orders"),
        "{text}"
    );
    assert_same(&before, &dump(&c, "parts", &[]), "after a refusal");
    restored(
        &c,
        "parts",
        &[&into[..], &["--section", "pre-data", "--section", "data"]].concat(),
    );
    assert_eq!(
        c.sql_in("parts", "SELECT count(*) FROM moved.orders"),
        "199"
    );
    assert_nothing_left(&c);
}

#[test]
fn sections_and_rows_alone_are_those_of_pg_dump() {
    let c = Cluster::backed_up();
    let xid = with_tables(&c);
    c.sql("DELETE FROM a.orders WHERE id > 100");
    c.flush();
    let part = [
        "--table",
        "a.orders",
        "--table",
        "a.customers",
        "--before-xid",
        &xid,
    ];
    let of = |database: &str, more: &[&str]| restored(&c, database, &[&part[..], more].concat());
    let counts = "SELECT (SELECT count(*) FROM a.orders), (SELECT count(*) FROM pg_index WHERE indrelid = 'a.orders'::regclass), \
        (SELECT last_value FROM a.orders_id_seq)";
    of("by_section", &["--section", "pre-data"]);
    assert_eq!(c.sql_in("by_section", counts), "0|0|1");
    of("by_section", &["--section", "data"]);
    assert_eq!(c.sql_in("by_section", counts), "200|0|200");
    of("by_section", &["--section", "post-data"]);
    assert_eq!(c.sql_in("by_section", counts), "200|2|200");
    of("at_once", &[]);
    assert_same(
        &dump(&c, "at_once", &[]),
        &dump(&c, "by_section", &[]),
        "section by section",
    );
    of("definitions", &["--schema-only"]);
    assert_eq!(c.sql_in("definitions", counts), "0|2|1");
    assert_same(
        &dump(&c, "at_once", &["--schema-only"]),
        &dump(&c, "definitions", &["--schema-only"]),
        "definitions alone",
    );

    // Rows into the live tables, whose foreign keys and triggers hold.
    of("definitions", &["--data-only"]);
    assert_same(
        &dump(&c, "at_once", &[]),
        &dump(&c, "definitions", &[]),
        "rows alone",
    );
    let (status, text) = restore(&c, "definitions", &[&part[..], &["--data-only"]].concat());
    assert!(status == 1 && text.contains("duplicate key"), "{text}");
    assert_eq!(c.sql_in("definitions", counts), "200|2|200");
    c.sql_in("definitions", "TRUNCATE a.orders; SELECT setval('a.orders_id_seq', 500); ALTER TABLE a.orders RENAME amount TO total");
    let rows = ["--table", "a.orders", "--before-xid", &xid, "--data-only"];
    let (status, text) = restore(&c, "definitions", &rows);
    assert!(
        status == 1 && text.contains("has no column \"amount\""),
        "{text}"
    );
    c.sql_in(
        "definitions",
        "ALTER TABLE a.orders RENAME total TO amount; DELETE FROM a.customers WHERE id = 2",
    );
    let (status, text) = restore(&c, "definitions", &rows);
    assert!(status == 1 && text.contains("foreign key"), "{text}");
    c.sql_in("definitions", "INSERT INTO a.customers VALUES (2, 'Bob')");
    restored(&c, "definitions", &rows);
    // What a sequence has given out since is not given again.
    assert_eq!(c.sql_in("definitions", counts), "200|2|500");
    let (status, text) = restore(&c, "nowhere", &rows);
    assert!(status == 2 && text.contains("does not exist"), "{text}");
    assert_nothing_left(&c);
}

#[test]
fn a_part_comes_from_every_base_and_over_a_connection() {
    for format in ["plain", "compressed", "directory"] {
        let c = Cluster::builder()
            .setting("pg_incrbackup.base_format", &format!("'{format}'"))
            .back_up();
        let xid = with_tables(&c);
        c.sql("CREATE TABLE b.big AS SELECT g, repeat('x', 1000) AS t FROM generate_series(1, 3000) g");
        let part = dump(
            &c,
            "app",
            &["-t", "b.p", "-t", "b.p1", "-t", "b.p2", "-t", "a.customers"],
        );
        c.sql("SELECT incr_dump()");
        c.sql("DROP TABLE b.p; DELETE FROM a.customers WHERE false");
        c.flush();
        let options = [
            "--table",
            "b.p",
            "--table",
            "a.customers",
            "--before-ddl",
            "DROP TABLE b.p",
        ];
        let text = restored(&c, "part", &options);
        let same = ["-t", "b.p", "-t", "b.p1", "-t", "b.p2", "-t", "a.customers"];
        assert_same(&part, &dump(&c, "part", &same), format);
        assert!(!text.contains("of b.big"), "{text}");
        let (from, target) = (c.conninfo("app"), c.conninfo("by_connection"));
        let arguments = ["restore", "--from", &from, "--target", &target];
        let output = program(&[&arguments[..], &options].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_same(
            &part,
            &dump(&c, "by_connection", &same),
            "over a connection",
        );
        assert_ne!(xid, "");
    }
}

#[test]
fn a_killed_restore_leaves_the_target_as_it_was() {
    let c = Cluster::backed_up();
    let xid = with_tables(&c);
    c.sql("INSERT INTO b.\"Notes\" SELECT g::text FROM generate_series(1, 20000) g");
    c.flush();
    c.sql("CREATE DATABASE live");
    c.sql_in("live", "CREATE TABLE mine (a int)");
    let before = dump(&c, "live", &[]);
    let archive = c.database_directory();
    let (archive, target) = (
        archive.to_str().expect("the path is UTF-8"),
        c.conninfo("live"),
    );
    let arguments = [
        "restore",
        "--archive",
        archive,
        "--target",
        &target,
        "--schema",
        "a",
        "--schema",
        "b",
    ];
    // While it is in the scratch database, and while its transaction in the target is open.
    for place in ["live.part.restoring", "live"] {
        // What holds the transaction up.
        let mut locker = c.session_in("live");
        locker.run("BEGIN; CREATE SCHEMA a");
        let mut child = program_command()
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be run");
        let is_there = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{place}' AND application_name = 'pg_incrbackup' \
             AND (datname <> 'live' OR wait_event_type = 'Lock')"
        );
        wait_until("the restore has come so far", || c.is_true(&is_there));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        locker.run("ROLLBACK");
        let sessions =
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pg_incrbackup'";
        wait_until("the server has noticed", || c.is_true(sessions));
        assert_same(&before, &dump(&c, "live", &[]), place);
    }
    let said = restored(&c, "live", &["--schema", "a", "--before-xid", &xid]);
    assert!(said.contains("rows"), "{said}");
    assert_eq!(c.sql_in("live", "SELECT count(*) FROM a.orders"), "200");
    assert_nothing_left(&c);
}

#[test]
fn a_part_comes_to_a_server_that_knows_nothing_of_it() {
    let c = Cluster::builder().encoding("LATIN1").locale("C").back_up();
    c.sql(
        "SET client_encoding = UTF8; CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE unused; CREATE TABLE other (a int); \
         ALTER TABLE other OWNER TO unused; \
         CREATE TABLE \"été\" (\"é\" int PRIMARY KEY, t text DEFAULT 'é'); ALTER TABLE \"été\" OWNER TO alice; \
         GRANT SELECT ON \"été\" TO bob; INSERT INTO \"été\" SELECT g, 'ça' || g FROM generate_series(1, 100) g",
    );
    c.sql("SELECT incr_dump()");
    c.sql("SET client_encoding = UTF8; CREATE SEQUENCE numbers; SELECT nextval('numbers'); CREATE TABLE counted (n int DEFAULT nextval('numbers')); \
        INSERT INTO counted DEFAULT VALUES; INSERT INTO \"été\" VALUES (0)");
    c.flush();
    let part = ["-E", "UTF8", "-t", "?t?", "-t", "counted", "-t", "numbers"];
    let expected = dump(&c, "app", &part);
    let target = Cluster::builder().version(c.version()).start();
    target.sql("CREATE DATABASE live");
    for database in ["live", "fresh"] {
        let archive = c.database_directory();
        let arguments = [
            "restore",
            "--archive",
            archive.to_str().expect("the path is UTF-8"),
            "--target",
            &target.conninfo(database),
            "--table",
            "?t?",
            "--table",
            "counted",
        ];
        let output = program(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_same(&expected, &dump(&target, database, &part), database);
        let rows = "SET client_encoding = UTF8; SELECT count(*), sum(length(t)) FROM \"été\"";
        assert_eq!(c.sql(rows), target.sql_in(database, rows));
        assert_eq!(target.sql_in(database, "SELECT nextval('numbers')"), "3");
    }
    let roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    assert_eq!(target.sql(roles), "alice bob");
    assert_nothing_left(&target);
}
