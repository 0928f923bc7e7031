//! Rows so long that they are copied one at a time.
//!
//! What reads the rows of a COPY is a few messages ahead of what sends them, and each row is a message: of many long rows
//! several would be in memory.

use tokio_postgres::types::{ToSql, Type};

use crate::connection::Session;
use crate::error::Result;
use crate::quote::identifier;

/// Rows that may be longer than this are long, in bytes.
const LONG: i64 = 8 << 20;
/// What a stored value may at most be of its text: 255 is LZ4's limit, and a byte may be two characters or more.
const EXPANDED: i64 = 512;

/// The part of a table's rows that may be long.
pub struct Long {
    /// SQL that is true for them.
    condition: String,
    /// Which those are, each as a `tid`.
    pub rows: Vec<String>,
}

impl Long {
    /// `None` if there are none. `table`: in SQL.
    pub async fn find(scratch: &Session, oid: u32, table: &str) -> Result<Option<Long>> {
        // A value that long is stored out of line. Of text and bytea the length is known without reading it.
        const LENGTHS: &str =
            "SELECT a.attname::pg_catalog.text, a.atttypid IN (17, 25, 1042, 1043) \
            FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid \
            WHERE c.oid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attlen = -1 \
                AND pg_catalog.pg_relation_size(c.reltoastrelid) > $2";
        let least = LONG / EXPANDED;
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&oid, Type::OID), (&least, Type::INT8)];
        let mut lengths = Vec::new();
        for row in scratch.client.query_typed(LENGTHS, &parameters).await? {
            let (column, is_text): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            let column = identifier(&column);
            lengths.push(if is_text {
                format!("coalesce(2 * pg_catalog.octet_length({column})::pg_catalog.int8, 0)")
            } else {
                // The text of others is only made if it may be that long.
                format!(
                    "CASE WHEN {EXPANDED} * pg_catalog.pg_column_size({column})::pg_catalog.int8 > {LONG} \
                     THEN 2 * pg_catalog.octet_length({column}::pg_catalog.text)::pg_catalog.int8 ELSE 0 END"
                )
            });
        }
        if lengths.is_empty() {
            return Ok(None);
        }
        let condition = format!("{} > {LONG}", lengths.join(" + "));
        let find = format!("SELECT ctid::pg_catalog.text FROM ONLY {table} WHERE {condition}");
        let rows = scratch.client.query_typed(&find, &[]).await?;
        let rows: Vec<String> = rows
            .iter()
            .map(|row| Ok(row.try_get(0)?))
            .collect::<Result<_>>()?;
        Ok((!rows.is_empty()).then_some(Long { condition, rows }))
    }

    /// The others.
    pub fn others(&self) -> String {
        format!("NOT ({})", self.condition)
    }
}
