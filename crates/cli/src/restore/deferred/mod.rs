//! Objects that could not be made when their turn came: an index whose function needs a setting of the session, a
//! constraint that rows contradict. They do not stop the rest: each is kept with its SQL, and so is what is said of it
//! later; all are made at the end, in their order, and what still fails is listed.

mod names;

use archive::segment::Effect;
use archive::sqlstate;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use crate::args::OnError;
use crate::connection::{Raw, Session};
use crate::error::{Error, Result};
use crate::restore::progress::sql;
use names::{index_in, names, table_in, TableIn};

/// A catalog's OID, and that of a row in it, at the source.
pub type Key = (u32, u32);

const CLASS: u32 = 1259;
const CONSTRAINT: u32 = 2606;
const STATISTICS: u32 = 3381;

/// Entries of a base on which no rows depend.
const ENTRIES: [&[u8]; 6] = [
    b"INDEX",
    b"INDEX ATTACH",
    b"CONSTRAINT",
    b"CHECK CONSTRAINT",
    b"FK CONSTRAINT",
    b"STATISTICS",
];

/// The same of schema changes, by their class.
const CLASSES: [&str; 3] = ["index", "constraint", "statistics object"];

/// Passes over the list at the end: something may depend on what comes behind it.
const PASSES: usize = 2;

/// A statement that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `create index public.i`
    pub what: String,
    /// File and line.
    pub place: String,
    /// Why it could not be executed; of one that only waits, that it waits.
    pub error: String,
    pub sql: Vec<u8>,
    /// What it is about.
    key: Key,
    needs: Vec<Key>,
    /// What it is about does not exist meanwhile.
    makes: bool,
    /// default_tablespace when its turn came, as a string constant.
    space: String,
    /// The table that it is on.
    table: Option<OnTable>,
    /// The index that it makes: schema and name.
    index: Option<(Vec<u8>, Vec<u8>)>,
}

/// The table of an index or a constraint, which may be renamed, or moved to another schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct OnTable {
    /// At the target.
    oid: u32,
    /// Where its name is in the text.
    start: usize,
    end: usize,
    /// Only the schema's is there, in front of an index's.
    is_schema: bool,
}

/// What a statement is.
pub struct Said<'a> {
    pub what: String,
    pub place: String,
    pub sql: &'a [u8],
    pub key: Key,
    pub needs: &'a [Key],
    pub makes: bool,
    /// default_tablespace, as a string constant.
    pub space: String,
}

/// Those that wait.
#[derive(Debug, Default)]
pub struct Deferred {
    /// `--on-error stop`
    stops: bool,
    items: Vec<Item>,
    has_new: bool,
}

impl Deferred {
    /// With what was kept.
    pub fn new(on_error: OnError, items: Vec<Item>) -> Deferred {
        Deferred {
            stops: on_error == OnError::Stop,
            items,
            has_new: false,
        }
    }

    /// `--on-error stop`
    pub fn stops(&self) -> bool {
        self.stops
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Keeps the list if it has changed; nothing otherwise.
    pub fn keep(&mut self) -> Option<String> {
        std::mem::take(&mut self.has_new).then(|| sql::keep("deferred", &self.items))
    }

    /// Whether an entry of a base that failed may wait. One of another kind may if it fails for something that waits.
    pub fn takes_entry(&self, kind: &[u8], error: &Error) -> bool {
        let may_wait = ENTRIES.contains(&kind) || self.lacks(error) && kind != b"TABLE";
        !self.stops && may_wait && is_of_statement(error)
    }

    /// Whether a schema change must be executed so that its failure can be undone.
    pub fn may_take(&self, effect: &Effect) -> bool {
        !self.stops && (CLASSES.contains(&effect.class.as_str()) || !self.is_empty())
    }

    /// Whether a schema change that failed may wait.
    pub fn takes_effect(&self, effect: &Effect, error: &Error) -> bool {
        let makes_table = effect.verb == "create" && effect.class.ends_with("table");
        let may_wait = CLASSES.contains(&effect.class.as_str())
            || self.lacks(error) && !makes_table && effect.verb != "drop";
        self.may_take(effect) && may_wait && is_of_statement(error)
    }

    /// It fails because something does not exist, and something waits.
    fn lacks(&self, error: &Error) -> bool {
        const ABSENCE: [SqlState; 6] = [
            SqlState::UNDEFINED_OBJECT,
            SqlState::UNDEFINED_TABLE,
            SqlState::GROUPING_ERROR,
            SqlState::INVALID_FOREIGN_KEY,
            SqlState::WRONG_OBJECT_TYPE,
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ];
        let Error::Server(error) = error else {
            return false;
        };
        !self.is_empty() && error.code().is_some_and(|code| ABSENCE.contains(code))
    }

    /// Whether a schema change is about something that waits, and waits itself. What waits is no more if the change is
    /// its end.
    pub fn waits(&mut self, effect: &Effect) -> bool {
        let key = key_of(effect);
        let is_missing = self.items.iter().any(|item| item.makes && item.key == key);
        if effect.verb == "drop" {
            if key.0 != 0 {
                self.forget(key);
            }
            return is_missing;
        }
        let needs = |item: &Item| effect.needs.contains(&item.key);
        is_missing || self.items.iter().any(|item| item.makes && needs(item))
    }

    /// Something is dropped, with what depends on it.
    fn forget(&mut self, key: Key) {
        let before = self.items.len();
        self.items
            .retain(|item| item.key != key && !item.needs.contains(&key));
        self.has_new |= self.items.len() != before;
    }

    /// Keeps a statement for the end. The session's transaction is not an aborted one.
    pub async fn add(&mut self, session: &Session, said: Said<'_>, error: String) -> Result<()> {
        let (mut table, mut index) = (None, None);
        if let Some(TableIn {
            start,
            end,
            index: made,
        }) = table_in(said.sql)
        {
            let oid = session.oid_of_relation(&said.sql[start..end]).await?;
            let is_schema = false;
            table = oid.map(|oid| OnTable {
                oid,
                start,
                end,
                is_schema,
            });
            let schema = names(&said.sql[start..end]).map(|(schema, _, _)| schema);
            index = schema.zip(made);
        } else if let Some((schema, name, start, end)) = index_in(said.sql) {
            // An index is in the schema of its table.
            let name = Some((schema, name));
            let is_of = |item: &&Item| match said.key {
                (0, _) => item.index == name,
                key => item.makes && item.key == key,
            };
            let is_schema = true;
            let on = self
                .items
                .iter()
                .rev()
                .find(is_of)
                .and_then(|item| item.table);
            table = on.map(|on| OnTable {
                start,
                end,
                is_schema,
                ..on
            });
        }
        self.items.push(Item {
            what: said.what,
            place: said.place,
            error,
            sql: said.sql.to_vec(),
            key: said.key,
            needs: said.needs.to_vec(),
            makes: said.makes,
            space: said.space,
            table,
            index,
        });
        self.has_new = true;
        Ok(())
    }

    /// Makes what can be made now, each in a transaction of its own; not within one.
    pub async fn make(&mut self, session: &Session) -> Result<()> {
        for _ in 0..PASSES {
            let mut left = Vec::new();
            let mut items: std::collections::VecDeque<Item> =
                std::mem::take(&mut self.items).into();
            while let Some(mut item) = items.pop_front() {
                // Where its table was dropped, so was it.
                let Some(present) = present(session, &item).await? else {
                    continue;
                };
                item = present;
                let space = &item.space;
                let begin = format!("BEGIN; SET LOCAL default_tablespace = {space}");
                session.client.batch_execute(&begin).await?;
                let done = execute(session, &item.sql).await;
                if let Err(error) = done {
                    session.client.batch_execute("ROLLBACK").await?;
                    if !is_of_statement(&error) {
                        return Err(error);
                    }
                    item.error = error.to_string();
                    left.push(item);
                    continue;
                }
                let still: Vec<&Item> = left.iter().chain(&items).collect();
                let end = format!("{}; COMMIT", sql::keep("deferred", &still));
                session.client.batch_execute(&end).await?;
            }
            self.items = left;
        }
        Ok(())
    }

    /// How many could not be made.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// What could not be made.
    pub fn left(self) -> Vec<Item> {
        self.items
    }
}

/// A foreign key that rows contradict is as valid as at the source, whichever way it comes.
async fn execute(session: &Session, text: &[u8]) -> Result<()> {
    let is_key = memchr::memmem::find(text, b" FOREIGN KEY ").is_some();
    let call = if is_key && memchr::memmem::find(text, b" ADD CONSTRAINT ").is_some() {
        "SELECT pg_temp.incr_foreign_key($1)"
    } else {
        return session.script(text).await;
    };
    let text = Raw(text);
    session
        .client
        .query_typed(call, &[(&text, Type::TEXT)])
        .await?;
    Ok(())
}

/// The text with the present name of its table; `None` if that is no more.
async fn present(session: &Session, item: &Item) -> Result<Option<Item>> {
    const NAME: &str =
        "SELECT convert_to(format(CASE WHEN $2 THEN '%I' ELSE '%I.%I' END, nspname, relname), \
        current_setting('client_encoding')) \
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = $1";
    let mut item = item.clone();
    let Some(on) = &mut item.table else {
        return Ok(Some(item));
    };
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&on.oid, Type::OID), (&on.is_schema, Type::BOOL)];
    let rows = session.client.query_typed(NAME, &values).await?;
    let Some(name) = rows.first().map(|row| row.get::<_, &[u8]>(0)) else {
        return Ok(None);
    };
    item.sql.splice(on.start..on.end, name.iter().copied());
    on.end = on.start + name.len();
    Ok(Some(item))
}

/// What a schema change is about; a catalog of 0 for other classes than those that may wait, and tables.
pub fn key_of(effect: &Effect) -> Key {
    let catalog = match effect.class.as_str() {
        "index" | "table" | "materialized view" | "view" => CLASS,
        "constraint" => CONSTRAINT,
        "statistics object" => STATISTICS,
        _ => 0,
    };
    (catalog, effect.oid)
}

/// Whether a SQLSTATE is no reason to leave something out: connection, space, memory, shutdown, and beyond
/// [`sqlstate::is_unavailable`] all of these classes, the state of the transaction, and faults.
pub fn is_of_the_server(code: &str) -> bool {
    let is_class = |class: &&str| code.starts_with(class);
    sqlstate::is_unavailable(code) || ["08", "25", "58", "F0", "XX"].iter().any(is_class)
}

/// The statement is refused; nothing is wrong with the server, or the connection.
pub fn is_of_statement(error: &Error) -> bool {
    let Error::Server(error) = error else {
        return false;
    };
    let code = error.code();
    code.is_some_and(|code| !is_of_the_server(code.code()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn effect(class: &str, oid: u32, verb: &str, needs: &[Key]) -> Effect {
        Effect {
            class: class.into(),
            oid,
            verb: verb.into(),
            identity: b"public.x".to_vec(),
            identity_cut: 0,
            needs: needs.to_vec(),
            needs_cut: 0,
        }
    }

    fn waiting(key: Key, needs: &[Key], makes: bool) -> Item {
        Item {
            what: String::new(),
            place: String::new(),
            error: String::new(),
            sql: Vec::new(),
            key,
            needs: needs.to_vec(),
            makes,
            table: None,
            index: None,
            space: "''".to_owned(),
        }
    }

    #[test]
    fn what_is_said_of_something_that_waits_waits_and_its_end_is_the_end_of_both() {
        let index = (CLASS, 7);
        let mut deferred = Deferred::new(OnError::Defer, vec![waiting(index, &[(CLASS, 5)], true)]);
        assert!(deferred.waits(&effect("index", 7, "comment", &[])));
        assert!(deferred.waits(&effect("constraint", 9, "create", &[index])));
        assert!(!deferred.waits(&effect("index", 8, "comment", &[(CLASS, 5)])));
        assert!(deferred.waits(&effect("index", 7, "drop", &[])));
        assert!(deferred.is_empty());
        // With its table, which is dropped itself.
        let mut deferred = Deferred::new(OnError::Defer, vec![waiting(index, &[(CLASS, 5)], true)]);
        assert!(!deferred.waits(&effect("table", 5, "drop", &[])));
        assert!(deferred.is_empty());
        // One that exists, and could not be validated, is dropped.
        let key = (CONSTRAINT, 3);
        let mut deferred = Deferred::new(OnError::Defer, vec![waiting(key, &[], false)]);
        assert!(!deferred.waits(&effect("constraint", 3, "drop", &[])));
        assert!(deferred.is_empty());
    }
}
