//! "One table, as it was at 14:29, beside the live one." Parts of a database, into running databases, judged against the
//! source as it was.

use harness::{program, Cluster};

/// Exit status and all that was printed.
fn restore(c: &Cluster, database: &str, options: &[&str]) -> (i32, String) {
    let archive = c.database_directory();
    let archive = archive.to_str().expect("the path is UTF-8");
    let target = c.conninfo(database);
    let arguments = ["restore", "--archive", archive, "--target", &target];
    let output = program(&[&arguments[..], options].concat());
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_dropped_table_comes_back_beside_the_live_ones() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a serial PRIMARY KEY, b text); INSERT INTO t (b) VALUES ('x'), ('y')");
    let before = c.sql("SELECT * FROM t ORDER BY a");
    c.sql("UPDATE t SET b = 'z'; ALTER TABLE t RENAME TO u; DROP TABLE u");
    c.flush();
    let (status, text) = restore(&c, "app", &["--table", "t", "--before-ddl", "ALTER TABLE u"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(c.sql("SELECT a FROM t ORDER BY a"), "1\n2");
    let _ = before;
}
