//! What is wanted of a stretch.

use std::cell::Cell;
use std::collections::BTreeSet;

use archive::segment::{Effect, Lost, TypedWords, Who};
use archive::storage::Storage;
use archive_query::catalog::{Chain, Segment};
use archive_query::history::index;
use archive_query::history::literal::{name_of, Value};
use archive_query::history::statement;
use memchr::memmem::Finder;

use super::change::{schema_and_name, RowChange, Wanted};
use super::options::Show;
use crate::error::{Error, Result};
use crate::restore::part::pattern::Pattern;
use crate::stretch::touched::names_table;

/// The filter.
pub struct Filter {
    tables: Vec<Pattern>,
    key: Vec<Wanted>,
    pub xids: BTreeSet<u64>,
    /// One of them is looked for; none: nothing is.
    grep: Vec<Finder<'static>>,
    roles: Vec<Vec<u8>>,
    /// One of them made the transaction that is being read.
    is_theirs: Cell<bool>,
    wants_rows: bool,
    wants_ddl: bool,
    /// Row changes that do not tell the columns of the key.
    pub undecided: Cell<u64>,
}

impl Filter {
    pub fn of(options: &Show) -> Result<Filter> {
        let tables = options.table.iter().map(|text| Pattern::of_relation(text));
        let grep = options.grep.as_deref().map(encodings).unwrap_or_default();
        Ok(Filter {
            tables: tables.collect::<Result<_>>()?,
            key: key_of(&options.key)?,
            xids: options.xid.iter().copied().collect(),
            grep: grep
                .iter()
                .map(|text| Finder::new(text).into_owned())
                .collect(),
            roles: options
                .role
                .iter()
                .flat_map(|role| encodings(role))
                .collect(),
            is_theirs: Cell::new(false),
            wants_rows: !options.ddl_only,
            wants_ddl: !options.rows_only && options.key.is_empty(),
            undecided: Cell::new(0),
        })
    }

    /// A transaction begins; `who` made it, where that was recorded.
    pub fn begin(&self, who: Option<&Who>) {
        let is_theirs = who.is_some_and(|who| self.roles.contains(&who.role));
        self.is_theirs.set(is_theirs);
    }

    /// Whether everything is wanted.
    pub fn is_empty(&self) -> bool {
        let has_none = self.tables.is_empty() && self.key.is_empty() && self.roles.is_empty();
        has_none && self.grep.is_empty() && self.wants_rows && self.wants_ddl
    }

    /// Whether a segment has nothing that is wanted, as its index shows. Without one it is read.
    pub fn passes_over(&self, storage: &dyn Storage, chain: &Chain, segment: &Segment) -> bool {
        if self.wants_rows && self.tables.is_empty() {
            return false;
        }
        let Some(index) = index::of_listed(storage, chain, segment) else {
            return false;
        };
        let has =
            |relation: &index::Relation| self.wants_rows && self.is_of_table(&relation.name.0);
        index.outline.is_some() && !index.relations.iter().any(has)
    }

    fn is_of_table(&self, written: &[u8]) -> bool {
        if self.tables.is_empty() {
            return true;
        }
        let (schema, name) = schema_and_name(written);
        self.tables
            .iter()
            .any(|table| table.is_match(&schema, &name))
    }

    fn has_text(&self, text: &[u8]) -> bool {
        let mut grep = self.grep.iter();
        self.grep.is_empty() || grep.any(|grep| grep.find(text).is_some())
    }

    /// Whether one of the roles made a change of which no more is known than its transaction.
    fn is_by_them(&self) -> bool {
        self.roles.is_empty() || self.is_theirs.get()
    }

    fn is_by(&self, role: &[u8]) -> bool {
        self.is_by_them() || self.roles.iter().any(|wanted| wanted == role)
    }

    /// Whether a row change is wanted; `text` is its line.
    pub fn takes_row(&self, change: &RowChange<'_>, text: &[u8]) -> bool {
        let is_wanted = self.wants_rows && self.is_by_them() && self.is_of_table(change.table);
        if !is_wanted || !self.has_text(text) {
            return false;
        }
        let found = change.has(&self.key);
        if found.is_none() {
            self.undecided.set(self.undecided.get() + 1);
        }
        found.unwrap_or(false)
    }

    /// The tables of a TRUNCATE that are wanted, as written.
    pub fn truncated<'a>(&self, line: &'a [u8]) -> Vec<&'a [u8]> {
        // Without a table, a key may be of any.
        let is_wanted = self.wants_rows
            && self.is_by_them()
            && (self.key.is_empty() || !self.tables.is_empty());
        if !is_wanted || !self.has_text(line) {
            return Vec::new();
        }
        let mut tables = statement::truncated(line).unwrap_or_default();
        tables.retain(|table| self.is_of_table(table));
        tables
    }

    /// Whether a schema change is wanted.
    pub fn takes_effect(&self, effect: &Effect, text: &[u8], words: Option<&TypedWords>) -> bool {
        let typed = words.map_or(&b""[..], |words| &words.text);
        self.wants_ddl
            && self.is_by(words.map_or(&b""[..], |words| &words.role))
            && (self.has_text(text) || !self.grep.is_empty() && self.has_text(typed))
            && (self.is_of_relation(effect) || self.names_table(text))
    }

    /// Whether a statement that is written as text is wanted.
    pub fn takes_ddl(&self, role: &[u8], text: &[u8]) -> bool {
        self.wants_ddl && self.is_by(role) && self.has_text(text) && self.names_table(text)
    }

    /// Whether another statement or comment is wanted: a position, a mark.
    pub fn takes_other(&self, role: Option<&[u8]>, text: &[u8]) -> bool {
        self.tables.is_empty()
            && self.wants_ddl
            && role.map_or_else(|| self.is_by_them(), |role| self.is_by(role))
            && self.has_text(text)
    }

    /// Whether what could not be captured is of what is wanted.
    pub fn takes_flag(&self, reason: &[u8], lost: Option<&Lost>) -> bool {
        let is_of_table = match lost {
            Some(lost) if lost.class == "table" => self.is_of_table(&lost.identity),
            Some(_) => true,
            None => self.tables.is_empty(),
        };
        is_of_table && self.has_text(reason) && self.is_by_them()
    }

    fn is_of_relation(&self, effect: &Effect) -> bool {
        effect.class.contains("table") && self.is_of_table(&effect.identity)
    }

    fn names_table(&self, text: &[u8]) -> bool {
        names_table(&self.tables, text)
    }
}

/// Several values of one column are alternatives.
fn key_of(texts: &[String]) -> Result<Vec<Wanted>> {
    let mut key: Vec<Wanted> = Vec::new();
    for text in texts {
        let Some((column, value)) = text
            .split_once('=')
            .filter(|(column, _)| !column.trim().is_empty())
        else {
            let shown = crate::quote::shown(text.as_bytes());
            let message = format!("\"{shown}\" is not a column and its value");
            return Err(Error::wrong_use(message, "For example --key id=42."));
        };
        let column = match column.trim() {
            quoted if quoted.starts_with('"') => {
                String::from_utf8_lossy(&name_of(quoted.as_bytes())).into_owned()
            }
            plain => plain.to_lowercase(),
        };
        let column = encodings(&column);
        let values = encodings(value).into_iter();
        let values = values.map(|value| Value::Text(value.into()));
        match key.iter_mut().find(|wanted| wanted.column == column) {
            Some(wanted) => wanted.values.extend(values),
            None => key.push(Wanted {
                column,
                values: values.collect(),
            }),
        }
    }
    Ok(key)
}

/// The bytes of what was typed, in UTF-8 and in Latin 1: an archive is in the encoding of its database.
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let mut all = vec![text.as_bytes().to_vec()];
    let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    all.extend(latin1.filter(|_| !text.is_ascii()));
    all
}
