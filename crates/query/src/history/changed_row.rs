//! One change of a table, and the values of a row change as JSON.

use super::found::{insert_of, name};
use super::lines::{Session, Typed};
use super::literal::Value;
use super::names::{table_of, Names, Place};
use super::statement::{self, Operation, Pair, Statement};
use archive::time::Time;
use archive::Lsn;

/// Columns and their values, as a JSON object in the database's encoding: strings as the types' output functions wrote
/// them, and null.
pub type Object = Vec<u8>;

/// A change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub commit_time: Option<Time>,
    pub xid: Option<u64>,
    pub lsn: Option<Lsn>,
    pub who: Option<Session>,
    /// INSERT, UPDATE, DELETE, TRUNCATE, a command, or NOT SHOWN.
    pub operation: String,
    /// The row's key, before the change; of an INSERT after it. `None` if the line does not have all of it.
    pub key: Option<Object>,
    /// What the row had before, as far as the line tells.
    pub old: Option<Object>,
    /// What an INSERT or an UPDATE has set.
    pub new: Option<Object>,
    /// Of a TRUNCATE and a schema change, and of a row change that could not be read. In the database's encoding.
    pub statement: Option<Vec<u8>>,
    /// Relative to the database's directory.
    pub file: Option<String>,
    pub line: Option<u64>,
    /// The original statement that had this effect.
    pub typed: Option<Typed>,
    pub note: Option<String>,
}

/// The operations that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    All,
    Rows(Operation),
    Truncate,
    /// Schema changes.
    Ddl,
}

impl Wanted {
    /// By its name, in any case; `None` if there is none of this name.
    pub fn parse(name: &str) -> Option<Wanted> {
        Some(match name.to_ascii_lowercase().as_str() {
            "insert" => Wanted::Rows(Operation::Insert),
            "update" => Wanted::Rows(Operation::Update),
            "delete" => Wanted::Rows(Operation::Delete),
            "truncate" => Wanted::Truncate,
            "ddl" => Wanted::Ddl,
            _ => return None,
        })
    }

    pub(super) fn takes(self, operation: Operation) -> bool {
        matches!(self, Wanted::All) || self == Wanted::Rows(operation)
    }

    pub(super) fn takes_truncate(self) -> bool {
        matches!(self, Wanted::All | Wanted::Truncate)
    }

    pub(super) fn takes_ddl(self) -> bool {
        matches!(self, Wanted::All | Wanted::Ddl)
    }
}

/// A row change, of its line.
pub(super) fn of_row(operation: Operation, key: &[Vec<u8>], line: &[u8]) -> Change {
    let Some(statement) = Statement::parse(line) else {
        return Change {
            operation: name(operation).to_owned(),
            statement: Some(line.to_vec()),
            note: Some("could not be parsed".to_owned()),
            ..Change::default()
        };
    };
    let Statement { new, mut old, was } = statement;
    for pair in was {
        if !old.iter().any(|(known, _)| *known == pair.0) {
            old.push(pair);
        }
    }
    let has_key = match operation {
        Operation::Insert => &new,
        Operation::Update | Operation::Delete => &old,
    };
    Change {
        operation: name(operation).to_owned(),
        key: key_in(key, has_key),
        old: (!old.is_empty()).then(|| object(&old)),
        new: (operation != Operation::Delete).then(|| object(&new)),
        ..Change::default()
    }
}

/// The open COPY block, if it is of one of the tables.
pub(super) struct Copy {
    head: Vec<u8>,
    columns: Vec<Vec<u8>>,
    pub table: usize,
}

/// The values of the key, if all of them are there.
fn key_in(key: &[Vec<u8>], pairs: &[Pair<'_>]) -> Option<Object> {
    let of_column = |column: &Vec<u8>| {
        let pair = pairs.iter().find(|(name, _)| name.as_ref() == column);
        pair.cloned()
    };
    let found: Option<Vec<Pair<'_>>> = key.iter().map(of_column).collect();
    found
        .filter(|found| !found.is_empty())
        .map(|found| object(&found))
}

impl Copy {
    pub fn of(head: &[u8], names: &[Names], place: Place) -> Option<Copy> {
        Some(Copy {
            table: table_of(names, statement::copied(head)?, place)?,
            columns: statement::copy_columns(head)?,
            head: head.to_vec(),
        })
    }

    pub fn change(&self, key: &[Vec<u8>], row: &[u8]) -> Change {
        let operation = name(Operation::Insert).to_owned();
        let values: Vec<Value<'_>> = statement::copy_values(row).collect();
        if values.len() != self.columns.len() {
            return Change {
                operation,
                statement: Some(insert_of(&self.head, row)),
                note: Some("could not be parsed".to_owned()),
                ..Change::default()
            };
        }
        let names = self.columns.iter().map(|name| name.as_slice().into());
        let new: Vec<Pair<'_>> = names.zip(values).collect();
        Change {
            operation,
            key: key_in(key, &new),
            new: Some(object(&new)),
            ..Change::default()
        }
    }
}

/// A JSON object. Every encoding of a server has ASCII bytes for ASCII characters only, so the others are copied.
fn object(pairs: &[Pair<'_>]) -> Object {
    let mut json = vec![b'{'];
    for (nth, (name, value)) in pairs.iter().enumerate() {
        if nth > 0 {
            json.extend_from_slice(b", ");
        }
        string(&mut json, name);
        json.extend_from_slice(b": ");
        match value {
            Value::Null => json.extend_from_slice(b"null"),
            Value::Text(text) => string(&mut json, text),
        }
    }
    json.push(b'}');
    json
}

fn string(json: &mut Vec<u8>, text: &[u8]) {
    json.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => json.extend_from_slice(&[b'\\', *byte]),
            0..0x20 => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => json.push(*byte),
        }
    }
    json.push(b'"');
}

#[cfg(test)]
#[path = "changed_row_tests.rs"]
mod tests;
