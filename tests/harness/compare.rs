//! Whether two databases are the same: pg_dump of both, schema and data, line by line, and the
//! exact position of every sequence; on request also what a dump does not show.

use crate::contents::{contents, sequences};
use crate::dump::{dump, dumped_lines, Lines, Scope};
use crate::Cluster;

/// How many differing lines of each side a failure shows.
const SHOWN: usize = 40;

/// One line that only one of two databases has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The object of the line, such as `TABLE public.t`.
    pub object: String,
    pub side: Side,
    pub line: String,
    /// How many more of them this side has.
    pub times: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Restored,
}

/// Panics with a readable difference unless both databases have the same contents.
///
/// Versions format the same definition differently, so a source of another version is first converted to the
/// target's by its own pg_dump and psql.
pub fn assert_identical(source: (&Cluster, &str), target: (&Cluster, &str)) {
    assert_all_identical(source, target.0, &[target.1]);
}

/// [`assert_identical`] for several databases of one cluster.
pub fn assert_all_identical(source: (&Cluster, &str), target: &Cluster, databases: &[&str]) {
    let reference = (source.0.version() != target.version()).then(|| carried(source, target));
    let mut contents = match &reference {
        Some(database) => Contents::of(target, database),
        None => Contents::of(source.0, source.1),
    };
    // pg_dump preserves them less exactly than a restore does.
    contents.sequences = Some(sequences(source.0, source.1));
    for database in databases {
        contents.assert_restored(target, database);
    }
}

/// The contents of a database at one time, to be compared with what is restored later.
pub struct Contents {
    lines: Lines,
    /// `None`: they may have any value.
    sequences: Option<String>,
}

impl Contents {
    pub fn of(cluster: &Cluster, database: &str) -> Self {
        Self {
            lines: dumped_lines(cluster, database, Scope::Contents),
            sequences: Some(sequences(cluster, database)),
        }
    }

    /// At an arbitrary point a sequence may be past its value at that time.
    pub fn without_sequences(self) -> Self {
        Self {
            sequences: None,
            ..self
        }
    }

    /// Panics with a readable difference unless that database has the same contents.
    pub fn assert_restored(&self, target: &Cluster, database: &str) {
        let restored = Self::of(target, database);
        let found = between(&self.lines, &restored.lines);
        if !found.is_empty() {
            panic!(
                "the restored database {database} differs from its source:\n{}",
                readable(&found)
            );
        }
        if self.sequences.is_some() {
            assert_eq!(
                self.sequences, restored.sequences,
                "sequences differ (left: source, right: restored)"
            );
        }
    }
}

/// All differences of two databases of the same version: their dumps with the properties of the databases
/// themselves, their sequences, a count and a checksum of every table's rows, and their large objects.
/// Ordered by object.
pub fn differences(source: (&Cluster, &str), target: (&Cluster, &str)) -> Vec<Difference> {
    let everything = |(cluster, database): (&Cluster, &str)| {
        let mut lines = dumped_lines(cluster, database, Scope::Everything);
        lines.extend(contents(cluster, database));
        lines
    };
    between(&everything(source), &everything(target))
}

/// Restores the source's pg_dump into a database of `cluster`; returns its name.
fn carried((source, database): (&Cluster, &str), cluster: &Cluster) -> String {
    let name = format!("{database}_reference");
    cluster.sql_in(
        "postgres",
        &format!("CREATE DATABASE {name} TEMPLATE template0"),
    );
    let script = dump(source, database, Scope::Contents).join("\n");
    cluster.sql_in(&name, &script);
    name
}

/// A database as lines that can be kept in a file: its definitions and rows in the format of this version's
/// pg_dump, each with its object and number of occurrences.
pub fn dumped(cluster: &Cluster, database: &str) -> Vec<String> {
    kept(&dumped_lines(cluster, database, Scope::Contents))
}

/// The same for what all versions format alike: positions of sequences, checksums of rows, large objects.
pub fn checksums(cluster: &Cluster, database: &str) -> Vec<String> {
    kept(&contents(cluster, database))
}

fn kept(lines: &Lines) -> Vec<String> {
    let line =
        |((object, line), times): (&(String, String), &i64)| format!("{object}\t{times}\t{line}");
    lines.iter().map(line).collect()
}

fn between(source: &Lines, restored: &Lines) -> Vec<Difference> {
    let surplus = |a: &Lines, b: &Lines, side: Side| {
        let more = |(key, count): (&(String, String), &i64)| {
            let times = count - b.get(key).copied().unwrap_or_default();
            let (object, line) = key.clone();
            (times > 0).then_some(Difference {
                object,
                side,
                line,
                times,
            })
        };
        a.iter().filter_map(more).collect::<Vec<_>>()
    };
    let mut found = surplus(source, restored, Side::Source);
    found.extend(surplus(restored, source, Side::Restored));
    // Stable: for each object, the source's lines stay first.
    found.sort_by(|a, b| a.object.cmp(&b.object));
    found
}

fn readable(found: &[Difference]) -> String {
    let of = |side| move |difference: &&Difference| difference.side == side;
    let lost = found.iter().filter(of(Side::Source));
    let gained = found.iter().filter(of(Side::Restored));
    let count = format!(
        "{} lines only in the source (-), {} only in the restored database (+)\n",
        lost.clone().count(),
        gained.clone().count()
    );
    let shown = lost.take(SHOWN).chain(gained.take(SHOWN));
    count
        + &shown
            .map(Difference::to_string)
            .collect::<Vec<_>>()
            .join("\n")
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.side {
            Side::Source => '-',
            Side::Restored => '+',
        };
        write!(f, "{sign} {}", self.line)?;
        match self.times {
            1 => Ok(()),
            times => write!(f, "   ({times} times)"),
        }
    }
}
