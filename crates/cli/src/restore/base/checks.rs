//! CHECKs that must not be evaluated while rows are made: they are off meanwhile (checks.sql says how).

use tokio_postgres::types::Type;

use crate::connection::{Raw, Session};
use crate::error::Result;
use crate::quote;

/// Those that `--skip-check` names, and those that are NOT VALID.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// Names, in the database's encoding.
    skipped: Vec<Vec<u8>>,
}

impl Checks {
    /// Of the session that makes the rows; `skipped` in its client_encoding.
    pub async fn prepare(session: &Session, skipped: Vec<Vec<u8>>) -> Result<Checks> {
        session
            .client
            .batch_execute(include_str!("checks.sql"))
            .await?;
        Ok(Checks { skipped })
    }

    /// Whether `--skip-check` names any.
    pub fn skips_any(&self) -> bool {
        !self.skipped.is_empty()
    }

    /// Before rows are made: all that exist now are off; false if there is none. May be called again after schema
    /// changes.
    pub async fn quiet(&self, session: &Session) -> Result<bool> {
        self.call(session, "SELECT pg_temp.incr_quiet_checks($1)")
            .await?;
        self.is_quiet(session).await
    }

    /// Whether any is off.
    pub async fn is_quiet(&self, session: &Session) -> Result<bool> {
        let off =
            "SELECT coalesce(pg_catalog.current_setting('incr_restore.checks', true), '') <> ''";
        Ok(session.client.query_typed(off, &[]).await?[0].get(0))
    }

    /// Before schema changes, and when all rows are there.
    pub async fn loud(&self, session: &Session) -> Result<()> {
        let call = "SELECT pg_temp.incr_loud_checks()";
        session.client.query_typed(call, &[]).await?;
        Ok(())
    }

    /// At the end: what was skipped is validated; where rows contradict it, a warning says so and it stays NOT VALID.
    pub async fn validate(&self, session: &Session) -> Result<()> {
        self.call(session, "SELECT pg_temp.incr_valid_checks($1)")
            .await
    }

    async fn call(&self, session: &Session, call: &str) -> Result<()> {
        let names = quote::array(&self.skipped);
        let names = (
            &Raw(&names) as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT_ARRAY,
        );
        session.client.query_typed(call, &[names]).await?;
        Ok(())
    }
}
