//! One statement, one protocol message.
//!
//! The extended protocol refuses a second statement in a text: nothing can hide behind the first one. The texts of an
//! archive are bytes in the encoding of its database, and are sent as they are.

use std::error::Error as StdError;
use std::future::Future;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{to_sql_checked, Format, IsNull, ToSql, Type};
use tokio_postgres::Client;

use super::Session;
use crate::error::Result;
use crate::quote::readable;

/// Bytes in the session's client_encoding, as the text of a value of any type.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a>(pub &'a [u8]);

impl ToSql for Raw<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Around what may fail in a transaction that goes on; one within another hides it until it is released.
pub const SAVEPOINT: &str = "SAVEPOINT pg_incrbackup";
pub const RELEASE: &str = "RELEASE SAVEPOINT pg_incrbackup";
pub const ROLLBACK: &str = "ROLLBACK TO SAVEPOINT pg_incrbackup; RELEASE SAVEPOINT pg_incrbackup";

/// Does something in a transaction of `client`, which goes on as it was before if that fails.
pub async fn guarded<T>(client: &Client, work: impl Future<Output = Result<T>>) -> Result<T> {
    client.batch_execute(SAVEPOINT).await?;
    let done = work.await;
    let end = if done.is_ok() { RELEASE } else { ROLLBACK };
    client.batch_execute(end).await?;
    done
}

impl Session {
    /// Sets client_encoding to that of the texts that follow, and makes what [`Session::statement`] needs.
    pub async fn set_encoding(&mut self, encoding: &str) -> Result<()> {
        let set = "SELECT pg_catalog.set_config('client_encoding', $1, false)";
        self.client
            .query_typed(set, &[(&encoding, Type::TEXT)])
            .await?;
        self.is_utf8 = encoding == "UTF8";
        if !self.is_utf8 {
            self.client.batch_execute(EXECUTE_TEXT).await?;
        }
        Ok(())
    }

    /// Executes one statement; the number of rows in its command tag.
    pub async fn statement(&self, text: &[u8]) -> Result<u64> {
        Ok(execute(&self.client, self.is_utf8, text).await?)
    }

    /// The same in a transaction, which goes on if the statement fails.
    pub async fn attempt(&self, text: &[u8]) -> Result<u64> {
        guarded(&self.client, self.statement(text)).await
    }

    /// The OID of the relation of this name, as it is written in SQL; `None` if there is none.
    pub async fn oid_of_relation(&self, name: &[u8]) -> Result<Option<u32>> {
        let query = "SELECT pg_catalog.to_regclass($1)::oid";
        let rows = self
            .client
            .query_typed(query, &[(&Raw(&readable(name)), Type::TEXT)])
            .await?;
        Ok(rows[0].get(0))
    }

    /// Executes statements of our own, one after the other, in one message.
    pub async fn script(&self, text: &[u8]) -> Result<()> {
        match std::str::from_utf8(text) {
            Ok(text) if self.is_utf8 || text.is_ascii() => self.client.batch_execute(text).await?,
            _ => drop(execute(&self.client, self.is_utf8, text).await?),
        }
        Ok(())
    }
}

/// [`Session::statement`], for a future that outlives its caller. The message is sent when it is first polled.
pub async fn execute(
    client: &Client,
    is_utf8: bool,
    text: &[u8],
) -> std::result::Result<u64, tokio_postgres::Error> {
    match std::str::from_utf8(text) {
        Ok(text) if is_utf8 || text.is_ascii() => client.execute_typed(text, &[]).await,
        // The client sends no other text than UTF-8 as a statement, but any bytes as a value.
        _ => {
            let call = "SELECT pg_temp.pg_incrbackup_execute($1)";
            let rows = client
                .query_typed(call, &[(&Raw(text), Type::TEXT)])
                .await?;
            let count: i64 = rows[0].get(0);
            Ok(u64::try_from(count).unwrap_or(0))
        }
    }
}

const EXECUTE_TEXT: &str =
    "CREATE OR REPLACE FUNCTION pg_temp.pg_incrbackup_execute(statement text) \
    RETURNS bigint LANGUAGE plpgsql AS $execute$ DECLARE count bigint; BEGIN \
    EXECUTE statement; GET DIAGNOSTICS count = ROW_COUNT; RETURN count; END $execute$";
