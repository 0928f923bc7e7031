//! A statement in a form whose meaning does not depend on settings: string constants as required under
//! standard_conforming_strings = on, `U&'…'` and `U&"…"` resolved, no comments.
//!
//! The caller has the result verified by the parser (`pg::ddl_proof`), so nothing here needs to be trusted.

use std::ops::Range;

use super::statement_text::{Token, TokenKind};
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::scan::{in_server_encoding, Lexeme, LexemeKind};

/// The tokens of `piece` in canonical form, with their positions. `None` if the parser rejects the text (an
/// invalid Unicode escape).
pub fn written_anew(piece: &[u8], lexemes: &[Lexeme]) -> Option<(Sql, Vec<Token>)> {
    let mut out = Vec::with_capacity(piece.len() + 16);
    let mut tokens = Vec::with_capacity(lexemes.len());
    let mut rest = lexemes;
    // The end of the last token, and whether it could merge with the next one.
    let mut last: Option<(usize, bool)> = None;
    while let Some((lexeme, behind)) = rest.split_first() {
        let (escape, behind) = escape_behind(lexeme, behind);
        let end = rest[rest.len() - behind.len() - 1].place.end;
        rest = behind;
        let raw = &piece[lexeme.place.clone()];
        let (kind, anew) = written(&lexeme.kind, raw, escape?)?;
        if let Some((last_end, was_word)) = last {
            push_gap(&mut out, &piece[last_end..lexeme.place.start]);
            if last_end == lexeme.place.start && was_word && anew.is_some() {
                out.push(b' ');
            }
        }
        let offset = out.len();
        out.extend_from_slice(anew.as_deref().unwrap_or(raw));
        last = Some((end, !matches!(kind, TokenKind::Char(_))));
        tokens.push(Token {
            offset,
            end: out.len(),
            source: lexeme.place.start..end,
            kind,
        });
    }
    Some((out, tokens))
}

/// The escape character of a `U&` token, and what follows it and its UESCAPE; the inner `None` if UESCAPE is
/// not followed by a single character.
fn escape_behind<'a>(lexeme: &Lexeme, behind: &'a [Lexeme]) -> (Option<u8>, &'a [Lexeme]) {
    let is_unicode = matches!(
        lexeme.kind,
        LexemeKind::UnicodeName(_) | LexemeKind::UnicodeText(_)
    );
    match behind {
        [word, character, behind @ ..]
            if is_unicode && word.kind == LexemeKind::Keyword("uescape") =>
        {
            match &character.kind {
                LexemeKind::Text(text) if text.len() == 1 => (Some(text[0]), behind),
                _ => (None, behind),
            }
        }
        _ => (Some(b'\\'), behind),
    }
}

/// The kind of a token, and its text if that differs from its characters.
fn written(kind: &LexemeKind, raw: &[u8], escape: u8) -> Option<(TokenKind, Option<Sql>)> {
    Some(match kind {
        // N'…': the scanner returns the letter as a separate keyword.
        LexemeKind::Keyword(word) if raw.len() != word.len() => (
            TokenKind::Keyword(word),
            Some([word.as_bytes(), b" "].concat()),
        ),
        LexemeKind::Keyword(word) => (TokenKind::Keyword(word), None),
        LexemeKind::Char(character) => (TokenKind::Char(*character), None),
        // Its letters were made lower case by the locale.
        LexemeKind::Name(name) if raw.first() != Some(&b'"') && !raw.is_ascii() => {
            (TokenKind::Other, Some(quoted_name(name)))
        }
        LexemeKind::Name(_) | LexemeKind::Other => (TokenKind::Other, None),
        LexemeKind::UnicodeName(name) => (
            TokenKind::Other,
            Some(quoted_name(&resolved(name, escape)?)),
        ),
        LexemeKind::Text(_) if raw.first() == Some(&b'$') => (TokenKind::Text, None),
        LexemeKind::Text(text) => (TokenKind::Text, Some(constant(text))),
        LexemeKind::UnicodeText(text) => {
            (TokenKind::Text, Some(constant(&resolved(text, escape)?)))
        }
        LexemeKind::Bits(bits) => {
            let (letter, digits) = bits.split_at(1);
            (TokenKind::Text, Some([letter, b"'", digits, b"'"].concat()))
        }
    })
}

/// `'…'`, or `E'…'` if it contains a backslash. Line ends are kept, so that definitions remain readable.
fn constant(text: &[u8]) -> Sql {
    let mut out = Vec::with_capacity(text.len() + 3);
    if text.contains(&b'\\') {
        out.push(b'E');
    }
    out.push(b'\'');
    for byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
    out
}

fn quoted_name(name: &[u8]) -> Sql {
    let mut out = vec![b'"'];
    for byte in name {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// The text between two tokens, without comments.
fn push_gap(out: &mut Sql, gap: &[u8]) {
    if !gap.iter().any(|byte| matches!(byte, b'-' | b'/')) {
        return out.extend_from_slice(gap);
    }
    let before = out.len();
    let mut at = 0;
    let mut depth = 0;
    while at < gap.len() {
        match &gap[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth > 0 => (depth, at) = (depth - 1, at + 2),
            [b'-', b'-', ..] if depth == 0 => {
                let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                at = gap[at..]
                    .iter()
                    .position(is_end)
                    .map_or(gap.len(), |l| at + l);
            }
            [byte, ..] => {
                if depth == 0 {
                    out.push(*byte);
                }
                at += 1;
            }
            [] => break,
        }
    }
    if out.len() == before {
        out.push(b' ');
    }
}

/// Resolves the escapes of a `U&` constant (parser/parser.c, str_udeescape): `\XXXX`, `\+XXXXXX`, and
/// the escape character doubled.
fn resolved(text: &[u8], escape: u8) -> Option<Sql> {
    let mut out = Vec::with_capacity(text.len());
    let mut high: Option<u32> = None;
    let mut at = 0;
    while at < text.len() {
        let (place, digits) = match &text[at..] {
            [first, second, ..] if *first == escape && *second == escape => {
                out.push(escape);
                at += 2;
                continue;
            }
            [first, b'+', ..] if *first == escape => (at + 2, 6),
            [first, ..] if *first == escape => (at + 1, 4),
            _ => {
                out.push(text[at]);
                at += 1;
                continue;
            }
        };
        let code = code_point(text, place..place + digits)?;
        at = place + digits;
        match (high.take(), code) {
            (None, 0xD800..=0xDBFF) => high = Some(code),
            (Some(first), 0xDC00..=0xDFFF) => {
                let pair = 0x10000 + ((first - 0xD800) << 10) + (code - 0xDC00);
                out.extend(in_server_encoding(pair));
            }
            (None, code) => out.extend(in_server_encoding(code)),
            (Some(_), _) => return None,
        }
    }
    high.is_none().then_some(out)
}

fn code_point(text: &[u8], place: Range<usize>) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(place)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}
