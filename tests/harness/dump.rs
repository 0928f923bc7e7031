//! A database as pg_dump describes it: lines, each with the object that it belongs to.

use crate::installation::run;
use crate::Cluster;
use std::collections::BTreeMap;

/// The number of occurrences of each line in each object. Unordered: pg_dump's order depends on OIDs, and a
/// table's rows have none.
pub(crate) type Lines = BTreeMap<(String, String), i64>;

/// The part of a database that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Schema and data.
    Contents,
    /// The properties of the database itself as well (`--create`).
    Everything,
}

/// Prefixes of lines of a dump that only the source has.
const LEFT_OUT: [&str; 4] = [
    "CREATE EXTENSION IF NOT EXISTS pg_incrbackup ",
    "COMMENT ON EXTENSION pg_incrbackup ",
    "\\restrict ",
    "\\unrestrict ",
];

/// pg_dump's own comments. Other comments are part of function bodies and belong to the dump.
const COMMENTS: [&str; 6] = [
    "-- Name: ",
    "-- Data for Name: ",
    "-- PostgreSQL database dump",
    "-- Dumped from database version ",
    "-- Dumped by pg_dump version ",
    "-- Statistics for Name: ",
];

/// Settings that apply to all following objects that have a tablespace or an access method.
const SETTINGS: [&str; 2] = [
    "SET default_tablespace = ",
    "SET default_table_access_method = ",
];

/// pg_dump's output, line by line, without our extension, which a restored database does not have
/// (`--extension=` would also omit event triggers, publications, casts and more), and without \restrict,
/// which has a random key.
pub(crate) fn dump(cluster: &Cluster, database: &str, scope: Scope) -> Vec<String> {
    let mut command = cluster.installation().command("pg_dump");
    command.args(["--no-unlogged-table-data", "-d"]);
    command.arg(cluster.conninfo(database));
    if scope == Scope::Everything {
        command.arg("--create");
    }
    let dump = String::from_utf8_lossy(&run(&mut command).stdout).into_owned();
    let is_left_out = |line: &&str| LEFT_OUT.iter().any(|start| line.starts_with(start));
    let lines = dump.lines().filter(|line| !is_left_out(line));
    lines.map(str::to_owned).collect()
}

pub(crate) fn dumped_lines(cluster: &Cluster, database: &str, scope: Scope) -> Lines {
    let mut reader = Reader::new(database);
    for line in dump(cluster, database, scope) {
        reader.take(line);
    }
    reader.lines
}

/// Assigns the lines of a dump to objects.
struct Reader {
    database: String,
    object: String,
    settings: [String; 2],
    lines: Lines,
}

impl Reader {
    fn new(database: &str) -> Self {
        Self {
            database: format!(" DATABASE {database}"),
            object: String::new(),
            // Values before the first SET, which comes with the first table that is not partitioned.
            settings: [String::new(), format!("{}heap;", SETTINGS[1])],
            lines: Lines::new(),
        }
    }

    fn take(&mut self, line: String) {
        if let Some(at) = SETTINGS.iter().position(|start| line.starts_with(start)) {
            self.settings[at] = line;
        } else if COMMENTS.iter().any(|start| line.starts_with(start)) {
            self.begin(&line);
        } else if !self.is_meaningless(&line) {
            self.put(line);
        }
    }

    fn begin(&mut self, comment: &str) {
        let Some(Header { name, kind, schema }) = Header::parse(comment) else {
            return;
        };
        self.object = if kind.starts_with("DATABASE") || name.starts_with("DATABASE ") {
            "DATABASE".into()
        } else if kind.starts_with("BLOB") {
            // Large objects come in groups, which depend on the other objects.
            "LARGE OBJECTS".into()
        } else {
            format!("{kind} {schema}.{name}")
        };
        let is_definition = !comment.starts_with("-- Data for ");
        if is_definition && ["TABLE", "INDEX", "CONSTRAINT", "MATERIALIZED VIEW"].contains(&kind) {
            for setting in self.settings.clone() {
                self.put(setting);
            }
        }
    }

    fn put(&mut self, line: String) {
        let line = match self.object.as_str() {
            "DATABASE" => line.replacen(&self.database, " DATABASE :dbname", 1),
            _ => line,
        };
        let object = self.object.clone();
        *self.lines.entry((object, line)).or_default() += 1;
    }

    /// Positions of sequences are compared separately.
    fn is_meaningless(&self, line: &str) -> bool {
        line.is_empty()
            || line == "--"
            || line.starts_with("SELECT pg_catalog.setval(")
            || (self.object == "DATABASE" && line.starts_with("\\connect "))
    }
}

/// pg_dump's comment before an object's lines.
struct Header<'a> {
    name: &'a str,
    kind: &'a str,
    schema: &'a str,
}

impl<'a> Header<'a> {
    /// `-- Name: t; Type: TABLE; Schema: public; Owner: postgres`
    fn parse(comment: &'a str) -> Option<Self> {
        let (_, rest) = comment.split_once("Name: ")?;
        let (name, rest) = rest.split_once("; Type: ")?;
        let (kind, rest) = rest.split_once("; Schema: ")?;
        let (schema, _) = rest.split_once(';')?;
        Some(Self { name, kind, schema })
    }
}
