//! Rows of ddl_history, written before and after a statement.

use super::session::{session, Session};
use crate::pg::ddl::ddl_history::{next_id, HistoryTable, RowPlace, Value};
use crate::pg::ddl::node::Sql;

/// What is recorded of a statement before it runs.
pub struct Record {
    pub command: &'static str,
    pub query: Sql,
    pub session: Session,
    /// The text that a restore executes; `None` if the row is only information.
    pub replay_text: Option<Sql>,
    /// The effects of the statement are decoded from the catalogs; the text, if any, is for effects that are
    /// not understood.
    pub is_decoded: bool,
}

impl Record {
    /// An additional row: a command of our own, and its text.
    pub fn note(command: &'static str, query: Sql, text: Sql) -> Self {
        Self {
            command,
            query,
            session: session(b""),
            replay_text: Some(text),
            is_decoded: false,
        }
    }
}

/// An object that a statement created, altered or dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    pub object_type: Sql,
    pub identity: Sql,
}

impl Object {
    pub fn table(identity: Sql) -> Self {
        Self {
            object_type: b"table".to_vec(),
            identity,
        }
    }
}

/// A statement's row, written in this transaction.
pub struct WrittenRow {
    history: HistoryTable,
    record: Record,
    id: i64,
    place: RowPlace,
    object: Option<Object>,
    /// The object was reported, or the row is complete without one.
    is_completed: bool,
    changed: bool,
}

impl WrittenRow {
    /// Writes the first row of a statement, with the object that it will concern if that is known already:
    /// updating the row is more expensive than writing it.
    pub fn insert(history: HistoryTable, record: Record, expected: Option<Object>) -> Self {
        history.lock();
        let id = next_id();
        let place = history.insert(&columns(id, id, &record, expected.as_ref()));
        Self {
            history,
            record,
            id,
            place,
            object: expected,
            is_completed: false,
            changed: false,
        }
    }

    /// Records an object: the first one is in the statement's own row, the others get separate rows.
    pub fn add_object(&mut self, object: Object) {
        if !self.is_completed {
            self.is_completed = true;
            let object = Some(object);
            self.changed |= self.object != object;
            self.object = object;
            return self.flush();
        }
        let id = next_id();
        self.history
            .insert(&columns(id, self.id, &self.record, Some(&object)));
    }

    /// The statement as the user wrote it.
    pub fn query(&self) -> &Sql {
        &self.record.query
    }

    /// True if an object was recorded.
    pub fn is_completed(&self) -> bool {
        self.is_completed
    }

    /// Removes the expected object: nothing has been reported.
    pub fn expect_nothing(&mut self) {
        self.changed |= self.object.take().is_some();
    }

    /// Sets another text for restores.
    pub fn replace_replay(&mut self, text: Sql) {
        self.record.replay_text = Some(text);
        self.changed = true;
    }

    /// Makes a restore not execute the statement.
    pub fn cancel(&mut self) {
        self.record.replay_text = None;
        self.record.is_decoded = false;
        self.expect_nothing();
        self.complete();
    }

    /// Writes the row again, to mark the end of an extension's script.
    pub fn complete(&mut self) {
        self.changed = true;
        self.flush();
    }

    /// Writes the changes. All values are written again: a TOAST pointer to the old copy of a long one would
    /// be missing in the decoded row.
    pub fn flush(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let row = columns(self.id, self.id, &self.record, self.object.as_ref());
        if let Some(place) = self.history.update(self.place, &row) {
            self.place = place;
        }
    }
}

/// How many columns ddl_history has.
pub const COLUMNS: usize = 14;

/// The columns of ddl_history in the table's order, see sql/ddl_history.sql.
fn columns<'a>(
    id: i64,
    statement_id: i64,
    record: &'a Record,
    object: Option<&'a Object>,
) -> [Value<'a>; COLUMNS] {
    // The other rows of a statement only contain objects.
    let is_first = id == statement_id;
    let replay = record.replay_text.as_ref().filter(|_| is_first);
    let text = |text: Option<&'a Sql>| text.map_or(Value::Null, |text| Value::Text(text));
    [
        Value::Number(id),
        Value::Number(statement_id),
        Value::TransactionId,
        Value::Now,
        Value::Text(&record.session.role),
        Value::Text(record.command.as_bytes()),
        text(object.map(|object| &object.object_type)),
        text(object.map(|object| &object.identity)),
        Value::Text(&record.query),
        Value::Text(&record.session.search_path),
        Value::Json(&record.session.settings),
        Value::Flag(replay.is_some() || is_first && record.is_decoded),
        Value::Flag(record.session.is_superuser),
        text(replay),
    ]
}
