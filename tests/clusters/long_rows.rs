//! Rows whose text passes what PostgreSQL can read in one piece.

use harness::{run, Cluster};

/// A literal ends at 512 MB, a statement and a row of COPY at 1 GB. What fits is carried.
#[test]
fn rows_that_no_server_could_read_are_flagged_and_all_others_carried() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c bytea); INSERT INTO t VALUES (0, 'short')");
    let one_literal = "INSERT INTO t (id, a) SELECT 1, repeat('x', 540000000)";
    let together = "INSERT INTO t (id, a, b) SELECT 2, a, a FROM t WHERE id = 1";
    let output_fails = "INSERT INTO t (id, c) SELECT 3, convert_to(repeat('z', 540000000), 'UTF8')";
    let update = "UPDATE t SET a = (SELECT a FROM t WHERE id = 1) WHERE id = 0";
    for sql in [one_literal, together, output_fails, update] {
        c.sql(sql);
    }
    c.sql("INSERT INTO t VALUES (4, 'short'), (5, 'short')");
    c.sql("SELECT incr_flush('10 min')");
    assert!(
        c.health().contains("rows of table public.t"),
        "{}",
        c.health()
    );
    let flags = c.segments().into_iter();
    let flags = flags.map(|segment| segment.comments("flag").len());
    assert_eq!(flags.sum::<usize>(), 3);

    // Not by restore.sh: mawk would take an hour for the line.
    c.sql_in("postgres", "CREATE DATABASE other TEMPLATE template0");
    for segment in c.segments() {
        let mut psql = c.installation().command("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f"]);
        run(psql.arg(&segment.path).arg("-d").arg(c.conninfo("other")));
    }
    let rows = "SELECT id, length(a), md5(a) FROM t WHERE id NOT IN (0, 2, 3) ORDER BY id";
    assert_eq!(c.sql_in("other", rows), c.sql(rows));
    assert_eq!(c.sql_in("other", "SELECT a FROM t WHERE id = 0"), "short");
}
