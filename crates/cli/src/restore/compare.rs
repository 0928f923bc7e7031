//! `--compare`: the restored database against its source, by a checksum of each table.
//!
//! The source is read first, in one short transaction: its tables under one snapshot. What that snapshot sees is then what
//! is restored, so that a busy source and a long restore do not matter. Checksums do not depend on the order of rows, nor
//! on the version of the server: both sides compute them by the same queries, under the same settings.

use std::collections::BTreeMap;

use archive::layout::ChainInfo;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::Row;

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::{ident, shown};
use crate::restore::plan::Seen;

/// A value has the same text everywhere.
const SETTINGS: &str =
    "SET search_path = ''; SET IntervalStyle = postgres; SET extra_float_digits = 3; \
    SET bytea_output = hex; SET lc_monetary = 'C'; SET xmloption = content; SET jit = off";

/// Tables that are compared, as drills do: permanent, and nobody's but the user's. Partitions count as one with their root, since
/// rows may be in another one. Columns are in the order of their names, which is the same everywhere.
const TABLES: &str = "SELECT textsend(format('%I.%I', nspname, relname)), convert_to(format(\
        'SELECT count(*), coalesce(sum(hashtextextended(ROW(%s)::text, 0)), 0)::text FROM %s %I.%I AS incr_row', \
        (SELECT string_agg(format('incr_row.%I', attname), ', ' ORDER BY attname COLLATE \"C\") FROM pg_attribute \
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v'), \
        CASE relkind WHEN 'r' THEN 'ONLY' ELSE '' END, nspname, relname), current_setting('client_encoding')) \
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace \
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence = 'p' \
        AND nspname !~ '^pg_' AND nspname <> ALL ('{information_schema,incr_restore}') \
        AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e') \
    ORDER BY nspname, relname";

/// Of a large object that is longer than 1 GB only the existence is compared.
const LARGE_OBJECTS: &str = "SELECT count(*), coalesce(sum(hashtextextended(m.oid || ' ' || \
        CASE WHEN (SELECT max(pageno) FROM pg_largeobject AS p WHERE p.loid = m.oid) >= 400000 THEN '' \
        ELSE md5(lo_get(m.oid)) END, 0)), 0)::text FROM pg_largeobject_metadata AS m";

const SEQUENCES: &str =
    "SELECT textsend(format('%I.%I', schemaname, sequencename)), last_value, increment_by > 0 \
    FROM pg_sequences WHERE schemaname !~ '^pg_' ORDER BY 1";

/// The name of the line of large objects; no table has such a name.
const NO_TABLE: &str = "large objects";

/// How often the tables are looked at again if one of them goes meanwhile.
const ATTEMPTS: u32 = 10;

/// What a database has: for each table its rows and their checksum, and where its sequences are.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    tables: BTreeMap<String, (i64, String)>,
    /// The last value, and whether it counts up.
    sequences: BTreeMap<String, (Option<i64>, bool)>,
}

/// The source at a moment.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub system_identifier: String,
    pub database_oid: u32,
    /// As pg_current_snapshot() has it.
    snapshot: String,
    /// Nothing that the snapshot sees is behind it.
    lsn: String,
    contents: Contents,
}

impl Source {
    /// Reads it, and has what was committed so far written to its archive.
    pub async fn read(conninfo: &str) -> Result<Source> {
        let session = Session::open(conninfo, None).await?;
        session.client.batch_execute(SETTINGS).await?;
        // A sequence is in no snapshot: what its values were before is in the files before what the snapshot sees.
        let mut sequences = sequences(&session).await?;
        flush(&session).await?;
        for _ in 0..ATTEMPTS {
            match Source::at_once(&session).await {
                Err(Error::Server(error)) if is_of_concurrency(&error) => {
                    session.client.batch_execute("ROLLBACK").await?;
                }
                read => {
                    let mut source = read?;
                    let later = &source.contents.sequences;
                    sequences.retain(|name, _| later.contains_key(name));
                    source.contents.sequences = sequences;
                    flush(&session).await?;
                    return Ok(source);
                }
            }
        }
        let message =
            "the source of --compare could not be read: its tables are dropped again and again";
        Err(Error::failed(message, "Try again when less happens there."))
    }

    async fn at_once(session: &Session) -> Result<Source> {
        const LOCKED: &str = "SELECT convert_to(string_agg(format('%I.%I', nspname, relname), ', '), \
            current_setting('client_encoding')) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace \
            WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND nspname !~ '^pg_' AND nspname <> 'information_schema'";
        const WHERE: &str = "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, (SELECT oid FROM pg_database \
            WHERE datname = current_database()), (SELECT system_identifier::text FROM pg_control_system())";
        let client = &session.client;
        let tables: Option<Vec<u8>> = client.query_typed(LOCKED, &[]).await?[0].get(0);
        // A TRUNCATE between the snapshot and the reading would empty what the snapshot sees.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        client.batch_execute(begin).await?;
        if let Some(tables) = tables {
            let lock = [b"LOCK TABLE ", &tables[..], b" IN ACCESS SHARE MODE"];
            session.statement(&lock.concat()).await?;
        }
        let rows = client.query_typed(WHERE, &[]).await?;
        let source = Source {
            snapshot: rows[0].get(0),
            lsn: rows[0].get(1),
            database_oid: rows[0].get(2),
            system_identifier: rows[0].get(3),
            contents: Contents::read(session).await?,
        };
        client.batch_execute("COMMIT").await?;
        Ok(source)
    }

    /// What a restore must apply.
    pub fn seen(&self) -> Result<Seen> {
        Seen::parse(&self.snapshot, &self.lsn)
    }

    /// Fails unless the archive is this database's.
    pub fn ensure_of(&self, chain: &ChainInfo) -> Result<()> {
        let is_same_server = self.system_identifier == chain.system_identifier.to_string();
        if is_same_server && self.database_oid == chain.database_oid {
            return Ok(());
        }
        let message = format!(
            "the archive is not that of the database of --compare: its server has the system identifier {}, and the \
             database the OID {}",
            chain.system_identifier, chain.database_oid
        );
        Err(Error::wrong_use(
            message,
            "Name the database that the archive was written for.",
        ))
    }

    /// What of the restored database is different, a sentence each.
    pub async fn compare(&self, session: &Session) -> Result<Vec<String>> {
        session.client.batch_execute(SETTINGS).await?;
        Ok(self.contents.differences(&Contents::read(session).await?))
    }

    /// The number of tables, and of rows in them.
    pub fn figures(&self) -> (usize, i64) {
        let tables = self.contents.tables.iter();
        let tables = tables.filter(|(name, _)| *name != NO_TABLE);
        tables.fold((0, 0), |(count, all), (_, (rows, _))| {
            (count + 1, all + rows)
        })
    }
}

impl Contents {
    async fn read(session: &Session) -> Result<Contents> {
        let client = &session.client;
        let mut contents = Contents::default();
        for table in client.query_typed(TABLES, &[]).await? {
            let (name, query): (&[u8], &[u8]) = (table.get(0), table.get(1));
            let row = one(session, query).await?;
            contents.tables.insert(shown(name), row);
        }
        let large = one(session, LARGE_OBJECTS.as_bytes()).await?;
        contents.tables.insert(NO_TABLE.to_owned(), large);
        contents.sequences = sequences(session).await?;
        Ok(contents)
    }

    fn differences(&self, restored: &Contents) -> Vec<String> {
        let mut found = Vec::new();
        for (name, (rows, sum)) in &self.tables {
            found.extend(match restored.tables.get(name) {
                None => Some(format!("{name} is missing; it has {rows} rows at the source")),
                Some((other, other_sum)) if (other, other_sum) != (rows, sum) => Some(format!(
                    "{name}: {other} rows with the checksum {other_sum}, at the source {rows} rows with {sum}"
                )),
                Some(_) => None,
            });
        }
        for (name, (rows, _)) in &restored.tables {
            if !self.tables.contains_key(name) {
                found.push(format!("{name} is not at the source; it has {rows} rows"));
            }
        }
        for (name, (last, is_rising)) in &self.sequences {
            // Sequences are outside of transactions: one may be further, never behind.
            let is_behind = match restored.sequences.get(name) {
                None => {
                    found.push(format!("the sequence {name} is missing"));
                    continue;
                }
                Some((other, _)) if *is_rising => other < last,
                Some((other, _)) => last.is_some() && other.is_none_or(|other| Some(other) > *last),
            };
            if is_behind {
                found.push(format!("the sequence {name} is behind its source"));
            }
        }
        found
    }
}

/// Where the sequences are: the last value, and whether it counts up.
async fn sequences(session: &Session) -> Result<BTreeMap<String, (Option<i64>, bool)>> {
    let rows = session.client.query_typed(SEQUENCES, &[]).await?;
    let sequence = |row: &Row| (shown(row.get::<_, &[u8]>(0)), (row.get(1), row.get(2)));
    Ok(rows.iter().map(sequence).collect())
}

/// The row of a query in the session's client_encoding: a count and a checksum.
async fn one(session: &Session, query: &[u8]) -> Result<(i64, String)> {
    let plain = std::str::from_utf8(query).ok();
    let Some(query) = plain.filter(|query| session.is_utf8() || query.is_ascii()) else {
        // The client sends no other text than UTF-8 as a statement.
        let cursor = [b"DECLARE incr_sum CURSOR WITH HOLD FOR ", query].concat();
        session.statement(&cursor).await?;
        let rows = session.client.query("FETCH FROM incr_sum", &[]).await?;
        session.client.batch_execute("CLOSE incr_sum").await?;
        return Ok((rows[0].get(0), rows[0].get(1)));
    };
    let rows = session.client.query_typed(query, &[]).await?;
    Ok((rows[0].get(0), rows[0].get(1)))
}

/// What was committed is in the archive when this returns, if the extension is there.
async fn flush(session: &Session) -> Result<()> {
    const PLACE: &str = "SELECT nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = extnamespace \
        WHERE extname = 'pg_incrbackup'";
    let rows = session.client.query_typed(PLACE, &[]).await?;
    let Some(schema) = rows.first().map(|row| row.get::<_, String>(0)) else {
        return Ok(());
    };
    let schema = ident(schema.as_bytes());
    session
        .statement(&[b"SELECT ", &schema[..], b".incr_flush()"].concat())
        .await?;
    Ok(())
}

fn is_of_concurrency(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::UNDEFINED_TABLE) || code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_said() {
        let of = |tables: &[(&str, i64, &str)], sequences: &[(&str, Option<i64>, bool)]| Contents {
            tables: tables
                .iter()
                .map(|(name, rows, sum)| ((*name).to_owned(), (*rows, (*sum).to_owned())))
                .collect(),
            sequences: sequences
                .iter()
                .map(|(name, last, is_rising)| ((*name).to_owned(), (*last, *is_rising)))
                .collect(),
        };
        let source = of(
            &[("a", 2, "17"), ("b", 1, "5"), ("c", 3, "1")],
            &[
                ("s", Some(5), true),
                ("t", Some(-5), false),
                ("u", None, true),
            ],
        );
        assert!(source.differences(&source).is_empty());
        let ahead = of(
            &[("a", 2, "17"), ("b", 1, "5"), ("c", 3, "1")],
            &[
                ("s", Some(9), true),
                ("t", Some(-9), false),
                ("u", Some(1), true),
            ],
        );
        assert!(source.differences(&ahead).is_empty());
        let other = of(
            &[("a", 2, "18"), ("b", 1, "5"), ("d", 4, "1")],
            &[("s", Some(4), true), ("t", None, false)],
        );
        assert_eq!(
            source.differences(&other),
            [
                "a: 2 rows with the checksum 18, at the source 2 rows with 17",
                "c is missing; it has 3 rows at the source",
                "d is not at the source; it has 4 rows",
                "the sequence s is behind its source",
                "the sequence t is behind its source",
                "the sequence u is missing",
            ]
        );
    }
}
