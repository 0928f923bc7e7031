//! Whether two databases are the same: pg_dump of both, schema and data, line by line, and the
//! exact position of every sequence.

use crate::installation::{run, Installation};
use crate::Cluster;
use std::collections::BTreeMap;

/// How many differing lines of each side a failure shows.
const SHOWN: usize = 40;

/// Panics with a readable difference unless both databases hold the same.
pub fn assert_identical(source: (&Cluster, &str), target: (&Cluster, &str)) {
    if source.0.version() != target.0.version() {
        // Versions word the same definition differently. What pg_dump itself carries over is the
        // measure then.
        let carried = carry_over(source, target.0);
        return assert_identical((target.0, &carried), target);
    }
    let (left, right) = (dumped_lines(source), dumped_lines(target));
    if let Some(difference) = difference(&left, &right) {
        panic!(
            "the restored database {} differs from its source:\n{difference}",
            target.1
        );
    }
    let (left, right) = (sequences(source.0, source.1), sequences(target.0, target.1));
    assert_eq!(
        left, right,
        "sequences differ (left: source, right: restored)"
    );
}

/// Lines and how often each occurs, sorted; pg_dump's order depends on OIDs.
type Lines = BTreeMap<String, i64>;

/// A new database of `to` with what pg_dump of the source's version makes of the source.
fn carry_over(source: (&Cluster, &str), to: &Cluster) -> String {
    let database = to.next_restore_name();
    to.sql_in("postgres", &format!("CREATE DATABASE {database}"));
    let output = to.psql_bytes(&database, &dump(source));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    database
}

/// What pg_dump of its own version writes for a database, without our extension.
fn dump((cluster, database): (&Cluster, &str)) -> Vec<u8> {
    let program = cluster.installation();
    let mut command = program.command("pg_dump");
    command.args(["--no-unlogged-table-data", "-d"]);
    command.arg(cluster.conninfo(database));
    command.args(without_our_extension(program, cluster, database));
    run(&mut command).stdout
}

fn dumped_lines(database: (&Cluster, &str)) -> Lines {
    let dump = String::from_utf8_lossy(&dump(database)).into_owned();
    let mut lines = Lines::new();
    // \restrict carries a random key; setval lines are compared as sequences.
    let meaningless = |line: &&str| {
        line.is_empty()
            || line.starts_with("--")
            || line.starts_with("\\restrict")
            || line.starts_with("\\unrestrict")
            || line.starts_with("SELECT pg_catalog.setval(")
    };
    for line in dump.lines().filter(|line| !meaningless(line)) {
        *lines.entry(line.to_string()).or_default() += 1;
    }
    lines
}

/// pg_dump's options that leave pg_incrbackup out: before 17, by naming every other extension.
/// plpgsql is always among them: pg_dump refuses a list that matches nothing.
fn without_our_extension(program: &Installation, cluster: &Cluster, database: &str) -> Vec<String> {
    if program.version >= 17 {
        return vec!["--exclude-extension=pg_incrbackup".into()];
    }
    let others = "SELECT quote_ident(extname) FROM pg_extension WHERE extname <> 'pg_incrbackup'";
    let others = cluster.sql_in(database, others);
    others
        .lines()
        .map(|extension| format!("--extension={extension}"))
        .collect()
}

/// Name, last value and is_called of every sequence that is not the extension's.
fn sequences(cluster: &Cluster, database: &str) -> String {
    let query = "SELECT format('SELECT %L, last_value, is_called FROM %s', c.oid::regclass, c.oid::regclass)
        FROM pg_class c
        WHERE c.relkind = 'S' AND c.relpersistence = 'p'
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY c.oid::regclass::text COLLATE \"C\"";
    cluster.sql_in(database, &format!("SET search_path = ''; {query} \\gexec"))
}

fn difference(left: &Lines, right: &Lines) -> Option<String> {
    let surplus = |a: &Lines, b: &Lines, sign: char| {
        let more = |(line, count): (&String, &i64)| {
            let surplus = count - b.get(line).copied().unwrap_or_default();
            (surplus > 0).then(|| format!("{sign} {line}{}", times(surplus)))
        };
        a.iter().filter_map(more).collect::<Vec<_>>()
    };
    let (lost, gained) = (surplus(left, right, '-'), surplus(right, left, '+'));
    if lost.is_empty() && gained.is_empty() {
        return None;
    }
    let count = format!(
        "{} lines only in the source (-), {} only in the restored database (+)\n",
        lost.len(),
        gained.len()
    );
    let shown = lost
        .into_iter()
        .take(SHOWN)
        .chain(gained.into_iter().take(SHOWN));
    Some(count + &shown.collect::<Vec<_>>().join("\n"))
}

fn times(count: i64) -> String {
    match count {
        1 => String::new(),
        _ => format!("   ({count} times)"),
    }
}
