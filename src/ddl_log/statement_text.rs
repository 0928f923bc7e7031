//! The text of one statement: extracted from the client's query string, in a form that does not depend on
//! settings, and changed so that it can be replayed inside a transaction.

use std::ops::Range;

use super::canonical::written_anew;
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::proof::{as_at_replay, says_the_same};
use crate::pg::ddl::scan::{lexemes, LexemeKind};
use crate::pg::ddl::statement::Statement;

/// The kind of a token, as far as needed here.
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

/// One token of the canonical text, `offset..end`; `source` is its position in the user's text.
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
    /// Canonical if it is verified, otherwise the user's text.
    pub text: Sql,
    pub tokens: Vec<Token>,
    /// What the user wrote.
    pub words: Sql,
    /// The parser reads `text` as the very statement that runs.
    pub is_proven: bool,
}

/// The user's text, without comments before and after it.
pub fn words_of(statement: &Statement) -> Sql {
    let source = statement.source();
    let has = |mark: &[u8]| source.windows(2).any(|pair| pair == mark);
    if has(b"--") || has(b"/*") {
        let conforming = crate::pg::ddl::catalog::conforms_strings();
        let found = as_at_replay(|| {
            let lexemes = lexemes(&source, conforming);
            Some(lexemes.first()?.place.start..lexemes.last()?.place.end)
        });
        if let Some(place) = found.flatten() {
            return trimmed(&source[place]);
        }
    }
    trimmed(&source)
}

/// The text of `statement`. It may have been parsed under another value of standard_conforming_strings than
/// the current one, so both are tried.
pub fn text_of(statement: &Statement) -> StatementText {
    let source = statement.source();
    if !statement.is_analyzed() {
        let now = crate::pg::ddl::catalog::conforms_strings();
        for conforming in [now, !now] {
            let read = || read(&source, conforming);
            let proven = as_at_replay(read)
                .flatten()
                .filter(|read| says_the_same(statement, &read.text));
            if let Some(text) = proven {
                return text;
            }
        }
    }
    let words = trimmed(&source);
    StatementText {
        text: words.clone(),
        tokens: Vec::new(),
        words,
        is_proven: false,
    }
}

fn trimmed(piece: &[u8]) -> Sql {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    let end = piece.iter().rposition(|byte| !is_end(byte));
    let piece = &piece[..end.map_or(0, |last| last + 1)];
    piece.trim_ascii_start().to_vec()
}

fn read(piece: &[u8], conforming: bool) -> Option<StatementText> {
    let mut lexemes = lexemes(piece, conforming);
    let is_end = |kind: &LexemeKind| *kind == LexemeKind::Char(b';');
    while lexemes.last().is_some_and(|lexeme| is_end(&lexeme.kind)) {
        lexemes.pop();
    }
    let (text, tokens) = written_anew(piece, &lexemes)?;
    let words = tokens.first()?.source.start..tokens.last()?.source.end;
    Some(StatementText {
        text,
        tokens,
        words: piece[words].to_vec(),
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

    /// The plain form of a statement that commits internally: it has the same effects on the catalogs, but
    /// inside a transaction. CONCURRENTLY follows INDEX, or like FINALIZE is at the end.
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

    /// The user's text, with the string constants replaced for which `is_secret` returns true, given the
    /// index of their token.
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

    /// The text before and after the name of the database, or the names (GRANT … ON DATABASE a, b). `None` if
    /// it contains no database name.
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

    /// True if one of the string constants, without its quotes, begins with one of `words`.
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
        read(source.as_bytes(), conforming).expect("a statement")
    }

    fn shown(text: Sql) -> String {
        String::from_utf8(text).expect("ASCII in, ASCII out")
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
    fn only_secrets_are_masked() {
        let text = whole("CREATE ROLE r PASSWORD 'x''y' VALID UNTIL '2030-01-01'");
        let masked = text.masked(|tokens, at| at > 0 && tokens[at - 1].is_keyword("password"));
        assert_eq!(
            shown(masked),
            "CREATE ROLE r PASSWORD '********' VALID UNTIL '2030-01-01'"
        );
    }
}
