//! Triggers, rules and row security that would act on rows, for a role that is no superuser.
//!
//! Their effects at the source are in the segments. Under session_replication_role = replica most do nothing, which leaves
//! only FORCE ROW LEVEL SECURITY; a role that may not set it disables every trigger and rule of the tables that it has
//! made. A schema change that may depend on their state finds the original one on its tables, and so does whoever uses
//! the database in the end.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::connection::Session;
use crate::error::Result;

/// Those that act, with what sets their state: kind, OID, state, the root of the table's partitions, the table's name in
/// SQL without its schema, and the statement in two parts. The internal triggers of constraints are not ours to disable.
const ACTING: &str = "SELECT kind, id, state, root, textsend(name), textsend(head), textsend(tail) FROM (\
    SELECT 'force' AS kind, c.oid AS id, 'F' AS state, c.oid AS relation, 'ALTER TABLE ONLY %I.%I ' AS word, '' AS tail \
        FROM pg_class AS c WHERE relforcerowsecurity \
    UNION ALL SELECT 'rule', oid, ev_enabled::text, ev_class, 'ALTER TABLE ONLY %I.%I ', format(' RULE %I', rulename) \
        FROM pg_rewrite WHERE ev_enabled <> 'D' AND rulename <> '_RETURN' \
    UNION ALL SELECT 'trigger', oid, tgenabled::text, tgrelid, 'ALTER TABLE ONLY %I.%I ', format(' TRIGGER %I', tgname) \
        FROM pg_trigger WHERE tgenabled <> 'D' AND NOT tgisinternal \
    ) AS acting JOIN pg_class AS c ON c.oid = relation JOIN pg_namespace AS n ON n.oid = relnamespace, \
    LATERAL (SELECT coalesce(pg_partition_root(c.oid)::oid, c.oid), quote_ident(relname), format(word, nspname, relname)) \
        AS of_table (root, name, head) \
    WHERE relkind IN ('r', 'p') AND pg_has_role(relowner, 'USAGE')";
/// The same of event triggers, of which a role has some only where the server lets it make them.
const EVENTS: &str = " UNION ALL SELECT 'event', oid, evtenabled::text, 0::oid, ''::bytea, \
    textsend(format('ALTER EVENT TRIGGER %I ', evtname)), ''::bytea FROM pg_event_trigger \
    WHERE evtenabled <> 'D' AND pg_has_role(evtowner, 'USAGE')";

/// Key words without which a change does not depend on any of this.
const WORDS: [&str; 4] = ["trigger", "rule", "partition", "row level security"];

/// One that was stilled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stilled {
    kind: String,
    state: String,
    /// The root of its table's partitions, or the table.
    root: u32,
    /// The table's name in SQL, without its schema.
    table: Vec<u8>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// What does not act now.
#[derive(Debug)]
pub struct Still {
    was: BTreeMap<(String, u32), Stilled>,
    /// Triggers and rules, too.
    all: bool,
}

impl Still {
    /// `all`: session_replication_role cannot be set.
    pub fn new(all: bool) -> Still {
        Still {
            was: BTreeMap::new(),
            all,
        }
    }

    /// Those that an earlier run has stilled.
    pub fn take_up(&mut self, was: Vec<((String, u32), Stilled)>) {
        self.was.extend(was);
    }

    /// What one that goes on must know.
    pub fn kept(&self) -> Vec<(&(String, u32), &Stilled)> {
        self.was.iter().collect()
    }

    /// Stills all that act.
    pub async fn hush(&mut self, session: &Session) -> Result<()> {
        let query = if self.all {
            format!("{ACTING}{EVENTS} ORDER BY 1, 2")
        } else {
            format!("{ACTING} AND kind = 'force' ORDER BY 1, 2")
        };
        for row in session.client.query_typed(&query, &[]).await? {
            let (kind, id): (String, u32) = (row.get(0), row.get(1));
            let stilled = stilled(&row);
            let word: &[u8] = if kind == "force" {
                b"NO FORCE ROW LEVEL SECURITY"
            } else {
                b"DISABLE"
            };
            session.statement(&stilled.with(word)).await?;
            self.was.insert((kind, id), stilled);
        }
        Ok(())
    }

    /// Before a schema change: what it may depend on is as it was. True if any was set back.
    pub async fn before(&mut self, session: &Session, text: &[u8], is_typed: bool) -> Result<bool> {
        if self.was.is_empty() || !(is_typed || may_depend(text)) {
            return Ok(false);
        }
        let is_named = |one: &&Stilled| {
            is_typed || one.kind == "event" || memmem::find(text, &one.table).is_some()
        };
        let roots: Vec<u32> = self
            .was
            .values()
            .filter(is_named)
            .map(|one| one.root)
            .collect();
        self.set_back(session, |one| roots.contains(&one.root))
            .await
    }

    /// After it: what it has made, and what was set back for it.
    pub async fn after(
        &mut self,
        session: &Session,
        text: &[u8],
        is_typed: bool,
        was_set_back: bool,
    ) -> Result<()> {
        if is_typed || was_set_back || may_depend(text) {
            self.hush(session).await?;
        }
        Ok(())
    }

    /// At the end. Row security comes last: materialized views are filled before.
    pub async fn end(&mut self, session: &Session, is_last: bool) -> Result<()> {
        self.set_back(session, |one| is_last || one.kind != "force")
            .await?;
        Ok(())
    }

    /// Sets back those that are still there; whether there were any.
    async fn set_back(
        &mut self,
        session: &Session,
        is_meant: impl Fn(&Stilled) -> bool,
    ) -> Result<bool> {
        let meant: BTreeSet<(String, u32)> = self
            .was
            .iter()
            .filter(|(_, one)| is_meant(one))
            .map(|(key, _)| key.clone())
            .collect();
        if meant.is_empty() {
            return Ok(false);
        }
        let query = format!("SELECT * FROM ({}{EVENTS}) AS now", silent());
        let events = query.replace("evtenabled <> 'D'", "evtenabled = 'D'");
        for row in session.client.query_typed(&events, &[]).await? {
            let key = (row.get(0), row.get(1));
            if !meant.contains(&key) {
                continue;
            }
            // By the name that its table has now.
            let now = stilled(&row);
            let word: &[u8] = match self.was.get(&key).map(|one| one.state.as_str()) {
                Some("F") => b"FORCE ROW LEVEL SECURITY",
                Some("A") => b"ENABLE ALWAYS",
                Some("R") => b"ENABLE REPLICA",
                _ => b"ENABLE",
            };
            session.statement(&now.with(word)).await?;
        }
        self.was.retain(|key, _| !meant.contains(key));
        Ok(true)
    }
}

/// The query for those that are stilled now.
fn silent() -> String {
    ACTING
        .replace("relforcerowsecurity", "NOT relforcerowsecurity")
        .replace("ev_enabled <> 'D'", "ev_enabled = 'D'")
        .replace("tgenabled <> 'D'", "tgenabled = 'D'")
}

fn may_depend(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    WORDS
        .iter()
        .any(|word| memmem::find(&lower, word.as_bytes()).is_some())
}

fn stilled(row: &Row) -> Stilled {
    Stilled {
        kind: row.get(0),
        state: row.get(2),
        root: row.get(3),
        table: row.get(4),
        head: row.get(5),
        tail: row.get(6),
    }
}

impl Stilled {
    fn with(&self, word: &[u8]) -> Vec<u8> {
        [&self.head[..], word, &self.tail].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_for_what_is_silent_differs_in_the_states_alone() {
        let silent = silent();
        assert_eq!(silent.matches("= 'D'").count(), 2);
        assert!(silent.contains("NOT relforcerowsecurity") && !silent.contains("<> 'D'"));
    }

    #[test]
    fn only_some_changes_depend_on_the_states() {
        assert!(may_depend(b"CREATE TRIGGER a BEFORE INSERT ON b"));
        assert!(may_depend(b"ALTER TABLE a NO FORCE ROW LEVEL SECURITY"));
        assert!(!may_depend(b"ALTER TABLE a ADD COLUMN b integer"));
    }
}
