//! The rows of a database as counts and checksums: one for each table, independent of the order of its rows.
//!
//! Both sides are queried by psql with the same script, so that a value has the same text on both. What a
//! restore does not reproduce exactly is left out: sequences (they may be ahead), unlogged tables,
//! materialized views (they are refreshed), tables of extensions, virtual generated columns. Columns are
//! compared by name: the position of an inherited one may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use pgrx::prelude::*;

use super::client::{self, TELLS_CODES};
use crate::pg::failure::Failure;

/// The sum of hashes does not depend on the order; the hash of a row's text is the same on another machine
/// and version (partitions by hash rely on it).
const TABLES: &str = "FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d \
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')";

/// The same text for the same value, whatever is set for the database or the role.
const SETTINGS: &str = "SET search_path = ''; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres; \
    SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C'; \
    SET xmloption = content; SET row_security = off; SET default_transaction_read_only = off; SET jit = off;\n";

/// Reading a large object as one value takes up to 1 GB; of a larger one only its existence is compared.
const LARGE_OBJECTS: &str = "SELECT count(*), coalesce(sum(hashtextextended(m.oid || ' ' || \
    CASE WHEN (SELECT max(pageno) FROM pg_largeobject AS p WHERE p.loid = m.oid) >= 400000 THEN '' \
      ELSE md5(lo_get(m.oid)) END, 0)), 0), 0, 'large objects' FROM pg_largeobject_metadata AS m;\n";

/// The name of the line of large objects; no table has such a name.
const NO_TABLE: &str = "large objects";

/// Count and checksum of the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sum {
    rows: u64,
    checksum: String,
    /// The checksum differs on another server.
    oid: u32,
}

impl Sum {
    fn is_as(&self, other: &Sum) -> bool {
        (self.rows, &self.checksum) == (other.rows, &other.checksum)
    }
}

/// The contents of a database.
pub struct Contents {
    tables: BTreeMap<String, Sum>,
}

impl Contents {
    /// Reads all of it, under an exported snapshot if one is given; `on_table` gets the name and the OID of each table that is
    /// read. 58000 if the server could not.
    pub fn read(
        conninfo: impl AsRef<OsStr>,
        version: u32,
        snapshot: Option<&str>,
        mut on_table: impl FnMut(&str, u32),
    ) -> Result<Contents, Failure> {
        let output = client::sql_by_line(conninfo, version, &script(snapshot), |said| {
            let said = String::from_utf8_lossy(said);
            if let Some((name, sum)) = line(said.trim_end_matches('\n')) {
                on_table(&name, sum.oid);
            }
        })?;
        let text = String::from_utf8_lossy(&output);
        let tables = text.lines().filter(|line| !line.is_empty()).map(line);
        let tables: Option<BTreeMap<String, Sum>> = tables.collect();
        let tables = tables.ok_or_else(|| {
            let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
            Failure::new(code, "could not parse a checksum in the output of psql")
                .detail(text.lines().take(3).collect::<Vec<_>>().join("; "))
        })?;
        Ok(Contents { tables })
    }

    /// The number of tables, and of rows in all of them, without those that are left out.
    pub fn counts(&self, left_out: &BTreeSet<u32>) -> (u64, u64) {
        let tables = self.tables.iter();
        let tables = tables.filter(|(name, sum)| *name != NO_TABLE && !left_out.contains(&sum.oid));
        tables.fold((0, 0), |(count, rows), (_, sum)| {
            (count + 1, rows + sum.rows)
        })
    }

    /// The OID that a table of this name has here; 0 for the large objects.
    pub fn oid_of(&self, name: &str) -> Option<u32> {
        self.tables.get(name).map(|sum| sum.oid)
    }

    /// The differences of `restored`, as text; those of tables in `left_out` separately.
    pub fn differences(&self, restored: &Contents, left_out: &BTreeSet<u32>) -> Vec<String> {
        let mut found = Vec::new();
        let compared = self.tables.iter();
        for (name, sum) in compared.filter(|(_, sum)| !left_out.contains(&sum.oid)) {
            match restored.tables.get(name) {
                None => found.push(format!("{name} is missing, {} rows", sum.rows)),
                Some(other) if other.rows != sum.rows => found.push(format!(
                    "{name} has {} rows, {} at the source",
                    other.rows, sum.rows
                )),
                Some(other) if !other.is_as(sum) => {
                    found.push(format!(
                        "{name} has the same number of rows, but different contents ({})",
                        sum.rows
                    ));
                }
                Some(_) => {}
            }
        }
        let surplus = restored.tables.iter();
        let surplus = surplus.filter(|(name, _)| !self.tables.contains_key(*name));
        found.extend(surplus.map(|(name, sum)| {
            format!("{name} exists ({} rows), but not at the source", sum.rows)
        }));
        found
    }
}

/// OIDs of the tables that are read. Needs a transaction.
pub fn tables() -> Result<Vec<pg_sys::Oid>, Failure> {
    let query = format!("SELECT c.oid {TABLES}");
    Spi::connect(|client| {
        let rows = client.select(&query, None, &[])?;
        rows.filter_map(|row| row.get::<pg_sys::Oid>(1).transpose())
            .collect::<Result<Vec<_>, pgrx::spi::Error>>()
    })
    .map_err(Failure::from)
}

/// Each table returns a line: rows, checksum, its OID, its name as JSON (a name may contain line ends).
fn script(snapshot: Option<&str>) -> String {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n";
    let import = snapshot.map_or_else(String::new, |name| {
        format!("SET TRANSACTION SNAPSHOT '{name}';\n")
    });
    format!(
        "{TELLS_CODES}{SETTINGS}{begin}{import}SELECT format('SELECT count(*), coalesce(sum(hashtextextended(ROW(%s)::text, 0)), 0), %s, %L \
            FROM ONLY %s AS incr_row', \
            (SELECT string_agg(format('incr_row.%I', attname), ', ' ORDER BY attname) FROM pg_attribute \
              WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v'), \
            c.oid, to_json(c.oid::regclass::text)::text, c.oid::regclass) {TABLES} \\gexec\n{LARGE_OBJECTS}COMMIT;\n"
    )
}

fn line(line: &str) -> Option<(String, Sum)> {
    let mut parts = line.splitn(4, '|');
    let rows = parts.next()?.parse().ok()?;
    let checksum = parts.next()?.to_string();
    let oid = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let name = serde_json::from_str(name).unwrap_or_else(|_| name.to_string());
    Some((
        name,
        Sum {
            rows,
            checksum,
            oid,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Contents {
        let tables = lines.iter().map(|text| line(text).expect("a line"));
        Contents {
            tables: tables.collect(),
        }
    }

    #[test]
    fn every_kind_of_difference_is_said_and_names_may_hold_anything() {
        let source = of(&[
            "2|17|5|\"public.a\"",
            "1|-5|6|\"public.\\\"b|\\n\\\"\"",
            "0|0|0|large objects",
            "3|1|8|\"c\"",
        ]);
        let nothing = BTreeSet::new();
        assert_eq!(source.counts(&nothing), (3, 6));
        assert_eq!(source.counts(&[8].into()), (2, 3));
        assert!(source.differences(&source, &nothing).is_empty());
        let restored = of(&[
            "2|18|9|\"public.a\"",
            "2|-5|7|\"public.\\\"b|\\n\\\"\"",
            "0|0|0|large objects",
            "9|1|4|\"d\"",
        ]);
        assert_eq!(
            source.differences(&restored, &nothing),
            [
                "c is missing, 3 rows",
                "public.\"b|\n\" has 2 rows, 1 at the source",
                "public.a has the same number of rows, but different contents (2)",
                "d exists (9 rows), but not at the source",
            ]
        );
    }
}
