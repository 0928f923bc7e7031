//! Texts that are UTF-8 (of the command line, of metadata.json), in the encoding of a database.

use tokio_postgres::types::Type;

use crate::connection::Session;
use crate::error::{Error, Result};

/// The bytes of `texts` in `encoding`. Those of SQL_ASCII are what they are.
pub async fn encoded(session: &Session, texts: &[String], encoding: &str) -> Result<Vec<Vec<u8>>> {
    const CONVERT: &str = "SELECT pg_catalog.convert($1, 'UTF8', $2)";
    let mut all = Vec::new();
    for text in texts {
        let bytes = text.as_bytes();
        if text.is_ascii() || matches!(encoding, "UTF8" | "SQL_ASCII") {
            all.push(bytes.to_vec());
            continue;
        }
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&bytes, Type::BYTEA), (&encoding, Type::NAME)];
        let rows = session
            .client
            .query_typed(CONVERT, &values)
            .await
            .map_err(|error| {
                let message = format!(
                    "\"{text}\" cannot be written in the encoding {encoding}: {}",
                    Error::from(error)
                );
                Error::failed(message, "")
            })?;
        all.push(rows[0].get(0));
    }
    Ok(all)
}
