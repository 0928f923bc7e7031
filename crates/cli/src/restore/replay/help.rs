//! Temporary indexes for tables without a key.
//!
//! A row of such a table is found by its values. An index on the column with the most distinct values avoids a
//! sequential scan for every row. It is on the table for the time of a few transactions only: no schema change of the
//! source sees it, and the restored database does not have it.

use std::collections::{BTreeSet, HashMap};

use memchr::memmem;
use tokio_postgres::types::{ToSql, Type};

use super::shape;
use crate::connection::{Raw, Session};
use crate::error::{Error, Result};
use crate::restore::progress;

/// Rows sought in a table before it gets an index.
const WORTH: u32 = 20;
const SOUGHT: &[u8] = b"ctid = (SELECT ctid FROM ";

/// A table of at least 1 MB: its OID, and its name in SQL in the session's client_encoding.
const TABLE: &str = "SELECT c.oid, convert_to(format('%I.%I', nspname, relname), current_setting('client_encoding')) \
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace \
    WHERE c.oid = to_regclass($1) AND relkind = 'r' AND pg_relation_size(c.oid) >= 1048576";

/// The column with the most distinct values that a hash index can have, if no index begins with it.
const COLUMN: &str = "WITH wanted AS (SELECT attnum, attname, \
        CASE WHEN stadistinct < 0 THEN -stadistinct * reltuples ELSE stadistinct END AS count \
    FROM pg_statistic JOIN pg_attribute ON attrelid = starelid AND attnum = staattnum \
    JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type ON pg_type.oid = atttypid \
    WHERE starelid = $1 AND NOT stainherit AND typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' \
        AND typelem = 0 AND EXISTS (SELECT FROM pg_opclass WHERE opcintype = atttypid AND opcdefault \
            AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hash')) \
    ORDER BY count DESC, attnum LIMIT 1) \
    SELECT convert_to(quote_ident(attname), current_setting('client_encoding')) FROM wanted \
    WHERE count > 10 AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = $1 AND indkey[0] = attnum \
        AND indisvalid AND indpred IS NULL)";

/// An index of a table by its name: that in SQL.
const INDEX: &str =
    "SELECT c.oid, convert_to(format('%I.%I', nspname, relname), current_setting('client_encoding')) \
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace \
    JOIN pg_index ON indexrelid = c.oid WHERE indrelid = $1 AND relname = $2";

/// The indexes that are there now, and who needs one.
#[derive(Debug, Default)]
pub struct Help {
    sought: HashMap<Vec<u8>, u32>,
    wanted: BTreeSet<Vec<u8>>,
    /// OIDs, and names in SQL, to drop them.
    made: Vec<(u32, Vec<u8>)>,
    /// Numbers the indexes of a restore.
    count: u32,
}

/// The table in which a row is sought by its values; with `lacks_keys`, by its key.
fn sought_in(text: &[u8], lacks_keys: bool) -> Option<&[u8]> {
    let (name, end) = match shape::find_outside(text, SOUGHT) {
        Some(at) => {
            let name = &text[at + SOUGHT.len()..];
            (name, memmem::find(name, b" WHERE ")?)
        }
        None if lacks_keys => {
            let updated = text.strip_prefix(b"UPDATE ");
            let name = updated.or_else(|| text.strip_prefix(b"DELETE FROM "))?;
            let ends = if updated.is_some() {
                " SET "
            } else {
                " WHERE "
            };
            (name, shape::find_outside(name, ends.as_bytes())?)
        }
        None => return None,
    };
    Some(name[..end].strip_prefix(b"ONLY ").unwrap_or(&name[..end]))
}

/// Indexes by their OIDs: those, and their names in SQL.
const STILL_THERE: &str =
    "SELECT c.oid, convert_to(format('%I.%I', nspname, relname), current_setting('client_encoding')) \
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = ANY ($1) AND relkind = 'i'";

impl Help {
    /// Takes over what an earlier run has made.
    pub async fn take_up(&mut self, session: &Session, made: &[u32]) -> Result<()> {
        let made: (&(dyn ToSql + Sync), Type) = (&made, Type::OID_ARRAY);
        let rows = session.client.query_typed(STILL_THERE, &[made]).await?;
        self.made = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        self.count = u32::try_from(self.made.len()).unwrap_or(0);
        Ok(())
    }

    fn keep(&self) -> String {
        let made: Vec<u32> = self.made.iter().map(|(oid, _)| *oid).collect();
        progress::sql::keep("helped", &made)
    }

    /// Takes a row change into account. `lacks_keys`: a table may lack its key.
    pub fn note(&mut self, text: &[u8], lacks_keys: bool) {
        if !text.starts_with(b"UPDATE ") && !text.starts_with(b"DELETE FROM ") {
            return;
        }
        let Some(name) = sought_in(text, lacks_keys) else {
            return;
        };
        let sought = self.sought.entry(name.to_vec()).or_default();
        *sought += 1;
        if *sought == WORTH {
            self.wanted.insert(name.to_vec());
        }
    }

    /// Whether [`Self::give`] has something to do.
    pub fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Makes the indexes that are worth it, outside of a transaction: one behind its own updates would not help them. An
    /// index is only for speed: what the server refuses is left.
    pub async fn give(&mut self, session: &Session) -> Result<()> {
        for name in std::mem::take(&mut self.wanted) {
            session.client.batch_execute("BEGIN").await?;
            match self.make(session, &name).await {
                Err(Error::Server(error)) if error.as_db_error().is_some() => {
                    session.client.batch_execute("ROLLBACK").await?;
                }
                made => {
                    made?;
                    let end = format!("{}; COMMIT", self.keep());
                    session.client.batch_execute(&end).await?;
                }
            }
        }
        Ok(())
    }

    async fn make(&mut self, session: &Session, name: &[u8]) -> Result<()> {
        let client = &session.client;
        let rows = client
            .query_typed(TABLE, &[(&Raw(name), Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let (table, place): (u32, &[u8]) = (row.get(0), row.get(1));
        session.statement(&[b"ANALYZE ", place].concat()).await?;
        let rows = client.query_typed(COLUMN, &[(&table, Type::OID)]).await?;
        let Some(column) = rows.first().map(|row| row.get::<_, &[u8]>(0)) else {
            return Ok(());
        };
        self.count += 1;
        let index = format!("pg_incrbackup_{table}_{}", self.count);
        let head = format!("CREATE INDEX {index} ON ONLY ");
        let make = [head.as_bytes(), place, b" USING hash (", column, b")"];
        session.statement(&make.concat()).await?;
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&table, Type::OID), (&index, Type::NAME)];
        let rows = client.query_typed(INDEX, &values).await?;
        self.made
            .extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        Ok(())
    }

    /// Drops them: a schema change follows, or the end.
    pub async fn end(&mut self, session: &Session) -> Result<()> {
        self.wanted.clear();
        self.sought.clear();
        let made = std::mem::take(&mut self.made);
        for (_, index) in &made {
            session
                .statement(&[b"DROP INDEX IF EXISTS ", &index[..]].concat())
                .await?;
        }
        if !made.is_empty() {
            session.client.batch_execute(&self.keep()).await?;
        }
        Ok(())
    }
}
