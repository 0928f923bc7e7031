//! The text of one statement: cut out of what the client sent, and brought into the form that can
//! be replayed inside a transaction.

use crate::pg::ddl_node::Sql;
use crate::pg::ddl_scan::{tokens, Token};

/// One statement's text, from its first token to the end of its last (a trailing comment may
/// follow, a semicolon does not), with its tokens.
#[derive(Clone)]
pub struct StatementText {
    pub text: Sql,
    pub tokens: Vec<Token>,
    /// Where `text` begins in the query string.
    pub start: usize,
}

/// Cuts the statement at `location` and `length` (as in a PlannedStmt) out of `source`.
pub fn cut(source: &[u8], location: i32, length: i32) -> StatementText {
    let begin = (location.max(0) as usize).min(source.len());
    let end = match length {
        0 => source.len(),
        length => (begin + length.max(0) as usize).min(source.len()),
    };
    let piece = &source[begin..end];
    let mut tokens = tokens(piece);
    while tokens.last().is_some_and(|token| token.is_char(b';')) {
        tokens.pop();
    }
    let first = tokens.first().map_or(0, |token| token.offset);
    // What follows the last token up to a semicolon cannot be told from the token itself, so it
    // stays: blanks are trimmed, a comment does no harm.
    let mut text = piece[first..].to_vec();
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    text.truncate(
        text.iter()
            .rposition(|byte| !is_end(byte))
            .map_or(0, |last| last + 1),
    );
    for token in &mut tokens {
        token.offset -= first;
    }
    StatementText {
        text,
        tokens,
        start: begin + first,
    }
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
    /// a transaction.
    pub fn plain_form(&self) -> Sql {
        self.without(|token| token.is_keyword("concurrently") || token.is_keyword("finalize"))
    }

    /// The text with the string constants replaced for which `is_secret` says so, given the index
    /// of their token.
    pub fn masked(&self, is_secret: impl Fn(&[Token], usize) -> bool) -> Sql {
        let mut masked = self.text.clone();
        for place in (0..self.tokens.len()).rev() {
            if !self.is_string(place) || !is_secret(&self.tokens, place) {
                continue;
            }
            let start = self.tokens[place].offset;
            let end = self
                .tokens
                .get(place + 1)
                .map_or(masked.len(), |next| next.offset);
            let blank = masked[start..end]
                .iter()
                .rev()
                .take_while(|b| b.is_ascii_whitespace());
            let end = end - blank.count();
            masked.splice(start..end, b"'********'".iter().copied());
        }
        masked
    }

    /// True for a token that begins like a string constant.
    fn is_string(&self, place: usize) -> bool {
        let rest = &self.text[self.tokens[place].offset..];
        matches!(
            rest,
            [b'\'' | b'$', ..]
                | [
                    b'e' | b'E' | b'n' | b'N' | b'b' | b'B' | b'x' | b'X',
                    b'\'',
                    ..
                ]
                | [b'u' | b'U', b'&', b'\'', ..]
        )
    }

    /// The text without the list items that begin at these offsets of the query string, each with
    /// the comma that sets it off.
    pub fn without_items(&self, locations: &[i32]) -> Sql {
        let mut drop = vec![false; self.tokens.len()];
        for location in locations {
            let offset = (*location as usize).wrapping_sub(self.start);
            let Some(mut at) = self.tokens.iter().position(|token| token.offset == offset) else {
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

    /// True while the token at `at` still belongs to the (qualified) name that begins at `first`.
    fn is_of_name(&self, first: usize, at: usize) -> bool {
        at == first
            || self.tokens[at].is_char(b'.')
            || self.tokens[at].is_char(b'*')
            || self.tokens[at - 1].is_char(b'.')
    }

    /// Where the bounds end that begin at `start`, behind FOR VALUES: IN (…) or FROM (…) TO (…).
    pub fn end_of_bound(&self, start: usize) -> Option<usize> {
        let first = self.tokens.iter().position(|t| t.offset == start)?;
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
                    return Some(token.offset + 1);
                }
            }
        }
        None
    }

    /// True when one of the string constants, without its quotes, is one of `words`.
    pub fn has_constant(&self, words: &[&str]) -> bool {
        (0..self.tokens.len())
            .filter(|place| self.is_string(*place))
            .any(|place| {
                let start = self.tokens[place].offset;
                let end = self
                    .tokens
                    .get(place + 1)
                    .map_or(self.text.len(), |next| next.offset);
                let constant = String::from_utf8_lossy(&self.text[start..end]).to_ascii_lowercase();
                let constant = constant.trim().trim_matches(|c: char| "'$".contains(c));
                words.iter().any(|word| constant.trim().starts_with(word))
            })
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    fn whole(source: &str) -> StatementText {
        cut(source.as_bytes(), 0, 0)
    }

    fn shown(text: Sql) -> String {
        String::from_utf8(text).expect("ASCII in, ASCII out")
    }

    #[pg_test]
    fn one_statement_is_cut_out_of_several() {
        let source = "SELECT 1; -- not this\n CREATE TABLE t (a text DEFAULT ';'); SELECT 2";
        let location = source.find(" -- not").unwrap_or_default() as i32;
        let length = source.find("; SELECT 2").unwrap_or_default() as i32 - location;
        let cut = cut(source.as_bytes(), location, length);
        assert_eq!(shown(cut.text), "CREATE TABLE t (a text DEFAULT ';')");
    }

    #[pg_test]
    fn the_plain_form_keeps_names_and_constants() {
        let text =
            whole("CREATE INDEX CONCURRENTLY \"concurrently\" ON t (a) WHERE b = 'concurrently';");
        let expected = "CREATE INDEX \"concurrently\" ON t (a) WHERE b = 'concurrently'";
        assert_eq!(shown(text.plain_form()), expected);
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
