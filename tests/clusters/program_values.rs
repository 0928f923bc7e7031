//! "A restore of a table with large documents was killed for lack of memory." The program has a line in memory less than
//! twice, whatever it does to a row, and restores it to the letter.

use harness::{program_command, wait_until_within, Cluster};
use std::process::{Child, Stdio};
use std::time::Duration;

/// What the program has in memory besides, in kB, in the build without optimisations that tests use.
const FIXED_KB: u64 = 32 * 1024;

/// Some 16 MB of what must be escaped, and of characters that a piece may cut.
const VALUE: &str = "repeat(E'it''s \\\\ \\n ä€𝄞 $1 x', 700 * 1024 + 300)";

fn start(c: &Cluster, database: &str, options: &[&str]) -> Child {
    let mut command = program_command();
    command.args(["restore", "--archive"]);
    command.arg(c.database_directory());
    command.args(["--target", &c.conninfo(database)]);
    command.args(options);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program can be run")
}

/// The most memory that the process has held, in kB, as long as it runs.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_long_line_is_in_memory_less_than_twice() {
    let c = Cluster::backed_up();
    c.sql(&format!(
        "CREATE TABLE v (id int PRIMARY KEY, a text); CREATE TABLE f (id int, a text, b jsonb);
         ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE v ALTER a SET STORAGE EXTERNAL;
         INSERT INTO v SELECT i, {VALUE} FROM generate_series(1, 3) i;
         UPDATE v SET a = a || 'ü' WHERE id = 2; UPDATE v SET id = 7 WHERE id = 1;
         INSERT INTO f SELECT i, left({VALUE}, 6000000), to_jsonb({VALUE}) FROM generate_series(1, 2) i;
         UPDATE f SET a = 'short' WHERE id = 1; DELETE FROM f WHERE id = 2"
    ));
    c.flush();
    let query = "SELECT string_agg(id || md5(a), ' ' ORDER BY id) FROM v
        UNION ALL SELECT string_agg(id || md5(a) || md5(b::text), ' ') FROM f";
    let expected = c.sql(query);
    // An UPDATE of f has a value twice.
    let stream = c.stream();
    let longest = stream.lines().map(str::len).max().unwrap_or(0) as u64 / 1024;
    drop(stream);
    for (database, options) in [("whole", &[][..]), ("part", &["--schema", "public"])] {
        let mut child = start(&c, database, options);
        let (pid, mut most) = (child.id(), 0);
        wait_until_within(Duration::from_secs(300), "the restore ends", || {
            most = most.max(peak(pid).unwrap_or(0));
            child.try_wait().is_ok_and(|status| status.is_some())
        });
        let output = child.wait_with_output().expect("it was started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(c.sql_in(database, query), expected, "{database}");
        let limit = 2 * longest + FIXED_KB;
        assert!(most > 0 && most < limit, "{database}: {most} kB of {limit}");
    }
}
