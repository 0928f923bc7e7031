//! "My partitions are by hash of an enum, and the hash is another one at restore."

use harness::Cluster;

/// All rows, whatever partition they stand in.
fn rows(c: &Cluster, database: &str, table: &str) -> String {
    c.sql_in(
        database,
        &format!("SELECT t::text FROM {table} t ORDER BY 1"),
    )
}

#[test]
fn rows_of_partitions_by_hash_of_an_enum_go_through_the_root() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
         CREATE TABLE keyed (m mood, i int, PRIMARY KEY (m, i)) PARTITION BY HASH (m);
         CREATE TABLE keyless (j json, m mood, i int) PARTITION BY LIST (i);
         CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES IN (1) PARTITION BY HASH (m)",
    );
    for part in 0..4 {
        c.sql(&format!(
            "CREATE TABLE keyed_{part} PARTITION OF keyed FOR VALUES WITH (MODULUS 4, REMAINDER {part});
             CREATE TABLE keyless_1{part} (dropped int, i int, m mood, j json);
             ALTER TABLE keyless_1{part} DROP COLUMN dropped;
             ALTER TABLE keyless_1 ATTACH PARTITION keyless_1{part} FOR VALUES WITH (MODULUS 4, REMAINDER {part})"
        ));
    }
    let all = "unnest(enum_range(NULL::mood)) m";
    c.sql(&format!(
        "INSERT INTO keyed SELECT m, i FROM {all}, generate_series(1, 20) i;
         INSERT INTO keyless SELECT '{{\"a\": 1}}', m, 1 FROM {all}, generate_series(1, 10);
         UPDATE keyed SET i = i + 100 WHERE i > 10; DELETE FROM keyed WHERE i = 105 OR m = 'c';
         UPDATE keyed SET m = 'c' WHERE i = 110 AND m = 'a';
         DELETE FROM keyless WHERE m = 'b';
         UPDATE keyless SET j = '2' WHERE ctid = (SELECT max(ctid) FROM keyless WHERE m = 'a') AND m = 'a';
         CREATE TABLE truncated (LIKE keyed INCLUDING ALL) PARTITION BY HASH (m);
         CREATE TABLE truncated_0 PARTITION OF truncated FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         INSERT INTO truncated SELECT * FROM keyed; TRUNCATE truncated; INSERT INTO truncated VALUES ('a', 1)"
    ));
    c.flush();
    // More enums first: the types of the restored database have other OIDs in any case.
    for restored in [c.restore_by_script(&c, &[]), c.restore_by_program(&c, &[])] {
        for table in ["keyed", "keyless", "truncated"] {
            let restored = rows(&c, &restored.database, table);
            assert_eq!(restored, rows(&c, c.database(), table), "{table}");
            assert!(!restored.is_empty());
        }
    }
    assert!(c.stream().contains("INSERT INTO public.keyed ("));
}

#[test]
fn truncating_one_of_them_alone_is_flagged() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (m mood) PARTITION BY HASH (m);
         CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO t VALUES ('a'), ('b'); TRUNCATE t0",
    );
    c.flush();
    assert!(c
        .stream()
        .contains(" flag reason=TRUNCATE%20of%20public.t0"));
}
