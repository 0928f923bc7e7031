//! Changes for programs: one object a line.

use std::io::{self, BufWriter, Stdout, Write};

use archive::segment::{TypedWords, Who};
use archive::time::iso;
use archive_query::history::literal::Value;
use archive_query::history::statement::Pair;
use archive_query::report::text::readable;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Change, Sink, Tally};
use crate::output::plain;
use crate::stretch::reading::Commit;

/// The objects.
pub struct Json {
    out: BufWriter<Stdout>,
    commit: Option<Commit>,
    who: Option<Session>,
}

/// One object; what a change does not have is null.
#[derive(Debug, Default, serde::Serialize)]
struct Object<'a> {
    xid: u64,
    lsn: String,
    time: Option<String>,
    who: Option<Session>,
    operation: String,
    /// As written, quoted if necessary.
    table: Option<String>,
    new: Option<Values<'a>>,
    old: Option<Values<'a>>,
    statement: Option<String>,
    words: Option<Words>,
}

/// The session of a transaction; what it did not have is empty.
#[derive(Debug, Clone, serde::Serialize)]
struct Session {
    role: String,
    application_name: String,
    client: String,
}

#[derive(Debug, serde::Serialize)]
struct Words {
    command: String,
    role: String,
    time: Option<String>,
    text: String,
    /// Bytes of the text that are missing.
    missing: u64,
}

/// Columns and their values, as texts, in their order.
#[derive(Debug)]
struct Values<'a>(&'a [Pair<'a>]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            let value = match value {
                Value::Null => None,
                Value::Text(text) => Some(readable(text)),
            };
            map.serialize_entry(&readable(name), &value)?;
        }
        map.end()
    }
}

impl Json {
    pub fn new() -> Json {
        Json {
            out: BufWriter::new(io::stdout()),
            commit: None,
            who: None,
        }
    }

    fn write(&mut self, object: Object<'_>) -> io::Result<()> {
        let Some(commit) = self.commit else {
            return Ok(());
        };
        let object = Object {
            xid: commit.xid,
            lsn: commit.lsn.to_string(),
            time: commit.at.map(iso),
            who: self.who.clone(),
            ..object
        };
        let text = plain(serde_json::to_string(&object)?);
        writeln!(self.out, "{text}")
    }
}

impl Sink for Json {
    fn begin(&mut self, commit: Commit, who: Option<&Who>) -> io::Result<()> {
        self.commit = Some(commit);
        self.who = who.map(|who| Session {
            role: readable(&who.role),
            application_name: readable(&who.application),
            client: readable(&who.client),
        });
        Ok(())
    }

    fn change(&mut self, change: &Change<'_>) -> io::Result<()> {
        let operation = str::to_owned;
        let object = match change {
            Change::Row(row, text) | Change::CopyRow(row, _, text) => Object {
                operation: operation(row.operation),
                table: Some(readable(row.table)),
                new: (!row.new.is_empty()).then_some(Values(&row.new)),
                old: (!row.old.is_empty()).then_some(Values(&row.old)),
                // The values of a row of COPY say all of it.
                statement: matches!(change, Change::Row(..)).then(|| readable(text)),
                ..Object::default()
            },
            Change::Truncate(tables, line) => {
                for table in tables {
                    self.write(Object {
                        operation: operation("TRUNCATE"),
                        table: Some(readable(table)),
                        statement: Some(readable(line)),
                        ..Object::default()
                    })?;
                }
                return Ok(());
            }
            Change::Effect(effect, statement, words) => Object {
                operation: effect.command(),
                table: effect
                    .class
                    .contains("table")
                    .then(|| readable(&effect.identity)),
                statement: Some(readable(statement)),
                words: words.map(Words::of),
                ..Object::default()
            },
            Change::Ddl(command, role, statement) => Object {
                operation: operation(command),
                statement: Some(readable(statement)),
                words: Some(Words {
                    command: operation(command),
                    role: readable(role),
                    time: None,
                    text: readable(statement),
                    missing: 0,
                }),
                ..Object::default()
            },
            Change::Other(line) => Object {
                operation: operation("OTHER"),
                statement: Some(readable(line)),
                ..Object::default()
            },
            Change::Mark(mark) => Object {
                operation: operation("MARK"),
                words: Some(Words {
                    command: operation("MARK"),
                    role: readable(&mark.role),
                    time: mark.at.map(iso),
                    text: mark.name.clone(),
                    missing: 0,
                }),
                ..Object::default()
            },
            Change::Flag(reason, lost) => Object {
                operation: operation(if lost.is_some() { "LOST" } else { "NOTE" }),
                table: lost.map(|lost| readable(&lost.identity)),
                statement: Some(readable(reason)),
                ..Object::default()
            },
            Change::LeftOut(object) => Object {
                operation: operation("LEFT OUT"),
                statement: Some(readable(object)),
                ..Object::default()
            },
        };
        self.write(object)
    }

    fn end(&mut self, _: &Tally) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Words {
    fn of(words: &TypedWords) -> Words {
        Words {
            command: words.command.clone(),
            role: readable(&words.role),
            time: words.at.map(iso),
            text: readable(&words.text),
            missing: words.text_cut,
        }
    }
}
