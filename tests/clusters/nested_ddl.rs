//! "Half of it is missing." A function that changes the schema runs within a statement that does, too.

use harness::Cluster;

/// The bound of a partition is computed when the table is there, and its columns, but not the bound.
fn bounded_by(body: &str) -> Cluster {
    let c = Cluster::backed_up();
    c.sql(&format!(
        "CREATE FUNCTION bound(i int) RETURNS int LANGUAGE plpgsql AS $$BEGIN {body}; RETURN i; END$$;
         CREATE TABLE p (i int, t text DEFAULT 'x' CHECK (t <> '')) PARTITION BY RANGE (i)"
    ));
    c.sql("CREATE TABLE one PARTITION OF p FOR VALUES FROM (1) TO (bound(2))");
    c.sql("INSERT INTO p VALUES (1); UPDATE one SET t = 'y'");
    c.assert_restores();
    for kind in ["flag", "unhandled"] {
        let segments = c.segments();
        let found: Vec<_> = segments.iter().flat_map(|s| s.comments(kind)).collect();
        assert_eq!(found, [""; 0], "{kind}");
    }
    c
}

#[test]
fn a_partition_whose_bound_makes_a_table_is_attached() {
    bounded_by(
        "CREATE TABLE made (a int); INSERT INTO made VALUES (1); ALTER TABLE made ADD COLUMN b int",
    );
}

#[test]
fn a_partition_whose_bound_makes_and_updates_an_extension_is_attached() {
    let c = bounded_by(
        "CREATE EXTENSION seg VERSION '1.2'; CREATE TABLE made (s seg); ALTER EXTENSION seg UPDATE TO '1.3'",
    );
    c.sql("DROP TABLE p; DROP EXTENSION seg CASCADE");
    c.assert_restores();
}
