//! Triggers, rules and event triggers that fire also while rows are restored.
//!
//! Under session_replication_role = replica only those that are set to fire ALWAYS or in REPLICA mode fire. Their
//! effects at the source are in the segments, so here they must not: each is set to fire in origin mode meanwhile. A
//! schema change that may depend on the state (ENABLE TRIGGER, a partition that inherits triggers) finds the original
//! one; so does whoever uses the database in the end.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use tokio_postgres::Row;

use crate::connection::Session;
use crate::error::Result;
use crate::restore::progress;

/// Every one, with the two parts of the statement that sets its state, in the session's client_encoding.
const FIRING: &str = "SELECT kind, id, state, convert_to(head, current_setting('client_encoding')), \
    convert_to(tail, current_setting('client_encoding')) FROM (\
    SELECT 'event' AS kind, oid AS id, evtenabled::text AS state, \
        format('ALTER EVENT TRIGGER %I ENABLE ', evtname) AS head, '' AS tail FROM pg_event_trigger \
    UNION ALL SELECT 'rule', r.oid, ev_enabled::text, \
        format('ALTER TABLE ONLY %I.%I ENABLE ', nspname, relname), format('RULE %I', rulename) \
        FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = ev_class JOIN pg_namespace AS n ON n.oid = relnamespace \
    UNION ALL SELECT 'trigger', t.oid, tgenabled::text, \
        format('ALTER TABLE ONLY %I.%I ENABLE ', nspname, relname), format('TRIGGER %I', tgname) \
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid JOIN pg_namespace AS n ON n.oid = relnamespace \
    ) AS firing";

/// The kinds, as they are in the query. Event triggers are set first, and set back last: ALTER TABLE fires them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    Event,
    OfTables,
    All,
}

impl Kinds {
    fn names(self) -> Vec<&'static str> {
        match self {
            Kinds::Event => vec!["event"],
            Kinds::OfTables => vec!["rule", "trigger"],
            Kinds::All => vec!["event", "rule", "trigger"],
        }
    }
}

/// Those that are set to origin mode now: kind and OID, and what they were set to.
#[derive(Debug, Default)]
pub struct Quiet {
    was: BTreeMap<(String, u32), String>,
}

impl Quiet {
    /// Those that an earlier run has set.
    pub fn of(was: Vec<(String, u32, String)>) -> Quiet {
        let was = was.into_iter().map(|(kind, id, state)| ((kind, id), state));
        Quiet { was: was.collect() }
    }

    /// Keeps what they were set to.
    async fn keep(&self, session: &Session) -> Result<()> {
        let was: Vec<(&str, u32, &str)> = self
            .was
            .iter()
            .map(|((kind, id), state)| (kind.as_str(), *id, state.as_str()))
            .collect();
        session
            .client
            .batch_execute(&progress::sql::keep("quiet", &was))
            .await?;
        Ok(())
    }

    /// Sets all to origin mode that fire otherwise.
    pub async fn hush(&mut self, session: &Session) -> Result<()> {
        let query = format!("{FIRING} WHERE state IN ('A', 'R') ORDER BY kind, id");
        let rows = session.client.query_typed(&query, &[]).await?;
        for row in &rows {
            let (kind, id, state): (String, u32, String) = (row.get(0), row.get(1), row.get(2));
            self.was.insert((kind, id), state);
        }
        if !rows.is_empty() {
            // Before it is done: it may be no transaction.
            self.keep(session).await?;
        }
        for row in &rows {
            session.statement(&text(row, "")).await?;
        }
        Ok(())
    }

    /// Whether any is set to origin mode.
    pub fn is_empty(&self) -> bool {
        self.was.is_empty()
    }

    /// Sets back those that are still there, and still in origin mode.
    pub async fn restore(&mut self, session: &Session, kinds: Kinds) -> Result<()> {
        let names = kinds.names();
        if self.set_back(session, &names).await? {
            self.was
                .retain(|(kind, _), _| !names.contains(&kind.as_str()));
            self.keep(session).await?;
        }
        Ok(())
    }

    /// The same of all, when the progress is no more.
    pub async fn end(self, session: &Session) -> Result<()> {
        self.set_back(session, &Kinds::All.names()).await?;
        Ok(())
    }

    /// Whether there were any.
    async fn set_back(&self, session: &Session, names: &[&'static str]) -> Result<bool> {
        if !self
            .was
            .keys()
            .any(|(kind, _)| names.contains(&kind.as_str()))
        {
            return Ok(false);
        }
        let query =
            format!("{FIRING} WHERE state = 'O' AND kind = ANY ($1) ORDER BY kind DESC, id");
        let rows = session
            .client
            .query_typed(&query, &[(&names, Type::TEXT_ARRAY)])
            .await?;
        for row in rows {
            let (kind, id): (String, u32) = (row.get(0), row.get(1));
            let Some(was) = self.was.get(&(kind, id)) else {
                continue;
            };
            let state = if was == "A" { "ALWAYS " } else { "REPLICA " };
            session.statement(&text(&row, state)).await?;
        }
        Ok(true)
    }
}

/// The statement that sets the state of a row of the query.
fn text(row: &Row, state: &str) -> Vec<u8> {
    let (head, tail): (&[u8], &[u8]) = (row.get(3), row.get(4));
    [head, state.as_bytes(), tail].concat()
}
