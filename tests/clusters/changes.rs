//! "Something went through this table at three, and all I know is the table." incr_changes() tells it, value by value;
//! incr_info() tells how far back, and every object of the extension what it is.

use std::fs;

use harness::Cluster;

/// What the call shows, a line each: command, key, old, new.
fn changes(c: &Cluster, arguments: &str) -> Vec<String> {
    let rows = c.sql(&format!(
        "SET client_min_messages = warning;
         SELECT concat_ws(' ', command, 'key=' || key::text, 'old=' || old::text, 'new=' || new::text) FROM incr_changes({arguments})"
    ));
    rows.lines().map(str::to_owned).collect()
}

#[test]
fn a_table_has_a_history_with_its_values() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.old_values", "on")
        .setting("pg_incrbackup.compression", "zstd")
        .back_up();
    c.sql(
        "CREATE TABLE was (id int PRIMARY KEY, item text); CREATE TABLE other (id int PRIMARY KEY)",
    );
    c.sql("INSERT INTO was VALUES (1, E'a \"b\"\\n'), (2, NULL); INSERT INTO other VALUES (7)");
    c.sql("SELECT incr_rotate()");
    c.sql("UPDATE was SET item = 'tea', id = 3 WHERE id = 1");
    c.sql("ALTER TABLE was RENAME TO orders; ALTER TABLE orders RENAME id TO number; ALTER TABLE orders REPLICA IDENTITY FULL");
    let moment = c.sql("SELECT clock_timestamp()");
    c.sql("UPDATE orders SET item = 'milk' WHERE number = 3");
    c.sql("SELECT incr_rotate()");
    c.sql("DELETE FROM orders WHERE number = 2; DELETE FROM other");
    c.sql("INSERT INTO orders SELECT i, 'item ' || i FROM generate_series(100, 199) i");
    c.sql("TRUNCATE other, orders");
    c.flush();

    let all = changes(&c, "'orders'");
    let rows: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|row| !row.contains("item 1"))
        .collect();
    assert_eq!(
        rows,
        [
            "CREATE TABLE",
            "INSERT key={\"id\": \"1\"} new={\"id\": \"1\", \"item\": \"a \\\"b\\\"\\n\"}",
            "INSERT key={\"id\": \"2\"} new={\"id\": \"2\", \"item\": null}",
            "UPDATE key={\"id\": \"1\"} old={\"id\": \"1\"} new={\"id\": \"3\", \"item\": \"tea\"}",
            "ALTER TABLE",
            "ALTER TABLE",
            "ALTER TABLE",
            "UPDATE key={\"number\": \"3\"} old={\"item\": \"tea\", \"number\": \"3\"} new={\"item\": \"milk\"}",
            "DELETE key={\"number\": \"2\"} old={\"item\": null, \"number\": \"2\"}",
            "TRUNCATE",
        ],
        "{all:#?}"
    );
    // A run of INSERTs is a COPY block in the files.
    let many = all
        .iter()
        .filter(|row| row.starts_with("INSERT key=") && row.contains("\"item 1"));
    assert_eq!(many.count(), 100, "{all:#?}");

    assert_eq!(changes(&c, "'orders', operation => 'Delete'").len(), 1);
    assert_eq!(changes(&c, "'orders', operation => 'insert'").len(), 102);
    assert_eq!(
        changes(&c, "'orders', operation => 'truncate'"),
        ["TRUNCATE"]
    );
    assert_eq!(changes(&c, "'orders', operation => 'ddl'").len(), 4);
    let since = changes(&c, &format!("'orders', '{moment}', operation => 'update'"));
    assert_eq!(since.len(), 1, "{since:?}");
    let until = changes(
        &c,
        &format!("'orders', until => '{moment}', operation => 'update'"),
    );
    assert_eq!(until.len(), 1, "{until:?}");
    assert!(until[0].contains("tea") && since[0].contains("milk"));
    assert!(changes(&c, "NULL").is_empty());
    let error = c.sql_error("SELECT * FROM incr_changes('orders', operation => 'merge')");
    assert_eq!(error.sqlstate, "22023", "{error}");

    // A partition of yesterday was one then.
    c.sql(
        "CREATE TABLE p (id int, item text) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         CREATE TABLE p3 (id int, item text); ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30);
         INSERT INTO p VALUES (1, 'dropped'), (11, 'now'), (21, 'detached');
         ALTER TABLE p DETACH PARTITION p3; INSERT INTO p3 VALUES (22, 'alone'); DROP TABLE p1;
         CREATE TABLE p1 (id int, item text); INSERT INTO p1 VALUES (2, 'another table')",
    );
    c.flush();
    let items = |table: &str| {
        c.sql(&format!(
            "SET client_min_messages = warning; SELECT string_agg(new->>'item', ' ' ORDER BY new->>'item') FROM incr_changes('{table}')"
        ))
    };
    assert_eq!(items("p"), "detached dropped now");
    assert_eq!(items("p2"), "now");
    assert!(c.is_true("SELECT count(*) = 0 FROM incr_changes('p') WHERE command = 'NOT SHOWN'"));

    // A schema change has its words, a change its place; nobody was recorded.
    assert!(c.is_true(
        "SELECT bool_and(role IS NULL AND client IS NULL AND file IS NOT NULL AND line > 0 AND committed IS NOT NULL)
             AND count(*) FILTER (WHERE statement LIKE '%RENAME%' AND note LIKE '%typed: %RENAME%') = 2
         FROM incr_changes('orders')"
    ));

    // The first closed segment loses its end: what is missing is said, and the rest is there.
    let first = &c.segments()[0].path;
    fs::remove_file(first).expect("it can be removed");
    let rest = changes(&c, "'orders'");
    assert!(rest[0].starts_with("NOT SHOWN"), "{rest:#?}");
    assert_eq!(rest.last().map(String::as_str), Some("TRUNCATE"));
    let error = c.sql_error("CREATE ROLE reader LOGIN; GRANT EXECUTE ON FUNCTION incr_changes TO reader; SET ROLE reader; SELECT * FROM incr_changes('orders')");
    assert_eq!(error.sqlstate, "42501", "{error}");
}

#[test]
fn what_can_be_restored_is_told_and_why_it_ends() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    c.flush();
    let watcher = |sql: &str| c.sql(&format!("SET ROLE watcher; {sql}"));
    c.sql("CREATE ROLE watcher IN ROLE pg_monitor");
    let told = watcher("SELECT chain, from_time < to_time, from_lsn < to_lsn, base IS NOT NULL, ends, lost FROM incr_info()");
    assert_eq!(told, "1|t|t|t|the end of the files: capture goes on|{}");
    // A base says when it was taken.
    let taken = "SELECT bool_and(last_commit_at BETWEEN now() - interval '1 hour' AND now() AND
                        file LIKE '%' || to_char(last_commit_at AT TIME ZONE 'UTC', 'YYYYMMDD\"T\"HH24MISS\"Z\"'))
                 FROM incr_files() WHERE kind IN ('base', 'globals')";
    assert_eq!(watcher(taken), "t");
    // Changes that went into no file end it.
    c.lose_slot();
    c.sql("SELECT * FROM incr_setup(new_chain => true)");
    let told = watcher("SELECT chain, ends FROM incr_info() ORDER BY chain");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("1|the chain ended at "), "{told}");
    assert_eq!(lines[1], "2|the end of the files: capture goes on");
}

/// What the update script ends with is what a fresh install ends with, and no member is without a comment.
#[test]
fn every_object_of_the_extension_says_what_it_is() {
    let fresh = include_str!("../../sql/grants.sql");
    let update = include_str!("../../sql/pg_incrbackup--0.3.0--0.4.0.sql");
    let at = fresh
        .find("\n-- What each of them is")
        .expect("they are there");
    assert!(update.ends_with(&fresh[at..]), "the two lists differ");
    let c = Cluster::builder().start();
    c.sql("CREATE EXTENSION pg_incrbackup");
    let members = "FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                   WHERE e.extname = 'pg_incrbackup' AND d.deptype = 'e'";
    assert!(c.is_true(&format!("SELECT count(*) > 30 {members}")));
    // The row types of its tables, and arrays of those, are members too from 18 on.
    let is_of_table = "classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = objid AND (typrelid <> 0 OR typelem <> 0))";
    let silent = c.sql(&format!(
        "SELECT pg_describe_object(classid, objid, 0) {members} AND NOT ({is_of_table})
             AND obj_description(objid, classid::regclass::name) IS NULL"
    ));
    assert_eq!(silent, "", "these have no comment in sql/grants.sql");
    let settings = "SELECT name FROM pg_settings WHERE name LIKE 'pg_incrbackup.%' AND coalesce(short_desc, '') = ''";
    assert_eq!(c.sql(settings), "");
}
