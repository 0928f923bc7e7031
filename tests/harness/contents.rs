//! What pg_dump does not show of a database's contents, or only line by line: positions of sequences,
//! computed rows (of materialized views, generated columns), complete large objects.

use crate::dump::Lines;
use crate::Cluster;

/// The settings for reading a database: the same text for the same value, whatever is set for the database.
const FIXED: &str = "SET search_path = ''; SET DateStyle = ISO; SET IntervalStyle = postgres;
    SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C';
    SET row_security = off; SET default_transaction_read_only = off; SET statement_timeout = 0;";

/// Relations that a restored database must have, too: permanent, and not the extension's.
const IS_RESTORED: &str = "c.relpersistence = 'p'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')";

/// Name, last value and is_called of every sequence that is not the extension's.
pub(crate) fn sequences(cluster: &Cluster, database: &str) -> String {
    let query = format!(
        "SELECT pg_catalog.format('SELECT %L, last_value, is_called FROM %s', c.oid::regclass, c.oid::regclass)
         FROM pg_catalog.pg_class c WHERE c.relkind = 'S' AND {IS_RESTORED}
         ORDER BY c.oid::regclass::text COLLATE \"C\" \\gexec"
    );
    cluster.sql_in(database, &format!("{FIXED} {query}"))
}

/// Sequences, a count and a checksum of every table's own rows, and large objects.
pub(crate) fn contents(cluster: &Cluster, database: &str) -> Lines {
    let mut lines = Lines::new();
    let mut add = |object: &str, text: &str| {
        for line in text.lines() {
            let key = (object.to_owned(), line.to_owned());
            *lines.entry(key).or_default() += 1;
        }
    };
    add("SEQUENCE POSITIONS", &sequences(cluster, database));
    add("ROWS (count, checksum)", &rows(cluster, database));
    add("LARGE OBJECTS", &large_objects(cluster, database));
    lines
}

/// If the rows of a table cannot be read, because a computed column fails, they must fail in the same way.
fn rows(cluster: &Cluster, database: &str) -> String {
    let query = format!(
        "\\unset ON_ERROR_STOP
         SELECT pg_catalog.format('SELECT %L, pg_catalog.count(*), pg_catalog.sum(
                pg_catalog.hashtextextended(pg_incrbackup_row::pg_catalog.text, 0)) FROM ONLY %s AS pg_incrbackup_row',
                c.oid::regclass, c.oid::regclass)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND {IS_RESTORED}
           AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \\gexec"
    );
    let output = cluster.psql_bytes(database, format!("{FIXED}\n{query}").as_bytes());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = errors.lines().filter_map(|line| line.split_once("ERROR: "));
    let errors: Vec<_> = errors.map(|(_, message)| message).collect();
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors.join("\n")
}

fn large_objects(cluster: &Cluster, database: &str) -> String {
    let query = "SELECT 'large object ' || m.oid, m.lomowner::pg_catalog.regrole, m.lomacl,
            pg_catalog.md5(pg_catalog.lo_get(m.oid)) AS content
        FROM pg_catalog.pg_largeobject_metadata m";
    cluster.sql_in(database, &format!("{FIXED} {query}"))
}
