//! Statements as pg_dump and pg_incrbackup word them: where they name roles, tablespaces, and an owner.
//!
//! A text of another kind is never changed: a clause is only found where these two write it.

use std::ops::Range;

use super::tokens::{tokens, Token};
use crate::quote::{ident, literal};
use crate::restore::target::statements::quoted;

/// A part of the text of an entry of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Definition,
    /// `ALTER … OWNER TO …`
    Owner,
    /// `SET default_tablespace = …`, for the entries that follow.
    Tablespace,
    /// Other settings for the entries that follow, and the access method of a partitioned table.
    Setting,
}

/// The parts of an entry's text, in their order. What pg_restore adds is found at both ends (_printTocEntry of
/// pg_backup_archiver.c): a body keeps its semicolons, since it neither begins nor ends with such a statement.
pub fn parts(text: &[u8]) -> Vec<(Part, Range<usize>)> {
    let Some(tokens) = tokens(text) else {
        return vec![(Part::Definition, 0..text.len())];
    };
    let place = |words: &[Token]| words[0].place.start..words[words.len() - 1].place.end;
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    let (mut first, mut end) = (0, tokens.len());
    while let Some(words) = last_statement(&tokens[..end]) {
        let Some(part) = part_of(text, words) else {
            break;
        };
        behind.push((part, place(words)));
        end -= words.len();
    }
    while let Some(length) = tokens[first..end].iter().position(is_end) {
        let words = &tokens[first..=first + length];
        match part_of(text, words) {
            Some(part @ (Part::Tablespace | Part::Setting)) => before.push((part, place(words))),
            _ => break,
        }
        first += length + 1;
    }
    let start = before.last().map_or(0, |(_, place)| place.end);
    let definition = start..behind.last().map_or(text.len(), |(_, place)| place.start);
    if !text[definition.clone()].trim_ascii().is_empty() {
        before.push((Part::Definition, definition));
    }
    before.extend(behind.into_iter().rev());
    before
}

fn is_end(token: &Token) -> bool {
    token.is_mark(b';') && token.depth == 0
}

/// The last statement, with its semicolon if it has one.
fn last_statement(tokens: &[Token]) -> Option<&[Token]> {
    let (last, before) = tokens.split_last()?;
    let before = if is_end(last) { before } else { tokens };
    let start = before.iter().rposition(is_end).map_or(0, |at| at + 1);
    (start < before.len()).then_some(&tokens[start..])
}

fn part_of(text: &[u8], words: &[Token]) -> Option<Part> {
    let words = match words.split_last() {
        Some((last, words)) if is_end(last) => words,
        _ => words,
    };
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(text, word));
    let is_setting = is(0, "SET") && words.len() == 4 && words[2].is_mark(b'=');
    if is_setting && is(1, "default_tablespace") {
        return Some(Part::Tablespace);
    }
    let count = words.len();
    let is_method = count > 4 && is(count - 4, "SET") && is(count - 3, "ACCESS");
    if is_setting && is(1, "default_table_access_method")
        || is(0, "ALTER") && is(1, "TABLE") && is_method && is(count - 2, "METHOD")
    {
        return Some(Part::Setting);
    }
    let is_owner = count > 4 && is(0, "ALTER") && is(count - 3, "OWNER") && is(count - 2, "TO");
    is_owner.then_some(Part::Owner)
}

/// The statements of a text, without their semicolons: those of pg_dump's privileges, which have no bodies.
pub fn statements(text: &[u8]) -> Vec<Range<usize>> {
    let Some(tokens) = tokens(text) else {
        return std::iter::once(0..text.len()).collect();
    };
    let mut found = Vec::new();
    let mut start = None;
    for token in &tokens {
        if !token.is_mark(b';') {
            start.get_or_insert(token.place.start);
        } else if let Some(start) = start.take() {
            found.push(start..token.place.start);
        }
    }
    found.extend(start.map(|start| start..text.len()));
    found
}

/// The role that `ALTER … OWNER TO` names, if it is such a statement.
pub fn owner_of(text: &[u8]) -> Option<Vec<u8>> {
    let tokens = tokens(text)?;
    let ends = tokens.iter().filter(|token| token.is_mark(b';')).count();
    let words = &tokens[..tokens.len() - usize::from(ends == 1)];
    let [.., owner, to, name] = words else {
        return None;
    };
    let is_it = owner.is(text, "OWNER") && to.is(text, "TO") && tokens[0].is(text, "ALTER");
    name.name(text).filter(|_| is_it)
}

/// Where an object is that `ALTER … OWNER TO` is about: its schema; its own name if it is in none.
pub fn place_of(text: &[u8]) -> Option<Vec<u8>> {
    let tokens = tokens(text)?;
    let named = |token: &Token| token.name(text);
    let dot = tokens.iter().position(|token| token.is_mark(b'.'));
    if let Some(dot) = dot.filter(|dot| *dot > 0 && tokens[*dot].depth == 0) {
        return named(&tokens[dot - 1]);
    }
    let owner = tokens.iter().position(|token| token.is(text, "OWNER"))?;
    named(tokens.get(owner.checked_sub(1)?)?)
}

/// The roles that a statement names, each with its place.
pub fn roles_in(text: &[u8]) -> Vec<(Vec<u8>, Range<usize>)> {
    let Some(tokens) = tokens(text) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for statement in tokens.split(|token| token.is_mark(b';') && token.depth == 0) {
        for at in roles_at(text, statement) {
            if let Some(name) = statement.get(at).and_then(|token| token.name(text)) {
                found.push((name, statement[at].place.clone()));
            }
        }
    }
    found
}

/// The names of those roles, and of those in an effect on the database itself.
pub fn roles_named(text: &[u8]) -> Vec<Vec<u8>> {
    let inner = of_database(text).map(|(_, inner)| inner);
    let names = roles_in(inner.as_deref().unwrap_or(text));
    names.into_iter().map(|(name, _)| name).collect()
}

/// Which tokens of a statement are names of roles.
fn roles_at(text: &[u8], words: &[Token]) -> Vec<usize> {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(text, word));
    let find = |word: &str, from: usize| {
        (from..words.len()).find(|at| words[*at].depth == 0 && is(*at, word))
    };
    if is(0, "SET") {
        let at = match (is(1, "LOCAL"), is(1, "SESSION")) {
            (true, _) if is(2, "ROLE") => 3,
            (_, true) if is(2, "AUTHORIZATION") || is(2, "ROLE") => 3,
            (false, false) if is(1, "ROLE") => 2,
            _ => return Vec::new(),
        };
        return vec![at];
    }
    let mut found = Vec::new();
    if is(0, "GRANT") || is(0, "REVOKE") {
        found.extend(grantees(text, words, 0));
    } else if is(0, "ALTER") && is(1, "DEFAULT") && is(2, "PRIVILEGES") {
        found.extend((is(3, "FOR") && is(4, "ROLE")).then_some(5));
        let at = find("GRANT", 5).or_else(|| find("REVOKE", 5));
        found.extend(at.into_iter().flat_map(|at| grantees(text, words, at)));
    } else if is(1, "POLICY") && (is(0, "CREATE") || is(0, "ALTER")) {
        let to = find("TO", 3).filter(|at| !is(at - 1, "RENAME"));
        found.extend(to.into_iter().flat_map(|to| list(words, to + 1)));
    } else if is(1, "USER") && is(2, "MAPPING") {
        found.extend(find("FOR", 3).map(|at| at + 1));
    } else if is(0, "ALTER") && is(1, "ROLE") && is(3, "IN") && is(4, "DATABASE") {
        found.push(2);
    } else if is(0, "ALTER") && words.len() > 4 {
        let count = words.len();
        let is_owner = is(count - 3, "OWNER") && is(count - 2, "TO");
        found.extend(is_owner.then_some(count - 1));
    }
    found
}

/// Those of GRANT and REVOKE; TO and FROM are reserved, so that no name is one of them without quotes.
fn grantees(text: &[u8], words: &[Token], from: usize) -> Vec<usize> {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|token| token.is(text, word));
    let behind =
        (from..words.len()).find(|at| words[*at].depth == 0 && (is(*at, "TO") || is(*at, "FROM")));
    let Some(behind) = behind else {
        return Vec::new();
    };
    let mut found = list(words, behind + 1);
    let by = (behind..words.len()).find(|at| is(*at, "GRANTED") && is(at + 1, "BY"));
    found.extend(by.map(|at| at + 2));
    found
}

/// Names with commas between them.
fn list(words: &[Token], mut at: usize) -> Vec<usize> {
    let mut found = vec![at];
    while words.get(at + 1).is_some_and(|token| token.is_mark(b',')) {
        at += 2;
        found.push(at);
    }
    found
}

/// The text with other roles: `renamed` says what became of a name. `None` if it stays as it is.
pub fn with_roles(text: &[u8], renamed: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    if let Some((place, inner)) = of_database(text) {
        // A format: a percent sign is doubled.
        let plain = replaced(&inner, b"%%", b"%");
        let other = with_roles(&plain, renamed)?;
        let marked = replaced(&replaced(&other, b"%", b"%%"), b"%%I", b"%I");
        return Some([&text[..place.start], &literal(&marked), &text[place.end..]].concat());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut end = 0;
    for (name, place) in roles_in(text) {
        if let Some(new) = renamed(&name) {
            out.extend_from_slice(&text[end..place.start]);
            out.extend(ident(&new));
            end = place.end;
        }
    }
    if end == 0 {
        return None;
    }
    out.extend_from_slice(&text[end..]);
    Some(out)
}

/// An effect on the database itself is a DO block that formats the statement: the place of this constant, and what it
/// says.
fn of_database(text: &[u8]) -> Option<(Range<usize>, Vec<u8>)> {
    const EXECUTE: &[u8] = b"BEGIN EXECUTE pg_catalog.format('";
    text.strip_prefix(b"DO $")?;
    let start = memchr::memmem::find(text, EXECUTE)? + EXECUTE.len() - 1;
    let length = quoted(&text[start..], false)?;
    let written = &text[start + 1..start + length - 1];
    Some((start..start + length, replaced(written, b"''", b"'")))
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for found in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(to);
        at = found + from.len();
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// The text without its TABLESPACE clauses that `is_left_out` names; `None` if there is none. Of `SET TABLESPACE`, which
/// is all that such a statement does, nothing is left.
pub fn without_tablespace(
    text: &[u8],
    is_left_out: &dyn Fn(&[u8]) -> bool,
) -> Option<Option<Vec<u8>>> {
    let tokens = tokens(text)?;
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(text, word));
    let mut at = 1;
    while at + 1 < tokens.len() {
        // A query follows.
        if tokens[at].depth == 0 && (is(at, "AS") || is(at, "WHERE")) {
            return None;
        }
        let name = tokens[at + 1].name(text);
        let is_clause = tokens[at].depth == 0 && is(at, "TABLESPACE");
        if is_clause && name.is_some_and(|name| is_left_out(&name)) {
            if is(at - 1, "SET") {
                return Some(None);
            }
            let is_of_index = at > 1 && is(at - 1, "INDEX") && is(at - 2, "USING");
            let first = if is_of_index { at - 2 } else { at };
            let mut start = tokens[first].place.start;
            while start > 0 && text[start - 1] == b' ' {
                start -= 1;
            }
            let kept = [&text[..start], &text[tokens[at + 1].place.end..]];
            return Some(Some(kept.concat()));
        }
        at += 1;
    }
    None
}

/// The text without the key word LEAKPROOF, if it has one outside of its body.
pub fn without_leakproof(text: &[u8]) -> Option<Vec<u8>> {
    let tokens = tokens(text)?;
    let at = tokens
        .iter()
        .position(|token| token.depth == 0 && token.is(text, "LEAKPROOF"))?;
    let is_create = tokens[0].is(text, "CREATE");
    let place = tokens[at].place.clone();
    is_create.then(|| [&text[..place.start], &text[place.end..]].concat())
}

/// `CREATE FUNCTION` as `CREATE OR REPLACE FUNCTION`: for what is there already.
pub fn replacing(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii_start();
    match text.strip_prefix(b"CREATE ") {
        Some(rest) if !rest.starts_with(b"OR REPLACE ") => [b"CREATE OR REPLACE ", rest].concat(),
        _ => text.to_vec(),
    }
}

#[cfg(test)]
#[path = "wording_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
