//! The tables that a stretch changes, and its schema changes.

use std::collections::{BTreeMap, BTreeSet};

use archive::segment::{DdlBlock, TypedWords};
use archive::storage::Storage;
use archive_query::catalog::Segment;
use archive_query::history::ddl::TableName;
use archive_query::history::literal::names_of;
use archive_query::history::scanner::{tokens, Token};
use archive_query::history::statement::{self, Operation, Statement};

use super::reading::{Commit, Piece, Reading};
use super::Stretch;
use crate::error::Result;
use crate::restore::part::pattern::Pattern;
use crate::restore::part::wanted::Name;

/// What a pass through a stretch has found.
#[derive(Debug, Default)]
pub struct Touched {
    /// Tables whose rows change, as they are called at that place.
    pub names: BTreeSet<Name>,
    /// By which columns an UPDATE finds the row of a table.
    pub keys: BTreeMap<Name, Vec<Vec<u8>>>,
    pub schema_changes: Vec<SchemaChange>,
}

/// A schema change: a statement, and the objects that it changed.
#[derive(Debug, Clone)]
pub struct SchemaChange {
    pub commit: Commit,
    /// As it was typed; `None` where that is not in the files.
    pub words: Option<TypedWords>,
    /// `CREATE TABLE`
    pub commands: Vec<(String, Vec<u8>)>,
}

impl Touched {
    /// Reads a stretch. With patterns only the schema changes that name a table which matches are kept.
    pub fn read(storage: &dyn Storage, stretch: &Stretch, patterns: &[Pattern]) -> Result<Touched> {
        let skips = |_: &Segment| false;
        let mut reading = Reading::new(storage, stretch, &skips);
        let mut touched = Touched::default();
        let (mut commit, mut words, mut is_new) = (None, None, false);
        // Names as written that were met before, and whether their key is known.
        let mut known: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        while let Some(piece) = reading.next_piece()? {
            let text = reading.text();
            match piece {
                Piece::Begin(begun) => (commit, words) = (Some(begun), None),
                Piece::Words(typed) => (words, is_new) = (Some(*typed), true),
                Piece::Effect(effect) => {
                    let statement = DdlBlock::read(text).statement;
                    let is_own =
                        effect.class.ends_with("table") && is_match(patterns, &effect.identity);
                    if !is_own && !names_table(patterns, statement) {
                        continue;
                    }
                    if effect.class == "table" && matches!(&*effect.verb, "create" | "drop") {
                        touched.names.extend(Name::read(&effect.identity));
                    }
                    let command = (effect.command(), effect.identity.clone());
                    let is_same = !std::mem::take(&mut is_new) && words.is_some();
                    touched.add(commit, words.as_ref(), is_same, command);
                }
                // The rows that an ALTER TABLE writes anew belong to it.
                Piece::Ddl { command, .. } if command == "REWRITE" => {}
                Piece::Ddl { command, .. } => {
                    let statement = DdlBlock::read(text).statement;
                    if names_table(patterns, statement) {
                        touched.add(commit, None, false, (command, statement.to_vec()));
                    }
                }
                Piece::Statement => touched.take_statement(&mut known, text),
                Piece::Copy => {
                    if let Some(table) = statement::copied(text) {
                        touched.note(&mut known, table);
                    }
                }
                _ => {}
            }
        }
        Ok(touched)
    }

    /// Whether rows of a table with this name change, or it is made or dropped.
    pub fn has(&self, name: &TableName) -> bool {
        self.names.contains(&name_of(name))
    }

    /// The columns by which an UPDATE finds the row of a table, if there is one.
    pub fn key_of(&self, name: &TableName) -> Option<&[Vec<u8>]> {
        self.keys.get(&name_of(name)).map(Vec::as_slice)
    }

    fn add(
        &mut self,
        commit: Option<Commit>,
        words: Option<&TypedWords>,
        is_same: bool,
        command: (String, Vec<u8>),
    ) {
        let last = self.schema_changes.last_mut();
        match (last, commit) {
            (Some(last), _) if is_same && last.words.as_ref() == words => {
                last.commands.push(command)
            }
            (_, Some(commit)) => self.schema_changes.push(SchemaChange {
                commit,
                words: words.cloned(),
                commands: vec![command],
            }),
            _ => {}
        }
    }

    fn take_statement(&mut self, known: &mut BTreeMap<Vec<u8>, bool>, text: &[u8]) {
        if let Some((operation, table)) = statement::head(text) {
            let is_key_known = self.note(known, table);
            let has_key = operation == Operation::Update && !is_of_whole_row(text);
            if is_key_known || !has_key {
                return;
            }
            let name = Name::read(table);
            if let Some((name, parsed)) = name.zip(Statement::parse(text)) {
                let columns = parsed.old.iter().map(|(column, _)| column.to_vec());
                self.keys.insert(name, columns.collect());
                known.insert(table.to_vec(), true);
            }
            return;
        }
        for table in statement::truncated(text).unwrap_or_default() {
            self.note(known, table);
        }
    }

    /// Whether the key of the table is known.
    fn note(&mut self, known: &mut BTreeMap<Vec<u8>, bool>, table: &[u8]) -> bool {
        if let Some(is_key_known) = known.get(table) {
            return *is_key_known;
        }
        known.insert(table.to_vec(), false);
        self.names.extend(Name::read(table));
        false
    }
}

fn name_of(name: &TableName) -> Name {
    Name {
        schema: name.schema.clone(),
        name: name.table.clone(),
    }
}

/// Whether a row is found by all of its values.
pub fn is_of_whole_row(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"ctid = (SELECT ").is_some()
        || memchr::memmem::find(text, b"ctid) = (SELECT ").is_some()
}

fn is_match(patterns: &[Pattern], written: &[u8]) -> bool {
    let names = names_of(written);
    let [schema, name] = &names[..] else {
        return patterns.is_empty();
    };
    let is_it = |pattern: &Pattern| pattern.is_match(schema, name);
    patterns.is_empty() || patterns.iter().any(is_it)
}

/// Whether a statement's text has `schema.name` of a table that matches.
pub fn names_table(patterns: &[Pattern], text: &[u8]) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let is_it = |schema: &[u8], name: &[u8]| {
        let mut patterns = patterns.iter();
        patterns.any(|pattern| pattern.is_match(schema, name))
    };
    tokens(text).windows(3).any(|three| match three {
        [Token::Name(schema), Token::Symbol(b'.'), Token::Name(name)] => is_it(schema, name),
        _ => false,
    })
}
