//! Parses decoder_raw's lines: their kind, ddl_history's rows, and literals that contain an unescaped line
//! end (decoder_raw only doubles quotes), which a segment must not have.

use std::collections::HashMap;

use super::error::{CaptureError, Result};
use crate::output_plugin::ddl_history::Statement;

/// Schema and name of a table.
pub type Table = (Vec<u8>, Vec<u8>);

/// The tables of our own extension.
pub struct OwnTables {
    pub history: Option<Table>,
    pub others: Vec<Table>,
}

/// The kind of a line of decoder_raw.
pub enum Line {
    Begin,
    Commit,
    /// ddl_history records every TRUNCATE; the line itself is not written.
    Truncate,
    StatementInserted(Statement),
    StatementUpdated(Statement),
    /// A row of a table of ours that a restored database does not have.
    Ignored,
    /// A row change, on one line.
    Change(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A keyword, name or number.
    Word(Vec<u8>),
    /// A string literal's value.
    Literal(Vec<u8>),
    Symbol(u8),
}

/// Reads one row.
pub fn read(row: &[u8], own: &OwnTables) -> Result<Line> {
    if row == b"BEGIN;" {
        return Ok(Line::Begin);
    }
    if row == b"COMMIT;" {
        return Ok(Line::Commit);
    }
    if row.starts_with(b"TRUNCATE ") {
        return Ok(Line::Truncate);
    }
    let verbs: [&[u8]; 3] = [b"INSERT INTO ", b"UPDATE ", b"DELETE FROM "];
    let target = verbs
        .iter()
        .find_map(|verb| Some((*verb, qualified(row.strip_prefix(*verb)?)?)));
    match target {
        Some((verb, (table, rest))) if own.history.as_ref() == Some(&table) => match verb {
            b"INSERT INTO " => inserted(rest).map(Line::StatementInserted),
            b"UPDATE " => updated(rest).map(Line::StatementUpdated),
            _ => Ok(Line::Ignored),
        },
        Some((_, (table, _))) if own.others.contains(&table) => Ok(Line::Ignored),
        _ => Ok(Line::Change(on_one_line(row))),
    }
}

/// The table at the start of `text`, and what follows it.
fn qualified(text: &[u8]) -> Option<(Table, &[u8])> {
    let (schema, rest) = name(text)?;
    let (table, rest) = name(rest.strip_prefix(b".")?)?;
    Some(((schema, table), rest))
}

fn name(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if let Some(inside) = text.strip_prefix(b"\"") {
        return Some(quoted(inside, b'"'));
    }
    let length = text.iter().position(|byte| matches!(byte, b'.' | b' '))?;
    Some((text[..length].to_vec(), &text[length..]))
}

/// `(a, b) VALUES (1, 'x');`
fn inserted(rest: &[u8]) -> Result<Statement> {
    let tokens = tokens(rest);
    let values = tokens
        .iter()
        .position(|t| *t == Token::Word(b"VALUES".to_vec()));
    let (names, values) = tokens.split_at(values.ok_or_else(unreadable)?);
    let names = names
        .iter()
        .filter(|token| !matches!(token, Token::Symbol(_)));
    let values = values[1..]
        .iter()
        .filter(|token| !matches!(token, Token::Symbol(_)));
    statement(names.zip(values))
}

/// `SET a = 1, b = 'x' WHERE id = 1;`
fn updated(rest: &[u8]) -> Result<Statement> {
    let tokens = tokens(rest);
    let end = tokens
        .iter()
        .position(|t| *t == Token::Word(b"WHERE".to_vec()));
    let set: Vec<&Token> = tokens[..end.ok_or_else(unreadable)?]
        .iter()
        .skip(1)
        .filter(|token| !matches!(token, Token::Symbol(_)))
        .collect();
    statement(set.chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn statement<'a>(pairs: impl Iterator<Item = (&'a Token, &'a Token)>) -> Result<Statement> {
    let mut columns: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for (name, value) in pairs {
        let value = match value {
            Token::Word(word) if word == b"null" => Vec::new(),
            // A quoted 'null' is a string, such as the name of a role.
            Token::Word(value) | Token::Literal(value) => value.clone(),
            Token::Symbol(_) => return Err(unreadable()),
        };
        let Token::Word(name) = name else {
            return Err(unreadable());
        };
        columns.insert(name.clone(), value);
    }
    let mut take = |name: &str| columns.remove(name.as_bytes()).ok_or_else(unreadable);
    Ok(Statement {
        executed_at: None,
        query: Vec::new(),
        id: String::from_utf8_lossy(&take("id")?)
            .parse()
            .map_err(|_| unreadable())?,
        command: String::from_utf8_lossy(&take("ddl_command")?).into_owned(),
        executed_by: take("executed_by")?,
        by_superuser: is_true(&take("executed_by_superuser")?),
        search_path: take("search_path")?,
        settings: take("settings")?,
        replay: is_true(&take("replay")?),
        text: take("replay_text")?,
    })
}

fn is_true(value: &[u8]) -> bool {
    value.starts_with(b"t")
}

fn unreadable() -> CaptureError {
    CaptureError::Plugin("row of ddl_history")
}

fn tokens(sql: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'\'' => {
                let (value, after) = quoted(after, b'\'');
                tokens.push(Token::Literal(value));
                after
            }
            b'"' => {
                let (name, after) = quoted(after, b'"');
                tokens.push(Token::Word(name));
                after
            }
            byte if byte.is_ascii_whitespace() => after,
            b'(' | b')' | b',' | b';' | b'=' => {
                tokens.push(Token::Symbol(byte));
                after
            }
            _ => {
                let ends = |byte: &u8| byte.is_ascii_whitespace() || b"(),;='\"".contains(byte);
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_vec()));
                &rest[length..]
            }
        };
    }
    tokens
}

/// The text up to the closing quote, with doubled quotes undone, and the rest.
fn quoted(text: &[u8], quote: u8) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != quote {
            value.push(byte);
        } else if let Some(after) = rest.strip_prefix(&[quote]) {
            value.push(quote);
            rest = after;
        } else {
            break;
        }
    }
    (value, rest)
}

/// The statement with every literal that contains a line end rewritten as `E'…\n…'`.
fn on_one_line(sql: &[u8]) -> Vec<u8> {
    if !sql.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return sql.to_vec();
    }
    let mut out = Vec::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'\'' => {
                let (value, after) = quoted(after, b'\'');
                archive::literal::push_literal(&mut out, &value);
                rest = after;
            }
            b'"' => {
                let (name, after) = quoted(after, b'"');
                out.extend_from_slice(&crate::pg::text::quote::identifier(&name));
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    #[pg_test]
    fn a_line_end_in_a_literal_becomes_an_escape() {
        let line = on_one_line(b"INSERT INTO s.t (a) VALUES ('x\ny''z\\');");
        assert_eq!(line, b"INSERT INTO s.t (a) VALUES (E'x\\ny''z\\\\');");
    }

    fn ours() -> OwnTables {
        let table = |schema: &[u8], name: &[u8]| (schema.to_vec(), name.to_vec());
        OwnTables {
            history: Some(table(b"my \"schema\".", b"ddl_history")),
            others: vec![table(b"my \"schema\".", b"replica_identity_set")],
        }
    }

    #[pg_test]
    fn rows_of_ddl_history_are_read() {
        let row = b"INSERT INTO \"my \"\"schema\"\".\".ddl_history (id, ddl_command, executed_by, \
            executed_by_superuser, search_path, settings, replay, replay_text, query) VALUES \
            (7, 'CREATE TABLE', 'null', false, 'public', null, true, 'CREATE TABLE t(a text)', 'x');";
        let Ok(Line::StatementInserted(statement)) = read(row, &ours()) else {
            panic!("not recognized");
        };
        assert_eq!((statement.id, statement.replay), (7, true));
        assert_eq!(statement.text, b"CREATE TABLE t(a text)");
        assert_eq!(
            (&statement.executed_by[..], &statement.settings[..]),
            (&b"null"[..], &b""[..])
        );
        let other = read(b"INSERT INTO mine.ddl_history (id) VALUES (1);", &ours());
        assert!(matches!(other, Ok(Line::Change(_))));
    }

    #[pg_test]
    fn rows_of_other_tables_of_ours_are_left_out() {
        for row in [
            &b"INSERT INTO \"my \"\"schema\"\".\".replica_identity_set (relation) VALUES (1);"[..],
            b"DELETE FROM \"my \"\"schema\"\".\".\"replica_identity_set\" WHERE relation = 1;",
        ] {
            assert!(matches!(read(row, &ours()), Ok(Line::Ignored)));
        }
        let other = b"DELETE FROM public.replica_identity_set WHERE relation = 1;";
        assert!(matches!(read(other, &ours()), Ok(Line::Change(_))));
    }
}
