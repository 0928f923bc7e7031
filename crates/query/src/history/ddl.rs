//! DDL in a segment: the tables in its text, and its renames.
//!
//! Unqualified names are resolved with the search_path of the statement; a name that could be the table's is
//! regarded as such.

use serde::{Deserialize, Serialize};

use super::lines::{encoded, Typed};
use super::literal::name_of;
use super::scanner::{tokens, Token, Words};
use archive::segment::DdlBlock;

/// One statement of a DDL block.
pub struct Ddl<'a> {
    /// As the user wrote it.
    pub statement: &'a [u8],
    /// The schemas in which it resolved names.
    pub search_path: Vec<Vec<u8>>,
}

/// The table in question, by its names at some time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub schema: Vec<u8>,
    pub table: Vec<u8>,
}

/// A rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// The schema in the statement, or those of the search_path.
    pub schemas: Vec<Name>,
    /// The table; `None` if a schema was renamed.
    pub table: Option<Name>,
    pub what: Renamed,
}

/// The renamed object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renamed {
    Table {
        to: Name,
    },
    Column {
        from: Name,
        to: Name,
    },
    /// The table moved to another schema.
    Moved {
        to: Name,
    },
    Schema {
        from: Name,
        to: Name,
    },
}

/// A name of any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name(#[serde(with = "encoded")] pub Vec<u8>);

impl<'a> Ddl<'a> {
    /// Parses a block's text. `role` is the one that ran it.
    pub fn read(text: &'a [u8], role: &[u8]) -> Ddl<'a> {
        let block = DdlBlock::read(text);
        Ddl {
            statement: block.statement,
            search_path: search_path(block.before, role),
        }
    }

    /// True if the text names the table, or its schema in a command about schemas.
    pub fn names(&self, command: &str, name: &TableName) -> bool {
        let words = tokens(self.statement);
        let mut before: [Option<&Token>; 2] = [None, None];
        for word in &words {
            if let Token::Name(found) = word {
                let is_schema = command.contains("SCHEMA") && *found == name.schema;
                let schema = match before {
                    [Some(Token::Name(schema)), Some(Token::Symbol(b'.'))] => Some(schema),
                    _ => None,
                };
                let is_there = match schema {
                    Some(schema) => *schema == name.schema,
                    None => self.search_path.contains(&name.schema),
                };
                if is_schema || *found == name.table && is_there {
                    return true;
                }
            }
            before = [before[1], Some(word)];
        }
        false
    }

    /// Every name in the text, also of other objects.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let names = tokens(self.statement).into_iter();
        names
            .filter_map(|token| match token {
                Token::Name(name) => Some(name),
                Token::Symbol(_) => None,
            })
            .collect()
    }

    /// The renames of the statement.
    pub fn rename(&self) -> Option<Rename> {
        let mut words = Cursor::of(self.statement);
        words.word("alter")?;
        if words.word("schema").is_some() {
            let from = words.name()?;
            words.word("rename").and_then(|()| words.word("to"))?;
            return Some(Rename {
                schemas: Vec::new(),
                table: None,
                what: Renamed::Schema {
                    from,
                    to: words.name()?,
                },
            });
        }
        let is_relation = [
            "foreign",
            "materialized",
            "table",
            "view",
            "index",
            "sequence",
        ];
        let mut kinds = 0;
        while is_relation.iter().any(|word| words.word(word).is_some()) {
            kinds += 1;
        }
        if kinds == 0 {
            return None;
        }
        words.word("if").map(|()| words.word("exists"));
        let _ = words.word("only");
        let first = words.name()?;
        let (schemas, table) = match words.symbol(b'.') {
            Some(()) => (vec![first], words.name()?),
            None => (self.search_path.iter().cloned().map(Name).collect(), first),
        };
        let _ = words.symbol(b'*');
        let what = if words.word("set").is_some() {
            words.word("schema")?;
            Renamed::Moved { to: words.name()? }
        } else {
            words.word("rename")?;
            if words.word("to").is_some() {
                Renamed::Table { to: words.name()? }
            } else {
                if words.word("constraint").is_some() {
                    return None;
                }
                let _ = words.word("column");
                let from = words.name()?;
                words.word("to")?;
                Renamed::Column {
                    from,
                    to: words.name()?,
                }
            }
        };
        Some(Rename {
            schemas,
            table: Some(table),
            what,
        })
    }
}

impl Rename {
    /// The previous name of a table, given its new one.
    pub fn undo(&self, name: &TableName) -> TableName {
        let (schema, table) = (name.schema.clone(), name.table.clone());
        match &self.what {
            Renamed::Table { to } if to.0 == name.table && self.is_in(&name.schema) => TableName {
                schema,
                table: self.table.as_ref().map_or(table, |old| old.0.clone()),
            },
            Renamed::Moved { to } if to.0 == name.schema && self.is_of(&name.table) => TableName {
                schema: match self.schemas.iter().find(|old| old.0 != schema) {
                    Some(old) => old.0.clone(),
                    None => schema,
                },
                table,
            },
            Renamed::Schema { from, to } if to.0 == name.schema => TableName {
                schema: from.0.clone(),
                table,
            },
            _ => name.clone(),
        }
    }

    /// The next name of a table, given its previous one.
    pub fn redo(&self, name: &TableName) -> TableName {
        let is_it = self.is_of(&name.table) && self.is_in(&name.schema);
        let (schema, table) = (name.schema.clone(), name.table.clone());
        match &self.what {
            Renamed::Table { to } if is_it => TableName {
                schema,
                table: to.0.clone(),
            },
            Renamed::Moved { to } if is_it => TableName {
                schema: to.0.clone(),
                table,
            },
            Renamed::Schema { from, to } if from.0 == schema => TableName {
                schema: to.0.clone(),
                table,
            },
            _ => name.clone(),
        }
    }

    /// The previous name of a column of this table.
    pub fn undo_column(&self, name: &TableName, column: &[u8]) -> Option<Vec<u8>> {
        match &self.what {
            Renamed::Column { from, to }
                if to.0 == column && self.is_of(&name.table) && self.is_in(&name.schema) =>
            {
                Some(from.0.clone())
            }
            _ => None,
        }
    }

    fn is_in(&self, schema: &[u8]) -> bool {
        self.schemas.iter().any(|found| found.0 == schema)
    }

    fn is_of(&self, table: &[u8]) -> bool {
        self.table.as_ref().is_some_and(|found| found.0 == table)
    }
}

/// True for a command that creates, alters, truncates or drops tables, or schemas with their contents.
pub fn is_about_tables(command: &str) -> bool {
    let is = |part: &str| command.contains(part);
    (is("TABLE") && !is("TABLESPACE")) || is("SCHEMA") || is("SELECT INTO")
}

/// The same for an effect: the effects of a statement about tables concern tables, too.
pub fn is_effect_about_tables(command: &str, words: Option<&Typed>) -> bool {
    is_about_tables(command) || words.is_some_and(|typed| is_about_tables(&typed.command))
}

fn search_path(settings: &[u8], role: &[u8]) -> Vec<Vec<u8>> {
    let mut path = Vec::new();
    const SETTING: &[u8] = b"SET LOCAL search_path = ";
    let Some(at) = memchr::memmem::find(settings, SETTING) else {
        return path;
    };
    let mut words = Words::new(&settings[at + SETTING.len()..]);
    while let Some(identifier) = words.identifier() {
        let schema = name_of(identifier).into_owned();
        path.push(if schema == b"$user" {
            role.to_vec()
        } else {
            schema
        });
        words.pass(b", ");
    }
    path
}

/// Reads a statement word by word.
pub(super) struct Cursor(std::iter::Peekable<std::vec::IntoIter<Token>>);

impl Cursor {
    pub(super) fn of(statement: &[u8]) -> Cursor {
        Cursor(tokens(statement).into_iter().peekable())
    }

    pub(super) fn word(&mut self, word: &str) -> Option<()> {
        self.0
            .next_if(|token| matches!(token, Token::Name(name) if name == word.as_bytes()))
            .map(|_| ())
    }

    pub(super) fn symbol(&mut self, symbol: u8) -> Option<()> {
        self.0
            .next_if(|token| *token == Token::Symbol(symbol))
            .map(|_| ())
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        match self.0.next() {
            Some(Token::Name(name)) => Some(Name(name)),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;
