//! The text of one statement: cut out of what the client sent, written in a form that no setting
//! changes, and brought into the form that can be replayed inside a transaction.

use std::ops::Range;

use super::canonical::written_anew;
use crate::pg::ddl_node::Sql;
use crate::pg::ddl_proof::{as_at_replay, says_the_same};
use crate::pg::ddl_scan::{lexemes, LexemeKind};
use crate::pg::ddl_statement::Statement;

/// What stands at a token's place, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Lower case, as in PostgreSQL's keyword list.
    Keyword(&'static str),
    /// A character that is a token by itself.
    Char(u8),
    /// A string constant of any kind.
    Text,
    /// Names, numbers, operators.
    Other,
}

/// One token of the canonical text, `offset..end`; `source` is its place in the query string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub offset: usize,
    pub end: usize,
    pub source: Range<usize>,
    pub kind: TokenKind,
}

impl Token {
    pub fn is_keyword(&self, word: &str) -> bool {
        matches!(self.kind, TokenKind::Keyword(keyword) if keyword == word)
    }

    pub fn is_char(&self, character: u8) -> bool {
        self.kind == TokenKind::Char(character)
    }
}

/// One statement's text, from its first token to the end of its last.
#[derive(Clone)]
pub struct StatementText {
    /// Canonical where it is proven, else the user's words.
    pub text: Sql,
    pub tokens: Vec<Token>,
    /// What the user wrote.
    pub words: Sql,
    /// The parser reads `text` as the very statement that runs.
    pub is_proven: bool,
}

/// The text of `statement`. It may have been parsed under another value of
/// standard_conforming_strings than there is now, so both are tried. `schema` is where IMPORT FOREIGN
/// SCHEMA puts what the statement makes.
pub fn text_of(statement: &Statement, schema: Option<&Sql>) -> StatementText {
    let (source, location, length) = statement.source();
    let piece = piece(&source, location, length);
    if !statement.is_analyzed() {
        let now = crate::pg::ddl_catalog::conforms_strings();
        for conforming in [now, !now] {
            let read = || read(&source, piece.clone(), conforming);
            let proven = as_at_replay(read)
                .flatten()
                .filter(|read| says_the_same(statement, &read.text, schema));
            if let Some(text) = proven {
                return text;
            }
        }
    }
    let words = trimmed(&source[piece]);
    StatementText {
        text: words.clone(),
        tokens: Vec::new(),
        words,
        is_proven: false,
    }
}

/// Where the statement at `location` and `length` (as in a PlannedStmt) stands.
fn piece(source: &[u8], location: i32, length: i32) -> Range<usize> {
    let begin = (location.max(0) as usize).min(source.len());
    let end = match length {
        0 => source.len(),
        length => (begin + length.max(0) as usize).min(source.len()),
    };
    begin..end
}

fn trimmed(piece: &[u8]) -> Sql {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    let end = piece.iter().rposition(|byte| !is_end(byte));
    let piece = &piece[..end.map_or(0, |last| last + 1)];
    piece.trim_ascii_start().to_vec()
}

fn read(source: &[u8], place: Range<usize>, conforming: bool) -> Option<StatementText> {
    let piece = &source[place.clone()];
    let mut lexemes = lexemes(piece, conforming);
    let is_end = |kind: &LexemeKind| *kind == LexemeKind::Char(b';');
    while lexemes.last().is_some_and(|lexeme| is_end(&lexeme.kind)) {
        lexemes.pop();
    }
    let (text, tokens) = written_anew(piece, place.start, &lexemes)?;
    let words = tokens.first()?.source.start..tokens.last()?.source.end;
    Some(StatementText {
        text,
        tokens,
        words: source[words].to_vec(),
        is_proven: true,
    })
}

impl StatementText {
    /// The text without some of its tokens.
    pub fn without(&self, leave_out: impl Fn(&Token) -> bool) -> Sql {
        let mut kept = self.text.clone();
        for (place, token) in self.tokens.iter().enumerate().rev() {
            if leave_out(token) {
                let end = self
                    .tokens
                    .get(place + 1)
                    .map_or(kept.len(), |next| next.offset);
                kept.drain(token.offset..end.min(kept.len()));
            }
        }
        kept
    }

    /// The plain form of a statement that commits by itself: same catalogs at the end, but inside
    /// a transaction. CONCURRENTLY stands behind INDEX, or like FINALIZE at the end.
    pub fn plain_form(&self) -> Sql {
        let last = self.tokens.len().saturating_sub(1);
        let behind_index = (1..self.tokens.len()).find(|place| {
            self.tokens[place - 1].is_keyword("index")
                && self.tokens[*place].is_keyword("concurrently")
        });
        let place = behind_index.unwrap_or(last);
        let dropped = self.tokens.get(place).map(|token| token.offset);
        self.without(|token| Some(token.offset) == dropped)
    }

    /// What the user wrote, with the string constants replaced for which `is_secret` says so, given
    /// the index of their token.
    pub fn masked(&self, is_secret: impl Fn(&[Token], usize) -> bool) -> Sql {
        let start = self.tokens.first().map_or(0, |token| token.source.start);
        let mut masked = self.words.clone();
        for (place, token) in self.tokens.iter().enumerate().rev() {
            if token.kind == TokenKind::Text && is_secret(&self.tokens, place) {
                let source = token.source.start - start..token.source.end - start;
                masked.splice(source, b"'********'".iter().copied());
            }
        }
        masked
    }

    /// The text without the list items that begin at these offsets of the query string, each with
    /// the comma that sets it off.
    pub fn without_items(&self, locations: &[i32]) -> Sql {
        let mut drop = vec![false; self.tokens.len()];
        for location in locations {
            let Some(mut at) = self.at(*location) else {
                continue;
            };
            // TRUNCATE ONLY a: the item's location is that of the name.
            if at > 0 && self.tokens[at - 1].is_keyword("only") {
                drop[at - 1] = true;
            }
            let first = at;
            while at < self.tokens.len() && self.is_of_name(first, at) {
                drop[at] = true;
                at += 1;
            }
            let comma_after = self.tokens.get(at).is_some_and(|token| token.is_char(b','));
            let before = (0..first).rev().find(|place| !drop[*place]);
            match before {
                _ if comma_after => drop[at] = true,
                Some(place) if self.tokens[place].is_char(b',') => drop[place] = true,
                _ => {}
            }
        }
        let dropped: Vec<usize> = (0..drop.len())
            .filter(|p| drop[*p])
            .map(|p| self.tokens[p].offset)
            .collect();
        self.without(|token| dropped.contains(&token.offset))
    }

    /// The token that begins at this offset of the query string.
    fn at(&self, location: i32) -> Option<usize> {
        let location = usize::try_from(location).ok()?;
        let mut tokens = self.tokens.iter();
        tokens.position(|token| token.source.start == location)
    }

    /// The text with its list of objects replaced: in a GRANT what stands behind ON and the kind of
    /// object, up to TO or FROM; in an ALTER DEFAULT PRIVILEGES what stands behind IN SCHEMA.
    pub fn with_objects(&self, objects: &[Sql]) -> Option<Sql> {
        let is_default = self.tokens.get(1)?.is_keyword("default");
        let start = if is_default { "in" } else { "on" };
        let start = self.tokens.iter().position(|t| t.is_keyword(start))?;
        let is_all = self.tokens.get(start + 1)?.is_keyword("all");
        let kind = if is_all {
            let rest = &self.tokens[start..];
            start + rest.iter().position(|t| t.is_keyword("schema"))?
        } else {
            start + 1
        };
        let ends = match is_default {
            true => ["grant", "revoke", "for"].as_slice(),
            false => ["to", "from"].as_slice(),
        };
        let mut behind = self.tokens[kind + 1..].iter();
        let end = behind.find(|token| ends.iter().any(|word| token.is_keyword(word)))?;
        let text = [
            &self.text[..self.tokens[kind].end],
            b" ",
            &objects.join(b", ".as_slice()),
            b" ",
            &self.text[end.offset..],
        ];
        Some(text.concat())
    }

    /// True while the token at `at` still belongs to the (qualified) name that begins at `first`.
    fn is_of_name(&self, first: usize, at: usize) -> bool {
        at == first
            || self.tokens[at].is_char(b'.')
            || self.tokens[at].is_char(b'*')
            || self.tokens[at - 1].is_char(b'.')
    }

    /// The text before and after the bounds that begin at this offset of the query string, behind FOR
    /// VALUES: IN (…) or FROM (…) TO (…).
    pub fn around_bound(&self, location: i32) -> Option<(Sql, Sql)> {
        let first = self.at(location)?;
        let mut lists = if self.tokens[first].is_keyword("from") {
            2
        } else {
            1
        };
        let mut depth = 0;
        for token in &self.tokens[first..] {
            if token.is_char(b'(') {
                depth += 1;
            } else if token.is_char(b')') {
                depth -= 1;
                lists -= usize::from(depth == 0);
                if lists == 0 {
                    let before = self.text[..self.tokens[first].offset].to_vec();
                    return Some((before, self.text[token.end..].to_vec()));
                }
            }
        }
        None
    }

    /// The text before and after the database that it is about, or the databases (GRANT … ON DATABASE
    /// a, b). None where it names no database.
    pub fn around_database(&self) -> Option<(Sql, Sql)> {
        let words = ["alter", "in", "on"];
        let is_word = |place: &usize| {
            let before = &self.tokens[place - 1];
            self.tokens[*place].is_keyword("database")
                && words.iter().any(|word| before.is_keyword(word))
        };
        let word = (1..self.tokens.len()).find(is_word)?;
        let name = self.tokens.get(word + 1)?;
        let mut last = word + 1;
        while self.tokens.get(last + 1).is_some_and(|t| t.is_char(b',')) {
            last += 2;
        }
        let before = self.text[..name.offset].to_vec();
        Some((before, self.text[self.tokens.get(last)?.end..].to_vec()))
    }

    /// True when one of the string constants, without its quotes, begins with one of `words`.
    pub fn has_constant(&self, words: &[&str]) -> bool {
        let constants = self.tokens.iter().filter(|t| t.kind == TokenKind::Text);
        constants.into_iter().any(|token| {
            let constant = String::from_utf8_lossy(&self.text[token.offset..token.end]);
            let constant = constant.strip_prefix('E').unwrap_or(&constant);
            let constant = constant.trim_matches(|c: char| "'$".contains(c));
            let constant = constant.trim().to_ascii_lowercase();
            words.iter().any(|word| constant.starts_with(word))
        })
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    fn whole(source: &str) -> StatementText {
        canonical(source, true)
    }

    fn canonical(source: &str, conforming: bool) -> StatementText {
        let source = source.as_bytes();
        read(source, 0..source.len(), conforming).expect("a statement")
    }

    fn shown(text: Sql) -> String {
        String::from_utf8(text).expect("ASCII in, ASCII out")
    }

    #[pg_test]
    fn one_statement_is_cut_out_of_several() {
        let source = "SELECT 1; -- not this\n CREATE TABLE t (a text DEFAULT ';'); SELECT 2";
        let location = source.find(" -- not").unwrap_or_default() as i32;
        let length = source.find("; SELECT 2").unwrap_or_default() as i32 - location;
        let place = piece(source.as_bytes(), location, length);
        let cut = read(source.as_bytes(), place, true).expect("a statement");
        assert_eq!(shown(cut.text), "CREATE TABLE t (a text DEFAULT ';')");
    }

    #[pg_test]
    fn constants_and_names_are_written_as_no_setting_changes_them() {
        let text = r#"SELECT 'a\b', E'c\'d', N'e', U&'f\0067' , U&"h!0069" UESCAPE '!', $$j\k$$, B'1'
            '0', 'l''m'  -- n
            "#;
        assert_eq!(
            shown(whole(text).text),
            r#"SELECT E'a\\b', 'c''d', nchar  'e', 'fg' , "hi", $$j\k$$, b'10', 'l''m'"#
        );
        assert_eq!(
            shown(canonical(r"SELECT 'a\'b', 'c\\'/* d */", false).text),
            r"SELECT 'a''b', E'c\\'"
        );
    }

    #[pg_test]
    fn the_plain_form_keeps_names_and_constants() {
        let text =
            whole("CREATE INDEX CONCURRENTLY \"concurrently\" ON t (a) WHERE b = 'concurrently';");
        let expected = "CREATE INDEX \"concurrently\" ON t (a) WHERE b = 'concurrently'";
        assert_eq!(shown(text.plain_form()), expected);
        let text = whole("ALTER TABLE finalize DETACH PARTITION finalize FINALIZE");
        let expected = "ALTER TABLE finalize DETACH PARTITION finalize";
        assert_eq!(shown(text.plain_form()).trim_end(), expected);
    }

    #[pg_test]
    fn items_leave_a_list_with_their_comma() {
        let source = "TRUNCATE ONLY a, pg_temp.b *, c";
        let at = |name: &str| source.find(name).unwrap_or_default() as i32;
        let text = whole(source);
        assert_eq!(
            shown(text.without_items(&[at("pg_temp.b")])),
            "TRUNCATE ONLY a, c"
        );
        assert_eq!(
            shown(text.without_items(&[at("a, ")])),
            "TRUNCATE pg_temp.b *, c"
        );
        assert_eq!(
            shown(text.without_items(&[at("c")])).trim_end(),
            "TRUNCATE ONLY a, pg_temp.b *"
        );
    }

    #[pg_test]
    fn only_secrets_are_masked() {
        let text = whole("CREATE ROLE r PASSWORD 'x''y' VALID UNTIL '2030-01-01'");
        let masked = text.masked(|tokens, at| at > 0 && tokens[at - 1].is_keyword("password"));
        assert_eq!(
            shown(masked),
            "CREATE ROLE r PASSWORD '********' VALID UNTIL '2030-01-01'"
        );
    }
}
