//! Materialized views: their rows come from a query that is run at the end, when all that it reads is there.

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::shown;

/// Those that are to be filled, by OID, in the order in which they were refreshed.
#[derive(Debug, Default, Clone)]
pub struct Views {
    pending: Vec<u32>,
    /// What was filled since the last change of the list.
    filled: Vec<u32>,
}

const REFRESH: &[u8] = b"REFRESH MATERIALIZED VIEW ";
const WITH_NO_DATA: &[u8] = b" WITH NO DATA";

/// These and all that they read, the ones that are read first.
const ORDER: &str = "WITH RECURSIVE reached (view, over) AS (\
    SELECT oid, oid FROM pg_class WHERE oid = ANY ($1) AND relkind = 'm' \
    UNION SELECT r.view, d.refobjid FROM reached AS r JOIN pg_rewrite AS w ON w.ev_class = r.over \
        JOIN pg_depend AS d ON d.classid = 2618 AND d.objid = w.oid AND d.refclassid = 1259) \
    SELECT view, convert_to(format('REFRESH MATERIALIZED VIEW %I.%I', nspname, relname), \
        current_setting('client_encoding')) FROM (SELECT view, count(*) AS reads FROM reached GROUP BY view) AS r \
    JOIN pg_class AS c ON c.oid = view JOIN pg_namespace AS n ON n.oid = relnamespace ORDER BY reads, view";

impl Views {
    /// Those that the base has, by OID.
    pub fn new(pending: Vec<u32>) -> Views {
        Views {
            pending,
            filled: Vec::new(),
        }
    }

    /// OIDs of those that are to be filled.
    pub fn pending(&self) -> &[u32] {
        &self.pending
    }

    /// Takes a statement `REFRESH MATERIALIZED VIEW name [WITH NO DATA]` into account.
    pub async fn note(&mut self, session: &Session, statement: &[u8]) -> Result<()> {
        let statement = statement.trim_ascii();
        let statement = statement
            .strip_suffix(b";")
            .unwrap_or(statement)
            .trim_ascii_end();
        let Some(name) = statement.strip_prefix(REFRESH) else {
            return Ok(());
        };
        let without = name.strip_suffix(WITH_NO_DATA);
        let Some(view) = session.oid_of_relation(without.unwrap_or(name)).await? else {
            return Ok(());
        };
        self.pending.retain(|other| *other != view);
        if without.is_none() {
            self.pending.push(view);
        }
        Ok(())
    }

    /// Fills them now, or only the last one that was noted, within the transaction that is open: a copy is read meanwhile. All
    /// are filled at the end once more. One whose query fails stays as it is.
    pub async fn refresh(&mut self, session: &Session, is_last: bool) -> Result<()> {
        let types = tokio_postgres::types::Type::OID_ARRAY;
        let rows = session
            .client
            .query_typed(ORDER, &[(&self.pending, types)])
            .await?;
        let last = self.pending.last().filter(|_| is_last);
        for row in &rows {
            let (view, statement): (u32, &[u8]) = (row.get(0), row.get(1));
            if last.is_some_and(|last| *last != view) {
                continue;
            }
            session.client.batch_execute("SAVEPOINT fill").await?;
            let filled = session.statement(statement).await;
            let end = match &filled {
                Ok(_) => "RELEASE SAVEPOINT fill",
                Err(_) => "ROLLBACK TO SAVEPOINT fill; RELEASE SAVEPOINT fill",
            };
            session.client.batch_execute(end).await?;
            if let Err(error) = filled {
                if is_of_this_server(session, &error) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Fills them, each after those that it reads; one whose query fails is tried again after the others. At the end each
    /// is a transaction of its own, and the ones that stay without rows are told; before, none of it matters. A server that
    /// has no room for the rows, or goes away, is an error.
    pub async fn fill(&mut self, session: &Session, is_end: bool) -> Result<Vec<String>> {
        if self.pending.is_empty() || (!is_end && self.pending == self.filled) {
            return Ok(Vec::new());
        }
        self.filled.clone_from(&self.pending);
        let rows = session
            .client
            .query_typed(
                ORDER,
                &[(&self.pending, tokio_postgres::types::Type::OID_ARRAY)],
            )
            .await?;
        let mut pending: Vec<Vec<u8>> = rows.iter().map(|row| row.get(1)).collect();
        loop {
            let mut again = Vec::new();
            let mut reasons = Vec::new();
            for statement in &pending {
                if !is_end {
                    session.client.batch_execute("SAVEPOINT fill").await?;
                }
                let filled = session.statement(statement).await;
                if !is_end {
                    let end = match filled {
                        Ok(_) => "RELEASE SAVEPOINT fill",
                        Err(_) => "ROLLBACK TO SAVEPOINT fill; RELEASE SAVEPOINT fill",
                    };
                    session.client.batch_execute(end).await?;
                }
                if let Err(error) = filled {
                    if is_end && is_of_this_server(session, &error) {
                        let statement = shown(statement);
                        let message = format!("{statement}: {error}");
                        return Err(error.with_message(message));
                    }
                    reasons.push(format!("{}: {error}", shown(statement)));
                    again.push(statement.clone());
                }
            }
            if again.is_empty() || again.len() == pending.len() {
                let left = if is_end { reasons } else { Vec::new() };
                return Ok(left);
            }
            pending = again;
        }
    }
}

/// A query may ask another server (dblink, a foreign table), which may be gone while this one is not.
fn is_of_this_server(session: &Session, error: &Error) -> bool {
    let code = match error {
        Error::Server(error) => error.code().map_or("", |code| code.code()),
        _ => "",
    };
    error.is_of_server() && (!code.starts_with("08") || session.client.is_closed())
}
