//! Differences as text, or as objects of JSON.

use std::cell::Cell;

use archive_query::history::ddl::TableName;
use archive_query::history::Value;
use archive_query::past::quoting::{written, written_table};
use archive_query::past::{Net, Shape, Table};
use archive_query::report::text::readable;
use serde_json::{json, Map, Value as Json};

use super::net::{changed, Became, Counts};
use super::{time_of, worded, Diff};
use crate::output::Output;
use crate::restore::part::pattern::Pattern;
use crate::shown::{count, line};
use crate::stretch::touched::SchemaChange;

/// A value with more characters than this is shortened for people.
const LONGEST: usize = 80;

/// Where differences go.
pub struct Shower<'a> {
    output: &'a Output,
    patterns: &'a [Pattern],
    lists_rows: bool,
    is_full: bool,
    is_different: Cell<bool>,
    has_schema_changes: Cell<bool>,
}

impl<'a> Shower<'a> {
    pub fn new(output: &'a Output, options: &Diff, patterns: &'a [Pattern]) -> Shower<'a> {
        Shower {
            output,
            patterns,
            lists_rows: options.rows,
            is_full: options.full,
            is_different: Cell::new(false),
            has_schema_changes: Cell::new(false),
        }
    }

    pub fn lists_rows(&self) -> bool {
        self.lists_rows
    }

    /// Whether a table is one of those that are wanted.
    pub fn has_table(&self, name: &TableName) -> bool {
        let is_match = |pattern: &Pattern| pattern.is_match(&name.schema, &name.table);
        self.patterns.is_empty() || self.patterns.iter().any(is_match)
    }

    /// A table that differs, or that was made or dropped.
    pub fn table(&self, oid: u32, name: &TableName, counts: Counts, presence: (bool, bool)) {
        let (was_there, is_there) = presence;
        let (is_made, is_dropped) = (is_there && !was_there, was_there && !is_there);
        let table = readable(&written_table(name));
        self.is_different.set(true);
        let answer = json!({
            "table": table, "oid": oid, "inserted": counts.inserted, "updated": counts.updated,
            "deleted": counts.deleted, "created": is_made, "dropped": is_dropped,
        });
        self.output.answer(&answer, |_| {
            let mut said = Vec::new();
            said.extend(is_made.then(|| "created".to_owned()));
            said.extend(is_dropped.then(|| "dropped".to_owned()));
            let counted = [
                (counts.inserted, "inserted"),
                (counts.updated, "updated"),
                (counts.deleted, "deleted"),
            ];
            let counted = counted.iter().filter(|(number, _)| *number > 0);
            said.extend(counted.map(|(number, word)| format!("{} {word}", count(*number))));
            format!("{}: {}", line(&table), said.join(", "))
        });
    }

    /// A row that differs; `key` has the columns that identify it, if they are known.
    pub fn row(&self, net: &Net<'_>, became: &Became, key: Option<&[Vec<u8>]>) {
        let word = match became {
            Became::Inserted => "inserted",
            Became::Updated => "updated",
            Became::Deleted => "deleted",
        };
        let (one, other) = net.shapes;
        let answer = || {
            let table = readable(&written_table(net.name));
            let (before, after) = match (net.before, net.after) {
                (Some(before), Some(after)) => {
                    let mut old = Map::new();
                    let mut new = Map::new();
                    for (name, before, after) in changed(one, before, other, after) {
                        old.insert(readable(name), json_of(before));
                        new.insert(readable(name), json_of(after));
                    }
                    (Some(Json::Object(old)), Some(Json::Object(new)))
                }
                (before, after) => (
                    before.map(|values| object(one, values, None)),
                    after.map(|values| object(other, values, None)),
                ),
            };
            let row = net.after.map(|values| (other, values));
            let row = row.or(net.before.map(|values| (one, values)));
            let identity =
                row.map(|(shape, values)| object(shape, values, Some(&identity(shape, key))));
            json!({ "table": table, "row": word, "key": identity, "before": before, "after": after })
        };
        if self.output.is_json() {
            self.output.answer(&answer(), |_| String::new());
            return;
        }
        let text = match (net.before, net.after) {
            (Some(before), Some(after)) => {
                let columns = changed(one, before, other, after);
                let columns = columns.map(|(name, old, new)| {
                    let name = line(&readable(&written(name)));
                    format!("{name} {} \u{2192} {}", self.value(old), self.value(new))
                });
                let columns: Vec<String> = columns.collect();
                let identity = self.columns(one, before, Some(&identity(one, key)));
                format!("{identity}: {}", columns.join(", "))
            }
            (Some(before), None) => format!("- {}", self.columns(one, before, None)),
            (None, Some(after)) => format!("+ {}", self.columns(other, after, None)),
            (None, None) => return,
        };
        self.output.answer(&(), |()| format!("    {text}"));
    }

    /// A row of a table that was made since.
    pub fn made_row(&self, table: &Table, values: &[Value<'_>]) {
        let answer = || {
            let name = readable(&written_table(&table.name));
            let after = object(&table.shape, values, None);
            let key = object(&table.shape, values, Some(&identity(&table.shape, None)));
            json!({ "table": name, "row": "inserted", "key": key, "before": null, "after": after })
        };
        if self.output.is_json() {
            self.output.answer(&answer(), |_| String::new());
        } else {
            let columns = self.columns(&table.shape, values, None);
            self.output.answer(&(), |()| format!("    + {columns}"));
        }
    }

    /// `id=5 item='tea'`
    fn columns(&self, shape: &Shape, values: &[Value<'_>], only: Option<&[Vec<u8>]>) -> String {
        let all = shape.stored().zip(values);
        let wanted = all.filter(|(column, _)| only.is_none_or(|only| only.contains(&column.name)));
        let texts = wanted.map(|(column, value)| {
            let name = line(&readable(&written(&column.name)));
            format!("{name}={}", self.value(value))
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    fn value(&self, value: &Value<'_>) -> String {
        let Value::Text(text) = value else {
            return "NULL".to_owned();
        };
        let text = line(&readable(text));
        let is_number = text.parse::<f64>().is_ok();
        let length = text.chars().count();
        if length > LONGEST && !self.is_full {
            let start: String = text.chars().take(LONGEST / 2).collect();
            return format!("'{start}... ({} more characters)'", length - LONGEST / 2);
        }
        if is_number {
            text
        } else {
            format!("'{}'", text.replace('\'', "''"))
        }
    }

    pub fn schema_change(&self, change: &SchemaChange) {
        self.is_different.set(true);
        let commands = change
            .commands
            .iter()
            .map(|(command, object)| json!({ "command": command, "object": readable(object) }));
        let answer = json!({
            "schema_change": worded(change), "xid": change.commit.xid, "lsn": change.commit.lsn.to_string(),
            "time": time_of(change), "changes": commands.collect::<Vec<_>>(),
        });
        let is_first = !self.has_schema_changes.replace(true);
        self.output.answer(&answer, |_| {
            let heading = if is_first { "schema changes:\n" } else { "" };
            let at = time_of(change).unwrap_or_default();
            format!(
                "{heading}    transaction {}  {at}  {}",
                change.commit.xid,
                worded(change)
            )
        });
    }

    /// After everything.
    pub fn end(&self) {
        if !self.is_different.get() && !self.output.is_json() {
            self.output.answer(&(), |()| "no differences".to_owned());
        }
    }
}

/// The columns that identify a row: its key, or the first one.
fn identity(shape: &Shape, key: Option<&[Vec<u8>]>) -> Vec<Vec<u8>> {
    let has = |column: &Vec<u8>| shape.column(column).is_some();
    match key.filter(|key| key.iter().all(has)) {
        Some(key) => key.to_vec(),
        None => shape
            .stored()
            .take(1)
            .map(|column| column.name.clone())
            .collect(),
    }
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Text(text) => readable(text).into(),
    }
}

fn object(shape: &Shape, values: &[Value<'_>], only: Option<&[Vec<u8>]>) -> Json {
    let all = shape.stored().zip(values);
    let wanted = all.filter(|(column, _)| only.is_none_or(|only| only.contains(&column.name)));
    let pairs = wanted.map(|(column, value)| (readable(&column.name), json_of(value)));
    Json::Object(pairs.collect())
}
