//! PostgreSQL's own scanner for a piece of SQL: the positions of tokens, keywords, and the meaning of names
//! and string constants.
//!
//! The caller determines whether a backslash in a plain string constant is an escape: a statement may run
//! under another value of standard_conforming_strings than it was parsed under.

use std::ffi::{CStr, CString};
use std::ops::Range;

use pgrx::prelude::*;

use super::node::{bytes, Sql};

/// The kind of a token, as far as needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LexemeKind {
    /// Lower case, as in PostgreSQL's keyword list.
    Keyword(&'static str),
    /// A character that is a token by itself.
    Char(u8),
    /// The name that it denotes.
    Name(Sql),
    /// `U&"…"`, its escapes not yet resolved.
    UnicodeName(Sql),
    /// A string constant and its value.
    Text(Sql),
    /// `U&'…'`, its escapes not yet resolved.
    UnicodeText(Sql),
    /// `B'…'` or `X'…'`: the letter in lower case, and the digits.
    Bits(Sql),
    /// Numbers, operators, parameters: the characters themselves.
    Other,
}

/// One token from the scanner; `place` is in bytes of the scanned text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexeme {
    pub place: Range<usize>,
    pub kind: LexemeKind,
}

/// One number for every keyword: PostgreSQL's own numbers differ between versions, and the scanner returns
/// the keyword's text anyway.
const ANY_KEYWORD: u16 = 9999;
static KEYWORD_TOKENS: [u16; 1024] = [ANY_KEYWORD; 1024];

/// The scanner's own tokens come first in every grammar that uses it, in this order (parser/gram.y;
/// PL/pgSQL's depends on it too).
mod number {
    pub const IDENT: i32 = 258;
    pub const UIDENT: i32 = 259;
    pub const SCONST: i32 = 261;
    pub const USCONST: i32 = 262;
    pub const BCONST: i32 = 263;
    pub const XCONST: i32 = 264;
}

/// The tokens of `text`, scanned as by the parser under this value of standard_conforming_strings. Raises the
/// errors of the scanner (an unterminated string, for example): see [`super::proof::as_at_replay`].
pub fn lexemes(text: &[u8], standard_conforming_strings: bool) -> Vec<Lexeme> {
    let upto = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    let source = CString::new(&text[..upto]).unwrap_or_default();
    let mut extra = pg_sys::core_yy_extra_type::default();
    let extra = &raw mut extra;
    let mut value = pg_sys::core_YYSTYPE::default();
    let mut found = Vec::new();
    // SAFETY: the scanner copies the source; extra and value outlive it; PostgreSQL has fewer than
    // 1024 keywords, so that every index it looks up is inside the table.
    unsafe {
        let scanner = pg_sys::scanner_init(
            source.as_ptr(),
            extra,
            &raw const pg_sys::ScanKeywords,
            KEYWORD_TOKENS.as_ptr(),
        );
        (*extra).escape_string_warning = false;
        (*extra).standard_conforming_strings = standard_conforming_strings;
        (*extra).backslash_quote =
            pg_sys::BackslashQuoteType::BACKSLASH_QUOTE_ON as std::ffi::c_int;
        loop {
            let mut offset = 0;
            let token = pg_sys::core_yylex(&mut value, &mut offset, scanner);
            if token == 0 {
                break;
            }
            let start = offset as usize;
            // The scanner writes a zero byte after its current token.
            let length = CStr::from_ptr((*extra).scanbuf.add(start)).count_bytes();
            found.push(Lexeme {
                place: start..start + length,
                kind: kind(token, &value),
            });
        }
        pg_sys::scanner_finish(scanner);
    }
    found
}

/// # Safety
/// `value` is what the scanner gave for this token.
unsafe fn kind(token: i32, value: &pg_sys::core_YYSTYPE) -> LexemeKind {
    // SAFETY: by the caller's promise: these tokens come with a string.
    let text = || unsafe { bytes(value.str_) }.unwrap_or_default();
    match token {
        1..=255 => LexemeKind::Char(token as u8),
        number::IDENT => LexemeKind::Name(text()),
        number::UIDENT => LexemeKind::UnicodeName(text()),
        number::SCONST => LexemeKind::Text(text()),
        number::USCONST => LexemeKind::UnicodeText(text()),
        number::BCONST | number::XCONST => LexemeKind::Bits(text()),
        // SAFETY: a keyword comes with its text.
        _ if token == i32::from(ANY_KEYWORD) => unsafe { keyword(value.keyword) },
        _ => LexemeKind::Other,
    }
}

/// # Safety
/// `word` points into PostgreSQL's static keyword list.
unsafe fn keyword(word: *const std::ffi::c_char) -> LexemeKind {
    // SAFETY: static, NUL-terminated and ASCII.
    let word: &'static CStr = unsafe { CStr::from_ptr(word) };
    word.to_str().map_or(LexemeKind::Other, LexemeKind::Keyword)
}

/// A code point in the database's encoding; raises an error if the encoding lacks it.
pub fn in_server_encoding(code_point: u32) -> Sql {
    let mut buffer = [0_u8; pg_sys::MAX_UNICODE_EQUIVALENT_STRING as usize + 1];
    // SAFETY: the buffer has the size that mb/pg_wchar.h asks for; the answer is NUL-terminated.
    unsafe { pg_sys::pg_unicode_to_server(code_point, buffer.as_mut_ptr()) };
    let length = buffer.iter().position(|byte| *byte == 0);
    buffer[..length.unwrap_or_default()].to_vec()
}
