//! "One row, and there is no backup any more." A value of which PostgreSQL itself can make no text leaves a
//! flag; the stream, the row and all others go on.

use crate::program_restore::restore;
use harness::{wait_until, Cluster};
use std::process::Command;

/// `deep(n)` nests too deep for the output function of its type, `id` and all else of the row are well.
const DEEP: &str = "CREATE FUNCTION deep() RETURNS tsquery[] LANGUAGE sql
      AS $$SELECT ARRAY[(repeat('a&', 20000) || 'a')::tsquery]$$;
    CREATE TABLE t (id int PRIMARY KEY, q tsquery[], note text)";

fn readable(comment: &str) -> String {
    let codes = [
        ("%20", " "),
        ("%28", "("),
        ("%29", ")"),
        ("%3D", "="),
        ("%2C", ","),
    ];
    codes.iter().fold(comment.to_owned(), |text, (code, sign)| {
        text.replace(code, sign)
    })
}

fn flags(c: &Cluster) -> Vec<String> {
    let mut flags = Vec::new();
    for segment in c.segments() {
        flags.extend(segment.comments("flag").into_iter().map(readable));
    }
    flags
}

/// The rows as they must come back: NULL where there was no text.
fn assert_restored(c: &Cluster, query: &str, expected: &str) {
    let restored = c.restore(&[]);
    assert_eq!(c.sql_in(&restored.database, query), expected);
    let said = restored.output;
    assert!(said.contains("that could not be carried exactly"), "{said}");
}

#[test]
fn a_row_without_a_text_keeps_its_place_and_leaves_a_flag() {
    let c = Cluster::backed_up();
    c.sql(DEEP);
    c.sql(
        "BEGIN; INSERT INTO t VALUES (1, deep(), 'first'), (2, '{a}', 'second');
         INSERT INTO t VALUES (3, '{b}', 'third'); COMMIT;
         UPDATE t SET note = 'changed' WHERE id = 1; UPDATE t SET q = deep() WHERE id = 2;
         UPDATE t SET q = deep() WHERE id = 3; DELETE FROM t WHERE id = 3",
    );
    c.flush();
    assert!(c.health().starts_with("warning"), "{}", c.health());
    let flags = flags(&c);
    assert_eq!(flags.len(), 3, "{flags:?}");
    for (flag, row) in flags.iter().zip(["INSERT", "UPDATE", "UPDATE"]) {
        assert!(
            flag.contains(&format!("{row} on public.t (id = ")),
            "{flag}"
        );
        assert!(flag.contains("stack depth limit"), "{flag}");
    }
    assert_restored(&c, "SELECT * FROM t ORDER BY id", "1||changed\n2||second");
}

#[test]
fn it_may_stand_among_rows_that_are_copied() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.copy_threshold", "3")
        .back_up();
    c.sql(DEEP);
    c.sql("INSERT INTO t SELECT i, CASE i WHEN 20 THEN deep() END, 'row' FROM generate_series(1, 40) i");
    c.flush();
    assert_eq!(flags(&c).len(), 1);
    assert_restored(
        &c,
        "SELECT count(*), count(DISTINCT id), count(q) FROM t",
        "40|40|0",
    );
}

#[test]
fn a_row_is_found_without_a_key_and_left_out_where_null_may_not_stand() {
    let c = Cluster::backed_up();
    c.sql(DEEP);
    c.sql(
        "CREATE TABLE keyless (id int, q tsquery[]); ALTER TABLE keyless REPLICA IDENTITY FULL;
         CREATE TABLE strict (id int PRIMARY KEY, q tsquery[] NOT NULL);
         INSERT INTO keyless VALUES (1, deep()), (1, '{a}'), (2, deep());
         UPDATE keyless SET id = 3 WHERE id = 2; DELETE FROM keyless WHERE ctid = '(0,1)'",
    );
    c.sql("INSERT INTO strict VALUES (1, '{a}'), (2, deep()), (3, '{b}')");
    c.flush();
    let flags = flags(&c).join("\n");
    assert!(flags.contains("strict (id = 2) is left out"), "{flags}");
    // A row that is left out makes it less than whole; no later base has a text for it either.
    assert!(
        c.health().contains("rows of table public.strict"),
        "{}",
        c.health()
    );
    let (status, said) = restore(&c, "in_part", &[]);
    assert_eq!(status, 1, "it is not whole: {said}");
    let rows = c.sql_in("in_part", "SELECT id FROM strict ORDER BY id");
    assert_eq!(rows, "1\n3");
    let rows = c.sql_in("in_part", "SELECT * FROM keyless ORDER BY id");
    assert_eq!(rows, "1|{'a'}\n3|");
}

#[test]
fn rows_of_that_kind_do_not_fill_the_log() {
    let c = Cluster::backed_up();
    c.sql(DEEP);
    c.sql("INSERT INTO t SELECT i, deep(), 'row' FROM generate_series(1, 30) i");
    c.flush();
    assert_eq!(flags(&c).len(), 30, "each has its flag");
    let log = c.log();
    let lines = log.matches("column q could not be output as text").count();
    assert!((1..=10).contains(&lines), "{lines} lines");
    assert!(
        log.contains("30 changes of one transaction are flagged in "),
        "{log}"
    );
}

/// The text of each level doubles the quotes of the one below.
#[test]
fn a_composite_nested_34_deep_is_passed() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE TYPE n0 AS (t text);
         DO $$BEGIN FOR i IN 1..34 LOOP EXECUTE format('CREATE TYPE n%s AS (v n%s)', i, i - 1); END LOOP; END$$;
         CREATE TABLE w (id int PRIMARY KEY, v n34)",
    );
    c.sql(
        r#"DO $$DECLARE e text := 'ROW(''"'')::n0'; BEGIN
           FOR i IN 1..34 LOOP e := format('ROW(%s)::n%s', e, i); END LOOP;
           EXECUTE 'INSERT INTO w VALUES (1, ' || e || '), (2, NULL)'; END$$"#,
    );
    c.sql("SELECT incr_flush('10 min')");
    let flags = flags(&c).join("\n");
    assert!(flags.contains("public.w (id = 1)"), "{flags}");
    assert_restored(&c, "SELECT id, v IS NULL FROM w ORDER BY id", "1|t\n2|t");
}

#[test]
fn the_reader_by_sql_functions_passes_it_too() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.reader", "poll")
        .back_up();
    c.sql(DEEP);
    c.sql("INSERT INTO t VALUES (1, deep(), 'first'), (2, '{a}', 'second')");
    c.flush();
    assert_eq!(flags(&c).len(), 1);
    assert_restored(&c, "SELECT id FROM t WHERE q IS NULL", "1");
}

#[test]
fn whoever_reads_the_plugin_himself_gets_a_comment_in_its_place() {
    let c = Cluster::backed_up();
    let mut session = c.session();
    session.run("SET output_plugin_libraries = pgoutput, test_decoding, pg_incrbackup");
    session.run("SELECT pg_create_logical_replication_slot('reader', 'pg_incrbackup')");
    c.sql(DEEP);
    c.sql("INSERT INTO t VALUES (1, deep(), 'first'), (2, '{a}', 'second')");
    let lines = session.run("SELECT data FROM pg_logical_slot_get_changes('reader', NULL, NULL)");
    assert!(
        lines.contains("-- INSERT on public.t (id = 1): column q could not be output as text"),
        "{lines}"
    );
    assert!(lines.contains("VALUES (1, null, 'first');"), "{lines}");
    assert!(lines.contains("VALUES (2, "), "{lines}");
}

#[test]
fn an_error_that_repeats_is_an_emergency_with_its_words() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY)");
    c.flush();
    let archive = c.archive_directory();
    let mode = |mode: &str| {
        let changed = Command::new("chmod").arg(mode).arg(&archive).status();
        assert!(changed.is_ok_and(|status| status.success()));
    };
    mode("000");
    c.slot("pg_terminate_backend(active_pid)");
    wait_until("health is an emergency", || {
        let health = c.health();
        health.starts_with("emergency") && health.contains("times in a row: ")
    });
    mode("700");
    wait_until("capture goes on", || !c.health().contains("times in a row"));
    c.sql("INSERT INTO t VALUES (1)");
    c.assert_restores();
}
