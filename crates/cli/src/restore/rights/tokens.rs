//! The tokens of a statement, by PostgreSQL's lexical rules (scan.l) with standard_conforming_strings on: enough to find
//! a clause that pg_dump or pg_incrbackup words, and never to find it within a name, a string, a comment or a body.

use std::ops::Range;

use crate::restore::target::statements::quoted;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key word, a name without quotes, or a number.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string constant, in single quotes or dollars.
    Text,
    /// A character of its own: a parenthesis, a comma, part of an operator.
    Mark(u8),
}

/// A token, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub place: Range<usize>,
    /// Parentheses and brackets around it.
    pub depth: usize,
}

impl Token {
    /// Whether it is this key word, which is in upper case.
    pub fn is(&self, text: &[u8], word: &str) -> bool {
        self.kind == Kind::Word && text[self.place.clone()].eq_ignore_ascii_case(word.as_bytes())
    }

    pub fn is_mark(&self, mark: u8) -> bool {
        self.kind == Kind::Mark(mark)
    }

    /// The name that it is, as the server reads it.
    pub fn name(&self, text: &[u8]) -> Option<Vec<u8>> {
        let written = &text[self.place.clone()];
        match self.kind {
            Kind::Word => Some(written.to_ascii_lowercase()),
            Kind::Quoted => {
                let inner = &written[1..written.len() - 1];
                let mut name = Vec::with_capacity(inner.len());
                let mut bytes = inner.iter();
                while let Some(byte) = bytes.next() {
                    name.push(*byte);
                    if *byte == b'"' {
                        bytes.next();
                    }
                }
                Some(name)
            }
            _ => None,
        }
    }

    /// What a string constant says; `None` for anything else, as NULL.
    pub fn constant(&self, text: &[u8]) -> Option<Vec<u8>> {
        let written = &text[self.place.clone()];
        let has_escapes = written
            .first()
            .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'E'));
        let inner = written.get(1 + usize::from(has_escapes)..written.len() - 1);
        let inner = inner.filter(|_| self.kind == Kind::Text && written.ends_with(b"'"))?;
        let mut value = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            let is_first = *byte == b'\'' || has_escapes && *byte == b'\\';
            let byte = if is_first { bytes.next()? } else { byte };
            let is_escape = is_first && has_escapes;
            value.push(match byte {
                b'n' if is_escape => b'\n',
                b't' if is_escape => b'\t',
                b'r' if is_escape => b'\r',
                byte => *byte,
            });
        }
        Some(value)
    }
}

/// All tokens; `None` if something that is quoted has no end.
pub fn tokens(text: &[u8]) -> Option<Vec<Token>> {
    let (mut found, mut at, mut depth) = (Vec::new(), 0, 0_usize);
    while at < text.len() {
        let start = at;
        let rest = &text[at..];
        let kind = match rest[0] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if rest.starts_with(b"--") => {
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with(b"/*") => {
                at += comment(rest)?;
                continue;
            }
            b'"' => {
                at += quoted(rest, false)?;
                Kind::Quoted
            }
            b'\'' => {
                at += quoted(rest, false)?;
                Kind::Text
            }
            b'E' | b'e' if rest.get(1) == Some(&b'\'') => {
                at += 1 + quoted(&rest[1..], true)?;
                Kind::Text
            }
            b'$' if tag(rest).is_some() => {
                let tag = tag(rest)?;
                let inside = &rest[tag.len()..];
                at += 2 * tag.len() + memchr::memmem::find(inside, tag)?;
                Kind::Text
            }
            byte if is_of_word(byte) => {
                let length = rest.iter().position(|byte| !is_of_word(*byte));
                at += length.unwrap_or(rest.len());
                Kind::Word
            }
            byte => {
                at += 1;
                Kind::Mark(byte)
            }
        };
        if matches!(kind, Kind::Mark(b')' | b']')) {
            depth = depth.saturating_sub(1);
        }
        found.push(Token {
            kind,
            place: start..at,
            depth,
        });
        if matches!(kind, Kind::Mark(b'(' | b'[')) {
            depth += 1;
        }
    }
    Some(found)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The length of a comment, which may contain others.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at..at + 2)? {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
}

/// `$tag$` at the beginning.
fn tag(text: &[u8]) -> Option<&[u8]> {
    let length = text[1..].iter().position(|byte| *byte == b'$')?;
    let name = &text[1..=length];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let is_tag = name.iter().all(is_name) && !name.first().is_some_and(u8::is_ascii_digit);
    is_tag.then(|| &text[..length + 2])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let all = tokens(text.as_bytes()).unwrap();
        all.iter().map(|it| &text[it.place.clone()]).collect()
    }

    #[test]
    fn what_is_quoted_is_one_token() {
        assert_eq!(
            words(
                "GRANT a ON \"T;\"\" TO x\" -- TO y\nTO /* /* z */ ; */ 'it''s' E'\\'' $x$ $$ $x$;"
            ),
            [
                "GRANT",
                "a",
                "ON",
                "\"T;\"\" TO x\"",
                "TO",
                "'it''s'",
                "E'\\''",
                "$x$ $$ $x$",
                ";"
            ]
        );
        assert_eq!(words("a$b$c ne'x'"), ["a$b$c", "ne", "'x'"]);
        for torn in ["'a", "\"a\"\"", "$a$ $b$", "/* /* */"] {
            assert_eq!(tokens(torn.as_bytes()), None, "{torn}");
        }
    }

    #[test]
    fn a_name_is_as_the_server_reads_it() {
        let text = b"Bob \"B\"\"ob\" 'x'";
        let names: Vec<_> = tokens(text)
            .unwrap()
            .iter()
            .map(|it| it.name(text))
            .collect();
        assert_eq!(
            names,
            [Some(b"bob".to_vec()), Some(b"B\"ob".to_vec()), None]
        );
    }

    #[test]
    fn depth_is_that_of_parentheses() {
        let text = b"a (b[c], (d)) e";
        let depths: Vec<_> = tokens(text)
            .unwrap()
            .iter()
            .filter(|it| it.kind == Kind::Word)
            .map(|it| it.depth)
            .collect();
        assert_eq!(depths, [0, 1, 2, 2, 0]);
    }
}
