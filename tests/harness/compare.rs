//! Whether two databases are the same: pg_dump of both, schema and data, line by line, and the
//! exact position of every sequence.

use crate::installation::run;
use crate::Cluster;
use std::collections::BTreeMap;

/// How many differing lines of each side a failure shows.
const SHOWN: usize = 40;

/// How the lines of a dump begin that the source has and a restored database has not.
const LEFT_OUT: [&str; 4] = [
    "CREATE EXTENSION IF NOT EXISTS pg_incrbackup ",
    "COMMENT ON EXTENSION pg_incrbackup ",
    "\\restrict ",
    "\\unrestrict ",
];

/// Panics with a readable difference unless both databases hold the same.
///
/// Versions word the same definition differently, so a source of another version is first carried
/// to the target's by its own pg_dump and psql.
pub fn assert_identical(source: (&Cluster, &str), target: (&Cluster, &str)) {
    let reference = (source.0.version() != target.0.version()).then(|| carried(source, target.0));
    let mut contents = match &reference {
        Some(database) => Contents::of(target.0, database),
        None => Contents::of(source.0, source.1),
    };
    // pg_dump carries them less exactly than restore.sh does.
    contents.sequences = Some(sequences(source.0, source.1));
    contents.assert_restored(target.0, target.1);
}

/// What a database holds at one moment, to be compared with what is restored later.
pub struct Contents {
    lines: Lines,
    /// `None`: they may stand anywhere.
    sequences: Option<String>,
}

impl Contents {
    pub fn of(cluster: &Cluster, database: &str) -> Self {
        Self {
            lines: dumped_lines(cluster, database),
            sequences: Some(sequences(cluster, database)),
        }
    }

    /// At a point in the middle a sequence may stand past its value of that moment.
    pub fn without_sequences(self) -> Self {
        Self {
            sequences: None,
            ..self
        }
    }

    /// Panics with a readable difference unless that database holds the same.
    pub fn assert_restored(&self, target: &Cluster, database: &str) {
        let restored = Self::of(target, database);
        if let Some(difference) = difference(&self.lines, &restored.lines) {
            panic!("the restored database {database} differs from its source:\n{difference}");
        }
        if self.sequences.is_some() {
            assert_eq!(
                self.sequences, restored.sequences,
                "sequences differ (left: source, right: restored)"
            );
        }
    }
}

/// Restores the source's pg_dump into a database of `cluster`; returns its name.
fn carried((source, database): (&Cluster, &str), cluster: &Cluster) -> String {
    let name = format!("{database}_reference");
    cluster.sql_in(
        "postgres",
        &format!("CREATE DATABASE {name} TEMPLATE template0"),
    );
    let script = dump(source, database).join("\n");
    cluster.sql_in(&name, &script);
    name
}

/// Lines and how often each occurs, sorted; pg_dump's order depends on OIDs.
type Lines = BTreeMap<String, i64>;

fn dumped_lines(cluster: &Cluster, database: &str) -> Lines {
    let mut lines = Lines::new();
    // setval lines are compared as sequences.
    let meaningless = |line: &String| {
        line.is_empty() || line.starts_with("--") || line.starts_with("SELECT pg_catalog.setval(")
    };
    for line in dump(cluster, database) {
        if !meaningless(&line) {
            *lines.entry(line).or_default() += 1;
        }
    }
    lines
}

/// What pg_dump writes, line by line, but for our extension, which a restored database does not have
/// (`--extension=` would leave out event triggers, publications, casts and more besides), and for
/// \restrict, which carries a random key.
fn dump(cluster: &Cluster, database: &str) -> Vec<String> {
    let mut command = cluster.installation().command("pg_dump");
    command.args([
        "--no-unlogged-table-data",
        "-d",
        &cluster.conninfo(database),
    ]);
    let dump = String::from_utf8_lossy(&run(&mut command).stdout).into_owned();
    let is_left_out = |line: &&str| LEFT_OUT.iter().any(|start| line.starts_with(start));
    let lines = dump.lines().filter(|line| !is_left_out(line));
    lines.map(str::to_owned).collect()
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
