//! "My partitions are by hash of an enum, and the hash is another one at restore."

use harness::Cluster;

use crate::parts::{assert_nothing_left, restored};
use crate::program_restore::restore;

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

/// By list, with one part by hash of an enum and one by itself; and by hash of it from the root on.
const TREES: &str = "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
    CREATE TABLE days@ (i int, m mood, n int, PRIMARY KEY (i, m, n)) PARTITION BY LIST (i);
    CREATE TABLE days@_1 PARTITION OF days@ FOR VALUES IN (1) PARTITION BY HASH (m);
    CREATE TABLE days@_10 PARTITION OF days@_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE days@_11 PARTITION OF days@_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE days@_2 PARTITION OF days@ FOR VALUES IN (2);
    CREATE TABLE keyed@ (m mood, n int) PARTITION BY HASH (m);
    ALTER TABLE keyed@ REPLICA IDENTITY FULL;
    CREATE TABLE keyed@_0 PARTITION OF keyed@ FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE keyed@_1 PARTITION OF keyed@ FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE numbers@ (n int) PARTITION BY HASH (n);
    CREATE TABLE numbers@_0 PARTITION OF numbers@ FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE numbers@_1 PARTITION OF numbers@ FOR VALUES WITH (MODULUS 2, REMAINDER 1)";

const ROWS: &str = "INSERT INTO days@ SELECT i, m, n FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 2) i, generate_series(1, 5) n;
    INSERT INTO keyed@ SELECT m, n FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 5) n;
    INSERT INTO numbers@ SELECT generate_series(1, 50)";

const CHANGES: &str = "INSERT INTO days@ SELECT i, m, 100 FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 2) i;
    UPDATE days@ SET n = n + 1000 WHERE n = 2; DELETE FROM days@ WHERE n = 3;
    UPDATE keyed@ SET n = 77 WHERE n = 1; DELETE FROM keyed@ WHERE n = 2; DELETE FROM numbers@ WHERE n < 10";

#[test]
fn a_part_of_them_has_all_its_rows_or_is_refused() {
    let c = Cluster::backed_up();
    // One whose rows are in the base, and one that is made after it.
    c.sql(&TREES.replace('@', ""));
    c.sql(&ROWS.replace('@', ""));
    for format in ["directory", "plain"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
    }
    c.sql(&CHANGES.replace('@', ""));
    let (_, trees) = TREES.split_once(';').expect("the type is made once");
    for text in [trees, ROWS, CHANGES] {
        c.sql(&text.replace('@', "_new"));
    }
    c.flush();
    let bases = c.bases();
    let base = |nth: usize| {
        let name = bases[nth].file_name().map(|name| name.to_string_lossy());
        name.expect("it has a name").into_owned()
    };
    let (directory, plain) = (base(1), base(2));
    for (nth, name) in ["days_1", "days_2", "days", "keyed", "numbers_0"]
        .iter()
        .enumerate()
    {
        for (table, base) in [
            (format!("public.{name}"), &directory),
            (format!("public.{name}"), &plain),
            (format!("public.{}", name.replace('_', "_new_")), &plain),
            (format!("public.{}_new", name), &plain),
        ] {
            let is_there = c.sql(&format!("SELECT to_regclass('{table}') IS NOT NULL")) == "t";
            if !is_there {
                continue;
            }
            // The enum is made anew in one, and there already in the other.
            let database = format!("part{nth}");
            restored(&c, &database, &["--table", &table, "--base", base]);
            assert_eq!(
                rows(&c, &database, &table),
                rows(&c, "app", &table),
                "{table} {base}"
            );
            c.sql(&format!("DROP DATABASE {database}"));
            let moved = table.replace("public.", "beside.");
            restored(
                &c,
                "app",
                &["--table", &table, "--base", base, "--into-schema", "beside"],
            );
            assert_eq!(
                rows(&c, "app", &moved),
                rows(&c, "app", &table),
                "{moved} {base}"
            );
            c.sql("DROP SCHEMA beside CASCADE");
        }
    }
    let said = "is not in the archive: it is partitioned by hash of an enum";
    for options in [
        &["--table", "days_10"][..],
        &["--table", "days_new_11", "--dry-run"],
        &["--table", "keyed", "--exclude-table", "keyed_1"],
        &["--table", "keyed_0", "--data-only"],
    ] {
        let options = [
            options,
            &["--into-schema", "beside"][..usize::from(!options.contains(&"--data-only")) * 2],
        ];
        let (status, text) = restore(&c, "app", &options.concat());
        assert!(status == 1 && text.contains(said), "{options:?}: {text}");
        assert!(text.contains("Nothing was changed"), "{text}");
    }
    restored(
        &c,
        "app",
        &[
            "--table",
            "days_10",
            "--schema-only",
            "--into-schema",
            "beside",
        ],
    );
    let expected = rows(&c, "app", "keyed");
    let xid = c.sql("WITH gone AS (DELETE FROM keyed) SELECT pg_current_xact_id()");
    c.flush();
    restored(
        &c,
        "app",
        &["--table", "keyed", "--data-only", "--before-xid", &xid],
    );
    assert_eq!(rows(&c, "app", "keyed"), expected);
    assert_nothing_left(&c);
}
