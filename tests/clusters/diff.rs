//! "What is different from yesterday?" `diff` compares two moments, from the files alone.

use std::path::Path;

use harness::Cluster;
use serde_json::Value;

use crate::show::asked;

fn differences(archive: &Path, options: &[&str]) -> String {
    let (status, out, error) = asked(archive, "diff", options);
    assert_eq!(status, 0, "{options:?}: {error}");
    out
}

fn objects(archive: &Path, options: &[&str]) -> Vec<Value> {
    let text = differences(archive, &[options, &["--json"]].concat());
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn two_moments_are_compared_row_by_row() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, item text, price numeric); \
         INSERT INTO orders SELECT g, 'item ' || g, g FROM generate_series(1, 20) g; \
         CREATE TABLE log (who text, j json); INSERT INTO log VALUES ('bob', '[1]'), ('bob', '[1]'), ('eve', NULL); \
         CREATE TABLE parts (id int, t text) PARTITION BY RANGE (id); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20); INSERT INTO parts VALUES (1, 'one'); \
         CREATE TABLE gone (a int); INSERT INTO gone VALUES (1), (2); \
         CREATE TABLE untouched (a int); INSERT INTO untouched VALUES (1)",
    );
    c.sql("SELECT incr_dump()");
    c.sql("UPDATE orders SET item = 'before' WHERE id = 19");
    c.sql("SELECT incr_mark('a')");
    // Changed and changed back; deleted and inserted again; inserted and deleted.
    c.sql("UPDATE orders SET price = 0 WHERE id = 1; UPDATE orders SET price = 1 WHERE id = 1");
    c.sql("DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (2, 'item 2', 2)");
    c.sql("INSERT INTO orders VALUES (50, 'short', 1); DELETE FROM orders WHERE id = 50");
    // What remains.
    c.sql("UPDATE orders SET price = 10 WHERE id = 5; UPDATE orders SET price = 12.50, item = 'it''s' WHERE id = 5");
    c.sql("UPDATE orders SET id = 30 WHERE id = 6");
    c.sql("DELETE FROM orders WHERE id = 7");
    c.sql("INSERT INTO orders VALUES (40, NULL, NULL)");
    c.sql("DELETE FROM log WHERE ctid = (SELECT ctid FROM log WHERE who = 'bob' LIMIT 1); UPDATE log SET who = E'e\\x1bve' WHERE who = 'eve'");
    c.sql("INSERT INTO parts VALUES (11, 'eleven')");
    c.sql("DROP TABLE gone; CREATE TABLE made (a int); INSERT INTO made VALUES (1), (2), (3)");
    c.sql("SELECT incr_mark('b')");
    let lsn = c.flush();
    c.sql("ALTER TABLE orders RENAME TO sales; UPDATE sales SET price = 99 WHERE id = 8; SELECT incr_mark('c')");
    c.flush();
    let archive = &c.database_directory();

    let counts = differences(archive, &["mark:a", "mark:b"]);
    let (tables, schema) = counts
        .split_once("schema changes:\n")
        .expect("there are some");
    assert_eq!(
        sorted(tables),
        [
            "public.gone: dropped, 2 deleted",
            "public.log: 1 updated, 1 deleted",
            "public.made: created, 3 inserted",
            "public.orders: 1 inserted, 2 updated, 1 deleted",
            "public.parts_2: 1 inserted",
        ]
    );
    for words in [
        "postgres: DROP TABLE gone",
        "postgres: CREATE TABLE made (a int)",
    ] {
        assert!(schema.contains(words), "{schema}");
    }
    // The same by another spelling of B, and limited.
    assert_eq!(differences(archive, &["mark:a", &lsn]), counts);
    let of_orders = differences(
        archive,
        &["mark:a", "mark:b", "--table", "orders", "--rows"],
    );
    assert_eq!(
        sorted(&of_orders),
        [
            "    + id=40 item=NULL price=NULL",
            "    - id=7 item='item 7' price=7",
            "    id=5: item 'item 5' \u{2192} 'it''s', price 5 \u{2192} 12.50",
            "    id=6: id 6 \u{2192} 30",
            "public.orders: 1 inserted, 2 updated, 1 deleted",
        ]
    );
    let of_log = differences(archive, &["mark:a", "mark:b", "--table", "log", "--rows"]);
    assert!(of_log.contains("who 'eve' \u{2192} 'e\\x1bve'"), "{of_log}");
    assert!(of_log.contains("    - who='bob' j='[1]'"), "{of_log}");
    let made = differences(archive, &["mark:a", "mark:b", "--table", "made", "--rows"]);
    assert!(made.contains("    + a=3"), "{made}");

    // For programs.
    let objects = objects(
        archive,
        &["mark:a", "mark:b", "--table", "orders", "--rows"],
    );
    assert_eq!(
        (&objects[0]["inserted"], &objects[0]["updated"]),
        (&1.into(), &2.into())
    );
    let updated = objects
        .iter()
        .find(|object| object["key"]["id"] == "5")
        .expect("it is there");
    assert_eq!(
        (&updated["row"], &updated["after"]["price"]),
        (&"updated".into(), &"12.50".into())
    );
    assert!(updated["after"].get("id").is_none(), "{updated}");

    // A table is called as at B, whatever it was called before.
    let renamed = differences(archive, &["mark:a", "mark:c", "--table", "sales"]);
    assert!(
        renamed.starts_with("public.sales: 1 inserted, 3 updated, 1 deleted\n"),
        "{renamed}"
    );
    assert!(
        renamed.contains("ALTER TABLE orders RENAME TO sales"),
        "{renamed}"
    );
    assert_eq!(differences(archive, &["mark:c", "now"]), "no differences\n");
    assert_eq!(differences(archive, &["now", "now"]), "no differences\n");

    for (options, status, message) in [
        (&["mark:b", "mark:a"][..], 2, "it ends before it begins"),
        (&["noonish", "now"], 2, "is not a moment"),
        (&["2020-01-01", "now"], 3, "no base at or before"),
        (&["mark:a", "2099-01-01"], 3, "the archive ends at"),
        (
            &["mark:a", "mark:b", "--table", "nothing"],
            2,
            "nothing matches",
        ),
        (&["mark:a", "mark:b", "--table", "gone"], 2, "was dropped"),
        (&["mark:a"], 2, "required arguments"),
    ] {
        let (found, _, error) = asked(archive, "diff", options);
        assert_eq!(found, status, "{options:?}: {error}");
        assert!(error.contains(message), "{options:?}: {error}");
    }
}
